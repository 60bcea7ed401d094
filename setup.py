# SPDX-License-Identifier: Apache-2.0
"""Compiles the BPF programs (bpf/*.bpf.c) into the package, and the binding to libbpf.

Everything else about the package is in pyproject.toml.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "bpf"
OBJECTS = ROOT / "src" / "bpflock" / "kernel" / "objects"

# What libbpf's headers (bpf_tracing.h) call the machine whose registers a program reads.
TARGETS = {"x86_64": "x86", "aarch64": "arm64"}

FLAGS = (
    "-target",
    "bpfel-freestanding-none",
    "-O2",
    "-g",  # for types and line numbers (BTF)
    "-fdebug-compilation-dir=.",
    "-fno-asynchronous-unwind-tables",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-default-const-init-var-unsafe",  # BPF_CORE_READ() of a const field
    "-idirafter",
    "/usr/include",  # libbpf's headers; zig searches nothing by itself
)


def compile_objects() -> None:
    OBJECTS.mkdir(exist_ok=True)
    headers = sorted(SOURCES.glob("*.h"))
    machine = platform.machine()
    if machine not in TARGETS:
        sys.exit(f"no BPF build for {machine}: expected one of {', '.join(TARGETS)}")
    flags = (*FLAGS, f"-D__TARGET_ARCH_{TARGETS[machine]}")
    for source in sorted(SOURCES.glob("*.bpf.c")):
        target = OBJECTS / source.with_suffix(".o").name
        stamp = target.with_suffix(".o.stamp")
        inputs = [*headers, source, ROOT / "setup.py"]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
        if target.exists() and stamp.exists() and stamp.read_text() == digest:
            continue
        print(f"compiling {source.name}", flush=True)
        # In a copy, with relative names only: no path of this machine gets into the object.
        with tempfile.TemporaryDirectory() as scratch:
            for path in (*headers, source):
                shutil.copy(path, scratch)
            command = [sys.executable, "-m", "ziglang", "cc", *flags, "-c", source.name, "-o", target.name]
            if subprocess.run(command, cwd=scratch).returncode:
                sys.exit(f"cannot compile {source}")
            shutil.copy(Path(scratch) / target.name, target)
        stamp.write_text(digest)


class BuildPy(build_py):
    def run(self) -> None:
        compile_objects()
        super().run()


def data_files() -> list[tuple[str, list[str]]]:
    """What `make man` generated: it needs the package, so it cannot be made here."""
    generated = {
        "share/man/man8": "man/*.8",
        "share/bash-completion/completions": "completion/bash/*",
        "share/zsh/site-functions": "completion/zsh/*",
        "share/fish/vendor_completions.d": "completion/fish/*",
    }
    return [
        (directory, sorted(str(path.relative_to(ROOT)) for path in (ROOT / "build").glob(pattern)))
        for directory, pattern in generated.items()
    ]


setup(
    data_files=data_files(),
    cmdclass={"build_py": BuildPy},
    cffi_modules=["src/bpflock/kernel/_libbpf_build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
