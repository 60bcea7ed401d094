# SPDX-License-Identifier: Apache-2.0
"""Policy sets of any size: in the kernel their tables lie in blocks, and a walk may go from one to the other."""

from collections.abc import Iterator

import pytest

from bpflock.confine.engine import Engine
from bpflock.policy.model import FileAccess, Origin, PolicySet, Profile
from bpflock.policy.tables import AUTOMATON_BLOCK, RIGHTS_BLOCK

from .test_policy_files import HERE, READ, box, make_files, profile, rule

_FILES = 3000
_OTHERS = 30  # profiles for other programs, with other rights on the same files: each file has a label of its own


def _pattern(number: int) -> str:
    return f"{HERE}/many/{number:04}/*"


def _may_read(number: int) -> bool:
    return number % 3 != 0


@pytest.fixture
def engine(kept_engine: Engine) -> Iterator[Engine]:
    make_files()
    yield kept_engine
    kept_engine.load(PolicySet())


def test_tables_of_several_blocks(engine: Engine) -> None:
    each = _FILES // _OTHERS
    others = [
        Profile(
            f"/opt/other-{other}",
            tuple(rule(_pattern(other * each + n), FileAccess(n + 1)) for n in range(each)),
            Origin("test", 1, 1),
        )
        for other in range(_OTHERS)
    ]
    own = profile(*(rule(_pattern(n), READ if _may_read(n) else FileAccess.GETATTR) for n in range(_FILES)))
    tables = engine.load(PolicySet((own, *others)))
    assert len(tables.automaton) > 2 * AUTOMATON_BLOCK.size
    assert len(tables.rights) > 2 * RIGHTS_BLOCK.size
    for number in (*range(0, _FILES, 149), _FILES - 1):
        file = HERE / "many" / f"{number:04}" / "file"
        file.parent.mkdir(parents=True)
        file.write_text("content")
        assert box(f"cat {file}") == _may_read(number), number
