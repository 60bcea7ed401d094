/* SPDX-License-Identifier: Apache-2.0 */
/* The ways to get code into the kernel as a module. */
#include "attack.h"

#include <linux/module.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif
#define NAME_MAX_LENGTH 64

static void pause_ms(long ms)
{
	const struct timespec pause = { .tv_nsec = ms * 1000 * 1000 };

	nanosleep(&pause, NULL);
}

/* /proc/modules: lines that begin with the name and a space. */
static char *loaded_modules(void)
{
	return slurp_all("/proc/modules", NULL);
}

static bool lists(const char *modules, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = modules; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (!strncmp(line, name, length) && line[length] == ' ')
			return true;
	return false;
}

/* The first module that is loaded now and was not in `before`; the newest comes first. */
static bool find_new(const char *before, char *name)
{
	char *after = loaded_modules(), *line, *rest;
	bool found = false;

	for (line = after ? strtok_r(after, "\n", &rest) : NULL; line && !found; line = strtok_r(NULL, "\n", &rest)) {
		line[strcspn(line, " ")] = 0;
		if (!lists(before, line)) {
			snprintf(name, NAME_MAX_LENGTH, "%s", line);
			found = true;
		}
	}
	free(after);
	return found;
}

static int delete_module(const char *name)
{
	/* Its users may go away a moment later, by RCU. */
	for (int i = 0; i < 200; i++) {
		if (!syscall(SYS_delete_module, name, O_NONBLOCK))
			return 0;
		if (errno != EAGAIN && errno != EBUSY && errno != EWOULDBLOCK)
			return -1;
		pause_ms(10);
	}
	return -1;
}

/* Removes all that were loaded since, those that depend on others first. */
static enum result delete_since(const char *before, enum result result)
{
	char name[NAME_MAX_LENGTH];

	while (!keep && find_new(before, name)) {
		if (!delete_module(name))
			continue;
		if (errno != EPERM)
			return stuck("delete_module(%s)", name);
		/* Nobody in particular may make the kernel load one, but not unload it. */
		return ok("%s, which stays (delete_module: EPERM)", strdupa(message) + strlen("ok: "));
	}
	return result;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && !strcmp(text + length - end_length, end);
}

static bool is_compressed(const char *path)
{
	return ends_with(path, ".xz") || ends_with(path, ".zst") || ends_with(path, ".gz");
}

static int load_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result;

	if (fd < 0)
		return -1;
	result = syscall(SYS_finit_module, fd, "", is_compressed(path) ? MODULE_INIT_COMPRESSED_FILE : 0);
	shut(fd);
	return result;
}

static int load_memory(const char *path)
{
	size_t size;
	char *image = slurp_all(path, &size);
	int result, error;

	if (!image)
		return -1;
	result = syscall(SYS_init_module, image, size, "");
	error = errno;
	free(image);
	errno = error;
	return result;
}

static enum result load(const char *path, bool from_memory, bool only_unsigned)
{
	const char *call = from_memory ? "init_module" : "finit_module";
	char name[NAME_MAX_LENGTH], taint[16] = "";
	enum result result;
	char *before;

	if (!path)
		return failed("ARG must name a module file");
	if (access(path, R_OK))
		return failed("%s: %s", path, strerror(errno));
	if (from_memory && is_compressed(path))
		return failed("%s is compressed; init_module(2) needs it unpacked", path);
	before = loaded_modules(); /* not for a confined program to see: it may try all the same */
	if ((from_memory ? load_memory : load_file)(path) < 0) {
		result = refused("%s", call);
		if (errno == EEXIST)
			result = with_hint(result, "the module is loaded already");
		else if (errno == ENOENT)
			result = with_hint(result, "it depends on modules that are not loaded");
	} else if (!before || !find_new(before, name)) {
		result = failed("%s succeeded, but /proc/modules shows no new module", call);
	} else {
		slurp(format("/sys/module/%s/taint", name), taint, sizeof(taint));
		taint[strcspn(taint, "\n")] = 0;
		if (only_unsigned && !strchr(taint, 'E'))
			result = failed("module %s was loaded, but it is signed", name);
		else
			result = ok("module %s was loaded by %s%s", name, call, taint[0] == 'E' ? ", unsigned" : "");
		if (!keep && delete_module(name) < 0)
			result = stuck("delete_module(%s)", name);
	}
	free(before);
	return result;
}

