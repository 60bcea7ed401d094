/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI between the BPF programs and user space: profiles, configuration, event records, counters, shared maps.
 * User space reads every number and layout below from the BTF of the compiled objects; this is their only copy.
 */
#ifndef BPFLOCK_H
#define BPFLOCK_H

#define COMM_LEN 16
#define PATH_SHORT 256	/* most paths; reserved first */
#define PATH_LONG 4096	/* PATH_MAX; reserved when the short record was full */

#define OPS 64		/* operations of one lock, a power of two: masks are 64 bits wide */
#define OP_CANARY 63	/* not an operation: counts canary denials */
#define OP_OTHER 62	/* an operation that this version does not know by name */
#define OP_EXTRA 61	/* bpfrestrict: bpf_write */

enum bpflock_profile {
	PROFILE_NONE = 0, /* tracers only: nothing is traced */
	PROFILE_ALLOW = 1,
	PROFILE_BASELINE = 2,
	PROFILE_RESTRICTED = 3,
	PROFILE_ALL = 4, /* tracers only */
	PROFILE_FILTER = 5, /* tracers only: tasks whose cgroup is in the map */
};

enum bpflock_lock {
	LOCK_GUARD = 0,
	LOCK_KIMGLOCK = 1,
	LOCK_KMODLOCK = 2,
	LOCK_BPFRESTRICT = 3,
	LOCK_FILELESSLOCK = 4,
	LOCK_EXECSNOOP = 5,
	LOCK_NSLOCK = 6,
	LOCK_USBLOCK = 7,
	LOCK_ROOTFSLOCK = 8,
	LOCK_SYSFSLOCK = 9,
	LOCK_NETLOCK = 10,
	LOCK_PRIVSNOOP = 11,
	LOCK_POLICY = 12, /* no lock: the policy engine, see policy.h */
};

/*
 * The operations of each lock: bits of the masks, indices of the counters. User space finds the number of an operation
 * by its name, LOCK_OPERATION.
 */

enum kimglock_op {
	KIMGLOCK_UNSIGNED_MODULE = 0,
	KIMGLOCK_DEV_MEM = 1,
	KIMGLOCK_EFI_TEST = 2,
	KIMGLOCK_KEXEC = 3,
	KIMGLOCK_HIBERNATION = 4,
	KIMGLOCK_PCI_ACCESS = 5,
	KIMGLOCK_IOPORT = 6,
	KIMGLOCK_MSR = 7,
	KIMGLOCK_ACPI_TABLES = 8,
	KIMGLOCK_DEVICE_TREE = 9,
	KIMGLOCK_PCMCIA_CIS = 10,
	KIMGLOCK_TIOCSSERIAL = 11,
	KIMGLOCK_UNSAFE_MODULE_PARAMETERS = 12,
	KIMGLOCK_MMIOTRACE = 13,
	KIMGLOCK_DEBUGFS = 14,
	KIMGLOCK_XMON_WR = 15,
	KIMGLOCK_BPF_WRITE = 16,
	KIMGLOCK_DBG_WRITE_KERNEL = 17,
	KIMGLOCK_RTAS_ERROR_INJECTION = 18,
	KIMGLOCK_XEN_USER_ACTIONS = 19,
	KIMGLOCK_KCORE = 20,
	KIMGLOCK_KPROBES = 21,
	KIMGLOCK_BPF_READ = 22,
	KIMGLOCK_DBG_READ_KERNEL = 23,
	KIMGLOCK_PERF = 24,
	KIMGLOCK_TRACEFS = 25,
	KIMGLOCK_XMON = 26,
	KIMGLOCK_XFRM_SECRET = 27,
};

enum kmodlock_op {
	KMODLOCK_LOAD_MODULE = 0,
	KMODLOCK_AUTOLOAD_MODULE = 1,
	KMODLOCK_UNSIGNED_MODULE = 2,
	KMODLOCK_UNSAFE_MODULE_PARAMETERS = 3,
};

