# SPDX-License-Identifier: Apache-2.0
"""YAML with positions. Nothing is constructed from it: the nodes are read as they are written.

Import this only if there is a YAML file: PyYAML takes its time to import.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from bpflock.errors import UsageError, nearest

# Deeper than any known key. PyYAML recurses.
_DEEPEST = 16
_LONGEST = 200  # characters of an error's text

_TAG = "tag:yaml.org,2002:"
_NULL = f"{_TAG}null"
_TEXT_TAGS = frozenset(f"{_TAG}{name}" for name in ("str", "bool", "int", "float", "timestamp", "null"))
_TAGS: dict[type[yaml.Node], frozenset[str]] = {
    yaml.ScalarNode: _TEXT_TAGS,
    yaml.SequenceNode: frozenset({f"{_TAG}seq"}),
    yaml.MappingNode: frozenset({f"{_TAG}map"}),
}


class _Refused(yaml.MarkedYAMLError):
    """YAML that is valid and not wanted."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only, without aliases (a few can stand for billions of nodes) and not too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _Refused(problem="aliases ('*name') are not accepted", problem_mark=mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Refused(problem="nested too deeply", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in _TAGS[type(node)]:
            raise _Refused(problem=f"the tag '{node.tag}' is not accepted", problem_mark=node.start_mark)
        return node


@dataclass(frozen=True)
class Item:
    """A value in a YAML file. `field` is its path, such as `bpfspec.programs[1].args`, empty for the whole file."""

    path: Path
    field: str
    node: yaml.Node
    key: yaml.Node | None = None

    @property
    def origin(self) -> str:
        """`file:line` of the key, or of the value if it has none."""
        return f"{self.path}:{(self.key or self.node).start_mark.line + 1}"

    @property
    def where(self) -> str:
        """`file:line:column: field`, for errors."""
        place = _place(self.path, self.node.start_mark)
        return f"{place}: {self.field}" if self.field else place

    @property
    def key_where(self) -> str:
        """`file:line:column` of the key, for errors about the key itself."""
        return _place(self.path, (self.key or self.node).start_mark)

    def error(self, message: str, *, hint: str | None = None) -> UsageError:
        return UsageError(f"{self.where}: {message}", hint=hint)

    def text(self, expected: str = "text") -> str:
        """The scalar, as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"expected {expected}, not {_kind(self.node)}")
        if self.node.tag == _NULL:
            raise self.error(f"has no value, expected {expected}")
        value: str = self.node.value
        return value

    def items(self, expected: str = "a list") -> list[Item]:
        """The members of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"expected {expected}, not {_kind(self.node)}")
        return [Item(self.path, f"{self.field}[{n}]", node) for n, node in enumerate(self.node.value)]

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def fields(self, known: Iterable[str] | None = None) -> dict[str, Item]:
        """The members of a mapping by key. Refuses a key that is there twice, or is not `known` (None: any)."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"expected keys with values, not {_kind(self.node)}")
        found: dict[str, Item] = {}
        for key, node in self.node.value:
            here = Item(self.path, self.field, key)
            name = here.text("a key")
            if name in found:
                raise here.error(f"the key '{name}' was given before, in line {_line(found[name].key)}")
            if known is not None and name not in known:
                raise here.error(f"unknown key '{name}'", hint=nearest(name, known))
            found[name] = Item(self.path, f"{self.field}.{name}" if self.field else name, node, key)
        return found


def parse_yaml(path: Path, text: str) -> Item | None:
    """The one document in the text of a file, None if there is nothing in it. Raises UsageError."""
    loader = None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: has a character that YAML forbids ({error.character:#04x})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(path, mark) if mark else str(path)
        problem = error.problem or error.context or "cannot be parsed"
        if isinstance(error, _Refused):
            raise UsageError(f"{place}: {problem}") from None
        problem = problem.removeprefix("but ")
        raise UsageError(f"{place}: broken YAML: {problem}", hint=_hint(problem)) from None
    except Exception as error:
        # What PyYAML itself does not expect: an escape of no character, a version of thousands of digits, and so on.
        reason = (str(error) or type(error).__name__)[:_LONGEST]
        line = loader.line + 1 if loader else 1
        raise UsageError(f"{path}:{line}: broken YAML: {' '.join(reason.split())}") from None
    # An empty document is a scalar of nothing.
    if node is None or (node.tag == _NULL and not node.value):
        return None
    return Item(path, "", node)


def _hint(problem: str) -> str | None:
    if "'\\t'" in problem:
        return "indent with spaces, not with tabs"
    if "'@'" in problem:
        return "quote a word that begins with '@'"
    if "another document" in problem:
        return "take out the line '---' between them"
    return None


def _place(path: Path, mark: yaml.Mark) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def _line(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node else 0


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "nothing" if node.tag == _NULL else f"'{node.value}'"
