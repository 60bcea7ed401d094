# SPDX-License-Identifier: Apache-2.0
"""What the policy engine tells of an access, compared with what the evaluator says that it tells.

Counters are exact. Of the events, a process that repeats itself gets few: those that come must be right.
"""

import contextlib
import os
from collections.abc import Sequence

from bpflock.confine.engine import profile_names
from bpflock.events.decode import Decoder
from bpflock.events.model import Event
from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.kernel.btf import ObjectTypes
from bpflock.locks.enforce import Enforcer
from bpflock.policy.evaluate import Decision, Reason
from bpflock.policy.model import FileAccess

_OPERATIONS = 64  # of one lock, in the counters
# What the kernel asks for besides, capabilities and operations: OP_CAPABILITY of bpf/policy_objects.bpf.h.
_BESIDES = 28

Expected = tuple[Decision, bytes | None]  # and the path, if it is about a file


class Told:
    """Looks at the counters and at the ring buffer."""

    def __init__(self, enforcer: Enforcer) -> None:
        self._layout = ObjectTypes.load(pins.POLICY).struct("bpflock_counter")
        self._decoder = Decoder.load({}, profile_names)
        with contextlib.ExitStack() as stack:
            self._counters = stack.enter_context(Map.open(pins.directory(pins.POLICY) / pins.COUNTERS))
            self._ring = enforcer.ring()
            stack.callback(self._ring.close)
            self._close = stack.pop_all()
        self._before = (0, 0)

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def begin(self) -> None:
        """From now on."""
        self._before = self._counted()
        self._events()

    def difference(self, expected: Sequence[Expected]) -> str:
        """What of that which was told since begin() is not what the evaluator says, or nothing."""
        counted = self._counted()
        denied, allowed = (now - before for now, before in zip(counted, self._before, strict=True))
        events = self._events()
        if (denied > 0) != any(not decision.allowed for decision, _ in expected):
            return f"{denied} denials counted, expected {expected}"
        if (allowed > 0) != any(decision.allowed and decision.told for decision, _ in expected):
            return f"{allowed} told that were allowed, expected {expected}"
        wrong = [event for event in events if not any(_is_of(event, *one) for one in expected)]
        return f"an event {wrong[0]}, expected {expected}" if wrong else ""

    def _counted(self) -> tuple[int, int]:
        """Denied, and allowed but told."""
        denied = allowed = 0
        names = [field.name for field in self._layout.fields]
        for index, values in enumerate(self._layout.compile().iter_unpack(self._counters.values())):
            if index % _OPERATIONS < _BESIDES:
                denied += values[names.index("denied")]
                allowed += values[names.index("allowed")]
        return denied, allowed

    def _events(self) -> list[Event]:
        found: list[Event] = []
        while len(data := self._ring.drain(0)):
            found += self._decoder.decode(data)
        return [event for event in found if _is_ours(event)]


_OTHERS = ("capability", "operation")


def _is_ours(event: Event) -> bool:
    """Of the policy engine, and about what the evaluator knows."""
    about = dict(event.policy.about) if event.policy else {}
    return event.bpfprog == pins.POLICY and about.get("kind") not in _OTHERS


def _is_of(event: Event, decision: Decision, path: bytes | None) -> bool:
    if event.denied is decision.allowed or not decision.told or event.policy is None:
        return False
    if path is None:
        return True
    if event.filename is None or os.path.normpath(event.filename) != path:
        return False
    if decision.reason not in (Reason.DENIED, Reason.COMPLAINED):
        return True
    return event.policy.accesses == tuple(str(one.name).lower() for one in FileAccess if one & decision.missing)
