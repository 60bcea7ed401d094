/* SPDX-License-Identifier: Apache-2.0 */
/* Execution of what lies in memory only: by exec, and by executable mappings. */
#include "attack.h"

#include <elf.h>
#include <linux/memfd.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAGIC_STATUS 77 /* exit status that proves that a program of ours ran */
#define MAGIC_RETURN 42 /* return value of the function below */

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif

#if defined(__x86_64__)
#define ELF_MACHINE EM_X86_64
static const unsigned char function_code[] = { 0xb8, MAGIC_RETURN, 0, 0, 0, 0xc3 }; /* mov eax, 42; ret */
static const unsigned char program_code[] = {
	0xbf, MAGIC_STATUS, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05, /* exit(77) */
};
#elif defined(__aarch64__)
#define ELF_MACHINE EM_AARCH64
static const uint32_t function_code[] = { 0x52800000 | MAGIC_RETURN << 5, 0xd65f03c0 }; /* mov w0, #42; ret */
static const uint32_t program_code[] = {
	0x52800000 | MAGIC_STATUS << 5, 0xd2800ba8, 0xd4000001, /* exit(77) */
};
#else
#error "machine code for this architecture is missing"
#endif

/* A complete program that exits with MAGIC_STATUS. With `interpreter`, the kernel starts that in its place. */
struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	char interpreter[64];
	unsigned char code[sizeof(program_code)];
};

static struct program make_program(uint64_t address, const char *interpreter)
{
	struct program program = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = ELF_MACHINE,
			.e_version = EV_CURRENT,
			.e_entry = address + offsetof(struct program, code),
			.e_phoff = offsetof(struct program, segments),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = interpreter ? 3 : 2,
		},
		.segments = {
			{
				.p_type = PT_LOAD,
				.p_flags = PF_R | PF_X,
				.p_vaddr = address,
				/*
				 * Whole pages, though the file is shorter: up to 6.9, the kernel zeroes the
				 * rest of an interpreter's last page, writable or not.
				 */
				.p_filesz = 0x10000,
				.p_memsz = 0x10000,
				.p_align = 0x10000,
			},
			{ .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
			{
				.p_type = PT_INTERP,
				.p_flags = PF_R,
				.p_offset = offsetof(struct program, interpreter),
				.p_filesz = interpreter ? strlen(interpreter) + 1 : 0,
			},
		},
	};

	memcpy(program.code, program_code, sizeof(program_code));
	if (interpreter)
		snprintf(program.interpreter, sizeof(program.interpreter), "%s", interpreter);
	return program;
}

/* ---- files to execute; -1 with errno ---- */

static int write_program(int fd)
{
	struct program program = make_program(0x400000, NULL);

	return write(fd, &program, sizeof(program)) == sizeof(program) ? 0 : -1;
}

static int make_memfd(unsigned int flags)
{
	int fd = syscall(SYS_memfd_create, "attack", flags | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before 6.3, which always allow it */
		fd = syscall(SYS_memfd_create, "attack", flags);
	return fd;
}

static int make_memfd_program(unsigned int flags)
{
	int fd = make_memfd(flags);

	if (fd >= 0 && write_program(fd) < 0) {
		shut(fd);
		return -1;
	}
	return fd;
}

/* The same file for reading only: what somebody has open for writing cannot be executed. Closes fd. */
static int reopen(int fd)
{
	int again = open(format("/proc/self/fd/%d", fd), O_RDONLY | O_CLOEXEC);

	shut(fd);
	return again;
}

/* ---- exec in a child ---- */

struct start {
	const char *how; /* the call, for the line */
	int (*run)(const struct start *start); /* in the child; returns only if that failed, with errno */
	int fd;
	const char *path;
	char *const *argv;
	int expected; /* exit status */
};

static int start_fd(const struct start *start)
{
	return syscall(SYS_execveat, start->fd, "", start->argv, environ, AT_EMPTY_PATH);
}

static int start_path(const struct start *start)
{
	return execve(start->path, start->argv, environ);
}

/* In a mount namespace of its own, with /dev/shm at another place too. */
static int start_bound(const struct start *start)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("/dev/shm", start->path, NULL, MS_BIND, NULL) < 0)
		return -1;
	return execve(format("%s/attack-%d", start->path, getppid()), start->argv, environ);
}

