/* SPDX-License-Identifier: Apache-2.0 */
/* By which path a file is known to a policy. */
#include "attack.h"

#include <sys/mman.h>

#define SIZE 4096

/* Opens all of the files 0 to COUNT - 1 twice. It worked if one could be read, whichever. */
static enum result open_numbered(const char *arg)
{
	char directory[256] = "";
	int count = 0, opened = 0;

	if (!arg || sscanf(arg, "%255s %d", directory, &count) != 2)
		return failed("needs DIRECTORY COUNT");
	for (int i = 0; i < 2 * count; i++) {
		int fd = open(format("%s/%d", directory, i / 2), O_RDONLY | O_CLOEXEC);

		if (fd < 0 && errno != EPERM)
			return failed("open(%s/%d): %s", directory, i / 2, error_name(errno));
		opened += fd >= 0;
		shut(fd);
	}
	return opened ? ok("%d of %d opens of files in %s", opened, 2 * count, directory) : denied("no file in %s", directory);
}

/* What is read, is executed: the file holds a function that returns 42. */
static enum result mprotect_exec(const char *arg)
{
	int fd = open(arg, O_RDONLY | O_CLOEXEC);
	void *memory;
	int found;

	if (fd < 0)
		return failed("open(%s): %s", arg, error_name(errno));
	memory = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	shut(fd);
	if (memory == MAP_FAILED)
		return failed("mmap(PROT_READ): %s", error_name(errno));
	if (mprotect(memory, SIZE, PROT_READ | PROT_EXEC))
		return refused("mprotect(PROT_EXEC)");
	found = ((int (*)(void))(uintptr_t)memory)();
	return found == 42 ? ok("executed code of %s", arg) : failed("it returned %d", found);
}

/* What may be appended to, is overwritten. */
static enum result mprotect_write(const char *arg)
{
	int fd = open(arg, O_RDWR | O_APPEND | O_CLOEXEC);
	char *memory, first = 0;

	if (fd < 0)
		return failed("open(%s): %s", arg, error_name(errno));
	memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return failed("mmap(PROT_READ): %s", error_name(errno));
	if (mprotect(memory, SIZE, PROT_READ | PROT_WRITE))
		return refused("mprotect(PROT_WRITE)");
	memory[0] ^= 1;
	if (pread(fd, &first, 1, 0) != 1 || first != memory[0])
		return failed("the file is the same");
	return ok("overwrote %s", arg);
}

#define ATTACK(name, what) { #name, "policy", #name, what, name }

const struct attack paths_attacks[] = {
	ATTACK(open_numbered, "open(2) of many files, twice: DIRECTORY COUNT"),
	ATTACK(mprotect_exec, "mmap(2) to read, then mprotect(2) to execute: FILE"),
	ATTACK(mprotect_write, "shared mmap(2) to read, then mprotect(2) to write: FILE"),
	{},
};
