# SPDX-License-Identifier: Apache-2.0
"""A copy of this checkout, to be changed, built and tested: sources, what was compiled, and a virtual environment whose
bpflock is the copy.

    python -m tests.mutants.checkout DIRECTORY       for tests that must not see what is edited meanwhile
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_COMPILED = ("build/attack", "build/attack-login", "src/bpflock/kernel/*.so", "src/bpflock/kernel/objects")


class Checkout:
    """The copy. Guests see it only below the checkout itself: build/ is a good place."""

    def __init__(self, directory: Path) -> None:
        self.path = directory.resolve()
        self.python = self.path / ".venv" / "bin" / "python"

    def make(self) -> None:
        """Anew."""
        if self.path.exists():
            shutil.rmtree(self.path)
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
        )
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if (ROOT / name).is_file():
                self._copy(ROOT / name)
        for pattern in _COMPILED:
            for found in ROOT.glob(pattern):
                for file in found.rglob("*") if found.is_dir() else (found,):
                    if file.is_file():
                        self._copy(file)
        (self.path / ".git").mkdir()  # where the harness sees a checkout end
        self._make_environment()

    def _copy(self, file: Path) -> None:
        target = self.path / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)

    def _make_environment(self) -> None:
        """All packages of ours are links; only bpflock is another one."""
        ours, theirs = Path(sys.prefix), self.path / ".venv"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = theirs / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        for entry in (ours / "lib" / version / "site-packages").iterdir():
            if not entry.name.startswith("__editable__"):
                (packages / entry.name).symlink_to(entry)
        (packages / "__editable__.bpflock.pth").write_text(f"{self.path / 'src'}\n")
        (theirs / "bin").mkdir()
        shutil.copy(ours / "pyvenv.cfg", theirs)
        for name in ("python", "python3"):
            (theirs / "bin" / name).symlink_to((ours / "bin" / "python").resolve())
        script = (ours / "bin" / "bpflock").read_text().partition("\n")[2]
        (theirs / "bin" / "bpflock").write_text(f"#!{self.python}\n{script}")
        (theirs / "bin" / "bpflock").chmod(0o755)


if __name__ == "__main__":
    Checkout(Path(sys.argv[1])).make()