static char *const default_argv[] = { "attack-payload", NULL };

/* Returns the status of waitpid(2), or -1 with errno of the call that failed in the child. */
static int run_child(const struct start *start)
{
	int pipes[2], error = 0, status = 0;
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -1;
	fflush(stdout);
	child = fork();
	if (child < 0) {
		shut(pipes[0]);
		shut(pipes[1]);
		return -1;
	}
	if (!child) {
		start->run(start);
		error = errno;
		_exit(write(pipes[1], &error, sizeof(error)) == sizeof(error) ? 126 : 125);
	}
	shut(pipes[1]);
	if (read(pipes[0], &error, sizeof(error)) != sizeof(error))
		error = 0;
	shut(pipes[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!error)
		return status;
	errno = error;
	return -1;
}

static enum result execute(struct start start)
{
	int status;

	if (!start.argv) {
		start.argv = default_argv;
		start.expected = MAGIC_STATUS;
	}
	status = run_child(&start);
	if (status < 0)
		return refused("%s", start.how);
	if (WIFEXITED(status) && WEXITSTATUS(status) == start.expected)
		return ok("program ran by %s: exit status %d", start.how, start.expected);
	if (WIFSIGNALED(status))
		return failed("%s: the program was killed by signal %d", start.how, WTERMSIG(status));
	return failed("%s: exit status %d", start.how, WEXITSTATUS(status));
}

/* With ARG, that program is copied and runs in the place of ours. */
static enum result memfd_exec(const char *arg)
{
	char *argv[] = { (char *)arg, NULL };
	enum result result;
	size_t size = 0;
	char *image;
	int fd;

	if (!arg) {
		fd = make_memfd_program(MFD_CLOEXEC);
		if (fd < 0)
			return refused("memfd_create");
		result = execute((struct start){ "execveat(memfd)", start_fd, .fd = fd });
		shut(fd);
		return result;
	}
	image = slurp_all(arg, &size);
	if (!image)
		return failed("%s: %s", arg, strerror(errno));
	fd = make_memfd(MFD_CLOEXEC);
	if (fd < 0 || write(fd, image, size) != (ssize_t)size)
		result = refused("memfd_create");
	else
		result = execute((struct start){ "execveat(memfd)", start_fd, .fd = fd, .argv = argv });
	free(image);
	shut(fd);
	return result;
}

static enum result memfd_procfd(const char *arg)
{
	int fd = make_memfd_program(MFD_CLOEXEC);
	enum result result;

	(void)arg;
	if (fd < 0)
		return refused("memfd_create");
	result = execute((struct start){ "execve(/proc/self/fd/N of a memfd)", start_path,
					 .path = format("/proc/self/fd/%d", fd) });
	shut(fd);
	return result;
}

static enum result memfd_script(const char *arg)
{
	static const char script[] = "#!/bin/sh\nexit 77\n";
	int fd = make_memfd(0); /* stays open for the shell, which reads it */
	enum result result;

	(void)arg;
	if (fd < 0 || write(fd, script, strlen(script)) < 0)
		result = refused("memfd_create");
	else
		result = execute((struct start){ "execve(script in a memfd)", start_path,
						 .path = format("/proc/self/fd/%d", fd) });
	shut(fd);
	return result;
}

/* A new file of that content in a place for such. The descriptor is for writing; the path is returned. */
static const char *disk_file(const void *content, size_t size, int *fd, enum result *result)
{
	const char *directory = scratch_directory();
	char *path;

	if (!directory) {
		*result = failed("no directory for a file that may be executed");
		return NULL;
	}
	path = format("%s/attack-XXXXXX", directory);
	*fd = mkostemp(path, O_CLOEXEC);
	if (*fd < 0) {
		*result = refused("open(%s)", path);
		return NULL;
	}
	if (write(*fd, content, size) != (ssize_t)size || fchmod(*fd, 0700) < 0) {
		*result = refused("write(%s)", path);
		unlink(path);
		shut(*fd);
		return NULL;
	}
	return path;
}

/* An ordinary script whose interpreter is the memfd. */
static enum result memfd_interpreter(const char *arg)
{
	int memfd = make_memfd_program(0), fd;
	enum result result;
	const char *path, *script;

	(void)arg;
	if (memfd < 0)
		return refused("memfd_create");
	script = format("#!/proc/self/fd/%d\n", memfd);
	path = disk_file(script, strlen(script), &fd, &result);
	if (path) {
		shut(fd);
		result = execute((struct start){ "execve(script whose interpreter is a memfd)", start_path,
						 .path = path });
		unlink(path);
	}
	shut(memfd);
	return result;
}

/* An ordinary program whose ELF interpreter is the memfd: the kernel maps that one, without an exec of it. */
static enum result memfd_elf_interpreter(const char *arg)
{
	struct program interpreter = make_program(0x10000000, NULL), program;
	int memfd = make_memfd(0), fd, status;
	struct start start = { .run = start_path, .argv = default_argv };
	enum result result;

	(void)arg;
	if (memfd < 0 || write(memfd, &interpreter, sizeof(interpreter)) < 0)
		return refused("memfd_create");
	program = make_program(0x400000, format("/proc/self/fd/%d", memfd));
	program.header.e_entry = 0; /* never reached */
	start.path = disk_file(&program, sizeof(program), &fd, &result);
	if (start.path) {
		shut(fd);
		status = run_child(&start);
		if (status < 0)
			result = refused("execve(program whose ELF interpreter is a memfd)");
		else if (WIFEXITED(status) && WEXITSTATUS(status) == MAGIC_STATUS)
			result = ok("an ELF interpreter in a memfd ran: exit status %d", MAGIC_STATUS);
		else if (WIFSIGNALED(status)) /* mapped after the point of no return */
			result = denied("execve(program whose ELF interpreter is a memfd): killed by signal %d",
					WTERMSIG(status));
		else
			result = failed("exit status %d", WEXITSTATUS(status));
		unlink(start.path);
	}
	shut(memfd);
	return result;
}

static int start_loader(const struct start *start)
{
	dup2(start->fd, STDERR_FILENO);
	return execve(start->path, start->argv, environ);
}

/* `ld.so /proc/self/fd/N`: the dynamic loader, an ordinary program, maps the memfd. */
static enum result memfd_loader(const char *arg)
{
	static const char *const loaders[] = {
		"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1",
		"/lib/ld-musl-aarch64.so.1",
	};
	const char *loader = NULL, *source = arg ? arg : "/bin/true";
	char *argv[] = { "ld.so", NULL, NULL }, text[512] = "";
	struct start start = { .run = start_loader, .argv = argv };
	int memfd = make_memfd(0), errors = make_memfd(MFD_CLOEXEC), status;
	enum result result;
	size_t size = 0;
	char *image;

	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]) && !loader; i++)
		if (!access(loaders[i], X_OK))
			loader = loaders[i];
	image = slurp_all(source, &size);
	if (!loader || !image) {
		result = failed("there is no %s", loader ? source : "dynamic loader");
	} else if (memfd < 0 || errors < 0 || write(memfd, image, size) != (ssize_t)size) {
		result = refused("memfd_create");
	} else {
		start.path = loader;
		start.fd = errors;
		argv[1] = format("/proc/self/fd/%d", memfd);
		status = run_child(&start);
		if (pread(errors, text, sizeof(text) - 1, 0) < 0)
			text[0] = 0;
		text[strcspn(text, "\n")] = 0;
		if (status < 0)
			result = refused("execve(%s)", loader);
		else if (!status)
			result = ok("%s in a memfd ran by %s: exit status 0", source, loader);
		else if (strstr(text, "Operation not permitted") || strstr(text, "failed to map segment"))
			result = denied("mmap(PROT_EXEC, a memfd) by %s: EPERM (%s)", loader, text);
		else
			result = failed("%s: status %#x (%s)", loader, status, text);
	}
	free(image);
	shut(memfd);
	shut(errors);
	return result;
}

