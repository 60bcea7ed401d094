# SPDX-License-Identifier: Apache-2.0
import json
import random
import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

import pytest

from bpflock.events import render
from bpflock.events.escape import escape
from bpflock.events.model import Ending, Event, Execution, Level, Lost, Notice, Summary
from bpflock.events.render import Format, coloured, json_line, logfmt, plain, renderer

HOSTILE = [
    b"",
    b"a b",
    b'"',
    b"\\",
    b'\\" level=info',
    b"x\nevent=forged",
    b"x\r\ntime=",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xc2\x9b31m",  # CSI as a C1 control, in UTF-8
    b"\x9b31m",  # and as a byte
    "\u202egpj.exe".encode(),
    "\u2066\u200f\u200b\ufeff".encode(),
    "\u2028\u2029\x85".encode(),
    b"x retval=0 reason=allow (privileged)",
    b"100%41",
    b"%%",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # a surrogate, encoded
    b"\xf4\x90\x80\x80",
    "héhé-日本".encode(),
    b"\x7f",
    b'-1" reason=x',
]


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    render._local_time.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    render._local_time.cache_clear()


def samples() -> Iterator[bytes]:
    yield from HOSTILE
    chance = random.Random(2)
    alphabet = [*HOSTILE, b"=", b" ", b"comm", b"reason", b"\n", b"a", b"/"]
    for _ in range(200):
        yield chance.randbytes(chance.randrange(24))
        yield b"".join(chance.choices(alphabet, k=chance.randrange(5)))
        yield "".join(
            chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))) for _ in "abc"
        ).encode()


def parse(line: str) -> dict[str, str]:
    """As a reader of logs would: the outer pairs, msg unquoted as Go or JSON does, then its `key=` pairs."""
    outer = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line))
    assert "".join(f"{key}={value} " for key, value in outer.items()).rstrip() == line
    message = json.loads(outer.pop("msg"))
    # Only operation and reason hold spaces, and neither is chosen by a process.
    pairs = re.split(r" (?=[a-z]+=)", message)
    inner = dict(pair.split("=", 1) for pair in pairs)
    assert len(inner) == len(pairs)
    return {**inner, **{key: value.strip('"') for key, value in outer.items()}}


def test_logfmt_is_exactly_the_documented_line(denial: Event, execution: Event) -> None:
    denial.time = 1644213422
    assert logfmt(denial) == (
        'time="2022-02-07T06:57:02+01:00" level=info msg="event=lsm_locked_down operation=/dev/mem,kmem,port '
        "tgid=52428 pid=52428 ppid=52288 uid=0 cgroupid=7014 comm=head pcomm=bash retval=-1 "
        'reason=denied (baseline)" bpfprog=kimglock subsys=bpf'
    )
    assert logfmt(execution).split("msg=")[1] == (
        '"event=syscall_execve tgid=1833 pid=1833 ppid=1671 uid=1000 cgroupid=8821 comm=loader pcomm=bash '
        'filename=./loader retval=0" bpfprog=execsnoop subsys=bpf'
    )


def test_added_keys(denial: Event) -> None:
    line = logfmt(replace(denial, filename=b"/dev/mem", repeats=12))
    assert "pcomm=bash filename=/dev/mem retval=-1 repeats=12 reason=denied (baseline)" in line


