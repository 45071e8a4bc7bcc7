/* Whole-file reading and atomic writing. */
#ifndef DUO_BASE_FILE_H
#define DUO_BASE_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "harness/base/buf.h"

/* 1 if path is a regular file (file_exists) or a folder (dir_exists), else 0. No message. */
int file_exists(const char *path);
int dir_exists(const char *path);

/* DIR/NAME in a buffer that the caller frees. */
char *path_join(const char *dir, const char *name);

/* The folder that holds the path: "." where it names none. free() it. */
char *path_folder(const char *path);

/* Do both name the same file, whether it is there or not? Links are followed; devices (/dev/null)
 * and pipes are never the same: nothing is lost in them. */
int file_same(const char *a, const char *b);

/* mkdir -p. Returns 0 or error(). */
int dir_make(const char *path);

/* Before a file is opened to be read: error() for a pipe with a name, where that would wait for a
 * writer, maybe forever. A shell's <(command) has none, and is 0 like all else. */
int file_may_open(const char *path);

/* Appends the whole file to out. Returns 0 or error(), also for one of more than FILE_READ_MAX
 * bytes: what is read whole is small, and an endless one (a link to /dev/zero) must not eat the
 * memory. */
#define FILE_READ_MAX (1 << 30)
int file_read(const char *path, struct buf *out);

/* A file mapped privately: writes to it (there are none) would never reach the disk. */
struct file_map {
    const unsigned char *data; /* nbytes readable bytes, page aligned */
    size_t nbytes;
};
int file_map_open(struct file_map *m, const char *path);
void file_map_close(struct file_map *m);

/* The path of the file that is mapped there: 1, or 0 if none is. */
int file_map_at(const void *address, char *path, size_t size);

/* Atomic writing: data goes to a temporary file beside PATH, which commit syncs and renames.
 * Nothing is ever seen half-written under PATH; abort (or a crash before commit) leaves the old
 * file; all ways out but kill -9 remove the temporary one (stop.h). Every write error, a full disk
 * included, is found at the latest by commit. */
struct atomic_file {
    FILE *f; /* write here */
    char *path;
    char *tmp;
};
int atomic_file_open(struct atomic_file *a, const char *path);
int atomic_file_commit(struct atomic_file *a);
void atomic_file_abort(struct atomic_file *a);

/* The three in one. */
int file_write_atomic(const char *path, const void *data, size_t nbytes);

#endif