/* Needs a tmpfs there, without noexec, as containers have it. */
static enum result check_shm(void)
{
	struct statvfs found;

	if (statvfs("/dev/shm", &found) < 0)
		return failed("there is no /dev/shm");
	if (found.f_flag & ST_NOEXEC)
		return failed("/dev/shm is mounted noexec");
	return OK;
}

static enum result shm_file(const void *content, size_t size, const char **path, int *fd)
{
	enum result result = check_shm();

	if (result != OK)
		return result;
	*path = format("/dev/shm/attack-%d", getpid());
	*fd = open(*path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	if (*fd < 0)
		return refused("open(%s)", *path);
	if (write(*fd, content, size) != (ssize_t)size) {
		result = refused("write(%s)", *path);
		unlink(*path);
		shut(*fd);
	}
	return result;
}

static enum result shm_exec(const char *arg)
{
	struct program program = make_program(0x400000, NULL);
	enum result result;
	const char *path = NULL;
	int fd = -1;

	(void)arg;
	result = shm_file(&program, sizeof(program), &path, &fd);
	if (result != OK)
		return result;
	shut(fd);
	result = execute((struct start){ "execve(/dev/shm/...)", start_path, .path = path });
	unlink(path);
	return result;
}

static enum result shm_bind_exec(const char *arg)
{
	struct program program = make_program(0x400000, NULL);
	char *directory = format("%s/attack-XXXXXX", scratch_directory() ?: "/tmp");
	enum result result;
	const char *path = NULL;
	int fd = -1;

