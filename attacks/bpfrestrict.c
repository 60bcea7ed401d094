/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of bpf(2), without any library.
 *
 * Some commands need an object that another command makes. An attack makes it itself, unless it inherits it, so that
 * the one command can be tried where the others are denied: `attack with-map -- CMD` and its relatives make objects,
 * leave their descriptors open for CMD and name them in the environment:
 *
 *	with-map	ATTACK_MAP_FD (array), ATTACK_HASH_FD
 *	with-prog	ATTACK_PROG_FD (socket filter), ATTACK_SKB_PROG_FD attached to ATTACK_SOCKMAP_FD
 *	with-link	ATTACK_LINK_FD (of the network namespace), ATTACK_LINK_PROG_FD, ATTACK_ITER_LINK_FD,
 *			ATTACK_RAW_TRACEPOINT_FD, ATTACK_TRACEPOINT_PROG_FD
 *	with-pin	ATTACK_PIN (path of a pinned map)
 *	with-all	all of them
 *
 * Effects are looked at without bpf(2) where possible, since a lock may deny one command and leave the others.
 */
#include "attack.h"

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define BPF_FS "/sys/fs/bpf"

/* In newer headers only. */
#define CMD_PROG_STREAM_READ_BY_FD 37
#define CMD_TOKEN_CREATE 36
#define COMMON_ATTRS (1 << 16)

#define INSN(c, d, s, o, i) ((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOV(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define MOV_REG(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value)
#define LOAD(dst, src, offset) INSN(BPF_LDX | BPF_MEM | BPF_DW, dst, src, offset, 0)
#define STORE(dst, offset, value) INSN(BPF_ST | BPF_MEM | BPF_DW, dst, 0, offset, value)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static char verifier_log[65536];

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* ---- making objects; -1 with errno ---- */

