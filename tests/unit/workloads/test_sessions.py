# SPDX-License-Identifier: Apache-2.0
"""What a user says of sessions, and which of logind's sessions are meant."""

import re
from pathlib import Path
from typing import Any

import pytest

from bpflock.errors import BpflockError, UsageError
from bpflock.locks import LOCKS
from bpflock.locks.model import Profile, SessionGrant, Sessions
from bpflock.workloads import sessions
from bpflock.workloads.logind import Session, session_of

KIMGLOCK = LOCKS["kimglock"]


@pytest.mark.parametrize(
    ("word", "grant"),
    [
        ("", None),
        (" Active ", SessionGrant(Sessions.ACTIVE)),
        ("local", SessionGrant(Sessions.LOCAL)),
        ("active:hibernation", SessionGrant(Sessions.ACTIVE, ("hibernation",))),
        (
            "local: @modules , kexec",
            SessionGrant(Sessions.LOCAL, ("kexec", "unsafe_module_parameters", "unsigned_module")),
        ),
        ("active:" + ",".join(op.name for op in KIMGLOCK.operations), SessionGrant(Sessions.ACTIVE)),
    ],
)
def test_what_is_granted(word: str, grant: SessionGrant | None) -> None:
    found = KIMGLOCK.parse_sessions(word)
    assert found == grant
    assert KIMGLOCK.parse_sessions(str(found or "")) == grant


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("activ", "'activ' says not which sessions", "did you mean 'active'?"),
        ("hibernation", "says not which sessions", None),
        ("active:hibernate", "no operation 'hibernate'", "did you mean 'hibernation'?"),
        ("active:", "no operations follow 'active:'", "without the colon it is all: active"),
        (":kexec", "says not which sessions", None),
    ],
)
def test_what_is_no_grant(word: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        KIMGLOCK.parse_sessions(word)
    assert message in caught.value.message
    assert hint is None or caught.value.hint == hint


def test_what_is_blocked_for_everyone_is_not_granted_to_sessions() -> None:
    with pytest.raises(UsageError, match="kexec is blocked for everyone, and granted to sessions"):
        KIMGLOCK.settings(Profile.BASELINE, ["kexec"], session="active:kexec,msr")
    # Without a list it is what is left.
    assert KIMGLOCK.settings(Profile.BASELINE, ["kexec"], session="active").session == SessionGrant(Sessions.ACTIVE)


_ACTIVE: dict[str, Any] = {
    "Seat": ("seat0", "/org/freedesktop/login1/seat/seat0"),
    "User": (1000, "/org/freedesktop/login1/user/_1000"),
    "Scope": "session-2.scope",
    "Class": "user",
    "Remote": False,
    "Active": True,
    "State": "active",
}
_CGROUP = "user.slice/user-1000.slice/session-2.scope"
_BOTH = Session(_CGROUP, frozenset({Sessions.LOCAL, Sessions.ACTIVE}))
_LOCAL = Session(_CGROUP, frozenset({Sessions.LOCAL}))


@pytest.mark.parametrize(
    ("changed", "session"),
    [
        ({}, _BOTH),
        ({"Class": "user-light"}, _BOTH),
        ({"Active": False, "State": "online"}, _LOCAL),
        ({"State": "online"}, _LOCAL),
        ({"Active": False, "State": "closing"}, None),
        ({"State": "closing"}, None),
        ({"Remote": True}, None),
        ({"Seat": ("", "/")}, None),  # ssh, su from cron
        ({"Class": "greeter"}, None),
        ({"Class": "background"}, None),
        ({"Class": "manager"}, None),
    ],
)
def test_which_sessions_are_meant(changed: dict[str, Any], session: Session | None) -> None:
    assert session_of(_ACTIVE | changed) == session


@pytest.mark.parametrize("scope", ["", "../../system.slice", "session-1.scope/..", "user@1000.service"])
def test_a_scope_that_is_none_is_refused(scope: str) -> None:
    with pytest.raises(BpflockError):
        session_of(_ACTIVE | {"Scope": scope})


def test_a_logind_that_says_too_little_is_refused() -> None:
    with pytest.raises(BpflockError, match="Class"):
        session_of({name: value for name, value in _ACTIVE.items() if name != "Class"})


def test_the_key_of_all_sessions_is_no_cgroups() -> None:
    """Nor 0: bpf_get_current_ancestor_cgroup_id() answers that where it finds none."""
    header = (Path(__file__).parents[3] / "bpf" / "bpflock.h").read_text(encoding="utf-8")
    found = re.search(r"#define SESSION_ANY (0x[0-9a-f]+)ULL", header)
    assert found
    assert int(found[1], 16) == sessions.ANY == 2**64 - 1
