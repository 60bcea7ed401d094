# SPDX-License-Identifier: Apache-2.0
"""BPF objects, programs, links and maps, as libbpf sees them."""

import array
import errno
import functools
import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bpflock.errors import BpflockError, PermissionsError, UnsupportedError
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.btf import OBJECTS, KernelTypes, Types

_LOG_SIZE = 256 * 1024
_MAPS_OF_PROGRAM = 64  # BPF's own limit of maps of one program


def kernel_error(what: str, number: int) -> BpflockError:
    """The error for a failed call to the kernel; number is an errno, of either sign."""
    number = abs(number)
    message = f"{what}: {os.strerror(number)}"
    if number in (errno.EPERM, errno.EACCES):
        return PermissionsError(message, hint="run as root; 'bpflock check' tells what is missing")
    return BpflockError(message)


class Map:
    """An open map. Keys and values are bytes of exactly the map's sizes."""

    def __init__(self, fd: int) -> None:
        """Takes over the descriptor."""
        info = ffi.new("struct bl_map_info *")
        error = lib.bl_map_info(fd, info)
        if error:
            os.close(fd)
            raise kernel_error("cannot describe a map", error)
        self.fd = fd
        self.id: int = info.id
        self.type: int = info.type
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries

    @classmethod
    def open(cls, path: Path) -> Self:
        """A pinned map. Raises BpflockError, also if there is none."""
        if path.is_dir():
            raise BpflockError(f"{path} is a directory, not a pinned map", hint=f"remove it: rmdir {path}")
        fd = lib.bpf_obj_get(os.fsencode(path))
        if fd < 0:
            raise kernel_error(f"cannot open the pinned map {path}", fd)
        return cls(fd)

    @classmethod
    def table(cls, name: str, value_size: int, content: bytes) -> Self:
        """A new array that holds the content and can never be changed again: an inner map of a map of maps.

        value_size: 4, or a multiple of 8.
        """
        entries = len(content) // value_size
        if value_size == 4:  # the kernel keeps each element at a multiple of 8
            content = array.array("Q", memoryview(content).cast("I")).tobytes()
        flags = lib.BPF_F_MMAPABLE | lib.BPF_F_INNER_MAP
        fd = lib.bl_map_create(lib.BPF_MAP_TYPE_ARRAY, name.encode(), 4, value_size, entries, flags)
        if fd < 0:
            raise kernel_error(f"cannot make a table of {len(content)} bytes", fd)
        table = cls(fd)
        with mmap.mmap(fd, len(content)) as memory:
            memory[:] = content
        error = lib.bpf_map_freeze(fd)
        if error:
            table.close()
            raise kernel_error("cannot freeze a table", error)
        return table

    @classmethod
    def block(cls, name: str, size: int) -> Self:
        """A new array of one element, all zero: what a data section of that size is to programs."""
        fd = lib.bl_map_create(lib.BPF_MAP_TYPE_ARRAY, name.encode(), 4, size, 1, 0)
        if fd < 0:
            raise kernel_error(f"cannot make a map of {size} bytes", fd)
        return cls(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        value = ffi.new("char[]", self.value_size)
        error = lib.bpf_map_lookup_elem(self.fd, key, value)
        if error == -errno.ENOENT:
            return None
        if error:
            raise kernel_error("cannot read a map", error)
        return bytes(ffi.buffer(value))

    def update(self, key: bytes, value: bytes) -> None:
        error = lib.bpf_map_update_elem(self.fd, key, value, lib.BPF_ANY)
        if error:
            raise kernel_error("cannot write a map", error)

    def store(self, index: int, number: int) -> None:
        """Store one 32-bit word of global data, and nothing around it: programs see the old number or the new one."""
        with mmap.mmap(self.fd, mmap.PAGESIZE) as memory, memoryview(memory).cast("I") as words:
            words[index] = number

    def delete(self, key: bytes) -> bool:
        """Whether the key was there."""
        error = lib.bpf_map_delete_elem(self.fd, key)
        if error and error != -errno.ENOENT:
            raise kernel_error("cannot write a map", error)
        return not error

    def __iter__(self) -> Iterator[bytes]:
        """The keys."""
        key: Any = ffi.NULL
        following = ffi.new("char[]", self.key_size)
        while True:
            error = lib.bpf_map_get_next_key(self.fd, key, following)
            if error == -errno.ENOENT:
                return
            if error:
                raise kernel_error("cannot read a map", error)
            key = bytes(ffi.buffer(following))
            yield key

    def values(self) -> bytes:
        """All values of an array map, back to back, in one system call."""
        values = ffi.new("char[]", self.value_size * self.max_entries)
        keys = ffi.new("__u32[]", self.max_entries)
        count, position = ffi.new("__u32 *", self.max_entries), ffi.new("__u32 *")
        error = lib.bpf_map_lookup_batch(self.fd, ffi.NULL, position, keys, values, count, ffi.NULL)
        if error and error != -errno.ENOENT:  # ENOENT: the end was reached
            raise kernel_error("cannot read a map", error)
        return bytes(ffi.buffer(values))[: count[0] * self.value_size]

    def pin(self, path: Path) -> None:
        error = lib.bpf_obj_pin(self.fd, os.fsencode(path))
        if error:
            raise kernel_error(f"cannot pin {path}", error)


class Link:
    """An attached program: attached as long as this is open, or pinned."""

    def __init__(self, link: Any, hook: str) -> None:
        self._link = link
        self.hook = hook

    def pin(self, path: Path) -> None:
        error = lib.bpf_obj_pin(lib.bpf_link__fd(self._link), os.fsencode(path))
        if error:
            raise kernel_error(f"cannot pin {path}", error)

    def close(self) -> None:
        if self._link != ffi.NULL:
            lib.bpf_link__destroy(self._link)
            self._link = ffi.NULL


def attach_pinned(program: Path, link: Path) -> None:
    """Attach a pinned program of an LSM hook or of a tracepoint with types, and pin its link."""
    fd = lib.bpf_obj_get(os.fsencode(program))
    if fd < 0:
        raise kernel_error(f"cannot open the pinned program {program}", fd)
    try:
        attached = lib.bpf_raw_tracepoint_open(ffi.NULL, fd)
        if attached < 0:
            raise kernel_error(f"cannot attach the pinned program {program}", attached)
        try:
            error = lib.bpf_obj_pin(attached, os.fsencode(link))
            if error:
                raise kernel_error(f"cannot pin {link}", error)
        finally:
            os.close(attached)
    finally:
        os.close(fd)


def iterate(path: Path) -> None:
    """Run the pinned iterator to its end."""
    link = lib.bpf_obj_get(os.fsencode(path))
    if link < 0:
        raise kernel_error(f"cannot open the pinned iterator {path}", link)
    try:
        _read_iterator(link, path)
    finally:
        os.close(link)


def iterate_program(path: Path) -> bytes:
    """Run the pinned program of an iterator, attached meanwhile only, to its end. What it wrote."""
    program = lib.bpf_obj_get(os.fsencode(path))
    if program < 0:
        raise kernel_error(f"cannot open the pinned program {path}", program)
    try:
        link = lib.bl_iterator_link(program)
        if link < 0:
            raise kernel_error(f"cannot attach the pinned program {path}", link)
        try:
            return _read_iterator(link, path)
        finally:
            os.close(link)
    finally:
        os.close(program)


def _read_iterator(link: int, path: Path) -> bytes:
    fd = lib.bpf_iter_create(link)
    if fd < 0:
        raise kernel_error(f"cannot start the iterator {path}", fd)
    with os.fdopen(fd, "rb", buffering=0) as stream:
        return stream.read()


def program_of_link(path: Path) -> int | None:
    """The id of the program that a pinned link attaches; None if there is no such link."""
    fd = lib.bpf_obj_get(os.fsencode(path))
    if fd < 0:
        return None
    try:
        identifier = ffi.new("__u32 *")
        return None if lib.bl_link_program(fd, identifier) else int(identifier[0])
    finally:
        os.close(fd)


def program_exists(identifier: int) -> bool:
    """Whether the program is still loaded; False also if we may not ask."""
    fd = int(lib.bpf_prog_get_fd_by_id(identifier))
    if fd < 0:
        return False
    os.close(fd)
    return True


def maps_of_program(identifier: int) -> frozenset[int]:
    """The ids of the maps that a program uses; empty if we may not ask."""
    fd = int(lib.bpf_prog_get_fd_by_id(identifier))
    if fd < 0:
        return frozenset()
    try:
        ids, count = ffi.new("__u32[]", _MAPS_OF_PROGRAM), ffi.new("__u32 *", _MAPS_OF_PROGRAM)
        if lib.bl_program_maps(fd, ids, count):
            return frozenset()
        return frozenset(int(ids[n]) for n in range(min(count[0], _MAPS_OF_PROGRAM)))
    finally:
        os.close(fd)


def misses_of_link(path: Path) -> int:
    """How often the program that a pinned link attaches was left out because it was running on that CPU already: the
    kernel does that with tracing programs only. 0 if there is no such link."""
    program = program_of_link(path)
    fd = -1 if program is None else int(lib.bpf_prog_get_fd_by_id(program))
    if fd < 0:
        return 0
    try:
        misses = ffi.new("uint64_t *")
        return 0 if lib.bl_program_misses(fd, misses) else int(misses[0])
    finally:
        os.close(fd)


class Program:
    """`optional`: for a hook that not every kernel has (SEC("?lsm/...")); loaded only if it was asked for."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self.name: str = ffi.string(lib.bpf_program__name(program)).decode()
        self.hook: str = ffi.string(lib.bpf_program__section_name(program)).decode()
        # Its section begins with '?': not every kernel has the hook. Then it is loaded only where use() says so.
        self.optional = not lib.bpf_program__autoload(program)
        self.used = not self.optional

    def use(self, wanted: bool) -> None:
        """Whether to load it with its object."""
        self.used = wanted
        lib.bpf_program__set_autoload(self._program, wanted)

    def pin(self, path: Path) -> None:
        """Keep it loaded, attached or not."""
        error = lib.bpf_obj_pin(lib.bpf_program__fd(self._program), os.fsencode(path))
        if error:
            raise kernel_error(f"cannot pin {path}", error)

    def target(self, function: str) -> None:
        """Before load: which function of the kernel an fentry or fexit program is for."""
        error = lib.bpf_program__set_attach_target(self._program, 0, function.encode())
        if error:
            raise kernel_error(f"cannot find the kernel's function {function}", error)

    def attach_uprobe(self, path: Path, offset: int, cookie: int) -> Link:
        """Attach a uprobe or uretprobe at an offset of a file, for every process; cookie: 64 bits for the program."""
        link = lib.bl_attach_uprobe(self._program, os.fsencode(path), offset, self.hook == "uretprobe", cookie)
        if link == ffi.NULL:
            raise kernel_error("cannot attach a probe", ffi.errno)
        return Link(link, self.hook)

    def attach(self, cgroup_fd: int | None = None) -> Link:
        """Attach where the program's section says; for a cgroup program, to the cgroup of that directory."""
        kind = self.hook.partition("/")[0]
        if kind == "cgroup":
            link = lib.bpf_program__attach_cgroup(self._program, -1 if cgroup_fd is None else cgroup_fd)
        elif kind == "lsm":
            link = lib.bpf_program__attach_lsm(self._program)
        elif kind == "iter":
            link = lib.bpf_program__attach_iter(self._program, ffi.NULL)
        else:
            link = lib.bpf_program__attach_trace(self._program)
        if link == ffi.NULL:
            raise kernel_error(f"cannot attach to {self.hook}", ffi.errno)
        return Link(link, self.hook)


@functools.cache
def build_of(stem: str) -> int:
    """Identifies the compiled code of an object: 64 bits of its SHA-256."""
    content = (OBJECTS / f"{stem}.bpf.o").read_bytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


# libbpf has one log for the whole process, and kernel_types.h loads one object at a time.
_log_lock = threading.Lock()


_MFD_NOEXEC_SEAL = 8  # since 6.3; with vm.memfd_noexec=2, no other memfd is to be had


def _memory_file(name: str) -> int:
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name)


