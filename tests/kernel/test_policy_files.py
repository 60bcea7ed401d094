# SPDX-License-Identifier: Apache-2.0
"""Files under a policy: each way to reach one works without it, and fails with it, with an event that says why."""

import contextlib
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bpflock.confine import engine as engine_of_policies
from bpflock.confine.engine import Engine
from bpflock.errors import BpflockError
from bpflock.events.model import Event
from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import (
    CapabilityObject,
    Effect,
    FileAccess,
    FileObject,
    Function,
    Origin,
    PolicySet,
    Profile,
    Rule,
)
from bpflock.policy.tables import CompileError

from .conftest import ATTACK, Locks, wait_until
from .holder import Holder
from .redteam import DENIED, WORKED, RedTeam
from .tools import replace_link

HERE = Path("/tmp/policy")
BOX = HERE / "busybox"
READ, WRITE, EXEC = FileAccess.READ, FileAccess.WRITE, FileAccess.EXEC
# Words of struct policy_versions of bpf/policy.bpf.h, of its first page.
_FIRST_TREE, _WORDS_OF_TREE, _TREES = 2, 4, 255
_LIBRARIES = ("/usr/lib/**", "/lib/**", "/lib64/**", "/etc/ld.so.cache")


def rule(pattern: str, access: FileAccess, effect: Effect = Effect.ALLOW, own: bool = False) -> Rule:
    return Rule(FileObject(pattern, access, own), effect, Origin("test", 1, 1))


def profile(*rules: Rule, complain: bool = False) -> Profile:
    """Of busybox, which may load its libraries (if it has any) and use /dev/null."""
    always = [rule(pattern, READ | EXEC) for pattern in _LIBRARIES] + [rule("/dev/null", READ | WRITE)]
    return Profile(str(BOX), (*always, *rules), Origin("test", 1, 1), complain)


def run(command: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, shell=True, capture_output=True, check=False, cwd="/")


def box(command: str) -> bool:
    """Whether busybox could, confined."""
    return run(f"{BOX} {command}").returncode == 0


@pytest.fixture
def engine(kept_engine: Engine) -> Iterator[Engine]:
    """The engine, without a profile for anything; a fresh directory of files."""
    kept_engine.load(PolicySet())
    make_files()
    yield kept_engine


def policy() -> PolicySet:
    """May look at everything here, read `open`, and do anything in `mine`."""
    everything = FileAccess(sum(FileAccess) & ~int(EXEC))
    return PolicySet(
        (
            profile(
                rule(f"{HERE}/**", FileAccess.GETATTR),
                rule(f"{HERE}/open/**", READ),
                rule(f"{HERE}/open", READ),
                rule(f"{HERE}/mine{{,/**}}", everything),
            ),
        )
    )


