# SPDX-License-Identifier: Apache-2.0
"""What patterns match on this machine, as far as that can be found out quickly."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bpflock.policy.pattern import SLASH, Glob, Token, Tokens, exact, matches, matches_tokens, parse

# Files there come and go.
_VOLATILE = tuple(f"/{top}/".encode() for top in ("proc", "sys", "dev", "run", "tmp"))


class Search:
    """Looks patterns up in the file system. `entries`: directory entries that it looks at, in all."""

    def __init__(self, entries: int = 100_000) -> None:
        self.left = entries
        self.unreadable = False

    @property
    def complete(self) -> bool:
        """Whether nothing was left out since the last search began."""
        return self.left > 0 and not self.unreadable

    def all(self, pattern: str) -> Iterator[Path]:
        """All paths that match a pattern, as far as they are found; links among them, and reached through links."""
        self.unreadable = False
        for tokens in parse(pattern):
            yield from self._found(pattern, Path("/"), _components(tokens))

    def matches_nothing(self, pattern: str) -> bool:
        """Whether it is certain that nothing matches: neither in a volatile place, nor given up on."""
        self.unreadable = False
        for tokens in parse(pattern):
            if prefix(tokens).startswith(_VOLATILE):
                return False
            for _ in self._found(pattern, Path("/"), _components(tokens)):
                return False
        return self.complete

    def _found(self, pattern: str, directory: Path, components: list[Tokens]) -> Iterator[Path]:
        first, *rest = components
        if Glob.DEEP in first:
            for path in self._below(directory):
                if matches(pattern, os.fsencode(path)):
                    yield path
            return
        literal = _literal(first)
        if literal is not None:
            path = directory / os.fsdecode(literal)
            entries = [path] if os.path.lexists(path) else []
        else:
            entries = [path for path in self._entries(directory) if _is_name(first, os.fsencode(path.name))]
        for path in entries:
            if not rest:
                yield path
            elif path.is_dir():
                yield from self._found(pattern, path, rest)

    def _entries(self, directory: Path) -> list[Path]:
        try:
            found = list(directory.iterdir()) if self.left > 0 else []
        except OSError:
            self.unreadable = True
            return []
        self.left -= len(found)
        return found

    def _below(self, directory: Path) -> Iterator[Path]:
        """All below a directory; not in volatile places, unless the directory is in one."""
        for path in self._entries(directory):
            yield path
            if path.is_dir() and not path.is_symlink() and (not _is_volatile(path) or _is_volatile(directory)):
                yield from self._below(path)


def _is_volatile(path: Path) -> bool:
    return (os.fsencode(path) + b"/").startswith(_VOLATILE)


def through_links(pattern: str) -> Iterator[tuple[str, str]]:
    """The first symbolic link on the way to each path that a pattern begins with, and what the pattern should be."""
    for tokens in parse(pattern):
        begin = prefix(tokens)
        if begin.startswith((b"/proc/", b"/dev/")):
            continue  # self, fd: links that depend on who looks
        whole = Path(os.fsdecode(begin or b"/"))
        link = next((path for path in (*reversed(whole.parents), whole) if path.is_symlink()), None)
        if link is not None:
            rest = "" if len(begin) == len(tokens) else "/…"
            yield str(link), f"{os.path.realpath(whole)}{rest}"


def hard_links(pattern: str) -> Iterator[tuple[str, int]]:
    """The regular files among the paths of a pattern without wildcards that have several names, and how many."""
    for path in sorted(exact(pattern) or ()):
        try:
            found = Path(os.fsdecode(path)).lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            yield os.fsdecode(path), found.st_nlink


def _components(tokens: Tokens) -> list[Tokens]:
    found: list[list[Token]] = []
    for token in tokens:
        if token == SLASH:
            found.append([])
        else:
            found[-1].append(token)
    return [tuple(component) for component in found]


def _literal(component: Tokens) -> bytes | None:
    literal = [token for token in component if isinstance(token, int)]
    return bytes(literal) if len(literal) == len(component) else None


def prefix(tokens: Tokens) -> bytes:
    """The whole components at the beginning without wildcards."""
    found = b""
    for component in _components(tokens):
        literal = _literal(component)
        if literal is None:
            break
        found += b"/" + literal
    return found


def _is_name(component: Tokens, name: bytes) -> bool:
    return matches_tokens((SLASH, *component), b"/" + name.replace(b"\1", b"\2"))
