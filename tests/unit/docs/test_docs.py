# SPDX-License-Identifier: Apache-2.0
"""The documentation keeps up with the code: its tables, the names that it must mention, its links."""

import re
from pathlib import Path

import pytest

from bpflock.config import load
from bpflock.config.options import OPTIONS
from bpflock.events.decode import reason_text
from bpflock.kernel.btf import ObjectTypes
from bpflock.locks import LOCKS

from . import tables

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize(
    ("path", "name", "table"), [pytest.param(*t, id=f"{t[0].stem}-{t[1]}") for t in tables.pages()]
)
def test_tables_are_those_of_the_code(path: Path, name: str, table: str) -> None:
    text = path.read_text()
    assert text == tables.place(text, name, table), "run: python -m tests.unit.docs.tables"


def test_every_option_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [option for option in OPTIONS if f"`{option}`" not in text and f"`--{option}`" not in text] == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_lock_has_a_page(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text()
    assert [op.name for op in LOCKS[name].operations if f"`{op.name}`" not in text] == []
    assert [word for word in LOCKS[name].profiles if f"`{word}`" not in text] == []


def test_every_reason_and_event_is_documented() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    types = ObjectTypes.load()
    reasons = [reason_text(name.removeprefix("REASON_").lower()) for name in types.enum("bpflock_reason")]
    events = [name.removeprefix("EVENT_").lower() for name in types.enum("bpflock_event_type")]
    assert [word for word in (*reasons, *events) if word and f"`{word}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_it_names_exist(page: Path) -> None:
    names = re.findall(
        r"`((?:tests|bpf|src|vm|bench|tour|attacks|deploy|examples|scripts|docs)/[\w./-]+)`", page.read_text()
    )
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_begins_with_its_licence(page: Path) -> None:
    assert page.read_text().startswith("<!-- SPDX-License-Identifier: Apache-2.0 -->\n")


def test_the_examples_are_valid() -> None:
    config = load({"config-dir": str(ROOT / "examples")}, {})
    assert config.notes == ()
    assert all(lock.configured for lock in config.locks.values())
