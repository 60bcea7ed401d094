# SPDX-License-Identifier: Apache-2.0
"""Why the policy engine decided as it did, and what would have to change.

An event is its keys, as docs/events.md has them.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from bpflock.errors import UsageError
from bpflock.policy.bpfbox import names
from bpflock.policy.bpfbox.show import file_words, quoted, show_rule
from bpflock.policy.evaluate import ProcRequest, granted
from bpflock.policy.explain_objects import explain_request, request_of
from bpflock.policy.model import Effect, FileAccess, FileObject, PolicySet, Profile, Rule
from bpflock.policy.pattern import escape, matches

_NAMED = 5  # how many of a list are named

# What a right lets a program do beyond what its name says.
_CONSEQUENCES = {
    FileAccess.READ: "read it at any time, not only where it was denied now",
    FileAccess.WRITE: "replace its content",
    FileAccess.APPEND: "add to it",
    FileAccess.EXEC: "run it under this profile, and map it as code",
    FileAccess.SETATTR: "change its mode, owner, times and extended attributes",
    FileAccess.RM: "remove the name, or rename it to elsewhere",
    FileAccess.LINK: "give the file other names, for which other rules may hold",
    FileAccess.IOCTL: "every ioctl(2) of that file or device",
    FileAccess.CREATE: "make the name, also as a directory or a link to elsewhere",
}

_RENAMED = (
    "why: a rename takes link on both names, if the new one gives the file rights that the old one does not give, and "
    "always for a directory; or give the old name of a file the same rights"
)


def parse_event(text: str) -> dict[str, str]:
    """The keys of an event that is written as logfmt or as JSON. Raises UsageError."""
    text = text.strip()
    found: dict[str, str] = {}
    if text.startswith("{"):
        try:
            document = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the event is no JSON: {error}", hint="one line of 'bpflock events --json'") from None
        found = {str(key): str(value) for key, value in document.items()}
    else:
        body = re.search(r'msg="(.*)" bpfprog', text)
        inner = body[1] if body else text
        # A value goes on to the next key: reasons have spaces.
        found = {m[1]: m[2] for m in re.finditer(r"(\w+)=(.*?)(?= \w+=|$)", inner)}
        found |= {m[1]: m[2] for m in re.finditer(r"\b(bpfprog|subsys)=(\S+)", text[body.end() - 8 :] if body else "")}
    if "event" not in found:
        raise UsageError("not an event", hint="one line of 'bpflock events --format=logfmt', or with --json")
    return found


def explain(event: Mapping[str, str], policy: PolicySet) -> str:
    """Text for people: the access, what decided it, the smallest rule that would allow it, and what that rule would
    allow too. Raises UsageError if the event is not the policy engine's, or the profile is not in the policy."""
    reason = event.get("reason", "")
    if "profile" not in event:
        source = event.get("bpfprog", "another lock")
        raise UsageError(f"not an event of the policy engine, but of {source}", hint=f"see docs/{source}.md")
    named = os.fsdecode(unquote_to_bytes(event["profile"]))
    profile = next((profile for profile in policy.profiles if profile.executable == named), None)
    if profile is None:
        raise UsageError(f"the policy has no profile {named}", hint="give the policy that was loaded: --policy FILE")
    path = os.fsdecode(unquote_to_bytes(event.get("filename", "")))
    access = _access(event.get("operation", ""))
    who = f"{event.get('comm', '?')} (pid {event.get('pid', '?')})"
    lines = [
        f"{who} wanted: {_wanted(event, path)}",
        f"profile: {named} ({profile.origin})",
    ]
    request = request_of(event)
    # A file of a process has a path, but for a pipe that is opened by its descriptor there.
    if request and (not isinstance(request, ProcRequest) or not path):
        return "\n".join([*lines, *explain_request(profile, request, reason)])
    if not path.startswith("/") or not access:
        return "\n".join([*lines, f"decided: {reason or 'allowed'}"])
    if request:
        # A file of a process is one by its path, too.
        return "\n".join([*lines, *_decided(profile, path, access, reason), *explain_request(profile, request, reason)])
    decided = list(_decided(profile, path, access, reason))
    if event["event"] == "lsm_path_rename" and FileAccess.LINK in access:
        decided.append(_RENAMED)
    return "\n".join([*lines, *decided])


