# SPDX-License-Identifier: Apache-2.0
"""Boot a kernel, run one command in it as root, hand its output through as it comes.

In the guest: / is the host's root, read-only; /run, /tmp and /mnt are tmpfs; /etc, /var, /root and
/home are overlays that can be written. The repository, the working directory and the kernel cache are
visible wherever they lie, to all users. There is no network but loopback.
"""

from __future__ import annotations

import os
import re
import secrets
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from vm import cache, kernels, qemu
from vm.cpio import Archive
from vm.errors import BootError, GuestDied, GuestTimeout, VmError, say
from vm.kernels import Kernel
from vm.process import MISSING_HINT

DEFAULT_LSM = "lockdown,capability,landlock,yama,apparmor,bpf"
DEFAULT_TIMEOUT = 1800.0
BOOT_TIMEOUT = 240.0  # a boot takes 6 s; a machine with everything else to do may take longer
IMAGE_BOOT_TIMEOUT = 900.0  # with Job.prepare and a whole systemd: half a minute where nothing else runs
SHARE = "/mnt/share"

# What the guest covers with file systems of its own, in vm/init.sh.
_COVERED = tuple(Path(path) for path in ("/run", "/tmp", "/mnt", "/etc", "/var", "/root", "/home"))
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",  # the repository is read-only
    "BPFLOCK_VM": "1",
}
_POLL = 0.5  # seconds between looks at the clock
_CONSOLE_LINES = 40
_CHUNK = 65536

Sink = Callable[[bytes], None]


@dataclass(frozen=True)
class Job:
    """A command and the guest it wants."""

    command: Sequence[str]
    cwd: Path = field(default_factory=Path.cwd)
    lsm: str = DEFAULT_LSM  # the kernel's lsm= parameter; "" for the kernel's own default
    append: str = ""  # more kernel parameters
    machine: qemu.Machine = field(default_factory=qemu.Machine)
    timeout: float = DEFAULT_TIMEOUT  # seconds for the command, without the boot
    env: Mapping[str, str] = field(default_factory=dict)
    share: Path | None = None  # a host directory, to be written in the guest at SHARE
    image: Path | None = None  # the root file system, in place of the host's root: see vm/image.py
    prepare: str = ""  # for a guest with an image: a shell script that runs on it before systemd does


@dataclass(frozen=True)
class Result:
    status: int  # of the command, as a shell gives it: 128 + n after signal n
    boot_seconds: float
    command_seconds: float


def run(
    kernel: Kernel,
    job: Job,
    *,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    stop: threading.Event | None = None,
    verbose: Callable[[str], None] | None = None,
) -> Result:
    """Run `job` on `kernel`. Output goes to the sinks (by default the caller's stdout, stderr).

    A guest that dies before the command begins is booted once more, and that is said: on a busy machine emulated
    hardware may be too slow for a kernel that waits for it. `stop`, once set, ends the guest. Raises BootError,
    GuestTimeout or GuestDied, each with the last kernel messages; VmError if it cannot even start.
    """
    if shutil.which(qemu.PROGRAM) is None:
        raise VmError(f"'{qemu.PROGRAM}' is not installed", hint=MISSING_HINT)
    stop = stop or threading.Event()
    try:
        return _boot(kernel, job, stdout, stderr, stop, verbose)
    except BootError as error:
        if stop.is_set():
            raise
        last = next((line for line in reversed(error.details.splitlines()) if line.strip()), "nothing on its console")
        say(f"{kernel.release}: {error} ({last.strip()}): booting it once more")
        return _boot(kernel, job, stdout, stderr, stop, verbose)


