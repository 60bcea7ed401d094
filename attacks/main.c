/* SPDX-License-Identifier: Apache-2.0 */
#include "attack.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

bool keep;

static const struct attack *const tables[] = {
	kimglock_attacks, kmodlock_attacks,   bpfrestrict_attacks, filelesslock_attacks, nslock_attacks,
	netlock_attacks,  rootfslock_attacks, sysfslock_attacks,   guard_attacks, policy_attacks,
	confine_attacks,  subject_attacks,    process_attacks,
	way_attacks,	  far_attacks,	      terminal_attacks, paths_attacks,
	hooks_attacks,
	rootfs_mounts_attacks, rootfs_devices_attacks,
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

static const char usage[] =
	"usage: attack LIST                      all attacks: name, lock, operation, what it does\n"
	"       attack [--keep] NAME [ARG]       perform one: exit status 0 ok, 1 denied, 2 failed\n"
	"       attack loop COUNT NAME [ARG]     COUNT times, as fast as possible\n"
	"       attack until FILE NAME [ARG]     again and again, until FILE exists\n"
	"       attack threads COUNT               so many threads leave at once, the first with status 3\n"
	"       attack probe                     accesses to files, told on standard input: see prober.c\n"
	"       attack cgroup PATH -- CMD ...    run CMD in the cgroup\n"
	"       attack with-map|with-prog|with-link|with-pin|with-all -- CMD ...\n"
	"                                        run CMD with inherited BPF objects that were made before (ATTACK_MAP_FD, ...)\n";

static int fail(const char *text)
{
	printf("failed: %s\n", text);
	return FAILED;
}

static int list(void)
{
	for (size_t t = 0; t < TABLES; t++)
		for (const struct attack *a = tables[t]; a->name; a++)
			printf("%s\t%s\t%s\t%s\n", a->name, a->lock, a->operation, a->what);
	return 0;
}

static const struct attack *find(const char *name)
{
	for (size_t t = 0; t < TABLES; t++)
		for (const struct attack *a = tables[t]; a->name; a++)
			if (!strcmp(a->name, name))
				return a;
	return NULL;
}

/* COUNT times if `file` is NULL, else until it exists. Exit status 2 if any attempt neither worked nor was denied. */
static int repeat(const struct attack *attack, const char *arg, unsigned long count, const char *file)
{
	unsigned long results[3] = {}, attempts = 0;
	char last_failure[1024] = "";

	while (file ? access(file, F_OK) != 0 : attempts < count) {
		enum result result = attack->run(arg);

		attempts++;
		results[result]++;
		if (result == FAILED)
			snprintf(last_failure, sizeof(last_failure), "%s", message);
	}
	printf("attempts=%lu denied=%lu ok=%lu\n", attempts, results[DENIED], results[OK]);
	if (results[FAILED])
		fprintf(stderr, "%lu attempts failed, the last with: %s\n", results[FAILED], last_failure);
	return results[FAILED] ? FAILED : OK;
}

static int repeat_command(char **args)
{
	const struct attack *attack;
	unsigned long count;
	char *end;

	if (!args[1] || !args[2])
		return fail("loop COUNT NAME [ARG], until FILE NAME [ARG]");
	attack = find(args[2]);
	if (!attack)
		return fail(format("no attack is called \"%s\"", args[2]));
	if (!strcmp(args[0], "until"))
		return repeat(attack, args[3], 0, args[1]);
	count = strtoul(args[1], &end, 10);
	if (end == args[1] || *end)
		return fail(format("\"%s\" is not a number", args[1]));
	return repeat(attack, args[3], count, NULL);
}

static int cgroup_command(char **args)
{
	if (!args[1] || !args[2] || strcmp(args[2], "--") || !args[3])
		return fail("cgroup PATH -- CMD ...");
	/* 0 is the writer itself, in any pid namespace. */
	if (spew(format("%s/cgroup.procs", args[1]), "0") < 0) {
		refused("write(\"%s/cgroup.procs\")", args[1]);
		puts(message);
		return FAILED;
	}
	execvp(args[3], args + 3);
	refused("execve(\"%s\")", args[3]);
	puts(message);
	return FAILED;
}

static pthread_barrier_t everybody;

/* Only the calling thread: exit(3) would end the process at one stroke. */
static void *leave(void *status)
{
	pthread_barrier_wait(&everybody);
	syscall(SYS_exit, (long)status);
	return NULL;
}

static int threads_command(const char *text)
{
	unsigned int count = text ? strtoul(text, NULL, 10) : 0;
	pthread_t thread;

	if (!count)
		return fail("threads COUNT");
	pthread_barrier_init(&everybody, NULL, count);
	for (unsigned int i = 1; i < count; i++)
		if (pthread_create(&thread, NULL, leave, (void *)7L))
			return fail("pthread_create");
	leave((void *)3L);
	return FAILED;
}

int main(int argc, char **argv)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	const struct attack *attack;
	enum result result;
	int count = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	/* Before 5.11, BPF objects are charged to it. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);

	/* --keep may stand anywhere before a command of somebody else. */
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (i < argc)
				argv[count++] = argv[i++];
			break;
		}
		if (!strcmp(argv[i], "--keep"))
			keep = true;
		else
			argv[count++] = argv[i];
	}
	argv[count] = NULL;
	argv++;

	if (!argv[0] || !strcmp(argv[0], "--help")) {
		fputs(usage, argv[0] ? stdout : stderr);
		return argv[0] ? 0 : FAILED;
	}
	if (!strcmp(argv[0], "LIST") || !strcmp(argv[0], "list"))
		return list();
	if (!strcmp(argv[0], "loop") || !strcmp(argv[0], "until"))
		return repeat_command(argv);
	if (!strcmp(argv[0], "threads"))
		return threads_command(argv[1]);
	if (!strcmp(argv[0], "probe"))
		return probe();
	if (!strcmp(argv[0], "cgroup"))
		return cgroup_command(argv);
	if (!strncmp(argv[0], "with-", 5)) {
		if (!argv[1] || strcmp(argv[1], "--") || !argv[2])
			return fail("with-map|with-prog|with-link|with-pin|with-all -- CMD ...");
		result = bpf_holder(argv[0] + 5, argv + 2);
		puts(message);
		return result;
	}
	attack = find(argv[0]);
	if (!attack)
		return fail(format("no attack is called \"%s\": see attack LIST", argv[0]));
	result = attack->run(argv[1]);
	for (char *c = message; *c; c++)
		if (*c == '\n')
			*c = ' ';
	puts(message);
	return result;
}
