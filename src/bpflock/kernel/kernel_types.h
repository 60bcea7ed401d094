/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running kernel's types, read once for all objects that are loaded.
 *
 * By itself libbpf reads and searches all types of the kernel (6 MB) again for each object, each of its types and each of
 * its programs: most of the time that loading takes. So it is given what it needs:
 *
 *  - for CO-RE, as btf_custom_path, a file with only those types of the kernel that the object has, too, by name;
 *  - what a program attaches to, by handlers of our own for the sections. Programs have a stand-in's type until they are
 *    loaded, or libbpf would read the kernel's types for them.
 *
 * The types in the file have numbers of their own: bpf_core_type_id_kernel() would give a wrong one, so no program may use
 * it. What pointers point to is left out: CO-RE compares pointers as such.
 */
#ifndef BPFLOCK_KERNEL_TYPES_H
#define BPFLOCK_KERNEL_TYPES_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define BUCKETS (1 << 15)

/* Types by name. */
struct bl_kernel {
	const struct btf *btf; /* the caller's */
	__u32 *next; /* by type: one with the same hash, or 0 */
	__u32 first[BUCKETS];
};

static __u32 name_hash(const char *name, size_t length)
{
	__u32 hash = 2166136261U; /* FNV-1a */

	while (length--)
		hash = (hash ^ (unsigned char)*name++) * 16777619U;
	return (hash ^ hash >> 15) % BUCKETS;
}

static void bl_kernel_free(struct bl_kernel *kernel)
{
	if (kernel)
		free(kernel->next);
	free(kernel);
}

static struct bl_kernel *bl_kernel_new(const struct btf *btf)
{
	__u32 count = btf__type_cnt(btf);
	struct bl_kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel)
		return NULL;
	kernel->btf = btf;
	kernel->next = calloc(count, sizeof(*kernel->next));
	if (!kernel->next) {
		free(kernel);
		return NULL;
	}
	for (__u32 id = count - 1; id; id--) { /* backwards: the first of a name is found first */
		const char *name = btf__name_by_offset(btf, btf__type_by_id(btf, id)->name_off);
		__u32 hash;

		if (!name || !*name)
			continue;
		hash = name_hash(name, strlen(name));
		kernel->next[id] = kernel->first[hash];
		kernel->first[hash] = id;
	}
	return kernel;
}

/* The next type of that name after one, or the first; 0 if there is none. */
static __u32 next_named(const struct bl_kernel *kernel, __u32 after, const char *name, size_t length)
{
	__u32 id = after ? kernel->next[after] : kernel->first[name_hash(name, length)];

	for (; id; id = kernel->next[id]) {
		const char *found = btf__name_by_offset(kernel->btf, btf__type_by_id(kernel->btf, id)->name_off);

		if (!strncmp(found, name, length) && !found[length])
			return id;
	}
	return 0;
}

static __u32 bl_kernel_find(const struct bl_kernel *kernel, const char *name, __u32 kind)
{
	size_t length = strlen(name);
	__u32 id = next_named(kernel, 0, name, length);

	while (id && btf_kind(btf__type_by_id(kernel->btf, id)) != kind)
		id = next_named(kernel, id, name, length);
	return id;
}

/* Types on their way from the kernel's to a smaller set. */
struct extract {
	const struct btf *from;
	struct btf *to;
	__u32 *number; /* in `to`, by that in `from`; 0: not there */
	__u32 *waiting; /* in `from`: those whose own types are still to be followed */
	__u32 count;
	__u32 pointer; /* to void, in place of all pointers */
};

/* The number of the type in the smaller set, where it is put if it is not there yet; negative: an errno. */
static int take(struct extract *extract, __u32 id)
{
	const struct btf_type *type = btf__type_by_id(extract->from, id);
	int number;

	if (!id)
		return 0;
	if (!type)
		return -EINVAL;
	if (extract->number[id])
		return extract->number[id];
	if (btf_is_ptr(type) || btf_is_func_proto(type)) {
		if (!extract->pointer) {
			number = btf__add_ptr(extract->to, 0);
			if (number < 0)
				return number;
			extract->pointer = number;
		}
		return extract->number[id] = extract->pointer;
	}
	number = btf__add_type(extract->to, extract->from, type);
	if (number < 0)
		return number;
	extract->number[id] = number;
	extract->waiting[extract->count++] = id;
	return number;
}

/* Take what a type that was taken is made of, and let it refer to that. */
static int follow(struct extract *extract, __u32 id)
{
	const struct btf_type *from = btf__type_by_id(extract->from, id);
	int number, index;

	/* Each taking may move what is in `to`: look it up afterwards. */
#define REFER(old, new)                                                                          \
	do {                                                                                     \
		struct btf_type *type;                                                           \
		number = take(extract, old);                                                     \
		if (number < 0)                                                                  \
			return number;                                                           \
		type = (struct btf_type *)btf__type_by_id(extract->to, extract->number[id]);     \
		new = number;                                                                    \
	} while (0)

	if (btf_is_composite(from)) {
		for (index = 0; index < btf_vlen(from); index++)
			REFER(btf_members(from)[index].type, btf_members(type)[index].type);
	} else if (btf_is_array(from)) {
		REFER(btf_array(from)->type, btf_array(type)->type);
		REFER(btf_array(from)->index_type, btf_array(type)->index_type);
	} else if (btf_is_mod(from) || btf_is_typedef(from) || btf_is_type_tag(from)) {
		REFER(from->type, type->type);
	}
#undef REFER
	return 0;
}

