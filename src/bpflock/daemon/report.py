# SPDX-License-Identifier: Apache-2.0
"""The status for programs, as `bpflock status --json` prints it."""

from collections.abc import Iterable

from bpflock.locks.enforce import LockStatus


def status_document(statuses: Iterable[LockStatus]) -> dict[str, object]:
    return {"locks": [_lock(status) for status in statuses]}


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
