/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI of the policy engine: what a compiled policy set looks like in the kernel. Compiled by
 * src/bpflock/policy/tables.py; read by policy*.bpf.c.
 *
 * A policy set in force is three arrays, exchanged as one (a generation):
 *
 *  automaton   one automaton over all path patterns, bytes of the path in, a label out. A label stands for the set of
 *              patterns that match; label 0 for none.
 *  rights      header, profiles, which profile an executable's label selects, and the rights of each (profile, label).
 *  objects     the rules on anything but files, those of one profile side by side, first match by effect (see policy_object).
 */
#ifndef BPFLOCK_POLICY_H
#define BPFLOCK_POLICY_H

/*
 * The automaton: cells of 32 bits, the transitions of all states laid over each other (row displacement). A cell holds the
 * byte it is for in its low 8 bits, and in the others the state that this byte leads to. State S, S >= 1, on byte B != 0:
 *
 *      cell = automaton[S + B];       if (CELL_BYTE(cell) == B)  go to CELL_NEXT(cell)
 *      cell = automaton[S + 1];       if (CELL_BYTE(cell) == 1)  go to CELL_NEXT(cell): all other bytes (byte 1, see below)
 *                                     otherwise                  go to STATE_DEAD
 *
 * (No two states have the same number, so the byte also tells whose cell it is.) The label of S is
 * CELL_NEXT(automaton[S]). The walk begins in STATE_START. In STATE_DEAD no pattern can match any more; by the same steps
 * it leads to itself, and has label 0. A path begins with '/', has no '/' at its end, and is '/' alone for the root.
 * Byte 1 of a path is fed as byte 2 is: pattern classes treat both alike (a policy cannot name byte 1 alone).
 * Cells not in use are 0.
 *
 * In the kernel it lies in blocks, one value of an array each: whoever has a block needs no look-up for each cell. Block N
 * begins at cell N * BLOCK_STATES, and goes on for 256 cells of the next one: all cells of its states are in it.
 */
#define BLOCK_STATES 8192
#define BLOCK_CELLS (BLOCK_STATES + 256)

struct policy_block {
	__u32 cells[BLOCK_CELLS];
};

#define CELL_BYTE(cell) ((cell) & 0xff)
#define CELL_NEXT(cell) ((cell) >> 8)
#define STATE_DEAD 0
#define STATE_START 1

enum policy_file_access {
	FILE_READ = 1,
	FILE_WRITE = 2,
	FILE_APPEND = 4,
	FILE_EXEC = 8,
	FILE_SETATTR = 16,
	FILE_GETATTR = 32,
	FILE_RM = 64,
	FILE_LINK = 128,
	FILE_IOCTL = 256,
	FILE_CREATE = 512,
	FILE_OWN_SHIFT = 16, /* rights << 16: only on files that the program created itself */
};

enum policy_net_access {
	NET_CREATE = 1,
	NET_BIND = 2,
	NET_LISTEN = 4,
	NET_ACCEPT = 8,
	NET_CONNECT = 16,
	NET_SEND = 32,
	NET_RECV = 64,
	NET_SHUTDOWN = 128,
};

enum policy_ptrace_access {
	PTRACE_READ = 1,
	PTRACE_ATTACH = 2,
	PTRACE_TRACED = 4,
};

enum policy_operation {
	OPERATION_MOUNT = 1,
	OPERATION_BPF = 2,
	OPERATION_NAMESPACE = 4,
	OPERATION_USERFAULTFD = 8,
	OPERATION_IO_URING = 16,
	OPERATION_PERF = 32,
	OPERATION_KEYRING = 64,
	OPERATION_IPC = 128,
	OPERATION_ANON_EXEC = 256,
};
#define OPERATION_SHARED_MEMORY (1 << 16) /* of no rule: a new process shares the memory of one that is not tainted yet */


enum policy_who {
	WHO_ANY = 0,
	WHO_SELF = 1,
	WHO_PARENT = 2,
	WHO_CHILD = 3,
	WHO_EXE = 4, /* its executable: policy_object.target */
};

enum policy_kind {
	KIND_NET = 1,
	KIND_SIGNAL = 2,
	KIND_PTRACE = 3,
	KIND_PROC = 4, /* enum policy_file_access, on files of a process below procfs */
	KIND_CAPABILITY = 5,
	KIND_OPERATION = 6,
};

