# SPDX-License-Identifier: Apache-2.0
"""Real services under the policies of examples/policy.d: what they do every day is denied nothing, and what takes one
over is denied everything else. It has the same executable's path, and so the same profile."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.render import logfmt
from bpflock.policy.bpfbox.load import load, parse
from bpflock.policy.model import PolicySet, Profile

from .conftest import ATTACK, Locks
from .running import wait
from .test_policy_objects import sleeping
from .tools import ROOT

HERE = Path("/tmp/policy-services")
FREE = HERE / "attack"  # has no profile
OUTPUT = HERE / "output"
MOUNT = HERE / "mount"
SECRET = Path("/root/secret")
EXAMPLES = [ROOT / "examples" / "policy.d" / f"{name}.bpfbox" for name in ("nginx", "backup", "report")]

NGINX = Path("/usr/sbin/nginx")
PID = Path("/run/nginx.pid")
LOGS = Path("/var/log/nginx")
SITE = Path("/etc/nginx/sites-available/default")
PAGES = Path("/var/www/html")
# As Debian's unit starts it.
START = (NGINX, "-g", "daemon on; master_process on;")


@dataclass(frozen=True)
class Stage:
    """What attacks are aimed at: somebody else's process and port, a module to load."""

    pid: int
    port: int
    module: Path


@dataclass(frozen=True)
class Service:
    """What attacks on a service need to know: `reads`: a directory that it may read; `files`: (access, path[, path],
    the access that is denied), of attack probe; `there`: files to be there before, `made`: what attacks make."""

    program: Path
    reads: Path
    files: tuple[tuple[str, ...], ...]
    there: tuple[Path, ...]
    made: tuple[Path, ...]
    tool: Path = field(default=Path("/nowhere"))  # a program that it may write

    def prepare(self) -> None:
        for path in self.made:
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
        for path in self.there:
            path.write_text("content")
            path.chmod(0o644)
        shutil.copy(FREE, self.tool)


_ETC = (
    ("read", "/etc/shadow", "read"),
    ("read", str(SECRET), "read"),
    ("append", "/etc/passwd", "append"),
    ("chmod", "/etc/passwd", "setattr"),
    ("create+write", "/etc/cron.d/attack", "create"),
    ("create+write", "/dev/shm/attack", "create"),
    ("mkdir", "/run/attack", "create"),
    ("read", "/proc/1/environ", "read"),
)
_MADE = (Path("/etc/cron.d/attack"), Path("/dev/shm/attack"), Path("/run/attack"))

WEB = Service(
    NGINX,
    PAGES,
    (
        *_ETC,
        ("create+write", f"{PAGES}/shell.php", "create"),
        ("write", f"{PAGES}/index.html", "write"),
        ("symlink", f"{PAGES}/link", "create"),
        ("link", f"{PAGES}/index.html", "/var/lib/nginx/link", "link"),
        ("rename", f"{PAGES}/index.html", "/var/lib/nginx/renamed", "rm"),
        ("truncate", f"{LOGS}/old.log", "write"),
        ("read", f"{LOGS}/old.log", "read"),
        ("unlink", f"{LOGS}/old.log", "rm"),
        ("map", "/var/lib/nginx/tool", "exec"),
        ("execute", "/var/lib/nginx/tool", "exec"),
        ("execute", "/usr/bin/dash", "exec"),  # the last one: it reads what is left of the input
    ),
    (PAGES / "index.html", LOGS / "old.log"),
    (*_MADE, PAGES / "shell.php", PAGES / "link", Path("/var/lib/nginx/link"), Path("/var/lib/nginx/renamed")),
    Path("/var/lib/nginx/tool"),
)

