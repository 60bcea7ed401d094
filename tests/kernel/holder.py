# SPDX-License-Identifier: Apache-2.0
"""A process that has files open from before something: `attack hold`."""

import subprocess
from pathlib import Path

from .conftest import wait_until


class Holder:
    """A process that has files open, and uses them as it is told."""

    def __init__(self, program: Path, *files: tuple[int, Path], output: Path | None = None, ready: bool = True) -> None:
        opened = " ".join(f"{flags} {path}" for flags, path in files)
        self._files = files
        self._output = output.open("w") if output else None
        self._answers = output.open() if output else None
        self._process = subprocess.Popen(
            [program, "hold", opened], stdin=subprocess.PIPE, stdout=self._output or subprocess.PIPE, text=True
        )
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        assert self._line() == "ready\n"

    def _line(self) -> str:
        if self._output and self._answers:
            wait_until(f"[ $(wc -c <{self._output.name}) -gt {self._answers.tell()} ]")
            return self._answers.readline()
        assert self._process.stdout
        return self._process.stdout.readline()

    @property
    def pid(self) -> int:
        return self._process.pid

    def can(self, index: int, way: str) -> bool:
        assert self._process.stdin
        self._process.stdin.write(f"{index} {way}\n")
        self._process.stdin.flush()
        answer = self._line()
        assert answer.startswith(("ok:", "denied:")), (self._files[index], way, answer)
        return answer.startswith("ok:")

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        for file in (self._output, self._answers):
            if file:
                file.close()
