# SPDX-License-Identifier: Apache-2.0
"""Probes on the functions that rules depend on: found, attached, pinned, taken out. See bpf/policy_func.bpf.c.

Pinned in /sys/fs/bpf/bpflock/policy/functions/, two links for each function of a file, named after what they are for.
A file is known by its inode: what replaces it later, under the same name, has no probe.
"""

import contextlib
import mmap
import os
import platform
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpflock.errors import BpflockError, UsageError, nearest
from bpflock.kernel.bpf import Link, Map, Object, Program, build_of
from bpflock.kernel.btf import KernelTypes
from bpflock.policy.model import Function, Origin, PolicySet, Profile
from bpflock.policy.symbols import find_library, find_places, find_some, identity
from bpflock.policy.tables import CompileError, Numbering

_OBJECT = "policy_func"
_DIRECTORY = "functions"
_TASKS = "tasks"
_ENTER, _LEAVE = "__enter", "__leave"
_JUMP = "uprobe/jump"
_LIBC = "libc.so.6"
_JUMPS = ("longjmp", "_longjmp", "siglongjmp", "__longjmp_chk")
_SYMBOLS = Path("/proc/kallsyms")


@dataclass(frozen=True)
class Probe:
    """Of a function by its number; 0 for longjmp, which leaves functions. `profile`: it counts only in tasks of this
    profile, whose executable the file is; 0 for a library and for the kernel. `path` is empty for the kernel; else
    `offset` is in that file, and `file` tells it from others of the same name: device, inode, time of its last
    change."""

    number: int
    profile: int
    name: str
    path: str = ""
    offset: int = 0
    file: str = ""

    def __str__(self) -> str:
        return f"{self.name}() of {self.path or 'the kernel'}"

    @property
    def current(self) -> bool:
        """Whether the file is still the one that the probe is in."""
        if not self.path:
            return True
        try:
            return identity(Path(self.path).stat()) == self.file
        except OSError:
            return False

    @property
    def hooks(self) -> dict[str, str]:
        """The programs it consists of, in the order in which they are attached, and the ends of their pins' names."""
        if not self.number:
            return {_JUMP: _ENTER}
        return {"fexit": _LEAVE, "fentry": _ENTER} if not self.path else {"uretprobe": _LEAVE, "uprobe": _ENTER}

    def pins(self) -> set[str]:
        return {self.pin() + kind for kind in self.hooks.values()}

    def pin(self) -> str:
        """The name of its pins, without what tells them apart. Another version of the programs has others."""
        build = f"{build_of(_OBJECT):x}"
        if not self.path:
            return f"k{self.number}-{build}"
        return f"f{self.number}-{self.profile}-{self.file}-{self.offset:x}-{build}"


def wanted(policy: PolicySet, numbering: Numbering) -> dict[Probe, Origin]:
    """The probes that a policy set needs, and for which rule each. Raises CompileError for a function that there is
    not, or that cannot be told."""
    found: dict[Probe, Origin] = {}
    asked: set[tuple[str, Function]] = set()
    for profile in policy.profiles:
        for rule in profile.rules:
            for function in rule.functions:
                if (profile.executable, function) in asked:
                    continue
                asked.add((profile.executable, function))
                try:
                    for probe in _probes(profile, function, numbering):
                        found.setdefault(probe, rule.origin)
                except UsageError as error:
                    raise CompileError(rule.origin, error.message, hint=error.hint) from error
    jumps = {probe: found[probe] for probe in found if probe.path}
    if jumps:
        origin = next(iter(jumps.values()))
        found.update(dict.fromkeys(_jumps({Path(probe.path) for probe in jumps}), origin))
    return found


def _jumps(files: set[Path]) -> Iterator[Probe]:
    """Where threads leave functions without returning from them: in the C library, or in files that contain it."""
    with contextlib.suppress(UsageError):  # a system of static programs
        files.add(find_library(_LIBC))
    for path in sorted(files):
        for name, place in find_some(path, _JUMPS).items():
            yield Probe(0, 0, name, str(place.path), place.offset, place.file)


def kept(probes: tuple[Probe, ...], policy: PolicySet, numbering: Numbering) -> tuple[Probe, ...]:
    """Those that a part of the policy set still needs."""
    used = {
        (numbering.functions[function], numbering.profiles[profile.executable])
        for profile in policy.profiles
        for rule in profile.rules
        for function in rule.functions
    }
    numbers = {number for number, _ in used}
    found = [p for p in probes if ((p.number, p.profile) in used if p.profile else p.number in numbers)]
    if any(probe.path for probe in found):
        found += [probe for probe in probes if not probe.number]
    return tuple(found)


def _probes(profile: Profile, function: Function, numbering: Numbering) -> Iterator[Probe]:
    if platform.machine() != "x86_64":
        raise UsageError("rules within functions can be enforced on x86-64 only")
    number = numbering.functions[function]
    if function.kernel:
        _require_kernel_function(function.name)
        yield Probe(number, 0, function.name)
        return
    places = find_places(profile, function)
    if not places:
        raise UsageError(
            f"{profile.executable}: no such file", hint="rules within functions need the executable in place"
        )
    of_profile = 0 if function.library else numbering.profiles[profile.executable]
    for place in places:
        yield Probe(number, of_profile, function.name, str(place.path), place.offset, place.file)