static int make_map(enum bpf_map_type type, uint32_t value_size, uint32_t flags)
{
	union bpf_attr attr = {
		.map_type = type,
		.key_size = 4,
		.value_size = value_size,
		.max_entries = 4,
		.map_flags = flags,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static int make_prog(enum bpf_prog_type type, int attach_type, uint32_t btf_id, const struct bpf_insn *code, size_t count)
{
	union bpf_attr attr = {
		.prog_type = type,
		.expected_attach_type = attach_type,
		.attach_btf_id = btf_id,
		.insns = (uintptr_t)code,
		.insn_cnt = count,
		.license = (uintptr_t) "GPL",
		.log_buf = (uintptr_t)verifier_log,
		.log_size = sizeof(verifier_log),
		.log_level = 1,
	};

	verifier_log[0] = 0;
	return bpf(BPF_PROG_LOAD, &attr);
}

#define PROG(type, attach_type, ...)                                              \
	make_prog(type, attach_type, 0, (const struct bpf_insn[]){ __VA_ARGS__ }, \
		  sizeof((const struct bpf_insn[]){ __VA_ARGS__ }) / sizeof(struct bpf_insn))

#define MAGIC_RETURN 42

static int make_filter(void)
{
	return PROG(BPF_PROG_TYPE_SOCKET_FILTER, 0, MOV(0, MAGIC_RETURN), EXIT);
}

static int make_lookup_prog(void)
{
	return PROG(BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, MOV(0, SK_PASS), EXIT);
}

static int make_skb_prog(void)
{
	return PROG(BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT, MOV(0, SK_PASS), EXIT);
}

static int link_create(int prog, int target, int attach_type)
{
	union bpf_attr attr = {
		.link_create = { .prog_fd = prog, .target_fd = target, .attach_type = attach_type },
	};

	return bpf(BPF_LINK_CREATE, &attr);
}

/* Lookups of sockets in our network namespace go through the program, which passes them all. */
static int make_link(int prog)
{
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int link = netns < 0 ? -1 : link_create(prog, netns, BPF_SK_LOOKUP);

	shut(netns);
	return link;
}

/* The number of a function in the kernel's BTF, 0 if there is none. */
static uint32_t btf_function(const char *name)
{
	size_t size;
	char *btf = slurp_all("/sys/kernel/btf/vmlinux", &size);
	const struct btf_header *header = (const void *)btf;
	const char *position, *end, *strings;
	uint32_t found = 0;

	if (!btf)
		return 0;
	position = btf + header->hdr_len + header->type_off;
	end = position + header->type_len;
	strings = btf + header->hdr_len + header->str_off;
	for (uint32_t id = 1; position < end && !found; id++) {
		const struct btf_type *type = (const void *)position;
		uint32_t count = BTF_INFO_VLEN(type->info), kind = BTF_INFO_KIND(type->info);

		if (kind == BTF_KIND_FUNC && !strcmp(strings + type->name_off, name))
			found = id;
		position += sizeof(*type);
		switch (kind) {
		case BTF_KIND_INT:
		case BTF_KIND_VAR:
		case BTF_KIND_DECL_TAG:
			position += 4;
			break;
		case BTF_KIND_ARRAY:
			position += 12;
			break;
		case BTF_KIND_ENUM:
		case BTF_KIND_FUNC_PROTO:
			position += 8 * count;
			break;
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_DATASEC:
		case BTF_KIND_ENUM64:
			position += 12 * count;
			break;
		}
	}
	free(btf);
	return found;
}

/* An iterator over all tasks that prints 8 bytes for each. */
static int make_iter_prog(void)
{
	const struct bpf_insn code[] = {
		LOAD(1, 1, 0), /* bpf_iter__task.meta */
		LOAD(1, 1, 0), /* bpf_iter_meta.seq */
		STORE(10, -8, 'x'),
		MOV_REG(2, 10),
		ADD(2, -8),
		MOV(3, 8),
		CALL(BPF_FUNC_seq_write),
		MOV(0, 0),
		EXIT,
	};
	static uint32_t id;

	if (!id)
		id = btf_function("bpf_iter_task");
	return make_prog(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, id, code, sizeof(code) / sizeof(code[0]));
}

static int open_raw_tracepoint(int prog)
{
	union bpf_attr attr = {
		.raw_tracepoint = { .name = (uintptr_t) "task_rename", .prog_fd = prog },
	};

	return bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
}

static int make_tracepoint_prog(void)
{
	return PROG(BPF_PROG_TYPE_RAW_TRACEPOINT, 0, MOV(0, 0), EXIT);
}

static int attach(int command, int prog, int map)
{
	union bpf_attr attr = {
		.target_fd = map,
		.attach_bpf_fd = prog,
		.attach_type = BPF_SK_SKB_STREAM_VERDICT,
	};

	return bpf(command, &attr);
}

/* ---- getting objects, inherited or made ---- */

static int inherited(const char *variable)
{
	const char *value = getenv(variable);

	return value && *value ? atoi(value) : -1;
}

/* Closes the object unless it was inherited. */
static void release(int fd)
{
	static const char *const variables[] = {
		"ATTACK_MAP_FD",	"ATTACK_HASH_FD", "ATTACK_PROG_FD",	 "ATTACK_SKB_PROG_FD",
		"ATTACK_SOCKMAP_FD",	"ATTACK_LINK_FD", "ATTACK_LINK_PROG_FD", "ATTACK_ITER_LINK_FD",
		"ATTACK_RAW_TRACEPOINT_FD", "ATTACK_TRACEPOINT_PROG_FD",
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (fd >= 0 && inherited(variables[i]) == fd)
			return;
	shut(fd);
}

/* Each returns a descriptor for release(), or -1 with the result to return. */

static int get_map(enum result *result)
{
	int fd = inherited("ATTACK_MAP_FD");

	if (fd < 0)
		fd = make_map(BPF_MAP_TYPE_ARRAY, 8, BPF_F_MMAPABLE);
	if (fd < 0)
		*result = refused("bpf(BPF_MAP_CREATE)");
	return fd;
}

static int update_map(int map, uint32_t key, uint64_t value)
{
	union bpf_attr attr = { .map_fd = map, .key = (uintptr_t)&key, .value = (uintptr_t)&value };

	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

static int get_hash(enum result *result)
{
	int fd = inherited("ATTACK_HASH_FD");

	if (fd >= 0)
		return fd;
	fd = make_map(BPF_MAP_TYPE_HASH, 8, 0);
	if (fd < 0) {
		*result = refused("bpf(BPF_MAP_CREATE)");
	} else if (update_map(fd, 0, MAGIC_RETURN) < 0) {
		*result = refused("bpf(BPF_MAP_UPDATE_ELEM)");
		shut(fd);
		return -1;
	}
	return fd;
}

static int get_prog(const char *variable, int (*make)(void), enum result *result)
{
	int fd = variable ? inherited(variable) : -1;

	if (fd < 0)
		fd = make();
	if (fd < 0)
		*result = refused("bpf(BPF_PROG_LOAD)");
	return fd;
}

static int get_filter(enum result *result)
{
	return get_prog("ATTACK_PROG_FD", make_filter, result);
}

static int get_link(enum result *result)
{
	int fd = inherited("ATTACK_LINK_FD"), prog;

	if (fd >= 0)
		return fd;
	prog = get_prog("ATTACK_LINK_PROG_FD", make_lookup_prog, result);
	if (prog < 0)
		return -1;
	fd = make_link(prog);
	if (fd < 0)
		*result = refused("bpf(BPF_LINK_CREATE)");
	release(prog);
	return fd;
}

/* A number from /proc/self/fdinfo, such as "map_id", or 0. */
static uint32_t fd_info(int fd, const char *field)
{
	char text[4096] = "", *line;

	slurp(format("/proc/self/fdinfo/%d", fd), text, sizeof(text));
	line = strstr(text, field);
	return line ? strtoul(line + strlen(field) + 1, NULL, 10) : 0;
}

/* After a command that returns a descriptor. */
static enum result obtained(int fd, const char *command, const char *object, const char *field)
{
	enum result result;
	uint32_t id;

	if (fd < 0)
		return refused("bpf(%s)", command);
	id = fd_info(fd, field);
	if (id)
		result = ok("%s with the id %u obtained", object, id);
	else
		result = failed("bpf(%s) returned a descriptor that is no %s", command, object);
	release(fd);
	return result;
}

/* ---- maps ---- */

static enum result map_create(const char *arg)
{
	(void)arg;
	return obtained(make_map(BPF_MAP_TYPE_ARRAY, 8, 0), "BPF_MAP_CREATE", "map", "map_id:");
}

/* The same command with the flag that 7.x knows, and the two arguments that come with it. */
static enum result map_create_common(const char *arg)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };
	uint64_t common[3] = {};
	int fd = syscall(SYS_bpf, BPF_MAP_CREATE | COMMON_ATTRS, &attr, sizeof(attr), common, sizeof(common));

	(void)arg;
	if (fd < 0 && errno == EINVAL)
		return with_hint(refused("bpf(BPF_MAP_CREATE | BPF_COMMON_ATTRS)"), "this kernel has no BPF_COMMON_ATTRS");
	return obtained(fd, "BPF_MAP_CREATE | BPF_COMMON_ATTRS", "map", "map_id:");
}

/* The first element of the array, in the memory that it shares with us. */
static volatile uint64_t *view(int map)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void unview(volatile uint64_t *memory)
{
	if (memory)
		munmap((void *)memory, 4096);
}

static enum result map_lookup_elem(const char *arg)
{
	enum result result;
	int map = get_map(&result);
	volatile uint64_t *memory;
	uint32_t key = 0;
	uint64_t value = 0;

	(void)arg;
	if (map < 0)
		return result;
	memory = view(map);
	if (memory)
		*memory = 4711;
	union bpf_attr attr = { .map_fd = map, .key = (uintptr_t)&key, .value = (uintptr_t)&value };
	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr) < 0)
		result = refused("bpf(BPF_MAP_LOOKUP_ELEM)");
	else if (memory && value != 4711)
		result = failed("bpf(BPF_MAP_LOOKUP_ELEM) returned a wrong value");
	else
		result = ok("element 0 of the map read: %llu", (unsigned long long)value);
	unview(memory);
	release(map);
	return result;
}

