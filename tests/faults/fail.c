/* LD_PRELOAD: makes memory, writes or reads fail, for tests/test_faults.sh.
 *   DUO_FAIL       "memory", "write" (no space), "read" (input/output error), or "clock": the time
 * of day jumps by months to and fro from call to call DUO_FAIL_AT    the call that fails, from 1,
 * and all after it; DUO_FAIL_ONCE: it alone DUO_FAIL_LIST  a file: the number of the first call of
 * each call site (of memory: the last eight return addresses), or of every call (else), one a line,
 * is written there Calls count from main() on (its setlocale()). Writes and reads: of files other
 * than the standard streams, through the calls of the program and of its libraries; not those
 * inside the C library. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

enum { MEMORY = 1, WRITE, READ, CLOCK };
static int what, once, counting, list_fd = -1;
static long at, n_calls;
static _Thread_local int inside; /* the unwinder allocates, too */
static uint64_t seen[1 << 14];

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static void list_site(uint64_t site)
{
    char line[32];

    for (size_t i = site % (1 << 14);; i = (i + 1) % (1 << 14)) {
        if (seen[i] == site)
            return;
        if (!seen[i]) {
            seen[i] = site;
            break;
        }
    }
    snprintf(line, sizeof(line), "%ld\n", n_calls);
    if (write(list_fd, line, strlen(line)) < 0)
        abort();
}

/* 1: this call is to fail. */
static int fails(int kind)
{
    long n;

    if (kind != what || !counting || inside)
        return 0;
    n = __atomic_add_fetch(&n_calls, 1, __ATOMIC_RELAXED);
    if (list_fd >= 0) {
        void *frame[9];
        uint64_t site = (uint64_t)n << 1;
        int n_frames;

        inside = 1;
        n_frames = kind == MEMORY ? backtrace(frame, 9) : 0;
        if (kind == MEMORY)
            site = 1;
        for (int i = 1; i < n_frames; i++)
            site = (site ^ (uintptr_t)frame[i]) * 0x9e3779b97f4a7c15u;
        list_site(site | 1);
        inside = 0;
    }
    return at > 0 && (once ? n == at : n >= at);
}

static void begin(void)
{
    const char *kind = getenv("DUO_FAIL"), *number = getenv("DUO_FAIL_AT");
    const char *list = getenv("DUO_FAIL_LIST");

    if (!kind)
        return;
    what = strcmp(kind, "memory") == 0  ? MEMORY
           : strcmp(kind, "write") == 0 ? WRITE
           : strcmp(kind, "read") == 0  ? READ
                                        : CLOCK;
    at = number ? atol(number) : 0;
    once = getenv("DUO_FAIL_ONCE") != NULL;
    if (list)
        list_fd = open(list, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    counting = 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

char *setlocale(int category, const char *locale)
{
    REAL(setlocale);

    begin();
    return real(category, locale);
}

/* ---- memory */

static int no_memory(void)
{
    if (!fails(MEMORY))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return no_memory() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return no_memory() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return no_memory() ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return no_memory() ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = no_memory() ? NULL : __libc_memalign(align, n);

    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

/* ---- writes and reads: what the function gives for an error, and the reason */

#define FAIL(kind, why, value)                                                                     \
    do {                                                                                           \
        if (fails(kind)) {                                                                         \
            errno = why;                                                                           \
            return value;                                                                          \
        }                                                                                          \
    } while (0)
#define FAIL_FD(fd, kind, why) /* not the standard streams */                                      \
    do {                                                                                           \
        if ((fd) > 2)                                                                              \
            FAIL(kind, why, -1);                                                                   \
    } while (0)

ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write);

    FAIL_FD(fd, WRITE, ENOSPC);
    return real(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t where)
{
    REAL(pwrite64);

    FAIL_FD(fd, WRITE, ENOSPC);
    return real(fd, data, n, where);
}

int fsync(int fd)
{
    REAL(fsync);

    FAIL_FD(fd, WRITE, EIO);
    return real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);

    FAIL_FD(fd, WRITE, EIO);
    return real(fd);
}

int ftruncate64(int fd, off64_t n)
{
    REAL(ftruncate64);

    FAIL_FD(fd, WRITE, ENOSPC);
    return real(fd, n);
}

int mkstemps(char *template, int n_suffix)
{
    REAL(mkstemps);

    FAIL(WRITE, ENOSPC, -1);
    return real(template, n_suffix);
}

int rename(const char *from, const char *to)
{
    REAL(rename);

    FAIL(WRITE, ENOSPC, -1);
    return real(from, to);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f)
{
    REAL(fwrite);

    if (f != stdout && f != stderr && fails(WRITE)) {
        f->_flags |= 0x20; /* glibc's error flag, which ferror() tells */
        errno = ENOSPC;
        return 0;
    }
    return real(data, size, n, f);
}

int fflush(FILE *f)
{
    REAL(fflush);

    if (f && f != stdout && f != stderr && fails(WRITE)) {
        f->_flags |= 0x20;
        errno = ENOSPC;
        return EOF;
    }
    return real(f);
}

ssize_t read(int fd, void *data, size_t n)
{
    REAL(read);

    FAIL_FD(fd, READ, EIO);
    return real(fd, data, n);
}

ssize_t pread64(int fd, void *data, size_t n, off64_t where)
{
    REAL(pread64);

    FAIL_FD(fd, READ, EIO);
    return real(fd, data, n, where);
}

size_t fread(void *data, size_t size, size_t n, FILE *f)
{
    REAL(fread);

    if (f != stdin && fails(READ)) {
        f->_flags |= 0x20;
        errno = EIO;
        return 0;
    }
    return real(data, size, n, f);
}

/* ---- the time of day */

static time_t jumped(time_t t)
{
    static unsigned n;

    return counting && what == CLOCK ? t + (time_t)((n++ * 7919) % 11) * 5000000 - 25000000 : t;
}

time_t time(time_t *out)
{
    struct timespec t;
    time_t now;

    clock_gettime(CLOCK_REALTIME, &t);
    now = t.tv_sec;
    if (out)
        *out = now;
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    REAL(clock_gettime);
    int rc = real(clock, t);

    if (rc == 0 && clock == CLOCK_REALTIME)
        t->tv_sec = jumped(t->tv_sec);
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);

    (void)zone;
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return rc;
}
