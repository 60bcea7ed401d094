/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways round a policy that lets a program use some files and not others.
 *
 * `attack reach DIRECTORY WAY`: DIRECTORY/open/file may be read, DIRECTORY/closed/file may not; DIRECTORY/mine is for the
 * attacker. It works if the denied file was read, or was replaced and put back.
 */
#include "attack.h"
#include "ring.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SECRET "secret"
#define LOADER_FAILED 127 /* what a dynamic loader leaves with */
#define RACES 3000 /* attempts to open what another thread exchanges */

static const char *directory;

static char *in(const char *name)
{
	return format("%s/%s", directory, name);
}

/* FILE: opens and reads it. */
static enum result read_file(const char *arg)
{
	char byte[2];

	return slurp(arg, byte, sizeof(byte)) < 0 ? refused("open(\"%s\")", arg) : ok("read %s", arg);
}

/* Of a child process that leaves with an enum result. */
static enum result result_of(pid_t child, const char *what)
{
	int status;

	if (child < 0)
		return refused("fork");
	if (waitpid(child, &status, 0) < 0)
		return failed("waitpid");
	if (!WIFEXITED(status))
		return failed("the child was killed");
	return WEXITSTATUS(status) == OK     ? ok("%s", what) :
	       WEXITSTATUS(status) == DENIED || WEXITSTATUS(status) == LOADER_FAILED ? denied("%s", what) :
					       failed("%s: the child left with %d", what, WEXITSTATUS(status));
}

/* FILE: a new process does. */
static enum result read_in_child(const char *arg)
{
	pid_t child = fork();

	if (!child)
		_exit(read_file(arg));
	return result_of(child, "a child reads the file");
}

/* PROGRAM [ARGUMENT ...]: as a child. Its exit status is the result. */
static enum result execute(const char *arg)
{
	char *arguments[8] = {}, *text = strdup(arg);
	int count = 0;
	pid_t child;

	for (char *word = strtok(text, " "); word && count < 7; word = strtok(NULL, " "))
		arguments[count++] = word;
	child = fork();
	if (!child) {
		execv(arguments[0], arguments);
		_exit(errno == EPERM || errno == EACCES ? DENIED : FAILED);
	}
	return result_of(child, "executed it");
}

/* FILE: writes to it what it holds. */
static enum result rewrite(const char *arg)
{
	char content[4096];
	ssize_t length = slurp(arg, content, sizeof(content));

	if (length < 0)
		return refused("read(\"%s\")", arg);
	return spew(arg, length ? content : "\n") ? refused("write(\"%s\")", arg) : ok("wrote to %s", arg);
}

/* FILE TEXT */
static enum result write_text(const char *arg)
{
	const char *space = strchr(arg, ' ');
	char *file = strndup(arg, space - arg);

	return spew(file, space + 1) ? refused("write(\"%s\")", file) : ok("wrote to %s", file);
}

/* A descriptor that somebody sends through standard input, which is a socket. */
static enum result receive(const char *arg)
{
	char byte, control[CMSG_SPACE(sizeof(int))], content[2];
	struct iovec vector = { &byte, 1 };
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *found;
	int fd;

	(void)arg;
	if (recvmsg(0, &header, 0) != 1)
		return refused("recvmsg");
	found = CMSG_FIRSTHDR(&header);
	if (!found)
		return header.msg_flags & MSG_CTRUNC ? denied("recvmsg: the descriptor was withheld") :
						       failed("no descriptor was sent");
	memcpy(&fd, CMSG_DATA(found), sizeof(fd));
	return pread(fd, content, 1, 0) == 1 ? ok("read by a descriptor that was sent") : refused("pread");
}

/* Whether its content is that of the denied file. */
static enum result secret_by(int fd, const char *what)
{
	char content[16] = "";
	ssize_t length = fd < 0 ? -1 : read(fd, content, sizeof(content) - 1);
	enum result result = length < 0 ? refused("%s", what) : OK;

	shut(fd);
	if (result)
		return result;
	return strstr(content, SECRET) ? ok("read the file by %s", what) : failed("%s: read \"%s\"", what, content);
}

static enum result secret(const char *path, const char *what)
{
	return secret_by(open(path, O_RDONLY | O_CLOEXEC), what);
}