static enum result map_update_elem(const char *arg)
{
	enum result result;
	int map = get_map(&result);
	volatile uint64_t *memory;

	(void)arg;
	if (map < 0)
		return result;
	memory = view(map);
	if (memory)
		*memory = 0;
	if (update_map(map, 0, 4712) < 0)
		result = refused("bpf(BPF_MAP_UPDATE_ELEM)");
	else if (memory && *memory != 4712)
		result = failed("bpf(BPF_MAP_UPDATE_ELEM) succeeded, but the value did not change");
	else
		result = ok("element 0 of the map written");
	unview(memory);
	release(map);
	return result;
}

static enum result map_update_hash(const char *arg)
{
	enum result result;
	int map = get_hash(&result);

	(void)arg;
	if (map < 0)
		return result;
	result = update_map(map, 0, MAGIC_RETURN) < 0 ? refused("bpf(BPF_MAP_UPDATE_ELEM)") : ok("element 0 of the hash written");
	release(map);
	return result;
}

static enum result map_get_next_key(const char *arg)
{
	enum result result;
	int map = get_map(&result);
	uint32_t key = 1, next = 0;

	(void)arg;
	if (map < 0)
		return result;
	union bpf_attr attr = { .map_fd = map, .key = (uintptr_t)&key, .next_key = (uintptr_t)&next };
	if (bpf(BPF_MAP_GET_NEXT_KEY, &attr) < 0)
		result = refused("bpf(BPF_MAP_GET_NEXT_KEY)");
	else
		result = next == 2 ? ok("key after 1 obtained: %u", next) :
				     failed("bpf(BPF_MAP_GET_NEXT_KEY) returned %u after 1", next);
	release(map);
	return result;
}

/* The only element of the hash that was made before a lock. Whoever takes it puts it back, if the lock lets them. */
static void put_back(int map)
{
	if (inherited("ATTACK_HASH_FD") == map)
		update_map(map, 0, MAGIC_RETURN);
}

static enum result take(int command, const char *name)
{
	enum result result;
	int map = get_hash(&result);
	uint32_t key = 0;
	uint64_t value = 0;

	if (map < 0)
		return result;
	union bpf_attr attr = { .map_fd = map, .key = (uintptr_t)&key };
	if (command == BPF_MAP_LOOKUP_AND_DELETE_ELEM)
		attr.value = (uintptr_t)&value;
	if (bpf(command, &attr) < 0)
		result = refused("bpf(%s)", name);
	else if (attr.value && value != MAGIC_RETURN)
		result = failed("bpf(%s) returned a wrong value", name);
	else
		result = ok("element 0 of the map deleted%s", attr.value ? ", and its value obtained" : "");
	if (result == OK)
		put_back(map);
	release(map);
	return result;
}

static enum result map_delete_elem(const char *arg)
{
	(void)arg;
	return take(BPF_MAP_DELETE_ELEM, "BPF_MAP_DELETE_ELEM");
}

static enum result map_lookup_and_delete_elem(const char *arg)
{
	(void)arg;
	return take(BPF_MAP_LOOKUP_AND_DELETE_ELEM, "BPF_MAP_LOOKUP_AND_DELETE_ELEM");
}

static enum result batch(int command, const char *name)
{
	bool deletes = command == BPF_MAP_DELETE_BATCH || command == BPF_MAP_LOOKUP_AND_DELETE_BATCH;
	enum result result;
	int map = deletes ? get_hash(&result) : get_map(&result);
	uint32_t keys[4] = {}, position[2] = {};
	uint64_t values[4] = { 1 };

	if (map < 0)
		return result;
	union bpf_attr attr = { .batch = {
		.map_fd = map,
		.keys = (uintptr_t)keys,
		.values = command == BPF_MAP_DELETE_BATCH ? 0 : (uintptr_t)values,
		.count = deletes ? 4 : 1,
	} };
	if (command == BPF_MAP_LOOKUP_BATCH || command == BPF_MAP_LOOKUP_AND_DELETE_BATCH)
		attr.batch.out_batch = (uintptr_t)position;
	if (command == BPF_MAP_DELETE_BATCH)
		attr.batch.count = 1;
	/* The end of a hash is told by ENOENT, with the elements. */
	if (bpf(command, &attr) < 0 && !(errno == ENOENT && attr.batch.count))
		result = refused("bpf(%s)", name);
	else
		result = attr.batch.count == 1 ? ok("1 element by %s", name) :
						 failed("bpf(%s) did %u elements", name, attr.batch.count);
	if (result == OK && deletes)
		put_back(map);
	release(map);
	return result;
}

static enum result map_lookup_batch(const char *arg)
{
	(void)arg;
	return batch(BPF_MAP_LOOKUP_BATCH, "BPF_MAP_LOOKUP_BATCH");
}

static enum result map_update_batch(const char *arg)
{
	(void)arg;
	return batch(BPF_MAP_UPDATE_BATCH, "BPF_MAP_UPDATE_BATCH");
}

