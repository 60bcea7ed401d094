/* SPDX-License-Identifier: Apache-2.0 */
/* The ways from root to the running kernel image, one per lockdown reason of the kernel and a few beside them. */
#include "attack.h"

#include <asm/types.h>
#include <dirent.h>
#include <linux/kexec.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/serial.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#if defined(__x86_64__) || defined(__i386__)
#include <sys/io.h>
#endif

#define DEBUGFS_MAGIC 0x64626720
#define TRACEFS_MAGIC 0x74726163

/* ---- physical memory, ports, MSRs ---- */

static enum result dev_mem(const char *arg)
{
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	unsigned char bytes[16];
	ssize_t length;

	(void)arg;
	if (fd < 0)
		return refused("open(/dev/mem)");
	/* The end of the BIOS area, where every x86 began to run: readable in spite of CONFIG_STRICT_DEVMEM. */
	length = pread(fd, bytes, sizeof(bytes), 0xffff0);
	shut(fd);
	if (length != sizeof(bytes))
		return length < 0 ? refused("read(/dev/mem)") : failed("read(/dev/mem): only %zd bytes", length);
	return ok("16 bytes of physical memory at 0xffff0: %02x %02x %02x %02x ...", bytes[0], bytes[1], bytes[2],
		  bytes[3]);
}

static enum result dev_port(const char *arg)
{
	int fd = open("/dev/port", O_RDWR | O_CLOEXEC);
	unsigned char value;
	ssize_t length;

	(void)arg;
	if (fd < 0)
		return refused("open(/dev/port)");
	length = pread(fd, &value, 1, 0x61);
	shut(fd);
	if (length != 1)
		return length < 0 ? refused("read(/dev/port)") : failed("read(/dev/port): nothing");
	return ok("I/O port 0x61 read through /dev/port: %#04x", value);
}

static enum result port_ioperm(const char *arg)
{
	(void)arg;
#if defined(__x86_64__) || defined(__i386__)
	unsigned char value;

	if (ioperm(0x80, 1, 1) < 0)
		return refused("ioperm(0x80, 1, 1)");
	value = inb(0x80);
	if (!keep)
		ioperm(0x80, 1, 0);
	return ok("I/O port 0x80 read by an instruction of ours: %#04x", value);
#else
	return failed("this architecture has no ioperm(2)");
#endif
}

static enum result port_iopl(const char *arg)
{
	(void)arg;
#if defined(__x86_64__) || defined(__i386__)
	unsigned char value;

	if (iopl(3) < 0)
		return refused("iopl(3)");
	value = inb(0x80);
	if (!keep)
		iopl(0);
	return ok("I/O port 0x80 read after iopl(3): %#04x", value);
#else
	return failed("this architecture has no iopl(2)");
#endif
}

#define MSR_FILE "/dev/cpu/0/msr"
#define MSR_TSC_AUX 0xc0000103