/* As enum bpf_cmd (uapi/linux/bpf.h), whose numbers are stable; bpf_write is no command. */
enum bpfrestrict_op {
	BPFRESTRICT_MAP_CREATE = 0,
	BPFRESTRICT_MAP_LOOKUP_ELEM = 1,
	BPFRESTRICT_MAP_UPDATE_ELEM = 2,
	BPFRESTRICT_MAP_DELETE_ELEM = 3,
	BPFRESTRICT_MAP_GET_NEXT_KEY = 4,
	BPFRESTRICT_PROG_LOAD = 5,
	BPFRESTRICT_OBJ_PIN = 6,
	BPFRESTRICT_OBJ_GET = 7,
	BPFRESTRICT_PROG_ATTACH = 8,
	BPFRESTRICT_PROG_DETACH = 9,
	BPFRESTRICT_PROG_TEST_RUN = 10,
	BPFRESTRICT_PROG_GET_NEXT_ID = 11,
	BPFRESTRICT_MAP_GET_NEXT_ID = 12,
	BPFRESTRICT_PROG_GET_FD_BY_ID = 13,
	BPFRESTRICT_MAP_GET_FD_BY_ID = 14,
	BPFRESTRICT_OBJ_GET_INFO_BY_FD = 15,
	BPFRESTRICT_PROG_QUERY = 16,
	BPFRESTRICT_RAW_TRACEPOINT_OPEN = 17,
	BPFRESTRICT_BTF_LOAD = 18,
	BPFRESTRICT_BTF_GET_FD_BY_ID = 19,
	BPFRESTRICT_TASK_FD_QUERY = 20,
	BPFRESTRICT_MAP_LOOKUP_AND_DELETE_ELEM = 21,
	BPFRESTRICT_MAP_FREEZE = 22,
	BPFRESTRICT_BTF_GET_NEXT_ID = 23,
	BPFRESTRICT_MAP_LOOKUP_BATCH = 24,
	BPFRESTRICT_MAP_LOOKUP_AND_DELETE_BATCH = 25,
	BPFRESTRICT_MAP_UPDATE_BATCH = 26,
	BPFRESTRICT_MAP_DELETE_BATCH = 27,
	BPFRESTRICT_LINK_CREATE = 28,
	BPFRESTRICT_LINK_UPDATE = 29,
	BPFRESTRICT_LINK_GET_FD_BY_ID = 30,
	BPFRESTRICT_LINK_GET_NEXT_ID = 31,
	BPFRESTRICT_ENABLE_STATS = 32,
	BPFRESTRICT_ITER_CREATE = 33,
	BPFRESTRICT_LINK_DETACH = 34,
	BPFRESTRICT_PROG_BIND_MAP = 35,
	BPFRESTRICT_TOKEN_CREATE = 36,
	BPFRESTRICT_PROG_STREAM_READ_BY_FD = 37,
	BPFRESTRICT_PROG_ASSOC_STRUCT_OPS = 38,
	BPFRESTRICT_BPF_WRITE = OP_EXTRA,
};

enum filelesslock_op {
	FILELESSLOCK_MEMFD = 0,
	FILELESSLOCK_SHM = 1,
	FILELESSLOCK_TMPFILE = 2,
	FILELESSLOCK_UNLINKED = 3,
	FILELESSLOCK_ANON_MAP = 4,
	FILELESSLOCK_MEMFD_SHARED = 5,
};

/* The types first: nslock.bpf.c counts on it. */
enum nslock_op {
	NSLOCK_USER = 0,
	NSLOCK_PID = 1,
	NSLOCK_NET = 2,
	NSLOCK_MNT = 3,
	NSLOCK_UTS = 4,
	NSLOCK_IPC = 5,
	NSLOCK_CGROUP = 6,
	NSLOCK_TIME = 7,
	NSLOCK_SETNS = 8,
};

