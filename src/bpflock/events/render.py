# SPDX-License-Identifier: Apache-2.0
"""One line of text for each entry: logfmt, JSON, or a line for people.

Text in logfmt and JSON is trusted (constants, names of this package) except comm, pcomm, filename and notices, which
are escaped: see escape.py.
"""

import enum
import functools
import time
from collections.abc import Callable

from bpflock.events.escape import escape, escape_json, quote
from bpflock.events.model import Entry, Event, Level, Lost, Notice, Summary

Renderer = Callable[[Entry], str]


class Format(enum.StrEnum):
    LOGFMT = "logfmt"
    JSON = "json"
    TEXT = "text"


def renderer(form: Format, *, colour: bool = False) -> Renderer:
    """The function that makes a line, without a newline, of an entry. `colour` is for TEXT only."""
    if form is Format.TEXT:
        return coloured if colour else plain
    return json_line if form is Format.JSON else logfmt


@functools.lru_cache(maxsize=16)
def _local_time(second: int) -> tuple[str, str]:
    """Local time up to the second, and the distance to UTC, as in RFC 3339."""
    local = time.localtime(second)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local), f"{zone[:3]}:{zone[3:5]}"


def _stamp(when: float) -> str:
    moment, zone = _local_time(int(when))
    return moment + zone


def _precise_stamp(when: float) -> str:
    second = int(when)
    moment, zone = _local_time(second)
    return f"{moment}.{int((when - second) * 1e6):06}{zone}"


# logfmt


def logfmt(entry: Entry) -> str:
    """As logrus writes it: time, level, msg with the event's own keys, then what all events of a program share."""
    if not isinstance(entry, Event):
        return _logfmt_other(entry)
    operation = f" operation={entry.operation}" if entry.reason else ""
    filename = f" filename={escape(entry.filename)}" if entry.filename is not None else ""
    profile = f" profile={escape(entry.policy.profile.encode())}" if entry.policy else ""
    repeats = f" repeats={entry.repeats}" if entry.repeats else ""
    reason = f" reason={entry.reason}" if entry.reason else ""
    return (
        f'time="{_stamp(entry.time)}" level=info msg="event={entry.event}{operation} tgid={entry.tgid} pid={entry.pid} '
        f"ppid={entry.ppid} uid={entry.uid} cgroupid={entry.cgroupid} comm={escape(entry.comm)} "
        f'pcomm={escape(entry.pcomm)}{filename}{profile} retval={entry.retval}{repeats}{reason}" '
        f"bpfprog={entry.bpfprog} subsys=bpf"
    )


def _logfmt_other(entry: Summary | Lost | Notice) -> str:
    head = f'time="{_stamp(entry.time)}" level={_level(entry)} msg='
    if isinstance(entry, Summary):
        what = f"event=summary operation={entry.operation} limited={entry.limited} dropped={entry.dropped}"
        return f'{head}"{what}" bpfprog={entry.bpfprog} subsys=bpf'
    if isinstance(entry, Lost):
        return f'{head}"event=lost lines={entry.lines}" subsys=daemon'
    bpfprog = f" bpfprog={entry.bpfprog}" if entry.bpfprog else ""
    return f"{head}{quote(entry.text)}{bpfprog} subsys=daemon"


def _level(entry: Entry) -> Level:
    if isinstance(entry, Notice):
        return entry.level
    if isinstance(entry, Lost) or (isinstance(entry, Summary) and entry.dropped):
        return Level.WARNING
    return Level.INFO


# JSON


