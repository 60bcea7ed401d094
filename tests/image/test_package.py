# SPDX-License-Identifier: Apache-2.0
"""bpflock as a Debian package, which tests/image/prepare.sh installed."""

import shutil
from pathlib import Path

from .conftest import ATTACK, OUTSIDE, ROOT, attacked, denied, run


def test_all_of_it_is_in_its_place() -> None:
    installed = run("dpkg", "--listfiles", "bpflock").stdout.splitlines()
    assert "/usr/lib/systemd/system/bpflock-early.service" in installed
    assert "/usr/share/bash-completion/completions/bpflock" in installed
    assert run("man", "--where", "bpflock-lock").stdout.strip() == "/usr/share/man/man8/bpflock-lock.8.gz"
    assert run("bpflock", "version").stdout.startswith("bpflock ")


def test_an_update_leaves_no_gap(tmp_path: Path) -> None:
    run("systemctl", "start", "bpflock")
    before = run("systemctl", "show", "bpflock", "--property=MainPID").stdout
    with attacked(tmp_path):
        run("dpkg", "--install", *(ROOT / "dist").glob("bpflock_*.deb"))
    assert run("systemctl", "show", "bpflock", "--property=MainPID").stdout != before
    assert run("systemctl", "is-active", "bpflock").stdout.strip() == "active"


def test_a_removal_ends_no_lock() -> None:
    run("dpkg", "--remove", "bpflock")
    assert shutil.which("bpflock") is None
    assert not Path("/usr/lib/python3/dist-packages/bpflock").exists()
    assert denied(*OUTSIDE, ATTACK, "kcore")
    shutil.rmtree("/sys/fs/bpf/bpflock")
    assert not denied(*OUTSIDE, ATTACK, "kcore")
