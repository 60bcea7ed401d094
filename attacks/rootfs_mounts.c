/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts over a guarded directory, and mounts made writable: only the flags differ. */
#include "attack.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define SCRATCH "/tmp/attack-rootfs-mounts" /* on another file system */
#define SOURCE SCRATCH "/source" /* a mount, for MS_MOVE */
#define TARGET SCRATCH "/target" /* a read-only mount of the guarded directory */
#define MOVE_BENEATH 0x200

static uint64_t mount_of(const char *path)
{
	struct statx found;

	return statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_BASIC_STATS | 0x1000 /* STATX_MNT_ID */, &found) ? 0 :
														  found.stx_mnt_id;
}

static bool is_writable(void)
{
	struct statvfs found;

	return !statvfs(TARGET, &found) && !(found.f_flag & ST_RDONLY);
}

static bool make_read_only(void)
{
	return !mount(NULL, TARGET, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

/* What the flags do to the target; it is as before then. NULL: nothing. */
static const char *effect(unsigned long flags)
{
	uint64_t target = mount_of(TARGET), source = mount_of(SOURCE);
	bool done = !mount(SOURCE, TARGET, "tmpfs", flags, NULL);
	const char *what = NULL;

	if (mount_of(TARGET) != target) {
		what = "covered";
		umount2(TARGET, MNT_DETACH);
		if (mount_of(SOURCE) != source)
			mount("none", SOURCE, "tmpfs", 0, NULL);
	} else if (done && (flags & (MS_REMOUNT | MS_BIND)) == MS_REMOUNT) {
		what = "remounted";
		mount(NULL, TARGET, NULL, MS_REMOUNT, NULL);
		make_read_only();
	} else if (is_writable()) {
		what = "writable";
		make_read_only();
	}
	mount(NULL, TARGET, NULL, MS_PRIVATE, NULL);
	return what;
}

/* Each flag, and each two of them, in a mount namespace of its own. */
static enum result attack_flags(const char *arg)
{
	static const char *const places[] = { SCRATCH, SOURCE, TARGET };
	unsigned int found = 0;

	for (size_t i = 0; i < 3; i++)
		if (mkdir(places[i], 0700) && errno != EEXIST)
			return stuck("mkdir()");
	if (!arg || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", SOURCE, "tmpfs", 0, NULL) || mount(arg, TARGET, NULL, MS_BIND, NULL) || !make_read_only())
		return stuck("a read-only mount of \"%s\"", arg);
	for (unsigned int i = 0; i < 32; i++) {
		for (unsigned int j = i; j < 32; j++) {
			unsigned long flags = 1UL << i | 1UL << j;
			const char *what = effect(flags);

			if (what && ++found)
				printf("%#lx\t%s\n", flags, what);
		}
	}
	return found ? ok("%u combinations of flags", found) : denied("no flag does anything");
}

/* On the directory, something is mounted already: slip a mount beneath that, and take it away. */
static enum result attack_beneath(const char *arg)
{
	const char *what = "";
	int fd = detached_mount("tmpfs", &what);
	enum result result;

	if (fd < 0 || !arg)
		return refused("%s", what);
	if (syscall(SYS_move_mount, fd, "", AT_FDCWD, arg, MOVE_MOUNT_F_EMPTY_PATH | MOVE_BENEATH))
		result = refused("move_mount(MOVE_MOUNT_BENEATH)");
	else if (umount2(arg, MNT_DETACH) || umount2(arg, MNT_DETACH) || mount("none", arg, "tmpfs", 0, NULL))
		result = stuck("the mount above");
	else
		result = ok("a mount beneath another");
	shut(fd);
	return result;
}

const struct attack rootfs_mounts_attacks[] = {
	{ "rootfs_flags", "redteam", "rootfslock", "ARG: mount over a read-only mount of this directory, with each two flags", attack_flags },
	{ "rootfs_beneath", "redteam", "rootfslock", "ARG: mount beneath what is mounted on this directory", attack_beneath },
	{},
};
