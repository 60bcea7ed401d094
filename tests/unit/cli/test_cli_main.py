# SPDX-License-Identifier: Apache-2.0
"""Errors, help, exit statuses, colours, pipes: what all commands have in common."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bpflock.cli import main as module
from bpflock.cli.main import cli
from bpflock.cli.output import one_line
from bpflock.errors import PermissionsError

from .conftest import FakeEnforcer, Result

Run = Callable[..., Result]

_COMMANDS = [
    ["check"],
    ["run"],
    ["lock"],
    ["unlock"],
    ["status"],
    ["events"],
    ["cgroup", "set"],
    ["cgroup", "unset"],
    ["cgroup", "list"],
    ["usb", "list"],
    ["usb", "allow"],
    ["usb", "block"],
    ["policy", "lint"],
    ["policy", "show"],
    ["policy", "test"],
    ["policy", "load"],
    ["policy", "unload"],
    ["policy", "list"],
    ["policy", "mode"],
    ["confine"],
    ["explain"],
    ["config", "show"],
    ["completion"],
    ["version"],
]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_the_list_of_commands_is_whole() -> None:
    context = click.Context(cli)
    found = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        found += [[name, sub] for sub in command.commands] if isinstance(command, click.Group) else [[name]]
    assert found == _COMMANDS


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_each_command_has_help_with_examples(bpflock: Run, command: list[str]) -> None:
    result = bpflock(*command, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: bpflock {' '.join(command)} ")
    assert "Examples:\n  # " in result.out
    assert f"\n  bpflock {' '.join(command)}" in result.out
    assert result.err == ""


@pytest.mark.parametrize("command", [["--help"], ["-h"]], ids=" ".join)
def test_help(bpflock: Run, command: list[str]) -> None:
    result = bpflock(*command)
    assert result.status == 0
    for name in cli.list_commands(click.Context(cli)):
        assert f"\n  {name} " in result.out
    assert "Examples:" in result.out


def test_no_command_shows_the_help_and_fails(bpflock: Run) -> None:
    result = bpflock()
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("Usage: bpflock ")


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["statsu"], "'bpflock' has no command 'statsu'", "did you mean 'status'?"),
        (["cgroup", "ste"], "'bpflock cgroup' has no command 'ste'", "did you mean 'set'?"),
        (["cgroup"], "missing command", "see 'bpflock cgroup --help'"),
        (["status", "--jsn"], "'bpflock status' has no option '--jsn'", "did you mean '--json'?"),
        (["status", "kimglock"], "got unexpected extra argument (kimglock)", "see 'bpflock status --help'"),
        (["cgroup", "set", "x"], "missing argument 'PROFILE'", "see 'bpflock cgroup set --help'"),
        (["--frobnicate"], "'bpflock' has no option '--frobnicate'", ""),
    ],
)
def test_wrong_usage(bpflock: Run, args: list[str], message: str, hint: str) -> None:
    result = bpflock(*args)
    assert (result.status, result.out) == (2, "")
    first, *rest = result.err.splitlines()
    assert first == f"bpflock: error: {message}"
    if hint:
        assert rest == [f"hint: {hint}"]


def test_errors_keep_their_status_and_have_no_traceback(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.error = PermissionsError("only root may do this", hint="run it as root")
    result = bpflock("status")
    assert result.status == 4
    assert result.err == "bpflock: error: only root may do this\nhint: run it as root\n"


@pytest.mark.parametrize("args", [["--debug", "status"], ["status", "--debug"], ["-D", "status"]], ids=" ".join)
def test_debug_shows_the_traceback(bpflock: Run, enforcer: FakeEnforcer, args: list[str]) -> None:
    enforcer.error = PermissionsError("only root may do this")
    result = bpflock(*args)
    assert result.status == 4
    assert "Traceback" in result.err
    assert result.err.endswith("bpflock: error: only root may do this\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("division by zero"), "internal error: ZeroDivisionError: division by zero"),
        (ValueError("two\nlines \x1b[31m"), "internal error: ValueError: two\\nlines \\x1b[31m"),
        (OSError(28, "No space left on device", "/run/x"), "/run/x: No space left on device"),
    ],
)
def test_even_a_bug_is_one_line(bpflock: Run, enforcer: FakeEnforcer, error: Exception, message: str) -> None:
    enforcer.error = error
    result = bpflock("status")
    assert result.status == 1
    assert result.err == f"bpflock: error: {message}\nhint: the flag --debug shows where\n"


def test_interrupt(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.error = KeyboardInterrupt()
    result = bpflock("status")
    assert (result.status, result.err.strip()) == (130, "")


def test_a_reader_that_is_gone_is_no_error() -> None:
    """`bpflock status | head -1`, with more output than a pipe holds."""
    code = (
        "import sys; from bpflock.cli import completion, main\n"
        "def echo(text): [main.echo(text) for _ in range(2000)]\n"
        "completion.echo = echo\n"
        "sys.exit(main.main(['completion', 'bash']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


def test_a_reader_that_is_gone_before_a_short_output() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "bpflock.cli.main", "version"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_on_a_terminal_and_without_no_color(no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "bpflock.cli.main", "lock", "kimlock"],
        stderr=theirs,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": no_color},
    )
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert ("\x1b[" in shown) == coloured
    assert "kimlock" in shown


@pytest.mark.parametrize(
    ("args", "files", "imported"),
    [
        (["version"], {}, []),
        (["config", "show"], {}, ["bpflock.config"]),
        (["config", "show"], {"bpflock.yaml": "# nothing is set\n"}, ["bpflock.config", "yaml"]),
        (["config", "show", "--json"], {"bpflock.d/debug": "yes"}, ["bpflock.config", "json"]),
    ],
)
def test_only_what_a_command_needs_is_imported(
    etc: Path, args: list[str], files: dict[str, str], imported: list[str]
) -> None:
    """Starting is slow where the processor is emulated."""
    for name, text in files.items():
        (etc / name).parent.mkdir(exist_ok=True)
        (etc / name).write_text(text)
    watched = ("bpflock.config", "bpflock.kernel.bpf", "bpflock.locks.enforce", "json", "yaml")
    code = (
        f"import sys; from bpflock.cli.main import main; assert main({args!r}) == 0;"
        f"print(*(m for m in {watched!r} if m in sys.modules))"
    )
    assert _python(code).stdout.splitlines()[-1].split() == imported


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text – with ünicode", "plain text – with ünicode"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202ereversed", "\\u202ereversed"),
        ("\udcff", "\\udcff"),
        ("x" * 5000, "x" * 600 + "…"),
    ],
)
def test_one_line(text: str, safe: str) -> None:
    assert one_line(text) == safe


def test_main_takes_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bpflock", "version"])
    assert module.main() == 0
    assert capfd.readouterr().out.startswith("bpflock ")
