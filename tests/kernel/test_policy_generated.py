# SPDX-License-Identifier: Apache-2.0
"""The kernel decides as the reference evaluator does: random policies, random accesses, done for real.

The files are reached by their names, hard links, symbolic links, procfs, bind mounts that differ between two mount
namespaces, and by names that were given to them, or to a directory above them, a moment ago. Some trees are on
overlayfs. What is done is done by several tasks and kinds of calls (generated_ways.py).
"""

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.locks.enforce import Enforcer
from bpflock.policy import rename
from bpflock.policy.evaluate import Access, FileRequest, Subject, evaluate
from bpflock.policy.model import (
    Effect,
    FileAccess,
    FileObject,
    Operation,
    OperationObject,
    Origin,
    PolicySet,
    Rule,
)
from bpflock.policy.tables import CompileError
from tests.policy.generate import Generator, show, shrink

from .conftest import ATTACK
from .generated_ways import Ways, fuzzing, seeds
from .prober import Prober
from .told import Expected, Told

_CASES = 3300  # with test_policy_generated_objects.py, 5,000
_TREES = 8
_OVERLAYS = 4  # every fourth tree
_POLICIES = 2  # for each tree
_SESSIONS = 4  # under each policy
_ACCESSES = 34  # of each session
_ROOT = Path("/tmp/generated")
_TREE = _ROOT / "tree"
_TOP = os.fsencode(_TREE)
_BIND = os.fsencode(_ROOT / "bind")  # of the tree; in the other namespace, of what follows
_OTHER_SOURCE = _TREE / "other"
_LINKS = _ROOT / "links"  # symbolic ones
_LAYERS = _ROOT / "layers"  # of the trees on overlayfs

READ, WRITE, APPEND, EXEC = FileAccess.READ, FileAccess.WRITE, FileAccess.APPEND, FileAccess.EXEC
CREATE, RM, LINK = FileAccess.CREATE, FileAccess.RM, FileAccess.LINK


@dataclass(frozen=True)
class Step:
    """One of the questions that the kernel asks the policy during an access. `target`: about the second path."""

    access: FileAccess
    target: bool = False
    own: bool = False  # of a file that this access has just created


# What the prober can do to a file: the questions, in the kernel's order; the first that is denied ends it.
_TO_FILES = {
    "read": (Step(READ),),
    "write": (Step(WRITE),),
    "append": (Step(APPEND),),
    "read+write": (Step(READ | WRITE),),
    "read+append": (Step(READ | APPEND),),
    "append+truncate": (Step(APPEND | WRITE), Step(WRITE)),
    "truncate": (Step(WRITE),),
    "execute": (Step(EXEC),),
    "map": (Step(READ), Step(EXEC)),
    "neither": (Step(READ | WRITE),),
    "ioctl": (Step(READ), Step(FileAccess.IOCTL)),
    "chmod": (Step(FileAccess.SETATTR),),
    "chown": (Step(FileAccess.SETATTR),),
    "stat": (Step(FileAccess.GETATTR),),
    "unlink": (Step(RM),),
    "link": (Step(LINK), Step(CREATE | LINK, target=True)),
    "rename": (Step(RM), Step(CREATE, target=True)),  # and what questions() adds
}
_TO_DIRECTORIES = {
    **{name: _TO_FILES[name] for name in ("read", "chmod", "chown", "stat", "rename")},
    "rmdir": (Step(RM),),
}
# To a name that is free.
_TO_NAMES = {
    "create+read": (Step(CREATE), Step(CREATE | READ, own=True)),
    "create+write": (Step(CREATE), Step(CREATE | WRITE, own=True)),
    "mkdir": (Step(CREATE),),
    "mknod": (Step(CREATE),),
    "symlink": (Step(CREATE),),
}
_ALL = {**_TO_FILES, **_TO_DIRECTORIES, **_TO_NAMES}
# These follow a symbolic link; the others are about the link.
_FOLLOW = {"read", "write", "append", "read+write", "read+append", "append+truncate", "truncate", "execute", "map"}
_FOLLOW |= {"neither", "ioctl", "chmod", "chown", "stat"}
_WAYS = ("name", "name", "name", "bind", "bind", "hard link", "symlink", "procfs")
_TWO_PATHS = ("link", "rename")
_BY_CHILD = {"execute"}  # of vfork(2): what taints it taints its parent