static enum result map_delete_batch(const char *arg)
{
	(void)arg;
	return batch(BPF_MAP_DELETE_BATCH, "BPF_MAP_DELETE_BATCH");
}

static enum result map_lookup_and_delete_batch(const char *arg)
{
	(void)arg;
	return batch(BPF_MAP_LOOKUP_AND_DELETE_BATCH, "BPF_MAP_LOOKUP_AND_DELETE_BATCH");
}

/* Cannot be undone: an inherited map stays frozen. */
static enum result map_freeze(const char *arg)
{
	enum result result;
	int map = get_map(&result);

	(void)arg;
	if (map < 0)
		return result;
	union bpf_attr attr = { .map_fd = map };
	if (bpf(BPF_MAP_FREEZE, &attr) < 0)
		result = refused("bpf(BPF_MAP_FREEZE)");
	else
		result = fd_info(map, "frozen:") == 1 ? ok("map frozen") :
							failed("bpf(BPF_MAP_FREEZE) succeeded, but the map is not");
	release(map);
	return result;
}

/* ---- ids ---- */

/* The first id that there is. With none, the command was permitted all the same. */
static enum result next_id(int command, const char *name, const char *object)
{
	union bpf_attr attr = {};

	if (!bpf(command, &attr))
		return ok("id of a %s obtained: %u", object, attr.next_id);
	if (errno == ENOENT)
		return ok("%s said that there is no %s", name, object);
	return refused("bpf(%s)", name);
}

static enum result map_get_next_id(const char *arg)
{
	(void)arg;
	return next_id(BPF_MAP_GET_NEXT_ID, "BPF_MAP_GET_NEXT_ID", "map");
}

static enum result prog_get_next_id(const char *arg)
{
	(void)arg;
	return next_id(BPF_PROG_GET_NEXT_ID, "BPF_PROG_GET_NEXT_ID", "program");
}

static enum result btf_get_next_id(const char *arg)
{
	(void)arg;
	return next_id(BPF_BTF_GET_NEXT_ID, "BPF_BTF_GET_NEXT_ID", "BTF object");
}

static enum result link_get_next_id(const char *arg)
{
	(void)arg;
	return next_id(BPF_LINK_GET_NEXT_ID, "BPF_LINK_GET_NEXT_ID", "link");
}

static int fd_by_id(int command, uint32_t id)
{
	union bpf_attr attr = { .map_id = id };

	return bpf(command, &attr);
}

static enum result map_get_fd_by_id(const char *arg)
{
	enum result result;
	int map = get_map(&result);

	(void)arg;
	if (map < 0)
		return result;
	result = obtained(fd_by_id(BPF_MAP_GET_FD_BY_ID, fd_info(map, "map_id:")), "BPF_MAP_GET_FD_BY_ID", "map",
			  "map_id:");
	release(map);
	return result;
}

static enum result prog_get_fd_by_id(const char *arg)
{
	enum result result;
	int prog = get_filter(&result);

	(void)arg;
	if (prog < 0)
		return result;
	result = obtained(fd_by_id(BPF_PROG_GET_FD_BY_ID, fd_info(prog, "prog_id:")), "BPF_PROG_GET_FD_BY_ID",
			  "program", "prog_id:");
	release(prog);
	return result;
}

static enum result link_get_fd_by_id(const char *arg)
{
	enum result result;
	int link = get_link(&result);

	(void)arg;
	if (link < 0)
		return result;
	result = obtained(fd_by_id(BPF_LINK_GET_FD_BY_ID, fd_info(link, "link_id:")), "BPF_LINK_GET_FD_BY_ID", "link",
			  "link_id:");
	release(link);
	return result;
}

static enum result btf_get_fd_by_id(const char *arg)
{
	(void)arg;
	/* 1 is the kernel's own. */
	return obtained(fd_by_id(BPF_BTF_GET_FD_BY_ID, 1), "BPF_BTF_GET_FD_BY_ID", "BTF object", "btf_id:");
}

static enum result obj_get_info_by_fd(const char *arg)
{
	struct bpf_map_info info = {};
	enum result result;
	int map = get_map(&result);

	(void)arg;
	if (map < 0)
		return result;
	union bpf_attr attr = { .info = { .bpf_fd = map, .info_len = sizeof(info), .info = (uintptr_t)&info } };
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0)
		result = refused("bpf(BPF_OBJ_GET_INFO_BY_FD)");
	else
		result = info.id ? ok("description of the map with the id %u obtained", info.id) :
				   failed("bpf(BPF_OBJ_GET_INFO_BY_FD) told nothing");
	release(map);
	return result;
}

/* ---- pins ---- */

static int pin(int fd, const char *path)
{
	union bpf_attr attr = { .pathname = (uintptr_t)path, .bpf_fd = fd };

	return bpf(BPF_OBJ_PIN, &attr);
}

/* A free name on a bpffs that `directory` keeps alive: the usual one, or one that is mounted nowhere. */
static const char *pin_path(int *directory, enum result *result)
{
	const char *what;

	*directory = filesystem("bpf", BPF_FS, BPF_FS_MAGIC, &what);
	if (*directory < 0) {
		*result = refused("%s", what);
		return NULL;
	}
	return format("/proc/self/fd/%d/attack-%d", *directory, getpid());
}

static enum result obj_pin(const char *arg)
{
	enum result result;
	const char *path;
	int directory, map;