/* R01 */
static enum result way_symlink(void)
{
	unlink(in("mine/link"));
	if (symlink(in("closed/file"), in("mine/link")))
		return refused("symlink()");
	return secret(in("mine/link"), "a symbolic link");
}

static volatile bool stop;

static void *exchange_links(void *unused)
{
	char one[PATH_MAX], other[PATH_MAX];

	(void)unused;
	snprintf(one, sizeof(one), "%s/mine/one", directory);
	snprintf(other, sizeof(other), "%s/mine/other", directory);
	while (!stop)
		renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
	return NULL;
}

/* R13: the kernel copies the path some time after the call has begun. */
static char racing[PATH_MAX];

static void *exchange_paths(void *unused)
{
	char paths[2][PATH_MAX];

	(void)unused;
	snprintf(paths[0], PATH_MAX, "%s/closed/file", directory);
	snprintf(paths[1], PATH_MAX, "%s/open/../open/file", directory);
	for (unsigned int i = 0; !stop; i++)
		memcpy(racing, paths[i & 1], strlen(paths[i & 1]) + 1);
	return NULL;
}

/* Some attempts read the one file, some would read the other. */
static enum result race(void *(*other)(void *), const char *path)
{
	unsigned int allowed = 0, refusals = 0;
	enum result result = FAILED;
	pthread_t thread;

	stop = false;
	if (pthread_create(&thread, NULL, other, NULL))
		return failed("pthread_create");
	/* On a single CPU the other thread has to get its turn first. */
	for (unsigned int i = 0; result != OK && (i < RACES || (i < 50 * RACES && (!allowed || !refusals))); i++) {
		char content[16] = "";

		if (slurp(path, content, sizeof(content)) < 0)
			refusals += errno == EPERM || errno == EACCES;
		else if (strstr(content, SECRET))
			result = OK;
		else if (content[0])
			allowed++;
		if (i % 50 == 49)
			sched_yield();
	}
	stop = true;
	pthread_join(thread, NULL);
	if (result == OK)
		return ok("read the file in a race");
	return allowed && refusals ? denied("%u refused, %u read the other file", refusals, allowed) :
				     failed("no race: %u refused, %u read the other file", refusals, allowed);
}

static enum result way_swapped_symlink(void)
{
	unlink(in("mine/one"));
	unlink(in("mine/other"));
	if (symlink(in("closed/file"), in("mine/one")) || symlink(in("open/file"), in("mine/other")))
		return refused("symlink()");
	return race(exchange_links, in("mine/one"));
}

static enum result way_swapped_path(void)
{
	snprintf(racing, sizeof(racing), "%s", in("open/file"));
	return race(exchange_paths, racing);
}

/* R02 */
static enum result way_hard_link(void)
{
	unlink(in("mine/stolen"));
	if (link(in("closed/file"), in("mine/stolen")))
		return refused("link()");
	return secret(in("mine/stolen"), "a hard link") ?: unlink(in("mine/stolen")) ? stuck("unlink()") : ok("linked it");
}

/* R03: in a mount namespace of its own */
static enum result mounted(int error, const char *place, const char *what)
{
	enum result result;

	if (error)
		return refused("%s", what);
	result = secret(place, what);
	return result == OK && umount2(in("mine/dir"), MNT_DETACH) ? stuck("umount2()") : result;
}

static enum result way_bind(void)
{
	return mounted(mount(in("closed"), in("mine/dir"), NULL, MS_BIND, NULL), in("mine/dir/file"), "a bind mount");
}

static enum result way_overlay(void)
{
	char *options = format("lowerdir=%s:%s", in("closed"), in("open"));

	return mounted(mount("none", in("mine/dir"), "overlay", 0, options), in("mine/dir/file"), "an overlay");
}

/* What is mounted on closed already, comes to another place. */
static enum result way_move(void)
{
	return mounted(mount(in("closed"), in("mine/dir"), NULL, MS_MOVE, NULL), in("mine/dir/file"), "a moved mount");
}

static enum result way_tree(void)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, in("closed"), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return refused("open_tree()");
	return secret_by(openat(tree, "file", O_RDONLY), "a tree that is mounted nowhere");
}

