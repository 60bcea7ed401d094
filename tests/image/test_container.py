# SPDX-License-Identifier: Apache-2.0
"""The container image: built by deploy/container/Containerfile from the wheel, run by the line that is documented.

`docker` is Podman's here. The daemon that test_systemd.py left is stopped first.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ATTACK, EXTRAS, ROOT, run, wait

_BASE = "localhost/debian"
_ATTACK = Path("/tmp/attack")
# As in docs/deployment.md; a test of the documentation compares.
RUN = (
    "docker run -d --name bpflock --pid=host --cgroupns=host --privileged "
    "-v /sys/kernel:/sys/kernel -v /sys/fs/bpf:/sys/fs/bpf"
)


@pytest.fixture(scope="module", autouse=True)
def image(tmp_path_factory: pytest.TempPathFactory) -> None:
    run("systemctl", "stop", "bpflock")
    run("bpflock", "unlock", "--all")
    context = tmp_path_factory.mktemp("context")
    shutil.copy(ATTACK, _ATTACK)
    for wheel in (*(ROOT / "dist").glob("*.whl"), *(ROOT / "build" / "image-wheels").glob("*.whl")):
        shutil.copy(wheel, context)
    if run("podman", "image", "exists", _BASE, check=False).returncode:
        run("podman", "import", EXTRAS / "base.tar", _BASE)
    containerfile = ROOT / "deploy" / "container" / "Containerfile"
    run("podman", "build", "--network=none", f"--build-arg=BASE={_BASE}", "-t", "bpflock", "-f", containerfile, context)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    run("podman", "rm", "-f", "-t", "0", "bpflock", check=False)
    run("bpflock", "unlock", "--all")


def _start(*options: str) -> None:
    run(*shlex.split(RUN), *options, "bpflock")
    wait(lambda: "enforcing " in _log() or "error" in _log(), _log)
    assert "error" not in _log(), _log()


def _log() -> str:
    ended = run("docker", "logs", "bpflock")
    return ended.stdout + ended.stderr


def _attack_from_a_second_container() -> int:
    """What the attack says: 0 it worked, 1 it was denied."""
    ended = run(
        *("docker", "run", "--rm", "--privileged", "-v", f"{_ATTACK}:/attack:ro", "--entrypoint", "/attack"),
        *("bpflock", "kcore"),
        check=False,
    )
    assert ended.returncode in (0, 1), ended
    return ended.returncode


def test_the_wheel_brings_its_libraries() -> None:
    """`pip install` alone is enough: the image's own libbpf, if it has one, is not used."""
    program = "import bpflock.kernel._libbpf; print(open('/proc/self/maps').read())"
    maps = run("docker", "run", "--rm", "--entrypoint", "python3", "bpflock", "-c", program).stdout
    for library in ("libbpf", "libelf"):
        paths = {line.split()[-1] for line in maps.splitlines() if f"/{library}" in line}
        assert paths and all("/bpflock.libs/" in path for path in paths), paths


def test_the_documented_line_stops_an_attack_from_another_container_and_logs_it() -> None:
    assert _attack_from_a_second_container() == 0
    _start("-e", "BPFLOCK_KIMGLOCK_PROFILE=restricted")
    assert _attack_from_a_second_container() == 1
    wait(lambda: "reason=denied (restricted)" in _log(), _log)
    event = re.search(r'msg="event=lsm_locked_down operation=/proc/kcore .* comm=attack .*reason=denied', _log())
    assert event, _log()
    # The log driver's end is not the locks' end.
    run("docker", "rm", "-f", "-t", "0", "bpflock")
    assert run(ATTACK, "kcore", check=False).returncode == 1


def test_an_env_file_and_a_mounted_configuration_work(tmp_path: Path) -> None:
    variables = tmp_path / "env"
    variables.write_text("# a comment\nBPFLOCK_KIMGLOCK_PROFILE=baseline\nBPFLOCK_KIMGLOCK_BLOCK=kexec\n")
    configuration = tmp_path / "etc"
    (configuration / "bpflock.d").mkdir(parents=True)
    (configuration / "bpflock.yaml").write_text("kmodlock-profile: restricted\nkimglock-profile: restricted\n")
    (configuration / "bpflock.d" / "filelesslock-profile").write_text("baseline\n")
    _start(f"--env-file={variables}", "-v", f"{configuration}:/etc/bpflock:ro")
    log = _log()
    assert "profile=baseline block=kexec (profile: environment BPFLOCK_KIMGLOCK_PROFILE;" in log
    assert "profile=restricted (profile: /etc/bpflock/bpflock.yaml:1)" in log
    assert "profile=baseline (profile: /etc/bpflock/bpflock.d/filelesslock-profile)" in log
    assert _attack_from_a_second_container() == 1
    assert run(ATTACK, "kcore").returncode == 0
