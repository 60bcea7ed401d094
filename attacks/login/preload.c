/* SPDX-License-Identifier: Apache-2.0 */
/* A library that ends the program that loads it, with status 0: by LD_PRELOAD, or by LD_AUDIT. It needs no other. */

__attribute__((constructor)) static void loaded(void)
{
	__asm__ volatile("syscall" : : "a"(231L /* exit_group */), "D"(0L) : "rcx", "r11", "memory");
}

unsigned int la_version(unsigned int version)
{
	loaded();
	return version;
}