static enum result way_tmpfs(void)
{
	if (mount("none", in("open"), "tmpfs", 0, NULL))
		return refused("mount(tmpfs)");
	return umount2(in("open"), MNT_DETACH) ? stuck("umount2()") : ok("hid a directory");
}

/* R04 */
static enum result way_chroot(void)
{
	if (chroot(in("closed")))
		return refused("chroot()");
	return secret("/file", "chroot()");
}

/* closed is a mount. */
static enum result way_pivot_root(void)
{
	if (chdir(in("closed")) || syscall(SYS_pivot_root, ".", "."))
		return refused("pivot_root()");
	return umount2(".", MNT_DETACH) ? refused("umount2()") : secret("/file", "pivot_root()");
}

static enum result way_mount_namespace(void)
{
	if (unshare(CLONE_NEWNS))
		return refused("unshare()");
	return secret(in("closed/file"), "a mount namespace of its own");
}

/* R05 */
static enum result way_rename(void)
{
	if (rename(in("closed/file"), in("mine/stolen")))
		return refused("rename()");
	return secret(in("mine/stolen"), "rename()") ?: rename(in("mine/stolen"), in("closed/file")) ? stuck("rename()") : OK;
}

static enum result way_rename_above(void)
{
	if (rename(in("closed"), in("mine/stolen-directory")))
		return refused("rename()");
	return secret(in("mine/stolen-directory/file"), "rename()") ?:
	       rename(in("mine/stolen-directory"), in("closed")) ? stuck("rename()") : OK;
}

static enum result exchange(const char *one, const char *other)
{
	if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE))
		return refused("renameat2(RENAME_EXCHANGE)");
	return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) ? stuck("renameat2()") : ok("exchanged them");
}

static enum result way_exchange(void)
{
	return exchange(in("mine/file"), in("closed/file"));
}

static enum result way_exchange_back(void)
{
	return exchange(in("closed/file"), in("mine/file"));
}

static enum result way_exchange_above(void)
{
	return exchange(in("mine/dir"), in("closed"));
}

static enum result way_rename_over(void)
{
	shut(open(in("mine/over"), O_WRONLY | O_CREAT, 0600));
	return rename(in("mine/over"), in("closed/target")) ? refused("rename()") : ok("replaced a file");
}

/* R08 */
static enum result way_proc_root(void)
{
	return secret(format("/proc/self/root%s", in("closed/file")), "/proc/self/root");
}

static enum result way_proc_cwd(void)
{
	return chdir(in("closed")) ? refused("chdir()") : secret("/proc/self/cwd/file", "/proc/self/cwd");
}

static enum result way_other_cwd(void)
{
	pid_t child = fork();
	enum result result;

	if (!child) {
		if (chdir(in("closed")))
			_exit(1);
		for (;;)
			pause();
	}
	/* Until it is there. */
	for (int i = 0; i < 1000 && access(format("/proc/%d/cwd/file", child), F_OK); i++)
		usleep(1000);
	result = secret(format("/proc/%d/cwd/file", child), "/proc/PID/cwd");
	kill(child, 9);
	waitpid(child, NULL, 0);
	return result;
}

static enum result way_path_descriptor(void)
{
	int fd = open(in("closed/file"), O_PATH);

	if (fd < 0)
		return refused("open(O_PATH)");
	return secret(format("/proc/self/fd/%d", fd), "/proc/self/fd/N of an O_PATH descriptor");
}

static enum result way_directory_descriptor(void)
{
	int fd = open(in("closed"), O_PATH | O_DIRECTORY);

	if (fd < 0)
		return refused("open(O_PATH)");
	return secret_by(openat(fd, "file", O_RDONLY), "openat() of an O_PATH directory");
}

/* R09 */
static enum result way_handle(void)
{
	struct {
		struct file_handle handle;
		unsigned char bytes[MAX_HANDLE_SZ];
	} name = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id, dir = open(in("open"), O_RDONLY | O_DIRECTORY);

	if (dir < 0)
		return refused("open()");
	if (name_to_handle_at(AT_FDCWD, in("closed/file"), &name.handle, &mount_id, 0))
		return refused("name_to_handle_at()");
	return secret_by(open_by_handle_at(dir, &name.handle, O_RDONLY), "open_by_handle_at()");
}

