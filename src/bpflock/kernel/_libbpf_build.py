# SPDX-License-Identifier: Apache-2.0
"""Builds the binding to libbpf: cffi in API mode, so that a wrong signature is a compile error."""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef(
    """
    struct bpf_object; struct bpf_program; struct bpf_map; struct bpf_link; struct btf;
    typedef uint32_t __u32; typedef uint64_t __u64; typedef int32_t __s32;

    void bpf_object__close(struct bpf_object *obj);
    struct btf *bpf_object__btf(const struct bpf_object *obj);
    struct bpf_program *bpf_object__next_program(const struct bpf_object *obj, struct bpf_program *prog);
    struct bpf_map *bpf_object__next_map(const struct bpf_object *obj, const struct bpf_map *map);

    const char *bpf_program__name(const struct bpf_program *prog);
    const char *bpf_program__section_name(const struct bpf_program *prog);
    bool bpf_program__autoload(const struct bpf_program *prog);
    int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
    int bpf_program__fd(const struct bpf_program *prog);
    struct bpf_link *bpf_program__attach_lsm(const struct bpf_program *prog);
    struct bpf_link *bpf_program__attach_trace(const struct bpf_program *prog);
    struct bpf_link *bpf_program__attach_iter(const struct bpf_program *prog, const void *opts);
    struct bpf_link *bpf_program__attach_cgroup(const struct bpf_program *prog, int cgroup_fd);
    int bpf_program__set_attach_target(struct bpf_program *prog, int attach_prog_fd, const char *attach_func_name);
    int bpf_link__fd(const struct bpf_link *link);
    int bpf_link__destroy(struct bpf_link *link);

    const char *bpf_map__name(const struct bpf_map *map);
    int bpf_map__fd(const struct bpf_map *map);
    int bpf_map__reuse_fd(struct bpf_map *map, int fd);
    int bpf_map__set_max_entries(struct bpf_map *map, __u32 max_entries);
    __u32 bpf_map__max_entries(const struct bpf_map *map);
    __u32 bpf_map__key_size(const struct bpf_map *map);
    __u32 bpf_map__value_size(const struct bpf_map *map);
    const void *bpf_map__initial_value(struct bpf_map *map, size_t *size);

    int bpf_map_lookup_elem(int fd, const void *key, void *value);
    int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
    int bpf_map_delete_elem(int fd, const void *key);
    int bpf_map_get_next_key(int fd, const void *key, void *next_key);
    int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count, const void *opts);
    int bpf_obj_pin(int fd, const char *path);
    int bpf_map_freeze(int fd);
    int bpf_iter_create(int link_fd);
    int bpf_obj_get(const char *path);
    int bpf_prog_get_fd_by_id(__u32 id);
    int bpf_raw_tracepoint_open(const char *name, int prog_fd);

    struct btf *btf__parse(const char *path, void *ext);
    struct btf *btf__load_vmlinux_btf(void);
    void btf__free(struct btf *btf);
    __s32 btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);
    const char *btf__name_by_offset(const struct btf *btf, __u32 offset);
    __u32 btf__type_cnt(const struct btf *btf);

    /* Of kernel_types.h. */
    struct bl_kernel;
    struct bl_kernel *bl_kernel_new(const struct btf *btf);
    void bl_kernel_free(struct bl_kernel *kernel);
    __u32 bl_kernel_find(const struct bl_kernel *kernel, const char *name, __u32 kind);
    int bl_register_sections(void);
    struct bpf_object *bl_object_open(const char *path, const char *types);
    int bl_object_load(struct bpf_object *object, const struct bl_kernel *kernel, int fd);

    /* Not libbpf's own: see below. */
    struct bl_map_info { __u32 type, id, key_size, value_size, max_entries; };
    struct bl_type { uint32_t kind, vlen, size, name; };
    struct bl_member { uint32_t name, type, offset; int64_t value; };
    int bl_map_info(int fd, struct bl_map_info *info);
    int bl_map_create(__u32 type, const char *name, __u32 key_size, __u32 value_size, __u32 entries, __u32 flags);
    int bl_iterator_link(int program);
    int bl_link_program(int fd, __u32 *id);
    int bl_program_misses(int fd, uint64_t *misses);
    int bl_program_maps(int fd, __u32 *ids, __u32 *count);
    struct bpf_link *bl_attach_uprobe(const struct bpf_program *prog, const char *path, size_t offset, bool returns,
                                      __u64 cookie);
    int bl_type(const struct btf *btf, __u32 id, struct bl_type *type);
    int bl_member(const struct btf *btf, __u32 id, __u32 index, struct bl_member *member);
    int bl_array(const struct btf *btf, __u32 id, __u32 *element, __u32 *count);
    void bl_log_start(char *buffer, size_t size);
    void bl_log_stop(void);
    struct bl_ring; /* a ring buffer's only reader */
    struct bl_ring *bl_ring_new(int fd);
    int bl_ring_fd(const struct bl_ring *ring);
    void bl_ring_free(struct bl_ring *ring);
    int64_t bl_ring_drain(struct bl_ring *ring, char *buffer, size_t size, int timeout_ms);
    long bl_syscall(long number, long a, long b, long c, long d, long e, long f);
    long bl_ioctl_32(int fd, unsigned long command);
    int bl_exec_as(const long *enter, long call, int fd, const char *path);

    #define SYS_execve ...
    #define SYS_execveat ...
    #define SYS_bpf ...
    #define SYS_prctl ...
    #define SYS_finit_module ...
    #define SYS_init_module ...
    #define SYS_fspick ...
    #define SYS_move_mount ...
    #define SYS_openat2 ...
    #define SYS_fsopen ...
    #define SYS_mount ...
    #define SYS_mmap ...
    #define SYS_munmap ...
    #define SYS_mprotect ...
    #define SYS_socket ...
    #define SYS_ioctl ...
    #define SYS_fsconfig ...
    #define SYS_fsmount ...
    #define SYS_clone ...
    #define SYS_setns ...
    #define SYS_bind ...
    #define SYS_listen ...
    #define SYS_setuid ...
    #define SYS_setgid ...
    #define SYS_settimeofday ...
    #define SYS_move_mount ...
    #define SYS_umount2 ...
    #define SYS_unshare ...
    #define SYS_pivot_root ...
    #define SYS_userfaultfd ...
    #define SYS_io_uring_setup ...
    #define SYS_io_uring_enter ...
    #define SYS_perf_event_open ...
    #define SYS_keyctl ...
    #define SYS_shmget ...
    #define SYS_shmctl ...
    #define SYS_ioprio_set ...
    #define SYS_move_pages ...
    #define SYS_msgget ...
    #define SYS_msgctl ...
    #define SYS_semget ...
    #define SYS_semctl ...
    #define SYS_personality ...
    #define SYS_ptrace ...
    #define SYS_mq_open ...
    #define SYS_mq_unlink ...
    #define SYS_inotify_init1 ...
    #define SYS_inotify_add_watch ...
    #define SYS_syslog ...
    #define BTF_KIND_INT ...
    #define BTF_KIND_ARRAY ...
    #define BTF_KIND_STRUCT ...
    #define BTF_KIND_TYPEDEF ...
    #define BTF_KIND_ENUM ...
    #define BTF_KIND_FUNC ...
    #define BTF_KIND_VOLATILE ...
    #define BTF_KIND_CONST ...
    #define BTF_KIND_DATASEC ...
    #define BPF_ANY ...
    #define BPF_NOEXIST ...
    #define BPF_MAP_TYPE_ARRAY ...
    #define BPF_F_MMAPABLE ...
    #define BPF_F_INNER_MAP ...
    """
)

