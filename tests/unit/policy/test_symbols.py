# SPDX-License-Identifier: Apache-2.0
"""Functions in real executables: whole, stripped, with debug information elsewhere."""

import lzma
import subprocess
from pathlib import Path

import pytest

from bpflock.errors import UsageError
from bpflock.policy.symbols import find_function, find_library

_SOURCE = """
__attribute__((noinline)) int check_password(int x) { __asm__ volatile(""); return x + 1; }
static inline __attribute__((always_inline)) int inlined(int x) { return x * 3; }
int main(int argc, char **argv) { (void)argv; return check_password(inlined(argc)); }
"""


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("symbols")
    (here / "p.c").write_text(_SOURCE)
    _run("gcc", "-O2", "-g", "-Wl,--build-id", "-o", here / "p", here / "p.c")
    return here / "p"


@pytest.fixture
def stripped(program: Path, tmp_path: Path) -> Path:
    path = tmp_path / "stripped"
    _run("strip", "-o", path, program)
    return path


def test_the_offset_is_that_of_the_code(program: Path, stripped: Path) -> None:
    place = find_function(program, "check_password")
    assert place.path == program.resolve()
    code = program.read_bytes()[place.offset : place.offset + 16]
    assert code in stripped.read_bytes()
    assert find_function(program, f"file+{place.offset:#x}") == place


def test_separate_debug_information(program: Path, stripped: Path) -> None:
    expected = find_function(program, "check_password").offset
    with pytest.raises(UsageError, match="stripped"):
        find_function(stripped, "check_password")
    debug = stripped.with_name("p.debug")
    _run("objcopy", "--only-keep-debug", program, debug)
    _run("objcopy", f"--add-gnu-debuglink={debug}", stripped)
    assert find_function(stripped, "check_password").offset == expected


def test_debug_information_of_another_build_is_not_believed(program: Path, stripped: Path) -> None:
    debug = stripped.with_name("p.debug")
    source = stripped.with_name("q.c")
    source.write_text(_SOURCE.replace("x + 1", "x + 2"))
    _run("gcc", "-g", "-Wl,--build-id", "-o", debug, source)
    _run("objcopy", f"--add-gnu-debuglink={debug}", stripped)
    with pytest.raises(UsageError, match="no function is called 'check_password'"):
        find_function(stripped, "check_password")


def test_small_debug_information(program: Path, stripped: Path) -> None:
    small = stripped.with_name("small")
    small.write_bytes(lzma.compress(program.read_bytes()))
    _run("objcopy", f"--add-section=.gnu_debugdata={small}", stripped)
    assert find_function(stripped, "check_password").offset == find_function(program, "check_password").offset


def test_what_is_not_there(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inlined") as caught:
        find_function(program, "inlined")
    with pytest.raises(UsageError) as caught:
        find_function(program, "check_pasword")
    assert caught.value.hint == "did you mean 'check_password'?"
    with pytest.raises(UsageError, match="no code at offset"):
        find_function(program, "file+0x0fffffff")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="no executable or library"):
        find_function(tmp_path / "script", "f")
    with pytest.raises(UsageError, match="No such file"):
        find_function(tmp_path / "none", "f")


def test_libraries() -> None:
    libc = find_library("libc.so.6")
    assert libc.is_absolute() and find_library(str(libc)) == libc
    assert find_function(libc, "fopen").offset > 0
    with pytest.raises(UsageError, match="no library is called") as caught:
        find_library("libc.so.66")
    assert "libc.so.6" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no library"):
        find_library("./libc.so.6")
