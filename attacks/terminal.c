/* SPDX-License-Identifier: Apache-2.0 */
/* Signals by way of a terminal. */
#include "attack.h"


#ifndef F_SETSIG
#define F_SETSIG 10
#endif

/*
 * DEVICE [SIGNAL]: the terminal of somebody else tells that it has input, by a signal. Its owner is nobody yet: then the
 * kernel makes it the terminal's foreground process group, without a further call.
 */
static enum result terminal_signal(const char *arg)
{
	char *text = strdup(arg), *device = strtok(text, " "), *signal = strtok(NULL, " ");
	enum result result;
	int fd = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return refused("open(\"%s\")", device);
	if (signal && fcntl(fd, F_SETSIG, atoi(signal)))
		result = refused("fcntl(F_SETSIG)");
	else if (fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK))
		result = refused("fcntl(F_SETFL, O_ASYNC)");
	else
		result = ok("input of the terminal signals its foreground");
	if (result == OK) {
		puts("ready");
		fflush(stdout);
		/* Wait for input, and leave it unread for the next reader. */
		getchar();
	}
	shut(fd);
	return result;
}

const struct attack terminal_attacks[] = {
	{ "terminal_signal", "policy", "signal", "a signal to the foreground of a terminal: DEVICE [SIGNAL]", terminal_signal },
	{},
};
