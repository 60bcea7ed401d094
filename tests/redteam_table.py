# SPDX-License-Identifier: Apache-2.0
"""The table of `make redteam`: what each row of the red team showed on each kernel.

    python -m tests.redteam_table                          of the reports that `vm.suite` left in build/reports/
    python -m tests.redteam_table --kernel 6.1 --json

A row is a kernel test with the marker `redteam` (tests/kernel/redteam.py). The exit status is 1 if a row fails, if a
kernel has no row for an attack of REQUIRED, or if a row was skipped without a line in IMPOSSIBLE.
"""

import argparse
import dataclasses
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.suite import REPORTS

_KERNELS = ("6.1", "newest")  # those of `make test`

# Each attack that a row must be about, on every kernel.
REQUIRED: Mapping[str, str] = {
    "R01": "symbolic link, also exchanged during the open",
    "R02": "hard link, new or older than the policy",
    "R03": "mounts over or beside a path",
    "R04": "another root or mount namespace",
    "R05": "renames of the file, of what is above it, over it",
    "R06": "overlayfs: layers, copy-up, another merge",
    "R07": "path deeper or longer than the walk",
    "R08": "procfs links, O_PATH",
    "R09": "open_by_handle_at",
    "R10": "descriptor that is inherited, received, or older than the policy",
    "R11": "write by a descriptor for less: mmap, splice, sendfile, copy_file_range",
    "R12": "truncate, chmod, chown, times, attributes, ioctl",
    "R13": "race on the arguments in user memory",
    "R14": "io_uring",
    "R15": "script and interpreter",
    "R16": "loader, LD_PRELOAD, LD_AUDIT",
    "R17": "program without a path",
    "R18": "copied or renamed tool",
    "R19": "anonymous executable memory",
    "R20": "ptrace and its relatives",
    "R21": "signals to outsiders",
    "R22": "sockets, IPC, keys of an unconfined helper",
    "R23": "families, types and protocols; sending without connecting",
    "R24": "namespaces",
    "R25": "thousands of processes",
    "R26": "set-uid, capabilities of files, laxer programs",
    "R27": "what the kernel executes",
    "R28": "devices",
    "E1": "ioctls by the 32-bit entry",
    "E2": "taint and a fork by another thread",
    "E3": "name at the address of an earlier one",
    "E4": "mprotect of a mapping on overlayfs",
    "E5": "io_uring that is inherited with registered files",
    "E6": "registered credentials of an io_uring, those of a descriptor",
    "E7": "child that outlives `bpflock confine`",
    "E8": "descriptors that change during an exec",
    "E10": "limits, priority and memory of other processes",
    "E11": "open with the access mode 3",
    "E12": "rename to a name that gives more rights",
    "E13": "tracer of a program that is not enforced any more",
    "E14": "taint of a process whose first thread has ended",
    "E15": "taint of processes that share memory",
    "E16": "file on many mounts of one file system",
    "E17": "exec with very many descriptors",
    "E18": "other spelling of a name where case is folded",
    "E19": "marks of inotify and fanotify",
    "E20": "ioctls that change what may only be appended to",
    "E21": "mount point that is renamed from outside",
    "E22": "several addresses of SCTP, listening without an address, the kernel's log",
    "E23": "environment of a transition",
    "E24": "executable memory of no file, with and without the right to it",
    "E25": "fork that began before its parent was confined",
    "E26": "forged executable, commands and descriptors by io_uring, raw packets, pipes of others",
    "E27": "directory renamed on the own file system, or above a mount point",
    "C1": "socket of audit, denied as by a kernel without it",
    "C4": "memory that compilers map twice, mapped as a library",
    "C2": "what runs in the sandbox of a user makes more namespaces",
    "C3": "container with some namespaces only, or beside the services of the host",
    "K8": "module of the kernel's cryptography, asked for by a thread of the kernel",
    "K9": "file in memory only, through overlayfs",
    "K10": "private mappings and /dev/zero that become anonymous memory",
    "K11": "program in memory for binfmt_misc",
    "K12": "privileged port that the kernel chooses",
    "K14": "files of tracefs that ask for nothing",
    "K1": "flags of mount(2) and move_mount(2)",
    "K2": "commands to a drive by its character devices",
    "K3": "other mappings and tables of device mapper",
    "K4": "file system that is mounted again, or another one with its number",
    "K5": "ioctls of a whole file system by an excepted file",
    "K6": "device that the kernel opens, or is given, for a container",
    "K7": "root file system, where services of the host may write to it",
}