static int by_ring(struct io_uring_sqe *wanted)
{
	struct ring ring;
	int answer = make_ring(&ring) ? -1 : submit(&ring, wanted);

	shut(ring.fd);
	return answer;
}

/* R11: open/file may be read only, open/log be read and appended to. Each writes; what is in open/file stays. */
static enum result overwrite(const char *path, int flags, const char *way)
{
	int fd = open(path, flags), from[2] = { -1, -1 };
	ssize_t done = -1;
	volatile char *memory;

	if (fd < 0)
		return refused("open()");
	if (!strcmp(way, "mmap")) {
		memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory != MAP_FAILED) {
			memory[0] = memory[0];
			munmap((char *)memory, 4096);
			done = 0;
		}
	} else if (!strcmp(way, "splice")) {
		if (!pipe(from) && write(from[1], "o", 1) == 1)
			done = splice(from[0], NULL, fd, NULL, 1, 0);
	} else if (!strcmp(way, "sendfile")) {
		from[0] = open(path, O_RDONLY);
		done = sendfile(fd, from[0], NULL, 1);
	} else if (!strcmp(way, "copy_file_range")) {
		from[0] = open(in("open/log"), O_RDONLY);
		done = copy_file_range(from[0], NULL, fd, NULL, 1, 0);
	} else if (!strcmp(way, "ftruncate")) {
		done = ftruncate(fd, 4);
	} else if (!strcmp(way, "no-append")) {
		done = fcntl(fd, F_SETFL, 0);
	} else if (!strcmp(way, "punch")) {
		done = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1);
	} else if (!strcmp(way, "pwritev2")) {
		struct iovec vector = { "o", 1 };

		done = syscall(SYS_pwritev2, fd, &vector, 1, 0, 0, 0x20 /* RWF_NOAPPEND */);
	} else if (!strcmp(way, "ring")) {
		struct io_uring_sqe entry = { .opcode = IORING_OP_FALLOCATE, .fd = fd, .addr = 1, .len = 3 /* punch */ };

		done = by_ring(&entry);
	} else if (!strcmp(way, "append")) {
		done = write(fd, "o", 1);
	} else if (!strcmp(way, "extend")) {
		done = fallocate(fd, 0, 0, 100);
	}
	if (done < 0)
		refused("%s", way);
	shut(fd);
	shut(from[0]);
	shut(from[1]);
	return done < 0 ? (message[0] == 'd' ? DENIED : FAILED) : ok("wrote by %s", way);
}

#define OVERWRITE(name, way) \
	static enum result way_##name(void) { return overwrite(in("open/file"), O_RDWR, way); }
#define OVERWRITE_LOG(name, way) \
	static enum result way_log_##name(void) { return overwrite(in("open/log"), O_RDWR | O_APPEND, way); }

OVERWRITE(mmap, "mmap")
OVERWRITE(splice, "splice")
OVERWRITE(sendfile, "sendfile")
OVERWRITE(copy, "copy_file_range")
OVERWRITE_LOG(mmap, "mmap")
OVERWRITE_LOG(truncate, "ftruncate")
OVERWRITE_LOG(flags, "no-append")
OVERWRITE_LOG(punch, "punch")
OVERWRITE_LOG(pwritev2, "pwritev2")
OVERWRITE_LOG(ring, "ring")
OVERWRITE_LOG(append, "append")
OVERWRITE_LOG(extend, "extend")

/* R14 */
static enum result ring_open(unsigned int flags)
{
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_OPENAT, .flags = flags, .fd = AT_FDCWD, .addr = (uintptr_t)in("closed/file"),
		.open_flags = O_RDONLY,
	};

	return secret_by(by_ring(&entry), "io_uring's openat");
}

static enum result way_ring_open(void)
{
	return ring_open(0);
}

static enum result way_ring_worker_open(void)
{
	return ring_open(IOSQE_ASYNC);
}

static enum result way_ring_unlink(void)
{
	struct io_uring_sqe entry = { .opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)in("closed/target") };

	if (by_ring(&entry) < 0)
		return refused("io_uring's unlinkat");
	shut(open(in("closed/target"), O_CREAT | O_WRONLY, 0600));
	return ok("removed a file");
}

