# SPDX-License-Identifier: Apache-2.0
"""`python -m vm fetch` and `python -m vm run`.

Exit status of `run`: that of the command. When the harness fails there is a message on stderr and
the status is 124 (time is up) or 125 (the guest did not boot or stopped, or something is missing).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from vm import guest, kernels, qemu
from vm.errors import GuestTimeout, VmError, say

TIMED_OUT = 124
FAILED = 125


def main(argv: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(_parser().parse_args(argv))
    except VmError as error:
        sys.stderr.write(error.render() + "\n")
        return TIMED_OUT if isinstance(error, GuestTimeout) else FAILED
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, and that ends QEMU


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(kernels.SPECS)
    parser = argparse.ArgumentParser(
        prog="python -m vm", description="Run commands on real kernels in throw-away machines."
    )
    commands = parser.add_subparsers(dest="action", required=True)

    fetch = commands.add_parser("fetch", help="download kernels into the cache")
    fetch.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"of {names} (default: 6.1)")
    fetch.add_argument("--refresh", action="store_true", help="look for a newer one")

    run = commands.add_parser("run", help="boot a kernel and run a command in it as root")
    run.add_argument("--kernel", default="6.1", help=f"one of {names} (default: %(default)s)")
    run.add_argument("--lsm", default=guest.DEFAULT_LSM, help="kernel parameter (%(default)s)")
    run.add_argument("--append", default="", help="more kernel parameters")
    run.add_argument("--smp", type=int, default=2, help="CPUs (default: %(default)s)")
    run.add_argument("--mem", default="2G", help="memory (default: %(default)s)")
    run.add_argument("--icount", action="store_true", help="count instructions as time; one CPU")
    run.add_argument("--usb", action="store_true", help="a USB controller, and QEMU's monitor as a virtio port")
    run.add_argument(
        "--timeout",
        type=float,
        default=guest.DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="for the command, not the boot (default: %(default)s)",
    )
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--share", type=Path, metavar="DIR", help=f"writable there at {guest.SHARE}")
    run.add_argument("--qemu-arg", action="append", default=[], metavar="ARG")
    run.add_argument(
        "-v", "--verbose", action="count", default=0, help="tell how long it took; -vv: how QEMU is called"
    )
    run.add_argument("command", nargs="+", metavar="COMMAND", help="after --, with its arguments")
    return parser


def _dispatch(args: argparse.Namespace) -> int:
    if args.action == "fetch":
        for name in args.kernels or ["6.1"]:
            kernel = kernels.fetch(name, refresh=args.refresh)
            sys.stdout.write(f"{kernel.name}: {kernel.release} in {kernel.directory}\n")
        return 0

    share: Path | None = args.share
    if share is not None and not share.is_dir():
        raise VmError(f"--share: {share} is not a directory")
    job = guest.Job(
        command=args.command,
        lsm=args.lsm,
        append=args.append,
        machine=qemu.Machine(args.smp, args.mem, args.icount, args.usb, tuple(args.qemu_arg)),
        timeout=args.timeout,
        env=_environment(args.env),
        share=share,
    )
    kernel = kernels.fetch(args.kernel)
    result = guest.run(kernel, job, verbose=say if args.verbose > 1 else None)
    if args.verbose:
        say(
            f"{kernel.release}: boot {result.boot_seconds:.1f} s, "
            f"command {result.command_seconds:.1f} s, exit status {result.status}"
        )
    return result.status


def _environment(pairs: list[str]) -> dict[str, str]:
    env = terminal_environment()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise VmError(f"--env takes NAME=VALUE, not '{pair}'")
        env[name] = value
    return env


def terminal_environment() -> dict[str, str]:
    """What the guest has to know of the terminal that its output ends up on.

    The command itself writes to a pipe, so it would use neither colours nor the full width.
    """
    if not sys.stdout.isatty():
        return {}
    env = {"TERM": os.environ.get("TERM", "dumb"), "COLUMNS": str(os.get_terminal_size().columns)}
    if not os.environ.get("NO_COLOR") and env["TERM"] != "dumb":
        env["FORCE_COLOR"] = "1"
    return env