	(void)arg;
	map = get_map(&result);
	if (map < 0)
		return result;
	path = pin_path(&directory, &result);
	if (path) {
		if (pin(map, path) < 0)
			result = refused("bpf(BPF_OBJ_PIN)");
		else if (access(path, F_OK))
			result = failed("bpf(BPF_OBJ_PIN) succeeded, but there is no file");
		else
			result = ok("map pinned in bpffs");
		if (!keep)
			unlink(path);
		shut(directory);
	}
	release(map);
	return result;
}

static enum result obj_get(const char *arg)
{
	const char *path = arg ? arg : getenv("ATTACK_PIN");
	int directory = -1, map = -1;
	enum result result;

	if (!path) {
		map = get_map(&result);
		if (map < 0)
			return result;
		path = pin_path(&directory, &result);
		if (path && pin(map, path) < 0) {
			result = refused("bpf(BPF_OBJ_PIN)");
			path = NULL;
		}
	}
	if (path) {
		union bpf_attr attr = { .pathname = (uintptr_t)path };
		int fd = bpf(BPF_OBJ_GET, &attr);

		if (fd < 0)
			result = refused("bpf(BPF_OBJ_GET)");
		else
			result = ok("descriptor of the object pinned at %s obtained", map < 0 ? path : "a path of ours");
		shut(fd);
		if (map >= 0)
			unlink(path);
	}
	shut(directory);
	release(map);
	return result;
}

/* ---- programs ---- */

static enum result prog_load(const char *arg)
{
	(void)arg;
	return obtained(make_filter(), "BPF_PROG_LOAD", "program", "prog_id:");
}

static enum result prog_test_run(const char *arg)
{
	unsigned char packet[64] = {};
	enum result result;
	int prog = get_filter(&result);

	(void)arg;
	if (prog < 0)
		return result;
	union bpf_attr attr = { .test = {
		.prog_fd = prog,
		.data_in = (uintptr_t)packet,
		.data_size_in = sizeof(packet),
	} };
	if (bpf(BPF_PROG_TEST_RUN, &attr) < 0)
		result = refused("bpf(BPF_PROG_TEST_RUN)");
	else
		result = attr.test.retval == MAGIC_RETURN ? ok("program run in the kernel: it returned %u", attr.test.retval) :
							    failed("the program returned %u", attr.test.retval);
	release(prog);
	return result;
}

/* A socket map without sockets: a program attached to it sees nothing. */
static enum result attach_or_detach(int command, const char *name)
{
	int prog, map = inherited("ATTACK_SOCKMAP_FD");
	bool is_inherited = map >= 0;
	enum result result;

	prog = get_prog("ATTACK_SKB_PROG_FD", make_skb_prog, &result);
	if (prog < 0)
		return result;
	if (map < 0)
		map = make_map(BPF_MAP_TYPE_SOCKMAP, 4, 0);
	if (map < 0)
		result = refused("bpf(BPF_MAP_CREATE)");
	else if (command == BPF_PROG_DETACH && !is_inherited && attach(BPF_PROG_ATTACH, prog, map) < 0)
		result = refused("bpf(BPF_PROG_ATTACH)");
	else if (attach(command, prog, map) < 0)
		result = refused("bpf(%s)", name);
	else
		result = ok("program %s a socket map", command == BPF_PROG_ATTACH ? "attached to" : "detached from");
	if (result == OK && command == BPF_PROG_DETACH && is_inherited)
		attach(BPF_PROG_ATTACH, prog, map);
	release(map);
	release(prog);
	return result;
}

static enum result prog_attach(const char *arg)
{
	(void)arg;
	return attach_or_detach(BPF_PROG_ATTACH, "BPF_PROG_ATTACH");
}

static enum result prog_detach(const char *arg)
{
	(void)arg;
	return attach_or_detach(BPF_PROG_DETACH, "BPF_PROG_DETACH");
}

static enum result prog_query(const char *arg)
{
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	uint32_t ids[16] = {};
	enum result result;

	(void)arg;
	if (netns < 0)
		return refused("open(/proc/self/ns/net)");
	union bpf_attr attr = { .query = {
		.target_fd = netns,
		.attach_type = BPF_SK_LOOKUP,
		.prog_ids = (uintptr_t)ids,
		.prog_cnt = 16,
	} };
	if (bpf(BPF_PROG_QUERY, &attr) < 0)
		result = refused("bpf(BPF_PROG_QUERY)");
	else
		result = ok("programs at the socket lookup of this network namespace: %u", attr.query.prog_cnt);
	shut(netns);
	return result;
}

static enum result prog_bind_map(const char *arg)
{
	enum result result;
	int map, prog = get_filter(&result);

	(void)arg;
	if (prog < 0)
		return result;
	map = get_map(&result);
	if (map >= 0) {
		union bpf_attr attr = { .prog_bind_map = { .prog_fd = prog, .map_fd = map } };

		if (bpf(BPF_PROG_BIND_MAP, &attr) < 0)
			result = refused("bpf(BPF_PROG_BIND_MAP)");
		else
			result = ok("map bound to a program");
		release(map);
	}
	release(prog);
	return result;
}

static int get_raw_tracepoint(enum result *result)
{
	int fd = inherited("ATTACK_RAW_TRACEPOINT_FD"), prog;

	if (fd >= 0)
		return fd;
	prog = get_prog(NULL, make_tracepoint_prog, result);
	if (prog < 0)
		return -1;
	fd = open_raw_tracepoint(prog);
	if (fd < 0)
		*result = refused("bpf(BPF_RAW_TRACEPOINT_OPEN)");
	shut(prog);
	return fd;
}

static enum result raw_tracepoint_open(const char *arg)
{
	enum result result;
	int prog = get_prog("ATTACK_TRACEPOINT_PROG_FD", make_tracepoint_prog, &result), fd;

