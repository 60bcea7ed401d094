# SPDX-License-Identifier: Apache-2.0
"""What the measurements say, for people and for programs."""

import dataclasses
import platform
from collections.abc import Iterator
from typing import Any

from bench.measure import CONFIGURATIONS, OPERATIONS, Operation, Results

MAX_RATIO = 1.5
_BASE, _EMPTY, _LOCKED = "nothing", "empty x N", "baseline"
_EMPTY_TRACER, _TRACER = "empty p", "privsnoop"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of one operation: what the locks, or privsnoop, add, in instructions, and what the goal says to it."""

    operation: str
    base: float
    empty: float
    locked: float
    ratio: float | None  # None where empty programs add nothing either
    met: bool
    text: str


def verdicts(results: Results) -> Iterator[Verdict]:
    for operation in OPERATIONS:
        base = results[_BASE][operation.name].instructions
        empty = added(results, _EMPTY, operation)
        locked = added(results, _LOCKED, operation)
        if operation.free or not empty:
            # Without any program, it differs by so much from process to process.
            spread = results[_BASE][operation.name].spread
            text = f"{locked:+.0f} where nothing may be added"
            if locked <= 0:
                text = "nothing is added"
            elif locked <= spread:
                text = f"{locked:+.0f}, as it differs without programs"
            yield Verdict(operation.name, base, empty, locked, None, locked <= spread, text)
        else:
            yield _compared(operation.name, base, empty, locked)
    for operation in OPERATIONS:
        if operation.tracer:
            base = results[_BASE][operation.name].instructions
            empty = added(results, _EMPTY_TRACER, operation)
            yield _compared(f"{operation.name} (p)", base, empty, added(results, _TRACER, operation))


def _compared(name: str, base: float, empty: float, locked: float) -> Verdict:
    ratio = locked / empty if empty > 0 else float("inf")
    text = f"{'within' if ratio <= MAX_RATIO else 'over'} {MAX_RATIO} x empty"
    return Verdict(name, base, empty, locked, round(ratio, 2), ratio <= MAX_RATIO, text)


def added(results: Results, configuration: str, operation: Operation) -> float:
    """Instructions, compared with no BPF program."""
    return results[configuration][operation.name].instructions - results[_BASE][operation.name].instructions


def _signed(number: float) -> str:
    return f"{number:+.0f}" if number else "0"


def as_json(results: Results) -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "unit": "guest instructions",
        "max_ratio": MAX_RATIO,
        "configurations": {each.name: each.summary for each in CONFIGURATIONS},
        "results": {
            name: {operation: dataclasses.asdict(sample) for operation, sample in found.items()}
            for name, found in results.items()
        },
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts(results)],
    }


def as_text(results: Results) -> str:
    shown = [each for each in CONFIGURATIONS if each.name != _BASE]
    width = max(len(each.name) for each in OPERATIONS) + len(" (p)")
    lines = [f"Linux {platform.release()}: instructions of one operation, and what is added to them", ""]
    lines.append(f"{'':{width}}{_BASE:>10}" + "".join(f"{each.name:>11}" for each in shown) + f"{'spread':>9}")
    for operation in OPERATIONS:
        cells = "".join(
            f"{_signed(added(results, each.name, operation)) if operation.name in results[each.name] else '':>11}"
            for each in shown
        )
        base = results[_BASE][operation.name]
        lines.append(f"{operation.name:{width}}{base.instructions:>10.0f}{cells}{base.spread:>9.0f}")
    lines.append("")
    lines += [f"{each.name:11}{each.summary}" for each in CONFIGURATIONS]
    lines += [
        "spread     how much 'nothing' differed from process to process",
        "(p)        privsnoop, compared with 'empty p'",
        "",
    ]
    for verdict in verdicts(results):
        ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        lines.append(f"{'ok' if verdict.met else 'MISSED':8}{verdict.operation:{width}}{ratio:>6}  {verdict.text}")
    return "\n".join(lines)
