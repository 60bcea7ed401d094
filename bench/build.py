# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.build`: compile what the benchmark runs, on the host, where it takes a second."""

import compileall
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bpflock.confine.engine import ON_DEMAND
from bpflock.kernel import pins
from bpflock.kernel.bpf import Object
from bpflock.locks import LOCKS

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench"
WORKLOAD = OUTPUT / "workload"
TINY = OUTPUT / "tiny"
DESCRIPTORS = OUTPUT / "descriptors"
STARTED = OUTPUT / "started"
# Each .bpf.o: as many empty programs as all locks have on each hook, and as privsnoop and the policy engine have.
EMPTY = OUTPUT / "empty"
EMPTY_TRACER = OUTPUT / "empty-tracer"
EMPTY_POLICY = OUTPUT / "empty-policy"

LOCK_NAMES = tuple(lock.name for lock in LOCKS.values() if not lock.is_tracer)

_SOURCES = Path(__file__).parent
_STATIC = ("-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror", "-static")


TRACER = "privsnoop"


def hooks(*names: str) -> Counter[str]:
    """How many programs these locks attach to each hook: its section, with a '?' where not every kernel has it; without
    those of the policy engine that are only attached while they are needed."""
    found: Counter[str] = Counter()
    for name in names:
        with Object(name) as program:
            found.update(
                f"{'?' if each.optional else ''}{each.hook}"
                for each in program.programs
                if not each.hook.startswith("iter/") and not (name == pins.POLICY and each.hook in ON_DEMAND)
            )
    return found


def empty_programs(wanted: Counter[str]) -> str:
    """C source of programs that do nothing, as many for each hook."""
    lines = ["// SPDX-License-Identifier: GPL-2.0", 'char LICENSE[] __attribute__((section("license"), used)) = "GPL";']
    for number, hook in enumerate(sorted(wanted.elements())):
        allow = 1 if hook.startswith("cgroup/") else 0
        lines.append(f'__attribute__((section("{hook}"), used)) int empty_{number}(void *ctx) {{ return {allow}; }}')
    return "\n".join([*lines, ""])


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    # As installed: the guest cannot write bytecode, and would compile at each start.
    compileall.compile_dir(_SOURCES.parent / "src", quiet=2)
    _run("cc", *_STATIC, _SOURCES / "workload.c", "-o", WORKLOAD)
    _run("cc", *_STATIC, _SOURCES / "descriptors.c", "-o", DESCRIPTORS)
    for program in (TINY, STARTED):
        _run("cc", *_STATIC, "-nostdlib", "-fno-stack-protector", _SOURCES / f"{program.name}.c", "-o", program)
    zig = (sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding-none", "-O2", "-g")
    for target, names in ((EMPTY, LOCK_NAMES), (EMPTY_TRACER, (TRACER,)), (EMPTY_POLICY, (pins.POLICY,))):
        wanted = hooks(pins.GUARD, *names)
        source = target.with_suffix(".bpf.c")
        source.write_text(empty_programs(wanted))
        _run(*zig, "-fno-asynchronous-unwind-tables", "-c", source, "-o", target.with_suffix(".bpf.o"))


def _run(*command: str | Path) -> None:
    if subprocess.run(command).returncode:
        sys.exit(f"cannot compile {command[-3]}")


if __name__ == "__main__":
    if platform.machine() not in ("x86_64", "aarch64"):
        sys.exit(f"no benchmark for {platform.machine()}")
    main()