def _wanted(event: Mapping[str, str], path: str) -> str:
    words = [event.get("kind", ""), *(event[key] for key in ("family", "type") if key in event)]
    words.append(event.get("operation", "?"))
    if "address" in event:
        host = f"[{event['address']}]" if ":" in event["address"] else event["address"]
        words.append(f"{host}:{event.get('port', '?')}")
    words += [path, f"(process {event['peer']})" if "peer" in event else ""]
    return " ".join(word for word in words if word)


def _access(words: str) -> FileAccess:
    known = {access.name.lower(): access for access in FileAccess if access.name}
    mask = FileAccess(0)
    for word in words.split("|"):
        mask |= known.get(word, FileAccess(0))
    return mask


def _decided(profile: Profile, path: str, access: FileAccess, reason: str) -> Iterator[str]:
    matching = [
        (rule, rule.object)
        for rule in profile.rules
        if isinstance(rule.object, FileObject) and matches(rule.object.pattern, os.fsencode(path))
    ]
    effect = Effect.TAINT if reason.startswith("taint") else Effect.AUDIT if reason.startswith("audit") else None
    if effect:
        yield f"decided: {reason}"
        for rule, file in matching:
            if effect in rule.effect and file.access & access:
                yield f"by: {rule.origin}: {show_rule(rule)}"
        return
    allowing = [(rule, file) for rule, file in matching if Effect.ALLOW in rule.effect]
    here = [rule for rule, file in allowing if granted(file.access) & access == access]
    if any(not rule.functions and isinstance(rule.object, FileObject) and not rule.object.own for rule in here):
        rule = next(rule for rule in here if not rule.functions)
        yield f"decided: {reason}; this policy allows it: {rule.origin}: {show_rule(rule)}"
        return
    yield f"decided: {reason}: no rule allowed it"
    for rule, file in allowing:
        yield f"near: {rule.origin}: {show_rule(rule)}: {_short_of(rule, file, access)}"
    covered = FileAccess(0)
    for rule, file in allowing:
        if not rule.functions and not file.own:
            covered |= granted(file.access)
    suggested = FileObject(escape(path), access & ~covered or access)
    yield f"would allow it: fs({quoted(suggested.pattern)}, {file_words(suggested.access)})"
    yield from _consequences(suggested, path)


def _short_of(rule: Rule, file: FileObject, access: FileAccess) -> str:
    missing = access & ~granted(file.access)
    if missing:
        return f"it lacks {file_words(missing)}"
    if rule.functions:
        return "it holds only inside " + " and ".join(f"{function.name}()" for function in rule.functions)
    return "it holds only for files that the program created"


def _consequences(file: FileObject, path: str) -> Iterator[str]:
    mask = file.access
    if mask & FileAccess.WRITE:
        mask |= names.FILE["write"]
    if mask & FileAccess.APPEND:
        mask |= names.FILE["append"]
    told = [text for access, text in _CONSEQUENCES.items() if access in mask]
    yield "that would also allow it to: " + ("; ".join(told) or "ask for its size, owner and times")
    others = _other_names(Path(path))
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        yield f"the same file has other names, which this rule does not allow: {', '.join(others[:_NAMED])}{more}"


def _other_names(path: Path) -> list[str]:
    """Hard links beside it: the kernel decides by the name that was used."""
    try:
        status = path.lstat()
        if status.st_nlink < 2 or path.is_dir():
            return []
        beside = list(path.parent.iterdir())
        return sorted(str(p) for p in beside if p != path and p.lstat().st_ino == status.st_ino)
    except OSError:
        return []