	(void)arg;
	result = shm_file(&program, sizeof(program), &path, &fd);
	if (result != OK)
		return result;
	shut(fd);
	if (!mkdtemp(directory)) {
		result = refused("mkdtemp(%s)", directory);
	} else {
		result = execute((struct start){ "execve(/dev/shm/... through a bind mount)", start_bound,
						 .path = directory });
		rmdir(directory);
	}
	unlink(path);
	return result;
}

/* A file that never had a name. Its directory is ARG, or the first where that is possible. */
static int make_tmpfile(const char *arg, const char **directory, enum result *result)
{
	const char *places[] = { arg ? arg : "/var/tmp", arg ? arg : "/tmp", arg ? arg : "/run" };
	struct statvfs found;
	int fd = -1;

	errno = ENOENT;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && fd < 0; i++) {
		if (statvfs(places[i], &found) < 0 || found.f_flag & (ST_NOEXEC | ST_RDONLY))
			continue;
		*directory = places[i];
		fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
		if (fd < 0 && (errno == EPERM || errno == EACCES))
			break;
	}
	if (fd < 0)
		*result = refused("open(O_TMPFILE)");
	return fd;
}

static enum result tmpfile_exec(const char *arg)
{
	const char *directory;
	enum result result;
	int fd = make_tmpfile(arg, &directory, &result);

	if (fd < 0)
		return result;
	if (write_program(fd) < 0) {
		result = refused("write");
	} else {
		fd = reopen(fd);
		result = execute((struct start){ format("execve(/proc/self/fd/N of an O_TMPFILE in %s)", directory),
						 start_path, .path = format("/proc/self/fd/%d", fd) });
	}
	shut(fd);
	return result;
}

static enum result unlinked_exec(const char *arg)
{
	struct program program = make_program(0x400000, NULL);
	enum result result;
	const char *path;
	int fd;

	(void)arg;
	path = disk_file(&program, sizeof(program), &fd, &result);
	if (!path)
		return result;
	fd = reopen(fd);
	unlink(path);
	result = execute((struct start){ format("execveat(unlinked %s)", path), start_fd, .fd = fd });
	shut(fd);
	return result;
}

/* ---- executable mappings ---- */

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static enum result call(void *memory, const char *how)
{
	int (*function)(void);
	int value;

	__builtin___clear_cache((char *)memory, (char *)memory + sizeof(function_code));
	memcpy(&function, &memory, sizeof(function));
	value = function();
	if (value != MAGIC_RETURN)
		return failed("%s: the code returned %d", how, value);
	return ok("code ran in memory from %s: it returned %d", how, value);
}

