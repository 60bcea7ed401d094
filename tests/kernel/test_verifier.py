# SPDX-License-Identifier: Apache-2.0
"""What verifiers get wrong: programs that would be read otherwise than they are written."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from bpflock.kernel._libbpf import lib
from bpflock.kernel.btf import OBJECTS, KernelTypes

_LOAD = 0x79  # of 64 bits
_MOVE = 0xBF
_CALL = 0x85
_JUMPS = (5, 6)  # classes of instructions that write no register
_STORES = (2, 3)
_BY_HAND = {"inode_setattr": 3}  # with fewer arguments, the kernel does not get to where the last of these is read


def _arguments(hook: str) -> int | None:
    """How many an LSM hook has; None if the kernel has no such hook."""
    types = KernelTypes.load()
    function = types._find(f"bpf_lsm_{hook}", lib.BTF_KIND_FUNC)
    return int(types._type(types._type(function).size).vlen) if function > 0 else None


def _programs(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            kind, _, hook = section.name.removeprefix("?").partition("/")
            if kind == "lsm":
                yield hook, section.data()


def _stale_loads(code: bytes, offset: int) -> Iterator[int]:
    """Instructions that load this part of the context into a register that held a number."""
    context, written = {1}, set[int]()
    for index, (operation, registers, at, _) in enumerate(struct.iter_unpack("=BBhi", code)):
        target, source = registers & 15, registers >> 4
        if operation == _LOAD and source in context and at == offset and target in written:
            yield index
        if operation == _MOVE and source in context:
            context.add(target)
        elif operation == _CALL:
            written.add(0)
            context -= {0, 1, 2, 3, 4, 5}
        elif operation & 7 not in (*_JUMPS, *_STORES):
            written.add(target)
            context.discard(target)


@pytest.mark.parametrize("path", sorted(OBJECTS.glob("*.bpf.o")), ids=lambda path: path.name.partition(".")[0])
def test_the_earlier_verdict_comes_into_a_fresh_register(path: Path) -> None:
    """Linux 6.12 takes what it knew of the register for true of the verdict, too: see bpf/files.bpf.h."""
    found = []
    for hook, code in _programs(path):
        arguments = _arguments(hook)
        if arguments is not None and arguments == _BY_HAND.get(hook, arguments):
            found += [f"{hook}: instruction {index}" for index in _stale_loads(code, 8 * arguments)]
    assert found == []
