# SPDX-License-Identifier: Apache-2.0
"""One line of text for each entry: logfmt, JSON, or a line for people.

Text in logfmt and JSON is trusted (constants, names of this package) except what a process chose and notices, which
are escaped: see escape.py.
"""

import enum
import errno
import functools
import signal
import time
from collections.abc import Callable

from bpflock.events.escape import escape, escape_json, quote
from bpflock.events.model import Ending, Entry, Event, Execution, Level, Lost, Notice, Summary

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
    if entry.called is not None:
        filename += f" path={escape(entry.called)}"
    profile = ""
    if entry.policy:
        about = "".join(f" {key}={value}" for key, value in entry.policy.about)
        profile = f" profile={escape(entry.policy.profile.encode())}{about}"
    repeats = f" repeats={entry.repeats}" if entry.repeats else ""
    reason = f" reason={entry.reason}" if entry.reason else ""
    added = _logfmt_added(entry) if entry.execution or entry.ending else ""
    return (
        f'time="{_stamp(entry.time)}" level=info msg="event={entry.event}{operation} tgid={entry.tgid} pid={entry.pid} '
        f"ppid={entry.ppid} uid={entry.uid} cgroupid={entry.cgroupid} comm={escape(entry.comm)} "
        f'pcomm={escape(entry.pcomm)}{filename}{profile} retval={entry.retval}{repeats}{reason}{added}" '
        f"bpfprog={entry.bpfprog} subsys=bpf"
    )


def _logfmt_added(event: Event) -> str:
    """The further keys of execsnoop. Arguments are words between spaces: escape() leaves no space and no `=` in one."""
    if event.ending:
        return f" {_how(event.ending)} duration={event.ending.duration:.6f}"
    assert event.execution
    chain = f" parents={','.join(_parents(event.execution))}" if event.execution.parents else ""
    cut = f" cut={event.execution.cut}" if event.execution.cut else ""
    args = f" args={' '.join(map(escape, event.execution.args))}" if event.execution.args else ""
    return chain + cut + args


def _how(ending: Ending) -> str:
    return f"status={ending.status}" if ending.signal is None else f"signal={_signal_name(ending.signal)}"


def _signal_name(number: int) -> str:
    """`SIGKILL`; of those that have no name, such as most real-time signals, the number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _parents(execution: Execution) -> list[str]:
    """`pid:comm` of each, then `...` if there are more above. A comma in a name is escaped, as it delimits in text."""
    chain = [f"{pid}:{escape(comm).replace(',', '%2C')}" for pid, comm in execution.parents]
    return [*chain, "..."] if execution.higher else chain


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
    if entry.called is not None:
        filename += f'"path":{escape_json(entry.called)},'
    profile = ""
    if entry.policy:
        about = "".join(
            f'"{key}":{value},' if isinstance(value, int) else f'"{key}":"{value}",'
            for key, value in entry.policy.about
        )
        profile = f'"profile":{escape_json(entry.policy.profile.encode())},{about}'
    repeats = f'"repeats":{entry.repeats},' if entry.repeats else ""
    reason = f'"reason":"{entry.reason}",' if entry.reason else ""
    added = _json_added(entry) if entry.execution or entry.ending else ""
    return (
        f'{{"time":"{_precise_stamp(entry.time)}","level":"info","event":"{entry.event}",{operation}'
        f'"tgid":{entry.tgid},"pid":{entry.pid},"ppid":{entry.ppid},"uid":{entry.uid},"cgroupid":{entry.cgroupid},'
        f'"comm":{escape_json(entry.comm)},"pcomm":{escape_json(entry.pcomm)},{filename}{profile}"retval":{entry.retval},'
        f'{repeats}{reason}{added}"bpfprog":"{entry.bpfprog}","subsys":"bpf"}}'
    )


def _json_added(event: Event) -> str:
    if event.ending:
        ending = event.ending
        how = f'"status":{ending.status}' if ending.signal is None else f'"signal":"{_signal_name(ending.signal)}"'
        return f'{how},"duration":{ending.duration:.6f},'
    assert event.execution
    chain = ",".join(f'"{parent}"' for parent in _parents(event.execution))
    args = ",".join(map(escape_json, event.execution.args))
    return (
        (f'"parents":[{chain}],' if chain else "")
        + (f'"cut":{event.execution.cut},' if event.execution.cut else "")
        + (f'"args":[{args}],' if event.execution.args else "")
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
    if entry.called not in (None, entry.filename):
        filename += f" (as {escape(entry.called or b'')})"
    repeats = f" {colours['yellow']}+{entry.repeats} before{off}" if entry.repeats else ""
    if entry.ending:
        return f"{clock} {colours['cyan']}exit  {off} {entry.bpfprog:<12} {who} {_ended(entry.ending)} {parent}"
    if not entry.reason:
        more = _people_added(entry.execution, colours) if entry.execution else ""
        if entry.retval < 0:
            error = errno.errorcode.get(-entry.retval, str(entry.retval))
            failed = f"{colours['red']}failed{off} {entry.bpfprog:<12} {who}{filename}: {error}"
            return f"{clock} {failed} {parent}{more}{repeats}"
        return f"{clock} {colours['cyan']}exec  {off} {entry.bpfprog:<12} {who}{filename} {parent}{more}{repeats}"
    verdict = f"{colours['red']}DENIED{off}" if entry.denied else f"{colours['green']}allow {off}"
    what = f"{entry.bpfprog:<12} {entry.op} ({entry.operation})" if entry.op != entry.operation else ""
    what = what or f"{entry.bpfprog:<12} {entry.op}"
    if entry.policy and entry.policy.about:
        what = f"{entry.bpfprog:<12} {' '.join([*(str(value) for _, value in entry.policy.about), entry.operation])}"
    return f"{clock} {verdict} {what}{filename}: {who} {parent}, {entry.reason}{repeats}"


def _ended(ending: Ending) -> str:
    how = f"status {ending.status}" if ending.signal is None else f"killed by {_signal_name(ending.signal)}"
    return f"{how} after {ending.duration:.3f} s"


def _people_added(execution: Execution, colours: dict[str, str]) -> str:
    """The ancestors above the parent, and the arguments."""
    above = [f"{escape(comm)}[{pid}]" for pid, comm in execution.parents[1:]] + ["..."] * execution.higher
    chain = f" {colours['dim']}< {' < '.join(above)}{colours['off']}" if above else ""
    words = [escape(word) or '""' for word in execution.args]
    if execution.cut:
        words.append(f"{colours['yellow']}[{execution.cut} more bytes]{colours['off']}")
    return chain + (f": {' '.join(words)}" if words else "")


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
