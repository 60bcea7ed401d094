/* SPDX-License-Identifier: Apache-2.0 */
/* What all attacks use: the line they end with, small files, mounts. */
#include "attack.h"

#include <stdarg.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

char message[1024];

static void vsay(const char *prefix, const char *text, va_list arguments)
{
	int length = snprintf(message, sizeof(message), "%s", prefix);

	vsnprintf(message + length, sizeof(message) - length, text, arguments);
}

enum result ok(const char *text, ...)
{
	va_list arguments;

	va_start(arguments, text);
	vsay("ok: ", text, arguments);
	va_end(arguments);
	return OK;
}

enum result denied(const char *text, ...)
{
	va_list arguments;

	va_start(arguments, text);
	vsay("denied: ", text, arguments);
	va_end(arguments);
	return DENIED;
}

enum result failed(const char *text, ...)
{
	va_list arguments;

	va_start(arguments, text);
	vsay("failed: ", text, arguments);
	va_end(arguments);
	return FAILED;
}

enum result refused(const char *text, ...)
{
	int error = errno;
	bool is_denial = error == EPERM || error == EACCES;
	va_list arguments;
	size_t length;

	va_start(arguments, text);
	vsay(is_denial ? "denied: " : "failed: ", text, arguments);
	va_end(arguments);
	length = strlen(message);
	snprintf(message + length, sizeof(message) - length, ": %s (%s)", error_name(error), strerror(error));
	errno = error;
	return is_denial ? DENIED : FAILED;
}

enum result stuck(const char *text, ...)
{
	int error = errno;
	va_list arguments;
	size_t length;

	va_start(arguments, text);
	vsay("failed: it worked, but cannot be undone: ", text, arguments);
	va_end(arguments);
	length = strlen(message);
	snprintf(message + length, sizeof(message) - length, ": %s (%s)", error_name(error), strerror(error));
	return FAILED;
}

enum result with_hint(enum result result, const char *text, ...)
{
	size_t length = strlen(message);
	va_list arguments;

	if (result != FAILED)
		return result;
	length += snprintf(message + length, sizeof(message) - length, "; ");
	if (length >= sizeof(message))
		return result;
	va_start(arguments, text);
	vsnprintf(message + length, sizeof(message) - length, text, arguments);
	va_end(arguments);
	return result;
}

const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : format("errno %d", error);
}

char *format(const char *text, ...)
{
	static char buffers[8][512];
	static unsigned int next;
	char *buffer = buffers[next++ % 8];
	va_list arguments;

	va_start(arguments, text);
	vsnprintf(buffer, sizeof(buffers[0]), text, arguments);
	va_end(arguments);
	return buffer;
}

void shut(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

ssize_t slurp_at(int dir, const char *path, void *buffer, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -1;
	length = read(fd, buffer, size - 1);
	shut(fd);
	if (length >= 0)
		((char *)buffer)[length] = 0;
	return length;
}

ssize_t slurp(const char *path, void *buffer, size_t size)
{
	return slurp_at(AT_FDCWD, path, buffer, size);
}

char *slurp_all(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = 1 << 16, used = 0;
	char *buffer;
	ssize_t length;

	if (fd < 0)
		return NULL;
	buffer = malloc(room);
	while (buffer && (length = read(fd, buffer + used, room - used - 1)) > 0) {
		used += length;
		if (used == room - 1) {
			room *= 2;
			buffer = realloc(buffer, room);
		}
	}
	shut(fd);
	if (!buffer || length < 0) {
		free(buffer);
		return NULL;
	}
	buffer[used] = 0;
	if (size)
		*size = used;
	return buffer;
}

int spew_at(int dir, const char *path, const char *text, int flags)
{
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | flags);
	ssize_t length;

	if (fd < 0)
		return -1;
	length = write(fd, text, strlen(text));
	shut(fd);
	return length < 0 ? -1 : 0;
}

int spew(const char *path, const char *text)
{
	return spew_at(AT_FDCWD, path, text, 0);
}

int detached_mount(const char *type, const char **what)
{
	int context = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	int mount = -1;

	*what = format("fsopen(\"%s\")", type);
	if (context < 0)
		return -1;
	*what = format("fsconfig(%s, FSCONFIG_CMD_CREATE)", type);
	if (!syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		*what = format("fsmount(%s)", type);
		mount = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	}
	shut(context);
	return mount;
}

int filesystem(const char *type, const char *place, long magic, const char **what)
{
	struct statfs found;

	if (!statfs(place, &found) && (long)found.f_type == magic) {
		*what = format("open(\"%s\")", place);
		return open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return detached_mount(type, what);
}

const char *scratch_directory(void)
{
	static const char *const places[] = { "/tmp", "/var/tmp", "/run" };
	struct statvfs found;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!access(places[i], W_OK) && !statvfs(places[i], &found) && !(found.f_flag & (ST_NOEXEC | ST_RDONLY)))
			return places[i];
	return NULL;
}