@functools.cache
def _register_sections() -> None:
    error = lib.bl_register_sections()
    if error:
        raise kernel_error("cannot tell libbpf how to load programs", error)


class Object:
    """A compiled BPF object: open, set constants, load, attach.

    Closing it leaves pinned links and maps in place.
    """

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.path = OBJECTS / f"{stem}.bpf.o"
        self._log = ffi.new("char[]", _LOG_SIZE)
        _register_sections()
        self._types_fd = _memory_file("bpflock-kernel-types")  # load() writes to it
        with _log_lock:
            lib.bl_log_start(self._log, _LOG_SIZE)
            self._object = lib.bl_object_open(os.fsencode(self.path), f"/proc/self/fd/{self._types_fd}".encode())
            lib.bl_log_stop()
        if self._object == ffi.NULL:
            os.close(self._types_fd)
            raise BpflockError(f"cannot open {self.path}", hint="reinstall bpflock, or run 'make build' in a checkout")
        self.programs = [Program(found) for found in self._walk(lib.bpf_object__next_program)]
        self._maps = {
            ffi.string(lib.bpf_map__name(found)).decode(): found for found in self._walk(lib.bpf_object__next_map)
        }
        # libbpf's own BTF of the object: only here are the offsets of variables filled in.
        self.types = Types(lib.bpf_object__btf(self._object), owned=False, keep=self)

    def _walk(self, step: Any) -> Iterator[Any]:
        found = step(self._object, ffi.NULL)
        while found != ffi.NULL:
            yield found
            found = step(self._object, found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._object != ffi.NULL:
            lib.bpf_object__close(self._object)
            os.close(self._types_fd)
            self._object = ffi.NULL

    @property
    def build(self) -> int:
        """Identifies the compiled code: see build_of()."""
        return build_of(self.stem)

    @property
    def maps(self) -> list[str]:
        """Names of its maps; global data is a map too, with a '.' in its name."""
        return list(self._maps)

    def set_constant(self, section: str, name: str, value: bytes) -> None:
        """Set a `const volatile` global of a read-only data section before load."""
        offset, size = self.types.variables(section)[name]
        if size != len(value):
            raise BpflockError(f"{self.stem}: constant {name} has {size} bytes, not {len(value)}")
        length = ffi.new("size_t *")
        start = lib.bpf_map__initial_value(self._find(section), length)
        ffi.memmove(ffi.cast("char *", start) + offset, value, size)

    def _find(self, name: str) -> Any:
        """A map, or the map of a data section: libbpf puts the object's name before some sections' names."""
        if name.startswith("."):
            return next(found for known, found in self._maps.items() if known.endswith(name))
        return self._maps[name]

    def constants(self, section: str) -> bytes:
        """A data section as it will be loaded, or was."""
        length = ffi.new("size_t *")
        start = lib.bpf_map__initial_value(self._find(section), length)
        return bytes(ffi.buffer(start, length[0]))

    def take_optional(self) -> None:
        """Of the programs whose hooks not every kernel has, take those whose hooks the running kernel has."""
        for program in self.programs:
            if program.optional:
                kind, _, name = program.hook.partition("/")
                program.use(KernelTypes.load().has_function(f"bpf_lsm_{name}" if kind == "lsm" else name))

    def set_max_entries(self, name: str, count: int) -> None:
        error = lib.bpf_map__set_max_entries(self._maps[name], count)
        if error:
            raise kernel_error(f"{self.stem}: cannot size map {name}", error)

    def has_layout(self, name: str, shared: Map) -> bool:
        """Whether keys and values of an existing map are as large as those of the object's own one."""
        own = self._find(name)
        return (shared.key_size, shared.value_size) == (lib.bpf_map__key_size(own), lib.bpf_map__value_size(own))

    def reuse(self, name: str, shared: Map, pin: str) -> None:
        """Use an existing map in place of an own one; `pin` is what a user knows it by."""
        if not self.has_layout(name, shared):
            raise BpflockError(
                f"the pinned map {pin} has another layout than this version's",
                hint="another version of bpflock pinned it: 'bpflock unlock --all' or 'bpflock policy unload --all', "
                "then load again",
            )
        self.replace(name, shared)

    def replace(self, name: str, other: Map) -> None:
        """Use another map in place of an own one, of whatever size."""
        error = lib.bpf_map__reuse_fd(self._find(name), other.fd)
        if error:
            raise kernel_error(f"{self.stem}: cannot reuse map {name}", error)

    def load(self) -> None:
        """Load all programs and maps into the kernel. Raises BpflockError with the kernel's own words."""
        with _log_lock:
            lib.bl_log_start(self._log, _LOG_SIZE)
            error = lib.bl_object_load(self._object, KernelTypes.load().index, self._types_fd)
            lib.bl_log_stop()
        if not error:
            return
        if error in (-errno.EPERM, -errno.EACCES) and os.geteuid():
            raise PermissionsError(f"cannot load {self.stem}: not permitted", hint="run as root")
        raise UnsupportedError(
            f"the kernel refuses {self.stem}: {os.strerror(-error)}: {self._last_words()}",
            hint="'bpflock check' tells what this kernel lacks",
        )

    def _last_words(self) -> str:
        """The line of the verifier's or libbpf's log that says most."""
        lines = ffi.string(self._log).decode(errors="replace").splitlines()
        telling = [
            line for line in lines if line and not line.startswith(("processed ", "libbpf: failed to load obj", "-- "))
        ]
        return telling[-1].removeprefix("libbpf: ") if telling else "no reason given"

    def log(self) -> str:
        """libbpf's whole log of the last step, for debugging."""
        return str(ffi.string(self._log).decode(errors="replace"))

    def map(self, name: str) -> Map:
        """A loaded map, under a descriptor of its own."""
        return Map(os.dup(lib.bpf_map__fd(self._find(name))))
