# SPDX-License-Identifier: Apache-2.0
"""What must not be written in bpf/, as some verifiers take it for something else. See is_null() of bpf/common.bpf.h."""

import re
from pathlib import Path

BPF = Path(__file__).resolve().parents[3] / "bpf"
SOURCES = {path.name: path.read_text() for path in sorted(BPF.glob("*.[ch]"))}


def test_the_inode_of_a_name_may_be_null() -> None:
    """That of a directory above a name is there."""
    found = [
        f"{name}: {line.strip()}"
        for name, text in SOURCES.items()
        for line in text.splitlines()
        if re.search(r"->d_inode\b", line) and not re.search(r"\bdirectory->d_inode|->d_parent->d_inode", line)
    ]
    assert found == ["common.bpf.h: struct inode *inode = dentry->d_inode;"]


def test_memory_of_no_file_has_no_file() -> None:
    for name, text in SOURCES.items():
        for body in re.findall(r"BPF_PROG\(\w+_mmap_file, struct file \*file.*?\n}\n", text, re.DOTALL):
            assert "is_null(file)" in body, name
            assert not re.search(r"!file\b|\bfile \?", body), name
