# SPDX-License-Identifier: Apache-2.0
"""Remember which suites passed, so that one whose every input is the same need not run again.

build/passed/NAME.json holds the key of the last full pass and when that was. The key is a hash of all
that can change a result: the files of the checkout (tracked ones, and new ones that are not ignored), what
was compiled from them, the host's packages (the guest's root file system is the host's), Python and its
packages, QEMU, the kernel, and how the suite boots. Where that cannot be told, nothing is remembered.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import qemu
from vm.errors import VmError
from vm.process import run

PASSED = Path("build/passed")

# Nothing that runs in a guest reads these.
_ELSEWHERE = ("docs/", "tests/unit/", "README.md", "vm/README.md")
# Compiled by `make build`, ignored by git.
_COMPILED = ("build/attack", "build/attack-login/*", "src/bpflock/kernel/*.so", "src/bpflock/kernel/objects/*.o")


@dataclass(frozen=True)
class Pass:
    """A full pass that was kept."""

    at: float  # seconds since 1970
    summary: str

    @property
    def when(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))


def key(checkout: Path, *parameters: str) -> str | None:
    """The hash of everything that can change a suite's result, `parameters` included.

    None where that cannot be told: outside a git checkout, or without git.
    """
    try:
        found = hashlib.sha256()
        for item in (*_machine(), *parameters, *_files(checkout)):
            found.update(item.encode(errors="surrogateescape") + b"\0")
        return found.hexdigest()
    except (VmError, OSError):
        return None


def recall(directory: Path, name: str, wanted: str | None) -> Pass | None:
    """The pass of suite `name` if it was kept under this key."""
    try:
        kept = json.loads((directory / f"{name}.json").read_text())
        if wanted is not None and kept["key"] == wanted:
            return Pass(float(kept["at"]), str(kept["summary"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or not ours: run
    return None


def keep(directory: Path, name: str, passed_key: str, summary: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    staged = directory / f"{name}.json.new"
    staged.write_text(json.dumps({"key": passed_key, "at": time.time(), "summary": summary}) + "\n")
    staged.replace(directory / f"{name}.json")


def forget(directory: Path, name: str) -> None:
    (directory / f"{name}.json").unlink(missing_ok=True)


def _files(checkout: Path) -> Iterator[str]:
    """A line for each file: its name, its mode, its content's hash."""
    listed = run(
        ["git", "-C", checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        what="listing the files of the checkout",
    )
    names = {name for name in os.fsdecode(listed).split("\0") if name and not name.startswith(_ELSEWHERE)}
    for pattern in _COMPILED:
        names.update(str(path.relative_to(checkout)) for path in checkout.glob(pattern))
    for name in sorted(names):
        path = checkout / name
        if path.is_symlink():
            yield f"{name} -> {path.readlink()}"
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"{name} {path.stat().st_mode:o} {content}"
        else:
            yield f"{name} is gone"


def _machine() -> Iterator[str]:
    """What the suites stand on, apart from the checkout."""
    yield sys.version
    yield from sorted(f"{each.name} {each.version}" for each in importlib.metadata.distributions())
    program = shutil.which(qemu.PROGRAM)
    if program is not None:
        yield run([program, "--version"], what="asking QEMU for its version").decode()
    yield f"kvm {qemu.has_kvm()}"
    for command in (["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"], ["rpm", "-qa"]):
        if shutil.which(command[0]) is not None:
            # rpm may be installed on a Debian machine, with no database.
            yield subprocess.run(command, capture_output=True, text=True, check=False).stdout
