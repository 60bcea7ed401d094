# SPDX-License-Identifier: Apache-2.0
"""Runs command lines of bpflock, each in a process of its own, without starting Python anew each time.

On an emulated CPU that is most of the time a command takes. A line of JSON on standard input is a request, the exit
status on standard output its answer. This process itself never touches the kernel, so it is none of bpflock's own.
"""

import difflib  # noqa: F401
import gzip  # noqa: F401  (what a user who may not read Python's own directory could not load later)
import json
import locale  # noqa: F401
import os
import signal
import sys
import traceback  # noqa: F401
from typing import Any

# Not used here, like some above: what a command would import, which another user than root may not be able to read.
import bpflock.cli.cgroup
import bpflock.cli.check
import bpflock.cli.events
import bpflock.cli.lock
import bpflock.cli.run
import bpflock.cli.status
import bpflock.daemon.main
import bpflock.daemon.report
import bpflock.daemon.show
import bpflock.locks.enforce
import bpflock.workloads.cgroup  # noqa: F401
from bpflock.cli.main import main


def _run(request: dict[str, Any]) -> int:
    for number, name in ((1, "out"), (2, "err")):
        fd = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(fd, number)
        os.close(fd)
    os.environ.update(request["environment"])
    if request["uid"]:
        os.setgroups([])
        os.setgid(request["uid"])
        os.setuid(request["uid"])
    if request["kill_after"]:
        signal.setitimer(signal.ITIMER_REAL, request["kill_after"])  # SIGALRM ends it as SIGKILL would
    status = main(request["args"])
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            status = 70
            try:
                status = _run(request)
            finally:
                os._exit(status)
        _, waited = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(waited)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