# Attacks with their arguments, and the accesses of which one must be told as denied.
ATTACKS = {
    "connect_stream 127.0.0.1 {port}": "create|connect",
    "send_to 127.0.0.1 {port}": "create|send",
    "make_socket 2 3 1": "create",
    "make_socket 17 3 768": "create",
    "make_socket 16 3 0": "create",
    "bind_to 127.0.0.1 4000": "create|bind",
    "by_kill {pid} 18": "sigcont",
    "by_pidfd {pid} 18": "sigcont",
    "attach {pid}": "attach|sys_ptrace",
    "vm_write {pid}": "attach|sys_ptrace",
    "get_fd {pid}": "attach|sys_ptrace",
    "open_proc {pid} mem": "read|attach|sys_ptrace",
    "mount_tmpfs {mount}": "mount|sys_admin",
    "new_mount": "mount|sys_admin",
    "change_root": "sys_chroot",
    "unshare_net": "namespace|sys_admin",
    "unshare_user": "namespace",
    "clone3_uts": "namespace|sys_admin",
    "map_create": "bpf",
    "prog_load": "bpf",
    "insmod_file {module}": "sys_module",
    "fault_handler": "userfaultfd",
    "ring": "io_uring",
    "perf_dummy": "perf|sys_admin",
    "keep_key": "keyring",
    "new_segment": "ipc",
    "memfd_exec": "exec",
    "memfd_mmap": "exec|anon_exec",
    "anon_map": "anon_exec",
    "anon_mprotect": "anon_exec",
    "heap_exec": "anon_exec",
    "stack_exec": "anon_exec",
}


@dataclass(frozen=True)
class Told:
    access: str
    line: str


def told(locks: Locks) -> list[Told]:
    """All that the engine told since the last call."""
    return [Told(event.operation, logfmt(event)) for event in locks.events() if event.bpfprog == "policy"]


@contextlib.contextmanager
def nothing_denied(locks: Locks) -> Iterator[None]:
    """Fails if the engine tells anything."""
    locks.events()
    yield
    lines = [one.line for one in told(locks)]
    assert lines == [], "\n".join(lines)


def _report() -> tuple[Profile, ...]:
    """The Python that the tests run with need not be the system's: then its modules lie elsewhere, and it may read
    certificates when it starts."""
    text = EXAMPLES[-1].read_text()
    if sys.base_prefix not in ("/usr", "/usr/local"):
        text += f'fs("{sys.base_prefix}{{,/**}}", read) fs("{sys.base_prefix}/**.so{{,.*}}", exec)\n'
        text += 'fs("/etc/ssl/certs/**", read)\n'
    return parse(text, EXAMPLES[-1].name)


@pytest.fixture(scope="module")
def stage(all_locks: Locks, kept_engine: Engine, modules: Path) -> Iterator[Stage]:
    shutil.rmtree(HERE, ignore_errors=True)
    MOUNT.mkdir(parents=True)
    shutil.copy(ATTACK, FREE)
    SECRET.write_text("secret")
    Path("/etc/cron.d").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        pid = stack.enter_context(sleeping(FREE))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        kept_engine.load(PolicySet((*load(EXAMPLES[:-1]).profiles, *_report())))
        stack.callback(kept_engine.load, PolicySet())
        yield Stage(pid, server.getsockname()[1], modules / "signed.ko")


def _probe(program: Path, service: Service) -> list[int]:
    """The error numbers of all accesses to files."""
    service.prepare()
    rows = [[row[0], *(os.fsencode(path).hex() for path in row[1:-1])] for row in service.files]
    text = "".join(" ".join(words) + "\n" for words in rows)
    ended = subprocess.run([program, "probe"], input=text, capture_output=True, text=True, check=False, timeout=60)
    # What is executed may say something, too.
    return [int(line) for line in ended.stdout.splitlines() if line.isdecimal()]


def attack_files(service: Service, program: Path, locks: Locks) -> None:
    """Each access works for a program without a profile, and none for one with the service's."""
    worked = _probe(FREE, service)
    assert worked == [0] * len(service.files), list(zip(worked, service.files, strict=False))
    locks.events()
    denied = _probe(program, service)
    events = told(locks)
    shown = "\n".join(one.line for one in events)
    assert denied == [1] * len(service.files), (list(zip(denied, service.files, strict=False)), shown)
    for row in service.files:
        name = row[1] if row[0] != "read" or not row[1].startswith("/proc") else ""
        assert any(one.access == row[-1] and (not name or f"={name}" in one.line) for one in events), (row, shown)