# Rows, by identifier and attack, that these kernels cannot do; the kernel's own reason comes with the skip.
IMPOSSIBLE: Mapping[tuple[str, str], Sequence[str]] = {
    ("R11", "pwritev2"): ("6.1",),  # RWF_NOAPPEND
    ("K1", "mount beneath another"): ("6.1",),  # MOVE_MOUNT_BENEATH
}

_OK, _FAILED, _IMPOSSIBLE, _MISSING = "ok", "FAILED", "impossible", "MISSING"


@dataclass(frozen=True)
class Row:
    """`without`, `within`: how the attack ended without bpflock, and with it. `reason`: of the event; of the kernel, if
    it cannot do this; or what is wrong."""

    id: str
    attack: str
    kernel: str
    without: str
    within: str
    hook: str
    reason: str
    verdict: str
    test: str = ""

    @property
    def good(self) -> bool:
        return self.verdict in (_OK, _IMPOSSIBLE)


def rows_of(kernel: str, report: Path) -> Iterator[Row]:
    """The rows in a report of pytest, and what is required and missing."""
    try:
        root = ET.parse(report).getroot()
    except (OSError, ET.ParseError) as error:
        yield Row("-", "the report", kernel, "", "", "", f"{report}: {error}", _MISSING)
        return
    found = [
        _row(kernel, case)
        for case in root.iter("testcase")
        if case.find("properties/property[@name='redteam']") is not None
    ]
    yield from found
    for identifier, attack in REQUIRED.items():
        if identifier not in {row.id for row in found}:
            yield Row(identifier, attack, kernel, "", "", "", "no test is about it", _MISSING)


def _row(kernel: str, case: ET.Element) -> Row:
    def shown(name: str) -> str:
        values = (found.get("value", "") for found in case.iterfind(f"properties/property[@name='{name}']"))
        return ", ".join(dict.fromkeys(values))

    identifier, attack, hook, reason, verdict = shown("redteam"), shown("attack"), shown("hook"), shown("reason"), _OK
    failure = next((each for kind in ("failure", "error") if (each := case.find(kind)) is not None), None)
    skipped = case.find("skipped")
    if failure is not None:
        reason, verdict = _first_line(failure), _FAILED
    elif skipped is not None:
        reason, verdict = _first_line(skipped), _IMPOSSIBLE
        if kernel not in IMPOSSIBLE.get((identifier, attack), ()):
            reason, verdict = f"skipped: {reason}", _FAILED
    elif identifier not in REQUIRED:
        reason, verdict = f"{identifier} is not among the required ones: nobody would miss it", _FAILED
    elif not hook:
        reason, verdict = "the test passes, but shows no denial", _FAILED
    test = f"{case.get('classname', '')}::{case.get('name', '')}"
    return Row(identifier, attack, kernel, shown("without"), shown("within"), hook, reason, verdict, test)


def _first_line(element: ET.Element) -> str:
    return (element.get("message") or element.text or "no message").strip().splitlines()[0]


def text_of(rows: Sequence[Row]) -> str:
    """The table, and which test failed."""
    header = ("id", "attack", "kernel", "without", "with", "hook", "reason", "verdict")
    lines = [
        header,
        *((r.id, r.attack, r.kernel, r.without, r.within, r.hook, r.reason, r.verdict) for r in rows),
    ]
    widths = [min(60, max(len(line[column]) for line in lines)) for column in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    bad = [
        f"{row.verdict}: {row.id} {row.attack}, Linux {row.kernel}: {row.test or row.reason}"
        for row in rows
        if not row.good
    ]
    impossible = sum(row.verdict == _IMPOSSIBLE for row in rows)
    bad.append(f"{sum(row.verdict == _OK for row in rows)} rows ok, {impossible} impossible, {len(bad)} bad")
    return "\n".join([*table, "", *bad]) + "\n"


def collect(kernels: Iterable[str], reports: Path = REPORTS) -> list[Row]:
    """By identifier, then as the tests are."""
    found = [row for kernel in kernels for row in rows_of(kernel, reports / f"{kernel}.xml")]
    return sorted(found, key=lambda row: (row.id[:1], int(row.id[1:]) if row.id[1:].isdecimal() else 0))


def main(argv: Sequence[str] | None = None, reports: Path = REPORTS) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.redteam_table", description="The table of the red team.")
    parser.add_argument("--kernel", action="append", default=[], help=f"only this one (default: {', '.join(_KERNELS)})")
    parser.add_argument("--json", action="store_true", help="a list of rows, as JSON")
    args = parser.parse_args(argv)
    rows = collect(args.kernel or _KERNELS, reports)
    sys.stdout.write(
        json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n" if args.json else text_of(rows)
    )
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
