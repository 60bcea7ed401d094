/* SPDX-License-Identifier: Apache-2.0 */
/* Files that no path leads to in one step. */
#include "attack.h"

/* DIRECTORY NAME COUNT: a file called "leaf", COUNT directories called NAME below DIRECTORY, each in the one before. */
static enum result read_far(const char *arg)
{
	char *text = strdup(arg), *directory = strtok(text, " "), *name = strtok(NULL, " "), *count = strtok(NULL, " "), byte[2];

	if (!count)
		return failed("read_far DIRECTORY NAME COUNT");
	if (chdir(directory))
		return refused("chdir(\"%s\")", directory);
	for (int i = atoi(count); i; i--)
		if (chdir(name))
			return refused("chdir(\"%s\")", name);
	return slurp("leaf", byte, sizeof(byte)) < 0 ? refused("open(\"leaf\")") : ok("read what is far away");
}

const struct attack far_attacks[] = {
	{ "read_far", "policy", "read", "read a file by a path that is deep or long: DIRECTORY NAME COUNT", read_far },
	{},
};
