# SPDX-License-Identifier: Apache-2.0
"""Configurations that are wrong, and what the user must be told of each. Data only: other tests run them, too."""

import enum
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DIR = re.compile(r"\bDIR\b")


class Special(enum.Enum):
    """Something else in the place of a file."""

    DIRECTORY = enum.auto()
    FIFO = enum.auto()
    SOCKET = enum.auto()
    DANGLING = enum.auto()
    LOOP = enum.auto()


@dataclass(frozen=True)
class Bad:
    """A bad configuration.

    `files` are below the configuration directory. All of `expected` is in the error and its hint, with DIR for the
    configuration directory; `argv` and `env` may use DIR, too. `as_nobody`: it is bad only for a user other than
    root; `as_root`: only for root.
    """

    name: str
    expected: tuple[str, ...]
    files: Mapping[str, str | bytes | Special] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    status: int = 2
    as_nobody: bool = False
    as_root: bool = False

    def lay_out(self, directory: Path) -> None:
        """Create the files."""
        for name, content in self.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            match content:
                case Special.DIRECTORY:
                    path.mkdir()
                case Special.FIFO:
                    os.mkfifo(path)
                case Special.SOCKET:
                    with socket.socket(socket.AF_UNIX) as listener:
                        listener.bind(str(path))
                case Special.DANGLING:
                    path.symlink_to("nowhere")
                case Special.LOOP:
                    path.symlink_to(path.name)
                case bytes():
                    path.write_bytes(content)
                case str():
                    path.write_text(content)
        for name, mode in self.modes.items():
            (directory / name).chmod(mode)

    def arguments(self, directory: Path) -> list[str]:
        """The options for the command line."""
        argv = [_DIR.sub(str(directory), arg) for arg in self.argv]
        return argv if any(arg.startswith("--config-dir") for arg in argv) else [f"--config-dir={directory}", *argv]

    def environment(self, directory: Path) -> dict[str, str]:
        """The variables to set."""
        return {name: _DIR.sub(str(directory), value) for name, value in self.env.items()}

    def fragments(self, directory: Path) -> list[str]:
        """What the error and its hint say."""
        return [_DIR.sub(str(directory), fragment) for fragment in self.expected]


_MAIN = "bpflock.yaml"
_PROGRAMS = "bpf.d/programs.yaml"
_HEAD = 'bpfmetaver: "v1"\nkind: bpf\n'


def _main(name: str, text: str | bytes | Special, *expected: str) -> Bad:
    """A bad bpflock.yaml."""
    return Bad(name, expected, {_MAIN: text})


def _programs(name: str, programs: str, *expected: str) -> Bad:
    """A bad list of programs, which begins at line 5 of a file in bpf.d."""
    return Bad(name, expected, {_PROGRAMS: f"{_HEAD}bpfspec:\n  programs:\n{programs}"})


def _file(name: str, option: str, text: str | bytes | Special, *expected: str) -> Bad:
    """A bad file in bpflock.d."""
    return Bad(name, expected, {f"bpflock.d/{option}": text})


def _bomb() -> str:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "l0: &l0 [lol]\n" + "\n".join(levels) + "\n"