/* The file, which has the code, is mapped executable. */
static enum result map_and_call(int fd, const char *how)
{
	void *memory = mmap(NULL, page_size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	enum result result;

	if (memory == MAP_FAILED)
		return refused("mmap(PROT_EXEC, %s)", how);
	result = call(memory, how);
	munmap(memory, page_size());
	return result;
}

/* The memory, which is writable, gets the code and then becomes executable. */
static enum result write_and_call(void *memory, size_t size, const char *how)
{
	memcpy(memory, function_code, sizeof(function_code));
	if (mprotect(memory, size, PROT_READ | PROT_EXEC) < 0)
		return refused("mprotect(PROT_EXEC, %s)", how);
	return call(memory, how);
}

/* The file is mapped writable, and made executable later. */
static enum result map_write_and_call(int fd, int flags, size_t size, const char *how)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	enum result result;

	if (memory == MAP_FAILED)
		return refused("mmap(%s)", how);
	result = write_and_call(memory, size, how);
	munmap(memory, size);
	return result;
}

static int make_memfd_code(void)
{
	int fd = make_memfd(MFD_CLOEXEC);

	if (fd >= 0 && (write(fd, function_code, sizeof(function_code)) < 0 || ftruncate(fd, page_size()) < 0)) {
		shut(fd);
		return -1;
	}
	return fd;
}

static enum result memfd_mmap(const char *arg)
{
	int fd = make_memfd_code();
	enum result result;

	(void)arg;
	if (fd < 0)
		return refused("memfd_create");
	result = map_and_call(fd, "a memfd");
	shut(fd);
	return result;
}

static enum result memfd_mprotect(const char *arg)
{
	int fd = make_memfd_code();
	enum result result;

	(void)arg;
	if (fd < 0)
		return refused("memfd_create");
	result = map_write_and_call(fd, MAP_SHARED, page_size(), "a memfd");
	shut(fd);
	return result;
}

/* PROT_EXEC is never asked for: the personality adds it. */
static enum result read_implies_exec(int fd, int flags, const char *how)
{
	int before = personality(0xffffffff);
	enum result result;
	void *memory;

	if (personality(before | READ_IMPLIES_EXEC) < 0)
		return refused("personality(READ_IMPLIES_EXEC)");
	memory = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (memory == MAP_FAILED) {
		result = refused("mmap(%s)", how);
	} else {
		memcpy(memory, function_code, sizeof(function_code));
		result = call(memory, how);
		munmap(memory, page_size());
	}
	personality(before);
	return result;
}

static enum result memfd_personality(const char *arg)
{
	int fd = make_memfd_code();
	enum result result;

	(void)arg;
	if (fd < 0)
		return refused("memfd_create");
	result = read_implies_exec(fd, MAP_PRIVATE, "a memfd mapped with READ_IMPLIES_EXEC");
	shut(fd);
	return result;
}

/* Huge pages are a filesystem of their own. */
static enum result memfd_hugetlb(const char *arg)
{
	static const char sysctl[] = "/proc/sys/vm/nr_hugepages";
	const size_t size = 2 << 20;
	char before[32] = "0";
	enum result result;
	int fd;

	(void)arg;
	fd = make_memfd(MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (fd < 0)
		return refused("memfd_create(MFD_HUGETLB)");
	slurp(sysctl, before, sizeof(before));
	spew(sysctl, format("%d", atoi(before) + 1));
	if (ftruncate(fd, size) < 0)
		result = refused("ftruncate(memfd)");
	else
		result = with_hint(map_write_and_call(fd, MAP_SHARED, size, "a memfd of huge pages"),
				   "vm.nr_hugepages was raised from %d", atoi(before));
	shut(fd);
	spew(sysctl, before);
	return result;
}

static enum result tmpfile_mmap(const char *arg)
{
	const char *directory;
	enum result result;
	int fd = make_tmpfile(arg, &directory, &result);

