/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who is on the host: whose active pid namespace and network namespace are both the initial ones, and the services of the
 * host's systemd, which gives many of them a network namespace of their own.
 */
#ifndef BPFLOCK_HOST_BPF_H
#define BPFLOCK_HOST_BPF_H

/* Level 0 is the initial pid namespace and no other. thread_pid is the active one: unshare() does not move it. */
static __always_inline bool has_host_namespaces(struct task_struct *task)
{
	return task->thread_pid->level == 0 && task->nsproxy->net_ns->ns.inum == config.init_net;
}

/* Active pid namespace and network namespace are both the initial ones. */
static __always_inline bool on_host(struct task_struct *task)
{
	/*
	 * Most tasks of the host share one nsproxy. It is never freed, and setns() makes a new one even for all initial
	 * namespaces: who has this one descends from the first task without ever having left them.
	 */
	if (likely((u64)task->nsproxy == shared.init_nsproxy))
		return true;
	return has_host_namespaces(task);
}

#define NAME_PART 64 /* cgroups have long names: they are read in parts */
#define NAME_PARTS 4
#define TAIL 9	     /* of ".service", with its NUL */

static __always_inline bool is_named(struct cgroup *cgroup, const char *expected, u32 size)
{
	char name[16] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cgroup, kn, name));
	return !bpf_strncmp(name, size, expected);
}

/* Whether the cgroup's name ends so: `end` has 8 bytes with its NUL, or 9. */
static __always_inline bool ends_with(struct cgroup *cgroup, const char *end, u32 size)
{
	const char *name = BPF_CORE_READ(cgroup, kn, name);
	char part[NAME_PART] = {};
	u32 length = 0;

	for (int i = 0; i < NAME_PARTS; i++) {
		long got = bpf_probe_read_kernel_str(part, sizeof(part), name + length);

		if (got <= 0)
			return false;
		length += got - 1;
		if (got < NAME_PART)
			break;
	}
	if (length < size)
		return false;
	bpf_probe_read_kernel_str(part, TAIL, name + length + 1 - size);
	return !bpf_strncmp(part, size, end);
}

#define SLICE "system.slice"

/*
 * Whether the task is one of a service of the host's systemd, with a network namespace of its own (PrivateNetwork=).
 * Its cgroup tells: /system.slice/NAME.service, or /system.slice/system-NAME.slice/NAME@INSTANCE.service, and none below,
 * where a container may be. Only root of the host makes cgroups there. Nor has it a pid or cgroup namespace of its own:
 * containers that a service starts without a cgroup of their own have at least one of these. Global: the verifier
 * looks at it once.
 */
__noinline bool is_host_service(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct nsproxy *first = (void *)shared.init_nsproxy;
	struct cgroup *cgroup = task->cgroups->dfl_cgrp, *parent;

	if (task->thread_pid->level || shared.init_nsproxy == NO_NAMESPACE ||
	    task->nsproxy->cgroup_ns != BPF_CORE_READ(first, cgroup_ns))
		return false;
	if ((cgroup->level != 2 && cgroup->level != 3) || !ends_with(cgroup, ".service", sizeof(".service")))
		return false;
	parent = BPF_CORE_READ(cgroup, self.parent, cgroup);
	if (cgroup->level == 3) {
		if (!is_named(parent, "system-", sizeof("system-") - 1) || !ends_with(parent, ".slice", sizeof(".slice")))
			return false;
		parent = BPF_CORE_READ(parent, self.parent, cgroup);
	}
	return is_named(parent, SLICE, sizeof(SLICE));
}

#endif