static enum result way_ring_rename(void)
{
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = (uintptr_t)in("closed/file"), .len = AT_FDCWD,
		.addr2 = (uintptr_t)in("mine/stolen"),
	};

	if (by_ring(&entry) < 0)
		return refused("io_uring's renameat");
	return rename(in("mine/stolen"), in("closed/file")) ? stuck("rename()") : ok("renamed it");
}

static enum result way_ring_socket(void)
{
	struct io_uring_sqe entry = { .opcode = 45 /* IORING_OP_SOCKET */, .fd = AF_INET, .off = SOCK_STREAM };
	int fd = by_ring(&entry);

	if (fd < 0)
		return refused("io_uring's socket");
	shut(fd);
	return ok("a socket");
}

static enum result way_ring_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_CONNECT, .addr = (uintptr_t)&address, .off = sizeof(address),
	};
	enum result result;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/closed/socket", directory);
	entry.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (entry.fd < 0)
		return refused("socket()");
	result = by_ring(&entry) < 0 ? refused("io_uring's connect") : ok("connected");
	shut(entry.fd);
	return result;
}

/* R10: one way to use a descriptor, which stays open. */
static enum result use_descriptor(int fd, const char *way)
{
	static struct ring kept;
	int other[2] = { -1, -1 };
	char buffer[1024] = "x";
	off_t start = 0;
	long done = -1;
	void *memory;

	lseek(fd, 0, SEEK_SET);
	if (!strcmp(way, "read")) {
		done = read(fd, buffer, 1);
	} else if (!strcmp(way, "pread")) {
		done = pread(fd, buffer, 1, 0);
	} else if (!strcmp(way, "write")) {
		done = write(fd, "n", 1);
	} else if (!strcmp(way, "pwrite")) {
		done = pwrite(fd, "n", 1, 0);
	} else if (!strcmp(way, "sendfile")) {
		if (!socketpair(AF_UNIX, SOCK_STREAM, 0, other))
			done = sendfile(other[0], fd, &start, 1);
	} else if (!strcmp(way, "splice")) {
		if (!pipe(other))
			done = splice(fd, &start, other[1], NULL, 1, 0);
	} else if (!strcmp(way, "splice_in")) {
		if (!pipe(other) && write(other[1], "n", 1) == 1)
			done = splice(other[0], NULL, fd, &start, 1, 0);
	} else if (!strcmp(way, "mmap") || !strcmp(way, "mmap_shared")) {
		memory = mmap(NULL, 4096, way[4] ? PROT_READ | PROT_WRITE : PROT_NONE, way[4] ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		done = memory == MAP_FAILED ? -1 : munmap(memory, 4096);
	} else if (!strcmp(way, "ring")) {
		struct io_uring_sqe entry = { .opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)buffer, .len = 1 };

		done = by_ring(&entry);
	} else if (!strcmp(way, "register")) {
		done = make_ring(&kept) ? -1 : syscall(SYS_io_uring_register, kept.fd, IORING_REGISTER_FILES, &fd, 1);
		shut(fd);
	} else if (!strcmp(way, "registered")) {
		struct io_uring_sqe entry = {
			.opcode = IORING_OP_READ, .flags = IOSQE_FIXED_FILE, .addr = (uintptr_t)buffer, .len = 1,
		};

		done = submit(&kept, &entry);
	} else if (!strcmp(way, "getdents")) {
		done = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
	} else if (!strcmp(way, "fallocate")) {
		done = fallocate(fd, 0, 0, 1);
	} else if (!strcmp(way, "child")) {
		pid_t child = fork();

		if (!child)
			_exit(read(fd, buffer, 1) < 0 ? DENIED : OK);
		return result_of(child, "a child read it");
	} else {
		errno = ENOSYS;
	}
	if (done < 0)
		refused("%s", way);
	shut(other[0]);
	shut(other[1]);
	return done < 0 ? (message[0] == 'd' ? DENIED : FAILED) : ok("%s", way);
}

/*
 * FLAGS FILE [FLAGS FILE ...]: opens them (FLAGS as a number), then does with them what it is told: "INDEX WAY" in a line
 * of standard input. Answers each with a line, and with one when it has opened them.
 */
static enum result hold(const char *arg)
{
	char line[256], way[32], *text = strdup(arg), *flags;
	int fds[8], count = 0, index;

