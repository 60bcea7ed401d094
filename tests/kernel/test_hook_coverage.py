# SPDX-License-Identifier: Apache-2.0
"""No hook of this kernel is overlooked: the policy engine uses it, or hooks.py says why it need not."""

from . import hooks


def test_every_hook_is_used_or_excused() -> None:
    """Also what a new kernel brings."""
    found = hooks.of_kernel()
    assert len(found) > 200
    assert sorted(found - set(hooks.used()) - set(hooks.excused())) == []


def test_what_is_used_exists() -> None:
    missing = set(hooks.used()) - hooks.of_kernel()
    assert [hook for hook in missing if not hooks.used()[hook]] == []