enum rootfslock_op {
	ROOTFSLOCK_WRITE = 0,
	ROOTFSLOCK_REMOUNT = 1,
	ROOTFSLOCK_MOUNT = 2,
};

enum sysfslock_op {
	SYSFSLOCK_WRITE = 0,
	SYSFSLOCK_READ = 1,
};

enum netlock_op {
	NETLOCK_RAW = 0,
	NETLOCK_PACKET = 1,
	NETLOCK_NETLINK_ROUTE = 2,
	NETLOCK_NETLINK_DIAG = 3,
	NETLOCK_NETLINK_XFRM = 4,
	NETLOCK_NETLINK_AUDIT = 5,
	NETLOCK_NETLINK_NETFILTER = 6,
	NETLOCK_NETLINK_UEVENT = 7,
	NETLOCK_NETLINK_GENERIC = 8,
	NETLOCK_NETLINK_OTHER = 9,
	NETLOCK_BLUETOOTH = 10,
	NETLOCK_VSOCK = 11,
	NETLOCK_ALG = 12,
	NETLOCK_CAN = 13,
	NETLOCK_XDP = 14,
	NETLOCK_KEY = 15,
	NETLOCK_TIPC = 16,
	NETLOCK_RDS = 17,
	NETLOCK_NFC = 18,
	NETLOCK_SMC = 19,
	NETLOCK_KCM = 20,
	NETLOCK_RXRPC = 21,
	NETLOCK_FAMILY_OTHER = 22,
	NETLOCK_MPTCP = 23,
	NETLOCK_SCTP = 24,
	NETLOCK_PROTOCOL_OTHER = 25,
	NETLOCK_LISTEN = 26,
	NETLOCK_LISTEN_PRIVILEGED = 27,
	NETLOCK_BIND_PRIVILEGED = 28,
};

/* The capabilities as uapi/linux/capability.h numbers them. */
enum privsnoop_op {
	PRIVSNOOP_CAP_CHOWN = 0,
	PRIVSNOOP_CAP_DAC_OVERRIDE = 1,
	PRIVSNOOP_CAP_DAC_READ_SEARCH = 2,
	PRIVSNOOP_CAP_FOWNER = 3,
	PRIVSNOOP_CAP_FSETID = 4,
	PRIVSNOOP_CAP_KILL = 5,
	PRIVSNOOP_CAP_SETGID = 6,
	PRIVSNOOP_CAP_SETUID = 7,
	PRIVSNOOP_CAP_SETPCAP = 8,
	PRIVSNOOP_CAP_LINUX_IMMUTABLE = 9,
	PRIVSNOOP_CAP_NET_BIND_SERVICE = 10,
	PRIVSNOOP_CAP_NET_BROADCAST = 11,
	PRIVSNOOP_CAP_NET_ADMIN = 12,
	PRIVSNOOP_CAP_NET_RAW = 13,
	PRIVSNOOP_CAP_IPC_LOCK = 14,
	PRIVSNOOP_CAP_IPC_OWNER = 15,
	PRIVSNOOP_CAP_SYS_MODULE = 16,
	PRIVSNOOP_CAP_SYS_RAWIO = 17,
	PRIVSNOOP_CAP_SYS_CHROOT = 18,
	PRIVSNOOP_CAP_SYS_PTRACE = 19,
	PRIVSNOOP_CAP_SYS_PACCT = 20,
	PRIVSNOOP_CAP_SYS_ADMIN = 21,
	PRIVSNOOP_CAP_SYS_BOOT = 22,
	PRIVSNOOP_CAP_SYS_NICE = 23,
	PRIVSNOOP_CAP_SYS_RESOURCE = 24,
	PRIVSNOOP_CAP_SYS_TIME = 25,
	PRIVSNOOP_CAP_SYS_TTY_CONFIG = 26,
	PRIVSNOOP_CAP_MKNOD = 27,
	PRIVSNOOP_CAP_LEASE = 28,
	PRIVSNOOP_CAP_AUDIT_WRITE = 29,
	PRIVSNOOP_CAP_AUDIT_CONTROL = 30,
	PRIVSNOOP_CAP_SETFCAP = 31,
	PRIVSNOOP_CAP_MAC_OVERRIDE = 32,
	PRIVSNOOP_CAP_MAC_ADMIN = 33,
	PRIVSNOOP_CAP_SYSLOG = 34,
	PRIVSNOOP_CAP_WAKE_ALARM = 35,
	PRIVSNOOP_CAP_BLOCK_SUSPEND = 36,
	PRIVSNOOP_CAP_AUDIT_READ = 37,
	PRIVSNOOP_CAP_PERFMON = 38,
	PRIVSNOOP_CAP_BPF = 39,
	PRIVSNOOP_CAP_CHECKPOINT_RESTORE = 40,
	PRIVSNOOP_MOUNT = 41,
	PRIVSNOOP_UMOUNT = 42,
	PRIVSNOOP_PTRACE = 43,
	PRIVSNOOP_SETUID = 44,
	PRIVSNOOP_SETGID = 45,
	PRIVSNOOP_MODULE = 46,
	PRIVSNOOP_BPF = 47,
	PRIVSNOOP_NAMESPACE = 48,
	PRIVSNOOP_SETTIME = 49,
};

