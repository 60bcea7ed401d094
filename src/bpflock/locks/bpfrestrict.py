# SPDX-License-Identifier: Apache-2.0
"""bpfrestrict: using bpf(2). See bpf/bpfrestrict.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

# One for each command of enum bpf_cmd (uapi/linux/bpf.h).
_COMMANDS = (
    ("map_create", "create a map"),
    ("map_lookup_elem", "read an element of a map"),
    ("map_update_elem", "write an element of a map"),
    ("map_delete_elem", "delete an element of a map"),
    ("map_get_next_key", "walk over a map"),
    ("prog_load", "load a program"),
    ("obj_pin", "pin an object in bpffs"),
    ("obj_get", "open a pinned object"),
    ("prog_attach", "attach a program"),
    ("prog_detach", "detach a program"),
    ("prog_test_run", "run a program"),
    ("prog_get_next_id", "list programs"),
    ("map_get_next_id", "list maps"),
    ("prog_get_fd_by_id", "open any loaded program"),
    ("map_get_fd_by_id", "open any map"),
    ("obj_get_info_by_fd", "describe an object"),
    ("prog_query", "list what is attached"),
    ("raw_tracepoint_open", "attach to a tracepoint, LSM hook or function"),
    ("btf_load", "load type information"),
    ("btf_get_fd_by_id", "open type information"),
    ("task_fd_query", "see what a task attached"),
    ("map_lookup_and_delete_elem", "take an element out of a map"),
    ("map_freeze", "make a map read-only"),
    ("btf_get_next_id", "list type information"),
    ("map_lookup_batch", "read many elements of a map"),
    ("map_lookup_and_delete_batch", "take many elements out of a map"),
    ("map_update_batch", "write many elements of a map"),
    ("map_delete_batch", "delete many elements of a map"),
    ("link_create", "attach a program by a link"),
    ("link_update", "replace a link's program"),
    ("link_get_fd_by_id", "open any link"),
    ("link_get_next_id", "list links"),
    ("enable_stats", "switch run-time statistics on"),
    ("iter_create", "read an iterator"),
    ("link_detach", "force a link off"),
    ("prog_bind_map", "tie a map to a program"),
    ("token_create", "create a BPF token"),
    ("prog_stream_read_by_fd", "read a program's output stream"),
    ("prog_assoc_struct_ops", "tie a program to a struct_ops map"),
)
_ALIASES = {"prog_test_run": ("prog_run",)}

BPFRESTRICT = Lock(
    name="bpfrestrict",
    summary="using bpf(2)",
    operations=(
        *(Operation(name, summary, name, aliases=_ALIASES.get(name, ())) for name, summary in _COMMANDS),
        Operation(
            "bpf_write",
            "load a program that writes to user memory",
            "use of bpf to write user RAM",
            aliases=("bpf_write_user",),
            requires=("prog_load",),
        ),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        Level.BASELINE: Settings(Profile.BASELINE),
        # Not restricted: systemd and container runtimes load BPF programs, for the devices that a service or a
        # container may use. But nobody needs to change the memory of other programs.
        Level.RESTRICTED: Settings(Profile.BASELINE, block=("bpf_write",)),
    },
    groups={"@bpf": (*(name for name, _ in _COMMANDS), "bpf_write")},
)
