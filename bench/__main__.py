# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: as root, in a virtual machine that counts instructions. `make bench` does it all."""

import argparse
import json
import sys

from bench import build, daemon
from bench.measure import measure
from bench.report import as_json, as_text, start_verdicts, verdicts
from bpflock.errors import BpflockError
from bpflock.kernel import host, pins


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What bpflock costs, in instructions.")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    args = parser.parse_args()
    try:
        host.require_root()
        if not build.WORKLOAD.exists():
            raise BpflockError("the workload is not compiled", hint="python -m bench.build")
        if pins.ROOT.exists():
            raise BpflockError("bpflock is active here", hint="measure in a virtual machine: make bench")
        start = daemon.measure(_progress)
        results = measure(_progress)
    except BpflockError as error:
        _say(f"bench: error: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return 2
    sys.stdout.write((json.dumps(as_json(results, start), indent=2) if args.json else as_text(results, start)) + "\n")
    met = [verdict.met for verdict in verdicts(results)] + [verdict.met for verdict in start_verdicts(start)]
    return 1 if args.check and not all(met) else 0


def _progress(text: str) -> None:
    _say(f"bench: {text}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
