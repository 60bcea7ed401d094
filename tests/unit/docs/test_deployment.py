# SPDX-License-Identifier: Apache-2.0
"""What is deployed is what the documentation says, and the two units run in one sandbox."""

from pathlib import Path

from tests.image.test_container import RUN

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = (_ROOT / "docs" / "deployment.md").read_text()


def test_the_documented_line_is_the_tested_one() -> None:
    assert f"    # {RUN} -e BPFLOCK_KIMGLOCK_PROFILE=restricted bpflock\n" in _PAGE


def test_both_units_have_the_same_sandbox() -> None:
    sandboxes = []
    for name in ("bpflock", "bpflock-early"):
        text = (_ROOT / "deploy" / "systemd" / f"{name}.service").read_text()
        sandbox = text[text.index("# What it needs") : text.index("[Install]")]
        sandboxes.append(sandbox.splitlines())
    assert sandboxes[0] == sandboxes[1]
    assert len(sandboxes[0]) > 20