def attack_all(service: Service, program: Path, stage: Stage, locks: Locks) -> None:
    module = service.reads / "signed.ko"
    shutil.copy(stage.module, module)
    values = {"pid": stage.pid, "port": stage.port, "mount": MOUNT, "module": module}
    wrong = []
    for text, accesses in ATTACKS.items():
        name, _, argument = text.format(**values).partition(" ")
        command = [name, argument] if argument else [name]
        free = subprocess.run([FREE, *command], capture_output=True, text=True, check=False, timeout=60)
        if name == "mount_tmpfs":
            subprocess.run(["umount", MOUNT], check=True)
        locks.events()
        confined = subprocess.run([program, *command], capture_output=True, text=True, check=False, timeout=60)
        events = told(locks)
        if (free.returncode, confined.returncode) != (0, 1) or not (
            {one.access for one in events} & set(accesses.split("|"))
        ):
            wrong.append("\n  ".join([text, free.stdout, confined.stdout, *(one.line for one in events)]))
    assert wrong == [], "\n".join(wrong)


def fetch(path: str, port: int = 80) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def run(*command: str | Path, locks: Locks | None = None) -> None:
    """What may leave a service behind, which has no pipe of ours then."""
    with OUTPUT.open("wb") as output:
        ended = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False, timeout=60)
    assert ended.returncode == 0, (command, OUTPUT.read_text(), told(locks) if locks else "")


def until(condition: Callable[[], bool]) -> None:
    wait(condition, lambda: f"never so: {condition}")


@contextlib.contextmanager
def in_place_of(program: Path) -> Iterator[Path]:
    """The attacks where the program was, which lies on a file system that cannot be written."""
    subprocess.run(["mount", "--bind", FREE, program], check=True)
    try:
        yield program
    finally:
        subprocess.run(["umount", program], check=True)


def number() -> str:
    """The number of nginx's process, if it has told it: its file is renamed and written anew while we look."""
    with contextlib.suppress(FileNotFoundError):
        return PID.read_text().strip()
    return ""


def test_nginx_works(stage: Stage, all_locks: Locks) -> None:
    """Start, pages, rotation of the log, reload, exchange of the program, end."""
    large = os.urandom(300_000)
    (PAGES / "index.html").write_text("a page")
    (PAGES / "large").write_bytes(large)
    with nothing_denied(all_locks):
        run(NGINX, "-t", "-q", *START[1:])
        run(*START)
        until(lambda: number() != "")
        assert fetch("/") == (200, b"a page")
        assert fetch("/large") == (200, large)
        assert fetch("/none")[0] == 404

        master = int(PID.read_text())
        log = LOGS / "access.log"
        log.rename(LOGS / "access.log.1")
        os.kill(master, signal.SIGUSR1)
        until(log.exists)
        until(lambda: fetch("/rotated")[0] == 404 and "/rotated" in log.read_text())

        text = SITE.read_text()
        SITE.write_text(text.replace("server_name _;", "server_name _;\n\tlocation /new { return 200 changed; }"))
        os.kill(master, signal.SIGHUP)
        until(lambda: fetch("/new") == (200, b"changed"))
        SITE.write_text(text)
        run(*START, "-s", "reload")
        until(lambda: fetch("/new")[0] == 404)

        # Another nginx takes over the sockets: an upgrade without a pause.
        os.kill(master, signal.SIGUSR2)
        until(lambda: number() not in ("", str(master)))
        os.kill(master, signal.SIGQUIT)
        until(lambda: not Path(f"/proc/{master}").exists())
        assert fetch("/") == (200, b"a page")
        os.kill(int(PID.read_text()), signal.SIGQUIT)
        until(lambda: not PID.exists())


def test_nginx_taken_over(stage: Stage, all_locks: Locks) -> None:
    with in_place_of(NGINX) as program:
        attack_files(WEB, program, all_locks)
        attack_all(WEB, program, stage, all_locks)


