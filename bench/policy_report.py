# SPDX-License-Identifier: Apache-2.0
"""What the measurements of the policy engine say, for people and for programs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from bench.policy import (
    APPARMOR,
    BASE,
    CONFIGURATIONS,
    CONFINED,
    COUNTS,
    DESCRIPTORS,
    EMPTY,
    EXEC,
    OPEN,
    OPEN_DEEP,
    OPEN_FIRST,
    OPEN_FIRST_THERE,
    OPERATIONS,
    UNCONFINED,
    USES,
    Measured,
    Operation,
)

# Instructions that one open+close may take more.
MAX_UNCONFINED = 260
MAX_CONFINED = 450
MAX_FIRST = 6000
MAX_OF_APPARMOR = 0.35
MAX_EXEC = 0.01  # of a fork+exec+exit
MAX_SLOPE = 0.05  # from the fewest to the most rules
MAX_DESCRIPTORS = 3  # times what an exec takes with the fewest descriptors
_BAR = 50  # columns


@dataclasses.dataclass(frozen=True)
class Verdict:
    what: str
    took: float
    limit: float
    text: str

    @property
    def met(self) -> bool:
        return self.took <= self.limit


def added(measured: Measured, name: str, operation: Operation) -> float:
    """Instructions, compared with no BPF program."""
    return measured.results[name][operation.name] - measured.results[BASE][operation.name]


def verdicts(measured: Measured) -> Iterator[Verdict]:
    for operation in (OPEN, OPEN_DEEP):
        unconfined = added(measured, UNCONFINED, operation)
        yield Verdict(f"{operation.name}, unconfined", unconfined, MAX_UNCONFINED, f"at most +{MAX_UNCONFINED}")
    for operation in (OPEN, OPEN_DEEP):
        confined, other = added(measured, CONFINED, operation), added(measured, APPARMOR, operation)
        yield Verdict(f"{operation.name}, confined", confined, MAX_CONFINED, f"at most +{MAX_CONFINED}")
        text = f"at most {MAX_OF_APPARMOR} of AppArmor's {other:+.0f}"
        yield Verdict(f"{operation.name}, confined", confined, MAX_OF_APPARMOR * other, text)
    for operation in (OPEN_FIRST, OPEN_FIRST_THERE):
        first = added(measured, CONFINED, operation)
        yield Verdict(f"{operation.name}, confined", first, MAX_FIRST, f"at most +{MAX_FIRST}")
    limit = MAX_EXEC * measured.results[BASE][EXEC.name]
    yield Verdict(f"{EXEC.name}, unconfined", added(measured, UNCONFINED, EXEC), limit, f"at most {MAX_EXEC:.0%}")
    for place, operation in enumerate((OPEN, OPEN_DEEP)):
        costs = [measured.rules[count][place] for count in COUNTS]
        text = f"{COUNTS[0]} to {COUNTS[-1]} rules, at most {MAX_SLOPE:.0%} more"
        yield Verdict(f"{operation.name}, confined", max(costs), min(costs) * (1 + MAX_SLOPE), text)

    few, many = measured.descriptors[CONFINED]
    text = f"at most {MAX_DESCRIPTORS} x {few}, what it takes with {DESCRIPTORS[0]}"
    yield Verdict(f"exec with {DESCRIPTORS[1]} descriptors, confined", many, MAX_DESCRIPTORS * few, text)


def as_json(measured: Measured) -> dict[str, Any]:
    return {
        "unit": "guest instructions",
        "configurations": {each.name: each.summary for each in CONFIGURATIONS},
        "results": measured.results,
        "rules": {str(count): list(costs) for count, costs in measured.rules.items()},
        "uses": {
            each.name: {name: costs[place] for name, costs in measured.uses.items()} for place, each in enumerate(USES)
        },
        "descriptors": {
            name: dict(zip(map(str, DESCRIPTORS), costs, strict=True)) for name, costs in measured.descriptors.items()
        },
        "verdicts": [{**dataclasses.asdict(verdict), "met": verdict.met} for verdict in verdicts(measured)],
    }


def _signed(number: float) -> str:
    return f"{number:+.0f}" if number else "0"


def _table(measured: Measured) -> Iterator[str]:
    shown = [each.name for each in CONFIGURATIONS if each.name != BASE]
    width = max(len(each.name) for each in OPERATIONS)
    yield f"{'':{width}}{BASE:>10}" + "".join(f"{name:>12}" for name in shown)
    for operation in OPERATIONS:
        cells = "".join(f"{_signed(added(measured, name, operation)):>12}" for name in shown)
        yield f"{operation.name:{width}}{measured.results[BASE][operation.name]:>10.0f}{cells}"
    yield ""
    yield from (f"{each.name:12}{each.summary}" for each in CONFIGURATIONS)
    yield ""
    yield f"{'rules of the profile':{width}}" + "".join(f"{count:>10}" for count in COUNTS)
    for place, operation in enumerate((OPEN, OPEN_DEEP)):
        cells = "".join(f"{_signed(measured.rules[count][place]):>10}" for count in COUNTS)
        yield f"{operation.name:{width}}{cells}"
    yield ""
    shown = [BASE, UNCONFINED, CONFINED]
    yield f"{'if it may only append to some file':{width}}" + "".join(f"{name:>12}" for name in shown)
    for place, operation in enumerate(USES):
        base, *more = (measured.uses[name][place] for name in shown)
        yield f"{operation.name:{width}}{base:>12.0f}" + "".join(f"{_signed(number):>12}" for number in more)

    yield ""
    yield f"{'exec by which a profile begins':{width}}" + "".join(f"{name:>12}" for name in measured.descriptors)
    for place, count in enumerate(DESCRIPTORS):
        costs = "".join(f"{costs[place]:>12}" for costs in measured.descriptors.values())
        yield f"{f'with {count} descriptors of one file':{width}}{costs}"


def _chart(measured: Measured) -> Iterator[str]:
    """Bars of what is added, for the operations about one file."""
    bars = [
        (f"{operation.name}, {name}", added(measured, name, operation))
        for operation in (OPEN, OPEN_DEEP)
        for name in (EMPTY, UNCONFINED, CONFINED, APPARMOR)
    ]
    most = max(number for _, number in bars) or 1
    width = max(len(name) for name, _ in bars)
    for name, number in bars:
        yield f"{name:{width}} {'#' * round(_BAR * max(number, 0) / most)} {_signed(number)}"


def as_text(measured: Measured) -> str:
    lines = ["the policy engine: instructions of one operation, and what is added to them", "", *_table(measured), ""]
    lines += [*_chart(measured), ""]
    found = list(verdicts(measured))
    width = max(len(verdict.what) for verdict in found)
    for verdict in found:
        word = "ok" if verdict.met else "MISSED"
        lines.append(f"{word:8}{verdict.what:{width}}{_signed(verdict.took):>8}  {verdict.text}")
    return "\n".join(lines)
