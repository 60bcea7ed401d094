# SPDX-License-Identifier: Apache-2.0
"""The status for programs, as `bpflock status --json` prints it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bpflock.kernel import pins
from bpflock.locks.enforce import Enforcer, LockStatus

if TYPE_CHECKING:
    from bpflock.confine.policies import InForce
    from bpflock.confine.services import Service


def in_force(enforcer: Enforcer) -> "tuple[list[InForce], list[Service]]":
    """The profiles of the policy engine, and the services that none of them is for; neither if there is no policy."""
    if not pins.exists(pins.POLICY):
        return [], []
    # They take their time to import, and most machines have no policies.
    from bpflock.confine.engine import Engine
    from bpflock.confine.policies import Policies

    policies = Policies(Engine(enforcer))
    return policies.status(), policies.uncovered()


def status_document(
    statuses: Iterable[LockStatus], profiles: "Iterable[InForce]" = (), uncovered: "Iterable[Service]" = ()
) -> dict[str, object]:
    return {
        "locks": [_lock(status) for status in statuses],
        "policies": [profile_document(found) for found in profiles],
        "uncovered": [
            {"executable": service.executable, "process": service.process, "addresses": list(service.addresses)}
            for service in uncovered
        ],
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
