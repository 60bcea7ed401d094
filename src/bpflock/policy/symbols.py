# SPDX-License-Identifier: Apache-2.0
"""Functions of executables and libraries: where in the file they begin, as a probe needs it."""

import lzma
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import GNUHashSection
from elftools.elf.sections import NoteSection, Section, SymbolTableSection

from bpflock.errors import UsageError, nearest
from bpflock.policy.model import Function, Profile
from bpflock.policy.pattern import exact

_DEBUG = Path("/usr/lib/debug")
_LD_CONF = Path("/etc/ld.so.conf.d")
_DIRECTORIES = ("/usr/local/lib", "/usr/lib", "/usr/lib64")
_OFFSET = re.compile(r"file\+(0x[0-9a-fA-F]+|[0-9]+)")


@dataclass(frozen=True)
class Place:
    """A real path, the offset in that file in bytes, and what tells the file from others of that name: see
    identity()."""

    path: Path
    offset: int
    file: str


def identity(status: os.stat_result) -> str:
    """Of a file: device, inode, time of its last change."""
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_mtime_ns:x}"


def find_places(profile: Profile, function: Function) -> list[Place]:
    """Where a function of user space is that a rule of the profile names: in a library, or in each of the profile's
    executables that this machine has. Raises UsageError."""
    if function.library:
        return [find_function(find_library(function.library), function.name)]
    named = exact(profile.executable)
    if named is None:
        raise UsageError(
            f"which executables {profile.executable} matches cannot be told in advance: its functions cannot be probed",
            hint="name the executables without wildcards, or a function of a library",
        )
    paths = [Path(os.fsdecode(path)) for path in sorted(named)]
    return [find_function(path, function.name) for path in paths if path.exists()]


def find_library(name: str, directories: tuple[str, ...] = _DIRECTORIES) -> Path:
    """The file of a library, by its path or its name (`libcrypt.so.1`), as ld.so would look. Raises UsageError."""
    if "/" in name:
        path = Path(name)
        if not path.is_absolute() or not path.is_file():
            raise UsageError(f"no library {name}", hint="its path in full, or its name as in libcrypt.so.1")
        return path.resolve()
    places = [Path(line) for line in _configured()] + [Path(directory) for directory in directories]
    for place in places:
        if (place / name).is_file():
            return (place / name).resolve()
    known = {entry.name for place in places if place.is_dir() for entry in place.glob("lib*.so*")}
    raise UsageError(f"no library is called '{name}'", hint=nearest(name, sorted(known)))


