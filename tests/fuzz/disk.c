/* The disk in memory, and the system's calls on it. Room is kept from input to input. */
#include "tests/fuzz/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "harness/base/file.h"
#include "tests/fuzz/fuzz.h"

#define N_FILES 24
#define N_OPEN 16
#define FIRST_FD (1 << 20)

static struct disk_file files[N_FILES];
static struct {
    struct disk_file *f;
    size_t at;
} opened[N_OPEN];

static int keeps_names;

void disk_keep_names(int on)
{
    keeps_names = on;
}

int disk_is_on(const char *path)
{
    return strncmp(path, FUZZ_DISK "/", strlen(FUZZ_DISK) + 1) == 0;
}

struct disk_file *disk_find(const char *path)
{
    for (struct disk_file *f = files; f < files + N_FILES; f++)
        if (f->is_named && strcmp(f->name, path + strlen(FUZZ_DISK) + 1) == 0)
            return f;
    return NULL;
}

struct disk_file *disk_make(const char *path)
{
    struct disk_file *f = files;

    while (f < files + N_FILES && (f->is_named || f->n_open))
        f++;
    FUZZ_ASSERT(f < files + N_FILES);
    snprintf(f->name, sizeof(f->name), "%s", path + strlen(FUZZ_DISK) + 1);
    f->is_named = 1;
    f->n = 0;
    return f;
}

int disk_remove(const char *path)
{
    struct disk_file *f = disk_find(path);

    if (f)
        f->is_named = 0;
    return f ? 0 : -1;
}

int disk_resize(struct disk_file *f, size_t n)
{
    if (n > DISK_FILE_MAX)
        return -1;
    if (n > f->room) {
        f->room = 2 * n;
        f->data = realloc(f->data, f->room);
        FUZZ_ASSERT(f->data);
    }
    if (n > f->n)
        memset(f->data + f->n, 0, n - f->n);
    f->n = n;
    return 0;
}

int disk_write(struct disk_file *f, const void *data, size_t n, size_t at)
{
    if (at > DISK_FILE_MAX || n > DISK_FILE_MAX || (at + n > f->n && disk_resize(f, at + n) != 0))
        return -1;
    if (n)
        memcpy(f->data + at, data, n);
    return 0;
}

size_t disk_read(const struct disk_file *f, void *out, size_t n, size_t at)
{
    size_t left = at < f->n ? f->n - at : 0;

    n = n < left ? n : left;
    if (n)
        memcpy(out, f->data + at, n);
    return n;
}

void disk_put(const char *path, const void *data, size_t n)
{
    struct disk_file *f = disk_find(path);

    if (disk_write(f ? f : disk_make(path), data, n, 0) != 0)
        abort();
}

void disk_clear(void)
{
    for (size_t i = 0; i < N_FILES; i++)
        files[i].is_named = files[i].n_open = 0;
    memset(opened, 0, sizeof(opened));
    keeps_names = 0;
}

/* ---- the system's calls: on paths */

#define FAIL(why)                                                                                  \
    do {                                                                                           \
        errno = why;                                                                               \
        return -1;                                                                                 \
    } while (0)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    struct disk_file *f;
    int fd = 0;
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (strcmp(path, FUZZ_DISK) == 0) { /* the folder, to be locked or synchronised */
        path = FUZZ_DISK "/.";
        flags |= O_CREAT;
    }
    if (!disk_is_on(path))
        return __real_open(path, flags, mode);
    f = disk_find(path);
    if (!f && !(flags & O_CREAT))
        FAIL(ENOENT);
    while (fd < N_OPEN && opened[fd].f)
        fd++;
    FUZZ_ASSERT(fd < N_OPEN);
    f = f ? f : disk_make(path);
    f->n_open++;
    opened[fd].f = f;
    opened[fd].at = 0;
    return FIRST_FD + fd;
}

int __real_access(const char *path, int how);
int __wrap_access(const char *path, int how);
int __wrap_access(const char *path, int how)
{
    if (!disk_is_on(path))
        return __real_access(path, how);
    if (!disk_find(path))
        FAIL(ENOENT);
    return 0;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    struct disk_file *f;

    if (!disk_is_on(from))
        return __real_rename(from, to);
    f = disk_find(from);
    if (!f)
        FAIL(ENOENT);
    if (keeps_names)
        FAIL(EACCES);
    disk_remove(to);
    snprintf(f->name, sizeof(f->name), "%s", to + strlen(FUZZ_DISK) + 1);
    return 0;
}

