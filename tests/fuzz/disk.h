/* A disk in memory: files under FUZZ_DISK that can be written, read, renamed and removed. The
 * linker (--wrap) sends the program's calls on paths and descriptors here; SQLite comes through a
 * VFS. Locks are always free: one process, one thread. */
#ifndef DUO_TESTS_FUZZ_DISK_H
#define DUO_TESTS_FUZZ_DISK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define FUZZ_DISK "/in-memory-disk"
#define DISK_FILE_MAX ((size_t)4 << 20) /* more is a full disk */

struct disk_file {
    char name[96];
    uint8_t *data;
    size_t n, room;
    int is_named, n_open;
};

/* The file of that path, which begins with FUZZ_DISK "/"; NULL where there is none. */
struct disk_file *disk_find(const char *path);
struct disk_file *disk_make(const char *path);
int disk_is_on(const char *path);
int disk_remove(const char *path);              /* -1: there was none */
int disk_resize(struct disk_file *f, size_t n); /* with zeros; -1: full */
int disk_write(struct disk_file *f, const void *data, size_t n, size_t at);
size_t disk_read(const struct disk_file *f, void *out, size_t n, size_t at); /* bytes read */
void disk_put(const char *path, const void *data, size_t n);
int disk_stat(const char *path, struct stat *st);
void disk_keep_names(int on); /* rename() fails */
void disk_clear(void);        /* all files and descriptors go */

/* SQLite keeps its files on the disk from here on. */
void disk_serve_sqlite(void);

#endif
