/* SPDX-License-Identifier: Apache-2.0 */
/* Says when it began, in nanoseconds of CLOCK_MONOTONIC as a struct timespec, on standard output. Without a C library. */
static long call(long number, long first, void *second, long third)
{
	long answer;

#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x2 __asm__("x2") = third;
	register void *x1 __asm__("x1") = second;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	answer = x0;
#else
#error "how are system calls made on this machine?"
#endif
	return answer;
}

#if defined(__x86_64__)
enum { WRITE = 1, EXIT = 60, CLOCK_GETTIME = 228 };
#else
enum { WRITE = 64, EXIT = 93, CLOCK_GETTIME = 113 };
#endif

void _start(void)
{
	long now[2];

	call(CLOCK_GETTIME, 1, now, 0);
	call(WRITE, 1, now, sizeof(now));
	call(EXIT, 0, 0, 0);
	__builtin_unreachable();
}
