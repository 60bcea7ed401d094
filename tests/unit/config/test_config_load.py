# SPDX-License-Identifier: Apache-2.0
"""Every option in all its forms, which form wins, and what each value's origin is."""

import dataclasses
from pathlib import Path

import pytest

from bpflock.config import Config, LogFormat, load
from bpflock.config.options import OPTIONS, Kind, Reach
from bpflock.errors import UsageError
from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Profile, Settings

_HEAD = 'bpfmetaver: "v1"\nkind: "bpf"\nbpfmetadata:\n  name: bpflock\nbpfspec:\n  programs:\n'


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "bpflock.d").mkdir()
    (tmp_path / "bpf.d").mkdir()
    return tmp_path


def _load(etc: Path, environ: dict[str, str] | None = None, **flags: str) -> Config:
    words = {name.replace("_", "-"): word for name, word in flags.items()}
    return load({"config-dir": str(etc), **words}, environ or {})


def _program(name: str, *args: str) -> str:
    return f"    - name: {name}\n      args:\n" + "".join(f"        - {arg}\n" for arg in args)


def test_with_nothing_configured_everything_is_allowed_and_nothing_traced(etc: Path) -> None:
    config = _load(etc)
    assert list(config.locks) == list(LOCKS)
    for name, lock in config.locks.items():
        assert lock.settings.profile is LOCKS[name].default
        assert lock.settings.profile in (Profile.NONE, Profile.ALLOW)
        assert lock.settings.block == lock.settings.allow == ()
        assert set(lock.origins.values()) == {"default"}
        assert not lock.configured
    assert not config.debug
    assert not config.remove_bpf_programs
    assert config.log_format is LogFormat.AUTO
    assert config.event_buffer == 1024 * 1024
    assert (config.state_dir, config.runtime_dir) == (Path("/var/lib/bpflock"), Path("/run/bpflock"))
    assert config.notes == ()


def test_an_absent_configuration_directory_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = dataclasses.replace(OPTIONS["config-dir"], default=str(tmp_path / "none"))
    monkeypatch.setitem(OPTIONS, "config-dir", default)
    assert load({}, {}).locks["kimglock"].settings.profile is Profile.ALLOW


# A value for each option, other than its default.
_VALUES = {
    **{f"{name}-profile": "baseline" for name, lock in LOCKS.items() if not lock.is_tracer},
    **{f"{name}-{part}": lock.operations[0].name for name, lock in LOCKS.items() for part in ("block", "allow")},
    **{f"{name}-allow-session": "local" for name, lock in LOCKS.items() if lock.for_sessions},
    "rootfslock-path": "/srv",
    "rootfslock-except": "/srv/a,/srv/b",
    "exec-snoop": "all",
    "exec-snoop-args": "100",
    "exec-snoop-exit": "no",
    "priv-snoop": "all",
    "level": "restricted",
    "debug": "yes",
    "remove-bpf-programs": "on",
    "policy-allow-missing": "yes",
    "log-format": "json",
    "event-buffer": "2M",
    "state-dir": "/srv/state",
    "lib-dir": "/srv/lib",
    "runtime-dir": "/srv/run",
}


def _value(config: Config, name: str) -> tuple[object, str]:
    option = OPTIONS[name]
    if option.lock:
        lock = config.locks[option.lock.name]
        return option.lock.value_of(lock.settings, option.part), lock.origins[option.part]
    name = name.replace("lib-dir", "state-dir")
    return getattr(config, name.replace("-", "_")), config.origins[name]


_FORMS = ("flag", "environment", "file", "file with _", "yaml", "yaml with _", "program")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name, option in OPTIONS.items()
        for form in _FORMS
        if option.reach is Reach.EVERYWHERE and (option.lock or form != "program")
    ],
)
def test_every_option_has_every_form(etc: Path, name: str, form: str) -> None:
    option = OPTIONS[name]
    word = _VALUES[name]
    default, _ = _value(_load(etc), name)
    match form:
        case "flag":
            config, origin = load({"config-dir": str(etc), name: word}, {}), "command line"
        case "environment":
            config, origin = _load(etc, {option.variable: word}), f"environment {option.variable}"
        case "file" | "file with _":
            path = etc / "bpflock.d" / (name.replace("-", "_") if "_" in form else name)
            path.write_text(f"{word}\n")
            config, origin = _load(etc), str(path)
        case "yaml" | "yaml with _":
            key = name.replace("-", "_") if "_" in form else name
            (etc / "bpflock.yaml").write_text(f"# a comment\n\n{key}: {word}\n")
            config, origin = _load(etc), f"{etc}/bpflock.yaml:3"
        case _:
            assert option.lock
            (etc / "bpf.d" / "p.yaml").write_text(_HEAD + _program(option.lock.name, f"--{option.part}={word}"))
            config, origin = _load(etc), f"{etc}/bpf.d/p.yaml:9"
    value, found = _value(config, name)
    assert value != default
    assert found == origin
    if option.lock:
        assert config.locks[option.lock.name].configured
        assert [n for n, lock in config.locks.items() if lock.configured] == [option.lock.name]


