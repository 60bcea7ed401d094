# SPDX-License-Identifier: Apache-2.0
"""The reasons for hooks that the policy engine does not use. tests/kernel/test_hook_coverage.py asks a kernel."""

from collections import Counter

from tests.kernel import hooks


def test_no_hook_has_two_reasons() -> None:
    names = Counter(hook for excuse in hooks.EXCUSES for hook in excuse.hooks)
    assert [hook for hook, count in names.items() if count > 1] == []


def test_what_is_used_has_no_excuse() -> None:
    used = hooks.used()
    assert [hook for hook, excuse in hooks.excused().items() if hook in used and not excuse.optional] == []


def test_reasons_name_hooks_that_are_used() -> None:
    """Of names with an underscore: others are of capabilities and operations."""
    used = set(hooks.used())
    for excuse in hooks.EXCUSES:
        named = {word for word in excuse.why.split("`")[1::2] if word in hooks.excused()}
        assert named <= used, excuse