SCRIPT = Path("/usr/local/sbin/backup")
SHELL = Path("/usr/local/lib/backup/sh")
BACKUPS = Path("/var/backups/srv")
# `*` is what an attacker who may name files makes options of tar from.
_BACKUP = f"""#!/bin/sh
set -eu
cd /srv/site
list=$(mktemp /tmp/backup.XXXXXX)
trap 'rm -f "$list"' EXIT
mkdir -p {BACKUPS}
name=$(date +%Y%m%d-%H%M%S-%N).tar.gz
tar -czf {BACKUPS}/$name.part *
mv {BACKUPS}/$name.part {BACKUPS}/$name
ls -1t {BACKUPS} | grep '\\.tar\\.gz$' | tail -n +3 >"$list"
while read -r old; do rm -f "{BACKUPS}/$old"; done <"$list"
"""
# What the options have tar run; {pid}: a process of somebody else.
_PAYLOAD = f"""
try() {{ if "$@"; then echo worked; else echo denied; fi >>{BACKUPS}/result 2>/dev/null; }}
try sh -c 'cat /etc/shadow >{BACKUPS}/copy'
try sh -c 'cat {SECRET} >{BACKUPS}/copy'
try sh -c 'cat /proc/{{pid}}/environ >{BACKUPS}/copy'
try sh -c 'echo x >>/etc/passwd'
try sh -c 'echo x >/srv/site/data/a'
try rm /srv/site/data/b
try kill -CONT {{pid}}
cp /srv/site/data/tool {BACKUPS}/tool
try {BACKUPS}/tool do_nothing
try /usr/bin/env true
"""
_TRIES = 9
BACKUP = Service(
    SHELL,
    Path("/srv"),
    (
        *_ETC,
        ("create+write", "/srv/site/data/new", "create"),
        ("write", "/srv/site/data/a", "write"),
        ("chmod", "/srv/site/data/a", "setattr"),
        ("unlink", "/srv/site/data/a", "rm"),
        ("write", str(SCRIPT), "write"),
        ("map", f"{BACKUPS}/tool", "exec"),
        ("execute", f"{BACKUPS}/tool", "exec"),
        ("execute", "/usr/bin/env", "exec"),
    ),
    (Path("/srv/site/data/a"),),
    (*_MADE, Path("/srv/site/data/new")),
    BACKUPS / "tool",
)


@pytest.fixture(scope="module")
def local() -> Iterator[None]:
    """/usr/local and /srv, to be written."""
    for name, place in (("local", "/usr/local"), ("srv", "/srv")):
        upper, work = HERE / name / "upper", HERE / name / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir={place},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", place], check=True)
    yield
    for place in ("/usr/local", "/srv"):
        subprocess.run(["umount", "-l", place], check=True)


def test_a_shell_script(stage: Stage, local: None, all_locks: Locks) -> None:
    """Archives a directory and removes old archives. Files that are named like options make it run something else."""
    dash = Path(os.path.realpath("/bin/sh"))
    SHELL.parent.mkdir(parents=True)
    shutil.copy(dash, SHELL)
    SCRIPT.parent.mkdir(exist_ok=True)
    SCRIPT.write_text(_BACKUP)
    BACKUPS.mkdir(parents=True)
    data = Path("/srv/site/data")
    data.mkdir(parents=True)
    for name in ("a", "b"):
        (data / name).write_text(name)
    with nothing_denied(all_locks):
        for _ in range(3):
            run(SHELL, SCRIPT, locks=all_locks)
        archives = sorted(BACKUPS.iterdir())
        assert len(archives) == 2
    listed = subprocess.run(["tar", "-tzf", archives[-1]], capture_output=True, text=True, check=True).stdout
    assert sorted(listed.split()) == ["data/", "data/a", "data/b"]

    shutil.copy(os.path.realpath("/usr/bin/true"), data / "tool")
    (data / "payload").write_text(_PAYLOAD.replace("{pid}", str(stage.pid)))
    (Path("/srv/site") / "--checkpoint=2").touch()
    (Path("/srv/site") / "--checkpoint-action=exec=cd data; sh payload").touch()
    for shell, outcome in ((dash, "worked"), (SHELL, "denied")):
        (data / "b").write_text("b")
        result = BACKUPS / "result"
        result.unlink(missing_ok=True)
        all_locks.events()
        null = subprocess.DEVNULL
        # tar may say that its files changed.
        subprocess.run([shell, SCRIPT], check=False, cwd="/", timeout=120, stdout=null, stderr=null)
        events = told(all_locks)
        shown = "\n".join(one.line for one in events)
        assert result.read_text().split()[:_TRIES] == [outcome] * _TRIES, shown
    assert {"read", "append", "write", "rm", "sigcont", "exec"} <= {one.access for one in events}, shown


def test_a_shell_script_taken_over(stage: Stage, local: None, all_locks: Locks) -> None:
    shutil.copy(FREE, SHELL)
    attack_files(BACKUP, SHELL, all_locks)
    attack_all(BACKUP, SHELL, stage, all_locks)


