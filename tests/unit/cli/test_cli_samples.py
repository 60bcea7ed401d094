# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows as output is what is printed: of the configuration, and of events."""

import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpflock.cli.lock import lock
from bpflock.config.options import OPTIONS
from tests.unit.docs.samples import PAGES, Sample, differs, samples

from .conftest import FakeEnforcer, Result

_ETC = "/etc/bpflock"
_SHOWN = [s for page in PAGES for s in samples(page) if "bpflock config show" in s.command and s.output]
_LOCKED = [s for page in PAGES for s in samples(page) if s.command.startswith("bpflock lock --all")]
# Of logfmt: what the renderer writes, in its order.
_KEYS = (
    *("event", "operation", "tgid", "pid", "ppid", "uid", "cgroupid", "comm", "pcomm", "filename", "path", "profile"),
    *("kind", "family", "type", "protocol", "address", "port", "peer", "who"),
    *("retval", "repeats", "reason", "parents", "cut", "args", "status", "signal", "duration"),
)
_EVENTS = [
    pytest.param(match[1], id=f"{page.stem}-{number}")
    for page in PAGES
    for number, line in enumerate(page.read_text().splitlines(), 1)
    if (match := re.fullmatch(r' *time="[^"]+" level=info msg="(event=.*)" bpfprog=\w+ subsys=bpf', line))
]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, etc: Path) -> Iterator[Path]:
    """In the place of /etc/bpflock."""
    path = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    path.chmod(0o755)
    monkeypatch.delenv("BPFLOCK_CONFIG_DIR")
    monkeypatch.setitem(OPTIONS, "config-dir", replace(OPTIONS["config-dir"], default=str(path)))
    yield path
    shutil.rmtree(path)


def _lay_out(page: Path, place: Path, until: Sample) -> None:
    """The files that the page shows before a command."""
    for sample in samples(page):
        if sample == until:
            return
        match = re.fullmatch(rf"(?:cat|head) {_ETC}/(\S+)", sample.command)
        if match:
            path = place / match[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(sample.output) + "\n")


@pytest.mark.parametrize("sample", _SHOWN, ids=str)
def test_config_show(
    sample: Sample,
    place: Path,
    bpflock: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "echo" not in sample.command:
        _lay_out(sample.page, place, sample)
    command = sample.command
    if match := re.match(rf"echo '(.*)' >> {_ETC}/(\S+); (.*)", command):
        (place / match[2]).write_text("\n" * 4 + match[1] + "\n")  # four lines are above it, whatever they say
        command = match[3]
    words = shlex.split(command)
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    result = bpflock(*words[1:])
    printed = (result.out + result.err).replace(str(place), _ETC).splitlines()
    assert differs(sample.output, printed) == ""


def test_there_are_samples() -> None:
    assert len(_SHOWN) >= 5
    assert len(_LOCKED) >= 1
    assert len(_EVENTS) >= 20


@pytest.mark.parametrize("sample", _LOCKED, ids=str)
def test_lock_all(
    sample: Sample,
    place: Path,
    enforcer: FakeEnforcer,
    bpflock: Callable[..., Result],
) -> None:
    result = bpflock(*shlex.split(sample.command)[1:])
    assert differs(sample.output, result.out.splitlines()) == ""


@pytest.mark.parametrize("message", _EVENTS)
def test_events(message: str) -> None:
    """Known keys, in the order in which they are written."""
    if "event=summary" in message:
        return
    keys = re.findall(r"(?:^| )([a-z]+)=", message)
    assert [key for key in keys if key not in _KEYS] == []
    assert keys == sorted(keys, key=_KEYS.index)
    assert len(set(keys)) == len(keys)
    if "operation=memfd" in message:
        assert " filename=memfd:" in message
        assert ("lsm_bprm" in message) == (" path=" in message)


def test_what_differs_is_found() -> None:
    assert differs(("a", "[...]", "c"), ["a", "b", "c"]) == ""
    assert differs(("a", "c"), ["a", "b", "c"]) != ""
    assert differs(("a",), ["a", "b"]) != ""
    assert differs(("a", "[...]"), ["a", "b"]) == ""
    assert differs(("a  b",), ["a     b"]) == ""
    assert differs(("a", "[...]", "d"), ["a", "b", "c"]) != ""


def test_nothing_recommends_to_remove_pins() -> None:
    """A daemon calls that damage."""
    assert "rm -r" not in (lock.help or "")