def _configured() -> Iterator[str]:
    for path in sorted(_LD_CONF.glob("*.conf")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("/"):
                yield line.strip()


def find_function(path: Path, name: str) -> Place:
    """Where a function begins: by its symbol, of the file itself or of its debug information, or by `file+0xOFFSET`.

    Raises UsageError with the nearest symbol if there is none of that name, or several different ones.
    """
    path = path.resolve()
    try:
        with path.open("rb") as stream:
            return Place(path, _offset(ELFFile(stream), path, name), identity(os.fstat(stream.fileno())))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ELFError as error:
        hint = "functions are found in ELF files; a script has none"
        raise UsageError(f"{path}: no executable or library: {error}", hint=hint) from None


def find_some(path: Path, names: Iterable[str]) -> dict[str, Place]:
    """Those of these functions that a library exports or a static program contains; of several names of one function,
    the first."""
    found: dict[str, Place] = {}
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        exported = elf.get_section_by_name(".gnu.hash")
        symbols: dict[str, int] = {}
        if isinstance(exported, GNUHashSection):
            symbols = {name: symbol["st_value"] for name in names if (symbol := exported.get_symbol(name))}
        elif not elf.get_section_by_name(".dynamic"):
            wanted = set(names)
            for table, _ in _symtab(elf):
                symbols |= {s.name: s["st_value"] for s in table.iter_symbols() if s.name in wanted and s["st_value"]}
        for name in names:
            if name in symbols:
                place = Place(path, _file_offset(elf, path, symbols[name]), identity(os.fstat(stream.fileno())))
                if place not in found.values():
                    found[name] = place
    return found


def _offset(elf: ELFFile, path: Path, name: str) -> int:
    if elf.elfclass != 64:
        raise UsageError(f"{path} is a 32-bit file: its functions cannot be probed")
    if elf.get_section_by_name(".gopclntab") or elf.get_section_by_name(".go.buildinfo"):
        hint = "Go moves its stacks: a return probe would crash the program"
        raise UsageError(f"{path} is a Go program: its functions cannot be probed", hint=hint)
    match = _OFFSET.fullmatch(name)
    if match:
        offset = int(match[1], 0)
        if not any(
            _is_code(s) and s["p_offset"] <= offset < s["p_offset"] + s["p_filesz"] for s in elf.iter_segments()
        ):
            raise UsageError(f"{path}: no code at offset {match[1]}", hint="an offset in the file, not an address")
        _require_begin(elf, path, offset)
        return offset
    names: set[str] = set()
    stripped = True
    for table, has_all in _tables(elf, path):
        stripped = stripped and not has_all
        addresses = set()
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_GNU_IFUNC") and symbol["st_shndx"] != "SHN_UNDEF":
                names.add(symbol.name)
                if symbol.name == name:
                    if symbol["st_info"]["type"] == "STT_GNU_IFUNC":
                        hint = "name the variant that the processor uses, or file+0xOFFSET"
                        raise UsageError(f"{path}: {name} is chosen when the program starts (IFUNC)", hint=hint)
                    addresses.add(symbol["st_value"])
        if len(addresses) > 1:
            raise UsageError(f"{path}: {len(addresses)} functions are called '{name}'", hint="choose by file+0xOFFSET")
        for address in addresses:
            return _file_offset(elf, path, address)
    reason = "the file is stripped, and there is no debug information" if stripped else "it may be inlined everywhere"
    raise UsageError(f"{path}: no function is called '{name}': {reason}", hint=nearest(name, sorted(names)))


def _is_code(segment: object) -> bool:
    return segment["p_type"] == "PT_LOAD" and bool(segment["p_flags"] & 1)  # type: ignore[index]


def _require_begin(elf: ELFFile, path: Path, offset: int) -> None:
    """Raises UsageError if unwind information, which stripped files have too, knows that no function begins there: a
    return probe elsewhere would overwrite what is no return address."""
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
    if not dwarf.has_EH_CFI():
        return
    begins = set()
    for entry in dwarf.EH_CFI_entries():
        if isinstance(entry, FDE):
            begins.add(_file_offset(elf, path, entry.header["initial_location"]))
    if begins and offset not in begins:
        before = max((found for found in begins if found < offset), default=min(begins))
        hint = f"the nearest one before it begins at file+{before:#x}"
        raise UsageError(f"{path}: no function begins at offset {offset:#x}", hint=hint)


def _file_offset(elf: ELFFile, path: Path, address: int) -> int:
    for segment in elf.iter_segments():
        if _is_code(segment) and segment["p_vaddr"] <= address < segment["p_vaddr"] + segment["p_filesz"]:
            return int(address - segment["p_vaddr"] + segment["p_offset"])
    raise UsageError(f"{path}: the function's address {address:#x} is not in the file's code")


def _tables(elf: ELFFile, path: Path) -> Iterator[tuple[SymbolTableSection, bool]]:
    """Symbol tables, and whether each has all functions; the likely ones first."""
    for found, whole in ((elf.get_section_by_name(".symtab"), True), (elf.get_section_by_name(".dynsym"), False)):
        if isinstance(found, SymbolTableSection):
            yield found, whole
    small = elf.get_section_by_name(".gnu_debugdata")
    if small is not None:
        try:
            yield from _symtab(ELFFile(BytesIO(lzma.decompress(small.data()))))
        except (lzma.LZMAError, ELFError) as error:
            raise UsageError(f"{path}: .gnu_debugdata cannot be read: {error}") from None
    for debug in _debug_files(elf, path):
        if debug.is_file():
            with debug.open("rb") as stream:
                other = ELFFile(stream)
                # Of another build it would name other addresses.
                if _build_id(other) == _build_id(elf):
                    yield from _symtab(other)


def _symtab(elf: ELFFile) -> Iterator[tuple[SymbolTableSection, bool]]:
    found = elf.get_section_by_name(".symtab")
    if isinstance(found, SymbolTableSection):
        yield found, True


def _build_id(elf: ELFFile) -> str:
    section: Section | None = elf.get_section_by_name(".note.gnu.build-id")
    if isinstance(section, NoteSection):
        for note in section.iter_notes():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""


def _debug_files(elf: ELFFile, path: Path) -> Iterator[Path]:
    identity = _build_id(elf)
    if not identity:
        return
    yield _DEBUG / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    link = elf.get_section_by_name(".gnu_debuglink")
    if link is not None:
        name = os.fsdecode(link.data().split(b"\0", 1)[0])
        yield from (path.parent / name, path.parent / ".debug" / name, _DEBUG / str(path.parent)[1:] / name)