	for (flags = strtok(text, " "); flags && count < 8; flags = strtok(NULL, " ")) {
		fds[count] = open(strtok(NULL, " "), atoi(flags), 0600);
		if (fds[count++] < 0)
			return refused("open()");
	}
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%d %31s", &index, way) != 2 || index < 0 || index >= count)
			return failed("\"%s\"?", line);
		use_descriptor(fds[index], way);
		puts(message);
		fflush(stdout);
	}
	return ok("that was all");
}

/* R18: what may be read but not executed, copied to where the attacker may write. */
static enum result copied(const char *place)
{
	size_t size;
	char *content = slurp_all(in("open/tool"), &size);
	int fd;

	if (!content)
		return refused("read()");
	fd = open(place, O_WRONLY | O_CREAT | O_TRUNC, 0700);
	if (fd < 0 || write(fd, content, size) != (ssize_t)size) {
		shut(fd);
		return refused("write()");
	}
	shut(fd);
	return OK;
}

static enum result way_copied_tool(void)
{
	return copied(in("mine/tool")) ?: execute(format("%s do_nothing", in("mine/tool")));
}

static enum result way_tool_renamed(void)
{
	enum result result = copied(in("mine/tool"));

	if (result)
		return result;
	if (rename(in("mine/tool"), in("exec/new")))
		return refused("rename()");
	result = execute(format("%s do_nothing", in("exec/new")));
	return unlink(in("exec/new")) ? stuck("unlink()") : result;
}

/* R28 */
static enum result way_device(void)
{
	enum result result;

	if (mknod(in("mine/device"), S_IFCHR | 0600, makedev(1, 5)))
		return refused("mknod()");
	result = read_file(in("mine/device"));
	return unlink(in("mine/device")) ? stuck("unlink()") : result;
}

#define WAY(name) { #name, way_##name }

static const struct {
	const char *name;
	enum result (*run)(void);
} ways[] = {
	WAY(symlink),	   WAY(swapped_symlink), WAY(swapped_path),	   WAY(hard_link),	  WAY(bind),
	WAY(overlay),	   WAY(move),		 WAY(tree),		   WAY(tmpfs),		  WAY(chroot),
	WAY(pivot_root),   WAY(mount_namespace), WAY(rename),		   WAY(rename_above),	  WAY(exchange),
	WAY(exchange_back), WAY(exchange_above), WAY(rename_over),	   WAY(proc_root),	  WAY(proc_cwd),
	WAY(other_cwd),	   WAY(path_descriptor), WAY(directory_descriptor), WAY(handle),	  WAY(mmap),
	WAY(splice),	   WAY(sendfile),	 WAY(copy),		   WAY(log_mmap),	  WAY(log_truncate),
	WAY(log_flags),	   WAY(log_punch),	 WAY(log_pwritev2),	   WAY(log_ring),	  WAY(log_append),
	WAY(log_extend),   WAY(ring_open),	 WAY(ring_worker_open),	   WAY(ring_unlink),	  WAY(ring_rename),
	WAY(ring_socket),  WAY(ring_connect),	 WAY(copied_tool),	   WAY(tool_renamed),	  WAY(device),
};

static enum result reach(const char *arg)
{
	const char *space = arg ? strchr(arg, ' ') : NULL;

	if (!space)
		return failed("reach DIRECTORY WAY");
	directory = strndup(arg, space - arg);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, space + 1))
			return ways[i].run();
	return failed("no way is called \"%s\"", space + 1);
}

#define ATTACK(name, what) { #name, "policy", #name, what, name }

const struct attack confine_attacks[] = {
	ATTACK(reach, "read or replace a file that is denied: DIRECTORY WAY"),
	ATTACK(read_file, "open(2) and read(2): FILE"),
	ATTACK(read_in_child, "the same, by a new process: FILE"),
	ATTACK(execute, "execve(2) by a new process: PROGRAM [ARGUMENT ...]"),
	ATTACK(rewrite, "write to a file what it holds: FILE"),
	ATTACK(write_text, "write(2): FILE TEXT"),
	ATTACK(hold, "use files that were opened before: FLAGS FILE [FLAGS FILE ...]"),
	ATTACK(receive, "a descriptor that is sent to standard input"),
	{},
};