static enum result msr_access(bool write)
{
	int fd = open(MSR_FILE, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	enum result result;
	uint64_t value;

	if (fd < 0) {
		result = refused("open(" MSR_FILE ")");
		if (errno == ENOENT || errno == ENXIO)
			return with_hint(result, "modprobe msr");
		return result;
	}
	if (pread(fd, &value, sizeof(value), MSR_TSC_AUX) != sizeof(value))
		result = refused("read(" MSR_FILE ")");
	else if (write && pwrite(fd, &value, sizeof(value), MSR_TSC_AUX) != sizeof(value))
		result = refused("write(" MSR_FILE ")");
	else if (write)
		result = ok("TSC_AUX of CPU 0 written (%#llx, as it was)", (unsigned long long)value);
	else
		result = ok("TSC_AUX of CPU 0 read: %#llx", (unsigned long long)value);
	shut(fd);
	return result;
}

static enum result msr(const char *arg)
{
	(void)arg;
	return msr_access(true);
}

static enum result msr_read(const char *arg)
{
	(void)arg;
	return msr_access(false);
}

/* ---- PCI ---- */

#define PCI_DEVICES "/sys/bus/pci/devices"

static unsigned long pci_number(const char *device, const char *attribute)
{
	char text[32] = "";

	slurp(format(PCI_DEVICES "/%s/%s", device, attribute), text, sizeof(text));
	return strtoul(text, NULL, 16);
}

/* The name of QEMU's "edu" device, made for exercises, or of any device. Returns NULL if there is none. */
static const char *pci_device(bool only_edu)
{
	static char any[64], edu[64];
	DIR *directory = opendir(PCI_DEVICES);
	struct dirent *entry;

	any[0] = edu[0] = 0;
	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!any[0] || strcmp(entry->d_name, any) < 0)
			snprintf(any, sizeof(any), "%.63s", entry->d_name);
		if (pci_number(entry->d_name, "vendor") == 0x1234 && pci_number(entry->d_name, "device") == 0x11e8)
			snprintf(edu, sizeof(edu), "%.63s", entry->d_name);
	}
	if (directory)
		closedir(directory);
	if (edu[0])
		return edu;
	return only_edu || !any[0] ? NULL : any;
}

static enum result pci_access(const char *arg)
{
	const char *device = pci_device(true), *path;
	bool enabled_here = false;
	enum result result;
	uint32_t id;
	int fd;

	(void)arg;
	if (!device)
		return failed("no PCI device 1234:11e8: start QEMU with -device edu");
	path = format(PCI_DEVICES "/%s/resource0", device);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		return refused("open(%s)", path);
	void *registers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (registers == MAP_FAILED) {
		result = refused("mmap(%s)", path);
		shut(fd);
		return result;
	}
	id = *(volatile uint32_t *)registers;
	if (id == UINT32_MAX) { /* does not decode memory accesses yet */
		enabled_here = !spew(format(PCI_DEVICES "/%s/enable", device), "1");
		id = *(volatile uint32_t *)registers;
	}
	if ((id & 0xffff) == 0xed)
		result = ok("registers of PCI device %s mapped: identification %#010x", device, id);
	else
		result = failed("registers of PCI device %s mapped, but the identification is %#010x", device, id);
	munmap(registers, 4096);
	shut(fd);
	if (enabled_here && !keep)
		spew(format(PCI_DEVICES "/%s/enable", device), "0");
	return result;
}

static enum result pci_read_from(const char *path, const char *device)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char bytes[64];
	ssize_t length;

	if (fd < 0)
		return refused("open(%s)", path);
	length = read(fd, bytes, sizeof(bytes));
	shut(fd);
	if (length != sizeof(bytes))
		return length < 0 ? refused("read(%s)", path) : failed("read(%s): only %zd bytes", path, length);
	if (pci_number(device, "vendor") != (unsigned int)(bytes[0] | bytes[1] << 8))
		return failed("read(%s): not the configuration of the device", path);
	return ok("64 bytes of the configuration of PCI device %s: %02x%02x:%02x%02x", device, bytes[1], bytes[0],
		  bytes[3], bytes[2]);
}

/* "0000:00:1f.0" is /proc/bus/pci/00/1f.0; domains other than 0 keep their number. */
static const char *pci_proc_path(const char *device)
{
	if (!strncmp(device, "0000:", 5))
		return format("/proc/bus/pci/%.2s/%s", device + 5, device + 8);
	return format("/proc/bus/pci/%.*s/%s", (int)(strrchr(device, ':') - device), device, strrchr(device, ':') + 1);
}

/* One byte of the interrupt line, which only tells drivers something: read, and written back. */
static enum result pci_write_to(const char *path, const char *device)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	enum result result;
	unsigned char line;

	if (fd < 0)
		return refused("open(%s)", path);
	if (pread(fd, &line, 1, 0x3c) != 1)
		result = refused("read(%s)", path);
	else if (pwrite(fd, &line, 1, 0x3c) != 1)
		result = refused("write(%s)", path);
	else
		result = ok("interrupt line of PCI device %s written (%#04x, as it was)", device, line);
	shut(fd);
	return result;
}