def _require_kernel_function(name: str) -> None:
    """Raises UsageError for what is no function of the kernel that programs can be attached to."""
    if KernelTypes.load().has_function(name):
        return
    # There are more than a hundred thousand: only those that begin alike are looked at.
    pattern = rb"^\S+ [tT] (%s\S*)$" % re.escape(name[:2].encode())
    symbols = {found.decode() for found in re.findall(pattern, _SYMBOLS.read_bytes(), re.MULTILINE)}
    if name in symbols:
        raise UsageError(f"{name} of the kernel cannot be probed: there is no type information of it")
    likely = sorted(known for known in symbols if abs(len(known) - len(name)) < 3)
    hint = nearest(name, likely) if likely else "see /proc/kallsyms"
    raise UsageError(f"the kernel has no function '{name}': it may be inlined, or part of a module", hint=hint)


@contextlib.contextmanager
def attached(base: Path, probes: Mapping[Probe, Origin | None]) -> Iterator[None]:
    """Attach and pin in `base` what of these is not there yet; taken out again if the block fails.

    Raises CompileError with the place of the rule, or BpflockError, for what the kernel refuses.
    """
    place = base / _DIRECTORY
    place.mkdir(mode=0o700, exist_ok=True)
    there = {entry.name for entry in place.iterdir()}
    missing = [probe for probe in probes if not probe.pins() <= there]
    made: list[Path] = []
    try:
        with Map.open(base / _TASKS) as tasks, contextlib.ExitStack() as stack:
            of_files = None
            for probe in missing:
                try:
                    if not probe.path:
                        with _programs(tasks, probe) as program:
                            _attach_kernel(program, place, probe, made)
                        continue
                    of_files = of_files or stack.enter_context(_programs(tasks))
                    _attach_file(of_files, place, probe, made)
                except (BpflockError, OSError) as error:
                    if isinstance(error, BpflockError):
                        reason, hint = f"{probe}: {error.message}", error.hint
                    else:
                        reason, hint = (
                            f"{probe}: {error.strerror}",
                            "can the file be executed? Look at its mount options",
                        )
                    origin = probes[probe]
                    if origin is None:
                        raise BpflockError(reason, hint=hint) from error
                    raise CompileError(origin, reason, hint=hint) from error
        yield
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def remove_others(base: Path, probes: tuple[Probe, ...]) -> None:
    """Take out what none of these needs."""
    names = {name for probe in probes for name in probe.pins()}
    # Who enters must have a way to leave: "__enter" goes before "__leave".
    for entry in sorted((base / _DIRECTORY).iterdir(), key=lambda path: path.name.endswith(_LEAVE)):
        if entry.name not in names:
            entry.unlink()


@contextlib.contextmanager
def _programs(tasks: Map, kernel: Probe | None = None) -> Iterator[dict[str, Program]]:
    """The programs by hook, loaded: those for files, or those for one function of the kernel."""
    hooks = ("fentry", "fexit") if kernel else ("uprobe", "uretprobe", _JUMP)
    with Object(_OBJECT) as loaded:
        found = {program.hook: program for program in loaded.programs}
        for hook, program in found.items():
            program.use(hook in hooks)
            if kernel and hook in hooks:
                program.target(kernel.name)
        if kernel:
            loaded.set_constant(".rodata", "function", struct.pack("=I", kernel.number))
        loaded.reuse("policy_tasks", tasks, _TASKS)
        loaded.load()
        yield {hook: found[hook] for hook in hooks}


def _attach_kernel(programs: dict[str, Program], place: Path, probe: Probe, made: list[Path]) -> None:
    for hook, kind in probe.hooks.items():
        _pin(programs[hook].attach(), place / (probe.pin() + kind), made)


def _attach_file(programs: dict[str, Program], place: Path, probe: Probe, made: list[Path]) -> None:
    cookie = probe.profile << 32 | probe.number
    page = probe.offset & -mmap.PAGESIZE
    with Path(probe.path).open("rb") as stream:
        status = os.fstat(stream.fileno())
        if identity(status) != probe.file:
            raise BpflockError("the file changes meanwhile", hint="try again")
        # By the open file: no other can come in its place. Mapped, so that the kernel looks at the code now: what it
        # cannot put a probe on, it would pass over in silence when a process maps it.
        length = min(mmap.PAGESIZE, status.st_size - page)
        with mmap.mmap(stream.fileno(), length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC, offset=page):
            for hook, kind in probe.hooks.items():
                opened = Path(f"/proc/self/fd/{stream.fileno()}")
                link = programs[hook].attach_uprobe(opened, probe.offset, cookie)
                _pin(link, place / (probe.pin() + kind), made)


def _pin(link: Link, path: Path, made: list[Path]) -> None:
    try:
        path.unlink(missing_ok=True)  # half of a pair
        link.pin(path)
        made.append(path)
    finally:
        link.close()