CASES: tuple[Bad, ...] = (
    # bpflock.yaml: keys
    _main("unknown key", "debug: yes\nkernel: locked\n", "DIR/bpflock.yaml:2:1: there is no option 'kernel'"),
    _main(
        "misspelt key",
        "kimglock-profle: baseline\n",
        "DIR/bpflock.yaml:1:1: there is no option 'kimglock-profle'",
        "did you mean 'kimglock-profile'?",
    ),
    _main(
        "unknown lock",
        "debug: no\n\nkimlock-profile: baseline\n",
        "DIR/bpflock.yaml:3:1: there is no option 'kimlock-profile'",
        "did you mean 'kimglock-profile'?",
    ),
    _main(
        "duplicate key",
        "debug: yes\nexec-snoop: all\ndebug: no\n",
        "DIR/bpflock.yaml:3:1: the key 'debug' was given before, in line 1",
    ),
    _main(
        "the same key with - and _",
        "exec-snoop: all\nexec_snoop: none\n",
        "DIR/bpflock.yaml:2:1: exec-snoop is also set in DIR/bpflock.yaml:1",
    ),
    _main("merge key", "<<: {debug: yes}\n", "DIR/bpflock.yaml:1:1:"),
    _main("key that is a list", "? [debug]\n: yes\n", "DIR/bpflock.yaml:1:3: expected a key, not a list"),
    _main("key that is nothing", "debug: yes\n~: x\n", "DIR/bpflock.yaml:2:1: has no value, expected a key"),
    _main(
        "option that no file may set",
        "config-dir: /etc\n",
        "DIR/bpflock.yaml:1:1: config-dir cannot be set in a file",
        "use --config-dir or BPFLOCK_CONFIG_DIR",
    ),
    # bpflock.yaml: values
    _main(
        "unknown profile",
        "kimglock-profile: strict\n",
        "DIR/bpflock.yaml:1:19: kimglock-profile: kimglock has no profile 'strict'",
        "did you mean 'restricted'?",
    ),
    _main(
        "misspelt profile",
        "debug: no\nkmodlock-profile: basline\n",
        "DIR/bpflock.yaml:2:19: kmodlock-profile: kmodlock has no profile 'basline'",
        "did you mean 'baseline'?",
    ),
    _main(
        "profile of a tracer for a lock",
        "kimglock-profile: filter\n",
        "DIR/bpflock.yaml:1:19: kimglock-profile: kimglock has no profile 'filter'",
    ),
    _main(
        "profile of a lock for a tracer",
        "exec-snoop: baseline\n",
        "DIR/bpflock.yaml:1:13: exec-snoop: execsnoop has no profile 'baseline'",
        "valid: none, all, filter",
    ),
    _main("empty profile", 'kimglock-profile: ""\n', "DIR/bpflock.yaml:1:19: kimglock-profile:", "has no profile ''"),
    _main(
        "profile without a value",
        "kimglock-profile:\n",
        "DIR/bpflock.yaml:1:18: kimglock-profile: has no value, expected one of allow, none, privileged, baseline",
    ),
    _main(
        "profile that is a list",
        "kimglock-profile: [baseline]\n",
        "DIR/bpflock.yaml:1:19: kimglock-profile: expected one of allow,",
        "not a list",
    ),
    _main(
        "profile that is a mapping",
        "kimglock-profile:\n  host: baseline\n",
        "DIR/bpflock.yaml:2:3: kimglock-profile: expected one of allow,",
        "not a mapping",
    ),
    _main(
        "options nested below their lock",
        "kimglock:\n  profile: baseline\n",
        "DIR/bpflock.yaml:1:1: there is no option 'kimglock'",
        "did you mean 'kimglock-block'?",
    ),
    _main(
        "unknown operation",
        "kimglock-block: dev_mem,dev_kmen\n",
        "DIR/bpflock.yaml:1:17: kimglock-block: kimglock has no operation 'dev_kmen'",
        "did you mean 'dev_mem'?",
    ),
    _main(
        "unknown operation in a YAML list",
        "kimglock-block:\n  - dev_mem\n  - kexecc\n",
        "DIR/bpflock.yaml:3:5: kimglock-block[1]: kimglock has no operation 'kexecc'",
        "did you mean 'kexec'?",
    ),
    _main(
        "operation of another lock",
        "kmodlock-block: dev_mem\n",
        "DIR/bpflock.yaml:1:17: kmodlock-block: kmodlock has no operation 'dev_mem'",
    ),
    _main(
        "unknown group",
        'kimglock-allow: "@memry"\n',
        "DIR/bpflock.yaml:1:17: kimglock-allow: kimglock has no operation group '@memry'",
        "did you mean '@memory'?",
    ),
    _main(
        "group of another lock",
        'filelesslock-block: ["@bpf"]\n',
        "DIR/bpflock.yaml:1:22: filelesslock-block[0]: filelesslock has no operation group '@bpf'",
    ),
    _main(
        "operations that are a mapping",
        "kimglock-block: {dev_mem: yes}\n",
        "DIR/bpflock.yaml:1:17: kimglock-block: expected operations, separated by commas, not a mapping",
    ),
    _main(
        "operations in a list in a list",
        "kimglock-block: [[dev_mem]]\n",
        "DIR/bpflock.yaml:1:18: kimglock-block[0]: expected operations",
    ),
    _main(
        "operation in both lists",
        "kimglock-block: kexec,msr\nkimglock-allow: msr\n",
        "kimglock: msr is in both the block and the allow list",
        "kimglock-block: DIR/bpflock.yaml:1, kimglock-allow: DIR/bpflock.yaml:2",
    ),
    _main(
        "sessions that nobody is in",
        "kimglock-allow-session: remote:kexec\n",
        "DIR/bpflock.yaml:1:25: kimglock-allow-session: 'remote' says not which sessions: expected active or local",
    ),
    _main(
        "operation granted to sessions and blocked",
        "kimglock-block: kexec,msr\nkimglock-allow-session: active:msr\n",
        "kimglock: msr is blocked for everyone, and granted to sessions",
        "kimglock-block: DIR/bpflock.yaml:1, kimglock-allow-session: DIR/bpflock.yaml:2",
    ),
    _main(
        "sessions that may plug in devices",
        "usblock-allow-session: active\n",
        "DIR/bpflock.yaml:1:1: there is no option 'usblock-allow-session'",
    ),
    _main(
        "operation and its group in both lists",
        'kmodlock-block: "@modules"\nkmodlock-allow: load_module\n',
        "kmodlock: load_module is in both the block and the allow list",
        "DIR/bpflock.yaml:1",
    ),
    _main(
        "operation and its alias in both lists",
        "kimglock-block: bpf_write\nkimglock-allow: bpf_write_user\n",
        "kimglock: bpf_write is in both the block and the allow list",
    ),
    _main(
        "bad switch", "debug: maybe\n", "DIR/bpflock.yaml:1:8: debug: 'maybe' is neither yes nor no", "valid: true, yes"
    ),
    _main(
        "switch that is a number",
        "remove-bpf-programs: 2\n",
        "DIR/bpflock.yaml:1:22: remove-bpf-programs: '2' is neither yes nor no",
    ),
    _main("switch that is a list", "debug: [yes]\n", "DIR/bpflock.yaml:1:8: debug: expected yes or no, not a list"),
    _main(
        "size that is no number",
        "event-buffer: big\n",
        "DIR/bpflock.yaml:1:15: event-buffer: 'big' is not a size in bytes",
        "for example: 512K",
    ),
    _main(
        "size that is no power of two",
        "event-buffer: 1000000\n",
        "DIR/bpflock.yaml:1:15: event-buffer: '1000000' is not a power of two",
        "524288 and 1048576",
    ),
    _main("size too small", "event-buffer: 4K\n", "event-buffer: '4K' is out of range", "64K to 256M"),
    _main("size too large", "event-buffer: 4096M\n", "event-buffer: '4096M' is out of range"),
    _main("size below zero", "event-buffer: -1M\n", "event-buffer: '-1M' is not a size"),
    _main("size with many digits", f"event-buffer: {'9' * 5000}\n", "DIR/bpflock.yaml:1:15: event-buffer: '9999"),
    _main("size of an unknown unit", "event-buffer: 1G\n", "event-buffer: '1G' is not a size in bytes"),
    _main(
        "unknown log format",
        "log-format: jsn\n",
        "DIR/bpflock.yaml:1:13: log-format: there is no log format 'jsn'",
        "did you mean 'json'?",
    ),
    _main(
        "relative directory",
        "state-dir: var/lib\n",
        "DIR/bpflock.yaml:1:12: state-dir: 'var/lib' is not an absolute path",
    ),
    _main("list for an option without effect", "gops-port: [1]\n", "DIR/bpflock.yaml:1:12: gops-port: expected text"),
    # bpflock.yaml: YAML
    _main("list instead of keys", "- debug\n- yes\n", "DIR/bpflock.yaml:1:1: expected keys with values, not a list"),
    _main("word instead of keys", "baseline\n", "DIR/bpflock.yaml:1:1: expected keys with values, not 'baseline'"),
    _main("unclosed list", "kimglock-block: [dev_mem\ndebug: no\n", "DIR/bpflock.yaml:2:", "broken YAML:"),
    _main("unclosed quote", 'exec-snoop: "all\n', "DIR/bpflock.yaml:2:1: broken YAML:"),
    _main("tab", "kimglock-block:\n\t- dev_mem\n", "DIR/bpflock.yaml:2:1: broken YAML:", "spaces, not with tabs"),
    _main("colon in a value", "exec-snoop: all: yes\n", "DIR/bpflock.yaml:1:16: broken YAML:"),
    _main("group without quotes", "kimglock-block: @memory\n", "DIR/bpflock.yaml:1:17: broken YAML:", "quote a word"),
    _main(
        "two documents", "debug: yes\n---\ndebug: no\n", "DIR/bpflock.yaml:2:1: broken YAML:", "take out the line '---'"
    ),
    _main(
        "object tag", "debug: !!python/object:os.system {}\n", "DIR/bpflock.yaml:1:8: the tag 'tag:yaml.org,2002:python"
    ),
    _main(
        "call tag",
        'debug: !!python/object/apply:os.system ["touch /tmp/owned"]\n',
        "DIR/bpflock.yaml:1:8: the tag",
        "is not accepted",
    ),
    _main("own tag", "exec-snoop: !secret all\n", "DIR/bpflock.yaml:1:13: the tag '!secret' is not accepted"),
    _main("alias bomb", _bomb(), "DIR/bpflock.yaml:2:10: aliases ('*name') are not accepted"),
    _main("recursive alias", "debug: &a [*a]\n", "DIR/bpflock.yaml:1:12: aliases"),
    _main("deep nesting", "debug: " + "[" * 20000 + "\n", "DIR/bpflock.yaml:1:", "nested too deeply"),
    _main(
        "control character",
        "debug: yes\nexec-snoop: \x01all\n",
        "DIR/bpflock.yaml:2: has a character that YAML forbids (0x01)",
    ),
    # bpflock.yaml: the file
    _main("not UTF-8", b"debug: yes\nexec-snoop: \xff\xfe\n", "DIR/bpflock.yaml:2: is not UTF-8 text (byte 0xff)"),
    _main("UTF-16", "debug: yes\n".encode("utf-16"), "DIR/bpflock.yaml:1: is not UTF-8 text"),
    _main("binary", bytes(range(256)), "DIR/bpflock.yaml:2: is not UTF-8 text (byte 0x80)"),
    _main("huge", "# comment\n" * 100_000, "DIR/bpflock.yaml: is larger than 64 KiB"),
    _main("directory in its place", Special.DIRECTORY, "DIR/bpflock.yaml: is a directory, expected a file"),
    _main("pipe in its place", Special.FIFO, "DIR/bpflock.yaml: is a named pipe, expected a file"),
    _main("socket in its place", Special.SOCKET, "DIR/bpflock.yaml: is a socket, expected a file"),
    _main("link to nothing", Special.DANGLING, "DIR/bpflock.yaml: is a link to nothing"),
    _main("link to itself", Special.LOOP, "DIR/bpflock.yaml: cannot be read:"),
    Bad(
        "writable by anyone",
        ("DIR/bpflock.yaml: anyone may write to it, so it is not trusted", "chmod o-w DIR/bpflock.yaml"),
        {_MAIN: "debug: yes\n"},
        modes={_MAIN: 0o666},
        as_root=True,
    ),
    Bad(
        "unreadable",
        ("DIR/bpflock.yaml: no permission to read it", "run it as root"),
        {_MAIN: "debug: yes\n"},
        modes={_MAIN: 0o000},
        status=4,
        as_nobody=True,
    ),
    # bpflock.d
    _file(
        "unknown option",
        "kimglock-profil",
        "baseline",
        "DIR/bpflock.d/kimglock-profil: there is no option 'kimglock-profil'",
        "did you mean 'kimglock-profile'?",
    ),
    _file("copy of an editor", "kimglock-profile~", "baseline", "DIR/bpflock.d/kimglock-profile~: there is no option"),
    _file(
        "unknown profile in a file",
        "kimglock-profile",
        "lax\n",
        "DIR/bpflock.d/kimglock-profile: kimglock has no profile 'lax'",
    ),
    _file(
        "unknown operation in a file",
        "kmodlock_block",
        "load_modul\n",
        "DIR/bpflock.d/kmodlock_block: kmodlock has no operation 'load_modul'",
        "did you mean 'load_module'?",
    ),
    _file("bad switch in a file", "debug", "ja", "DIR/bpflock.d/debug: 'ja' is neither yes nor no"),
    _file(
        "two lines in a file",
        "exec-snoop",
        "all\nnone\n",
        "DIR/bpflock.d/exec-snoop: execsnoop has no profile 'all\\nnone'",
    ),
    _file(
        "terminal escapes in a file",
        "exec-snoop",
        "\x1b[2Jall",
        "DIR/bpflock.d/exec-snoop: execsnoop has no profile '\\x1b[2Jall'",
    ),
    _file(
        "file that is not UTF-8", "exec-snoop", b"\xe4ll", "DIR/bpflock.d/exec-snoop:1: is not UTF-8 text (byte 0xe4)"
    ),
    _file("directory for an option", "exec-snoop", Special.DIRECTORY, "DIR/bpflock.d/exec-snoop: is a directory"),
    _file("pipe for an option", "exec-snoop", Special.FIFO, "DIR/bpflock.d/exec-snoop: is a named pipe"),
    _file(
        "link to nothing for an option",
        "exec-snoop",
        Special.DANGLING,
        "DIR/bpflock.d/exec-snoop: is a link to nothing",
    ),
    _file("huge value", "exec-snoop", "x" * 60_000, "DIR/bpflock.d/exec-snoop: execsnoop has no profile 'xxx"),
    _file("config-dir in a file", "config-dir", "/etc", "DIR/bpflock.d/config-dir: config-dir cannot be set in a file"),
    Bad(
        "the same option in two files",
        ("DIR/bpflock.d/exec_snoop: exec-snoop is also set by DIR/bpflock.d/exec-snoop",),
        {"bpflock.d/exec-snoop": "all", "bpflock.d/exec_snoop": "none"},
    ),
    Bad(
        "bpflock.d that is a file",
        ("DIR/bpflock.d: is not a directory",),
        {"bpflock.d": "kimglock-profile=baseline\n"},
    ),
    Bad(
        "bpflock.d to which anyone may add",
        ("DIR/bpflock.d: anyone may write to it",),
        {"bpflock.d/debug": "yes"},
        modes={"bpflock.d": 0o777},
        as_root=True,
    ),
    Bad(
        "unreadable bpflock.d",
        ("DIR/bpflock.d: no permission to read it",),
        {"bpflock.d/debug": "yes"},
        modes={"bpflock.d": 0o000},
        status=4,
        as_nobody=True,
    ),
    # bpf.d
    Bad(
        "bpf.d: no kind",
        ("DIR/bpf.d/programs.yaml:1:1: the key 'kind' is missing", "add the line: kind: bpf"),
        {_PROGRAMS: "bpfmetaver: v1\nbpfspec: {programs: []}\n"},
    ),
    Bad(
        "bpf.d: wrong kind",
        ("DIR/bpf.d/programs.yaml:2:7: kind: expected 'bpf', not 'Pod'",),
        {_PROGRAMS: "bpfmetaver: v1\nkind: Pod\n"},
    ),
    Bad(
        "bpf.d: no version",
        ("DIR/bpf.d/programs.yaml:1:1: the key 'bpfmetaver' is missing",),
        {_PROGRAMS: "kind: bpf\n"},
    ),
    Bad(
        "bpf.d: wrong version",
        ("DIR/bpf.d/programs.yaml:1:13: bpfmetaver: expected 'v1', not 'v2'",),
        {_PROGRAMS: 'bpfmetaver: "v2"\nkind: bpf\n'},
    ),
    Bad(
        "bpf.d: unknown key",
        ("DIR/bpf.d/programs.yaml:3:1: unknown key 'spec'", "did you mean 'bpfspec'?"),
        {_PROGRAMS: f"{_HEAD}spec: {{}}\n"},
    ),
    Bad("bpf.d: no bpfspec", ("DIR/bpf.d/programs.yaml:1:1: the key 'bpfspec' is missing",), {_PROGRAMS: _HEAD}),
    Bad(
        "bpf.d: no programs",
        ("DIR/bpf.d/programs.yaml:3:10: bpfspec: the key 'programs' is missing",),
        {_PROGRAMS: f"{_HEAD}bpfspec: {{}}\n"},
    ),
    Bad(
        "bpf.d: programs without a value",
        ("DIR/bpf.d/programs.yaml:4:12: bpfspec.programs: expected a list of programs, not nothing",),
        {_PROGRAMS: f"{_HEAD}bpfspec:\n  programs:\n"},
    ),
    Bad(
        "bpf.d: bpfmetadata is a list",
        ("DIR/bpf.d/programs.yaml:3:14: bpfmetadata: expected keys",),
        {_PROGRAMS: f"{_HEAD}bpfmetadata: []\n"},
    ),
    _programs(
        "bpf.d: program that is a word",
        "    - kimglock\n",
        "DIR/bpf.d/programs.yaml:5:7: bpfspec.programs[0]: expected keys with values, not 'kimglock'",
    ),
    _programs(
        "bpf.d: no name",
        "    - command: kimglock\n",
        "DIR/bpf.d/programs.yaml:5:7: bpfspec.programs[0]: the key 'name' is missing",
        "kimglock",
    ),
    _programs(
        "bpf.d: unknown lock",
        "    - name: kimlock\n      args: []\n",
        "DIR/bpf.d/programs.yaml:5:13: bpfspec.programs[0].name: there is no lock 'kimlock'",
        "did you mean 'kimglock'?",
    ),
    _programs(
        "bpf.d: unknown key of a program",
        "    - name: kimglock\n      arg: [--profile=baseline]\n",
        "DIR/bpf.d/programs.yaml:6:7: bpfspec.programs[0]: unknown key 'arg'",
        "did you mean 'args'?",
    ),
    _programs(
        "bpf.d: another command",
        "    - name: kimglock\n      command: kmodlock\n      args: []\n",
        "DIR/bpf.d/programs.yaml:6:16: bpfspec.programs[0].command: expected 'kimglock' as in name, not 'kmodlock'",
    ),
    _programs(
        "bpf.d: no args",
        "    - name: kimglock\n",
        "DIR/bpf.d/programs.yaml:5:7: bpfspec.programs[0]: the key 'args' of kimglock is missing",
        "--profile=baseline",
    ),
    _programs(
        "bpf.d: args are text",
        "    - name: kimglock\n      args: --profile=baseline\n",
        "DIR/bpf.d/programs.yaml:6:13: bpfspec.programs[0].args: expected a list such as [--profile=baseline]",
    ),
    _programs(
        "bpf.d: argument that is a mapping",
        "    - name: kimglock\n      args:\n        - profile: baseline\n",
        "DIR/bpf.d/programs.yaml:7:11: bpfspec.programs[0].args[0]: expected text such as --profile=baseline",
    ),
    _programs(
        "bpf.d: unknown argument",
        "    - name: kimglock\n      args:\n        - --profil=baseline\n",
        "DIR/bpf.d/programs.yaml:7:11: bpfspec.programs[0].args[0]: kimglock takes no argument '--profil'",
        "did you mean '--profile'?",
    ),
    _programs(
        "bpf.d: argument of a tracer for a lock",
        "    - name: kimglock\n      args: [--exec-snoop=all]\n",
        "kimglock takes no argument '--exec-snoop'",
    ),
    _programs(
        "bpf.d: argument without a value",
        "    - name: kimglock\n      args: [--profile, baseline]\n",
        "DIR/bpf.d/programs.yaml:6:14: bpfspec.programs[0].args[0]: --profile has no value",
        "--profile=VALUE",
    ),
    _programs(
        "bpf.d: unknown profile",
        "    - name: kimglock\n      args:\n        - --profile=basline\n",
        "DIR/bpf.d/programs.yaml:7:11: bpfspec.programs[0].args[0]: kimglock has no profile 'basline'",
        "did you mean 'baseline'?",
    ),
    _programs(
        "bpf.d: unknown operation",
        "    - name: filelesslock\n      args: [--profile=allow, '--block=memfd,shmm']\n",
        "DIR/bpf.d/programs.yaml:6:31: bpfspec.programs[0].args[1]: filelesslock has no operation 'shmm'",
    ),
    _programs(
        "bpf.d: argument twice",
        "    - name: kimglock\n      args:\n        - --profile=allow\n        - --profile=baseline\n",
        "DIR/bpf.d/programs.yaml:8:11: bpfspec.programs[0].args[1]: --profile was given before",
        "in DIR/bpf.d/programs.yaml:7",
    ),
    _programs(
        "bpf.d: lock twice",
        "    - name: kimglock\n      args: [--profile=allow]\n    - name: kimglock\n      args: [--profile=baseline]\n",
        "DIR/bpf.d/programs.yaml:7:7: bpfspec.programs[1]: kimglock is configured twice",
        "before in DIR/bpf.d/programs.yaml:5",
    ),
    Bad(
        "bpf.d: lock in two files",
        ("DIR/bpf.d/b.yml:5:7: bpfspec.programs[0]: kmodlock is configured twice, before in DIR/bpf.d/a.yaml:5",),
        {
            f"bpf.d/{name}": f"{_HEAD}bpfspec:\n  programs:\n    - name: kmodlock\n      args: [--profile=allow]\n"
            for name in ("a.yaml", "b.yml")
        },
    ),
    Bad(
        "bpf.d: broken YAML",
        ("DIR/bpf.d/programs.yaml:2:1: broken YAML: found unexpected end",),
        {_PROGRAMS: "bpfmetaver: 'v1\n"},
    ),
    Bad(
        "bpf.d: directory in place of a file",
        ("DIR/bpf.d/programs.yaml: is a directory",),
        {_PROGRAMS: Special.DIRECTORY},
    ),
    Bad(
        "bpf.d: writable by anyone",
        ("DIR/bpf.d/programs.yaml: anyone may write to it",),
        {_PROGRAMS: _HEAD},
        modes={_PROGRAMS: 0o602},
        as_root=True,
    ),
    # environment
    Bad(
        "environment: misspelt",
        ("environment BPFLOCK_KIMGLOCK_PROFIL: there is no such option", "did you mean 'BPFLOCK_KIMGLOCK_PROFILE'?"),
        env={"BPFLOCK_KIMGLOCK_PROFIL": "baseline"},
    ),
    Bad(
        "environment: unknown lock",
        ("environment BPFLOCK_KIMLOCK_BLOCK: there is no such option",),
        env={"BPFLOCK_KIMLOCK_BLOCK": "kexec"},
    ),
    Bad(
        "environment: unknown profile",
        ("environment BPFLOCK_KMODLOCK_PROFILE: kmodlock has no profile 'strict'",),
        env={"BPFLOCK_KMODLOCK_PROFILE": "strict"},
    ),
    Bad(
        "environment: unknown operation",
        ("environment BPFLOCK_BPFRESTRICT_BLOCK: bpfrestrict has no operation 'progload'", "did you mean 'prog_load'?"),
        env={"BPFLOCK_BPFRESTRICT_BLOCK": "progload"},
    ),
    Bad(
        "environment: bad switch", ("environment BPFLOCK_DEBUG: '3' is neither yes nor no",), env={"BPFLOCK_DEBUG": "3"}
    ),
    Bad(
        "environment: bad, though the command line overrides it",
        ("environment BPFLOCK_EXEC_SNOOP: execsnoop has no profile 'some'",),
        env={"BPFLOCK_EXEC_SNOOP": "some"},
        argv=("--exec-snoop=all",),
    ),
    Bad(
        "environment: no such directory",
        ("environment BPFLOCK_BPF_CONFIG_DIR: DIR/programs: does not exist",),
        env={"BPFLOCK_BPF_CONFIG_DIR": "DIR/programs"},
    ),
    Bad(
        "operation in both lists, across sources",
        (
            "kimglock: perf is in both the block and the allow list",
            "kimglock-block: DIR/bpflock.yaml:2, kimglock-allow: environment BPFLOCK_KIMGLOCK_ALLOW",
        ),
        {_MAIN: "debug: no\nkimglock-block: perf\n"},
        env={"BPFLOCK_KIMGLOCK_ALLOW": "perf"},
    ),
    # what PyYAML itself does not expect
    Bad(
        "no such character",
        ("DIR/bpflock.yaml:1: broken YAML: Python int too large",),
        {_MAIN: 'kimglock-profile: "\\UFFFFFFFF"\n'},
    ),
    Bad("surrogate", ("DIR/bpflock.yaml:2: broken YAML: ",), {_MAIN: 'debug: no\nkimglock-profile: "\\UD8000000"\n'}),
    Bad(
        "version of many digits",
        ("DIR/bpflock.yaml:1: broken YAML: ",),
        {_MAIN: f"%YAML {'9' * 6000}.1\n---\n{{}}\n"},
    ),
    Bad("no such character in bpf.d", ("programs.yaml:",), {_PROGRAMS: f'{_HEAD}bpfspec: "\\UFFFFFFFF"\n'}),
    Bad("huge buffer", ("event-buffer: ",), {_MAIN: f"event-buffer: {'9' * 300}\n"}),
    # command line
    Bad(
        "command line: unknown profile",
        ("--kimglock-profile: kimglock has no profile 'basline'", "did you mean 'baseline'?"),
        argv=("--kimglock-profile=basline",),
    ),
    Bad(
        "command line: unknown operation",
        ("--kimglock-allow: kimglock has no operation 'debugf'",),
        argv=("--kimglock-allow", "debugf"),
    ),
    Bad(
        "command line: empty profile",
        ("--kimglock-profile: kimglock has no profile ''",),
        argv=("--kimglock-profile=",),
    ),
    Bad(
        "command line: given twice", ("--exec-snoop is given 2 times",), argv=("--exec-snoop=all", "--exec-snoop=none")
    ),
    Bad(
        "command line: misspelt",
        ("has no option '--exec-snop'", "did you mean '--exec-snoop'?"),
        argv=("--exec-snop=all",),
    ),
    Bad("command line: without a value", ("'--kimglock-block' requires an argument",), argv=("--kimglock-block",)),
    Bad(
        "command line: superfluous word",
        ("unexpected extra argument (baseline)",),
        argv=("--exec-snoop", "all", "baseline"),
    ),
    Bad("command line: bad size", ("--event-buffer: '3M' is not a power of two",), argv=("--event-buffer=3M",)),
    Bad(
        "command line: not UTF-8", ("--exec-snoop: execsnoop has no profile '\\udcff'",), argv=("--exec-snoop=\udcff",)
    ),
    Bad(
        "command line: no such configuration directory",
        ("--config-dir: DIR/none: does not exist",),
        argv=("--config-dir=DIR/none",),
    ),
    Bad(
        "command line: the configuration directory is a file",
        ("DIR/bpflock.yaml: is not a directory",),
        {_MAIN: ""},
        argv=("--config-dir=DIR/bpflock.yaml",),
    ),
    Bad(
        "command line: bpflock.d as the configuration directory",
        ("--config-dir: DIR/bpflock.d: name the directory above it", "--config-dir=DIR"),
        {"bpflock.d/debug": "yes"},
        argv=("--config-dir=DIR/bpflock.d",),
    ),
    Bad("command line: no such file", ("--config: DIR/none.yaml: does not exist",), argv=("--config=DIR/none.yaml",)),
    Bad(
        "operation in both lists, file and command line",
        (
            "kmodlock: load_module is in both the block and the allow list",
            "DIR/bpf.d/programs.yaml:6",
            "kmodlock-allow: command line",
        ),
        {_PROGRAMS: f"{_HEAD}bpfspec:\n  programs:\n    - name: kmodlock\n      args: [--block=load_module]\n"},
        argv=("--kmodlock-allow=load_module",),
    ),
)
