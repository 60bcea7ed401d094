# SPDX-License-Identifier: Apache-2.0
"""`bpflock policy` and `bpflock explain`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result

Run = Callable[..., Result]

_TEXT = """#![profile "/usr/bin/x"]
fs("/etc/passwd", read)
#[func "check"] fs("/etc/shadow", read)
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "x.bpfbox"
    path.write_text(_TEXT)
    return str(path)


def test_lint(bpflock: Run, policy: str) -> None:
    assert bpflock("policy", "lint", "--elsewhere", policy) == Result(0, "", "")
    Path(policy).write_text(_TEXT + 'fs("/etc/passwd", read)\n')
    result = bpflock("policy", "lint", "--elsewhere", policy)
    assert (result.status, result.err) == (1, "")
    assert result.out.startswith(f"{policy}:4:1: warning: has no effect")
    (found,) = bpflock("policy", "lint", "--elsewhere", "--json", policy).json
    assert (found["file"], found["line"], found["column"], found["severity"]) == (policy, 4, 1, "warning")


def test_lint_looks_for_functions(bpflock: Run, policy: str) -> None:
    Path(policy).write_text(f"""#![profile "{Path(sys.executable).resolve()}"]
#[func "f" ("libnone.so.1")] fs("/etc/passwd", read)
#[func "fopen" ("libc.so.6")] fs("/etc/shadow", read)
#[func "check_pasword_"] fs("/etc/group", read)
""")
    errors = [f for f in bpflock("policy", "lint", "--json", policy).json if f["severity"] == "error"]
    assert [found["line"] for found in errors] == [2, 4]
    assert "no library is called 'libnone.so.1'" in errors[0]["message"]


def test_errors_have_a_caret(bpflock: Run, policy: str) -> None:
    Path(policy).write_text(_TEXT + 'fs("/etc/passwd", raed)\ncapability(x)\n')
    for command in (["lint"], ["show"], ["test", "--access", "fs /a read"]):
        result = bpflock("policy", *command, policy)
        assert (result.status, result.out) == (2, "")
        lines = result.err.splitlines()
        assert lines[0] == f"{policy}:4:19: error: no access is called 'raed'"
        assert lines[1:4] == [
            '    fs("/etc/passwd", raed)',
            "                      ^^^^",
            "hint: did you mean 'read'?",
        ]
        assert f"{policy}:5:12: error: " in result.err
    assert [found["line"] for found in bpflock("policy", "lint", "--json", policy).json] == [4, 5]


def test_show(bpflock: Run, policy: str) -> None:
    assert bpflock("policy", "show", policy).out == _TEXT
    assert f"// {policy}:2:1" in bpflock("policy", "show", "--origins", policy).out


@pytest.mark.parametrize(
    ("arguments", "status", "out"),
    [
        (["--access", "fs /etc/passwd read"], 0, "allowed: a rule allows it"),
        (["--access", "fs /etc/shadow read"], 1, "denied: no rule allows it"),
        (["--access", "fs /etc/shadow read", "--func", "check"], 0, "allowed"),
        (["--access", "fs /etc/passwd read", "--profile", "/usr/bin/x"], 0, "allowed"),
    ],
)
def test_accesses(bpflock: Run, policy: str, arguments: list[str], status: int, out: str) -> None:
    result = bpflock("policy", "test", *arguments, policy)
    assert result.status == status
    assert result.out.startswith(out)
    assert bpflock("policy", "test", "--json", *arguments, policy).json["allowed"] == (status == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--access", "fs /a"], "not the words of one"),
        (["--access", "fs /a read", "--func", "chek"], "no rules for function 'chek'"),
        (["--access", "fs /a read", "--profile", "/usr/bin/y"], "no profile is for /usr/bin/y"),
    ],
)
def test_wrong_usage(bpflock: Run, policy: str, arguments: list[str], message: str) -> None:
    result = bpflock("policy", "test", *arguments, policy)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--"], "no command"),
        (["--", "/no/such"], "no such command: /no/such"),
        (["/no/such", "--", "-x"], "no such command: /no/such"),
        (["--", sys.executable, "-c", ""], "no profile is for"),
    ],
)
def test_confine_wants_a_command_of_the_policy(bpflock: Run, policy: str, command: list[str], message: str) -> None:
    result = bpflock("confine", policy, *command)
    assert (result.status, result.out) == (2, "")
    assert message in result.err


def test_explain(bpflock: Run, policy: str) -> None:
    event = (
        '{"event":"lsm_file_open","operation":"read","pid":7,"comm":"x","filename":"/etc/shadow",'
        '"profile":"/usr/bin/x","reason":"denied (policy)","bpfprog":"policy"}'
    )
    result = bpflock("explain", "--policy", policy, event)
    assert (result.status, result.err) == (0, "")
    assert "it holds only inside check()" in result.out
    assert bpflock("explain", "--policy", policy).status == 2
    assert bpflock("explain", "--last", "--policy", policy).status in (1, 4)


def test_the_parser_is_not_imported_for_help() -> None:
    code = "import sys; from bpflock.cli.main import main; main(['policy', '--help']); print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "False"