static enum result insmod_file(const char *arg)
{
	return load(arg, false, false);
}

static enum result insmod_memory(const char *arg)
{
	return load(arg, true, false);
}

enum result attack_unsigned_module(const char *arg)
{
	return load(arg, false, true);
}

/* ---- modules that the kernel loads because they are needed ---- */

enum on_disk { ABSENT, PRESENT, UNKNOWN };

/* Whether modprobe would find the module. */
static enum on_disk on_disk(const char *module)
{
	static char *index;
	struct utsname kernel;

	if (!index && !uname(&kernel))
		index = slurp_all(format("/lib/modules/%s/modules.dep", kernel.release), NULL);
	if (!index)
		return UNKNOWN;
	return strstr(index, format("/%s.ko", module)) ? PRESENT : ABSENT;
}

struct need {
	const char *module;
	const char *call; /* for the line */
	int family, type, protocol; /* for a socket */
	bool stays; /* holds itself, so that it cannot be unloaded */
};

/*
 * The one called `arg`, or the first whose module can be loaded and is not. Without any, an error is set and NULL
 * returned.
 */
static const struct need *choose(const struct need *needs, const char *arg, const char *modules)
{
	const struct need *choice = NULL;

	for (; needs->module && !choice; needs++) {
		if (arg && strcmp(arg, needs->module))
			continue;
		if (!lists(modules, needs->module) && on_disk(needs->module) != ABSENT)
			choice = needs;
		else if (arg)
			failed("module %s is %s", arg, lists(modules, arg) ? "loaded already" : "not on this disk");
		if (arg && !choice)
			return NULL;
	}
	if (!choice && arg)
		failed("this attack does not know the module \"%s\"", arg);
	else if (!choice)
		failed("all modules that this attack knows are loaded already, or not on this disk");
	return choice;
}

/* After the call that needed the module; `error` is the call's. */
static enum result needed(const struct need *need, const char *before, int error)
{
	char *after = loaded_modules();
	bool is_loaded = lists(after, need->module);
	enum result result;

	free(after);
	if (is_loaded && need->stays)
		return ok("%s made the kernel load the module %s, which cannot be unloaded", need->call, need->module);
	if (is_loaded)
		return delete_since(before, ok("%s made the kernel load the module %s", need->call, need->module));
	errno = error;
	result = refused("%s", need->call);
	if (result == DENIED)
		return result;
	/* The kernel tells the caller only that there is no such thing. */
	if (on_disk(need->module) == PRESENT)
		return denied("%s: %s (module %s was not loaded, though it is on the disk)", need->call,
			      error_name(error), need->module);
	return with_hint(result, "module %s was not loaded, and there is no /lib/modules/VERSION to tell why",
			 need->module);
}

static const struct need sockets[] = {
	{ "can", "socket(AF_CAN, SOCK_RAW, CAN_RAW)", 29, SOCK_RAW, 1, false },
	{ "l2tp_ip", "socket(AF_INET, SOCK_DGRAM, IPPROTO_L2TP)", AF_INET, SOCK_DGRAM, 115, false },
	{ "vsock", "socket(AF_VSOCK, SOCK_STREAM, 0)", 40, SOCK_STREAM, 0, false },
	{ "kcm", "socket(AF_KCM, SOCK_DGRAM, KCMPROTO_CONNECTED)", 41, SOCK_DGRAM, 0, false },
	{ "qrtr", "socket(AF_QIPCRTR, SOCK_DGRAM, 0)", 42, SOCK_DGRAM, 0, false },
	{ "sctp", "socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)", AF_INET, SOCK_STREAM, 132, true },
	{ "bluetooth", "socket(AF_BLUETOOTH, SOCK_RAW, BTPROTO_HCI)", 31, SOCK_RAW, 1, false },
	{},
};