enum execsnoop_op {
	EXECSNOOP_EXECVE = 0,
	EXECSNOOP_EXECVEAT = 1,
	EXECSNOOP_EXIT = 2,
};

/* The first two are writes to sysfs; the others are kinds of devices, which user space decides on. */
enum usblock_op {
	USBLOCK_AUTHORIZE = 0,
	USBLOCK_BIND = 1,
	USBLOCK_AUDIO = 2,
	USBLOCK_NET = 3,
	USBLOCK_HID = 4,
	USBLOCK_IMAGE = 5,
	USBLOCK_PRINTER = 6,
	USBLOCK_STORAGE = 7,
	USBLOCK_HUB = 8,
	USBLOCK_SMARTCARD = 9,
	USBLOCK_VIDEO = 10,
	USBLOCK_WIRELESS = 11,
	USBLOCK_VENDOR = 12,
	USBLOCK_MISC = 13,
};

enum bpflock_event_type {
	EVENT_LSM_LOCKED_DOWN = 1,
	EVENT_LSM_FILE_OPEN = 2,
	EVENT_LSM_KERNEL_READ_FILE = 3,
	EVENT_LSM_KERNEL_LOAD_DATA = 4,
	EVENT_LSM_KERNEL_MODULE_REQUEST = 5,
	EVENT_LSM_BPF = 6,
	EVENT_LSM_BPRM_CHECK_SECURITY = 7,
	EVENT_LSM_BPRM_CREDS_FROM_FILE = 8,
	EVENT_LSM_MMAP_FILE = 9,
	EVENT_LSM_FILE_MPROTECT = 10,
	EVENT_SYSCALL_EXECVE = 11,
	EVENT_SYSCALL_EXECVEAT = 12,
	EVENT_CGROUP_SYSCTL = 13,
	EVENT_CGROUP_DEVICE = 14,
	EVENT_LSM_TASK_ALLOC = 20,
	EVENT_LSM_USERNS_CREATE = 21,
	EVENT_LSM_CAPABLE = 22,
	EVENT_SECURITY_CAPABLE = 23,
	EVENT_SECURITY_SB_MOUNT = 24,
	EVENT_SECURITY_MOVE_MOUNT = 25,
	EVENT_SECURITY_SB_UMOUNT = 26,
	EVENT_SECURITY_PTRACE_ACCESS_CHECK = 27,
	EVENT_SECURITY_TASK_FIX_SETUID = 28,
	EVENT_SECURITY_TASK_FIX_SETGID = 29,
	EVENT_LSM_FILE_PERMISSION = 30,
	EVENT_LSM_INODE_SETATTR = 31, /* and the hooks of its kind: inode_set_acl, ... */
	EVENT_LSM_INODE_SETXATTR = 32, /* and inode_removexattr */
	EVENT_LSM_SB_MOUNT = 34,
	EVENT_LSM_SB_REMOUNT = 35,
	EVENT_LSM_MOVE_MOUNT = 36,
	EVENT_LSM_INODE_CREATE = 37, /* and inode_mkdir, inode_mknod, inode_symlink, inode_link */
	EVENT_LSM_INODE_UNLINK = 38, /* and inode_rmdir */
	EVENT_LSM_INODE_RENAME = 39,
	EVENT_LSM_SOCKET_CREATE = 50,
	EVENT_LSM_SOCKET_BIND = 51,
	EVENT_LSM_SOCKET_LISTEN = 52,
	EVENT_SECURITY_KERNEL_READ_FILE = 53,
	EVENT_SECURITY_KERNEL_LOAD_DATA = 54,
	EVENT_SECURITY_BPF = 55,
	EVENT_SECURITY_SETTIME64 = 56,
	EVENT_MAKE_NAMESPACE = 57,
	EVENT_SCHED_PROCESS_EXIT = 58,

