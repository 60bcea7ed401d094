# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from bpflock.daemon.instance import LOCK_FILE, daemon_pid, only_daemon, prepare
from bpflock.errors import BpflockError

_DAEMON = """
import sys
from pathlib import Path
from bpflock.daemon.instance import only_daemon
with only_daemon(Path(sys.argv[1])):
    print("here", flush=True)
    sys.stdin.read()
"""


def test_a_second_daemon_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "bpflock"
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "here\n"
        assert daemon_pid(directory) == other.pid
        with pytest.raises(BpflockError, match=f"runs already, process {other.pid}$"), only_daemon(directory):
            pass
        assert daemon_pid(directory) == other.pid  # to be refused does not take its lock away
        other.kill()
    # Even after SIGKILL nothing is left to be cleaned up by hand.
    assert daemon_pid(directory) is None
    with only_daemon(directory):
        pass


def test_nobody_else_can_hold_the_lock_or_see_more_than_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "bpflock"
    with only_daemon(directory):
        assert (directory / LOCK_FILE).stat().st_mode & 0o777 == 0o600
        assert directory.stat().st_mode & 0o022 == 0


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(BpflockError, match="others may write"):
        prepare(tmp_path)


def test_a_link_instead_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "target")
    with pytest.raises(OSError), only_daemon(tmp_path):
        pass
    assert not (tmp_path / "target").exists()


def test_no_daemon(tmp_path: Path) -> None:
    assert daemon_pid(tmp_path / "nothing") is None
    with only_daemon(tmp_path):
        pass
    assert daemon_pid(tmp_path) is None
    assert list(tmp_path.iterdir()) == [tmp_path / LOCK_FILE]
