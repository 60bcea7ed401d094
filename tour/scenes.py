# SPDX-License-Identifier: Apache-2.0
"""What the tour plays: who attacks, how, and what bpflock has to say to it."""

from dataclasses import dataclass

# What the daemon is told to enforce: each kind of denial comes up once.
SETTINGS = (
    "--kimglock-profile=baseline",
    "--kimglock-block=kexec",
    "--kmodlock-profile=restricted",
    "--bpfrestrict-profile=baseline",
    "--filelesslock-profile=baseline",
    "--exec-snoop=all",
)

# Root outside the host, as in a container that was given too much.
CONTAINER = ("unshare", "--fork", "--kill-child", "--pid", "--net", "--mount-proc")

KCORE = "od -An -c -N 4 /proc/kcore"


@dataclass(frozen=True)
class Scene:
    """One attack. `event` are the words that its line in the log must have, `reason` the one that it must give."""

    protection: str
    title: str
    why: str
    command: str
    event: tuple[str, ...]
    reason: str
    short: str
    outside: bool = True  # in CONTAINER, else on the host
    stopped: bool = True  # else it is allowed, as it should be
    kills_daemon: bool = False


SCENES = (
    Scene(
        "kimglock",
        "physical memory through /dev/mem",
        "baseline: only the host may",
        "od -An -tx1 -N 16 /dev/mem",
        ("event=lsm_locked_down", "operation=/dev/mem,kmem,port"),
        "denied (baseline)",
        "read /dev/mem",
    ),
    Scene(
        "kimglock",
        "kernel memory through /proc/kcore",
        "baseline: only the host may",
        KCORE,
        ("event=lsm_locked_down", "operation=/proc/kcore access"),
        "denied (baseline)",
        "read /proc/kcore",
    ),
    Scene(
        "kimglock",
        "the host itself may go on",
        "baseline: no attack; the administrator's tools still work, and are logged",
        KCORE,
        ("event=lsm_locked_down", "operation=/proc/kcore access"),
        "baseline",
        "the host reads /proc/kcore",
        outside=False,
        stopped=False,
    ),
    Scene(
        "kimglock",
        "a kprobe in the running kernel",
        "baseline: only the host may; tracefs, which it needs, is closed too",
        "attack kprobes",
        ("event=lsm_file_open", "operation=use of tracefs"),
        "denied (baseline)",
        "place a kprobe",
    ),
    Scene(
        "kimglock",
        "another kernel by kexec",
        "--kimglock-block=kexec: nobody may, root on the host neither",
        "attack kexec_load",
        ("event=lsm_kernel_load_data", "operation=kexec"),
        "denied (blocked)",
        "load a kernel by kexec",
        outside=False,
    ),
    Scene(
        "kmodlock",
        "a kernel module without a signature",
        "restricted: nobody may, root on the host neither",
        "insmod unsigned.ko",
        ("event=lsm_kernel_read_file", "operation=loading module", "filename=/tmp/tour/unsigned.ko"),
        "denied (restricted)",
        "insmod of an unsigned module",
        outside=False,
    ),
    Scene(
        "kmodlock",
        "making the kernel load a module by asking for a socket",
        "restricted: nobody may; the modprobe that the kernel starts would run as root on the host",
        "attack autoload_socket can",
        ("event=lsm_kernel_module_request", "operation=autoloading module"),
        "denied (restricted)",
        "autoload by a CAN socket",
    ),
    Scene(
        "bpfrestrict",
        "a BPF program that can write to other processes",
        "baseline: only the host may call bpf(2)",
        "attack bpf_write",
        ("event=lsm_bpf", "operation=prog_load"),
        "denied (baseline)",
        "load a BPF program",
    ),
    Scene(
        "filelesslock",
        "a program that is on no disk (memfd)",
        "baseline: only the host may",
        "attack memfd_exec /usr/bin/id",
        ("event=lsm_bprm_creds_from_file", "operation=memfd"),
        "denied (baseline)",
        "execute a memfd",
    ),
    Scene(
        "filelesslock",
        "a program in /dev/shm",
        "baseline: only the host may",
        "cp /usr/bin/id /dev/shm/id; /dev/shm/id",
        ("event=lsm_bprm_creds_from_file", "operation=shm", "filename=/dev/shm/id"),
        "denied (baseline)",
        "execute a file of /dev/shm",
    ),
    Scene(
        "guard",
        "switching all BPF security programs off",
        "always on: up to Linux 6.12 this sysctl silences every one of them, without a word",
        "attack ftrace_sysctl",
        ("event=cgroup_sysctl", "operation=kernel.ftrace_enabled"),
        "denied (guard)",
        "kernel.ftrace_enabled=0",
    ),
    Scene(
        "execsnoop",
        "every program that starts is seen",
        "all: nothing is stopped; name, parent, user and cgroup are logged",
        "cp /usr/bin/id innocent; ./innocent",
        ("event=syscall_execve ", "filename=./innocent"),
        "",
        "run a program of its own",
        stopped=False,
    ),
    Scene(
        "daemon",
        "bpflock itself is killed",
        "the kernel goes on enforcing; the next bpflock reports what happened meanwhile",
        KCORE,
        ("event=lsm_locked_down", "operation=/proc/kcore access"),
        "denied (baseline)",
        "kill -9, then /proc/kcore",
        kills_daemon=True,
    ),
)