	/* Of the policy engine. Hooks named above keep their number. */
	EVENT_LSM_PATH_UNLINK = 80,
	EVENT_LSM_PATH_RMDIR = 81,
	EVENT_LSM_PATH_MKDIR = 82,
	EVENT_LSM_PATH_MKNOD = 83,
	EVENT_LSM_PATH_SYMLINK = 84,
	EVENT_LSM_PATH_LINK = 85,
	EVENT_LSM_PATH_RENAME = 86,
	EVENT_LSM_PATH_TRUNCATE = 87,
	EVENT_LSM_PATH_CHMOD = 88,
	EVENT_LSM_PATH_CHOWN = 89,
	EVENT_LSM_INODE_GETATTR = 90,
	EVENT_LSM_FILE_IOCTL = 91, /* and file_ioctl_compat */
	EVENT_LSM_FILE_RECEIVE = 92,
	EVENT_LSM_FILE_FCNTL = 93,
	EVENT_LSM_SOCKET_ACCEPT = 100,
	EVENT_LSM_SOCKET_CONNECT = 101,
	EVENT_LSM_SOCKET_SENDMSG = 102,
	EVENT_LSM_SOCKET_RECVMSG = 103,
	EVENT_LSM_SOCKET_SHUTDOWN = 104,
	EVENT_LSM_TASK_KILL = 105,
	EVENT_LSM_PTRACE_ACCESS_CHECK = 106,
	EVENT_LSM_PTRACE_TRACEME = 107,
	EVENT_LSM_SB_UMOUNT = 108,
	EVENT_LSM_SB_PIVOTROOT = 109,
	EVENT_LSM_INODE_INIT_SECURITY_ANON = 110,
	EVENT_LSM_PERF_EVENT_OPEN = 111,
	EVENT_LSM_KEY_ALLOC = 112,
	EVENT_LSM_KEY_PERMISSION = 113,
	EVENT_LSM_IPC_PERMISSION = 114,
	EVENT_LSM_MSG_QUEUE_ALLOC_SECURITY = 115,
	EVENT_LSM_SHM_ALLOC_SECURITY = 116,
	EVENT_LSM_SEM_ALLOC_SECURITY = 117,
	EVENT_LSM_MSG_QUEUE_MSGCTL = 118,
	EVENT_LSM_SHM_SHMCTL = 119,
	EVENT_LSM_SEM_SEMCTL = 120,
	EVENT_LSM_MMAP_ADDR = 121,
	EVENT_LSM_INODE_REMOVEXATTR = 122,
	EVENT_LSM_INODE_SET_ACL = 123,
	EVENT_LSM_INODE_REMOVE_ACL = 124,
	EVENT_LSM_INODE_FILE_SETATTR = 125,
	EVENT_LSM_INODE_GETXATTR = 126,
	EVENT_LSM_INODE_LISTXATTR = 127,
	EVENT_LSM_INODE_GET_ACL = 128,
	EVENT_LSM_INODE_FILE_GETATTR = 129,
	EVENT_LSM_UNIX_STREAM_CONNECT = 130,
	EVENT_LSM_UNIX_MAY_SEND = 131,
	EVENT_LSM_TASK_SETRLIMIT = 132,
	EVENT_LSM_TASK_SETSCHEDULER = 133,
	EVENT_LSM_TASK_SETNICE = 134,
	EVENT_LSM_TASK_SETIOPRIO = 135,
	EVENT_LSM_TASK_MOVEMEMORY = 136,
	EVENT_LSM_URING_CMD = 137,
	EVENT_LSM_PATH_NOTIFY = 140,
	EVENT_LSM_SCTP_BIND_CONNECT = 141,
	EVENT_LSM_SYSLOG = 142,
};

