# SPDX-License-Identifier: Apache-2.0
"""Every LSM hook of the kernel is used by the policy engine, or has a reason here why it need not be.

The hooks that are used are those of the compiled programs. docs/policy-coverage.md shows both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpflock.kernel.bpf import Object
from bpflock.kernel.btf import KernelTypes

_PREFIX = b"bpf_lsm_"
_BTF = Path("/sys/kernel/btf/vmlinux")
# Functions of kernel/bpf/bpf_lsm.c that have such a name and are no hooks.
_NO_HOOKS = {
    "find_cgroup_shim",
    "func_proto",
    "get_retval_range",
    "has_d_inode_locked",
    "hook_returns_errno",
    "init",
    "is_sleepable_hook",
    "is_trusted",
    "verify_prog",
}


@dataclass(frozen=True)
class Excuse:
    """Why these hooks are not needed. `optional`: the engine may use them all the same."""

    why: str
    hooks: tuple[str, ...]
    optional: bool = False


def _excuse(why: str, hooks: str, optional: bool = False) -> Excuse:
    return Excuse(why, tuple(hooks.split()), optional)


EXCUSES = (
    # What is decided elsewhere.
    _excuse(
        "`path_link`, `path_mkdir`, `path_mknod`, `path_rmdir`, `path_symlink` decide by path",
        "inode_link inode_mkdir inode_mknod inode_rmdir inode_symlink",
    ),
    _excuse("`file_open` has decided", "file_post_open file_release"),
    _excuse("`path_mknod` and `file_open` have decided", "path_post_mknod inode_post_create_tmpfile"),
    _excuse(
        "the hook before the change has decided",
        "inode_post_remove_acl inode_post_removexattr inode_post_set_acl inode_post_setattr inode_post_setxattr "
        "key_post_create_or_update socket_post_create",
    ),
    _excuse("`mmap_file` decides by the name in the overlay", "mmap_backing_file", optional=True),
    _excuse("`bprm_creds_from_file` and `bprm_committed_creds` decide an exec", "bprm_committing_creds", optional=True),
    _excuse(
        "`capable` asks for `sys_chroot`; paths are those of the mount namespace, whatever the root of the task",
        "path_chroot",
    ),
    _excuse(
        "`bpf` asks for the operation at each bpf(2)",
        "bpf_map bpf_map_create bpf_prog bpf_prog_load bpf_token_capable bpf_token_cmd bpf_token_create",
    ),
    _excuse(
        "`bprm_check_security` asks about each file of an exec, `bprm_creds_from_file` about what the process becomes",
        "bprm_creds_for_exec",
        optional=True,
    ),
    _excuse("`task_setrlimit` decides a change; to read limits needs no right", "task_prlimit", optional=True),
    _excuse(
        "`capable` asks for what reaches beyond the process itself, and for what forges its executable",
        "task_prctl",
        optional=True,
    ),
    _excuse(
        "options are the socket's own; `capable` asks for `net_admin` and `net_raw`", "socket_setsockopt", optional=True
    ),
    _excuse(
        "registered credentials are those that a task had; each hook decides by the task that makes the ring, and "
        "`task_alloc` gives its profile to the threads of the ring",
        "uring_override_creds uring_sqpoll",
        optional=True,
    ),
    _excuse("`perf_event_open` asks when the event is made", "perf_event_alloc perf_event_read perf_event_write"),
    _excuse(
        "`inode_init_security_anon` asks when the ring is made",
        "uring_allowed",
    ),
    _excuse("`key_permission` is asked, too", "key_getsecurity"),
    _excuse(
        "`ipc_permission` is asked before these",
        "msg_queue_associate msg_queue_msgrcv msg_queue_msgsnd sem_associate sem_semop shm_associate shm_shmat",
    ),
    _excuse("`socket_create` is asked for each of the two", "socket_socketpair"),
    _excuse("`socket_sendmsg` decides", "netlink_send"),
    _excuse("`unix_stream_connect` and `unix_may_send` decide by the socket's file", "unix_find"),
    _excuse(
        "`file_fcntl` and `file_ioctl` decide when the owner is set, and when a terminal sets it",
        "file_send_sigiotask file_set_fowner",
    ),
    _excuse(
        "`capable` asks for `sys_admin`, and for the operation `mount` during fsopen(2) and fspick(2); what a file "
        "system context makes is attached by `move_mount`",
        "fs_context_dup fs_context_parse_param fs_context_submount sb_clone_mnt_opts sb_eat_lsm_opts sb_kern_mount "
        "sb_mnt_opts_compat sb_set_mnt_opts",
    ),
    _excuse("`capable` asks for `sys_time`", "settime"),
    _excuse("`capable` asks for `sys_admin` to change something; else one's own quota is read", "quotactl quota_on"),
    _excuse(
        "`capable` asks for `setuid`, `setgid`, `setpcap`; without them, a process changes to what it has already",
        "capset task_fix_setgid task_fix_setgroups task_fix_setuid",
    ),
    _excuse(
        "`capable` asks for `sys_module`, `sys_boot`, `sys_rawio`; the files of devices are files",
        "kernel_load_data kernel_post_load_data kernel_post_read_file kernel_read_file locked_down",
    ),
    _excuse(
        "what makes the kernel want a module (a socket, a mount, a device) is decided itself", "kernel_module_request"
    ),
    _excuse(
        "`capable` asks for `net_admin`; netlink sockets are sockets",
        "secmark_relabel_packet xfrm_policy_alloc_security xfrm_policy_clone_security xfrm_policy_delete_security "
        "xfrm_state_alloc xfrm_state_alloc_acquire xfrm_state_delete_security",
    ),
    _excuse(
        "the device is opened by `file_open` and controlled by `file_ioctl`",
        "tun_dev_attach tun_dev_attach_queue tun_dev_create tun_dev_open",
    ),
    _excuse(
        "a device of Binder is opened by `file_open` and controlled by `file_ioctl`; what is sent by it is not decided",
        "binder_set_context_mgr binder_transaction binder_transfer_binder binder_transfer_file",
    ),
    _excuse("attributes are asked about by `inode_*xattr`", "inode_getsecurity inode_listsecurity inode_setsecurity"),
    _excuse("files below /proc are files; the labels are those of other modules", "getprocattr setprocattr"),
    _excuse("the labels are those of other modules, which decide", "getselfattr setselfattr"),
    # What needs no right.
    _excuse(
        "searching a directory needs no right, nor does the target of a symbolic link: what it leads to is decided",
        "inode_follow_link inode_permission inode_readlink",
    ),
    _excuse("a lock on a file that is open; for a lease of another's file `capable` asks for `lease`", "file_lock"),
    _excuse("tells how full a file system is", "sb_statfs"),
    _excuse(
        "tells the number of a group, a priority, capabilities: nothing of what a process does",
        "capget task_getioprio task_getpgid task_getscheduler task_getsid",
    ),
    _excuse("only to a group of its own session, and only itself and children before their exec", "task_setpgid"),
    _excuse(
        "tells of a socket that the process has",
        "socket_getpeername socket_getpeersec_dgram socket_getpeersec_stream socket_getsockname socket_getsockopt",
    ),
    _excuse("how much memory there is, is no right", "vm_enough_memory"),
    # What is no act of a process.
    _excuse(
        "the kernel makes, copies or frees something",
        "backing_file_alloc backing_file_free bdev_alloc_security bdev_free_security bdev_setintegrity "
        "bpf_map_alloc_security bpf_map_free bpf_map_free_security bpf_prog_alloc_security bpf_prog_free "
        "bpf_prog_free_security bpf_token_free cred_alloc_blank cred_free cred_prepare cred_transfer d_instantiate "
        "dentry_create_files_as dentry_init_security file_alloc_security file_free_security inode_alloc_security "
        "inode_copy_up inode_copy_up_xattr inode_free_security inode_free_security_rcu inode_init_security "
        "inode_invalidate_secctx inode_killpriv inode_need_killpriv inode_setintegrity inode_xattr_skipcap "
        "initramfs_populated kernel_act_as kernel_create_files_as kernfs_init_security key_free msg_msg_alloc_security "
        "msg_msg_free_security msg_queue_free_security perf_event_free sb_alloc_security sb_delete sb_free_mnt_opts "
        "sb_free_security sem_free_security shm_free_security sk_alloc_security sk_clone_security sk_free_security "
        "sock_graft task_free task_to_inode tun_dev_alloc_security tun_dev_free_security xfrm_policy_free_security "
        "xfrm_state_free_security",
    ),
    _excuse(
        "packets and connections from outside: `socket_accept` and `socket_recvmsg` decide what the process gets",
        "inet_conn_established inet_conn_request inet_csk_clone mptcp_add_subflow req_classify_flow "
        "sctp_assoc_established sctp_assoc_request sctp_sk_clone secmark_refcount_dec secmark_refcount_inc "
        "socket_sock_rcv_skb xfrm_decode_session xfrm_policy_lookup xfrm_state_pol_flow_match",
    ),
    _excuse(
        "labels and audit rules of other security modules",
        "audit_rule_free audit_rule_init audit_rule_known audit_rule_match cred_getlsmprop cred_getsecid "
        "current_getlsmprop_subj current_getsecid_subj inode_getlsmprop inode_getsecctx inode_getsecid "
        "inode_notifysecctx inode_setsecctx ipc_getlsmprop ipc_getsecid ismaclabel lsmprop_to_secctx release_secctx "
        "sb_show_options secctx_to_secid secid_to_secctx sk_getsecid task_getlsmprop_obj task_getsecid_obj",
    ),
)


def used() -> dict[str, bool]:
    """The hooks of the engine's programs; whether a kernel may lack one."""
    return {
        program.hook.removeprefix("lsm/"): program.optional
        for program in Object("policy").programs
        if program.hook.startswith("lsm/")
    }


def excused() -> dict[str, Excuse]:
    return {hook: excuse for excuse in EXCUSES for hook in excuse.hooks}


def of_kernel() -> set[str]:
    """The hooks of the running kernel."""
    types = KernelTypes.load()
    names = {found.removeprefix(_PREFIX).decode() for found in _names(_BTF.read_bytes())}
    return {name for name in names - _NO_HOOKS if types.has_function(_PREFIX.decode() + name)}


def _names(btf: bytes) -> Iterator[bytes]:
    """Strings that may be names of hooks."""
    return (text for text in btf.split(b"\0") if text.startswith(_PREFIX))
