# SPDX-License-Identifier: Apache-2.0
"""Renaming: no file gets rights by its new name that it had not."""

import pytest

from bpflock.policy.bpfbox.load import parse
from bpflock.policy.evaluate import Reason, Subject
from bpflock.policy.model import FileAccess, PolicySet
from bpflock.policy.rename import RenameRequest, evaluate_rename, gained
from bpflock.policy.tables import Numbering, compile_policy

from ...policy.generate import Generator
from ...policy.interpret import Interpreter

_COMMON = """
fs("/**", rm|create)
"""


def _gained(rules: str, *, own: bool = False, functions: frozenset[str] = frozenset(), others: str = "") -> FileAccess:
    policy = PolicySet(parse(f'#![profile "/bin/x"]\n{_COMMON}{rules}\n{others}'))
    profile = policy.profiles[0]
    inside = {function for rule in profile.rules for function in rule.functions if function.name in functions}
    subject = Subject(profile, functions=frozenset(inside), executable=b"/bin/x")
    return gained(policy, subject, RenameRequest(b"/old/f", b"/new/f", own=own))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", FileAccess(0)),
        ('fs("/old/*", read|exec|ioctl)', FileAccess(0)),
        ('fs("/{old,new}/*", read)', FileAccess(0)),
        ('fs("/new/*", read)', FileAccess.READ),
        ('fs("/old/*", read)\nfs("/new/*", read|append|setattr)', FileAccess.APPEND | FileAccess.SETATTR),
        ('fs("/new/*", exec|ioctl|link)', FileAccess.EXEC | FileAccess.IOCTL | FileAccess.LINK),
        # Within functions: the same rules give nothing more; others count, wherever the thread is.
        ('#[func "f"] fs("/{old,new}/*", read)', FileAccess(0)),
        ('#[func "f"] fs("/new/*", read)', FileAccess.READ),
        ('#[func "f"] fs("/old/*", read)\nfs("/new/*", read)', FileAccess.READ),
        ('fs("/old/*", read)\n#[func "f"] fs("/new/*", read)', FileAccess(0)),
        ('#[func "f"] fs("/old/*", read)\n#[func "g"] fs("/new/*", read)', FileAccess.READ),
        # An exec that leads elsewhere.
        ('fs("/old/*", exec)\n#[transition] fs("/new/*", exec)', FileAccess.EXEC),
        ('#[transition] fs("/{old,new}/*", exec)', FileAccess(0)),
        ('#[untaint] fs("/new/*", exec)\n#[transition] fs("/{old,new}/*", exec)', FileAccess.EXEC),
        # Only of files that the process created.
        ('fs("/new/*", read, own)', FileAccess(0)),
    ],
)
def test_gained(rules: str, expected: FileAccess) -> None:
    assert _gained(rules) == expected
    assert _gained(rules, functions=frozenset({"f", "g"})) == expected


def test_own_files() -> None:
    assert _gained('fs("/new/*", read, own)', own=True) == FileAccess.READ
    assert _gained('fs("/{old,new}/*", read, own)', own=True) == FileAccess(0)
    assert _gained('fs("/old/*", read, own)\nfs("/new/*", read)', own=True) == FileAccess(0)


def test_another_profile() -> None:
    rules = '#[transition] fs("/{old,new}/*", exec)'
    assert _gained(rules, others='#![profile "/new/f"]\n') == FileAccess.EXEC
    assert _gained(rules, others='#![profile "/{old,new}/f"]\n') == FileAccess(0)
    assert _gained(rules.replace("#[transition] ", ""), others='#![profile "/new/f"]\n') == FileAccess(0)


def test_decisions() -> None:
    def allowed(rules: str, request: RenameRequest) -> bool:
        policy = PolicySet(parse(f'#![profile "/bin/x"]\n{rules}'))
        return evaluate_rename(policy, Subject(policy.profiles[0]), request).allowed

    file = RenameRequest(b"/a/f", b"/b/f")
    moves = 'fs("/a/f", rm)\nfs("/b/f", create)\n'
    assert allowed(moves, file)
    assert not allowed('fs("/a/f", rm)', file)
    assert not allowed('fs("/b/f", create)', file)
    assert not allowed(moves + 'fs("/b/f", read)', file)
    assert not allowed(moves + 'fs("/b/f", read|link)', file)
    assert not allowed(moves + 'fs("/b/f", read)\nfs("/a/f", link)', file)
    assert allowed(moves + 'fs("/b/f", read|link)\nfs("/a/f", link)', file)
    assert not allowed(moves, RenameRequest(b"/a/f", b"/b/f", replaces=True))
    directory = RenameRequest(b"/a/f", b"/b/f", directory=True)
    assert not allowed(moves, directory)
    assert allowed(moves + 'fs("/{a,b}/f", link)', directory)


def test_taint() -> None:
    """A question that taints has the next ones decided by the rules."""
    policy = PolicySet(parse('#![profile "/bin/x"]\n#[taint] fs("/a/*", rm)\nfs("/b/*", read)\n'))
    request = RenameRequest(b"/a/f", b"/b/f")
    decision = evaluate_rename(policy, Subject(policy.profiles[0]), request)
    assert (decision.allowed, decision.taints, decision.reason) == (False, True, Reason.DENIED)
    decision = evaluate_rename(policy, Subject(policy.profiles[0]), RenameRequest(b"/c/f", b"/b/f"))
    assert (decision.allowed, decision.taints, decision.reason) == (True, False, Reason.UNTAINTED)


@pytest.mark.parametrize("seed", range(12))
def test_generated_policies_mean_the_same_compiled(seed: int) -> None:
    generator = Generator(seed)
    gains = 0
    for case in generator.cases(policies=3, accesses=30):
        numbering = Numbering()
        numbering.extend(case.policy)
        read = Interpreter(compile_policy(case.policy, numbering, 1))
        for access in case.accesses:
            subject = access.subject
            assert subject.profile is not None
            request = generator.rename(subject.profile)
            own = request.old == subject.executable
            expected = gained(case.policy, subject, request)
            assert read.gained(numbering.profiles[subject.profile.executable], request, own) == expected, (
                f"seed {seed}: {case.policy}\n{request}"
            )
            gains += bool(expected)
    assert gains > 20