/* Why an access was allowed or denied. Those from REASON_DENIED_BASELINE on are denials. */
enum bpflock_reason {
	REASON_ALLOW_PRIVILEGED = 1,
	REASON_ALLOW_CGROUP = 2,
	REASON_ALLOW_BPFLOCK = 3,
	REASON_BASELINE = 4,
	REASON_BASELINE_ALLOWED = 5,
	REASON_TRACED = 6,
	REASON_PERMITTED = 15, /* traced: it was not denied */
	REASON_AUDIT_POLICY = 7,
	REASON_TAINT_POLICY = 8,
	REASON_COMPLAIN_POLICY = 9, /* the profile complains only: this would be denied */
	REASON_ALLOW_EXCEPTED = 10,
	REASON_ALLOW_SESSION = 11,
	REASON_DENIED_BASELINE = 16,
	REASON_DENIED_RESTRICTED = 17,
	REASON_DENIED_BLOCKED = 18,
	REASON_DENIED_CGROUP_BASELINE = 19,
	REASON_DENIED_CGROUP_RESTRICTED = 20,
	REASON_DENIED_GUARD = 21,
	REASON_DENIED_CANARY = 22,
	REASON_DENIED_KERNEL = 23, /* traced: it was, by whomever */
	REASON_DENIED_POLICY = 32,
	REASON_DENIED_NO_PATH = 33, /* of a confined task: the file has no path in the task's mount namespace */
	REASON_DENIED_TOO_DEEP = 34, /* its path is too long or too deep, or kept changing while it was read */
	REASON_DENIED_NO_MEMORY = 35,
	REASON_DENIED_ENVIRONMENT = 36, /* of an exec that changes the profile, or ends taint */
	REASON_DENIED_TOO_MANY = 37, /* more files are open at an exec than are looked up */
	REASON_DENIED_FOLDS = 38, /* its directory takes other spellings of the name, which have other rights */
};

/* One lock's configuration, in .rodata: constant before load, so that the verifier drops what it switches off. */
struct bpflock_config {
	__u64 block;	/* bit N: operation N is denied to everyone under allow and baseline */
	__u64 allow;	/* bit N: baseline grants operation N also outside the host */
	__u64 session;	/* bit N: operation N is granted to tasks of a session under baseline and restricted */
	__u64 build;	/* identifies the object that user space loaded */
	__u32 profile;	/* enum bpflock_profile */
	__u32 init_net;	/* inode number of the initial network namespace */
	__u32 kinds;	/* of sessions, bits of enum bpflock_session_kind: which of them those are */
	__u32 cpu_mask;	/* of the number of a CPU: which counters are its own */
};

enum bpflock_session_kind {
	SESSION_LOCAL = 1, /* of somebody who is logged in at a seat of this machine */
	SESSION_ACTIVE = 2, /* and in the foreground there */
};

/*
 * By the id of a session's cgroup; by SESSION_ANY what is known of all sessions together. The daemon renews an entry for
 * as long as it knows how the session is: of a daemon that has died, no entry stays valid.
 */
