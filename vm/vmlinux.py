# SPDX-License-Identifier: Apache-2.0
"""The uncompressed kernel out of a bzImage.

QEMU enters an ELF vmlinux with a PVH note directly. A bzImage first runs its decompressor, which
costs four seconds without hardware virtualisation.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from vm.errors import VmError
from vm.process import run

_PT_NOTE = 4
_XEN_ELFNOTE_PHYS32_ENTRY = 18  # Linux include/xen/interface/elfnote.h


def extract(image: bytes) -> bytes:
    """Decompress the payload of a bzImage (Documentation/arch/x86/boot.rst, "payload_offset")."""
    if image[0x202:0x206] != b"HdrS":
        raise VmError("this kernel image is not a bzImage")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    return _decompress(payload)


def _decompress(payload: bytes) -> bytes:
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ"):
        return unxz(payload)
    # All carry the uncompressed size in four more bytes, which these two programs refuse.
    stream = payload[:-4]
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return run(["zstd", "-dc"], what="unpacking the kernel", stdin=stream)
    if payload.startswith(b"\x02\x21\x4c\x18"):
        return run(["lz4", "-dc"], what="unpacking the kernel", stdin=stream)
    raise VmError(f"the kernel is compressed in an unknown way ({payload[:4].hex()})")


def unxz(data: bytes) -> bytes:
    # The program, not Python's lzma: an interpreter built without liblzma lacks that module.
    return run(["xz", "-dc", "--single-stream"], what="unpacking with xz", stdin=data)


def has_pvh_note(elf: bytes) -> bool:
    """Whether QEMU can enter this ELF kernel directly."""
    return any(name == b"Xen\0" and kind == _XEN_ELFNOTE_PHYS32_ENTRY for name, kind in _notes(elf))


def _notes(elf: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and type of each note of a 64-bit little-endian ELF file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    entry_size, entries = struct.unpack_from("<HH", elf, 0x36)
    for index in range(entries):
        kind, _flags, offset, _vaddr, _paddr, size = struct.unpack_from("<IIQQQQ", elf, table + index * entry_size)
        if kind != _PT_NOTE:
            continue
        end = offset + size
        while offset + 12 <= end:
            name_size, desc_size, note = struct.unpack_from("<III", elf, offset)
            yield elf[offset + 12 : offset + 12 + name_size], note
            offset += 12 + _aligned(name_size) + _aligned(desc_size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
