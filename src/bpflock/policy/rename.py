# SPDX-License-Identifier: Apache-2.0
"""What a rename takes: a new name must not give a file rights that the old one did not give.

The kernel asks for RM on the name that goes and CREATE on the one that comes. If the file would gain a right, it asks
for LINK on both names, as for a second name of a file. A directory gives a new name to all that is below it, so that it
always takes LINK on both. The kernel's side is bpf/policy_gains.bpf.h.
"""

from dataclasses import dataclass, replace

from bpflock.policy.evaluate import Access, Decision, FileRequest, Subject, evaluate, granted, profile_of
from bpflock.policy.model import Effect, FileAccess, FileObject, Function, PolicySet
from bpflock.policy.pattern import matches

# What can be done to a file by its name, but for what is about the name itself.
CONTENT = ~(FileAccess.RM | FileAccess.CREATE)
_NONE = FileAccess(0)
_NO_EFFECT = Effect(0)
_EXECUTES = Effect.TRANSITION | Effect.UNTAINT


@dataclass(frozen=True)
class RenameRequest:
    """`own`: the program created the file. `replaces`: the new name is that of a file that somebody else created."""

    old: bytes
    new: bytes
    own: bool = False
    directory: bool = False
    replaces: bool = False


@dataclass(frozen=True)
class _Said:
    """What rules say on a path: `own` on files that the program created; `effect` of rules that allow exec."""

    allow: FileAccess = _NONE
    own: FileAccess = _NONE
    audit: FileAccess = _NONE
    effect: Effect = _NO_EFFECT

    def __or__(self, other: "_Said") -> "_Said":
        return _Said(
            self.allow | other.allow, self.own | other.own, self.audit | other.audit, self.effect | other.effect
        )


def gained(policy: PolicySet, subject: Subject, request: RenameRequest) -> FileAccess:
    """The rights that the file has by the new name only: in whatever functions, if the rules within functions differ.
    EXEC is also one that leads to another profile, or untaints, and did not."""
    old, old_within = _said(subject, request.old)
    new, new_within = _said(subject, request.new)
    if old_within != new_within:
        for said in new_within.values():
            new |= said
    allowed = old.allow | (old.own if request.own else _NONE)
    if request.old == subject.executable:
        allowed |= FileAccess.READ | FileAccess.EXEC | FileAccess.GETATTR
    allows = new.allow | (new.own if request.own else _NONE)
    more = allows & ~allowed & CONTENT
    leads = Effect.TRANSITION in new.effect and profile_of(policy, request.old) != profile_of(policy, request.new)
    if new.effect & ~old.effect or leads:
        more |= FileAccess.EXEC
    return more


def questions(policy: PolicySet, subject: Subject, request: RenameRequest) -> tuple[FileRequest, ...]:
    """What is asked for, one after the other; the first that is denied ends it."""
    link = FileAccess.LINK if request.directory else _NONE
    comes = FileAccess.CREATE | (FileAccess.RM if request.replaces else _NONE)
    asked = [FileRequest(request.old, FileAccess.RM | link, request.own), FileRequest(request.new, comes | link)]
    if not link and gained(policy, subject, request):
        asked += [FileRequest(path, FileAccess.LINK, request.own) for path in (request.old, request.new)]
    return tuple(asked)


def evaluate_rename(policy: PolicySet, subject: Subject, request: RenameRequest) -> Decision:
    """The decision on a rename: that on the question that is denied, else on the first that is told, or on the last."""
    found: list[Decision] = []
    for question in questions(policy, subject, request):
        found.append(evaluate(Access(subject, question)))
        if not found[-1].allowed:
            break
        subject = replace(subject, tainted=subject.tainted or found[-1].taints)
    decisive = found[-1] if not found[-1].allowed else next((one for one in found if one.told), found[-1])
    return replace(
        decisive,
        taints=any(one.taints for one in found),
        audited=decisive.allowed and any(one.audited for one in found),
    )


def _said(subject: Subject, path: bytes) -> tuple[_Said, dict[frozenset[Function], _Said]]:
    """Outside of functions, and what is added within each combination of them."""
    outside, within = _Said(), dict[frozenset[Function], _Said]()
    for rule in subject.profile.rules if subject.profile else ():
        file = rule.object
        if not isinstance(file, FileObject) or not matches(file.pattern, path):
            continue
        allow = granted(file.access) if Effect.ALLOW in rule.effect else _NONE
        said = _Said(
            _NONE if file.own else allow,
            allow if file.own else _NONE,
            file.access if Effect.AUDIT in rule.effect else _NONE,
            rule.effect & _EXECUTES,
        )
        if rule.functions:
            key = frozenset(rule.functions)
            within[key] = within.get(key, _Said()) | said
        else:
            outside |= said
    return outside, within