static enum result pci(bool proc, bool write)
{
	const char *device = pci_device(false), *path;

	if (!device)
		return failed("no PCI device");
	path = proc ? pci_proc_path(device) : format(PCI_DEVICES "/%s/config", device);
	return write ? pci_write_to(path, device) : pci_read_from(path, device);
}

static enum result pci_config_read(const char *arg)
{
	(void)arg;
	return pci(false, false);
}

static enum result pci_config_write(const char *arg)
{
	(void)arg;
	return pci(false, true);
}

static enum result pci_proc_read(const char *arg)
{
	(void)arg;
	return pci(true, false);
}

static enum result pci_proc_write(const char *arg)
{
	(void)arg;
	return pci(true, true);
}

/* ---- another kernel ---- */

static bool kexec_loaded(void)
{
	char value[8] = "";

	slurp("/sys/kernel/kexec_loaded", value, sizeof(value));
	return value[0] == '1';
}

static enum result kexec_load(const char *arg)
{
	static const unsigned char code[4096] = { 0xf4, 0xeb, 0xfd }; /* hlt; jmp back: never run */
	const struct kexec_segment segment = {
		.buf = code,
		.bufsz = sizeof(code),
		.mem = (void *)0x1000000,
		.memsz = sizeof(code),
	};

	(void)arg;
	if (kexec_loaded())
		return failed("a kernel is loaded already: kexec -u");
	if (syscall(SYS_kexec_load, 0x1000000UL, 1UL, &segment, 0UL) < 0)
		return refused("kexec_load");
	if (!kexec_loaded())
		return failed("kexec_load succeeded, but /sys/kernel/kexec_loaded is not 1");
	if (!keep && syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL) < 0)
		return stuck("kexec_load to unload the image");
	return ok("an image for kexec was loaded");
}

#ifdef SYS_kexec_file_load
#define KEXEC_FILE_UNLOAD_FLAG 1UL
#define KEXEC_FILE_NO_INITRAMFS_FLAG 4UL
#endif

static enum result kexec_file(const char *arg)
{
#ifdef SYS_kexec_file_load
	enum result result;
	int fd;

	if (!arg)
		return failed("ARG must name a kernel image");
	if (kexec_loaded())
		return failed("a kernel is loaded already: kexec -u");
	fd = open(arg, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failed("%s: %s", arg, strerror(errno));
	if (syscall(SYS_kexec_file_load, fd, -1, 1UL, "", KEXEC_FILE_NO_INITRAMFS_FLAG) < 0) {
		result = refused("kexec_file_load");
		shut(fd);
		return result;
	}
	shut(fd);
	if (!kexec_loaded())
		return failed("kexec_file_load succeeded, but /sys/kernel/kexec_loaded is not 1");
	if (!keep && syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, KEXEC_FILE_UNLOAD_FLAG) < 0)
		return stuck("kexec_file_load to unload the kernel");
	return ok("kernel %s was loaded", arg);
#else
	return failed("this architecture has no kexec_file_load(2)");
#endif
}

/* ---- hibernation: the image of the whole memory ---- */

static enum result hibernation(const char *arg)
{
	int fd = open("/dev/snapshot", O_RDONLY | O_CLOEXEC);

	(void)arg;
	if (fd < 0)
		return refused("open(/dev/snapshot)");
	shut(fd);
	return ok("/dev/snapshot opened: an image of the memory can be made");
}

/* Chooses the mode of hibernation that is chosen already. */
static enum result hibernation_mode(const char *arg)
{
	char modes[128] = "", *mode;

