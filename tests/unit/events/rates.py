# SPDX-License-Identifier: Apache-2.0
"""How many events a second are decoded and rendered here: `PYTHONPATH=src python tests/unit/events/rates.py`."""

import functools
import sys
import time
from collections.abc import Callable

from bpflock.events.decode import Decoder
from bpflock.events.model import Event
from bpflock.events.render import Renderer, json_line, logfmt, plain
from bpflock.kernel.btf import ObjectTypes

_EVENTS = 20_000


def _record(number: int) -> bytes:
    """Every other event with a path, as execsnoop and the locks send them."""
    layout = ObjectTypes.load().struct("bpflock_event")
    path = b"/usr/bin/ls" if number % 2 else b""
    size = layout.size + (256 if path else 0)
    values = {
        "size": size,
        "path_len": len(path),
        "time": number * 10**9,
        "cgroup": 7014,
        "object": 0,
        "repeats": 0,
        "tgid": number,
        "pid": number,
        "ppid": 1,
        "uid": 0,
        "op": 1,
        "retval": -1,
        "lock": 1,
        "type": 1,
        "reason": 16,
        "comm": b"c%d" % (number % 50),
        "pcomm": b"bash",
    }
    header = layout.compile().pack(*(values[field.name] for field in layout.fields))
    return header + (path.ljust(256, b"\xff") if path else b"")


def _rate(work: Callable[[], object]) -> str:
    best = min(_seconds(work) for _ in range(8))
    return f"{_EVENTS / best:,.0f}/s"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _render_all(render: Renderer, events: list[Event]) -> list[str]:
    return [render(event) for event in events]


def main() -> None:
    data = memoryview(b"".join(map(_record, range(_EVENTS))))
    decoder = Decoder.load({"kimglock": {1: "dev_mem"}})
    events = decoder.decode(data)
    assert len(events) == _EVENTS
    sys.stdout.write(f"decode  {_rate(lambda: decoder.decode(data))}\n")
    for name, render in (("logfmt", logfmt), ("json", json_line), ("text", plain)):
        sys.stdout.write(f"{name:<7} {_rate(functools.partial(_render_all, render, events))}\n")


if __name__ == "__main__":
    main()