REPORT = Path("/usr/local/lib/report")
PYTHON = REPORT / "bin" / "python3"
DATA = Path("/var/lib/report")
WEB_PORT = 8080
# `eval` is what it should not have.
_REPORT = f"""
import csv, http.server, json, os, socket, subprocess, sys, tempfile, urllib.parse

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        try:
            text = str(eval(urllib.parse.unquote(url.query))) if url.path == "/eval" else report()
        except OSError as error:
            text = "errno " + str(error.errno)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass

def report():
    with open("/etc/report.conf") as file:
        column = json.load(file)["column"]
    with open("{DATA}/data.csv", newline="") as file:
        total = sum(int(row[column]) for row in csv.DictReader(file))
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(total))
        file.flush()
        file.seek(0)
        text = file.read()
    with open("{DATA}/new", "w") as file:
        file.write(text)
    os.replace("{DATA}/new", "{DATA}/total")
    return text

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SERVED = Service(
    PYTHON,
    DATA,
    (
        *_ETC,
        ("write", str(REPORT / "serve.py"), "write"),
        ("create+write", str(REPORT / "bin/tool"), "create"),
        ("write", "/etc/report.conf", "write"),
        ("read", "/tmp/other", "read"),
        ("map", f"{DATA}/tool", "exec"),
        ("execute", f"{DATA}/tool", "exec"),
        ("execute", "/usr/bin/dash", "exec"),
    ),
    (Path("/tmp/other"),),
    (*_MADE, REPORT / "bin/tool"),
    DATA / "tool",
)


@contextlib.contextmanager
def serving(python: Path, port: int, locks: Locks | None = None) -> Iterator[None]:
    command: list[str | Path] = [python, "-I", "-B", REPORT / "serve.py", str(port)]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=null, stderr=null, cwd="/") as process:
        try:

            def up() -> bool:
                assert process.poll() is None, told(locks) if locks else ""
                with contextlib.suppress(ConnectionRefusedError):
                    return fetch("/", port)[0] == 200
                return False

            until(up)
            yield
        finally:
            process.kill()


def test_a_python_service(stage: Stage, local: None, all_locks: Locks) -> None:
    """Answers requests with what it makes of its files. Who can have it evaluate a request gets nothing else."""
    base = Path(os.path.realpath(sys.executable))
    PYTHON.parent.mkdir(parents=True)
    shutil.copy(base, PYTHON)
    (REPORT / "pyvenv.cfg").write_text(f"home = {base.parent}\n")  # what `python3 -m venv --copies` makes
    (REPORT / "serve.py").write_text(_REPORT)
    DATA.mkdir(parents=True)
    (DATA / "data.csv").write_text("name,count\na,3\nb,4\n")
    Path("/etc/report.conf").write_text('{"column": "count"}')
    with nothing_denied(all_locks), serving(PYTHON, WEB_PORT, all_locks):
        assert fetch("/", WEB_PORT) == (200, b"7")
        assert (DATA / "total").read_text() == "7"

    attacks = {
        "open('/etc/shadow').read()": "read",
        f"open('{SECRET}').read()": "read",
        "open('/etc/passwd', 'a')": "append",
        f"open('{REPORT}/serve.py', 'a')": "append",
        "subprocess.run(['/bin/sh', '-c', ':'])": "exec",
        f"os.kill({stage.pid}, 18)": "sigcont",
        f"socket.create_connection(('127.0.0.1', {stage.port}))": "connect",
    }
    for python, port, works in ((base, WEB_PORT + 1, True), (PYTHON, WEB_PORT, False)):
        with serving(python, port):
            for code, access in attacks.items():
                all_locks.events()
                answer = fetch("/eval?" + quote(code), port)[1].decode()
                events = told(all_locks)
                if works:
                    assert not answer.startswith("errno") and events == [], (code, answer, events)
                else:
                    assert answer == "errno 1" and access in {one.access for one in events}, (code, answer, events)


def test_a_python_service_taken_over(stage: Stage, local: None, all_locks: Locks) -> None:
    shutil.copy(FREE, PYTHON)
    attack_files(SERVED, PYTHON, all_locks)
    attack_all(SERVED, PYTHON, stage, all_locks)