	(void)arg;
	if (prog < 0)
		return result;
	fd = open_raw_tracepoint(prog);
	if (fd < 0)
		result = refused("bpf(BPF_RAW_TRACEPOINT_OPEN)");
	else
		result = ok("program attached to the tracepoint task_rename");
	shut(fd);
	release(prog);
	return result;
}

static enum result task_fd_query(const char *arg)
{
	enum result result;
	int fd = get_raw_tracepoint(&result);
	char name[64] = "";

	(void)arg;
	if (fd < 0)
		return result;
	union bpf_attr attr = { .task_fd_query = {
		.pid = getpid(),
		.fd = fd,
		.buf = (uintptr_t)name,
		.buf_len = sizeof(name),
	} };
	if (bpf(BPF_TASK_FD_QUERY, &attr) < 0)
		result = refused("bpf(BPF_TASK_FD_QUERY)");
	else
		result = ok("a descriptor told: program %u at %s", attr.task_fd_query.prog_id, name);
	release(fd);
	return result;
}

static enum result prog_stream_read_by_fd(const char *arg)
{
	enum result result;
	int prog = get_filter(&result), length;
	char text[64];
	struct {
		uint64_t buffer;
		uint32_t size, stream, prog;
	} attr = { (uintptr_t)text, sizeof(text), 1, prog };

	(void)arg;
	if (prog < 0)
		return result;
	length = syscall(SYS_bpf, CMD_PROG_STREAM_READ_BY_FD, &attr, sizeof(attr));
	if (length < 0)
		result = with_hint(refused("bpf(BPF_PROG_STREAM_READ_BY_FD)"), "kernels before 6.17 do not have it");
	else
		result = ok("%d bytes of the program's standard output", length);
	release(prog);
	return result;
}

/* ---- BTF, links, iterators, others ---- */

static enum result btf_load(const char *arg)
{
	static const struct {
		struct btf_header header;
		struct btf_type type;
		uint32_t integer;
		char strings[5];
	} __attribute__((packed)) btf = {
		.header = {
			.magic = BTF_MAGIC,
			.version = BTF_VERSION,
			.hdr_len = sizeof(struct btf_header),
			.type_len = sizeof(struct btf_type) + 4,
			.str_off = sizeof(struct btf_type) + 4,
			.str_len = 5,
		},
		.type = { .name_off = 1, .info = BTF_KIND_INT << 24, .size = 4 },
		.integer = BTF_INT_SIGNED << 24 | 32,
		.strings = "\0int",
	};
	union bpf_attr attr = { .btf = (uintptr_t)&btf, .btf_size = sizeof(btf) };

	(void)arg;
	return obtained(bpf(BPF_BTF_LOAD, &attr), "BPF_BTF_LOAD", "BTF object", "btf_id:");
}

static enum result attack_link_create(const char *arg)
{
	enum result result;
	int prog = get_prog("ATTACK_LINK_PROG_FD", make_lookup_prog, &result);

	(void)arg;
	if (prog < 0)
		return result;
	result = obtained(make_link(prog), "BPF_LINK_CREATE", "link", "link_id:");
	release(prog);
	return result;
}

static enum result link_update(const char *arg)
{
	enum result result;
	int prog, link = get_link(&result);

	(void)arg;
	if (link < 0)
		return result;
	prog = get_prog("ATTACK_LINK_PROG_FD", make_lookup_prog, &result);
	if (prog >= 0) {
		union bpf_attr attr = { .link_update = { .link_fd = link, .new_prog_fd = prog } };

		if (bpf(BPF_LINK_UPDATE, &attr) < 0)
			result = refused("bpf(BPF_LINK_UPDATE)");
		else
			result = ok("program of a link replaced");
		release(prog);
	}
	release(link);
	return result;
}

/* Cannot be undone: an inherited link stays detached. */
static enum result link_detach(const char *arg)
{
	enum result result;
	int link = get_link(&result);

	(void)arg;
	if (link < 0)
		return result;
	union bpf_attr attr = { .link_detach = { .link_fd = link } };
	if (bpf(BPF_LINK_DETACH, &attr) < 0)
		result = refused("bpf(BPF_LINK_DETACH)");
	else
		result = ok("link detached");
	release(link);
	return result;
}

static enum result iter_create(const char *arg)
{
	int prog, fd, link = inherited("ATTACK_ITER_LINK_FD");
	enum result result;
	char text[4096];
	ssize_t length;

	(void)arg;
	if (link < 0) {
		prog = get_prog(NULL, make_iter_prog, &result);
		if (prog < 0)
			return result;
		link = link_create(prog, 0, BPF_TRACE_ITER);
		if (link < 0)
			result = refused("bpf(BPF_LINK_CREATE)");
		shut(prog);
		if (link < 0)
			return result;
	}
	union bpf_attr attr = { .iter_create = { .link_fd = link } };
	fd = bpf(BPF_ITER_CREATE, &attr);
	if (fd < 0) {
		result = refused("bpf(BPF_ITER_CREATE)");
	} else {
		length = read(fd, text, sizeof(text));
		result = length > 0 ? ok("iterator over tasks ran for %zd of them", length / 8) :
				      failed("the iterator over tasks printed nothing");
	}
	shut(fd);
	release(link);
	return result;
}

static enum result enable_stats(const char *arg)
{
	union bpf_attr attr = { .enable_stats = { .type = BPF_STATS_RUN_TIME } };
	int fd = bpf(BPF_ENABLE_STATS, &attr);

	(void)arg;
	if (fd < 0)
		return refused("bpf(BPF_ENABLE_STATS)");
	shut(fd);
	return ok("statistics of all programs were on");
}

/* A token is for a bpffs of a user namespace; the kernel says so only after the lock was asked. */
static enum result token_create(const char *arg)
{
	enum result result;
	const char *what;
	int directory;

