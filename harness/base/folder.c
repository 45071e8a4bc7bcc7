/* Folders renamed into place. */
#include "harness/base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/stop.h"

#define MARK ".partial-"

/* Without the slashes at its end, so that names can be put beside it. */
static char *trimmed(const char *path)
{
    char *p = xstrdup(path);
    size_t n = strlen(p);

    while (n > 1 && p[n - 1] == '/')
        p[--n] = 0;
    return p;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* ---- what stands in the way */

static int is_empty(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return d && n == 0;
}

static int check_place(const char *path, const char *parent)
{
    const char *name = last_part(path);
    struct stat at, up;

    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error("'%s' is not the name of a new folder", path);
    if (stat(parent, &up) != 0 || !S_ISDIR(up.st_mode))
        return error("cannot make '%s': no folder '%s'", path, parent);
    if (lstat(path, &at) != 0)
        return errno == ENOENT ? 0 : error("cannot make '%s': %s", path, strerror(errno));
    if (!S_ISDIR(at.st_mode))
        return error("'%s' is there and is not a folder", path);
    if (!is_empty(path))
        return error("'%s' is there and is not empty", path);
    if (at.st_dev != up.st_dev)
        return error("'%s' is where a file system is mounted: name a folder inside it", path);
    return 0;
}

/* 1 if the process that filled this folder is gone. */
static int is_abandoned(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int gone = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;

    if (fd >= 0)
        close(fd);
    return gone;
}

static void warn_of_leftovers(const char *path, const char *parent)
{
    struct buf mark = {0};
    DIR *d = opendir(parent);
    const struct dirent *e;

    buf_addf(&mark, "%s" MARK, last_part(path));
    while (d && (e = readdir(d))) {
        char *full;

        if (strncmp(e->d_name, buf_str(&mark), mark.n) != 0)
            continue;
        full = path_join(parent, e->d_name);
        if (is_abandoned(full))
            warning("'%s' is left of a run that was interrupted; it can be removed", full);
        free(full);
    }
    if (d)
        closedir(d);
    buf_release(&mark);
}

/* ---- the folder */

struct dirent64_form { /* what getdents64(2) gives */
    uint64_t inode;
    int64_t offset;
    unsigned short nbytes;
    unsigned char type;
    char name[];
};

/* Also the way out when memory is at an end, so without opendir(). */
void folder_remove(void *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char block[4096] __attribute__((aligned(8)));
    long n;

    while (fd >= 0 && (n = syscall(SYS_getdents64, fd, block, sizeof(block))) > 0)
        for (long at = 0; at < n;) {
            const struct dirent64_form *e = (const struct dirent64_form *)(block + at);

            unlinkat(fd, e->name, 0); /* "." and ".." refuse */
            at += e->nbytes;
        }
    if (fd >= 0)
        close(fd);
    rmdir(path);
}

static int make_tmp(struct atomic_folder *a)
{
    struct buf tmp = {0};
    mode_t mask = umask(0);

    umask(mask);
    buf_addf(&tmp, "%s" MARK "XXXXXX", a->path);
    a->tmp = buf_detach(&tmp);
    stop_add(STOP_EXIT, folder_remove, a->tmp); /* there is none of that name before mkdtemp() */
    if (!mkdtemp(a->tmp)) {
        a->tmp[0] = 0;
        return error("cannot make '%s': %s", a->path, strerror(errno));
    }
    chmod(a->tmp, 0777 & ~mask);
    a->lock = open(a->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->lock >= 0)
        flock(a->lock, LOCK_EX | LOCK_NB); /* without: it would be taken for a leftover at worst */
    return 0;
}

int atomic_folder_open(struct atomic_folder *a, const char *path)
{
    char *parent;
    int rc;

    *a = (struct atomic_folder){.path = trimmed(path), .lock = -1};
    parent = path_folder(a->path);
    rc = check_place(a->path, parent);
    if (rc == 0) {
        warn_of_leftovers(a->path, parent);
        rc = make_tmp(a);
    }
    free(parent);
    if (rc != 0)
        atomic_folder_abort(a);
    return rc;
}

int atomic_folder_check(const char *path)
{
    struct atomic_folder a;

    if (atomic_folder_open(&a, path) != 0)
        return -1;
    atomic_folder_abort(&a);
    return 0;
}

int atomic_folder_room(const char *path, size_t nbytes)
{
    char *full = trimmed(path), *parent = path_folder(full);
    struct statvfs fs;
    double room = INFINITY;

    if (statvfs(parent, &fs) == 0 && fs.f_blocks) /* some network file systems do not know */
        room = (double)fs.f_bavail * (double)fs.f_frsize;
    free(full);
    free(parent);
    if ((double)nbytes <= room)
        return 0;
    return error("cannot make '%s': it takes %.1f MB, its disk has %.1f MB left", path,
                 (double)nbytes / 1e6, room / 1e6);
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int atomic_folder_commit(struct atomic_folder *a)
{
    char *parent = path_folder(a->path);
    int rc = 0;

    sync_folder(a->tmp);
    if (rename(a->tmp, a->path) != 0) {
        rc = error("cannot make '%s': %s", a->path, strerror(errno));
    } else {
        a->tmp[0] = 0;
        sync_folder(parent);
    }
    free(parent);
    atomic_folder_abort(a);
    return rc;
}

void atomic_folder_abort(struct atomic_folder *a)
{
    if (a->tmp && a->tmp[0])
        folder_remove(a->tmp);
    if (a->tmp)
        stop_remove(a->tmp);
    if (a->path && a->lock >= 0)
        close(a->lock);
    free(a->tmp);
    free(a->path);
    *a = (struct atomic_folder){0};
}
