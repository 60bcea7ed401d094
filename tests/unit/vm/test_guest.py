# SPDX-License-Identifier: Apache-2.0
"""The harness against a QEMU that is a script: a guest that dies before its command begins is booted once more."""

import threading
from pathlib import Path

import pytest

from vm import guest, kernels, qemu
from vm.errors import BootError, GuestDied, GuestTimeout

# What it does at each boot is a line of the file `plan`.
_QEMU = r"""#!/usr/bin/python3
import os, re, sys, time
from pathlib import Path

here = Path(__file__).parent
step, _, rest = (here / "plan").read_text().partition("\n")
(here / "plan").write_text(rest)
with (here / "boots").open("a") as boots:
    boots.write(" ".join(sys.argv) + "\n")
args = dict(zip(sys.argv[1:], sys.argv[2:]))
token = re.search(rb"([0-9a-f]{32})\n", Path(args["-initrd"]).read_bytes())[1]
ports = [int(fd) for fd in re.findall(r"path=/proc/self/fd/(\d+)", " ".join(sys.argv))]
console = Path(re.search(r"file:(\S+)", args["-serial"])[1])

def message(port, text):
    os.write(ports[port], b"\0" + token + b" " + text + b"\n")

if step == "dies":
    console.write_text("Kernel panic - not syncing: IO-APIC + timer doesn't work!\n\n")
    sys.exit(0)
if step == "hangs":
    time.sleep(600)
message(0, b"start")
os.write(ports[0], b"out")
os.write(ports[1], b"err")
if step == "dies later":
    sys.exit(0)
if step == "hangs later":
    time.sleep(600)
message(0, b"end 7")
message(1, b"end")
time.sleep(600)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "qemu"
    program.write_text(_QEMU)
    program.chmod(0o755)
    (tmp_path / "modules.cpio").write_bytes(b"")
    monkeypatch.setattr(qemu, "PROGRAM", str(program))
    return tmp_path


def _run(here: Path, *plan: str, stop: threading.Event | None = None, timeout: float = 60) -> tuple[int, bytes]:
    """The status of the command, and what it wrote."""
    (here / "plan").write_text("".join(f"{step}\n" for step in plan))
    seen: list[bytes] = []
    job = guest.Job(["true"], timeout=timeout)
    result = guest.run(kernels.Kernel("test", here), job, stdout=seen.append, stderr=seen.append, stop=stop)
    return result.status, b"".join(sorted(seen))


def _boots(here: Path) -> int:
    return len((here / "boots").read_text().splitlines())


def test_a_guest_that_ends_well_is_booted_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(here, "works") == (7, b"errout")
    assert _boots(here) == 1
    assert capsys.readouterr().err == ""


def test_one_that_dies_before_its_command_is_booted_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(here, "dies", "works") == (7, b"errout")
    assert _boots(here) == 2
    said = capsys.readouterr().err
    assert "the guest did not boot (Kernel panic - not syncing: IO-APIC + timer doesn't work!): booting it once" in said


def test_only_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BootError, match="the guest did not boot") as caught:
        _run(here, "dies", "dies", "works")
    assert "IO-APIC" in caught.value.details
    assert _boots(here) == 2
    assert capsys.readouterr().err.count("booting it once more") == 1


def test_one_that_hangs_is_booted_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "BOOT_TIMEOUT", 3)
    assert _run(here, "hangs", "works")[0] == 7
    assert _boots(here) == 2


@pytest.mark.parametrize(("step", "error"), [("dies later", GuestDied), ("hangs later", GuestTimeout)])
def test_a_command_that_has_begun_is_not_run_twice(here: Path, step: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        _run(here, step, "works", timeout=1)
    assert _boots(here) == 1


def test_one_that_is_stopped_is_not_booted_again(here: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(GuestDied, match="stopped on request"):
        _run(here, "hangs", "works", stop=stop)
    assert (here / "plan").read_text().endswith("works\n")


def test_the_timer_is_not_looked_at(here: Path) -> None:
    _run(here, "works")
    assert " no_timer_check " in (here / "boots").read_text()