struct bpflock_session {
	__u64 until;	/* ns of CLOCK_MONOTONIC */
	__u32 kinds;	/* bits of enum bpflock_session_kind */
	__u32 pad;
};
#define SESSION_ANY 0xffffffffffffffffULL /* no cgroup's: not 0, which a helper answers that finds none */

/* Of one operation on one CPU, so that counting never bounces a cache line between CPUs. */
struct bpflock_counter {
	__u64 allowed;
	__u64 denied;
	__u64 limited;	/* counted above, but not sent: the same subject repeated itself */
	__u64 dropped;	/* counted above, but lost: the ring buffer was full */
	__u64 repeated;	/* not counted above: both allowed and limited, as the last one was */
	__u64 last;	/* who was allowed what last here: repeats need no further look-up */
	__u64 quiet;	/* who will not be told of, and until when: no further look-up, either */
	__u32 zero;	/* always: but the verifier does not know it */
	__u32 pad;
};

/* What user space and the guard tell all locks. */
struct bpflock_shared {
	__u32 cgroups;	/* entries in bpflock_cgroupmap: while it is 0, no hook searches the map */
	__u32 canary;	/* a task is a canary: while it is 0, no hook asks whether its task is */
	__u64 init_nsproxy; /* address of the namespaces that the first task has, or NO_NAMESPACE */
	__u64 init_net;	/* address of the initial network namespace, or NO_NAMESPACE */
	/* The same two while no cgroup has an entry and no task is a canary, else NO_NAMESPACE: one comparison for all. */
	__u64 plain_nsproxy;
	__u64 plain_net;
};
#define NO_NAMESPACE 1

/* Rate limiter: per subject, lock, operation and reason. */
struct bpflock_limit_key {
	__u32 tgid;
	__u8 lock;
	__u8 op;
	__u16 reason;
};

struct bpflock_limit {
	__u64 since;	/* start of the window, ns of CLOCK_BOOTTIME */
	__u64 object;	/* the last object an event was sent for */
	__u32 sent;	/* events sent in this window */
	__u32 repeats;	/* suppressed since the last event */
};

/* A task of bpflock itself, or its canary. Never inherited; exec drops it. */
struct bpflock_own {
	__u64 exec_id;	/* task_struct.self_exec_id when it entered */
	__u32 canary;	/* ENTER_CANARY + the lock whose canary it is, or 0 */
	__u32 pad;
};

/* A record of the ring buffer. path_len bytes of path follow, without a terminating NUL; the rest is not defined. */
struct bpflock_event {
	__u32 size;	/* of the whole record as reserved, bytes */
	__u32 path_len;
	__u64 time;	/* ns of CLOCK_BOOTTIME */
	__u64 cgroup;	/* id in the unified hierarchy */
	__u64 object;	/* what tells two objects of one operation apart: an inode number, or 0 */
	__u32 tgid;
	__u32 pid;
	__u32 ppid;
	__u32 uid;	/* in the initial user namespace */
	enum bpflock_lock lock;
	enum bpflock_event_type type;
	enum bpflock_reason reason;
	__u32 op;
	__s32 retval;
	__u32 repeats;	/* events of this kind suppressed since the one before */
	char comm[COMM_LEN];
	char pcomm[COMM_LEN];
};

/* prctl(PRCTL_BPFLOCK, key[0], key[1], key[2], mode): see guard.bpf.c */
#define PRCTL_BPFLOCK 0x62706c6b /* "bplk" */
enum bpflock_enter {
	ENTER_LEAVE = 0,
	ENTER_OWN = 1,
	ENTER_CANARY = 2, /* plus enum bpflock_lock */
};

/* Puts the types above into an object's BTF, where user space finds them (guard.bpf.c). Never read. */
struct bpflock_abi {
	struct bpflock_event event;
	enum bpflock_profile profile;
	enum bpflock_enter enter;
	enum bpflock_session_kind session;
};

#endif