def test_added_keys_of_a_program_that_starts_and_ends(execution: Event) -> None:
    parents = ((1671, b"bash"), (1, b"system d"))
    started = replace(execution, execution=Execution((b"./loader", b"-x", b"a=b c"), 0, parents, False))
    exact = logfmt(execution).split('" bpfprog')[0]
    assert logfmt(started) == (
        f'{exact} parents=1671:bash,1:system%20d args=./loader -x a%3Db%20c" bpfprog=execsnoop subsys=bpf'
    )
    assert plain(started).endswith(
        "loader[1833] ./loader by bash[1671] uid 1000 < system%20d[1]: ./loader -x a%3Db%20c"
    )
    cut = replace(execution, execution=Execution((b"./loader", b"-"), 3988, parents, True))
    assert "retval=0 parents=1671:bash,1:system%20d,... cut=3988 args=./loader -" in logfmt(cut)
    assert plain(cut).endswith("< system%20d[1] < ...: ./loader - [3988 more bytes]")
    assert logfmt(replace(execution, execution=Execution((), 0, (), False))) == logfmt(execution)
    found = json.loads(json_line(cut))
    assert (found["args"], found["cut"]) == (["./loader", "-"], 3988)
    assert found["parents"] == ["1671:bash", "1:system%20d", "..."]

    exit_ = replace(execution, event="sched_process_exit", op="exit", filename=None)
    ended = replace(exit_, ending=Ending(3, None, 1.25))
    assert "pcomm=bash retval=0 status=3 duration=1.250000" in logfmt(ended)
    assert plain(ended).endswith("exit   execsnoop    loader[1833] status 3 after 1.250 s by bash[1671] uid 1000")
    killed = replace(exit_, ending=Ending(None, 9, 0.5))
    assert "retval=0 signal=SIGKILL duration=0.500000" in logfmt(killed)
    found = json.loads(json_line(killed))
    assert (found["signal"], found["duration"], "status" in found) == ("SIGKILL", 0.5, False)
    assert "signal=40 " in logfmt(replace(exit_, ending=Ending(None, 40, 0.0)))


def test_arguments_and_names_of_parents_forge_nothing(execution: Event) -> None:
    for value in samples():
        chain = ((7, value), (1, b"init"))
        event = replace(execution, execution=Execution((b"x", value, b"y"), 5, chain, False))
        line = logfmt(event)
        assert_one_harmless_line(line)
        found = parse(line)
        assert list(found)[-4:] == ["time", "level", "bpfprog", "subsys"]
        assert [unquote_to_bytes(word) for word in found["args"].split(" ")] == [b"x", value, b"y"]
        names = [parent.partition(":")[2] for parent in found["parents"].split(",")]
        assert [unquote_to_bytes(name) for name in names] == [value, b"init"]
        assert_one_harmless_line(json_line(event))
        found = json.loads(json_line(event))
        assert [unquote_to_bytes(word) for word in found["args"]] == [b"x", value, b"y"]
        assert_one_harmless_line(plain(event))
        assert_one_harmless_line(re.sub(r"\x1b\[[0-9;]*m", "", coloured(event)))


def test_logfmt_gives_back_the_exact_bytes(denial: Event) -> None:
    for value in samples():
        line = logfmt(replace(denial, comm=value, pcomm=value[::-1], filename=value))
        assert_one_harmless_line(line)
        found = parse(line)
        assert list(found) == [
            *("event", "operation", "tgid", "pid", "ppid", "uid", "cgroupid", "comm", "pcomm", "filename"),
            *("retval", "reason", "time", "level", "bpfprog", "subsys"),
        ]
        assert unquote_to_bytes(found["comm"]) == value
        assert unquote_to_bytes(found["pcomm"]) == value[::-1]
        assert unquote_to_bytes(found["filename"]) == value
        assert found["reason"] == "denied (baseline)" and found["retval"] == "-1"


def test_json_gives_back_the_exact_bytes(denial: Event) -> None:
    for value in samples():
        line = json_line(replace(denial, comm=value, filename=value))
        assert_one_harmless_line(line)
        found = json.loads(line.encode("utf-8", "strict"))
        assert unquote_to_bytes(found["comm"]) == value
        assert unquote_to_bytes(found["filename"]) == value


def test_lines_for_people_are_one_line_each(denial: Event, execution: Event) -> None:
    for value in samples():
        for event in (denial, execution):
            hostile = replace(event, comm=value, pcomm=value, filename=value)
            assert_one_harmless_line(plain(hostile))
            assert_one_harmless_line(re.sub(r"\x1b\[[0-9;]*m", "", coloured(hostile)))
            assert escape(value) in plain(hostile)


def assert_one_harmless_line(line: str) -> None:
    assert len(line.splitlines()) == 1
    line.encode("utf-8", "strict")
    for character in line:
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert unicodedata.bidirectional(character) not in {
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
            "LRI",
            "FSI",
            "PDI",
        }


