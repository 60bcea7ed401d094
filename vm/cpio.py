# SPDX-License-Identifier: Apache-2.0
"""Archives in the "newc" format, the one that the kernel unpacks as its initramfs."""

from __future__ import annotations

import stat

_DIRECTORY = stat.S_IFDIR | 0o755
_FILE = stat.S_IFREG | 0o755


class Archive:
    """An archive in memory. The kernel accepts several, one after the other, as one initramfs."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0
        self._directories: set[str] = set()

    def directory(self, path: str) -> None:
        """Add a directory and those above it, once."""
        if path and path not in self._directories:
            self.directory(path.rpartition("/")[0])
            self._directories.add(path)
            self._entry(path, _DIRECTORY, b"")

    def file(self, path: str, content: bytes) -> None:
        self.directory(path.rpartition("/")[0])
        self._entry(path, _FILE, content)

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._data)

    def _entry(self, path: str, mode: int, content: bytes) -> None:
        self._inode += 1
        name = path.encode() + b"\0"
        links = 2 if mode == _DIRECTORY else 1
        fields = (self._inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