	if (fd < 0)
		return result;
	if (write(fd, function_code, sizeof(function_code)) < 0)
		result = refused("write");
	else
		result = map_and_call(fd, format("an O_TMPFILE in %s", directory));
	shut(fd);
	return result;
}

static enum result unlinked_mmap(const char *arg)
{
	enum result result;
	const char *path;
	int fd;

	(void)arg;
	path = disk_file(function_code, sizeof(function_code), &fd, &result);
	if (!path)
		return result;
	unlink(path);
	result = map_and_call(fd, format("unlinked %s", path));
	shut(fd);
	return result;
}

static enum result shm_mmap(const char *arg)
{
	enum result result;
	const char *path = NULL;
	int fd = -1;

	(void)arg;
	result = shm_file(function_code, sizeof(function_code), &path, &fd);
	if (result != OK)
		return result;
	result = map_and_call(fd, "a file in /dev/shm");
	shut(fd);
	unlink(path);
	return result;
}

static enum result sysv_exec(const char *arg)
{
	int id = shmget(IPC_PRIVATE, page_size(), IPC_CREAT | 0700);
	enum result result;
	void *memory;

	(void)arg;
	if (id < 0)
		return refused("shmget");
	memory = shmat(id, NULL, SHM_EXEC);
	if (memory == (void *)-1) {
		result = refused("shmat(SHM_EXEC)");
	} else {
		memcpy(memory, function_code, sizeof(function_code));
		result = call(memory, "a SysV segment");
		shmdt(memory);
	}
	shmctl(id, IPC_RMID, NULL);
	return result;
}

static enum result sysv_mprotect(const char *arg)
{
	int id = shmget(IPC_PRIVATE, page_size(), IPC_CREAT | 0700);
	enum result result;
	void *memory;

	(void)arg;
	if (id < 0)
		return refused("shmget");
	memory = shmat(id, NULL, 0);
	if (memory == (void *)-1) {
		result = refused("shmat");
	} else {
		result = write_and_call(memory, page_size(), "a SysV segment");
		shmdt(memory);
	}
	shmctl(id, IPC_RMID, NULL);
	return result;
}

static enum result anon_map(const char *arg)
{
	void *memory = mmap(NULL, page_size(), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	enum result result;

	(void)arg;
	if (memory == MAP_FAILED)
		return refused("mmap(PROT_EXEC, anonymous memory)");
	memcpy(memory, function_code, sizeof(function_code));
	result = call(memory, "anonymous memory");
	munmap(memory, page_size());
	return result;
}

static enum result anon_shared(const char *arg)
{
	void *memory = mmap(NULL, page_size(), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enum result result;

	(void)arg;
	if (memory == MAP_FAILED)
		return refused("mmap(PROT_EXEC, shared anonymous memory)");
	memcpy(memory, function_code, sizeof(function_code));
	result = call(memory, "shared anonymous memory");
	munmap(memory, page_size());
	return result;
}

static enum result anon_mprotect(const char *arg)
{
	(void)arg;
	return map_write_and_call(-1, MAP_PRIVATE | MAP_ANONYMOUS, page_size(), "anonymous memory");
}

static enum result anon_personality(const char *arg)
{
	(void)arg;
	return read_implies_exec(-1, MAP_PRIVATE | MAP_ANONYMOUS, "anonymous memory with READ_IMPLIES_EXEC");
}

static enum result private_mprotect(const char *arg)
{
	enum result result;
	const char *path;
	char *zeroes;
	int fd;

	(void)arg;
	zeroes = calloc(1, page_size());
	path = disk_file(zeroes, page_size(), &fd, &result);
	free(zeroes);
	if (!path)
		return result;
	result = map_write_and_call(fd, MAP_PRIVATE, page_size(), "a written private mapping");
	shut(fd);
	unlink(path);
	return result;
}

/* Makes the page of memory of our own executable too, and restores it. */
static enum result own_page(void *memory, const char *how)
{
	enum result result;