	(void)arg;
	directory = filesystem("bpf", BPF_FS, BPF_FS_MAGIC, &what);
	if (directory < 0)
		return refused("%s", what);
	struct {
		uint32_t flags, bpffs;
	} attr = { 0, openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	int fd = syscall(SYS_bpf, CMD_TOKEN_CREATE, &attr, sizeof(attr));
	if (fd >= 0)
		result = ok("BPF token obtained");
	else if (errno == EOPNOTSUPP)
		result = ok("reached the code of BPF_TOKEN_CREATE (EOPNOTSUPP: not the bpffs of a user namespace)");
	else
		result = with_hint(refused("bpf(BPF_TOKEN_CREATE)"), "kernels before 6.9 do not have it");
	shut(fd);
	shut(attr.bpffs);
	shut(directory);
	return result;
}

/* ---- helpers that reach beyond BPF ---- */

static enum result helper_prog(int prog, const char *helper)
{
	/* The verifier was told no: "unknown func bpf_x#1", "program of this type cannot use helper bpf_x#1". */
	const char *line = strstr(verifier_log, "unknown func") ?: strstr(verifier_log, "program of this type cannot");
	enum result result;

	if (prog >= 0)
		return obtained(prog, "BPF_PROG_LOAD", format("program that calls %s", helper), "prog_id:");
	if (errno == EINVAL && line)
		return denied("bpf(BPF_PROG_LOAD): EINVAL (%.*s)", (int)strcspn(line, "\n"), line);
	result = refused("bpf(BPF_PROG_LOAD)");
	return with_hint(result, "%s", verifier_log);
}

enum result attack_bpf_write(const char *arg)
{
	(void)arg;
	return helper_prog(PROG(BPF_PROG_TYPE_KPROBE, 0, STORE(10, -8, 0), MOV(1, 0), MOV_REG(2, 10), ADD(2, -8),
				MOV(3, 8), CALL(BPF_FUNC_probe_write_user), MOV(0, 0), EXIT),
			   "bpf_probe_write_user");
}

enum result attack_bpf_read(const char *arg)
{
	(void)arg;
	return helper_prog(PROG(BPF_PROG_TYPE_KPROBE, 0, MOV_REG(1, 10), ADD(1, -8), MOV(2, 8), MOV(3, 0),
				CALL(BPF_FUNC_probe_read_kernel), MOV(0, 0), EXIT),
			   "bpf_probe_read_kernel");
}

/* ---- objects for others ---- */

/* Leaves the descriptor open for the command, and names it. */
static enum result export(const char *variable, int fd, const char *command)
{
	if (fd < 0)
		return refused("bpf(%s)", command);
	fcntl(fd, F_SETFD, 0);
	setenv(variable, format("%d", fd), 1);
	return OK;
}

static enum result hold_map(void)
{
	enum result result;
	int hash = get_hash(&result);

	if (hash < 0)
		return result;
	return export("ATTACK_HASH_FD", hash, "BPF_MAP_CREATE") ?:
	       export("ATTACK_MAP_FD", make_map(BPF_MAP_TYPE_ARRAY, 8, BPF_F_MMAPABLE), "BPF_MAP_CREATE");
}

static enum result hold_prog(void)
{
	int prog = -1, map = -1;

	return export("ATTACK_PROG_FD", make_filter(), "BPF_PROG_LOAD") ?:
	       export("ATTACK_SKB_PROG_FD", prog = make_skb_prog(), "BPF_PROG_LOAD") ?:
	       export("ATTACK_SOCKMAP_FD", map = make_map(BPF_MAP_TYPE_SOCKMAP, 4, 0), "BPF_MAP_CREATE") ?:
	       attach(BPF_PROG_ATTACH, prog, map) < 0 ? refused("bpf(BPF_PROG_ATTACH)") : OK;
}

static enum result hold_link(void)
{
	int prog = -1;

	return export("ATTACK_LINK_PROG_FD", prog = make_lookup_prog(), "BPF_PROG_LOAD") ?:
	       export("ATTACK_LINK_FD", make_link(prog), "BPF_LINK_CREATE") ?:
	       export("ATTACK_ITER_LINK_FD", link_create(make_iter_prog(), 0, BPF_TRACE_ITER), "BPF_LINK_CREATE") ?:
	       export("ATTACK_TRACEPOINT_PROG_FD", make_tracepoint_prog(), "BPF_PROG_LOAD") ?:
	       export("ATTACK_RAW_TRACEPOINT_FD", open_raw_tracepoint(make_tracepoint_prog()), "BPF_RAW_TRACEPOINT_OPEN");
}

static enum result hold_pin(const char *path)
{
	int map = make_map(BPF_MAP_TYPE_ARRAY, 8, BPF_F_MMAPABLE);

	if (map < 0)
		return refused("bpf(BPF_MAP_CREATE)");
	if (pin(map, path) < 0)
		return refused("bpf(BPF_OBJ_PIN) to %s", path);
	shut(map);
	setenv("ATTACK_PIN", path, 1);
	return OK;
}

/* Returns only if CMD did not start; with a pin, somebody has to wait and remove it, so then its exit status. */
enum result bpf_holder(const char *kind, char **command)
{
	bool all = !strcmp(kind, "all"), with_pin = all || !strcmp(kind, "pin");
	enum result result = OK;
	char path[64];
	int status;
	pid_t child;

