// SPDX-License-Identifier: Apache-2.0
/*
 * A login program that does what it is told: one command in a line, one answer in a line ("ok", or what is wrong). It
 * shows what a policy lets it do where.
 *
 *  enter FUNCTION...   go into these functions, one inside the other; the commands that follow are carried out there
 *  leave               return from what was entered last
 *  jump ACCESS FILE    longjmp() from all of them to main(), and do it there, below memory that still holds the frames
 *  read FILE           open it; likewise append FILE
 *  in HOW ACCESS FILE  do it by the system call open, in a thread, fork, vfork, signal (handler, on a stack of its own), in a coroutine; pointer:
 *                      through the call that entered the function before; buffer: below memory that nobody wrote to
 *  socket              make one, of TCP
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "users.h"

#define STACK (256 * 1024)

static jmp_buf top;
static char how[16], file[128]; /* what is wanted */
static int result;
static ucontext_t here, there;

static void serve(void);

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static void tell(void)
{
	say(result < 0 ? "no such place" : result ? strerror(result) : "ok");
}

__attribute__((noinline)) static void attempt(void)
{
	int flags = strcmp(how, "append") ? O_RDONLY : O_WRONLY | O_APPEND;
	int fd = open(file, flags | O_CLOEXEC);

	result = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
}

__attribute__((noinline)) void check_password(void (*inside)(void))
{
	inside();
	__asm__ volatile("");
}

__attribute__((noinline)) void add_user(void (*inside)(void))
{
	inside();
	__asm__ volatile("");
}

static __attribute__((noinline)) void just_call(void (*inside)(void))
{
	inside();
	__asm__ volatile("");
}

static void (*function_of(const char *name))(void (*)(void))
{
	if (!strcmp(name, "check_password"))
		return check_password;
	if (!strcmp(name, "add_user"))
		return add_user;
	if (!strcmp(name, "find_user"))
		return find_user;
	return NULL;
}

/* All entered by one and the same call. */
__attribute__((noinline)) static void call(void (*function)(void (*)(void)), void (*inside)(void))
{
	function(inside);
	__asm__ volatile("");
}

static char names[1024], *next;

static void enter(void)
{
	char *name = strtok_r(NULL, " ", &next);

	if (!name) {
		say("ok");
		serve();
	} else if (function_of(name)) {
		call(function_of(name), enter);
	} else {
		say("no such function");
	}
}

static void *in_thread(void *unused)
{
	attempt();
	return unused;
}

static void in_child(pid_t child)
{
	int status;

	if (!child) {
		attempt();
		_exit(result);
	}
	waitpid(child, &status, 0);
	result = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void in_handler(int number)
{
	(void)number;
	attempt();
}

static void in_coroutine(void)
{
	attempt();
	swapcontext(&there, &here);
}

__attribute__((noinline)) static void below_buffer(void)
{
	volatile char unused[16384];

	unused[0] = 0;
	attempt();
	(void)unused[0];
}

static void in(const char *where)
{
	char *stack = malloc(STACK);

	result = -1;
	if (!stack) {
		result = ENOMEM;
	} else if (!strcmp(where, "here")) {
		attempt();
	} else if (!strcmp(where, "open")) {
		int fd = syscall(SYS_open, file, O_RDONLY);

		result = fd < 0 ? errno : 0;
		close(fd);
	} else if (!strcmp(where, "thread")) {
		pthread_t thread;

		pthread_create(&thread, NULL, in_thread, NULL);
		pthread_join(thread, NULL);
	} else if (!strcmp(where, "fork")) {
		in_child(fork());
	} else if (!strcmp(where, "vfork")) {
		pid_t child = vfork();

		if (!child) {
			attempt();
			_exit(0);
		}
		waitpid(child, NULL, 0);
	} else if (!strcmp(where, "signal")) {
		struct sigaction action = { .sa_handler = in_handler, .sa_flags = SA_ONSTACK };
		stack_t other = { .ss_sp = stack, .ss_size = STACK };

		sigaltstack(&other, NULL);
		sigaction(SIGUSR1, &action, NULL);
		if (raise(SIGUSR1))
			result = errno;
		other.ss_flags = SS_DISABLE;
		sigaltstack(&other, NULL);
	} else if (!strcmp(where, "coroutine")) {
		getcontext(&there);
		there.uc_stack.ss_sp = stack;
		there.uc_stack.ss_size = STACK;
		makecontext(&there, in_coroutine, 0);
		swapcontext(&here, &there);
	} else if (!strcmp(where, "pointer")) {
		call(just_call, attempt);
	} else if (!strcmp(where, "buffer")) {
		below_buffer();
	}
	free(stack);
	tell();
}

static void serve(void)
{
	char line[1024], where[16], access[16];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "leave")) {
			say("ok");
			return;
		} else if (sscanf(line, "jump %15s %127s", how, file) == 2) {
			longjmp(top, 1);
		} else if (!strcmp(line, "socket")) {
			int fd = socket(AF_INET, SOCK_STREAM, 0);

			result = fd < 0 ? errno : 0;
			close(fd);
			tell();
		} else if (!strncmp(line, "enter ", 6)) {
			strcpy(names, line);
			strtok_r(names, " ", &next);
			enter();
		} else if (sscanf(line, "in %15s %15s %127s", where, access, file) == 3) {
			strcpy(how, access);
			in(where);
		} else if (sscanf(line, "%15s %127s", access, file) == 2) {
			strcpy(how, access);
			in("here");
		} else {
			say("no such command");
		}
	}
	exit(0);
}

int main(void)
{
	setvbuf(stdin, NULL, _IONBF, 0);
	if (setjmp(top)) {
		below_buffer();
		tell();
	}
	for (;;)
		serve();
}