def _boot(
    kernel: Kernel,
    job: Job,
    stdout: Sink | None,
    stderr: Sink | None,
    stop: threading.Event,
    verbose: Callable[[str], None] | None,
) -> Result:
    token = f"\0{secrets.token_hex(16)}"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bpflock-vm-")))
        initramfs, console, log = scratch / "initramfs", scratch / "console", scratch / "qemu.log"
        modules = kernel.boot_modules.read_bytes() if job.image is None else kernels.disk_modules(kernel)
        initramfs.write_bytes(modules + _own_files(kernel, job, token))
        console.touch()
        out_read, out_write = _pipe(stack)
        err_read, err_write = _pipe(stack)
        share = job.share.resolve() if job.share else None
        ports = (out_write.fileno(), err_write.fileno())
        files = qemu.Files(kernel.image, initramfs, console, share, scratch / "monitor", *ports, disk=job.image)
        args = qemu.command(job.machine, files, _command_line(job))
        if verbose:
            verbose(shlex.join(args))
        streams = {
            out_read: Stream(token.encode(), stdout or _writer(sys.stdout.fileno())),
            err_read: Stream(token.encode(), stderr or _writer(sys.stderr.fileno())),
        }
        # setpriv: should this process be killed outright, the guest must not live on.
        with log.open("wb") as errors:
            proc = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *args],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=ports,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the guest
            )
        try:
            out_write.close()
            err_write.close()
            boot_timeout = BOOT_TIMEOUT if job.image is None else IMAGE_BOOT_TIMEOUT
            return _follow(streams, boot_timeout, job.timeout, stop)
        except VmError as error:
            error.details = "\n".join([*_tail(log), *_tail(console)])
            raise
        finally:
            proc.kill()
            proc.wait()


def _follow(streams: Mapping[FileIO, Stream], boot_timeout: float, timeout: float, stop: threading.Event) -> Result:
    """Hand the streams through until both have said that the command ended."""
    began = time.monotonic()
    started: float | None = None
    status: int | None = None
    deadline = began + boot_timeout
    with selectors.DefaultSelector() as selector:
        for pipe in streams:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            if stop.is_set():
                raise GuestDied("stopped on request")
            now = time.monotonic()
            if now >= deadline and started is None:
                raise BootError(f"the guest did not boot within {boot_timeout:.0f} s")
            if now >= deadline:
                raise GuestTimeout(
                    f"the command was still running after {timeout:.0f} s",
                    hint="allow it more with --timeout SECONDS",
                )
            for key, _ in selector.select(min(_POLL, deadline - now)):
                file = key.fileobj
                assert isinstance(file, FileIO)
                data = file.read(_CHUNK)
                if not data:
                    selector.unregister(file)  # QEMU is gone
                for message in streams[file].feed(data or b""):
                    if message[0] == "start":
                        started = time.monotonic()
                        deadline = started + timeout
                    else:
                        selector.unregister(file)
                        if len(message) > 1:
                            status = int(message[1])
    if started is None:
        raise BootError("the guest did not boot")
    if status is None:
        raise GuestDied("the guest stopped before the command had ended")
    return Result(status, started - began, time.monotonic() - started)


class Stream:
    """Output of the guest with the harness's own lines in it.

    Such a line is TOKEN, a space, words, a newline. The token begins with a zero byte and is
    random, so nothing that the command writes can be taken for one.
    """

    def __init__(self, token: bytes, sink: Sink) -> None:
        self._token = token
        self._sink = sink
        self._held = b""

    def feed(self, data: bytes) -> Iterator[list[str]]:
        """Pass on what is the command's; yield the words of each line that is the harness's."""
        held = self._held + data
        while (index := held.find(self._token)) >= 0:
            self._emit(held[:index])
            held = held[index:]
            line, newline, rest = held.partition(b"\n")
            if not newline:
                self._held = held
                return
            yield line.removeprefix(self._token).decode().split()
            held = rest
        # Keep back an end that may become a token, unless there is nothing to come.
        cut = held.rfind(self._token[:1], max(0, len(held) - len(self._token) + 1))
        if cut < 0 or not data or not self._token.startswith(held[cut:]):
            cut = len(held)
        self._emit(held[:cut])
        self._held = held[cut:]

    def _emit(self, data: bytes) -> None:
        if data:
            self._sink(data)


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    read, write = os.pipe()
    return stack.enter_context(FileIO(read, "rb")), stack.enter_context(FileIO(write, "wb"))