	snprintf(path, sizeof(path), BPF_FS "/attack-%d", getpid());
	if (strcmp(kind, "map") && strcmp(kind, "prog") && strcmp(kind, "link") && !with_pin)
		return failed("with-map, with-prog, with-link, with-pin or with-all");
	if (all || !strcmp(kind, "map"))
		result = hold_map();
	if (result == OK && (all || !strcmp(kind, "prog")))
		result = hold_prog();
	if (result == OK && (all || !strcmp(kind, "link")))
		result = hold_link();
	if (result == OK && with_pin)
		result = hold_pin(path);
	if (result != OK)
		return result;
	child = with_pin ? fork() : 0;
	if (!child) {
		execvp(command[0], command);
		return failed("execve(\"%s\"): %s", command[0], strerror(errno));
	}
	status = -1;
	if (child > 0)
		waitpid(child, &status, 0);
	unlink(path);
	exit(child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : FAILED);
}

const struct attack bpfrestrict_attacks[] = {
	{ "map_create", "bpfrestrict", "map_create", "create a map", map_create },
	{ "map_create_common", "bpfrestrict", "map_create", "the same with BPF_COMMON_ATTRS in the command (7.x)",
	  map_create_common },
	{ "map_lookup_elem", "bpfrestrict", "map_lookup_elem", "read an element of a map", map_lookup_elem },
	{ "map_update_elem", "bpfrestrict", "map_update_elem", "write an element of a map", map_update_elem },
	{ "map_delete_elem", "bpfrestrict", "map_delete_elem", "delete an element of a map", map_delete_elem },
	{ "map_update_hash", "bpfrestrict", "map_update_elem", "write an element of a hash", map_update_hash },
	{ "map_get_next_key", "bpfrestrict", "map_get_next_key", "go through the keys of a map", map_get_next_key },
	{ "map_lookup_and_delete_elem", "bpfrestrict", "map_lookup_and_delete_elem",
	  "read and delete an element of a map", map_lookup_and_delete_elem },
	{ "map_lookup_batch", "bpfrestrict", "map_lookup_batch", "read elements of a map", map_lookup_batch },
	{ "map_update_batch", "bpfrestrict", "map_update_batch", "write elements of a map", map_update_batch },
	{ "map_delete_batch", "bpfrestrict", "map_delete_batch", "delete elements of a map", map_delete_batch },
	{ "map_lookup_and_delete_batch", "bpfrestrict", "map_lookup_and_delete_batch",
	  "read and delete elements of a map", map_lookup_and_delete_batch },
	{ "map_freeze", "bpfrestrict", "map_freeze", "freeze a map", map_freeze },
	{ "map_get_next_id", "bpfrestrict", "map_get_next_id", "list all maps", map_get_next_id },
	{ "map_get_fd_by_id", "bpfrestrict", "map_get_fd_by_id", "open a map by its id", map_get_fd_by_id },
	{ "prog_load", "bpfrestrict", "prog_load", "load a program", prog_load },
	{ "prog_attach", "bpfrestrict", "prog_attach", "attach a program to a socket map", prog_attach },
	{ "prog_detach", "bpfrestrict", "prog_detach", "detach a program from a socket map", prog_detach },
	{ "prog_test_run", "bpfrestrict", "prog_test_run", "run a program in the kernel", prog_test_run },
	{ "prog_query", "bpfrestrict", "prog_query", "ask which programs are attached", prog_query },
	{ "prog_bind_map", "bpfrestrict", "prog_bind_map", "bind a map to a program", prog_bind_map },
	{ "prog_get_next_id", "bpfrestrict", "prog_get_next_id", "list all programs", prog_get_next_id },
	{ "prog_get_fd_by_id", "bpfrestrict", "prog_get_fd_by_id", "open a program by its id", prog_get_fd_by_id },
	{ "prog_stream_read_by_fd", "bpfrestrict", "prog_stream_read_by_fd",
	  "read what a program printed (6.17 and later)", prog_stream_read_by_fd },
	{ "raw_tracepoint_open", "bpfrestrict", "raw_tracepoint_open", "attach a program to a raw tracepoint",
	  raw_tracepoint_open },
	{ "task_fd_query", "bpfrestrict", "task_fd_query", "ask what a task's descriptor traces", task_fd_query },
	{ "btf_load", "bpfrestrict", "btf_load", "load type information", btf_load },
	{ "btf_get_next_id", "bpfrestrict", "btf_get_next_id", "list all type information", btf_get_next_id },
	{ "btf_get_fd_by_id", "bpfrestrict", "btf_get_fd_by_id", "open the kernel's type information",
	  btf_get_fd_by_id },
	{ "obj_pin", "bpfrestrict", "obj_pin", "pin a map in bpffs", obj_pin },
	{ "obj_get", "bpfrestrict", "obj_get", "open a pinned object (ARG: its path)", obj_get },
	{ "obj_get_info_by_fd", "bpfrestrict", "obj_get_info_by_fd", "ask for the description of a map",
	  obj_get_info_by_fd },
	{ "link_create", "bpfrestrict", "link_create", "attach a program to a network namespace by a link",
	  attack_link_create },
	{ "link_update", "bpfrestrict", "link_update", "replace the program of a link", link_update },
	{ "link_detach", "bpfrestrict", "link_detach", "detach a link", link_detach },
	{ "link_get_next_id", "bpfrestrict", "link_get_next_id", "list all links", link_get_next_id },
	{ "link_get_fd_by_id", "bpfrestrict", "link_get_fd_by_id", "open a link by its id", link_get_fd_by_id },
	{ "iter_create", "bpfrestrict", "iter_create", "iterate over all tasks", iter_create },
	{ "enable_stats", "bpfrestrict", "enable_stats", "switch statistics of all programs on", enable_stats },
	{ "token_create", "bpfrestrict", "token_create", "create a BPF token (6.9 and later)", token_create },
	{ "bpf_write", "bpfrestrict", "bpf_write", "load a program that can write to other processes",
	  attack_bpf_write },
	{},
};
