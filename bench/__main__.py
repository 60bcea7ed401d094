# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [PART...]`: as root, in a virtual machine that counts instructions; `make bench` does it."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import build, daemon, measure, policy, policy_report, report
from bpflock.errors import BpflockError
from bpflock.kernel import host, pins


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What bpflock costs, in instructions.")
    parser.add_argument(
        "parts",
        nargs="*",
        choices=(*_PARTS, []),
        metavar="PART",
        help="daemon, locks or policy; all if none",
    )
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    args = parser.parse_args()
    try:
        host.require_root()
        if not build.WORKLOAD.exists():
            raise BpflockError("the workload is not compiled", hint="python -m bench.build")
        if pins.ROOT.exists():
            raise BpflockError("bpflock is active here", hint="measure in a virtual machine: make bench")
        names = args.parts or list(_PARTS)
        parts = [_PARTS[name]() for name in names]
    except BpflockError as error:
        _say(f"bench: error: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return 2
    if args.json:
        text = json.dumps({name: part.document for name, part in zip(names, parts, strict=True)}, indent=2)
    else:
        text = "\n\n".join(part.text for part in parts)
    sys.stdout.write(text + "\n")
    return 1 if args.check and not all(part.met for part in parts) else 0


@dataclass(frozen=True)
class _Part:
    text: str
    document: dict[str, Any]
    met: bool


def _locks() -> _Part:
    results = measure.measure(_progress)
    met = all(verdict.met for verdict in report.verdicts(results))
    return _Part(report.as_text(results), report.as_json(results), met)


def _daemon() -> _Part:
    found = daemon.measure(_progress)
    return _Part(daemon.as_text(found), daemon.as_json(found), all(start.met for start in found.values()))


def _policy() -> _Part:
    found = policy.measure(_progress)
    met = all(verdict.met for verdict in policy_report.verdicts(found))
    return _Part(policy_report.as_text(found), policy_report.as_json(found), met)


_PARTS: dict[str, Callable[[], _Part]] = {"daemon": _daemon, "locks": _locks, "policy": _policy}


def _progress(text: str) -> None:
    _say(f"bench: {text}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