	memcpy(memory, function_code, sizeof(function_code));
	if (mprotect(memory, page_size(), PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return refused("mprotect(PROT_EXEC, %s)", how);
	result = call(memory, how);
	mprotect(memory, page_size(), PROT_READ | PROT_WRITE);
	return result;
}

static enum result heap_exec(const char *arg)
{
	void *memory = aligned_alloc(page_size(), page_size());
	enum result result;

	(void)arg;
	if (!memory)
		return refused("malloc");
	result = own_page(memory, "the heap");
	free(memory);
	return result;
}

static enum result stack_exec(const char *arg)
{
	char room[2 * 65536];
	uintptr_t page = ((uintptr_t)room + page_size() - 1) & -page_size();

	(void)arg;
	return own_page((void *)page, "the stack");
}

const struct attack filelesslock_attacks[] = {
	{ "memfd_exec", "filelesslock", "memfd", "execveat(2) of a program in a memfd (ARG: a program to copy and run)",
	  memfd_exec },
	{ "memfd_procfd", "filelesslock", "memfd", "execve(2) of a memfd through /proc/self/fd", memfd_procfd },
	{ "memfd_script", "filelesslock", "memfd", "execve(2) of a script in a memfd", memfd_script },
	{ "memfd_interpreter", "filelesslock", "memfd", "execve(2) of a script file whose interpreter is a memfd",
	  memfd_interpreter },
	{ "memfd_elf_interpreter", "filelesslock", "memfd", "execve(2) of a program file whose ELF interpreter is a memfd",
	  memfd_elf_interpreter },
	{ "memfd_loader", "filelesslock", "memfd", "have the dynamic loader run a program in a memfd", memfd_loader },
	{ "memfd_mmap", "filelesslock", "memfd", "map a memfd executable, and call into it", memfd_mmap },
	{ "memfd_mprotect", "filelesslock", "memfd_shared", "map a memfd writable, make it executable, and call into it",
	  memfd_mprotect },
	{ "memfd_personality", "filelesslock", "memfd", "map a memfd under READ_IMPLIES_EXEC, and call into it",
	  memfd_personality },
	{ "memfd_hugetlb", "filelesslock", "memfd_shared", "the same as memfd_mprotect with a huge page", memfd_hugetlb },
	{ "sysv_exec", "filelesslock", "memfd_shared", "attach a SysV segment executable, and call into it", sysv_exec },
	{ "sysv_mprotect", "filelesslock", "memfd_shared", "attach a SysV segment, make it executable, and call into it",
	  sysv_mprotect },
	{ "shm_exec", "filelesslock", "shm", "execute a file in /dev/shm", shm_exec },
	{ "shm_bind_exec", "filelesslock", "shm", "execute a file of /dev/shm through a bind mount of it",
	  shm_bind_exec },
	{ "shm_mmap", "filelesslock", "shm", "map a file in /dev/shm executable, and call into it", shm_mmap },
	{ "tmpfile_exec", "filelesslock", "tmpfile", "execute a file that never had a name (ARG: its directory)",
	  tmpfile_exec },
	{ "tmpfile_mmap", "filelesslock", "tmpfile", "map such a file executable, and call into it", tmpfile_mmap },
	{ "unlinked_exec", "filelesslock", "unlinked", "execute a file whose last name is gone", unlinked_exec },
	{ "unlinked_mmap", "filelesslock", "unlinked", "map such a file executable, and call into it", unlinked_mmap },
	{ "anon_map", "filelesslock", "anon_map", "map anonymous memory executable, and call into it", anon_map },
	{ "anon_shared", "filelesslock", "anon_map", "the same with shared anonymous memory", anon_shared },
	{ "anon_mprotect", "filelesslock", "anon_map", "make anonymous memory executable, and call into it",
	  anon_mprotect },
	{ "anon_personality", "filelesslock", "anon_map", "map anonymous memory under READ_IMPLIES_EXEC, and call into it",
	  anon_personality },
	{ "private_mprotect", "filelesslock", "anon_map",
	  "write a private mapping of a file, make it executable, and call into it", private_mprotect },
	{ "heap_exec", "filelesslock", "anon_map", "make the heap executable, and call into it", heap_exec },
	{ "stack_exec", "filelesslock", "anon_map", "make the stack executable, and call into it", stack_exec },
	{},
};
