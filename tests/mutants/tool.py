# SPDX-License-Identifier: Apache-2.0
"""Small faults in the modules that decide, found in their syntax trees: a comparison the other way round, a condition
that is never met, a number that is one too large, and so on."""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.changes import Change

# Each with the tests that are about it; of those that show much more than they decide, what decides.
_ONLY = {
    "bench/report.py": ("verdicts", "_compared", "added"),
    "bench/policy_report.py": ("verdicts", "added", "met"),
    "tour/__main__.py": ("_problems", "_summary", "verdict", "reason"),
}
MODULES = {
    "src/bpflock/policy/evaluate.py": "tests/unit/policy/test_evaluate.py",
    "src/bpflock/policy/pattern.py": "tests/unit/policy/test_pattern.py tests/unit/policy/test_automaton.py",
    "src/bpflock/policy/explain.py": "tests/unit/policy/test_explain.py",
    "src/bpflock/policy/rename.py": "tests/unit/policy/test_rename.py tests/unit/policy/test_tables.py",
    "src/bpflock/locks/model.py": "tests/unit/locks tests/unit/config tests/unit/cli/test_cli_locks.py",
    "src/bpflock/daemon/plan.py": "tests/unit/daemon/test_plan.py",
    "src/bpflock/daemon/state.py": "tests/unit/daemon/test_api.py tests/unit/daemon/test_boundary.py",
    "src/bpflock/events/render.py": "tests/unit/events",
    "src/bpflock/config/files.py": "tests/unit/config",
    "vm/suite.py": "tests/unit/vm",
    "bench/report.py": "tests/unit/bench",
    "bench/policy_report.py": "tests/unit/bench",
    "tour/__main__.py": "tests/unit/tour",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.Mult: "+",
    ast.FloorDiv: "*",
}


@dataclass(frozen=True)
class _Fault:
    """Other text in the place of a node."""

    node: ast.expr
    text: str


def choose(root: Path, count: int, seed: int) -> list[Change]:
    """So many of each module, the same ones for the same seed."""
    found: list[Change] = []
    for file, tests in MODULES.items():
        faults = list(_faults(root / file, _ONLY.get(file, ())))
        chosen = random.Random(f"{seed} {file}").sample(faults, min(count, len(faults)))
        found += [_change(file, (root / file).read_text(), fault, tests) for fault in chosen]
    return found


def _change(file: str, source: str, fault: _Fault, tests: str) -> Change:
    """As one that takes the whole file for its old text."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    node = fault.node
    assert node.end_lineno and node.end_col_offset is not None
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    data = source.encode()
    new = (data[:begin] + fault.text.encode() + data[end:]).decode()
    what = f"{' '.join(data[begin:end].decode().split())} -> {' '.join(fault.text.split())}"
    return Change(f"{Path(file).name}:{node.lineno}", what, file, source, new, test=tests)


def _nodes(tree: ast.Module, functions: tuple[str, ...]) -> Iterator[ast.AST]:
    """All, or those of these functions."""
    for node in ast.walk(tree):
        if not functions:
            yield node
        elif isinstance(node, ast.FunctionDef) and node.name in functions:
            yield from ast.walk(node)


def _faults(path: Path, functions: tuple[str, ...]) -> Iterator[_Fault]:
    tree = ast.parse(path.read_text())
    for node in _nodes(tree, functions):
        # Of annotations and texts nothing depends.
        if isinstance(node, ast.FunctionDef) and node.name.startswith("__"):
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            sign = _COMPARISONS[type(node.ops[0])]
            yield _Fault(node, f"({ast.unparse(node.left)} {sign} {ast.unparse(node.comparators[0])})")
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield _Fault(node, f"({word.join(f'({ast.unparse(value)})' for value in node.values)})")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield _Fault(node, f"bool({ast.unparse(node.operand)})")
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_text(node):
            sign = _OPERATORS[type(node.op)]
            yield _Fault(node, f"(({ast.unparse(node.left)}) {sign} ({ast.unparse(node.right)}))")
        elif isinstance(node, ast.If | ast.IfExp):
            if not isinstance(node.test, ast.UnaryOp):  # that is above
                yield _Fault(node.test, f"(not ({ast.unparse(node.test)}))")
        elif isinstance(node, ast.Return) and node.value is not None and _is_plain(node.value):
            yield _Fault(node.value, f"(not ({ast.unparse(node.value)}))")


def _is_plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _is_text(node: ast.BinOp) -> bool:
    """Also annotations, `int | None`, and parts of them."""
    if isinstance(node.left, ast.BinOp) and _is_text(node.left):
        return True
    parts = (node.left, node.right)
    if any(isinstance(part, ast.Constant) and not isinstance(part.value, int) for part in parts):
        return True
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return any(isinstance(part, ast.JoinedStr) for part in parts) or any(
        name[:1].isupper() or name in ("str", "int", "bytes", "bool", "float", "list", "dict") for name in names
    )