static enum result autoload_socket(const char *arg)
{
	char *before = loaded_modules();
	const struct need *need;
	enum result result;
	int fd, error;

	if (!before)
		return refused("open(/proc/modules)");
	need = choose(sockets, arg, before);
	if (need) {
		fd = socket(need->family, need->type | SOCK_CLOEXEC, need->protocol);
		error = errno;
		shut(fd);
		result = needed(need, before, error);
	} else {
		result = FAILED;
	}
	free(before);
	return result;
}

static const struct need filesystems[] = {
	{ .module = "minix", .call = "mount(minix)" },
	{ .module = "xfs", .call = "mount(xfs)" },
	{ .module = "ufs", .call = "mount(ufs)" },
	{ .module = "hfs", .call = "mount(hfs)" },
	{ .module = "jfs", .call = "mount(jfs)" },
	{ .module = "f2fs", .call = "mount(f2fs)" },
	{},
};

static enum result autoload_fs(const char *arg)
{
	char *directory = format("%s/attack-XXXXXX", scratch_directory() ?: "/tmp");
	char *before = loaded_modules();
	const struct need *need;
	enum result result;
	int error;

	if (!before)
		return refused("open(/proc/modules)");
	need = choose(filesystems, arg, before);
	if (!need) {
		result = FAILED;
	} else if (!mkdtemp(directory)) {
		result = refused("mkdtemp(%s)", directory);
	} else {
		/* Fails in any case, for want of a disk: what counts is the module. */
		mount("none", directory, need->module, 0, NULL);
		error = errno;
		rmdir(directory);
		result = needed(need, before, error);
	}
	free(before);
	return result;
}

/* ---- parameters that give a module hardware ---- */

enum result attack_module_parameter(const char *arg)
{
	const char *file = arg ? arg : "/sys/module/8250/parameters/share_irqs";
	char old[32], now[32], new[32];

	if (slurp(file, old, sizeof(old)) < 0)
		return refused("open(%s)", file);
	if (old[0] == 'Y' || old[0] == 'N') /* a truth value in newer kernels */
		strcpy(new, old[0] == 'Y' ? "N\n" : "Y\n");
	else
		snprintf(new, sizeof(new), "%d\n", !atoi(old));
	if (spew(file, new) < 0)
		return refused("write(%s)", file);
	if (slurp(file, now, sizeof(now)) < 0 || strcmp(now, new))
		return failed("write(%s) succeeded, but the value did not change", file);
	if (!keep && spew(file, old) < 0)
		return stuck("write(%s)", file);
	return ok("%s changed from %.*s to %.*s", file, (int)strcspn(old, "\n"), old, (int)strcspn(new, "\n"), new);
}

const struct attack kmodlock_attacks[] = {
	{ "insmod_file", "kmodlock", "load_module", "load the module ARG with finit_module(2)", insmod_file },
	{ "insmod_memory", "kmodlock", "load_module", "load the module ARG from memory with init_module(2)",
	  insmod_memory },
	{ "insmod_unsigned", "kmodlock", "unsigned_module", "load the unsigned module ARG", attack_unsigned_module },
	{ "autoload_socket", "kmodlock", "autoload_module",
	  "make the kernel load a module by asking for a socket (ARG: sctp, can, ...)", autoload_socket },
	{ "autoload_fs", "kmodlock", "autoload_module",
	  "make the kernel load a module by a mount (ARG: minix, xfs, ...)", autoload_fs },
	{ "unsafe_module_parameters", "kmodlock", "unsafe_module_parameters",
	  "write /sys/module/8250/parameters/share_irqs", attack_module_parameter },
	{},
};
