# SPDX-License-Identifier: Apache-2.0
"""The two units run in one sandbox."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def test_both_units_have_the_same_sandbox() -> None:
    sandboxes = []
    for name in ("bpflock", "bpflock-early"):
        text = (_ROOT / "deploy" / "systemd" / f"{name}.service").read_text()
        sandbox = text[text.index("# What it needs") : text.index("[Install]")]
        sandboxes.append([line for line in sandbox.splitlines() if not line.startswith("RestrictAddressFamilies=")])
    assert sandboxes[0] == sandboxes[1]
    assert len(sandboxes[0]) > 20
