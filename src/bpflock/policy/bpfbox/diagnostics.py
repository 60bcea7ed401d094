# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy's text, and how it is shown: the place, the line, and a caret below it."""

from dataclasses import dataclass

from bpflock.errors import UsageError
from bpflock.policy.model import Origin

_LONGEST = 160  # of a line that is shown


@dataclass(frozen=True)
class Diagnostic:
    """One error. `line`: the source line; `width`: how many characters are at fault."""

    origin: Origin
    message: str
    hint: str = ""
    line: str = ""
    width: int = 1

    def render(self) -> str:
        """Lines of text: safe on a terminal, with the source line if it has one of a sensible length."""
        text = f"{_safe(str(self.origin))}: error: {_safe(self.message)}"
        if self.line.strip() and len(self.line) <= _LONGEST:
            before = "".join("\t" if c == "\t" else " " for c in self.line[: self.origin.column - 1])
            carets = "^" * max(1, min(self.width, len(self.line) - self.origin.column + 1))
            text += f"\n    {_safe(self.line)}\n    {before}{carets}"
        if self.hint:
            text += f"\nhint: {_safe(self.hint)}"
        return text


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


class PolicyError(UsageError):
    """A policy that is not accepted: all that was found wrong with it, in the order of the text."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        first = diagnostics[0]
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(f"{first.origin}: {first.message}{more}", hint=first.hint or None)
        self.diagnostics = diagnostics

    def render(self) -> str:
        """All of them, as a compiler shows them."""
        return "\n".join(diagnostic.render() for diagnostic in self.diagnostics)
