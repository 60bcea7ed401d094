# SPDX-License-Identifier: Apache-2.0
"""A process that does what it is told, so that it can be seen what a policy lets it do: attacks/prober.c."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


class Prober:
    """Runs a command that ends as `attack probe`."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def reach(self, what: str, *paths: bytes, ways: Sequence[str] = ()) -> int:
        """Do something to files. The error number."""
        return self.attempt(what, *(path.hex() for path in paths), ways=ways)

    def attempt(self, *words: object, ways: Sequence[str] = ()) -> int:
        """The error number. `ways`: see generated_ways.py."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("".join(f"way {way} " for way in ways) + " ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())
