# SPDX-License-Identifier: Apache-2.0
"""Every operation, really done as root, five ways: allow, baseline, restricted, blocked by name, allowed by name.

Each on the host and in pid and network namespaces of its own; each with the event that tells why.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, RELEASE, Attacker, Locks

# Attacks that a second attempt on the same object cannot repeat, that take seconds for what another does too, or that
# do several things at once. Those by descriptors from before a lock are in the lock's own tests.
_NOT_HERE = {"map_freeze", "link_detach", "hibernation_disk", "nobody_net", "sysfs_opened", "rootfs_ways"}
# Take the only element of a map that was made before, and may not put it back where nothing else is allowed.
_TAKE = {"map_delete_elem", "map_lookup_and_delete_elem", "map_delete_batch", "map_lookup_and_delete_batch"}
_SOCKETS = {"raw", "packet", "netlink_route", "netlink_audit", "xdp", "mptcp", "listen_any", "listen_privileged"}
_MODULE_ARGUMENTS = {
    "unsigned_module": "unsigned.ko",
    "insmod_unsigned": "unsigned.ko",
    "insmod_file": "signed.ko",
    "insmod_memory": "signed.ko",
}
_ROOTFS = Path("/tmp/rootfs/matrix")
_PARAMETERS = {"rootfslock": {"path": (str(_ROOTFS),)}}
_ARGUMENTS = {
    "kexec_file": f"/lib/modules/{RELEASE}/vmlinuz",
    "autoload_socket": "can",
    "autoload_fs": "minix",
}
# One attack per lock that works on any machine, to see that blocking an operation blocks no other.
_OTHERS = {
    "kimglock": ("kcore", "dev_mem"),
    "kmodlock": ("unsafe_module_parameters", "autoload_fs"),
    "bpfrestrict": ("map_get_next_id", "prog_get_next_id"),
    "filelesslock": ("memfd_exec", "unlinked_exec"),
    "nslock": ("unshare_uts", "unshare_ipc"),
    "netlock": ("raw", "netlink_route"),
    "rootfslock": ("rootfs_write", "rootfs_mount"),
    "sysfslock": ("sysfs_write", "sysfs_read"),
}


@dataclass(frozen=True)
class Case:
    attack: str
    lock: str
    operation: str

    def __str__(self) -> str:
        return f"{self.lock}-{self.attack}"


def _is_typical(case: Case) -> bool:
    """Sockets differ in nothing but their numbers: test_netlock.py has them all."""
    return case.lock != "netlock" or case.attack in _SOCKETS


def _cases() -> list[Case]:
    if not ATTACK.exists():
        return []
    listed = subprocess.run([ATTACK, "LIST"], check=True, capture_output=True, text=True).stdout
    cases = [Case(*line.split("\t")[:3]) for line in listed.splitlines()]
    cases = [case for case in cases if case.attack not in _NOT_HERE and case.lock in _OTHERS and _is_typical(case)]
    return sorted(
        cases, key=lambda case: (case.lock, case.operation)
    )  # those that need the same lock: see Arena.load()


CASES = _cases()
_ONLY_BY_NAME = {("filelesslock", "anon_map"), ("sysfslock", "read")}
BY_PROFILE = [case for case in CASES if (case.lock, case.operation) not in _ONLY_BY_NAME]
BY_NAME = [case for case in CASES if (case.lock, case.operation) in _ONLY_BY_NAME]


def _argument(case: str, modules: Path) -> str:
    if case.startswith("rootfs_"):
        return str(_ROOTFS)
    if case in _MODULE_ARGUMENTS:
        return str(modules / _MODULE_ARGUMENTS[case])
    return _ARGUMENTS.get(case, "")


class Arena:
    """One attack against one configuration of its lock."""

    _loaded: ClassVar[tuple[object, ...]] = ("",)  # by the last that loaded something; first the lock

    def __init__(self, case: Case, attacker: Attacker, locks: Locks, modules: Path) -> None:
        self.case, self._attacker, self._locks, self._modules = case, attacker, locks, modules
        _skip_if_not_here(case, attacker, modules)

    def load(self, profile: Profile, **lists: tuple[str, ...]) -> None:
        """This lock, and no other; not again, if it is there from the case before."""
        wanted = (self.case.lock, profile, lists)
        if Arena._loaded != wanted:
            if self.case.lock != Arena._loaded[0]:
                self._locks.unload_all()
            self._locks.load(self.case.lock, profile, **lists, **_PARAMETERS.get(self.case.lock, {}))
            Arena._loaded = wanted
        self._locks.events()

    def unload(self) -> None:
        if Arena._loaded != ("",):
            self._locks.unload_all()
            Arena._loaded = ("",)

    def expect(self, where: str, worked: bool, reason: str, attack: str = "") -> None:
        """The attack must end so, and say why; another attack of the lock if one is named."""
        name = attack or self.case.attack
        attempt = self._attacker.attack(name, where, _argument(name, self._modules))
        events = [event for event in self._locks.events() if event.bpfprog == self.case.lock]
        told = f"{where or 'host: '}{name}: {attempt.output!r}\n" + "\n".join(map(str, events))
        assert attempt.status == (0 if worked else 1), told
        if attack:
            return
        if worked:
            assert any(e.op == self.case.operation and e.reason == reason and e.retval == 0 for e in events), told
        else:
            # What is denied may be something it cannot happen without: the descriptor, before the program.
            error = -93 if self.case.operation == "netlink_audit" else -1  # as of a kernel without audit
            assert any(e.reason == reason and e.retval == error for e in events), told
            assert reason != "denied (blocked)" or {e.op for e in events if e.denied} == {self.case.operation}, told


def _skip_if_not_here(case: Case, attacker: Attacker, modules: Path) -> None:
    """Skip what this kernel does not have at all, and only that."""
    if case not in _seen:
        _seen[case] = attacker.attack(case.attack, HOST, _argument(case.attack, modules)).output
    if _seen[case].startswith("failed: ") and case.attack in _MAY_BE_MISSING:
        pytest.skip(f"{RELEASE}: {_seen[case].strip()}")


_seen: dict[Case, str] = {}
# What came after 6.1: commands of bpf(2), ways to make a mount namespace. And huge pages: the guest may have none.
_MAY_BE_MISSING = {
    "token_create",
    "prog_stream_read_by_fd",
    "map_create_common",
    "unshare_empty",
    "clone3_empty",
    "open_tree_namespace",
    "fsmount_namespace",
    "memfd_hugetlb",
}


@pytest.fixture
def arena(request: pytest.FixtureRequest, attacker: Attacker, all_locks: Locks, modules: Path) -> Arena:
    return Arena(request.param, attacker, all_locks, modules)


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("arena", cases, indirect=True, ids=str)


@pytest.fixture(scope="module", autouse=True)
def _clean(all_locks: Locks, rootfs: Path) -> Iterator[None]:
    all_locks.unload_all()
    (rootfs / _ROOTFS.name).mkdir(exist_ok=True)
    Arena._loaded = ("",)
    yield
    all_locks.unload_all()


@each(CASES)
def test_works_without_bpflock(arena: Arena, attacker: Attacker, modules: Path) -> None:
    """Otherwise its denial would prove nothing."""
    arena.unload()
    for where in (HOST, CONTAINER):
        attempt = attacker.attack(arena.case.attack, where, _argument(arena.case.attack, modules))
        assert attempt.worked, f"{where}: {attempt.output}"


@each(BY_PROFILE)
def test_allow(arena: Arena) -> None:
    arena.load(Profile.ALLOW)
    arena.expect(HOST, True, "allow (privileged)")
    arena.expect(CONTAINER, True, "allow (privileged)")


@each(BY_PROFILE)
def test_baseline(arena: Arena) -> None:
    arena.load(Profile.BASELINE)
    arena.expect(HOST, True, "baseline")
    arena.expect(CONTAINER, False, "denied (baseline)")


@each(BY_PROFILE)
def test_restricted(arena: Arena) -> None:
    arena.load(Profile.RESTRICTED)
    arena.expect(HOST, False, "denied (restricted)")
    arena.expect(CONTAINER, False, "denied (restricted)")


@each(CASES)
def test_blocked(arena: Arena) -> None:
    arena.load(Profile.ALLOW, block=(arena.case.operation,))
    arena.expect(HOST, False, "denied (blocked)")
    arena.expect(CONTAINER, False, "denied (blocked)")
    first, second = _OTHERS[arena.case.lock]
    other = second if next(c for c in CASES if c.attack == first).operation == arena.case.operation else first
    arena.expect(HOST, True, "", attack=other)


@each(BY_PROFILE)
def test_allowed(arena: Arena) -> None:
    arena.load(Profile.BASELINE, allow=(arena.case.operation,))
    arena.expect(CONTAINER, True, "baseline (allowed)")
    if arena.case.attack in _TAKE:
        arena.expect(HOST, True, "", attack="map_update_hash")


@each(BY_NAME)
@pytest.mark.parametrize("profile", [Profile.ALLOW, Profile.BASELINE, Profile.RESTRICTED])
def test_denied_only_where_it_is_blocked_by_name(arena: Arena, profile: Profile, attacker: Attacker) -> None:
    """JIT compilers, and all that reads sysfs, go on working under every profile."""
    arena.load(profile)
    for where in (HOST, CONTAINER):
        attempt = attacker.attack(arena.case.attack, where)
        assert attempt.worked, f"{where}: {attempt.output}"