def test_json_has_the_keys_of_logfmt_with_numbers_as_numbers(denial: Event, execution: Event) -> None:
    for event in (denial, execution, replace(denial, filename=b"/x y", repeats=3)):
        found = json.loads(json_line(event))
        assert set(found) == set(parse(logfmt(event)))
        assert all(isinstance(found[key], int) for key in ("tgid", "pid", "ppid", "uid", "cgroupid", "retval"))
    assert found["filename"] == "/x y" and found["repeats"] == 3 and found["retval"] == -1
    assert json.loads(json_line(denial))["time"] == "2022-02-07T06:57:22.500000+01:00"


def test_escaping_is_injective() -> None:
    values = set(samples())
    assert len({escape(value) for value in values}) == len(values)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in (b"kworker/0:1-ev", b"/usr/bin/[", b"(sd-pam)", b"./a+b,c@d~#!?*{}<>|^'`;&$"):
        assert escape(name) == name.decode()
    assert escape("/home/zoé/日本".encode()) == "/home/zoé/日本"


def test_summary_lost_and_notice() -> None:
    summary = Summary("kimglock", "tracefs", "use of tracefs", limited=4054, dropped=0, time=1644213442)
    assert logfmt(summary) == (
        'time="2022-02-07T06:57:22+01:00" level=info msg="event=summary operation=use of tracefs limited=4054 '
        'dropped=0" bpfprog=kimglock subsys=bpf'
    )
    assert "level=warning" in logfmt(replace(summary, dropped=1))
    found = json.loads(json_line(summary))
    assert (found["event"], found["operation"], found["limited"], found["dropped"]) == (
        "summary",
        "use of tracefs",
        4054,
        0,
    )
    assert 'level=warning msg="event=lost lines=7"' in logfmt(Lost(7))
    assert json.loads(json_line(Lost(7)))["lines"] == 7

    notice = Notice('cannot read "/etc/x\ny\\z"', Level.ERROR, "kmodlock", time=1644213442)
    assert logfmt(notice) == (
        'time="2022-02-07T06:57:22+01:00" level=error msg="cannot read \\"/etc/x%0Ay\\\\z\\"" '
        "bpfprog=kmodlock subsys=daemon"
    )
    assert json.loads(json_line(notice))["msg"] == 'cannot read "/etc/x%0Ay\\z"'
    for entry in (summary, Lost(7), notice, Notice("\udcff \ud800 \x1b[0m")):
        assert_one_harmless_line(logfmt(entry))
        json.loads(json_line(entry))
        assert_one_harmless_line(plain(entry))


def test_renderer_by_format(denial: Event) -> None:
    assert renderer(Format.LOGFMT)(denial) == logfmt(denial)
    assert renderer(Format.JSON, colour=True)(denial) == json_line(denial)
    assert "\x1b" not in renderer(Format.TEXT)(denial)
    assert "\x1b[1;31mDENIED" in renderer(Format.TEXT, colour=True)(denial)


def test_a_message_names_its_lock() -> None:
    assert plain(Notice("removed", bpfprog="kimglock")).endswith(" kimglock: removed")
    assert plain(Notice("removed")).endswith(" removed") and ": removed" not in plain(Notice("removed"))


def test_the_path_that_was_called(denial: Event) -> None:
    event = replace(denial, filename=b"memfd:a b", called=b"/proc/self/fd/3")
    assert " filename=memfd:a%20b path=/proc/self/fd/3 retval=-1 " in logfmt(event)
    assert json.loads(json_line(event))["path"] == "/proc/self/fd/3"
    assert " memfd:a%20b (as /proc/self/fd/3): " in plain(event)
    assert " (as " not in plain(replace(event, called=b"memfd:a b"))


def test_an_exec_that_failed(execution: Event) -> None:
    event = replace(execution, retval=-13)
    assert " retval=-13" in logfmt(event) and "reason=" not in logfmt(event)
    assert " failed execsnoop " in plain(event) and ": EACCES " in plain(event)
    assert " exec   execsnoop " in plain(execution)