/*
 * rights: cells of 16 bytes; in the kernel in blocks of BLOCK_RIGHTS, as the automaton is.
 *
 *  [0]                     struct policy_header
 *  [1]                     its second half
 *  [profiles + P]          struct policy_profile of profile P; P 0 is unused: it stands for unconfined
 *  [executables + L / 4]   u32 L % 4: the profile of an executable with label L, or 0
 *  [pages + X / 4]         u32 X % 4, X = row * pages_per_row + L / PAGE_CELLS: the index in rights of the page with the
 *                          rights of (row, label L). Rows below `rows` are profiles by number, then targets of WHO_EXE,
 *                          whose rights are {1, 0, 0, 0} for the labels that match. Equal pages are stored once.
 *  [page + L % PAGE_CELLS] struct policy_rights
 *  [contexts + I]          struct policy_context
 */
#define PAGE_CELLS 64
#define BLOCK_RIGHTS 1024

struct policy_header {
	__u32 generation;
	__u32 profiles;
	__u32 executables;
	__u32 pages;
	__u32 pages_per_row;
	__u32 contexts;
	__u32 labels;
	__u32 rows;
};

enum policy_profile_flags {
	PROFILE_TAINTS = 1,	/* has taint rules: not enforced before one of them matches */
	PROFILE_COMPLAINS = 2,	/* tells what it would deny, and allows it */
	PROFILE_CHANGED = 4,	/* is not what it was in the set before, or was not there */
};

struct policy_profile {
	__u32 flags;	/* enum policy_profile_flags; 0 also for a number that is not in use: then `used` is 0 */
	__u32 used;
	__u32 first;	/* its objects: objects[first .. first + count - 1] */
	__u32 count;
};

/*
 * Each a mask of enum policy_file_access. `allow` and `audit` hold without any function; `contexts` is the first of the
 * contexts (I above) in the low 24 bits and their number (at most 255) in the high 8. Bits of `allow` from FILE_OWN_SHIFT on are
 * the rights on files that the program created itself.
 * For FILE_EXEC, flags in `taint` say what becomes of the subject: EXEC_TRANSITION, EXEC_UNTAINT.
 */
struct policy_rights {
	__u32 allow;
	__u32 audit;
	__u32 taint;
	__u32 contexts;
};
struct policy_rights_block {
	struct policy_rights cells[BLOCK_RIGHTS];
};
#define EXEC_TRANSITION (1U << 30)
#define EXEC_UNTAINT (1U << 31)

/* Rights within functions: while the thread is in all of them (0: none). Numbers of functions are those of the loader. */
struct policy_context {
	__u32 functions[2];
	__u32 allow;
	__u32 audit; /* and EXEC_TRANSITION, EXEC_UNTAINT */
};

/*
 * Signals are bit (number - 1). What else one process does to another, `extra` says: kill(pid, 0), and what has a number of its
 * own behind the signals.
 */
enum policy_signal_extra {
	SIGNAL_CHECK = 1,
	SIGNAL_LIMITS = 2,	/* number 65 */
	SIGNAL_PRIORITY = 4,	/* number 66 */
	SIGNAL_MEMORY = 8,	/* number 67 */
};
#define SIGNALS 64
#define ANY_FAMILY 0xffff
#define ANY_PROTOCOL 0xffffffffU

enum policy_effect {
	EFFECT_ALLOW = 1,
	EFFECT_AUDIT = 2,
	EFFECT_TAINT = 4,
};

/* One rule on something other than a file. All rules that match count: any with EFFECT_ALLOW allows, and so on. */
struct policy_object {
	__u8 kind;	/* enum policy_kind */
	__u8 who;	/* enum policy_who */
	__u8 effect;	/* enum policy_effect */
	__u8 prefix;	/* bits of addr that must match; 0: any address, unless `addressed` */
	__u16 family;	/* AF_*, or ANY_FAMILY */
	__u16 type;	/* SOCK_*, or 0 for any */
	__u32 protocol; /* or ANY_PROTOCOL */
	__u16 port_first; /* host byte order, 0 to 65535 for any */
	__u16 port_last;
	__u64 mask;	/* accesses; signals; capabilities; operations */
	__u32 functions[2];
	__u32 target;	/* row of the target, for WHO_EXE */
	__u8 addressed;	/* names an address or a port: matches no access without one */
	__u8 extra;	/* enum policy_signal_extra */
	__u16 pad;
	__u8 addr[16];	/* IPv4 in the first 4 bytes */
};

#endif