/* The length of a name without its flavor: task_struct___flags is task_struct. */
static size_t without_flavor(const char *name)
{
	size_t length = strlen(name);

	for (size_t at = length < 5 ? 0 : length - 4; at-- > 0;)
		if (name[at] != '_' && !strncmp(name + at + 1, "___", 3) && name[at + 4] != '_')
			return at + 1;
	return length;
}

static int extract_named(struct extract *extract, const struct bl_kernel *kernel, const struct btf *object)
{
	__u32 count = btf__type_cnt(object);

	for (__u32 local = 1; local < count; local++) {
		const struct btf_type *type = btf__type_by_id(object, local);
		const char *name = btf__name_by_offset(object, type->name_off);
		size_t length;

		if (!name || !*name || !(btf_is_composite(type) || btf_is_any_enum(type) || btf_is_typedef(type)))
			continue;
		length = without_flavor(name);
		for (__u32 id = 0; (id = next_named(kernel, id, name, length));) {
			const struct btf_type *found = btf__type_by_id(kernel->btf, id);
			int number = 0;

			if (btf_is_composite(found) || btf_is_any_enum(found) || btf_is_typedef(found))
				number = take(extract, id);
			if (number < 0)
				return number;
		}
	}
	while (extract->count) {
		int error = follow(extract, extract->waiting[--extract->count]);

		if (error)
			return error;
	}
	return 0;
}

/* Write to a file those types of the kernel whose names the object has, with all that is in them. 0 or -errno. */
static int write_types(const struct bl_kernel *kernel, const struct btf *object, int fd)
{
	struct extract extract = { .from = kernel->btf, .to = btf__new_empty() };
	__u32 size, total = btf__type_cnt(kernel->btf);
	const char *data;
	int error = -ENOMEM;

	extract.number = calloc(total, sizeof(__u32));
	extract.waiting = calloc(total, sizeof(__u32));
	if (extract.to && extract.number && extract.waiting)
		error = extract_named(&extract, kernel, object);
	if (!error) {
		data = btf__raw_data(extract.to, &size);
		if (!data)
			error = -ENOMEM;
		else if (pwrite(fd, data, size, 0) != (ssize_t)size || ftruncate(fd, size))
			error = -EIO;
	}
	free(extract.number);
	free(extract.waiting);
	btf__free(extract.to);
	return error;
}

/* What the program of a section attaches to: a type of the kernel. */
static const struct section {
	const char *name, *prefix;
	enum bpf_prog_type program;
	enum bpf_attach_type attach;
	__u32 kind;
} sections[] = {
	{ "lsm+", "bpf_lsm_", BPF_PROG_TYPE_LSM, BPF_LSM_MAC, BTF_KIND_FUNC },
	{ "tp_btf+", "btf_trace_", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, BTF_KIND_TYPEDEF },
	{ "fentry+", "", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, BTF_KIND_FUNC },
	{ "fexit+", "", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, BTF_KIND_FUNC },
	{ "iter+", "bpf_iter_", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, BTF_KIND_FUNC },
};

static const struct bl_kernel *loading_for; /* while an object is loaded; the caller loads one at a time */

static int prepare_program(struct bpf_program *program, struct bpf_prog_load_opts *opts, long cookie)
{
	const struct section *section = sections + cookie;
	const char *target = strchr(bpf_program__section_name(program), '/');
	char name[256];

	if (target) { /* else bpf_program__set_attach_target() has set it */
		snprintf(name, sizeof(name), "%s%s", section->prefix, target + 1);
		opts->attach_btf_id = loading_for ? bl_kernel_find(loading_for, name, section->kind) : 0;
		if (!opts->attach_btf_id)
			return -ESRCH;
	}
	return bpf_program__set_type(program, section->program);
}

static int bl_register_sections(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = prepare_program);

	for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++) {
		int handler;

		opts.cookie = i;
		handler = libbpf_register_prog_handler(sections[i].name, BPF_PROG_TYPE_RAW_TRACEPOINT, sections[i].attach,
						       &opts);
		if (handler < 0)
			return handler;
	}
	return 0;
}

/* An object whose types of the kernel will come from the file. */
static struct bpf_object *bl_object_open(const char *path, const char *types)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = types);

	return bpf_object__open_file(path, &opts);
}

/* Load an object that bl_object_open() opened; fd: its file. 0 or -errno. */
static int bl_object_load(struct bpf_object *object, const struct bl_kernel *kernel, int fd)
{
	int error = write_types(kernel, bpf_object__btf(object), fd);

	if (error)
		return error;
	loading_for = kernel;
	error = bpf_object__load(object);
	loading_for = NULL;
	return error;
}

#endif
