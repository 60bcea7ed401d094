# SPDX-License-Identifier: Apache-2.0
"""Functions in real executables: whole, stripped, with debug information elsewhere."""

import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from bpflock.errors import UsageError
from bpflock.policy.symbols import find_function, find_library, find_some

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
    for file in (program, stripped):
        assert find_function(file, f"file+{place.offset}").offset == place.offset
        with pytest.raises(UsageError, match=f"no function begins at offset {place.offset + 1:#x}") as caught:
            find_function(file, f"file+{place.offset + 1}")
        assert f"file+{place.offset:#x}" in (caught.value.hint or "")


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


def test_two_functions_of_one_name(tmp_path: Path) -> None:
    """Which one is meant nobody can know: a probe on the wrong one would widen rights where nobody wants it."""
    for name in ("one", "two"):
        body = f'static __attribute__((noinline)) int check(int x) {{ __asm__ volatile(""); return x + {len(name)}; }}'
        (tmp_path / f"{name}.c").write_text(f"{body}\nint {name}(int x) {{ return check(x) + {ord(name[0])}; }}\n")
    (tmp_path / "m.c").write_text(
        "int one(int); int two(int); int main(int c, char **v) { (void)v; return one(two(c)); }"
    )
    program = tmp_path / "twice"
    _run("gcc", "-O2", "-o", program, tmp_path / "m.c", tmp_path / "one.c", tmp_path / "two.c")
    with pytest.raises(UsageError, match="2 functions are called 'check'") as caught:
        find_function(program, "check")
    assert caught.value.hint == "choose by file+0xOFFSET"
    # The same address under one name twice is one function.
    assert find_function(program, "one").offset != find_function(program, "two").offset


def test_programs_that_cannot_be_probed(program: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    _run("objcopy", f"--add-section=.gopclntab={program}", program, go)
    with pytest.raises(UsageError, match="a Go program"):
        find_function(go, "main")
    header = struct.pack("<2H5I6H", 2, 3, 1, 0, 0, 0, 0, 52, 0, 0, 0, 0, 0)
    (tmp_path / "32").write_bytes(b"\x7fELF\1\1\1".ljust(16, b"\0") + header)
    with pytest.raises(UsageError, match="a 32-bit file"):
        find_function(tmp_path / "32", "main")


def test_some_of_several_functions(program: Path, tmp_path: Path) -> None:
    """Each once, by the first of its names."""
    libc = find_library("libc.so.6")
    found = find_some(libc, ("longjmp", "siglongjmp", "fopen", "none"))
    assert {name: place.offset for name, place in found.items()} == {
        name: find_function(libc, name).offset for name in ("longjmp", "fopen")
    }
    assert find_some(program, ("longjmp", "check_password")) == {}, "linked to the C library: it is there"
    static = tmp_path / "static"
    source = tmp_path / "static.c"
    source.write_text("#include <setjmp.h>\njmp_buf top; int main(void) { longjmp(top, 1); }")
    _run("gcc", "-static", "-o", static, source)
    assert find_some(static, ("longjmp", "none")) == {"longjmp": find_function(static, "longjmp")}


def test_libraries() -> None:
    libc = find_library("libc.so.6")
    assert libc.is_absolute() and find_library(str(libc)) == libc
    assert find_function(libc, "fopen").offset > 0
    with pytest.raises(UsageError, match="no library is called") as caught:
        find_library("libc.so.66")
    assert "libc.so.6" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no library"):
        find_library("./libc.so.6")