def json_line(entry: Entry) -> str:
    """The keys of logfmt in one flat object, numbers as numbers, time with microseconds."""
    if not isinstance(entry, Event):
        return _json_other(entry)
    operation = f'"operation":"{entry.operation}",' if entry.reason else ""
    filename = f'"filename":{escape_json(entry.filename)},' if entry.filename is not None else ""
    profile = f'"profile":{escape_json(entry.policy.profile.encode())},' if entry.policy else ""
    repeats = f'"repeats":{entry.repeats},' if entry.repeats else ""
    reason = f'"reason":"{entry.reason}",' if entry.reason else ""
    return (
        f'{{"time":"{_precise_stamp(entry.time)}","level":"info","event":"{entry.event}",{operation}'
        f'"tgid":{entry.tgid},"pid":{entry.pid},"ppid":{entry.ppid},"uid":{entry.uid},"cgroupid":{entry.cgroupid},'
        f'"comm":{escape_json(entry.comm)},"pcomm":{escape_json(entry.pcomm)},{filename}{profile}"retval":{entry.retval},'
        f'{repeats}{reason}"bpfprog":"{entry.bpfprog}","subsys":"bpf"}}'
    )


def _json_other(entry: Summary | Lost | Notice) -> str:
    head = f'{{"time":"{_precise_stamp(entry.time)}","level":"{_level(entry)}",'
    if isinstance(entry, Summary):
        counts = f'"limited":{entry.limited},"dropped":{entry.dropped}'
        what = f'"event":"summary","operation":"{entry.operation}",{counts},"bpfprog":"{entry.bpfprog}"'
        return f'{head}{what},"subsys":"bpf"}}'
    if isinstance(entry, Lost):
        return f'{head}"event":"lost","lines":{entry.lines},"subsys":"daemon"}}'
    bpfprog = f'"bpfprog":"{entry.bpfprog}",' if entry.bpfprog else ""
    # quote() leaves a string that is quoted for JSON too.
    return f'{head}"msg":{quote(entry.text)},{bpfprog}"subsys":"daemon"}}'


# For people

_PLAIN = {"red": "", "green": "", "yellow": "", "cyan": "", "dim": "", "off": ""}
_COLOURS = {
    "red": "\x1b[1;31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "cyan": "\x1b[36m",
    "dim": "\x1b[2m",
    "off": "\x1b[0m",
}


def plain(entry: Entry) -> str:
    return _people(entry, _PLAIN)


def coloured(entry: Entry) -> str:
    return _people(entry, _COLOURS)


def _people(entry: Entry, colours: dict[str, str]) -> str:
    dim, off = colours["dim"], colours["off"]
    clock = f"{dim}{_local_time(int(entry.time))[0][11:]}{off}"
    if not isinstance(entry, Event):
        return f"{clock} {_people_other(entry, colours)}"
    who = f"{escape(entry.comm)}[{entry.pid}]"
    parent = f"{dim}by {escape(entry.pcomm)}[{entry.ppid}] uid {entry.uid}{off}"
    filename = f" {escape(entry.filename)}" if entry.filename is not None else ""
    repeats = f" {colours['yellow']}+{entry.repeats} before{off}" if entry.repeats else ""
    if not entry.reason:
        return f"{clock} {colours['cyan']}exec  {off} {entry.bpfprog:<12} {who}{filename} {parent}{repeats}"
    verdict = f"{colours['red']}DENIED{off}" if entry.denied else f"{colours['green']}allow {off}"
    what = f"{entry.bpfprog:<12} {entry.op} ({entry.operation})" if entry.op != entry.operation else ""
    what = what or f"{entry.bpfprog:<12} {entry.op}"
    return f"{clock} {verdict} {what}{filename}: {who} {parent}, {entry.reason}{repeats}"


def _people_other(entry: Summary | Lost | Notice, colours: dict[str, str]) -> str:
    yellow, off = colours["yellow"], colours["off"]
    if isinstance(entry, Summary):
        dropped = f", {yellow}{entry.dropped} lost in the kernel{off}" if entry.dropped else ""
        return f"count  {entry.bpfprog:<12} {entry.op}: {entry.limited} more of the same{dropped}"
    if isinstance(entry, Lost):
        return f"{yellow}lost   {entry.lines} lines: this reader is too slow{off}"
    colour = {Level.ERROR: colours["red"], Level.WARNING: yellow}.get(entry.level, "")
    bpfprog = f"{entry.bpfprog}: " if entry.bpfprog else ""
    # Quoted for its escapes only.
    return f"{colour}{bpfprog}{quote(entry.text)[1:-1]}{off if colour else ''}"