def _writer(fd: int) -> Sink:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write


def _tail(file: Path) -> list[str]:
    text = file.read_text(errors="replace").replace("\r", "")
    return text.splitlines()[-_CONSOLE_LINES:]


def _command_line(job: Job) -> str:
    # A reboot after a panic ends QEMU (-no-reboot). An oops counts as one: no test passes on it.
    # no_timer_check: an emulated timer may come too late for the kernel's look at it.
    words = ["console=ttyS0", "quiet", "panic=-1", "oops=panic", "no_timer_check"]
    if job.lsm:
        words.append(f"lsm={job.lsm}")
    return " ".join([*words, job.append]).strip()


def _own_files(kernel: Kernel, job: Job, token: str) -> bytes:
    """The part of the initramfs that differs from run to run."""
    here = Path(__file__).parent
    settings = {
        "RELEASE": kernel.release,
        "MODULES": str(kernel.modules),
        "BOOT": str(kernel.boot),
        "SHARE": SHARE if job.share else "",
    }
    visible = "".join(f"{path}\n" for path in (_visible(job.cwd) if job.image is None else [_repository(job.cwd)]))
    archive = Archive()
    busybox = _busybox()
    archive.file("bin/busybox", busybox.read_bytes())
    for library in _libraries(busybox):
        archive.file(str(library).lstrip("/"), library.read_bytes())
    archive.file("init", (here / ("init.sh" if job.image is None else "image.sh")).read_bytes())
    if job.image is not None:
        archive.file("vm/prepare", job.prepare.encode())
        archive.file("vm/service", (here / "image.service").read_bytes())
    archive.file("vm/settings", _assignments(settings).encode())
    archive.file("vm/visible", visible.encode())
    archive.file("vm/main", (here / "main.sh").read_bytes())
    # The zero byte cannot be in a shell's variable: main.sh prints it with an escape.
    archive.file("vm/token", token.removeprefix("\0").encode() + b"\n")
    archive.file("vm/command", _command_script(job).encode())
    return archive.finish()


def _command_script(job: Job) -> str:
    variables = [f"{name}={value}" for name, value in {**_ENVIRONMENT, **job.env}.items()]
    # env(1), so that a name is looked up in the root file system, not among busybox's applets.
    command = shlex.join(["/usr/bin/env", "-i", *variables, *job.command])
    return f"cd {shlex.quote(str(job.cwd))} || exit 125\nexec {command}\n"


def _assignments(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())


def _repository(cwd: Path) -> Path:
    cwd = cwd.resolve()
    return next((path for path in (cwd, *cwd.parents) if (path / ".git").exists()), cwd)


def _visible(cwd: Path) -> list[Path]:
    """Directories to bind back because the guest covers what they lie in."""
    cwd = cwd.resolve()
    repository = _repository(cwd)
    # A Python below /root (pyenv) runs faster from 9p than through an overlay.
    pythons = (Path(sys.prefix), Path(sys.base_prefix))
    found: list[Path] = []
    for path in (repository, cwd, cache.directory(), *pythons):
        path = path.resolve()
        covered = any(path != cover and path.is_relative_to(cover) for cover in _COVERED)
        if covered and path.is_dir() and not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def _busybox() -> Path:
    path = shutil.which("busybox", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if path is None:
        raise VmError("'busybox' is not installed", hint=MISSING_HINT)
    return Path(path)


def _libraries(program: Path) -> list[Path]:
    """The shared libraries of `program`, none if it is static."""
    # ldd fails on a static program, which is no error here.
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+)", done.stdout, re.MULTILINE)]
