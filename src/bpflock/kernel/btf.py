# SPDX-License-Identifier: Apache-2.0
"""Types read from BTF: of the compiled BPF objects (the ABI) and of the running kernel (what it has)."""

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpflock.errors import BpflockError, UnsupportedError
from bpflock.kernel._libbpf import ffi, lib

OBJECTS = Path(__file__).parent / "objects"
SHARED = "guard"  # the object that holds the types of bpf/bpflock.h

_INT_SIGNED = 1
_INT_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True)
class Field:
    """A member of a structure. kind is uint, int or chars (a fixed array of bytes); offset and size in bytes."""

    name: str
    offset: int
    size: int
    kind: str


@dataclass(frozen=True)
class StructLayout:
    """A structure as the compiler laid it out; size in bytes."""

    name: str
    size: int
    fields: tuple[Field, ...]

    def compile(self) -> struct.Struct:
        """For struct.unpack: the fields in order, native byte order, padding skipped."""
        text, position = "=", 0
        for field in self.fields:
            text += f"{field.offset - position}x" if field.offset > position else ""
            if field.kind == "chars":
                text += f"{field.size}s"
            else:
                letter = _INT_FORMATS[field.size]
                text += letter.lower() if field.kind == "int" else letter
            position = field.offset + field.size
        return struct.Struct(text + (f"{self.size - position}x" if self.size > position else ""))

    def pack(self, **values: int | bytes) -> bytes:
        """The structure with these fields set and all others zero; an array is its bytes."""
        compiled = self.compile()
        return compiled.pack(*(values.pop(f.name, 0 if f.kind != "chars" else b"") for f in self.fields))

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Fields by name: int, or bytes for chars."""
        return dict(zip((f.name for f in self.fields), self.compile().unpack(data), strict=True))


class Types:
    """Types of one BTF blob, looked up by name. Keeps the blob as long as it lives."""

    def __init__(self, btf: Any, *, owned: bool = True, keep: Any = None) -> None:
        self._btf = ffi.gc(btf, lib.btf__free) if owned else btf
        self._keep = keep
        self._enums: dict[str, dict[str, int]] = {}
        self._layouts: dict[str, StructLayout] = {}

    def _name(self, offset: int) -> str:
        return str(ffi.string(lib.btf__name_by_offset(self._btf, offset)).decode())

    def _type(self, identifier: int) -> Any:
        found = ffi.new("struct bl_type *")
        if lib.bl_type(self._btf, identifier, found):
            raise BpflockError(f"BTF has no type {identifier}")
        return found

    def _member(self, identifier: int, index: int = 0) -> Any:
        member = ffi.new("struct bl_member *")
        if lib.bl_member(self._btf, identifier, index, member):
            raise BpflockError(f"BTF has no type {identifier}")
        return member

    def _find(self, name: str, kind: int) -> int:
        return int(lib.btf__find_by_name_kind(self._btf, name.encode(), kind))

    def has_function(self, name: str) -> bool:
        return self._find(name, lib.BTF_KIND_FUNC) > 0

    def enum(self, name: str) -> Mapping[str, int]:
        """Enumerators by name; empty if there is no such enumeration."""
        if name not in self._enums:
            self._enums[name] = self._read_enum(name)
        return self._enums[name]

    def _read_enum(self, name: str) -> dict[str, int]:
        identifier = self._find(name, lib.BTF_KIND_ENUM)
        if identifier <= 0:
            return {}
        members = (self._member(identifier, i) for i in range(self._type(identifier).vlen))
        return {self._name(member.name): member.value for member in members}

    def struct(self, name: str) -> StructLayout:
        """The layout of a structure of integers and byte arrays."""
        if name not in self._layouts:
            self._layouts[name] = self._read_struct(name)
        return self._layouts[name]

    def _read_struct(self, name: str) -> StructLayout:
        identifier = self._find(name, lib.BTF_KIND_STRUCT)
        if identifier <= 0:
            raise BpflockError(f"BTF has no struct {name}")
        found = self._type(identifier)
        fields = []
        for index in range(found.vlen):
            member = self._member(identifier, index)
            size, kind = self._integer(member.type)
            fields.append(Field(self._name(member.name), member.offset, size, kind))
        return StructLayout(name, found.size, tuple(fields))

    def _integer(self, identifier: int) -> tuple[int, str]:
        """Size and kind of a member's type."""
        found = self._type(identifier)
        if found.kind == lib.BTF_KIND_INT:
            return found.size, "int" if self._member(identifier).value & _INT_SIGNED else "uint"
        if found.kind == lib.BTF_KIND_ENUM:
            return found.size, "uint"
        if found.kind in (lib.BTF_KIND_TYPEDEF, lib.BTF_KIND_CONST, lib.BTF_KIND_VOLATILE):
            return self._integer(self._member(identifier).type)
        if found.kind == lib.BTF_KIND_ARRAY:
            element, count = ffi.new("__u32 *"), ffi.new("__u32 *")
            lib.bl_array(self._btf, identifier, element, count)
            return self._integer(element[0])[0] * count[0], "chars"
        raise BpflockError(f"BTF type {identifier} is no integer")

    def variables(self, section: str) -> dict[str, tuple[int, int]]:
        """Global variables of a data section: offset and size in bytes by name."""
        identifier = self._find(section, lib.BTF_KIND_DATASEC)
        if identifier <= 0:
            return {}
        members = (self._member(identifier, i) for i in range(self._type(identifier).vlen))
        return {self._name(member.name): (member.offset, member.value) for member in members}


class ObjectTypes(Types):
    """Types of a compiled BPF object: the ABI of bpf/bpflock.h, and the names of its own operations."""

    @classmethod
    @functools.cache
    def load(cls, stem: str = SHARED) -> "ObjectTypes":
        path = OBJECTS / f"{stem}.bpf.o"
        btf = lib.btf__parse(str(path).encode(), ffi.NULL)
        if btf == ffi.NULL:
            raise BpflockError(f"cannot read {path}", hint="reinstall bpflock, or run 'make build' in a checkout")
        return cls(btf)


class KernelTypes(Types):
    """Types of the running kernel. Loading them takes tens of milliseconds, and they take 9 MB: only on demand."""

    def __init__(self, btf: Any) -> None:
        super().__init__(btf)
        index = lib.bl_kernel_new(self._btf)
        if index == ffi.NULL:
            raise BpflockError("no memory for the kernel's types")
        self.index = ffi.gc(index, lib.bl_kernel_free)  # for lib.bl_object_load()

    def _find(self, name: str, kind: int) -> int:
        return int(lib.bl_kernel_find(self.index, name.encode(), kind))

    @classmethod
    @functools.cache
    def load(cls) -> "KernelTypes":
        btf = lib.btf__load_vmlinux_btf()
        if btf == ffi.NULL:
            raise UnsupportedError(
                "the kernel gives no type information (/sys/kernel/btf/vmlinux)",
                hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            )
        return cls(btf)

    @classmethod
    def release(cls) -> None:
        """Give the memory back; load() reads them again."""
        cls.load.cache_clear()
