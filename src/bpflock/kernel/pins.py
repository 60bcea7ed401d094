# SPDX-License-Identifier: Apache-2.0
"""What bpflock keeps in bpffs: it goes on enforcing without a process, and a new process finds it there.

/sys/fs/bpf/bpflock/                mode 0700
    bpflock_events ...              maps that all locks share
    NAME/                           one lock, the guard, or the policy engine
        lsm__locked_down ...        its links: removing them ends it
        counters, config            its maps
        shown                       rootfslock's only: a map of the superblocks that it guards
        parameters -> {...}         the lock's own settings, where it has some (JSON in a symbolic link)
        origins -> {...}            where each setting came from (the same)
        functions/                  the policy engine's only: links of the probes on functions, see confine/functions.py
        selectors, usb-... -> {...} usblock's only: the devices of its lists, what to restore, devices blocked by hand
        key -> HEX                  the guard's only: see kernel/own.py
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpflock.errors import BpflockError, BusyError
from bpflock.kernel import host
from bpflock.kernel.bpf import program_exists, program_of_link
from bpflock.kernel.holder import holder_of

BPFFS = Path("/sys/fs/bpf")
ROOT = BPFFS / "bpflock"
GUARD = "guard"
POLICY = "policy"
# Pins of the maps that all objects share, and what the map is called in an object.
SHARED_MAPS = {
    "bpflock_events": "bpflock_events",
    "bpflock_cgroupmap": "bpflock_cgroupmap",
    "bpflock_sessions": "bpflock_sessions",
    "bpflock_shared": ".data.shared",
    "bpflock_own": "bpflock_own",
    "bpflock_limits": "bpflock_limits",
}
CGROUP_MAPS = ("bpflock_cgroupmap", "bpflock_shared")  # exceptions, and that there are some
COUNTERS = "counters"
CONFIG = "config"
SHOWN = "shown"
SELECTORS = "selectors"
USB_BEFORE, USB_BLOCKED = "usb-before", "usb-blocked"  # what usblock has to remember
_ORIGINS = "origins"
_PARAMETERS = "parameters"
_NEW, _OLD = "new-", "old-"  # bpffs allows no dots in names
_DETACH_SECONDS = 30
_TELL_SECONDS = 2


def directory(name: str) -> Path:
    return ROOT / name


def exists(name: str) -> bool:
    return directory(name).is_dir()


def shared(name: str) -> Path:
    return ROOT / name


def prepare() -> None:
    """Make the root directory."""
    host.require_root()
    host.mount_bpffs(BPFFS)
    ROOT.mkdir(mode=0o700, exist_ok=True)
    if ROOT.stat().st_uid != 0 or ROOT.stat().st_mode & 0o077:
        raise BpflockError(f"{ROOT} is not root's alone", hint=f"chown root {ROOT}; chmod 0700 {ROOT}")


@dataclass(frozen=True)
class Wait:
    """How to wait for others. `tell` hears who it is, after a while; once `cancelled` says so, nobody waits longer."""

    seconds: float = 120  # loading a large policy takes a slow machine a minute
    tell: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] = lambda: False


@contextlib.contextmanager
def exclusive(wait: Wait | None = None) -> Iterator[None]:
    """One process at a time changes what is pinned. Makes the root directory, removes it when it is empty again, and
    repairs what a crash left. Raises BusyError if another process does not finish."""
    fd = _open_locked(wait or Wait())
    try:
        _recover()
        yield
    finally:
        with contextlib.suppress(OSError):  # ENOTEMPTY
            ROOT.rmdir()
        os.close(fd)


def _open_locked(wait: Wait) -> int:
    """A descriptor of the root directory that holds the lock on it."""
    started, told = time.monotonic(), False
    while True:
        prepare()
        fd = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), ROOT.stat()):  # or its last holder has removed it
                return fd
        waited = time.monotonic() - started
        try:
            if wait.cancelled() or waited > wait.seconds:
                raise BusyError(
                    f"{holder_of(fd)} holds the lock of {ROOT}, and did not let go within {waited:.0f} s",
                    hint="nothing was changed: wait for that process, or end it",
                )
            if wait.tell and not told and waited > _TELL_SECONDS:
                wait.tell(f"waiting for {holder_of(fd)}, which holds the lock of {ROOT}")
                told = True
        finally:
            os.close(fd)
        time.sleep(0.02)


def _recover() -> None:
    """Finish a publication that was interrupted, undo what was not yet complete. What was enforced before goes on."""
    for entry in sorted(ROOT.iterdir()):  # new before old
        if entry.name.startswith(_NEW):
            target = directory(entry.name.removeprefix(_NEW))
            # The origins are staged last.
            if target.exists() or not (entry / _ORIGINS).is_symlink():
                _remove_tree(entry)
            else:
                entry.rename(target)
        elif entry.name.startswith(_OLD) and directory(entry.name.removeprefix(_OLD)).exists():
            _remove_tree(entry)


@contextlib.contextmanager
def staging(name: str) -> Iterator[Path]:
    """A directory to pin into. It goes away if the block fails."""
    path = ROOT / f"{_NEW}{name}"
    path.mkdir(mode=0o700)
    try:
        yield path
    except BaseException:
        _remove_tree(path)
        raise


def publish(name: str) -> None:
    """Put what was staged in the place of what is there. The old links go last: there is always one set attached."""
    target, old = directory(name), ROOT / f"{_OLD}{name}"
    if target.exists():
        target.rename(old)
    (ROOT / f"{_NEW}{name}").rename(target)
    if old.exists():
        _remove_tree(old)


def remove(name: str) -> bool:
    """End a lock. False if it was not there."""
    if not exists(name):
        return False
    _remove_tree(directory(name))
    return True


def remove_shared(names: Iterable[str]) -> None:
    for name in names:
        shared(name).unlink(missing_ok=True)


def _remove_tree(path: Path) -> None:
    """Unpin all, and wait until the programs are gone: the kernel detaches them some time after the last pin."""
    entries = list(path.iterdir())
    programs = [program_of_link(entry) for entry in entries if "__" in entry.name]
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():  # not ours, but in the way
            _remove_tree(entry)
        else:
            entry.unlink()
    path.rmdir()
    end = time.monotonic() + _DETACH_SECONDS
    while any(program_exists(program) for program in programs if program is not None):
        if time.monotonic() > end:
            raise BpflockError(
                f"{path.name}: its programs are still attached {_DETACH_SECONDS} s after the last pin was removed",
                hint="another process holds them open: see 'bpftool link'",
            )
        time.sleep(0.002)


def link_path(base: Path, hook: str) -> Path:
    """Where the link of a program is pinned; hook is its section name, such as lsm/bpf."""
    return base / hook.replace("/", "__", 1)


def hooks(name: str) -> tuple[str, ...]:
    """The hooks whose links are pinned."""
    if not exists(name):
        return ()
    return tuple(sorted(e.name.replace("__", "/", 1) for e in directory(name).iterdir() if "__" in e.name))


def link_paths(name: str) -> tuple[Path, ...]:
    """Where its links are pinned."""
    return tuple(link_path(directory(name), hook) for hook in hooks(name))


def since(name: str) -> float:
    """When the lock was loaded in its present form, seconds since the epoch."""
    return (directory(name) / CONFIG).stat().st_mtime


def _write(link: Path, value: Mapping[str, object]) -> None:
    fresh = link.with_name(f"{link.name}-new")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(json.dumps(dict(value)))
    except OSError as error:
        raise BpflockError(f"cannot keep the {link.name} of {link.parent.name} in bpffs: {error.strerror}") from error
    fresh.rename(link)


def _read(link: Path) -> dict[str, object]:
    try:
        found = json.loads(str(link.readlink()))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_origins(base: Path, origins: Mapping[str, str]) -> None:
    """Keep them beside the pins: they live exactly as long."""
    _write(base / _ORIGINS, origins)


def read_origins(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in _read(directory(name) / _ORIGINS).items()}


def write_parameters(base: Path, parameters: Mapping[str, tuple[str, ...]]) -> None:
    """The same for the values of the lock's own options."""
    if parameters:
        _write(base / _PARAMETERS, parameters)
    else:
        (base / _PARAMETERS).unlink(missing_ok=True)


def read_parameters(name: str) -> dict[str, tuple[str, ...]]:
    found = _read(directory(name) / _PARAMETERS)
    return {key: tuple(map(str, value)) for key, value in found.items() if isinstance(value, list)}


def write_link(base: Path, link: str, value: Mapping[str, object]) -> None:
    """Keep a value beside pins, as write_origins() does. Raises BpflockError if it is longer than a link can be."""
    _write(base / link, value)


def read_link(name: str, link: str) -> dict[str, object]:
    """What write_link() keeps beside the pins of a lock; empty if nothing."""
    return _read(directory(name) / link)


def read_words(name: str, link: str, key: str) -> list[str]:
    """A list of words among it."""
    found = read_link(name, link).get(key)
    return [str(word) for word in found] if isinstance(found, list) else []