int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __wrap_unlink(const char *path)
{
    if (!disk_is_on(path))
        return __real_unlink(path);
    if (disk_remove(path) != 0)
        FAIL(ENOENT);
    return 0;
}

int __real_dir_make(const char *path);
int __wrap_dir_make(const char *path);
int __wrap_dir_make(const char *path)
{
    return strcmp(path, FUZZ_DISK) == 0 ? 0 : __real_dir_make(path);
}

int __real_file_write_atomic(const char *path, const void *data, size_t n);
int __wrap_file_write_atomic(const char *path, const void *data, size_t n);
int __wrap_file_write_atomic(const char *path, const void *data, size_t n)
{
    if (!disk_is_on(path))
        return __real_file_write_atomic(path, data, n);
    disk_remove(path);
    return disk_write(disk_make(path), data, n, 0);
}

/* ---- on descriptors */

static int is_ours(int fd)
{
    return fd >= FIRST_FD && fd < FIRST_FD + N_OPEN && opened[fd - FIRST_FD].f;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    if (!is_ours(fd))
        return __real_close(fd);
    opened[fd - FIRST_FD].f->n_open--;
    opened[fd - FIRST_FD].f = NULL;
    return 0;
}

ssize_t __real_read(int fd, void *out, size_t n);
ssize_t __wrap_read(int fd, void *out, size_t n);
ssize_t __wrap_read(int fd, void *out, size_t n)
{
    if (!is_ours(fd))
        return __real_read(fd, out, n);
    n = disk_read(opened[fd - FIRST_FD].f, out, n, opened[fd - FIRST_FD].at);
    opened[fd - FIRST_FD].at += n;
    return (ssize_t)n;
}

ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    if (!is_ours(fd))
        return __real_write(fd, data, n);
    if (disk_write(opened[fd - FIRST_FD].f, data, n, opened[fd - FIRST_FD].at) != 0)
        FAIL(ENOSPC);
    opened[fd - FIRST_FD].at += n;
    return (ssize_t)n;
}

off_t __real_lseek(int fd, off_t at, int from);
off_t __wrap_lseek(int fd, off_t at, int from);
off_t __wrap_lseek(int fd, off_t at, int from)
{
    if (!is_ours(fd))
        return __real_lseek(fd, at, from);
    FUZZ_ASSERT(from == SEEK_SET && at >= 0);
    opened[fd - FIRST_FD].at = (size_t)at;
    return at;
}

int __real_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n)
{
    if (!is_ours(fd))
        return __real_ftruncate(fd, n);
    if (disk_resize(opened[fd - FIRST_FD].f, (size_t)n) != 0)
        FAIL(ENOSPC);
    return 0;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return is_ours(fd) ? 0 : __real_fsync(fd);
}

int __real_flock(int fd, int how);
int __wrap_flock(int fd, int how);
int __wrap_flock(int fd, int how)
{
    return is_ours(fd) ? 0 : __real_flock(fd, how);
}

static struct stat status_of(const struct disk_file *f)
{
    return (struct stat){
        .st_mode = S_IFREG | 0644, .st_size = (off_t)f->n, .st_ino = (ino_t)(f - files) + 1};
}

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st)
{
    if (!is_ours(fd))
        return __real_fstat(fd, st);
    *st = status_of(opened[fd - FIRST_FD].f);
    return 0;
}

int disk_stat(const char *path, struct stat *st)
{
    const struct disk_file *f = disk_find(path);

    if (!f)
        FAIL(ENOENT);
    *st = status_of(f);
    return 0;
}

int __real_fstatvfs(int fd, struct statvfs *st);
int __wrap_fstatvfs(int fd, struct statvfs *st);
int __wrap_fstatvfs(int fd, struct statvfs *st)
{
    if (!is_ours(fd))
        return __real_fstatvfs(fd, st);
    *st = (struct statvfs){.f_frsize = 1, .f_bavail = DISK_FILE_MAX};
    return 0;
}