def test_precedence(etc: Path) -> None:
    """Take away the first source again and again: the next one must come up."""
    (etc / "bpf.d" / "p.yaml").write_text(_HEAD + _program("kimglock", "--block=msr"))
    (etc / "bpflock.yaml").write_text("kimglock-block: [perf]\n")
    (etc / "bpflock.d" / "kimglock-block").write_text("kexec")
    environ = {"BPFLOCK_KIMGLOCK_BLOCK": "debugfs"}

    def block(config: Config) -> tuple[str, ...]:
        return config.locks["kimglock"].settings.block

    assert block(_load(etc, environ, kimglock_block="kcore")) == ("kcore",)
    assert block(_load(etc, environ)) == ("debugfs",)
    assert block(_load(etc)) == ("kexec",)
    (etc / "bpflock.d" / "kimglock-block").unlink()
    assert block(_load(etc)) == ("perf",)
    (etc / "bpflock.yaml").unlink()
    assert block(_load(etc)) == ("msr",)


def test_a_higher_source_can_empty_a_list(etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("kimglock-block: perf\n")
    config = _load(etc, kimglock_block="")
    assert config.locks["kimglock"].settings.block == ()
    assert config.locks["kimglock"].origins["block"] == "command line"


def test_each_part_of_a_lock_has_its_own_origin(etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("kmodlock-block:\n  - autoload_module\n")
    config = _load(etc, {"BPFLOCK_KMODLOCK_PROFILE": "baseline"}, kmodlock_allow="load_module")
    assert config.locks["kmodlock"].origins == {
        "profile": "environment BPFLOCK_KMODLOCK_PROFILE",
        "block": f"{etc}/bpflock.yaml:1",
        "allow": "command line",
        "allow-session": "default",
    }


def test_an_empty_variable_or_file_sets_nothing(etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("kimglock-profile: baseline\n")
    (etc / "bpflock.d" / "kimglock-profile").write_text("\n")
    config = _load(etc, {"BPFLOCK_KIMGLOCK_PROFILE": ""})
    assert config.locks["kimglock"].settings.profile is Profile.BASELINE


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- \n# nothing\n...\n"])
def test_empty_yaml_is_fine(etc: Path, text: str) -> None:
    (etc / "bpflock.yaml").write_text(text)
    (etc / "bpf.d" / "a.yaml").write_text(text)
    assert not any(lock.configured for lock in _load(etc).locks.values())


def test_utf8_with_byte_order_mark_is_fine(etc: Path) -> None:
    (etc / "bpflock.yaml").write_bytes(b"\xef\xbb\xbfexec-snoop: all\n")
    assert _load(etc).locks["execsnoop"].settings.profile is Profile.ALL


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "True", "YES", " On "])
def test_words_for_yes(etc: Path, word: str) -> None:
    assert _load(etc, debug=word).debug


@pytest.mark.parametrize("word", ["false", "no", "off", "0", "False", "NO"])
def test_words_for_no(etc: Path, word: str) -> None:
    (etc / "bpflock.yaml").write_text("debug: true\n")
    assert not _load(etc, debug=word).debug


@pytest.mark.parametrize(
    ("word", "size"), [("64K", 65536), ("64k", 65536), ("1m", 1 << 20), ("256M", 1 << 28), ("131072", 131072)]
)
def test_sizes(etc: Path, word: str, size: int) -> None:
    assert _load(etc, event_buffer=word).event_buffer == size


@pytest.mark.parametrize("word", ["allow", "none", "privileged", "PRIVILEGED"])
def test_names_of_the_profile_that_allows(etc: Path, word: str) -> None:
    lock = _load(etc, kimglock_profile=word).locks["kimglock"]
    assert lock.settings.profile is Profile.ALLOW
    assert lock.configured


def test_groups_and_aliases_become_operations(etc: Path) -> None:
    (etc / "bpflock.yaml").write_text('kimglock-block: ["@modules", bpf_write_user, " DEV_MEM "]\n')
    block = _load(etc).locks["kimglock"].settings.block
    assert block == ("bpf_write", "dev_mem", "unsafe_module_parameters", "unsigned_module")


def test_a_mounted_config_map(etc: Path) -> None:
    """Kubernetes: files are links through `..data` to a directory of this version, which is swapped on an update."""
    data = etc / "bpflock.d" / "..2024_01_01"
    data.mkdir()
    (data / "kimglock-profile").write_text("baseline")
    (data / "exec-snoop").write_text("filter\n")
    (etc / "bpflock.d" / "..data").symlink_to("..2024_01_01")
    for name in ("kimglock-profile", "exec-snoop"):
        (etc / "bpflock.d" / name).symlink_to(f"..data/{name}")
    config = _load(etc)
    assert config.locks["kimglock"].settings.profile is Profile.BASELINE
    assert config.locks["kimglock"].origins["profile"] == f"{etc}/bpflock.d/kimglock-profile"
    assert config.locks["execsnoop"].settings.profile is Profile.FILTER


def test_variables_that_are_no_options_are_left_alone(etc: Path) -> None:
    """Kubernetes sets them in each pod for a service called bpflock."""
    names = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR", "VM"]
    config = _load(etc, {f"BPFLOCK_{name}": "10.0.0.1" for name in names} | {"BPFLOCKED": "1", "_BPFLOCK_COMPLETE": ""})
    assert not any(lock.configured for lock in config.locks.values())


_ORIGINAL_MAIN = """# bpflock.yaml configuration

# -- Enable debug logging
debug: true

# -- Remove bpf programs and security feature on exit
remove-bpf-programs: true
enable-ipv4: true
enable-ipv6: true
agent-health-port: 19876
gops-port: 19890

# -- Directory path to store variable runtime environment
lib-dir: /var/lib/bpflock

# -- Directory path to store runtime state
state-dir: /var/run/bpflock

# Supported values: none, filter, all
exec-snoop: none
"""

_ORIGINAL_PROGRAMS = """bpfmetaver: "v1"
kind: "bpf"
bpfmetadata:
  name: bpflock
bpfspec:
  programs:
    - name: execsnoop
      description: "Trace process exec()"
      doc: https://example.org/docs/system-and-application-tracing.md#trace-application-execution
      args:
        - --exec-snoop=all
#    - name: kimglock
#      args:
#        - --profile=restricted
    - name: kmodlock
      description: "Restrict kernel module operations on modular kernels"
      doc: https://example.org/docs/memory-protections.md#2-kernel-modules-protections
      command: kmodlock
      priority: 60
      args:
        - --profile=baseline
        - --block=unsigned_module,autoload_module
"""


def test_the_files_of_the_go_implementation_are_taken_as_they_are(etc: Path) -> None:
    (etc / "bpflock.yaml").write_text(_ORIGINAL_MAIN)
    (etc / "bpf.d" / "programs.yaml").write_text(_ORIGINAL_PROGRAMS)
    config = _load(etc)
    assert config.debug
    assert config.remove_bpf_programs
    # Its state-dir is what we call the runtime directory: lasting state must not go to /run.
    assert config.state_dir == Path("/var/lib/bpflock")
    assert config.origins["state-dir"] == f"{etc}/bpflock.yaml:14"
    assert config.runtime_dir == Path("/var/run/bpflock")
    # bpflock.yaml before bpf.d
    assert config.locks["execsnoop"].settings.profile is Profile.NONE
    assert config.locks["execsnoop"].origins["profile"] == f"{etc}/bpflock.yaml:20"
    kmodlock = config.locks["kmodlock"]
    assert kmodlock.settings.profile is Profile.BASELINE
    assert kmodlock.settings.block == ("autoload_module", "unsigned_module")
    assert kmodlock.origins["profile"] == f"{etc}/bpf.d/programs.yaml:21"
    assert not config.locks["kimglock"].configured
    # One note for all that has no meaning here.
    assert len(config.notes) == 1
    for key in ("enable-ipv4", "enable-ipv6", "agent-health-port", "gops-port", "priority"):
        assert key in config.notes[0]
    assert f"{etc}/bpflock.yaml:8" in config.notes[0]


def test_a_state_directory_elsewhere_is_one(etc: Path) -> None:
    config = _load(etc, state_dir="/srv/bpflock", lib_dir="/var/lib/other")
    assert config.state_dir == Path("/srv/bpflock")
    assert config.runtime_dir == Path("/run/bpflock")


def test_files_of_bpf_d_that_are_not_yaml_are_noted(etc: Path) -> None:
    (etc / "bpf.d" / "kimglock.yaml.bak").write_text("whatever")
    config = _load(etc)
    assert len(config.notes) == 1
    assert f"{etc}/bpf.d/kimglock.yaml.bak" in config.notes[0]


def test_an_allow_list_without_effect_is_noted(etc: Path) -> None:
    assert _load(etc, kimglock_profile="baseline", kimglock_allow="perf").notes == ()
    (note,) = _load(etc, kimglock_profile="restricted", kimglock_allow="perf").notes
    assert "kimglock-allow" in note
    assert "restricted" in note


def test_other_places(etc: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("exec-snoop: all\n")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "p.yml").write_text(_HEAD + _program("kimglock", "--profile=restricted"))
    (etc / "bpflock.yaml").write_text("exec-snoop: filter\n")
    config = _load(etc, {"BPFLOCK_CONFIG": str(tmp_path / "my.yaml")}, bpf_config_dir=str(tmp_path / "programs"))
    assert config.locks["execsnoop"].settings.profile is Profile.ALL
    assert config.locks["kimglock"].settings.profile is Profile.RESTRICTED


def test_it_loads_again_with_the_same_command_line(etc: Path) -> None:
    first = _load(etc, kimglock_profile="baseline")
    (etc / "bpflock.yaml").write_text("exec-snoop: all\nkimglock-profile: restricted\n")
    again = load(first.flags, {})
    assert again.locks["execsnoop"].settings.profile is Profile.ALL
    assert again.locks["kimglock"].settings.profile is Profile.BASELINE


def test_names_of_options() -> None:
    assert OPTIONS["kimglock-profile"].variable == "BPFLOCK_KIMGLOCK_PROFILE"
    assert OPTIONS["exec-snoop"].variable == "BPFLOCK_EXEC_SNOOP"
    assert OPTIONS["exec-snoop"].lock is LOCKS["execsnoop"]
    assert OPTIONS["remove-bpf-programs"].kind is Kind.SWITCH
    for option in OPTIONS.values():
        if option.reach is Reach.EVERYWHERE and option.default:
            option.check(option.default)


def test_a_level_sets_every_lock_and_says_so(etc: Path) -> None:
    (etc / "bpflock.d" / "level").write_text("restricted\n")
    config = _load(etc)
    origin = f"level restricted ({etc}/bpflock.d/level)"
    for name, lock in config.locks.items():
        assert lock.settings == LOCKS[name].levels[Level.RESTRICTED]
        assert lock.origins["profile"] == origin
        # A level says nothing of a lock that it does not load.
        assert lock.configured is (name != "rootfslock")
    assert config.locks["bpfrestrict"].origins["block"] == origin
    assert config.locks["kimglock"].origins["block"] == "default"
    assert config.notes == ()


def test_a_lock_with_a_profile_of_its_own_is_out_of_the_level(etc: Path) -> None:
    """Also one in a source that comes after that of the level."""
    (etc / "bpf.d" / "bpfrestrict.yaml").write_text(_HEAD + _program("bpfrestrict", "--profile=allow"))
    config = _load(etc, level="restricted")
    assert config.locks["bpfrestrict"].settings == Settings(Profile.ALLOW)
    assert config.locks["kimglock"].settings.profile is Profile.RESTRICTED


def test_lists_of_its_own_change_a_level(etc: Path) -> None:
    config = _load(etc, {"BPFLOCK_LEVEL": "Baseline"}, kimglock_allow="debugfs", kmodlock_block="load_module")
    assert config.locks["kimglock"].settings == Settings(Profile.BASELINE, allow=("debugfs",))
    assert config.locks["kmodlock"].settings == Settings(Profile.BASELINE, block=("load_module",))
    assert config.locks["kmodlock"].origins == {
        "profile": "level baseline (environment BPFLOCK_LEVEL)",
        "block": "command line",
        "allow": "default",
        "allow-session": "default",
    }


def test_what_a_level_blocks_and_a_list_allows_is_an_error_that_names_both(etc: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _load(etc, level="restricted", bpfrestrict_allow="bpf_write")
    assert caught.value.message == (
        "bpfrestrict: bpf_write is in both the block and the allow list "
        "(bpfrestrict-block: level restricted (command line), bpfrestrict-allow: command line)"
    )


@pytest.mark.parametrize("name", ["rootfslock-block", "rootfslock-except"])
def test_a_lock_that_is_not_loaded_by_default_is_if_anything_of_it_is_set(etc: Path, name: str) -> None:
    assert _load(etc).locks["rootfslock"].settings.profile is Profile.NONE
    (etc / "bpflock.d" / name).write_text(_VALUES[name])
    assert _load(etc).locks["rootfslock"].settings.profile is Profile.ALLOW
    (etc / "bpflock.yaml").write_text("level: restricted\n")
    assert _load(etc).locks["rootfslock"].settings.profile is Profile.ALLOW
    (etc / "bpflock.yaml").write_text("rootfslock-profile: none\n")
    assert _load(etc).locks["rootfslock"].settings.profile is Profile.NONE