	(void)arg;
	if (slurp("/sys/power/disk", modes, sizeof(modes)) < 0)
		return refused("open(/sys/power/disk)");
	mode = strchr(modes, '['); /* "[disabled]" where hibernation is not available, so also where it is denied */
	mode = mode ? mode + 1 : modes;
	mode[strcspn(mode, "]\n")] = 0;
	if (!strcmp(mode, "disabled"))
		mode = "reboot";
	if (spew("/sys/power/disk", mode) < 0)
		return refused("write(/sys/power/disk, \"%s\")", mode);
	return ok("mode of hibernation set: %s", mode);
}

/*
 * While somebody has /dev/snapshot open, the kernel asks the lock and then says EBUSY. Without that, it would go on to
 * freeze all devices, and not every virtual machine comes back from there.
 */
static enum result hibernation_disk(const char *arg)
{
	int snapshot = open("/dev/snapshot", O_RDONLY | O_CLOEXEC);
	enum result result;

	if (snapshot < 0 && hibernation_mode(arg) != DENIED)
		return failed("without /dev/snapshot, this would really hibernate");
	if (!spew("/sys/power/state", "disk"))
		result = ok("hibernated, and resumed");
	else if (errno == EBUSY)
		result = ok("reached hibernation code (EBUSY, as /dev/snapshot is open)");
	else
		result = refused("write(/sys/power/state, \"disk\")");
	shut(snapshot);
	return result;
}

/* ---- debugfs ---- */

static const char *const debugfs_writable[] = {
	"fault_around_bytes", "sched/verbose", "sched/tunable_scaling", "sched/migration_cost_ns", NULL,
};
static const char *const debugfs_readable[] = {
	"sched/debug", "extfrag/extfrag_index", "devices_deferred", "wakeup_sources", "sleep_time", NULL,
};

/* Opens debugfs, and finds the first of the files that is there. */
static enum result debugfs_find(const char *const *files, int *directory, const char **file)
{
	const char *what;

	*directory = filesystem("debugfs", "/sys/kernel/debug", DEBUGFS_MAGIC, &what);
	if (*directory < 0)
		return refused("%s", what);
	for (; *files; files++) {
		*file = *files;
		if (!faccessat(*directory, *files, F_OK, 0))
			return OK;
		if (errno != ENOENT)
			break;
	}
	shut(*directory);
	if (*files)
		return refused("access(debugfs %s)", *files);
	return failed("debugfs has none of the files that this attack knows");
}

static enum result debugfs_access(const char *const *files, bool write)
{
	char value[65536];
	const char *file = NULL;
	enum result result;
	int directory, fd;
	ssize_t length;

	result = debugfs_find(files, &directory, &file);
	if (result != OK)
		return result;
	fd = openat(directory, file, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0) {
		result = refused("open(debugfs %s)", file);
		shut(directory);
		return result;
	}
	length = read(fd, value, sizeof(value) - 1);
	if (length > 0)
		value[length] = 0;
	if (length <= 0)
		result = length ? refused("read(debugfs %s)", file) : failed("read(debugfs %s): nothing", file);
	else if (write && spew_at(directory, file, value, 0) < 0)
		result = refused("write(debugfs %s)", file);
	else if (write)
		result = ok("debugfs %s written (%.*s, as it was)", file, (int)strcspn(value, "\n"), value);
	else
		result = ok("%zd bytes of debugfs %s", length, file);
	shut(fd);
	shut(directory);
	return result;
}

static enum result debugfs(const char *arg)
{
	(void)arg;
	return debugfs_access(debugfs_writable, true);
}

static enum result debugfs_read(const char *arg)
{
	(void)arg;
	return debugfs_access(debugfs_writable, false);
}

static enum result debugfs_ro(const char *arg)
{
	(void)arg;
	return debugfs_access(debugfs_readable, false);
}

/* ---- a serial port's interrupt ---- */

