/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack: provokes, for real, what each lock of bpflock stops. For throw-away virtual machines.
 *
 * An attack obtains the thing and proves that it has it (bytes read, module present, code executed), then undoes it.
 * It says one line, and its exit status tells the same: ok (0), denied with EPERM or EACCES (1), failed because of
 * anything else (2), such as a driver that is not there.
 */
#ifndef ATTACK_H
#define ATTACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum result {
	OK = 0, /* false, so that one may be tried after the other by ?: */
	DENIED = 1,
	FAILED = 2,
};

struct attack {
	const char *name;
	const char *lock;
	const char *operation;
	const char *what; /* one line for LIST */
	enum result (*run)(const char *arg); /* arg may be NULL */
};

/* One table per lock, ended by an entry without a name. An action that two locks stop is in both tables. */
extern const struct attack kimglock_attacks[];
extern const struct attack kmodlock_attacks[];
extern const struct attack bpfrestrict_attacks[];
extern const struct attack filelesslock_attacks[];
extern const struct attack nslock_attacks[];
extern const struct attack netlock_attacks[];
extern const struct attack rootfslock_attacks[];
extern const struct attack sysfslock_attacks[];
extern const struct attack guard_attacks[];
extern const struct attack policy_attacks[];
extern const struct attack confine_attacks[];
extern const struct attack subject_attacks[];
extern const struct attack way_attacks[];
extern const struct attack far_attacks[];
extern const struct attack terminal_attacks[];
extern const struct attack process_attacks[];
extern const struct attack paths_attacks[];
extern const struct attack hooks_attacks[];
extern const struct attack rootfs_mounts_attacks[];
extern const struct attack rootfs_devices_attacks[];

int probe(void); /* see prober.c */

extern char message[1024]; /* the line */
extern bool keep; /* --keep: leave the effect in place */

/* Each sets the line that will be printed and returns the result. */
enum result ok(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum result denied(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum result failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The system call that the format names has just failed: denied if errno says so, else failed. */
enum result refused(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The attack worked, and then the system call that the format names has failed: never a denial. */
enum result stuck(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What to add to the line if the result is failed, such as the driver that is missing. */
enum result with_hint(enum result result, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *error_name(int error); /* "EPERM" */

/* Formats into one of a few static buffers: for paths, valid until some calls later. */
char *format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* close() that leaves errno alone, and ignores what is no descriptor. */
void shut(int fd);

/* Up to size - 1 bytes of the file, and a NUL. Returns their number, or -1 with errno. */
ssize_t slurp_at(int dir, const char *path, void *buffer, size_t size);
ssize_t slurp(const char *path, void *buffer, size_t size);
/* The whole file in malloc()ed memory with a NUL behind it, or NULL with errno. */
char *slurp_all(const char *path, size_t *size);
/* One write(2) of the string. Returns 0, or -1 with errno. */
int spew_at(int dir, const char *path, const char *text, int flags);
int spew(const char *path, const char *text);

/*
 * A directory descriptor of a filesystem of this type: its usual place if it is mounted there, else a mount of its own,
 * attached nowhere, that disappears with the descriptor. -1 with errno, after *what was set to the failing call.
 */
int filesystem(const char *type, const char *place, long magic, const char **what);
int detached_mount(const char *type, const char **what);

/* A directory for short-lived files, which may be executed. NULL if there is none. */
const char *scratch_directory(void);

/* Shared by kimglock and bpfrestrict, and by kimglock and kmodlock. */
enum result attack_bpf_write(const char *arg);
enum result attack_bpf_read(const char *arg);
enum result attack_module_parameter(const char *arg);
enum result attack_unsigned_module(const char *arg);

/* `attack with-map -- CMD ...` and its relatives: see bpfrestrict.c. */
enum result bpf_holder(const char *kind, char **command);

#endif
