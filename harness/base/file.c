/* Whole-file reading and atomic writing. */
#include "harness/base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/stop.h"

int file_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int dir_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *path_join(const char *dir, const char *name)
{
    struct buf b = {0};

    buf_adds(&b, dir);
    if (b.n && b.data[b.n - 1] != '/')
        buf_addc(&b, '/');
    buf_adds(&b, name);
    return buf_detach(&b);
}

char *path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct buf b = {0};

    if (slash)
        buf_add(&b, path, slash == path ? 1 : (size_t)(slash - path));
    else
        buf_addc(&b, '.');
    return buf_detach(&b);
}

/* The folder's real path and the name, for a file that is not there. */
static char *place_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = path_folder(path), *real = realpath(folder, NULL);
    char *place = real ? path_join(real, slash ? slash + 1 : path) : xstrdup(path);

    free(real);
    free(folder);
    return place;
}

int file_same(const char *a, const char *b)
{
    struct stat x, y;
    int has_x = stat(a, &x) == 0, has_y = stat(b, &y) == 0, same;
    char *p, *q;

    if (has_x && has_y)
        return x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
               (S_ISREG(x.st_mode) || S_ISDIR(x.st_mode));
    if (has_x != has_y)
        return 0;
    p = place_of(a);
    q = place_of(b);
    same = strcmp(p, q) == 0;
    free(p);
    free(q);
    return same;
}

int dir_make(const char *path)
{
    char *p, *s;
    int rc = 0;

    if (!*path)
        return error("'' is no folder's name");
    p = s = xstrdup(path);
    while (s && rc == 0) {
        s = strchr(s + 1, '/');
        if (s)
            *s = 0;
        if (mkdir(p, 0777) != 0 && errno != EEXIST)
            rc = error("cannot make folder '%s': %s", p, strerror(errno));
        else if (!dir_exists(p))
            rc = error("'%s' is not a folder", p);
        if (s)
            *s = '/';
    }
    free(p);
    return rc;
}

int file_may_open(const char *path)
{
    struct stat st;
    struct statfs fs;

    if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode) && statfs(path, &fs) == 0 &&
        fs.f_type != PIPEFS_MAGIC)
        return error("'%s' is a named pipe, not a file", path);
    return 0;
}

int file_read(const char *path, struct buf *out)
{
    size_t n, before = out->n;
    struct stat st;
    int large, rc = 0;
    FILE *f;

    if (file_may_open(path) != 0)
        return -1;
    f = fopen(path, "rb");
    if (!f)
        return error("cannot open '%s': %s", path, strerror(errno));
    large = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > FILE_READ_MAX;
    do {
        char *to;

        if (large || out->n - before > FILE_READ_MAX) {
            fclose(f);
            return error("'%s' is larger than %zu MiB", path, (size_t)FILE_READ_MAX >> 20);
        }
        to = buf_reserve(out, 1 << 16);

        n = fread(to, 1, 1 << 16, f);
        out->n += n;
        out->data[out->n] = 0;
    } while (n > 0);
    if (ferror(f))
        rc = error("cannot read '%s': %s", path, strerror(errno));
    fclose(f);
    return rc;
}

/* The open maps, for file_map_at(). */
static struct map {
    const unsigned char *data;
    size_t nbytes;
    char *path;
    struct map *next;
} * maps;
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;

static void list_map(const struct file_map *m, const char *path)
{
    struct map *listed = xmalloc(sizeof(*listed));

    *listed = (struct map){m->data, m->nbytes, xstrdup(path), NULL};
    pthread_mutex_lock(&maps_lock);
    listed->next = maps;
    maps = listed;
    pthread_mutex_unlock(&maps_lock);
}

static void unlist_map(const struct file_map *m)
{
    struct map **at = &maps, *found;

    pthread_mutex_lock(&maps_lock);
    while (*at && (*at)->data != m->data)
        at = &(*at)->next;
    found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&maps_lock);
    if (found)
        free(found->path);
    free(found);
}

int file_map_open(struct file_map *m, const char *path)
{
    struct stat st;
    void *data;
    int fd;

    *m = (struct file_map){0};
    if (file_may_open(path) != 0)
        return -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error("cannot open '%s': %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return error("'%s' is not a regular file", path);
    }
    if (st.st_size == 0) {
        close(fd);
        return error("'%s' is empty", path);
    }
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (data == MAP_FAILED)
        return error("cannot map '%s': %s", path, strerror(errno));
    m->data = data;
    m->nbytes = (size_t)st.st_size;
    list_map(m, path);
    return 0;
}

void file_map_close(struct file_map *m)
{
    if (m->data) {
        unlist_map(m);
        munmap((void *)m->data, m->nbytes);
    }
    *m = (struct file_map){0};
}

int file_map_at(const void *address, char *path, size_t size)
{
    const unsigned char *p = address;
    int found = 0;

    pthread_mutex_lock(&maps_lock);
    for (const struct map *m = maps; m && !found; m = m->next)
        if (p >= m->data && p < m->data + m->nbytes) {
            snprintf(path, size, "%s", m->path);
            found = 1;
        }
    pthread_mutex_unlock(&maps_lock);
    return found;
}

static void remove_tmp(void *tmp)
{
    unlink(tmp);
}

int atomic_file_open(struct atomic_file *a, const char *path)
{
    char *target = realpath(path, NULL); /* a link stays, and leads to what is written */
    struct buf tmp = {0};
    struct stat st;
    int fd;

    *a = (struct atomic_file){0};
    if (target && stat(target, &st) == 0 && !S_ISREG(st.st_mode)) {
        free(target);
        return error("cannot write '%s': it is there and no regular file", path);
    }
    if (target && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        path = target;
    buf_addf(&tmp, "%s.XXXXXX.tmp", path);
    *a = (struct atomic_file){.path = xstrdup(path), .tmp = buf_detach(&tmp)};
    free(target);
    stop_add(STOP_EXIT, remove_tmp, a->tmp); /* there is no such file before mkstemps() */
    fd = mkstemps(a->tmp, 4);
    if (fd < 0) {
        error("cannot write '%s': %s", a->path, strerror(errno));
        a->tmp[0] = 0;
        atomic_file_abort(a);
        return -1;
    }
    fchmod(fd, 0644);
    a->f = fdopen(fd, "wb");
    if (!a->f)
        die("cannot open a stream for '%s': %s", a->path, strerror(errno));
    return 0;
}

int atomic_file_commit(struct atomic_file *a)
{
    int bad = ferror(a->f) || fflush(a->f) != 0 || fsync(fileno(a->f)) != 0;
    int err = errno;

    if (fclose(a->f) != 0 && !bad) {
        bad = 1;
        err = errno;
    }
    a->f = NULL;
    if (!bad && rename(a->tmp, a->path) != 0) {
        bad = 1;
        err = errno;
    }
    if (bad)
        error("cannot write '%s': %s", a->path, strerror(err ? err : EIO));
    else
        a->tmp[0] = 0;
    atomic_file_abort(a);
    return bad ? -1 : 0;
}

void atomic_file_abort(struct atomic_file *a)
{
    if (a->f)
        fclose(a->f);
    if (a->tmp && a->tmp[0])
        unlink(a->tmp);
    if (a->tmp)
        stop_remove(a->tmp);
    free(a->tmp);
    free(a->path);
    *a = (struct atomic_file){0};
}

int file_write_atomic(const char *path, const void *data, size_t nbytes)
{
    struct atomic_file a;

    if (atomic_file_open(&a, path) != 0)
        return -1;
    assert(a.f);
    fwrite(data, 1, nbytes, a.f);
    return atomic_file_commit(&a);
}