# What busybox tries, and the accesses that the event names. Paths are relative to HERE.
ATTACKS = {
    "read": ("cat closed/file", {"read"}),
    "read by ..": ("cat open/../closed/file", {"read"}),
    "append": ("sh -c 'echo x >>closed/file'", {"append"}),
    "write": ("sh -c 'echo x >closed/file'", {"write"}),
    "write a read-only one": ("sh -c 'echo x >open/file'", {"write"}),
    "truncate": ("truncate -s 1 open/file", {"write"}),
    "create": ("touch closed/new", {"create"}),
    "mkdir": ("mkdir closed/new", {"create"}),
    "mknod": ("mknod closed/new p", {"create"}),
    "symlink": ("ln -s x closed/new", {"create"}),
    "unlink": ("rm open/file", {"rm"}),
    "rmdir": ("rmdir closed/dir", {"rm"}),
    "rename away": ("mv open/file mine/stolen", {"rm"}),
    "rename in": ("mv mine/file open/new", {"create"}),
    "rename over": ("mv -f mine/file open/file", {"create"}),
    "rename a directory": ("mv closed/deep mine/deep", {"rm"}),
    "link": ("ln closed/file mine/stolen", {"link"}),
    "link out": ("ln mine/file open/new", {"create"}),
    "chmod": ("chmod 777 open/file", {"setattr"}),
    "chown": ("chown 1:1 open/file", {"setattr"}),
    "stat": ("stat /etc/passwd", {"getattr"}),
    "list": ("ls closed", {"read"}),
    "execute": ("sh -c closed/true", {"exec"}),
    "open again by procfs": ("cat /proc/self/fd/0 <closed/file", {"read"}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_denied(name: str, engine: Engine, all_locks: Locks) -> None:
    command, accesses = ATTACKS[name]
    assert run(f"cd {HERE} && {BOX} {command}").returncode == 0, "without a policy"
    make_files()
    engine.load(policy())
    all_locks.events()
    before = snapshot()
    ended = run(f"cd {HERE} && {BOX} {command}")
    events = denials(all_locks)
    told = f"{ended}\n" + "\n".join(map(str, events))
    assert ended.returncode != 0, told
    assert snapshot() == before, told
    assert any(accesses & set(event.policy.accesses) for event in events if event.policy), told
    assert all(event.reason == "denied (policy)" for event in events), told


def make_files() -> None:
    """The files as they are when a test begins."""
    shutil.rmtree(HERE, ignore_errors=True)
    for name in ("open", "closed/deep", "closed/dir", "mine"):
        (HERE / name).mkdir(parents=True)
    for name in ("open/file", "closed/file", "closed/deep/file", "mine/file"):
        (HERE / name).write_text(f"{name}\n")
    shutil.copy("/bin/busybox", BOX)
    shutil.copy("/bin/true", HERE / "closed/true")


def snapshot() -> dict[str, tuple[int, int, bytes]]:
    """All files below HERE: mode, links, content."""
    found = {}
    for path in sorted(HERE.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and path != BOX else b""
        found[str(path)] = (status.st_mode, status.st_nlink, content)
    return found


def denials(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy" and event.denied]


def test_allowed_by_rule_goes_on_working(engine: Engine, all_locks: Locks) -> None:
    engine.load(policy())
    all_locks.events()
    for command in (
        f"cat {HERE}/open/file",
        f"touch {HERE}/mine/new",
        f"mv {HERE}/mine/new {HERE}/mine/newer",
        f"ln {HERE}/mine/newer {HERE}/mine/link",
        f"mkdir {HERE}/mine/d",
        f"rmdir {HERE}/mine/d",
        f"chmod 600 {HERE}/mine/newer",
        f"rm {HERE}/mine/newer",
    ):
        ended = run(f"{BOX} {command}")
        assert ended.returncode == 0, (command, ended, denials(all_locks))


@pytest.mark.parametrize(
    "refused",
    [
        Rule(CapabilityObject(frozenset({64})), Effect.ALLOW, Origin("a.bpfbox", 3, 5)),
        Rule(FileObject("/x", READ), Effect.ALLOW, Origin("a.bpfbox", 3, 5), (Function("f"),)),
        Rule(FileObject("/x/../y", READ), Effect.ALLOW, Origin("a.bpfbox", 3, 5)),
    ],
    ids=["capability", "function", "pattern"],
)
def test_what_cannot_be_enforced_is_refused(refused: Rule, engine: Engine) -> None:
    """With its place; what was in force stays in force."""
    engine.load(policy())
    before = engine.state()
    with pytest.raises(CompileError) as error:
        engine.load(PolicySet((profile(refused),)))
    assert error.value.message.startswith("a.bpfbox:3:5: ")
    assert engine.state() == before
    assert not box(f"cat {HERE}/closed/file")


def test_a_program_that_does_not_fire_is_noticed(engine: Engine) -> None:
    """The canary tries each hook. Where another program's link is in the place of one, nothing but it can tell."""
    engine.load(policy())
    engine.test()
    link = pins.link_path(pins.directory(pins.POLICY), "lsm/path_chmod")
    replace_link(link, pins.link_path(pins.directory(pins.POLICY), "lsm/path_chown"))
    assert box(f"chmod 644 {HERE}/closed/file")
    with pytest.raises(BpflockError, match="policy: the program on lsm/path_chmod is attached but does not fire"):
        engine.test()
    link.unlink()
    assert box(f"chmod 644 {HERE}/closed/file")
    engine.load(policy())  # not what was loaded: loaded again
    engine.test()
    assert not box(f"chmod 644 {HERE}/closed/file")


def test_others_are_not_confined(engine: Engine) -> None:
    engine.load(policy())
    assert run(f"cat {HERE}/closed/file").returncode == 0
    assert not box(f"cat {HERE}/closed/file")
    engine.unload()
    assert box(f"cat {HERE}/closed/file")


def test_a_policy_that_is_taken_out_confines_nobody(engine: Engine) -> None:
    engine.load(policy())
    with subprocess.Popen([BOX, "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None

        def reads() -> bool:
            assert shell.stdin is not None
            assert shell.stdout is not None
            shell.stdin.write(f"read x <{HERE}/closed/file && echo yes || echo no\n")
            shell.stdin.flush()
            return shell.stdout.readline() == "yes\n"

        assert not reads()
        engine.load(PolicySet())
        assert reads()
        engine.load(policy())  # it runs already: marked, not only at its exec
        assert not reads()
        shell.stdin.close()


@pytest.mark.parametrize("depth", [19, 20, 21, 63, 64, 65, 129, 300])
def test_deep(depth: int, engine: Engine) -> None:
    """However deep, the right verdict: allowed where a rule allows it, denied beside it."""
    below = "/".join(["d"] * depth)
    for top in ("open", "closed"):
        (HERE / top / below).mkdir(parents=True)
        (HERE / top / below / "leaf").write_text("leaf")
    engine.load(policy())
    assert box(f"cat {HERE}/open/{below}/leaf")
    assert not box(f"cat {HERE}/closed/{below}/leaf")


def test_too_long_is_denied(engine: Engine, all_locks: Locks) -> None:
    """Longer than any path can be written down: reached step by step, told with its own reason."""
    engine.load(policy())
    os.chdir(HERE / "open")
    try:
        for _ in range(20):
            Path("n" * 250).mkdir()
            os.chdir("n" * 250)
        Path("leaf").write_text("leaf")
        all_locks.events()
        assert subprocess.run([BOX, "cat", "leaf"], capture_output=True, check=False).returncode != 0
        assert {event.reason for event in denials(all_locks)} == {"denied (too deep)"}
    finally:
        os.chdir("/")


@pytest.mark.parametrize("name", ["n" * 255, 'a"b', "a\nb", "ü", "\x1b[2J", "a b", "-"])
def test_names(name: str, engine: Engine, all_locks: Locks) -> None:
    for top in ("open", "closed"):
        (HERE / top / name).write_text("x")
    engine.load(policy())
    all_locks.events()
    for top, works in (("open", True), ("closed", False)):
        ended = subprocess.run([BOX, "cat", HERE / top / name], capture_output=True, check=False)
        assert (ended.returncode == 0) is works
    assert [event.filename for event in denials(all_locks)] == [os.fsencode(HERE / "closed" / name)]


def test_what_changes_the_path_changes_the_verdict(engine: Engine) -> None:
    """Labels are kept by inode: renames of the file and of a directory above it, mounts and moves are noticed."""
    engine.load(policy())
    target = HERE / "open/file"
    for _ in range(2):
        assert box(f"cat {target}")
    target.rename(HERE / "closed/moved")
    assert not box(f"cat {HERE}/closed/moved")
    (HERE / "closed/moved").rename(target)
    assert box(f"cat {target}")

    (HERE / "open").rename(HERE / "shut")
    assert not box(f"cat {HERE}/shut/file")
    (HERE / "shut").rename(HERE / "open")
    assert box(f"cat {target}")

    (HERE / "shut").mkdir()
    run(f"mount --bind {HERE}/open {HERE}/shut")
    try:
        # The same inode by two paths, in turn.
        for _ in range(2):
            assert box(f"cat {HERE}/open/file")
            assert not box(f"cat {HERE}/shut/file")
        run(f"mount --make-private {HERE}/shut; mount --move {HERE}/shut {HERE}/mine")
        assert box(f"cat {HERE}/mine/file")
    finally:
        run(f"umount {HERE}/shut; umount {HERE}/mine")


def test_what_changes_the_path_of_a_directory_changes_what_is_new_in_it(engine: Engine) -> None:
    """Of directories the way through the automaton is kept: a file that is seen there for the first time goes by it."""
    numbers = itertools.count()

    def reads(directory: Path) -> bool:
        file = directory / f"new{next(numbers)}"
        file.write_text("x")
        return box(f"cat {file}")

    def creates(directory: Path) -> bool:
        return box(f"touch {directory}/new{next(numbers)}")

    engine.load(policy())
    opened, mine, shut = HERE / "open", HERE / "mine", HERE / "shut"
    for top in (opened, mine):
        (top / "deep/er").mkdir(parents=True)
    for _ in range(2):
        assert reads(opened / "deep/er")
        assert creates(mine / "deep/er")
        assert not creates(opened / "deep/er")
    for top, allowed in ((opened, reads), (mine, creates)):
        top.rename(shut)
        for _ in range(2):
            assert not allowed(shut / "deep/er")
        shut.rename(top)
        for _ in range(2):
            assert allowed(top / "deep/er")

    shut.mkdir()
    run(f"mount --bind {opened} {shut}")
    try:
        # The same directory by two paths, in turn.
        for _ in range(2):
            assert reads(opened / "deep/er")
            assert not reads(shut / "deep/er")
            assert not reads(shut)
        run(f"mount --make-private {shut}; mount --move {shut} {mine}")
        assert creates(mine / "deep/er")
        assert not creates(opened / "deep/er")
    finally:
        run(f"umount {shut}; umount {mine}")

    assert reads(opened / "deep/er")
    engine.load(PolicySet((profile(rule(f"{HERE}/mine/**", READ)),)))
    assert not reads(opened / "deep/er")
    assert reads(mine / "deep/er")


def test_a_rename_that_is_not_seen_to_end(engine: Engine) -> None:
    """The program at the end of a rename is left out now and then: then nothing that was kept is believed any more."""
    engine.load(policy())
    target, base = HERE / "open/file", pins.directory(pins.POLICY)
    for _ in range(2):
        assert box(f"cat {target}")
    pins.link_path(base, "fexit/vfs_rename").unlink()
    for _ in range(2):
        (HERE / "open").rename(HERE / "shut")
        assert not box(f"cat {HERE}/shut/file")
        (HERE / "shut").rename(HERE / "open")
        assert box(f"cat {target}")
    engine.unload()


def test_the_count_of_renames_does_not_begin_again(engine: Engine) -> None:
    """What was kept long ago would be taken for new: the counts go on where 32 bits end."""
    engine.load(policy())
    with Map.open(pins.directory(pins.POLICY) / "versions") as versions:
        for tree in range(_TREES):
            versions.store(_FIRST_TREE + _WORDS_OF_TREE * tree, 0xFFFFFFFE)
        before = struct.unpack_from("=Q", versions.values(), 4 * _FIRST_TREE)
        for _ in range(3):
            assert box(f"cat {HERE}/open/file")
            (HERE / "open").rename(HERE / "shut")
            assert not box(f"cat {HERE}/shut/file")
            (HERE / "shut").rename(HERE / "open")
        any_tree, renaming = struct.unpack_from("=2Q", versions.values(), 4 * _FIRST_TREE)
    assert before == (0xFFFFFFFE,)
    assert (any_tree, renaming) == (0x10000000A, 0)
    assert box(f"cat {HERE}/open/file")
    engine.unload()


def test_a_chroot_does_not_change_the_path(engine: Engine) -> None:
    engine.load(
        PolicySet((profile(rule("/file", READ), rule(f"{HERE}/open/**", READ), rule("/**/busybox", EXEC | READ)),))
    )
    (HERE / "closed/tmp").mkdir()
    shutil.copy(BOX, HERE / "closed/busybox")
    ended = subprocess.run(["chroot", HERE / "closed", "/busybox", "cat", "/file"], capture_output=True, check=False)
    assert ended.returncode == 0, "another executable: not confined"
    ended = subprocess.run(
        [BOX, "chroot", HERE / "closed", "/busybox", "cat", "/file"], capture_output=True, check=False
    )
    assert ended.returncode != 0


def test_children_are_confined_and_a_transition_changes_the_profile(engine: Engine) -> None:
    other = HERE / "other"
    shutil.copy(BOX, other)
    (HERE / "cat").symlink_to("other")
    there = Profile(str(other), (*profile().rules, rule(f"{HERE}/closed/**", READ)), Origin("test", 1, 1))
    engine.load(PolicySet((profile(rule(str(other), EXEC | READ)), there)))
    assert run(f"{HERE}/cat {HERE}/closed/file").returncode == 0
    assert not box(f"sh -c '{HERE}/cat {HERE}/closed/file'")
    engine.load(PolicySet((profile(rule(str(other), EXEC | READ, Effect.ALLOW | Effect.TRANSITION)), there)))
    assert box(f"sh -c '{HERE}/cat {HERE}/closed/file'")


def test_taint(engine: Engine, all_locks: Locks) -> None:
    """Not enforced before a taint rule matches; then for the process and its children."""
    engine.load(PolicySet((profile(rule(f"{HERE}/open/**", READ, Effect.TAINT | Effect.ALLOW), rule(str(BOX), EXEC)),)))
    all_locks.events()
    assert box(f"cat {HERE}/closed/file")
    assert not box(f"cat {HERE}/open/file {HERE}/closed/file")
    assert not box(f"sh -c 'read x <{HERE}/open/file; {BOX} cat {HERE}/closed/file'")
    assert "taint (policy)" in {event.reason for event in all_locks.events()}


def test_own_files(engine: Engine) -> None:
    """A right on files that the process itself created."""
    engine.load(
        PolicySet(
            (
                profile(
                    rule(f"{HERE}/**", FileAccess.CREATE | WRITE), rule(f"{HERE}/**", READ | FileAccess.RM, own=True)
                ),
            )
        )
    )
    assert not box(f"cat {HERE}/closed/file")
    assert box(f"sh -c 'echo x >{HERE}/mine/new; read y <{HERE}/mine/new'")
    assert not box(f"cat {HERE}/mine/new")


def test_complain_tells_and_allows(engine: Engine, all_locks: Locks) -> None:
    engine.load(PolicySet((profile(complain=True),)))
    all_locks.events()
    assert box(f"cat {HERE}/closed/file")
    told = [event for event in all_locks.events() if event.filename == os.fsencode(HERE / "closed/file")]
    assert told
    assert all(event.reason == "complain (policy)" and event.retval == 0 for event in told)


def test_bpflock_itself_is_not_confined(engine: Engine) -> None:
    """A policy for the Python that bpflock is run by, which may read files and nothing else."""
    early = ThreadPoolExecutor(1)
    early.submit(os.getpid).result()
    python = os.path.realpath(sys.executable)
    command = Path(sys.executable).parent / "bpflock"
    probe = f"{python} -c 'import socket; socket.socket()'"
    read = rule("/**", READ | EXEC)
    engine.load(PolicySet((Profile(python, (read,), Origin("test", 1, 1)),)))
    assert b"PermissionError" in run(probe).stderr
    # This process has passed the guard's door: all of its threads are spared.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: socket.socket().close()).result()
    early.submit(lambda: socket.socket().close()).result()
    early.shutdown()
    for words in ("list", "unload --all"):
        ended = run(f"{command} policy {words}")
        assert ended.returncode == 0, ended.stderr
    assert run(probe).returncode == 0


def test_an_executable_in_memory_is_denied(engine: Engine) -> None:
    """Everything below / may be executed: what has no path may not."""
    engine.load(PolicySet((profile(rule("/**", FileAccess(sum(FileAccess)))),)))
    assert box("true")
    code = (
        "import os; fd = os.memfd_create('x', 0); os.write(fd, open('/bin/true', 'rb').read());"
        "os.execve(os.open(f'/proc/self/fd/{fd}', os.O_RDONLY), ['true'], {})"
    )
    python = shutil.which("python3") or "python3"
    engine.load(
        PolicySet(
            (Profile(os.path.realpath(python), (rule("/**", FileAccess(sum(FileAccess))),), Origin("test", 1, 1)),)
        )
    )
    assert run(f"{python} -c 'pass'").returncode == 0
    ended = run(f'{python} -c "{code}"')
    assert ended.returncode != 0
    assert b"PermissionError" in ended.stderr


# R10: descriptors from before a policy. A process opens files, then comes a policy, or one that allows less: what that
# does not allow to open cannot be read or written any more, by whatever call, and all else can.

HELD = HERE / "held"
BOUND, FREE, OTHER = HELD / "bound", HELD / "free", HELD / "other"
SECRET, OPEN, LOG, FOLDER, FIFO = (HELD / name for name in ("secret", "open", "log", "folder", "fifo"))
ATTACHED = pins.link_path(pins.directory(pins.POLICY), "lsm/file_permission")
# Way, and what it needs: hook and operation of the event.
WAYS = {
    "read": ("file_permission", "read"),
    "pread": ("file_permission", "read"),
    "sendfile": ("file_permission", "read"),
    "splice": ("file_permission", "read"),
    "ring": ("file_permission", "read"),
    "child": ("file_permission", "read"),
    "mmap": ("mmap_file", "read"),
    "write": ("file_permission", "write"),
    "pwrite": ("file_permission", "write"),
    "splice_in": ("file_permission", "write"),
    "fallocate": ("file_permission", "write"),
    "mmap_shared": ("mmap_file", "read"),
}
READ_FOLDER = f'fs("{FOLDER}", read)'
APPEND_LOG = f'fs("{LOG}", append)'
COMMON = f'fs("{OPEN}", read|write)\nnet(unix, any)\noperation(io_uring)'


def held_policy(rules: str = "", extra: str = "") -> PolicySet:
    return PolicySet(parse(f'#![profile "{BOUND}"]\n{COMMON}\n{rules}\n{extra}'))


ANOTHER = f'#![profile "{OTHER}"]\nfs("/nothing", read)'


@pytest.fixture
def held(engine: Engine, all_locks: Locks) -> Engine:
    """The engine, and files."""
    FOLDER.mkdir(parents=True)
    for program in (BOUND, FREE, OTHER):
        shutil.copy(ATTACK, program)
    for file in (SECRET, OPEN, LOG):
        file.write_text("content" * 1000)
    os.mkfifo(FIFO)
    all_locks.events()
    return engine


def held_events(locks: Locks, pid: int | None = None) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy" and pid in (None, event.tgid)]


def test_held_running_process(held: Engine, all_locks: Locks) -> None:
    """Confined by the first policy that is for it. Each way by which it worked before fails, and is told."""
    files = (
        (os.O_RDWR, SECRET),
        (os.O_RDWR, OPEN),
        (os.O_WRONLY | os.O_APPEND, LOG),
        (os.O_RDONLY, FOLDER),
        (os.O_RDWR, SECRET),
    )
    with Holder(BOUND, *files) as bound, Holder(FREE, *files) as free:
        SECRET.unlink()  # by its last name
        for way in WAYS:
            assert bound.can(0, way), way
        held.load(held_policy(READ_FOLDER, APPEND_LOG))
        assert ATTACHED.exists()
        for way, (hook, operation) in WAYS.items():
            all_locks.events()
            assert not bound.can(0, way), way
            assert bound.can(1, way), way
            assert free.can(0, way), way
            events = held_events(all_locks)
            # Of the same a second time nothing is told: see the limits in docs/events.md.
            assert all(event.event == f"lsm_{hook}" and event.operation == operation for event in events), events
        assert not bound.can(4, "read")
        assert bound.can(2, "write")
        assert bound.can(3, "getdents")
        held.load(held_policy())
        assert not bound.can(3, "getdents")
        events = held_events(all_locks, bound.pid)
        assert [(e.event, e.filename, e.operation) for e in events if e.denied] == [
            ("lsm_file_permission", os.fsencode(FOLDER), "read")
        ], events
    # Nobody has them any more.
    held.load(held_policy())
    assert not ATTACHED.exists()


@pytest.mark.redteam("R10", "descriptor that is older than the policy")
def test_held_told(held: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    """The event names the rule's profile, path and operation."""
    with Holder(BOUND, (os.O_RDWR, SECRET)) as bound:

        def status(way: str) -> int:
            return WORKED if bound.can(0, way) else DENIED

        before = {way: status(way) for way in ("read", "write")}
        held.load(held_policy())
        all_locks.events()
        for way, without in before.items():
            within, events = status(way), held_events(all_locks, bound.pid)
            event = redteam.stopped(
                without=without, within=within, events=events, hook="file_permission", operation=way
            )
            assert (events, event.filename) == ([event], os.fsencode(SECRET))


def test_held_stricter_policy(held: Engine) -> None:
    """Opened under a policy that allows it. Loaded again, it costs nothing, and takes nothing away; also not a file
    that has another name by now."""
    old = HELD / "secret.1"
    with contextlib.ExitStack() as stack:
        held.load(held_policy(f'fs("{SECRET}", read)'))
        bound = stack.enter_context(Holder(BOUND, (os.O_RDONLY, SECRET), (os.O_RDONLY, OPEN), (os.O_RDONLY, SECRET)))
        SECRET.rename(old)
        held.load(held_policy(f'fs("{SECRET}", read)', ANOTHER))
        assert bound.can(0, "read")
        assert not ATTACHED.exists()
        old.rename(SECRET)
        held.load(held_policy(f'fs("{SECRET}", read|write)', ANOTHER))
        assert bound.can(0, "read")
        assert not ATTACHED.exists()
        held.load(held_policy())
        for _ in range(2):
            assert not bound.can(0, "read")
            assert not bound.can(2, "child")
            assert bound.can(1, "read")
            assert ATTACHED.exists()
            # The same again, with another profile: it stays.
            held.load(held_policy("", ANOTHER))
        # Newly opened, under the policy: not asked about.
        with Holder(BOUND, (os.O_RDONLY, OPEN)) as fresh:
            OPEN.rename(old)
            assert fresh.can(0, "read")
            old.rename(OPEN)
        held.load(held_policy(f'fs("{SECRET}", read)'))
        assert bound.can(0, "read")
        assert not ATTACHED.exists()


def test_held_complain(held: Engine, all_locks: Locks) -> None:
    """What complains only tells; enforced again, it is denied."""
    with Holder(BOUND, (os.O_RDONLY, SECRET)) as bound:
        for complain in (True, False):
            policy = held_policy()
            held.load(PolicySet(tuple(replace(p, complain=complain) for p in policy.profiles)))
            all_locks.events()
            assert bound.can(0, "read") == complain
            (event,) = held_events(all_locks, bound.pid)
            assert event.denied != complain
            assert (event.event, event.filename) == ("lsm_file_permission", os.fsencode(SECRET))


def test_held_what_was_given(held: Engine) -> None:
    """Standard output is what the process was given, by whatever number; in another mode it is not."""
    output = HELD / "output"
    output.touch()
    with Holder(BOUND, (os.O_WRONLY, output), (os.O_RDONLY, output), (os.O_RDONLY, OPEN), output=output) as bound:
        held.load(held_policy())
        assert ATTACHED.exists()
        for _ in range(2):
            assert bound.can(2, "read")
            assert not bound.can(1, "read")
            # Begun under the policy, and then that changes.
            held.load(held_policy(READ_FOLDER))
    with Holder(BOUND, (os.O_RDONLY, OPEN), output=output) as bound:
        held.load(held_policy())
        assert bound.can(0, "read")
        assert not ATTACHED.exists()


def test_held_open_under_way(held: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided before the switch, finished long after it: then all descriptors of the process are asked about."""
    monkeypatch.setattr(engine_of_policies, "_OPENING_SECONDS", 0.3)
    held.load(held_policy(f'fs("{FIFO}", read)'))
    with Holder(BOUND, (os.O_RDONLY, OPEN), (os.O_RDONLY, FIFO), ready=False) as bound:
        wait_until(f"[ -e /proc/{bound.pid}/fd/3 ] && grep -q ' S ' /proc/{bound.pid}/stat")
        held.load(held_policy())
        assert ATTACHED.exists()
        with FIFO.open("w") as writer:
            writer.write("content")
            writer.flush()
            bound.wait_ready()
            assert not bound.can(1, "read")
            assert bound.can(0, "read")
        held.load(held_policy(f'fs("{FIFO}", read)'))
        assert not ATTACHED.exists()


def test_held_by_a_ring(held: Engine) -> None:
    """Registered with an io_uring, a file needs no descriptor: then all of the process are asked about."""
    with Holder(BOUND, (os.O_RDONLY, SECRET), (os.O_RDONLY, OPEN), (os.O_RDONLY, SECRET)) as bound:
        assert bound.can(0, "register")
        assert bound.can(0, "registered")
        held.load(held_policy())
        for _ in range(2):
            assert not bound.can(0, "registered")
            assert bound.can(1, "read")
            assert not bound.can(2, "read")
            held.load(held_policy("", ANOTHER))
        held.load(held_policy(f'fs("{SECRET}", read)'))
        assert bound.can(0, "registered")
    held.load(held_policy())
    assert not ATTACHED.exists()


def test_held_interrupted_load(held: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the switch and the look at descriptors the command ends: the next load makes up for it."""
    held.load(held_policy(f'fs("{SECRET}", read)'))
    with Holder(BOUND, (os.O_RDONLY, SECRET)) as bound:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Engine, "_mark", interrupt)
            held.load(held_policy())
        held.load(held_policy())
        assert not bound.can(0, "read")


def test_held_own_file(held: Engine) -> None:
    """What the process has created itself under a policy stays its own under another one."""
    mine = HELD / "mine"
    create = rule(str(mine), FileAccess.CREATE)
    own = rule(str(mine), READ | WRITE, own=True)
    for change in ((), (rule("/nothing", READ),)):
        (bound,) = held_policy().profiles
        policies = PolicySet((replace(bound, rules=(*bound.rules, create, own, *change)),))
        held.load(policies)
        if not change:
            process = Holder(BOUND, (os.O_RDWR | os.O_CREAT, mine))
    with process:
        assert process.can(0, "write")
        held.load(held_policy())
        assert not process.can(0, "write")


def test_append_only(held: Engine) -> None:
    """As long as something may only be appended to, writes are looked at: see test_policy_redteam.py."""
    for rules, attached in ((APPEND_LOG, True), (f'fs("{LOG}", append|write)', False), (APPEND_LOG, True), ("", False)):
        held.load(held_policy(rules))
        assert ATTACHED.exists() == attached


def test_held_before_taint(held: Engine) -> None:
    """What a process opens before it is tainted it may use afterwards."""
    with Holder(BOUND, (os.O_RDONLY, SECRET)) as bound:
        held.load(held_policy(f'#[taint] fs("{SECRET}", write)'))
        assert bound.can(0, "read")
        assert not ATTACHED.exists()


def interrupt(_: Engine) -> bool:
    raise KeyboardInterrupt
