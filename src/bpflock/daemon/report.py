# SPDX-License-Identifier: Apache-2.0
"""The status for programs, as `bpflock status --json` prints it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpflock.errors import explained
from bpflock.kernel import pins
from bpflock.locks.enforce import Broken, Enforcer, LockStatus

if TYPE_CHECKING:
    from bpflock.confine.policies import InForce
    from bpflock.confine.services import Service


@dataclass(frozen=True)
class Report:
    """All that is enforced, and what of it is damaged: locks, the guard, the policies."""

    locks: tuple[LockStatus, ...] = ()
    profiles: "tuple[InForce, ...]" = ()
    uncovered: "tuple[Service, ...]" = ()
    broken: tuple[Broken, ...] = ()


def read_report(enforcer: Enforcer) -> Report:
    """Raises BpflockError if nothing can be read at all. What is damaged keeps nothing else from being told."""
    survey = enforcer.survey()
    try:
        profiles, uncovered = _in_force(enforcer)
    except Exception as error:
        damaged = Broken("policies", explained(error).message)
        return Report(survey.locks, broken=(*survey.broken, damaged))
    return Report(survey.locks, tuple(profiles), tuple(uncovered), survey.broken)


def _in_force(enforcer: Enforcer) -> "tuple[list[InForce], list[Service]]":
    """The profiles of the policy engine, and the services that none of them is for; neither if there is no policy."""
    if not pins.exists(pins.POLICY):
        return [], []
    # They take their time to import, and most machines have no policies.
    from bpflock.confine.engine import Engine
    from bpflock.confine.policies import Policies

    policies = Policies(Engine(enforcer))
    profiles = policies.status()
    return profiles, policies.uncovered() if profiles else []


def status_document(report: Report) -> dict[str, object]:
    """`broken` is there only if something is."""
    broken = {found.name: found.problem for found in report.broken}
    return {
        "locks": [_lock(status) for status in report.locks],
        "policies": [profile_document(found) for found in report.profiles],
        "uncovered": [
            {"executable": service.executable, "process": service.process, "addresses": list(service.addresses)}
            for service in report.uncovered
        ],
        **({"broken": broken} if broken else {}),
    }


def profile_document(found: "InForce") -> dict[str, object]:
    usage = found.usage
    return {
        "profile": found.profile.executable,
        "mode": "complain" if found.profile.complain else "enforce",
        "rules": len(found.profile.rules),
        "tasks": {"processes": len(usage.processes), "threads": usage.threads},
        "since": found.since,
        "denied": usage.denied,
        "reported": usage.reported,
        "last": usage.last,
        "origin": str(found.profile.origin),
    }


def _lock(status: LockStatus) -> dict[str, object]:
    return {
        "name": status.lock.name,
        "profile": status.settings.profile,
        "block": status.settings.block,
        "allow": status.settings.allow,
        **({"allow-session": str(status.settings.session)} if status.settings.session else {}),
        **dict(status.settings.parameters),
        "origins": dict(status.origins),
        "since": status.since,
        "hooks": status.hooks,
        "counters": [
            {
                "operation": counter.operation,
                "allowed": counter.allowed,
                "denied": counter.denied,
                "limited": counter.limited,
                "dropped": counter.dropped,
            }
            for counter in status.counters
        ],
        **({"missed": status.missed} if status.lock.is_tracer else {}),
    }