static enum result tiocsserial(const char *arg)
{
	static const char *const idle[] = { "/dev/ttyS3", "/dev/ttyS2" };
	struct serial_struct settings, now;
	const char *port = arg;
	enum result result;
	int fd = -1, irq;

	for (size_t i = 0; !arg && i < 2 && fd < 0; i++) {
		port = idle[i];
		fd = open(port, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (arg)
		fd = open(port, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return with_hint(refused("open(%s)", port), "ARG may name an idle serial port");
	if (ioctl(fd, TIOCGSERIAL, &settings) < 0) {
		result = refused("ioctl(%s, TIOCGSERIAL)", port);
		shut(fd);
		return result;
	}
	/* The kernel asks the lock only if the port or the interrupt changes. */
	irq = settings.irq;
	settings.irq = irq == 3 ? 4 : 3;
	if (settings.baud_base < 9600)
		settings.baud_base = 115200;
	if (ioctl(fd, TIOCSSERIAL, &settings) < 0)
		result = refused("ioctl(%s, TIOCSSERIAL)", port);
	else if (ioctl(fd, TIOCGSERIAL, &now) < 0 || now.irq != settings.irq)
		result = failed("ioctl(%s, TIOCSSERIAL) succeeded, but the interrupt did not change", port);
	else {
		result = ok("interrupt of %s changed from %d to %d", port, irq, settings.irq);
		settings.irq = irq;
		if (!keep && ioctl(fd, TIOCSSERIAL, &settings) < 0)
			result = stuck("ioctl(%s, TIOCSSERIAL)", port);
	}
	shut(fd);
	return result;
}

/* ---- kernel memory and control flow: kcore, kprobes, tracefs, perf ---- */

static enum result kcore(const char *arg)
{
	unsigned char header[64];
	ssize_t length = slurp("/proc/kcore", header, sizeof(header));

	(void)arg;
	if (length < 0)
		return refused("open(/proc/kcore)");
	if (length < 4 || memcmp(header, "\177ELF", 4))
		return failed("read(/proc/kcore): not an ELF header");
	return ok("/proc/kcore read: an ELF header of kernel memory");
}

static int tracefs_directory(const char **what)
{
	return filesystem("tracefs", "/sys/kernel/tracing", TRACEFS_MAGIC, what);
}

static enum result tracefs(const char *arg)
{
	const char *what, *file = arg ? arg : "available_tracers";
	int directory = tracefs_directory(&what);
	char text[256] = "";
	enum result result;

	if (directory < 0)
		return refused("%s", what);
	if (slurp_at(directory, file, text, sizeof(text)) < 0)
		result = refused("open(tracefs %s)", file);
	else
		result = ok("tracefs %s read: %.*s", file, (int)strcspn(text, "\n"), text);
	shut(directory);
	return result;
}

static enum result tracefs_write(const char *arg)
{
	const char *what;
	int directory = tracefs_directory(&what);
	enum result result;

	(void)arg;
	if (directory < 0)
		return refused("%s", what);
	if (spew_at(directory, "trace_marker", "attack\n", 0) < 0)
		result = refused("write(tracefs trace_marker)");
	else
		result = ok("a line written into the kernel's trace");
	shut(directory);
	return result;
}

static enum result kprobes(const char *arg)
{
	const char *what, *name = format("attack%d", getpid());
	int directory = tracefs_directory(&what);
	enum result result;
	char text[8192];

	(void)arg;
	if (directory < 0)
		return refused("%s", what);
	if (spew_at(directory, "kprobe_events", format("p:attacks/%s vfs_open", name), O_APPEND) < 0) {
		result = refused("write(tracefs kprobe_events)");
	} else if (slurp_at(directory, "kprobe_events", text, sizeof(text)) < 0) {
		result = failed("a kprobe was added, but kprobe_events cannot be read");
	} else if (!strstr(text, name)) {
		result = failed("write(tracefs kprobe_events) succeeded, but the kprobe is not there");
	} else {
		result = ok("kprobe attacks/%s placed at vfs_open", name);
		if (!keep && spew_at(directory, "kprobe_events", format("-:attacks/%s", name), O_APPEND) < 0)
			result = stuck("write(tracefs kprobe_events)");
	}
	shut(directory);
	return result;
}

static int perf_event_open(struct perf_event_attr *attr)
{
	attr->size = sizeof(*attr);
	return syscall(SYS_perf_event_open, attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static enum result kprobes_perf(const char *arg)
{
	struct perf_event_attr attr = { .config1 = (uintptr_t) "vfs_open" };
	char text[32] = "";
	uint64_t hits = 0;
	int fd;

	(void)arg;
	if (slurp("/sys/bus/event_source/devices/kprobe/type", text, sizeof(text)) < 0)
		return refused("open(/sys/bus/event_source/devices/kprobe/type)");
	attr.type = strtoul(text, NULL, 10);
	fd = perf_event_open(&attr);
	if (fd < 0)
		return refused("perf_event_open(kprobe at vfs_open)");
	shut(open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
	if (read(fd, &hits, sizeof(hits)) != sizeof(hits))
		hits = 0;
	shut(fd);
	if (!hits)
		return failed("the kprobe at vfs_open was placed, but counted nothing");
	return ok("kprobe at vfs_open placed by perf_event_open, hit %llu times", (unsigned long long)hits);
}

static enum result perf(const char *arg)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 100 * 1000, /* ns */
		.sample_type = PERF_SAMPLE_REGS_INTR,
#ifdef __aarch64__
		.sample_regs_intr = 1ULL << 32, /* PERF_REG_ARM64_PC */
#else
		.sample_regs_intr = 1ULL << 8, /* PERF_REG_X86_IP */
#endif
	};
	size_t page = sysconf(_SC_PAGESIZE);
	struct timespec start, now;
	int fd = perf_event_open(&attr);
	enum result result;
	struct {
		struct perf_event_header header;
		uint64_t abi;
		uint64_t ip;
	} sample;

	(void)arg;
	if (fd < 0)
		return refused("perf_event_open(PERF_SAMPLE_REGS_INTR)");
	struct perf_event_mmap_page *ring = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED) {
		result = refused("mmap(perf event)");
		shut(fd);
		return result;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!__atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE) && now.tv_sec - start.tv_sec < 3);
	memcpy(&sample, (char *)ring + page, sizeof(sample));
	if (!__atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE))
		result = failed("perf_event_open(PERF_SAMPLE_REGS_INTR) succeeded, but no sample came within 3 s");
	else if (sample.header.type != PERF_RECORD_SAMPLE || !sample.abi)
		result = failed("the first perf record is no sample of registers");
	else
		result = ok("registers at an interrupt sampled: instruction pointer %#llx",
			    (unsigned long long)sample.ip);
	munmap(ring, 2 * page);
	shut(fd);
	return result;
}

/* ---- keys of IPsec ---- */

#define XFRM_SPI 0x0badc0de
#define XFRM_KEY "bpflock-attack-key-of-32-bytes.."

struct request {
	struct nlmsghdr header;
	char payload[1024];
};

static void put(struct request *request, const void *data, size_t size)
{
	memcpy((char *)request + NLMSG_ALIGN(request->header.nlmsg_len), data, size);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + size;
}

/*
 * Sends the request and receives the answer into it. Returns 0 or -1 with errno; an answer that is not an error lies in
 * the request.
 */
static int transact(int fd, struct request *request)
{
	const struct nlmsgerr *error = (const void *)request->payload;
	ssize_t length;

	if (send(fd, request, request->header.nlmsg_len, 0) < 0)
		return -1;
	length = recv(fd, request, sizeof(*request), 0);
	if (length < 0)
		return -1;
	if (request->header.nlmsg_type == NLMSG_ERROR && error->error) {
		errno = -error->error;
		return -1;
	}
	return 0;
}

static const struct xfrm_usersa_id xfrm_id = {
	.daddr.a4 = __builtin_bswap32(0xc0000202), /* 192.0.2.2, for documentation */
	.spi = __builtin_bswap32(XFRM_SPI),
	.family = AF_INET,
	.proto = IPPROTO_AH,
};

static int xfrm_add(int fd)
{
	struct xfrm_usersa_info info = {
		.id = { .daddr = xfrm_id.daddr, .spi = xfrm_id.spi, .proto = xfrm_id.proto },
		.saddr.a4 = __builtin_bswap32(0xc0000201),
		.lft = {
			.soft_byte_limit = XFRM_INF, .hard_byte_limit = XFRM_INF,
			.soft_packet_limit = XFRM_INF, .hard_packet_limit = XFRM_INF,
		},
		.family = AF_INET,
		.mode = XFRM_MODE_TRANSPORT,
		.reqid = 1,
	};
	struct request request = { .header = {
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = XFRM_MSG_NEWSA,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
	} };
	struct {
		struct nlattr attribute;
		struct xfrm_algo_auth algorithm;
		char key[32];
	} auth = {
		.attribute = { .nla_len = sizeof(auth), .nla_type = XFRMA_ALG_AUTH_TRUNC },
		.algorithm = { .alg_name = "hmac(sha256)", .alg_key_len = 256, .alg_trunc_len = 128 },
	};

	memcpy(auth.key, XFRM_KEY, sizeof(auth.key));
	put(&request, &info, sizeof(info));
	put(&request, &auth, sizeof(auth));
	return transact(fd, &request);
}

static int xfrm_delete(int fd)
{
	struct request request = { .header = {
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = XFRM_MSG_DELSA,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	} };

	put(&request, &xfrm_id, sizeof(xfrm_id));
	return transact(fd, &request);
}

/* Finds the key in what the kernel tells about the state. */
static enum result xfrm_key_of(const struct request *answer)
{
	const char *position = answer->payload + NLMSG_ALIGN(sizeof(struct xfrm_usersa_info));
	const char *end = (const char *)answer + answer->header.nlmsg_len;
	static const char zeroes[32];

