# SPDX-License-Identifier: Apache-2.0
"""Which files of this machine a profile applies to: a profile that applies to none looks enforced, and is not.

The kernel selects the profile by the path of the file that an exec resolves to. So a profile of a symbolic link is
loaded for the file that the link points to; a profile of what is missing, or can never be executed, is an error.
"""

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bpflock.errors import close_match
from bpflock.policy.bpfbox.diagnostics import Diagnostic, PolicyError
from bpflock.policy.machine import Search, prefix
from bpflock.policy.model import PolicySet, Profile
from bpflock.policy.pattern import Tokens, escape, exact, matches, parse, written

_LINE = 256  # BINPRM_BUF_SIZE: what the kernel reads of a file to tell what it is
_NESTED = 5  # interpreters of interpreters
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_SHOWN = 3
_NAMES = 10_000  # of a directory, in which a similar one is looked for
_LATER = "if it is installed later: --allow-missing (for the daemon: policy-allow-missing)"


@dataclass(frozen=True)
class Resolved:
    """A profile as it is loaded. `named`: the pattern that the policy has, where it is another one. `notes`: what the
    profile does not apply to, although it seems to."""

    profile: Profile
    named: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        """For people: the pattern of the policy, and what it was resolved to."""
        return f"{self.named} -> {self.profile.executable}" if self.named else self.profile.executable


