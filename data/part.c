/* Files that are complete under their name or not there at all. */
#include "data/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/stop.h"

static char *suffixed(const char *path, const char *suffix)
{
    struct buf b = {0};

    buf_adds(&b, path);
    buf_adds(&b, suffix);
    return buf_detach(&b);
}

/* The holder removes the lock file before it unlocks, so a lock counts only while the name still
 * leads to the file that was locked. */
static int take_lock(struct part *p)
{
    struct stat held, named;

    for (;;) {
        p->lock_fd = open(p->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (p->lock_fd < 0)
            return error("cannot write '%s': %s", p->lock_path, strerror(errno));
        if (flock(p->lock_fd, LOCK_EX | LOCK_NB) != 0) {
            int busy = errno == EWOULDBLOCK;

            if (!busy)
                error("cannot lock '%s': %s", p->lock_path, strerror(errno));
            close(p->lock_fd);
            p->lock_fd = -1;
            return busy ? 1 : -1;
        }
        if (fstat(p->lock_fd, &held) == 0 && stat(p->lock_path, &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return 0;
        close(p->lock_fd);
    }
}

/* Hashes what an earlier run left; leaves the file offset at the end. */
static int hash_rest(int fd, struct sha256 *hash, int64_t *n_bytes)
{
    char *block = xmalloc(1 << 20);
    ssize_t n;

    while ((n = read(fd, block, 1 << 20)) > 0) {
        sha256_update(hash, block, (size_t)n);
        *n_bytes += n;
    }
    free(block);
    return n < 0 ? -1 : 0;
}

static void read_etag(struct part *p)
{
    struct buf b = {0};

    if (file_exists(p->etag_path) && file_read(p->etag_path, &b) == 0 && b.n > 0 &&
        b.n < sizeof(p->etag) && !strpbrk(b.data, "\r\n"))
        memcpy(p->etag, b.data, b.n + 1);
    buf_release(&b);
}

static int open_bytes(struct part *p)
{
    p->fd = open(p->tmp, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (p->fd < 0)
        return error("cannot write '%s': %s", p->tmp, strerror(errno));
    sha256_init(&p->hash);
    read_etag(p);
    if (!p->etag[0])
        return part_restart(p, NULL);
    if (hash_rest(p->fd, &p->hash, &p->n_bytes) != 0)
        return error("cannot read '%s': %s", p->tmp, strerror(errno));
    return 0;
}

static void remove_lock(void *path)
{
    unlink(path);
}

int part_open(struct part *p, const char *path)
{
    char *folder = path_folder(path);
    int rc;

    *p = (struct part){.fd = -1, .lock_fd = -1};
    p->path = xstrdup(path);
    p->tmp = suffixed(path, ".part");
    p->etag_path = suffixed(path, ".part.etag");
    p->lock_path = suffixed(path, ".lock");
    rc = dir_make(folder);
    if (rc == 0)
        rc = take_lock(p);
    if (rc == 0)
        stop_add(STOP_EXIT, remove_lock, p->lock_path);
    if (rc == 0)
        rc = open_bytes(p);
    if (rc != 0)
        part_close(p);
    free(folder);
    return rc;
}

int part_write(struct part *p, const void *data, size_t nbytes)
{
    const char *at = data;
    size_t left = nbytes;

    while (left > 0) {
        ssize_t n = write(p->fd, at, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        sha256_update(&p->hash, at, (size_t)n);
        p->n_bytes += n;
        at += n;
        left -= (size_t)n;
    }
    return 0;
}

int part_restart(struct part *p, const char *etag)
{
    char hex[65];

    /* The old version's name goes first: a kill in between leaves bytes that nobody continues. */
    unlink(p->etag_path);
    p->etag[0] = 0;
    if (ftruncate(p->fd, 0) != 0 || lseek(p->fd, 0, SEEK_SET) != 0)
        return error("cannot write '%s': %s", p->tmp, strerror(errno));
    if (p->hash.ctx)
        sha256_final(&p->hash, hex);
    sha256_init(&p->hash);
    p->n_bytes = 0;
    if (!etag || !etag[0] || strlen(etag) >= sizeof(p->etag))
        return 0;
    strcpy(p->etag, etag);
    return file_write_atomic(p->etag_path, etag, strlen(etag));
}

void part_hash(struct part *p, char hex[65])
{
    sha256_final(&p->hash, hex);
}

static int sync_folder(const char *path)
{
    char *folder = path_folder(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -1 : 0;

    if (fd >= 0)
        close(fd);
    free(folder);
    return rc;
}

int part_commit(struct part *p, const char hex[65])
{
    const char *slash = strrchr(p->path, '/');
    char *record = suffixed(p->path, ".sha256");
    struct buf line = {0};
    int rc;

    /* The record is written first: a file without its record would be fetched again, a record
     * without its file does no harm. */
    buf_addf(&line, "%s  %s\n", hex, slash ? slash + 1 : p->path);
    rc = fsync(p->fd) != 0 ? error("cannot write '%s': %s", p->tmp, strerror(errno)) : 0;
    if (rc == 0)
        rc = file_write_atomic(record, line.data, line.n);
    if (rc == 0 && (rename(p->tmp, p->path) != 0 || sync_folder(p->path) != 0))
        rc = error("cannot write '%s': %s", p->path, strerror(errno));
    if (rc == 0)
        unlink(p->etag_path);
    buf_release(&line);
    free(record);
    return rc;
}

void part_drop(struct part *p)
{
    if (p->fd >= 0 && p->tmp) {
        unlink(p->etag_path);
        unlink(p->tmp);
    }
    part_close(p);
}

void part_close(struct part *p)
{
    char hex[65];

    if (!p->path)
        return;
    if (p->fd >= 0 && p->tmp) {
        close(p->fd);
        if (!p->etag[0] || p->n_bytes == 0) { /* nothing that could be continued */
            unlink(p->etag_path);
            unlink(p->tmp);
        }
    }
    if (p->hash.ctx)
        sha256_final(&p->hash, hex);
    if (p->lock_fd >= 0) {
        stop_remove(p->lock_path);
        unlink(p->lock_path);
        close(p->lock_fd);
    }
    free(p->path);
    free(p->tmp);
    free(p->etag_path);
    free(p->lock_path);
    *p = (struct part){.fd = -1, .lock_fd = -1};
}

static int read_record(const char *path, char hex[65])
{
    char *record = suffixed(path, ".sha256");
    struct buf b = {0};
    int ok = file_exists(record) && file_read(record, &b) == 0 && b.n > 66 &&
             strspn(b.data, "0123456789abcdef") == 64 && b.data[64] == ' ';

    if (ok) {
        memcpy(hex, b.data, 64);
        hex[64] = 0;
    }
    buf_release(&b);
    free(record);
    return ok;
}

int file_verified(const char *path, const char *expected, char hex[65])
{
    struct sha256 hash;
    char want[65];
    int64_t n_bytes = 0;
    int fd, rc;

    if (!read_record(path, want)) {
        if (!expected)
            return 0;
        memcpy(want, expected, 65);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    sha256_init(&hash);
    rc = hash_rest(fd, &hash, &n_bytes);
    sha256_final(&hash, hex);
    close(fd);
    return rc == 0 && n_bytes > 0 && strcmp(hex, want) == 0;
}
