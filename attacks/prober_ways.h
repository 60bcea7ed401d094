/* SPDX-License-Identifier: Apache-2.0 */
/* The task and the kind of system call by which the prober performs an access: see prober_ways.c. */
#ifndef PROBER_WAYS_H
#define PROBER_WAYS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Takes up what `way NAME` says, until forget_ways(). False if there is no such way. */
bool choose_way(const char *name);
void forget_ways(void);

/* Calls act(argument) in the chosen task, and returns what it returned, and errno. */
int act_in_task(int (*act)(void *argument), void *argument);

/* As the functions of the C library, by the chosen system calls; ENOSYS where these know none of the kind. */
int way_open(const char *path, int flags, mode_t mode);
int way_truncate(const char *path, off_t length);
int way_chmod(const char *path, mode_t mode);
int way_chown(const char *path, uid_t user, gid_t group);
int way_stat(const char *path);
int way_unlink(const char *path);
int way_rmdir(const char *path);
int way_mkdir(const char *path, mode_t mode);
int way_mknod(const char *path, mode_t mode);
int way_symlink(const char *target, const char *path);
int way_link(const char *path, const char *other);
int way_rename(const char *path, const char *other);
int way_kill(pid_t pid, int number);
int way_socket(int family, int type, int protocol);
int way_bind(int fd, const struct sockaddr *address, socklen_t length);
int way_listen(int fd);
int way_accept(int fd);
int way_connect(int fd, const struct sockaddr *address, socklen_t length);
int way_send(int fd, const struct sockaddr *address, socklen_t length);
int way_recv(int fd);
int way_shutdown(int fd);

#endif