ffibuilder.set_source(
    "bpflock.kernel._libbpf",
    r"""
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <stdarg.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <sys/wait.h>
    #include <unistd.h>
    #include <bpf/bpf.h>
    #include <bpf/btf.h>
    #include <bpf/libbpf.h>

    #include "kernel_types.h"

    struct bl_map_info { __u32 type, id, key_size, value_size, max_entries; };
    struct bl_type { uint32_t kind, vlen, size, name; };
    struct bl_member { uint32_t name, type, offset; int64_t value; };

    static int bl_map_info(int fd, struct bl_map_info *out)
    {
        struct bpf_map_info info = {};
        __u32 size = sizeof(info);

        if (bpf_obj_get_info_by_fd(fd, &info, &size))
            return -errno;
        *out = (struct bl_map_info){ info.type, info.id, info.key_size, info.value_size, info.max_entries };
        return 0;
    }

    static int bl_map_create(__u32 type, const char *name, __u32 key_size, __u32 value_size, __u32 entries, __u32 flags)
    {
        LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

        return bpf_map_create(type, name, key_size, value_size, entries, &opts);
    }

    static int bl_type(const struct btf *btf, __u32 id, struct bl_type *out)
    {
        const struct btf_type *type = btf__type_by_id(btf, id);

        if (!type)
            return -EINVAL;
        *out = (struct bl_type){ btf_kind(type), btf_vlen(type), type->size, type->name_off };
        return 0;
    }

    /* In every process, there already or to come, that maps the file. */
    static struct bpf_link *bl_attach_uprobe(const struct bpf_program *prog, const char *path, size_t offset,
                                             bool returns, __u64 cookie)
    {
        LIBBPF_OPTS(bpf_uprobe_opts, opts, .retprobe = returns, .bpf_cookie = cookie);

        return bpf_program__attach_uprobe_opts(prog, -1, path, offset, &opts);
    }

    static int bl_iterator_link(int program)
    {
        return bpf_link_create(program, 0, BPF_TRACE_ITER, NULL);
    }

    static int bl_link_program(int fd, __u32 *id)
    {
        struct bpf_link_info info = {};
        __u32 size = sizeof(info);

        if (bpf_obj_get_info_by_fd(fd, &info, &size))
            return -errno;
        *id = info.prog_id;
        return 0;
    }

    static int bl_program_misses(int fd, uint64_t *misses)
    {
        struct bpf_prog_info info = {};
        __u32 size = sizeof(info);

        if (bpf_obj_get_info_by_fd(fd, &info, &size))
            return -errno;
        *misses = info.recursion_misses;
        return 0;
    }

    /* The ids of the maps that it uses. count: how many fit in, then how many there are. */
    static int bl_program_maps(int fd, __u32 *ids, __u32 *count)
    {
        struct bpf_prog_info info = { .nr_map_ids = *count, .map_ids = (__u64)(unsigned long)ids };
        __u32 size = sizeof(info);

        if (bpf_obj_get_info_by_fd(fd, &info, &size))
            return -errno;
        *count = info.nr_map_ids;
        return 0;
    }

    /* A member of a structure, an enumerator, or a variable of a section. For an INT, FUNC, TYPEDEF or modifier: in
     * type what it refers to, in value an INT's encoding. */
    static int bl_member(const struct btf *btf, __u32 id, __u32 index, struct bl_member *out)
    {
        const struct btf_type *type = btf__type_by_id(btf, id);

        if (!type)
            return -EINVAL;
        memset(out, 0, sizeof(*out));
        if (btf_is_composite(type) && index < btf_vlen(type)) {
            *out = (struct bl_member){ btf_members(type)[index].name_off, btf_members(type)[index].type,
                                       btf_member_bit_offset(type, index) / 8, 0 };
        } else if (btf_is_enum(type) && index < btf_vlen(type)) {
            *out = (struct bl_member){ btf_enum(type)[index].name_off, 0, 0, btf_enum(type)[index].val };
        } else if (btf_is_datasec(type) && index < btf_vlen(type)) {
            const struct btf_var_secinfo *variable = btf_var_secinfos(type) + index;
            const struct btf_type *of = btf__type_by_id(btf, variable->type);

            *out = (struct bl_member){ of->name_off, of->type, variable->offset, variable->size };
        } else if (btf_is_int(type)) {
            out->value = btf_int_encoding(type);
        } else {
            out->type = type->type;
        }
        return 0;
    }

    static int bl_array(const struct btf *btf, __u32 id, __u32 *element, __u32 *count)
    {
        const struct btf_type *type = btf__type_by_id(btf, id);

        if (!type || !btf_is_array(type))
            return -EINVAL;
        *element = btf_array(type)->type;
        *count = btf_array(type)->nelems;
        return 0;
    }

    /* libbpf's messages go into the caller's buffer, or nowhere: the last of a long log are worth the most. */
    static char *log_buffer;
    static size_t log_size, log_used;

    static int log_print(enum libbpf_print_level level, const char *format, va_list args)
    {
        int length;

        if (!log_buffer || level == LIBBPF_DEBUG)
            return 0;
        if (log_used + 1024 > log_size) {
            memmove(log_buffer, log_buffer + log_size / 2, log_size - log_size / 2);
            log_used = log_used > log_size / 2 ? log_used - log_size / 2 : 0;
        }
        length = vsnprintf(log_buffer + log_used, log_size - log_used, format, args);
        if (length > 0)
            log_used += (size_t)length < log_size - log_used ? (size_t)length : log_size - log_used - 1;
        return 0;
    }

    static void bl_log_start(char *buffer, size_t size)
    {
        log_buffer = buffer;
        log_size = size;
        log_used = 0;
        libbpf_set_print(log_print);
    }

    static void bl_log_stop(void)
    {
        log_buffer = NULL;
    }

    struct bl_ring {
        struct ring_buffer *ring;
        char *buffer;
        size_t size, used;
    };

    /* Stops the drain while the largest record still fits: consuming would go on as long as producers do. */
    #define LARGEST_RECORD 16384

    static int ring_record(void *context, void *data, size_t size)
    {
        struct bl_ring *ring = context;

        memcpy(ring->buffer + ring->used, data, size);
        ring->used += size;
        return ring->used + LARGEST_RECORD > ring->size ? -ENOSPC : 0;
    }

    static struct bl_ring *bl_ring_new(int fd)
    {
        struct bl_ring *ring = calloc(1, sizeof(*ring));

        if (!ring)
            return NULL;
        ring->ring = ring_buffer__new(fd, ring_record, ring, NULL);
        if (!ring->ring) {
            free(ring);
            return NULL;
        }
        return ring;
    }

    static int bl_ring_fd(const struct bl_ring *ring)
    {
        return ring_buffer__epoll_fd(ring->ring);
    }

    static void bl_ring_free(struct bl_ring *ring)
    {
        ring_buffer__free(ring->ring);
        free(ring);
    }

    /* Bytes of whole records, or -errno. Records come without wake-ups: wait, then look whatever the wait said. */
    static int64_t bl_ring_drain(struct bl_ring *ring, char *buffer, size_t size, int timeout_ms)
    {
        int error;

        if (size < LARGEST_RECORD)
            return -EINVAL;
        ring->buffer = buffer;
        ring->size = size;
        ring->used = 0;
        if (timeout_ms > 0) {
            error = ring_buffer__poll(ring->ring, timeout_ms);
            if (error < 0 && error != -ENOSPC && error != -EINTR)
                return error;
            if (error == -ENOSPC)
                return ring->used;
        }
        error = ring_buffer__consume(ring->ring);
        return error < 0 && error != -ENOSPC ? error : (int64_t)ring->used;
    }

    static long bl_syscall(long number, long a, long b, long c, long d, long e, long f)
    {
        long result = syscall(number, a, b, c, d, e, f);

        return result < 0 ? -errno : result;
    }

    /* ioctl(2) by the 32-bit system call, without an argument. Where the kernel has none, SIGSEGV. */
    static long bl_ioctl_32(int fd, unsigned long command)
    {
    #ifdef __x86_64__
        long result;

        asm volatile("int $0x80" : "=a"(result) : "a"(54L), "b"((long)fd), "c"(command), "d"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
        return result;
    #else
        return -ENOSYS;
    #endif
    }

    /* Execute fd, or path if that is not NULL, in a child that entered before with prctl(enter[0..4]). call: by which
     * system call; 0: by none, it only ends. Gives the child's exit status, or 256 + the errno of the call. */
    static int bl_exec_as(const long *enter, long call, int fd, const char *path)
    {
        char *const argv[] = { "bpflock-canary", NULL };
        int status;
        volatile int failed = 0; /* in memory that the child shares */
        pid_t child = vfork();

        if (child < 0)
            return 256 + errno;
        if (!child) {
            syscall(SYS_prctl, enter[0], enter[1], enter[2], enter[3], enter[4]);
            if (call == SYS_execve)
                syscall(SYS_execve, path, argv, argv + 1);
            else if (call)
                syscall(call, path ? AT_FDCWD : fd, path ? path : "", argv, argv + 1, path ? 0 : AT_EMPTY_PATH);
            failed = call ? errno : 0;
            _exit(0);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        return failed ? 256 + failed : WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    }
    """,
    libraries=["bpf"],
    include_dirs=["src/bpflock/kernel"],
    depends=["src/bpflock/kernel/kernel_types.h"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