class _Problem(Exception):
    """Why a profile applies to nothing. `missing`: a file may come that it applies to."""

    def __init__(self, message: str, hint: str = "", *, missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.missing = missing


@dataclass(frozen=True)
class Fault:
    """A profile that applies to nothing, and why."""

    diagnostic: Diagnostic
    missing: bool


def resolve(policy: PolicySet, *, allow_missing: bool = False) -> list[Resolved]:
    """The profiles as they are to be loaded. Raises PolicyError for those that apply to nothing on this machine.

    `allow_missing`: the executable may come later.
    """
    resolved, faults = inspect(policy)
    wrong = [fault.diagnostic for fault in faults if not (allow_missing and fault.missing)]
    if wrong:
        raise PolicyError(wrong)
    missing = {fault.diagnostic.origin: fault.diagnostic.message for fault in faults}
    return [
        replace(found, notes=(*found.notes, missing[found.profile.origin]))
        if found.profile.origin in missing
        else found
        for found in resolved
    ]


def inspect(policy: PolicySet) -> tuple[list[Resolved], list[Fault]]:
    """All profiles, resolved as far as possible, and what is wrong with them."""
    resolved: list[Resolved] = []
    faults: list[Fault] = []
    for profile in policy.profiles:
        try:
            found, problem = _resolve(profile)
        except _Problem as error:
            found, problem = Resolved(profile), error
        resolved.append(found)
        if problem:
            faults.append(Fault(Diagnostic(profile.origin, problem.message, problem.hint), problem.missing))
    return resolved, [*faults, *_doubles(resolved)]


def links_resolved(policy: PolicySet) -> PolicySet:
    """The policy with the profiles under the names that they are loaded under; what is wrong with them is left."""
    return PolicySet(tuple(found.profile for found in inspect(policy)[0]))


def _doubles(resolved: Iterable[Resolved]) -> list[Fault]:
    """Two profiles for one file. Those of the same text the parser has told."""
    faults = []
    known: dict[bytes, Resolved] = {}
    for found in resolved:
        for path in sorted(exact(found.profile.executable) or ()):
            first = known.setdefault(path, found)
            if first is not found and (first.named or found.named):
                named = f"{_named(first)} of {first.profile.origin}"
                message = f"a second profile for {os.fsdecode(path)}: {named} is that file too"
                faults.append(Fault(Diagnostic(found.profile.origin, message, "put the rules into one"), False))
                break
    return faults


def _named(found: Resolved) -> str:
    return found.named or found.profile.executable


def _resolve(profile: Profile) -> tuple[Resolved, _Problem | None]:
    """Raises _Problem. The problem in the answer comes along with a profile that was resolved nevertheless."""
    paths = exact(profile.executable)
    if paths is not None and len(paths) == 1:
        (path,) = paths
        real = _real(path)
        name = profile.executable if real == path else escape(os.fsdecode(real))
        return _renamed(profile, name), _reason(real, os.fsdecode(path))
    return _pattern(profile)


def _renamed(profile: Profile, pattern: str, notes: Iterable[str] = ()) -> Resolved:
    if pattern == profile.executable:
        return Resolved(profile, notes=tuple(notes))
    return Resolved(replace(profile, executable=pattern), profile.executable, tuple(notes))


def _real(path: bytes) -> bytes:
    """Raises _Problem if links go in a circle."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = "see ls -l"
            raise _Problem(f"{os.fsdecode(path)} is a symbolic link that leads to itself", hint) from None
        return os.path.realpath(path)


def _reason(path: bytes, shown: str) -> _Problem | None:
    """Why a file cannot be executed, if so."""
    try:
        _require_program(path)
    except _Problem as problem:
        if os.fsdecode(path) != shown:
            message = f"{shown} is a symbolic link to {os.fsdecode(path)}: {problem.message}"
            return _Problem(message, problem.hint, missing=problem.missing)
        return problem
    return None


# Several files.


def _pattern(profile: Profile) -> tuple[Resolved, _Problem | None]:
    """Raises _Problem."""
    alternatives = parse(profile.executable)
    texts = [_through_links(tokens) for tokens in alternatives]
    before = [written(tokens) for tokens in alternatives]
    distinct = list(dict.fromkeys(texts))
    if texts == before:
        pattern = profile.executable
    else:
        pattern = distinct[0] if len(distinct) == 1 else "{" + ",".join(distinct) + "}"
    found, outside, refused = _found(pattern)
    missing = [os.fsdecode(path) for path in sorted(exact(pattern) or ()) if not os.path.lexists(path)]
    notes = [f"there is no {path}" for path in missing]
    notes += [f"{link} is a symbolic link to {real}, which the pattern does not match" for link, real in outside]
    resolved = _renamed(profile, pattern, notes)
    if found:
        return resolved, None
    if outside:
        names = ", ".join(f"{link} to {real}" for link, real in outside[:_SHOWN])
        hint = "name the files that the links point to"
        return resolved, _Problem(f"{profile.executable} matches only symbolic links out of it: {names}", hint)
    if refused:
        return resolved, refused[0]
    return resolved, _Problem(f"no file matches {profile.executable}", _LATER, missing=True)


def _through_links(tokens: Tokens) -> str:
    """The same alternative with the links resolved among the directories that it begins with."""
    begin = prefix(tokens)
    real = _real(begin) if begin else b""
    if real == begin:
        return written(tokens)
    return ("" if real == b"/" else escape(os.fsdecode(real))) + written(tokens[len(begin) :])


def _found(pattern: str) -> tuple[bool, list[tuple[str, str]], list[_Problem]]:
    """Whether the pattern matches a program, or that cannot be told; the links out of it, with where they lead; what is
    wrong with the other files that it matches."""
    outside: list[tuple[str, str]] = []
    refused: list[_Problem] = []
    search = Search()
    program = False
    deep = "**" in pattern
    for path in search.all(pattern):
        try:
            real = _real(os.fsencode(path))
            if not matches(pattern, real):
                outside.append((str(path), os.fsdecode(real)))
                continue
            _require_program(real)
        except _Problem as problem:
            refused.append(problem)
            continue
        program = True
        if deep:
            break  # it may match the whole machine
    return program or not search.complete, outside, refused


# One file.


def _require_program(path: bytes, depth: int = 0) -> None:
    """Raises _Problem if the kernel would not execute it. What this user may not look at is taken for a program."""
    shown = os.fsdecode(path)
    try:
        status = Path(shown).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(Path(shown)) from None
    except PermissionError:
        return
    except OSError as error:
        raise _Problem(f"{shown}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        hint = f"a profile is for executables; for all that are directly in it: {escape(shown).rstrip('/')}/*"
        raise _Problem(f"{shown} is a directory", hint)
    if not stat.S_ISREG(status.st_mode):
        raise _Problem(f"{shown} is not a regular file: it cannot be executed")
    try:
        with Path(shown).open("rb") as stream:
            begin = stream.read(_LINE)
    except PermissionError:
        return
    except OSError as error:
        raise _Problem(f"{shown}: {error.strerror}") from None
    if not status.st_mode & 0o111:
        is_program = begin.startswith((b"\x7fELF", b"#!"))
        hint = f"chmod +x {shown}" if is_program else "name the program that it belongs to"
        raise _Problem(f"{shown} is not executable", hint)
    if begin.startswith(b"\x7fELF"):
        return
    if begin.startswith(b"#!"):
        _require_interpreter(begin, shown, depth)
    elif not _has_handler(begin, shown):
        raise _Problem(
            f"{shown} is neither an ELF file nor a script that begins with '#!': the kernel does not execute it",
            "a shell reads it instead, which is another program" if _is_text(begin) else "",
        )


def _missing(path: Path) -> _Problem:
    parent = next((above for above in path.parents if above.is_dir()), Path("/"))
    wanted = path.relative_to(parent).parts[0]
    with os.scandir(parent) as entries:
        names = [entry.name for entry, _ in zip(entries, range(_NAMES), strict=False)]
    near = close_match(wanted, names)
    hint = f"did you mean '{parent / near}'?" if near else _LATER
    return _Problem(f"{path} does not exist", hint, missing=True)


def _is_text(begin: bytes) -> bool:
    return b"\0" not in begin


def _require_interpreter(begin: bytes, shown: str, depth: int) -> None:
    """As load_script() of the kernel's fs/binfmt_script.c reads the line. Raises _Problem."""
    line, end, _ = begin[2:].partition(b"\n")
    words = line.replace(b"\t", b" ").strip(b" ").split(b" ")
    name = words[0]
    if not name:
        raise _Problem(f"{shown} is a script, but names no interpreter: the kernel does not execute it", "#!/bin/sh")
    if not end and len(begin) == _LINE and len(words) == 1:
        raise _Problem(f"{shown} is a script, but the name of its interpreter is too long", f"{_LINE} bytes at most")
    if not name.startswith(b"/"):
        raise _Problem(
            f"{shown} is a script, but its interpreter '{os.fsdecode(name)}' is looked for in the current directory",
            "write its whole path",
        )
    if depth == _NESTED:
        raise _Problem(f"{shown} is a script whose interpreters are scripts, more than {_NESTED} deep")
    try:
        _require_program(_real(name), depth + 1)
    except _Problem as problem:
        message = f"{shown} is a script, but its interpreter {os.fsdecode(name)} cannot run it: {problem.message}"
        raise _Problem(message, "" if problem.hint == _LATER else problem.hint) from None


def _has_handler(begin: bytes, shown: str) -> bool:
    """Whether binfmt_misc knows the format; taken as known if that cannot be found out."""
    try:
        entries = [entry for entry in _BINFMT.iterdir() if entry.name not in ("register", "status")]
        return any(_handles(entry.read_text(), begin, shown) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _handles(entry: str, begin: bytes, shown: str) -> bool:
    if not entry.startswith("enabled"):
        return False
    fields = dict(line.partition(" ")[::2] for line in entry.splitlines())
    if "extension" in fields:
        return shown.endswith(fields["extension"])
    magic = bytes.fromhex(fields.get("magic", ""))
    mask = bytes.fromhex(fields.get("mask", "ff" * len(magic)))
    offset = int(fields.get("offset", 0))
    found = begin[offset : offset + len(magic)]
    return len(found) == len(magic) and all((a ^ b) & m == 0 for a, b, m in zip(found, magic, mask, strict=True))
