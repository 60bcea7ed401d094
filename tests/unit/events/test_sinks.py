# SPDX-License-Identifier: Apache-2.0
import os
import pty
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.events.render import Format, coloured, logfmt, plain
from bpflock.events.sinks import Writer, renderer_for, wants_colour
from bpflock.events.stream import Stream


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read_until(fd: int, enough: Callable[[str], bool]) -> str:
    os.set_blocking(fd, False)
    text, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(fd, 65536)
        except BlockingIOError:
            time.sleep(0.005)
            continue
        text += piece
        if enough(text.decode()) or not piece:
            return text.decode()
    raise AssertionError(f"only {len(text)} bytes came: {text[-300:]!r}")


def test_a_line_for_each_entry(pipe: tuple[int, int], denial: Event, execution: Event) -> None:
    stream = Stream()
    writer = Writer(stream, pipe[1], logfmt)
    stream.publish([denial, execution])
    stream.publish([denial])
    writer.close()
    text = read_until(pipe[0], lambda text: text.count("\n") == 3)
    assert text == f"{logfmt(denial)}\n{logfmt(execution)}\n{logfmt(denial)}\n"


def test_a_full_pipe_holds_nobody_up_and_every_line_is_accounted_for(pipe: tuple[int, int], denial: Event) -> None:
    stream = Stream()
    writer = Writer(stream, pipe[1], logfmt)
    started = time.monotonic()
    published = 0
    for number in range(400):  # 40,000 lines of 190 bytes; the pipe holds 64 KiB
        stream.publish([replace(denial, pid=number)] * 100)
        published += 100
    assert time.monotonic() - started < 5
    # The reader wakes up, late: the rest comes, then the number of those that are missing.
    text = read_until(pipe[0], lambda text: "event=lost" in text and text.endswith("\n"))
    stream.publish([denial])
    text += read_until(pipe[0], lambda text: text.endswith("\n"))
    lines = text.splitlines()
    lost = [line for line in lines if "event=lost" in line]
    missing = sum(int(line.split("lines=")[1].split('"')[0]) for line in lost)
    assert missing > 0
    assert len(lines) - len(lost) - 1 + missing == published
    assert all("level=warning" in line for line in lost)
    writer.close()


def test_close_does_not_wait_for_a_reader_that_stands_still(pipe: tuple[int, int], denial: Event) -> None:
    stream = Stream()
    writer = Writer(stream, pipe[1], logfmt)
    stream.publish([denial] * 2000)
    started = time.monotonic()
    writer.close(timeout=0.2)
    assert time.monotonic() - started < 2


def test_a_reader_that_is_gone_ends_the_writing_only(pipe: tuple[int, int], denial: Event) -> None:
    stream = Stream()
    other = stream.subscribe()
    writer = Writer(stream, pipe[1], logfmt)
    os.close(pipe[0])
    for _ in range(3):
        stream.publish([denial])
        time.sleep(0.02)
    writer.close()
    assert len(other.get()) == 3


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_disk_tears_no_line_and_is_told_when_there_is_room(tmp_path: Path, denial: Event) -> None:
    path = tmp_path / "log"
    fd = os.open("/dev/full", os.O_WRONLY)
    room = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stream = Stream()
    writer = Writer(stream, fd, logfmt)
    stream.publish([denial, denial])
    wait_for(lambda: writer._subscription._undelivered == 2)
    stream.publish([denial, denial])
    wait_for(lambda: writer._subscription._undelivered == 4)
    os.write(room, b"half a li")
    writer._torn = True  # what half a line leaves behind
    os.dup2(room, fd)
    stream.publish([denial])
    wait_for(lambda: path.read_text().endswith("subsys=bpf\n"))
    first, lost, line = path.read_text().splitlines()
    assert (first, line) == ("half a li", logfmt(denial))
    assert 'msg="event=lost lines=4"' in lost
    writer.close()
    os.close(fd)
    os.close(room)


def test_a_pipe_that_somebody_made_non_blocking(pipe: tuple[int, int], denial: Event) -> None:
    os.set_blocking(pipe[1], False)
    stream = Stream()
    writer = Writer(stream, pipe[1], logfmt)
    stream.publish([denial] * 1500)  # more than the pipe holds
    text = read_until(pipe[0], lambda text: text.count("\n") == 1500)
    assert set(text.splitlines()) == {logfmt(denial)}
    writer.close()


def test_format_and_colour_by_what_the_descriptor_is(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    controller, terminal = pty.openpty()
    try:
        assert renderer_for(terminal) is coloured
        assert renderer_for(terminal, Format.LOGFMT) is logfmt
        assert renderer_for(pipe[1]) is logfmt
        assert renderer_for(pipe[1], Format.TEXT) is plain
        monkeypatch.setenv("NO_COLOR", "1")
        assert renderer_for(terminal) is plain
        monkeypatch.setenv("NO_COLOR", "")
        assert wants_colour(terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert not wants_colour(terminal)
    finally:
        os.close(controller)
        os.close(terminal)