def start(executable: str, elsewhere: bool) -> Prober:
    """A prober in the host's mount namespace, or in the other."""
    if not elsewhere:
        return Prober(executable, "probe")
    mount = f"mount --bind {_OTHER_SOURCE} {os.fsdecode(_BIND)} && exec {executable} probe"
    return Prober("unshare", "-m", "sh", "-c", mount)


def reset(tree: list[bytes]) -> None:
    """The files as the generator thinks of them. Those without anything below are files."""
    # Not the tree itself: it is mounted elsewhere.
    subprocess.run(["find", _TREE, "-mindepth", "1", "-delete"], check=True)
    for path in tree:
        os.makedirs(path, exist_ok=True)
    for path in tree:
        if not os.listdir(path):
            os.rmdir(path)
            make_file(path)


def make_file(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(b"text, no program")
    os.chmod(path, 0o755)


@dataclass(frozen=True)
class Done:
    """What is done to which paths. `own`: the process created the file."""

    what: str
    paths: tuple[bytes, ...]
    own: bool = False
    directory: bool = False

    def questions(self, policy: PolicySet, subject: Subject) -> tuple[FileRequest, ...]:
        if self.what == "rename":
            old, new = self.paths
            return rename.questions(policy, subject, rename.RenameRequest(old, new, self.own, self.directory))
        return tuple(
            FileRequest(self.paths[step.target], step.access, own=step.own or (self.own and not step.target))
            for step in _ALL[self.what]
        )


def expected(policy: PolicySet, subject: Subject, done: Done) -> tuple[bool, Subject, list[Expected]]:
    """Whether the evaluator allows it, what becomes of the subject, and what is decided on the way."""
    decisions: list[Expected] = []
    for request in done.questions(policy, subject):
        decision = evaluate(Access(subject, request))
        decisions.append((decision, request.path))
        if decision.taints:
            subject = replace(subject, tainted=True)
        if not decision.allowed:
            return False, subject, decisions
    return True, subject, decisions


class Session:
    """What one prober does, one access after the other, and what the evaluator says to it."""

    def __init__(self, generator: Generator, policy: PolicySet, number: int, ways: Ways, *, overlay: bool) -> None:
        self._random = generator.random
        self._ways = ways
        self._source_of_ways = random.Random(number)
        self._generator = generator
        self._overlay = overlay
        self.totals: Counter[str] = Counter()
        self.policy = policy
        self.ways: Counter[str] = Counter()
        self.profile = self._random.choice(policy.profiles)
        self.executable = generator.access(PolicySet((self.profile,))).subject.executable
        self.elsewhere = number % 2 == 1
        self._subject = Subject(self.profile, executable=self.executable)
        self._created: list[bytes] = []

    def run(self, count: int) -> None:
        """So many accesses, and others around them. Raises Mismatch at the first that is not decided alike."""
        with start(self.executable.decode(), self.elsewhere) as prober, Told(Enforcer()) as self._told:
            prober.reach("nothing", b"/")  # it has begun
            for _ in range(count):
                self._access(prober)

    def _access(self, prober: Prober) -> None:
        with contextlib.ExitStack() as undo:
            path, what, way = self._choose()
            if what in _TO_NAMES:
                undo.callback(self._restore, path)
                self._compare(prober, what, (path,), path, path)
                return
            where, shown = self._reach(path, what, way, undo)
            if path != _TOP and self._random.random() < 0.3:
                # As it was, then by its new name, then by the old one again.
                self._compare(prober, "stat", (where,), shown, path)
                self._renamed(prober, path)
            undo.callback(self._restore, path)
            paths: tuple[bytes, ...] = (where,)
            if what in _TWO_PATHS:
                target = self._free_name(path)
                undo.callback(self._restore, target)
                paths = (where, target)
            self._compare(prober, what, paths, shown, path)

    def _choose(self) -> tuple[bytes, str, str]:
        """A path of the tree, something to do to it, near to what a rule of the profile is about in most cases, and
        the way to it."""
        way = self._random.choice(_WAYS)
        if self._created and self._random.random() < 0.3:
            path = self._random.choice(self._created)
            if os.path.lexists(path):
                return path, self._random.choice(list(_TO_FILES)), way
        access = self._generator.access(PolicySet((self.profile,)))
        assert isinstance(access.request, FileRequest)
        path, wanted = access.request.path, access.request.access
        if path.startswith(_BIND + b"/"):
            way = "bind"
            path = self._bound() + path.removeprefix(_BIND)
        parent = os.path.dirname(path)
        new = path + b"/" + self._new_name()
        if os.path.isdir(path) and CREATE in wanted and not os.path.lexists(new):
            path, table = new, _TO_NAMES
        elif os.path.lexists(path):
            table = _TO_DIRECTORIES if os.path.isdir(path) else _TO_FILES
        else:
            path, table = path if os.path.isdir(parent) else self._free_name(), _TO_NAMES
        if path == _TOP:
            table = {"stat": _TO_FILES["stat"]}  # all the rest is below it
        near = [name for name, steps in table.items() if any(wanted & step.access for step in steps)]
        return path, self._random.choice(near or list(table)), way

    def _bound(self) -> bytes:
        """What the prober finds in the bind mount."""
        return os.fsencode(_OTHER_SOURCE) if self.elsewhere else _TOP

    def _new_name(self) -> bytes:
        return self._random.choice((b"new", b"a.new", b"x.log", "ключ2".encode(), b"n" * 255))

    def _free_name(self, outside: bytes = b"//") -> bytes:
        """Of a new file in the tree, but not below this path."""
        while True:
            directory = self._random.choice(self._generator.files)
            name = directory + b"/" + self._new_name()
            if not directory.startswith(_TOP) or not os.path.isdir(directory):
                continue
            if len(name) < 4000 and not name.startswith(outside) and not os.path.lexists(name):
                return name

    def _reach(self, path: bytes, what: str, way: str, undo: contextlib.ExitStack) -> tuple[bytes, bytes]:
        """How the prober is to reach the file: the path to use, and what the kernel takes it for."""
        if way == "bind" and what not in _TWO_PATHS and path.startswith(self._bound() + b"/"):
            bound = _BIND + path.removeprefix(self._bound())
            return bound, bound
        if way == "hard link" and os.path.isfile(path):
            name = self._free_name()
            os.link(path, name)
            undo.callback(self._restore, name)
            return name, name
        if way == "symlink" and what in _FOLLOW:
            link = os.fsencode(_LINKS / "link")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(path, link)
            return link, path
        if way == "procfs" and len(path) < 4000:
            return b"/proc/self/root" + path, path
        return path, path

    def _renamed(self, prober: Prober, path: bytes) -> None:
        """Rename the file, or a directory above it; stat it by the new name; undo that, and stat it again."""
        below = path.removeprefix(_TOP + b"/").split(b"/")
        depth = self._random.randint(1, len(below))
        old = b"/".join((_TOP, *below[:depth]))
        new = os.path.dirname(old) + b"/" + self._random.choice((b"renamed", b"r", b"log.r"))
        if os.path.lexists(new):
            return
        os.rename(old, new)
        try:
            moved = new + path.removeprefix(old)
            self._compare(prober, "stat", (moved,), moved, path)
        finally:
            os.rename(new, old)
        self._compare(prober, "stat", (path,), path, path)

    def _restore(self, path: bytes) -> None:
        """Make the tree again what it was, as far as this path goes."""
        if path in self._created:
            return
        if path in self._generator.files:
            if os.path.lexists(path):
                return
            if any(other.startswith(path + b"/") for other in self._generator.files):
                raise AssertionError(f"{path!r}: a directory that is not empty is gone")
            make_file(path)
        elif os.path.lexists(path):
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                os.unlink(path)

    def _compare(self, prober: Prober, what: str, paths: tuple[bytes, ...], shown: bytes, real: bytes) -> None:
        """`shown`: what the policy takes the first path for; `real`: the name by which the file was made."""
        before = self._subject
        # Not a child of a child that has the memory: that taints at once.
        ways = self._ways.choose(self._source_of_ways, what, memory=what not in _BY_CHILD)
        done = Done(what, (shown, *paths[1:]), real in self._created, os.path.isdir(real))
        allowed, self._subject, decisions = expected(self.policy, before, done)
        self._told.begin()
        error = prober.reach(what, *paths, ways=ways)
        assert error in (0, errno.EPERM, *_HARMLESS.get(what, ())), f"{what} {paths} {ways}: {os.strerror(error)}"
        if (error != errno.EPERM) is not allowed:
            raise Mismatch(self, before, done, paths, error, ways)
        if self._overlay and allowed and what == "append+truncate":
            # Up to Linux 6.1 at least, overlayfs opens the layer's file by the same path, without truncating it.
            again = FileRequest(shown, APPEND, own=done.own)
            decisions.append((evaluate(Access(before, again)), shown))
        difference = self._told.difference(decisions)
        assert not difference, f"{done} by {paths} {ways}, tainted={before.tainted}: {difference}\n{self.profile}"
        self.totals["allowed" if allowed else "denied"] += 1
        self.ways.update(ways)
        self._follow(what, paths, error)

    def _follow(self, what: str, paths: tuple[bytes, ...], error: int) -> None:
        """Put back what worked and was not to last; remember files that are the prober's own."""
        if what in ("create+read", "create+write") and os.path.lexists(paths[0]) and self._random.random() < 0.5:
            self._created.append(paths[0])
        if error:
            return
        if what == "rename":
            os.rename(paths[1], paths[0].removeprefix(b"/proc/self/root"))

    def forget(self) -> None:
        """Remove the prober's own files."""
        created, self._created = self._created, []
        for path in created:
            self._restore(path)


# Errors that come after the policy was asked.
_HARMLESS = {
    "execute": (errno.ENOEXEC,),
    "rmdir": (errno.ENOTEMPTY,),
    "rename": (errno.EXDEV,),  # directories of overlayfs
}


class Mismatch(Exception):
    """The kernel decided otherwise than the evaluator."""

    def __init__(
        self,
        session: Session,
        subject: Subject,
        done: Done,
        paths: tuple[bytes, ...],
        error: int,
        ways: tuple[str, ...],
    ) -> None:
        super().__init__(
            f"{done} by {paths} {ways}: the kernel says {os.strerror(error) if error else 'yes'}; "
            f"tainted={subject.tainted}, elsewhere={session.elsewhere}"
        )
        self.session = session
        self.subject = subject
        self.done = done
        self.paths = paths
        self.ways = ways


def smallest(engine: Engine, mismatch: Mismatch) -> str:
    """The smallest policy and access that still show it, if a fresh process shows it at all."""
    session, done = mismatch.session, mismatch.done
    profile = session.profile
    if mismatch.subject.tainted:
        # The same, without a process that has a past.
        rules = tuple(replace(rule, effect=rule.effect & ~Effect.TAINT) for rule in profile.rules)
        profile = replace(profile, rules=tuple(rule for rule in rules if rule.effect))

    def fails(policy: PolicySet, access: Access) -> bool:
        assert isinstance(access.request, FileRequest)
        path = access.request.path
        try:
            engine.load(with_rings(policy))
        except CompileError:
            return False
        with start(session.executable.decode(), session.elsewhere) as prober:
            error = prober.reach(done.what, path, *mismatch.paths[1:], ways=mismatch.ways)
        allowed, _, _ = expected(policy, access.subject, replace(done, paths=(path, *done.paths[1:]), own=False))
        decided = error in (0, errno.EPERM, *_HARMLESS.get(done.what, ()))
        return decided and (error != errno.EPERM) is not allowed

    access = Access(
        Subject(profile, executable=session.executable), FileRequest(done.paths[0], _ALL[done.what][0].access)
    )
    policy = PolicySet((profile,))
    if not fails(policy, access):
        return "a fresh process does not show it: it depends on what came before"
    return f"{done.what}\n{show(*shrink(policy, access, fails))}"


def only_files(policy: PolicySet) -> PolicySet:
    """Without rules on anything else, and functions, which the prober has none of."""
    kept = []
    for profile in policy.profiles:
        rules = tuple(rule for rule in profile.rules if isinstance(rule.object, FileObject) and not rule.functions)
        if rules:
            kept.append(replace(profile, rules=rules))
    return PolicySet(tuple(kept))


def with_rings(policy: PolicySet) -> PolicySet:
    """The same for files; all may make an io_uring."""
    rule = Rule(OperationObject(Operation.IO_URING), Effect.ALLOW, Origin("generated", 1, 1))
    return PolicySet(tuple(replace(profile, rules=(*profile.rules, rule)) for profile in policy.profiles))


@pytest.fixture
def engine(kept_engine: Engine) -> Iterator[Engine]:
    shutil.rmtree(_ROOT, ignore_errors=True)
    for directory in (_ROOT / "bin", _TREE, _LINKS):
        directory.mkdir(parents=True)
    os.mkdir(_BIND)
    for name in ("server", "worker", "tool"):
        shutil.copy(ATTACK, _ROOT / "bin" / name)
    yield kept_engine
    kept_engine.load(PolicySet())


@contextlib.contextmanager
def mounted(overlay: bool) -> Iterator[None]:
    """The bind mount; before it, the tree is made the lower layer of itself, if it is to be on overlayfs."""
    with contextlib.ExitStack() as undo:
        if overlay:
            subprocess.run(["modprobe", "overlay"], check=True)
            _LAYERS.mkdir(exist_ok=True)
            mount(undo, "-t", "tmpfs", "tmpfs", _LAYERS)
            for name in ("upper", "work"):
                (_LAYERS / name).mkdir()
            layers = f"lowerdir={_TREE},upperdir={_LAYERS}/upper,workdir={_LAYERS}/work,redirect_dir=on"
            mount(undo, "-t", "overlay", "-o", layers, "overlay", _TREE)
        mount(undo, "--bind", _TREE, os.fsdecode(_BIND))
        yield


def mount(undo: contextlib.ExitStack, *arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)
    undo.callback(subprocess.run, ["umount", arguments[-1]], check=True)


def tree(seed: int) -> Generator:
    """A generator, with its files in place. To policies, paths through the bind mount are files like others."""
    generator = Generator(seed, root=str(_ROOT), functions=False)
    other = os.fsencode(_OTHER_SOURCE)
    # What the other namespace finds in the bind mount has names that the host's has too.
    there = [path.replace(_TOP, other, 1) for path in generator.files[1:30]]
    reset([*generator.files, *there])
    bound = [path.replace(_TOP, _BIND, 1) for path in generator.files[1:30]]
    generator.files += there + bound
    return generator


def test_the_kernel_decides_as_the_evaluator(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    totals: Counter[str] = Counter()
    used: Counter[str] = Counter()
    ways = Ways.find()
    for seed in seeds(_TREES):
        generator = tree(seed)
        overlay = seed % _OVERLAYS == 1
        # Of a task with an io_uring, what an overlay does to its layers is asked about, too, and may be denied: the
        # engine knows only the credentials that the overlay of its root or working directory keeps. New files are made
        # with a copy of these.
        usable = ways.without_rings() if overlay else ways
        with mounted(overlay):
            for _ in range(_POLICIES):
                policy = enforceable(engine, generator)
                for number in range(_SESSIONS):
                    session = Session(generator, policy, number, usable, overlay=overlay)
                    try:
                        session.run(_ACCESSES)
                    except Mismatch as mismatch:
                        with capsys.disabled():
                            sys.stdout.write(f"\nseed {seed}: {mismatch}\nlooking for the smallest case of it\n")
                            sys.stdout.flush()
                        pytest.fail(f"seed {seed}: {mismatch}\n{policy}\n{smallest(engine, mismatch)}")
                    finally:
                        session.forget()
                    totals += session.totals
                    used += session.ways
        if fuzzing():
            with capsys.disabled():
                sys.stdout.write(f"\nseed {seed}: {sum(totals.values())} accesses decided alike so far\n")
                sys.stdout.flush()
    compared = sum(totals.values())
    with capsys.disabled():
        sys.stdout.write(f"\n{compared} accesses decided alike: {dict(totals)}, of them by {dict(used)}\n")
    if fuzzing():
        return
    assert compared >= _CASES
    assert set(used) == ways.all()
    # Neither kind is rare.
    assert totals["denied"] > compared / 10
    assert totals["allowed"] > compared / 10


def enforceable(engine: Engine, generator: Generator) -> PolicySet:
    """The next policy set that can be enforced, enforced. Two profiles for one executable, for example, cannot be."""
    while True:
        policy = only_files(generator.policy())
        with contextlib.suppress(CompileError):
            engine.load(with_rings(policy))
            if policy.profiles:
                return policy
