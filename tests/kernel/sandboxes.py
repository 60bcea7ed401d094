# SPDX-License-Identifier: Apache-2.0
"""What makes sandboxes, reduced to the calls that matter. As a program: python sandboxes.py WAY, then what to run.

The exit status: 0 it worked, 1 it was denied, 2 something else was wrong; that of what it runs, if it gets that far.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

NEWNS, NEWUTS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x10000000, 0x20000000, 0x40000000
_SIGCHLD = 17
_SYS_CLONE = 56
_PR_SET_DUMPABLE = 4
_LIBC = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        os.write(1, f"{what}: {os.strerror(number)}\n".encode())
        os._exit(1 if number in (errno.EPERM, errno.EACCES) else 2)
    return result


def unshare(flags: int) -> None:
    _check(_LIBC.unshare(flags), f"unshare({flags:#x})")


def clone(flags: int) -> int:
    return _check(_LIBC.syscall(_SYS_CLONE, flags | _SIGCHLD, 0, 0, 0, 0), f"clone({flags:#x})")


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _into(flags: int) -> None:
    """Go on as a child in new namespaces. Its status becomes that of the parent."""
    if child := clone(flags):
        os._exit(_wait(child))


def _map_itself(outside: int) -> None:
    """As root of its new user namespace; without a number there, none can be made below it."""
    for name, text in (("setgroups", "deny"), ("gid_map", f"0 {outside} 1"), ("uid_map", f"0 {outside} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")


def _nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self is root's


def bubblewrap() -> None:
    """Of a user: everything at once, then a user namespace below that one, for the user's own number."""
    _nobody()
    _into(NEWUSER | NEWPID | NEWNET | NEWNS)
    _map_itself(NOBODY)
    unshare(NEWUSER)
    _map_itself(0)


def taken_over() -> None:
    """As bubblewrap, but its process 1 makes the second one when it has a child that has executed something: that may
    have taken over process 1."""
    _nobody()
    _into(NEWUSER | NEWPID | NEWNET | NEWNS)
    _map_itself(NOBODY)
    child = os.fork()
    if not child:
        os.execvp("true", ["true"])
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    unshare(NEWUSER)


def chromium() -> None:
    """Of a user: no mount namespace; the zygote is executed in the sandbox, and forks into pid namespaces."""
    _nobody()
    _into(NEWUSER | NEWPID | NEWNET)
    _map_itself(NOBODY)


def netns() -> None:
    """ip netns exec: a network namespace, then a mount namespace."""
    unshare(NEWNET)
    unshare(NEWNS)


def service() -> None:
    """PrivateNetwork= and PrivateUsers=: a child that writes the maps lives meanwhile."""
    unshare(NEWNET)
    asks, told = os.pipe()
    if not os.fork():
        os.close(told)
        os.read(asks, 1)
        os._exit(0)
    unshare(NEWNS)
    unshare(NEWUSER)
    os.close(told)


def container() -> None:
    _into(NEWPID | NEWNET | NEWNS)


def user() -> None:
    unshare(NEWUSER)


def pid() -> None:
    _into(NEWPID)


def uts() -> None:
    unshare(NEWUTS)


_WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way for way in (bubblewrap, taken_over, chromium, netns, service, container, user, pid, uts)
}


def main(arguments: Sequence[str]) -> None:
    _WAYS[arguments[0]]()
    if len(arguments) > 1:
        os.execv(sys.executable, [sys.executable, "-S", "-E", __file__, *arguments[1:]])
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
