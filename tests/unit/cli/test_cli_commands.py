# SPDX-License-Identifier: Apache-2.0
"""bpflock check, cgroup, config show, completion, version, and `bpflock --option` of the Go implementation."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpflock import __version__
from bpflock.kernel.probe import Finding
from bpflock.locks.model import Profile
from bpflock.workloads.cgroup import CgroupEntry

from .conftest import Result

Run = Callable[..., Result]

_FINE = Finding("BTF", True, "/sys/kernel/btf/vmlinux", None, True)
_LACKING = Finding("active LSMs", False, "lockdown,yama", 'set lsm="lockdown,yama,bpf"', True)
_OPTIONAL = Finding("kernel lockdown", False, "off", None, False)


@pytest.mark.parametrize(("findings", "status"), [([_FINE, _OPTIONAL], 0), ([_FINE, _LACKING, _OPTIONAL], 3), ([], 0)])
def test_check(bpflock: Run, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], status: int) -> None:
    monkeypatch.setattr("bpflock.kernel.probe.check", lambda: findings)
    result = bpflock("check")
    assert result.status == status
    for finding in findings:
        assert finding.name in result.out
        assert finding.detail in result.out
    assert ("hint: set lsm=" in result.out) == (_LACKING in findings)
    as_json = bpflock("check", "--json")
    assert as_json.status == status
    assert as_json.json["ok"] == (status == 0)
    assert [found["name"] for found in as_json.json["findings"]] == [finding.name for finding in findings]


def test_check_tells_what_is_required_from_what_is_not(bpflock: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bpflock.kernel.probe.check", lambda: [_FINE, _LACKING, _OPTIONAL])
    words = [line.split()[0] for line in bpflock("check").out.splitlines()]
    assert words == ["ok", "MISSING", "hint:", "absent", "This"]


def test_cgroup_set(bpflock: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Profile]] = []

    def set_profile(path: str, profile: Profile) -> int:
        asked.append((path, profile))
        return 4711

    monkeypatch.setattr("bpflock.workloads.cgroup.set_profile", set_profile)
    assert bpflock("cgroup", "set", "system.slice", "privileged").out == "cgroup 4711: allow\n"
    assert bpflock("cgroup", "set", "8821", "restricted", "--json").json == {"id": 4711, "profile": "restricted"}
    assert asked == [("system.slice", Profile.ALLOW), ("8821", Profile.RESTRICTED)]
    result = bpflock("cgroup", "set", "system.slice", "strict")
    assert (result.status, len(asked)) == (2, 2)
    assert result.err == "bpflock: error: there is no profile 'strict'\nhint: did you mean 'restricted'?\n"


def test_cgroup_unset(bpflock: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bpflock.workloads.cgroup.unset_profile", lambda path: path == "there")
    assert bpflock("cgroup", "unset", "there").out == "cgroup there: no profile any more\n"
    result = bpflock("cgroup", "unset", "elsewhere")
    assert (result.status, result.out) == (0, "cgroup elsewhere: had no profile\n")


def test_cgroup_list(bpflock: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [CgroupEntry(7, "/sys/fs/cgroup/a", Profile.ALLOW), CgroupEntry(123, None, Profile.RESTRICTED)]
    monkeypatch.setattr("bpflock.workloads.cgroup.list_profiles", lambda: entries)
    assert bpflock("cgroup", "list").out == (
        " id  profile     path\n  7  allow       /sys/fs/cgroup/a\n123  restricted  (gone)\n"
    )
    assert bpflock("cgroup", "list", "--json").json["cgroups"][1] == {
        "id": 123,
        "path": None,
        "profile": "restricted",
    }
    monkeypatch.setattr("bpflock.workloads.cgroup.list_profiles", list)
    assert bpflock("cgroup", "list").out == "no cgroup has a profile of its own\n"


def _lines(out: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()}


def test_config_show(bpflock: Run, etc: Path) -> None:
    (etc / "bpflock.yaml").write_text('debug: yes\nkimglock-block: [msr, "@bpf"]\n')
    lines = _lines(bpflock("config", "show", "--kmodlock-profile=baseline").out)
    assert lines["kimglock-block"] == ["bpf_read,bpf_write,msr"]
    assert lines["kmodlock-profile"] == ["baseline"]
    assert lines["kimglock-allow"] == ['""']
    assert lines["debug"] == ["yes"]
    assert lines["exec-snoop"] == ["none"]
    assert lines["event-buffer"] == ["1048576"]


def test_config_show_origin(bpflock: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "bpflock.yaml").write_text("debug: yes\nkimglock-block: msr\n")
    monkeypatch.setenv("BPFLOCK_EXEC_SNOOP", "all")
    result = bpflock("config", "show", "--origin", "--kmodlock-profile=baseline")
    lines = _lines(result.out)
    assert lines["kimglock-block"] == ["msr", f"{etc}/bpflock.yaml:2"]
    assert lines["debug"] == ["yes", f"{etc}/bpflock.yaml:1"]
    assert lines["exec-snoop"] == ["all", "environment", "BPFLOCK_EXEC_SNOOP"]
    assert lines["kmodlock-profile"] == ["baseline", "command", "line"]
    assert lines["state-dir"] == ["/var/lib/bpflock", "default"]


def test_config_show_json(bpflock: Run) -> None:
    values = bpflock("config", "show", "--json", "--kimglock-block=msr").json
    assert values["kimglock-block"] == ["msr"]
    assert values["debug"] is False
    assert values["event-buffer"] == 1048576
    values = bpflock("config", "show", "--json", "--origin", "--kimglock-block=msr").json
    assert values["kimglock-block"] == {"value": ["msr"], "origin": "command line"}


def test_what_config_show_prints_is_a_configuration(bpflock: Run, etc: Path) -> None:
    """Read as bpflock.yaml it means the same."""
    shown = bpflock(
        "config", "show", "--kimglock-profile=baseline", "--kimglock-block=msr,kexec", "--exec-snoop=filter", "--debug"
    ).out
    text = "".join(f"{name}: {' '.join(value)}\n" for name, value in _lines(shown).items() if name != "config-dir")
    (etc / "bpflock.yaml").write_text(text)
    assert bpflock("config", "show").out == shown


def test_config_show_prints_notes_on_standard_error(bpflock: Run, etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("gops-port: 19890\nenable-ipv6: true\n")
    result = bpflock("config", "show")
    assert result.status == 0
    assert result.err == (
        f"bpflock: note: without effect here: gops-port ({etc}/bpflock.yaml:1), enable-ipv6 ({etc}/bpflock.yaml:2)\n"
    )


@pytest.mark.parametrize("flag", ["--debug", "-D", "--debug=yes", "--debug=true"])
def test_switches_need_no_value(bpflock: Run, flag: str) -> None:
    assert _lines(bpflock("config", "show", flag, "--remove-bpf-programs").out)["debug"] == ["yes"]


def test_global_debug_is_the_option(bpflock: Run) -> None:
    assert _lines(bpflock("--debug", "config", "show").out)["debug"] == ["yes"]
    assert _lines(bpflock("--debug", "config", "show", "--debug=no").out)["debug"] == ["no"]


@pytest.mark.parametrize(
    "args",
    [
        ["--kimglock-profile=baseline", "--kimglock-allow=debugfs,ioport,unsigned_module"],
        ["--debug", "--kimglock-profile", "baseline", "--kimglock-allow", "debugfs,ioport,unsigned_module"],
    ],
)
def test_options_without_a_command_mean_run(bpflock: Run, monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    seen = []

    def run(config: object) -> int:
        seen.append(config)
        return 7

    monkeypatch.setattr("bpflock.daemon.main.run", run)
    assert bpflock(*args).status == 7
    (config,) = seen
    settings = config.locks["kimglock"].settings  # type: ignore[attr-defined]
    assert settings.profile is Profile.BASELINE
    assert settings.allow == ("debugfs", "ioport", "unsigned_module")


def test_a_misspelt_option_without_a_command(bpflock: Run) -> None:
    result = bpflock("--kimglock-profil=baseline")
    assert result.status == 2
    assert result.err == (
        "bpflock: error: 'bpflock' has no option '--kimglock-profil'\nhint: did you mean '--kimglock-profile'?\n"
    )


def test_version(bpflock: Run) -> None:
    assert bpflock("version").out == bpflock("--version").out == f"bpflock {__version__}\n"
    assert bpflock("version", "--json").json == {"version": __version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(bpflock: Run, shell: str) -> None:
    result = bpflock("completion", shell)
    assert result.status == 0
    assert f"_BPFLOCK_COMPLETE={shell}_complete" in result.out


def test_completion_of_an_unknown_shell(bpflock: Run) -> None:
    result = bpflock("completion", "zhs")
    assert (result.status, result.err.splitlines()[1]) == (2, "hint: did you mean 'zsh'?")


_COMPLETE = r"""
eval "$1"
COMP_LINE="$2" COMP_POINT=${#2}
# As bash splits a line for completion: '=' is a word.
read -ra COMP_WORDS <<<"${2//=/ = }"
[[ $2 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
bpflock() { "$PYTHON" -m bpflock.cli.main "$@"; }
env() { while [[ $1 == *=* ]]; do local -x "$1"; shift; done; "$@"; }
_bpflock_completion bpflock
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bpflock st", {"status"}),
        ("bpflock lock kim", {"kimglock"}),
        ("bpflock unlock kimglock k", {"kmodlock"}),
        ("bpflock lock kimglock --profile=b", {"baseline"}),
        ("bpflock lock execsnoop --profile ", {"none", "all", "filter"}),
        ("bpflock lock kmodlock --block=unsafe_module_parameters,un", {"unsafe_module_parameters,unsigned_module"}),
        ("bpflock run --kmodlock-allow=lo", {"load_module"}),
        ("bpflock run --exec-snoop=f", {"filter"}),
        ("bpflock cgroup set foo restr", {"restricted"}),
        ("bpflock completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_completion_in_bash(bpflock: Run, line: str, expected: set[str]) -> None:
    script = bpflock("completion", "bash").out
    result = subprocess.run(
        ["bash", "--norc", "-c", _COMPLETE, "bash", script, line],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
    )
    assert set(result.stdout.split()) == expected