	while (position + sizeof(struct nlattr) <= end) {
		const struct nlattr *attribute = (const void *)position;
		const struct xfrm_algo_auth *algorithm = (const void *)(attribute + 1);

		if (attribute->nla_type == XFRMA_ALG_AUTH_TRUNC) {
			if (!memcmp(algorithm->alg_key, XFRM_KEY, 32))
				return ok("the key of the IPsec state came back: \"%.32s\"", algorithm->alg_key);
			if (!memcmp(algorithm->alg_key, zeroes, 32))
				return denied("key shown as zeroes");
			return failed("the key of the IPsec state is neither ours nor zeroes");
		}
		if (attribute->nla_len < sizeof(*attribute))
			break;
		position += NLA_ALIGN(attribute->nla_len);
	}
	return failed("the kernel did not tell the key of the IPsec state");
}

static enum result xfrm_secret(const char *arg)
{
	struct request request = { .header = {
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = XFRM_MSG_GETSA,
		.nlmsg_flags = NLM_F_REQUEST,
	} };
	enum result result;
	int fd;

	(void)arg;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
	if (fd < 0)
		return with_hint(refused("socket(AF_NETLINK, NETLINK_XFRM)"), "modprobe xfrm_user");
	xfrm_delete(fd); /* left by somebody who was interrupted */
	if (xfrm_add(fd) < 0) {
		result = with_hint(refused("XFRM_MSG_NEWSA"), "modprobe ah4");
		shut(fd);
		return result;
	}
	put(&request, &xfrm_id, sizeof(xfrm_id));
	if (transact(fd, &request) < 0)
		result = refused("XFRM_MSG_GETSA");
	else
		result = xfrm_key_of(&request);
	if ((!keep || result != OK) && xfrm_delete(fd) < 0)
		result = stuck("XFRM_MSG_DELSA");
	shut(fd);
	return result;
}

const struct attack kimglock_attacks[] = {
	{ "dev_mem", "kimglock", "dev_mem", "read physical memory from /dev/mem", dev_mem },
	{ "dev_port", "kimglock", "dev_mem", "read an I/O port through /dev/port", dev_port },
	{ "ioport", "kimglock", "ioport", "ioperm(2), then read an I/O port", port_ioperm },
	{ "iopl", "kimglock", "ioport", "iopl(2), then read an I/O port", port_iopl },
	{ "msr", "kimglock", "msr", "write a model-specific register (needs the module msr)", msr },
	{ "msr_read", "kimglock", "msr", "read a model-specific register (needs the module msr)", msr_read },
	{ "pci_access", "kimglock", "pci_access", "map registers of a PCI device (needs QEMU's -device edu)",
	  pci_access },
	{ "pci_config_read", "kimglock", "pci_access", "read a PCI device's configuration in sysfs", pci_config_read },
	{ "pci_config_write", "kimglock", "pci_access", "write a PCI device's configuration in sysfs",
	  pci_config_write },
	{ "pci_proc_read", "kimglock", "pci_access", "read a PCI device's configuration in procfs", pci_proc_read },
	{ "pci_proc_write", "kimglock", "pci_access", "write a PCI device's configuration in procfs", pci_proc_write },
	{ "kexec_load", "kimglock", "kexec", "load an image with kexec_load(2)", kexec_load },
	{ "kexec_file", "kimglock", "kexec", "load the kernel ARG with kexec_file_load(2)", kexec_file },
	{ "hibernation", "kimglock", "hibernation", "open /dev/snapshot", hibernation },
	{ "hibernation_disk", "kimglock", "hibernation",
	  "write \"disk\" to /sys/power/state, with the device busy so that nothing follows", hibernation_disk },
	{ "hibernation_mode", "kimglock", "hibernation", "write /sys/power/disk, which sets the mode of hibernation",
	  hibernation_mode },
	{ "debugfs", "kimglock", "debugfs", "write a file of debugfs", debugfs },
	{ "debugfs_read", "kimglock", "debugfs", "read a writable file of debugfs", debugfs_read },
	{ "debugfs_ro", "kimglock", "debugfs", "read a read-only file of debugfs", debugfs_ro },
	{ "unsigned_module", "kimglock", "unsigned_module", "load the unsigned module ARG", attack_unsigned_module },
	{ "unsafe_module_parameters", "kimglock", "unsafe_module_parameters",
	  "write /sys/module/8250/parameters/share_irqs", attack_module_parameter },
	{ "tiocsserial", "kimglock", "tiocsserial", "change the interrupt of an idle serial port", tiocsserial },
	{ "kcore", "kimglock", "kcore", "read /proc/kcore", kcore },
	{ "kprobes", "kimglock", "kprobes", "place a kprobe through tracefs", kprobes },
	{ "kprobes_perf", "kimglock", "kprobes", "place a kprobe through perf_event_open(2)", kprobes_perf },
	{ "tracefs", "kimglock", "tracefs", "read a file of tracefs", tracefs },
	{ "tracefs_write", "kimglock", "tracefs", "write a line into the kernel's trace", tracefs_write },
	{ "perf", "kimglock", "perf", "sample registers at interrupts", perf },
	{ "bpf_write", "kimglock", "bpf_write", "load a program that can write to other processes", attack_bpf_write },
	{ "bpf_read", "kimglock", "bpf_read", "load a program that can read kernel memory", attack_bpf_read },
	{ "xfrm_secret", "kimglock", "xfrm_secret", "have the kernel tell the key of an IPsec state", xfrm_secret },
	{},
};
