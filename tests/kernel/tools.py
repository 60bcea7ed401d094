# SPDX-License-Identifier: Apache-2.0
"""What several kernel tests need: the command line, the identity of what is pinned, processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpflock.kernel import pins
from bpflock.kernel._libbpf import lib
from bpflock.kernel.bpf import program_exists, program_of_link
from bpflock.locks.enforce import Enforcer

ROOT = Path(__file__).resolve().parents[2]
BPFLOCK = ROOT / ".venv" / "bin" / "bpflock"
NOBODY = 65534


@dataclass(frozen=True)
class Result:
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def check(self) -> "Result":
        assert self.status == 0, self
        assert "Traceback" not in self.err, self
        return self

    def failed(self, status: int, *fragments: str) -> "Result":
        """It ended with one clear error that says all of this, and that status."""
        assert self.status == status, self
        assert self.err.count("error: ") == 1, self
        assert "Traceback" not in self.out + self.err, self
        for fragment in fragments:
            assert fragment in self.err, self
        return self


class Cli:
    """The command line, each in a fresh process: see cli_server.py."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.cli_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __call__(
        self, *args: str, uid: int = 0, environment: Mapping[str, str] | None = None, kill_after: float = 0
    ) -> Result:
        """As which user, with which variables; after how many seconds to kill it, if at all: then -14 is the status."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        out, err = Path("/tmp/cli-out"), Path("/tmp/cli-err")
        request = {
            "args": args,
            "uid": uid,
            "kill_after": kill_after,
            "environment": {"BPFLOCK_CONFIG_DIR": "/tmp/no-configuration", **(environment or {})},
            "out": str(out),
            "err": str(err),
        }
        Path("/tmp/no-configuration").mkdir(exist_ok=True, mode=0o755)
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        return Result(status, out.read_text(), err.read_text())

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


def replace_link(link: Path, other: Path) -> None:
    """Pin another program's link in the place of one: the program that belongs there does not run any more, and all
    else looks as it should."""
    with Enforcer().exclusive():
        program = program_of_link(link)
        assert program is not None
        link.unlink()
        end = time.monotonic() + 30
        while program_exists(program):  # the kernel detaches it when it has time
            assert time.monotonic() < end
            time.sleep(0.05)
        fd = lib.bpf_obj_get(os.fsencode(other))
        assert fd >= 0, f"{other}: {os.strerror(-fd)}"
        try:
            assert lib.bpf_obj_pin(fd, os.fsencode(link)) == 0
        finally:
            os.close(fd)


def bpflock(*args: str) -> Result:
    """The installed program itself."""
    ended = subprocess.run([BPFLOCK, *args], capture_output=True, text=True, check=False, cwd="/tmp")
    return Result(ended.returncode, ended.stdout, ended.stderr)


def links(name: str) -> dict[str, int]:
    """The ids that the kernel gave to the links of a loaded lock, by hook: another program has another link."""
    with Enforcer().exclusive():  # or a lock may refuse that we look
        return _links(name)


def all_links() -> dict[str, dict[str, int]]:
    """Those of everything that is loaded."""
    if not pins.ROOT.exists():
        return {}
    with Enforcer().exclusive():
        return {path.name: _links(path.name) for path in sorted(pins.ROOT.iterdir()) if path.is_dir()}


def _links(name: str) -> dict[str, int]:
    return {hook: _link_id(pins.link_path(pins.directory(name), hook)) for hook in pins.hooks(name)}


def _link_id(path: Path) -> int:
    fd = lib.bpf_obj_get(os.fsencode(path))
    assert fd >= 0, f"{path}: {os.strerror(-fd)}"
    try:
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
            if line.startswith("link_id:"):
                return int(line.split()[1])
    finally:
        os.close(fd)
    raise AssertionError(f"{path} is no link")


def pinned() -> list[str]:
    """Everything below /sys/fs/bpf/bpflock."""
    return sorted(str(path.relative_to(pins.ROOT)) for path in pins.ROOT.rglob("*")) if pins.ROOT.exists() else []


def processes(word: str) -> list[str]:
    """Command lines of other processes that contain the word."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal() or int(path.name) == os.getpid():
            continue
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found
