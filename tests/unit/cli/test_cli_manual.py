# SPDX-License-Identifier: Apache-2.0
"""The manual pages say what the commands do, and are correct roff."""

import shutil
import subprocess

import pytest

from bpflock.cli.main import SUMMARIES
from bpflock.cli.manual import pages
from bpflock.config.options import OPTIONS, Reach

_PAGES = dict(pages())


def test_there_is_a_page_for_each_command() -> None:
    assert list(_PAGES) == ["bpflock.8", *(f"bpflock-{name}.8" for name in SUMMARIES)]
    for name in SUMMARIES:
        assert f"bpflock\\-{name}" in _PAGES["bpflock.8"]


def test_run_has_every_option_and_no_page_one_that_has_no_effect() -> None:
    for option in OPTIONS.values():
        term = option.flag.replace("-", "\\-")
        shown = f"{term} " in _PAGES["bpflock-run.8"]
        assert shown == (option.reach is not Reach.WITHOUT_EFFECT), option.name


def test_examples_and_subcommands_are_there() -> None:
    assert "bpflock lock \\-\\-all \\-\\-level=baseline" in _PAGES["bpflock-lock.8"]
    for name in ("set", "unset", "list"):
        assert f'.SS "bpflock cgroup {name}"' in _PAGES["bpflock-cgroup.8"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
@pytest.mark.parametrize("name", _PAGES)
def test_groff_has_nothing_to_say(name: str) -> None:
    ended = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=_PAGES[name], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
