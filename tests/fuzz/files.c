/* Files in memory for the fuzz targets. The linker (--wrap, in the Makefile) sends the program's
 * calls of the functions below here; what no target has put up goes on to the real ones. */
#include <fcntl.h>
#include <sys/stat.h>
#include <zip.h>
#include <zlib.h>

#include "harness/base/file.h"
#include "tests/fuzz/disk.h"
#include "tests/fuzz/fuzz.h"

size_t fuzz_n_accepted;

static struct entry {
    const char *name;
    const void *data;
    size_t n;
    int fd; /* of a gzip file: zlib wants one; -1 */
} entries[8];
static size_t n_entries;

void fuzz_file(const char *name, const void *data, size_t n)
{
    struct entry *e = entries;

    while (e < entries + n_entries && strcmp(e->name, name) != 0)
        e++;
    if (e == entries + n_entries) {
        FUZZ_ASSERT(n_entries < sizeof(entries) / sizeof(entries[0]));
        n_entries++;
        e->fd = -1;
    }
    e->name = name;
    e->data = data;
    e->n = n;
}

void fuzz_files_forget(void)
{
    for (size_t i = 0; i < n_entries; i++)
        entries[i].data = NULL;
}

static struct entry *find(const char *path)
{
    size_t n = strlen(FUZZ_FOLDER);

    if (strncmp(path, FUZZ_FOLDER "/", n + 1) != 0)
        return NULL;
    path += n + 1;
    if (strncmp(path, "./", 2) == 0)
        path += 2;
    for (size_t i = 0; i < n_entries; i++)
        if (entries[i].data && strcmp(entries[i].name, path) == 0)
            return &entries[i];
    return NULL;
}

int __real_file_exists(const char *path);
int __wrap_file_exists(const char *path);
int __wrap_file_exists(const char *path)
{
    if (disk_is_on(path))
        return disk_find(path) != NULL;
    return find(path) || __real_file_exists(path);
}

int __real_dir_exists(const char *path);
int __wrap_dir_exists(const char *path);
int __wrap_dir_exists(const char *path)
{
    return strcmp(path, FUZZ_FOLDER) == 0 || strcmp(path, FUZZ_DISK) == 0 ||
           __real_dir_exists(path);
}

int __real_file_read(const char *path, struct buf *out);
int __wrap_file_read(const char *path, struct buf *out);
int __wrap_file_read(const char *path, struct buf *out)
{
    const struct entry *e = find(path);
    const struct disk_file *f = disk_is_on(path) ? disk_find(path) : NULL;

    if (f) {
        buf_add(out, f->data, f->n);
        return 0;
    }
    if (!e)
        return __real_file_read(path, out);
    buf_add(out, e->data, e->n);
    return 0;
}

/* A copy, so that sanitizers see a byte too far. */
int __real_file_map_open(struct file_map *m, const char *path);
int __wrap_file_map_open(struct file_map *m, const char *path);
int __wrap_file_map_open(struct file_map *m, const char *path)
{
    const struct entry *e = find(path);
    unsigned char *copy;

    if (!e)
        return __real_file_map_open(m, path);
    *m = (struct file_map){0};
    if (e->n == 0)
        return -1;
    copy = aligned_alloc(64, (e->n + 63) / 64 * 64);
    m->data = memcpy(copy, e->data, e->n);
    m->nbytes = e->n;
    return 0;
}

/* Real maps begin at a page. */
void __real_file_map_close(struct file_map *m);
void __wrap_file_map_close(struct file_map *m);
void __wrap_file_map_close(struct file_map *m)
{
    if (n_entries == 0) {
        __real_file_map_close(m);
        return;
    }
    free((void *)m->data);
    *m = (struct file_map){0};
}

int __real_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st)
{
    const struct entry *e = find(path);

    if (disk_is_on(path))
        return disk_stat(path, st);
    if (!e)
        return __real_stat(path, st);
    *st = (struct stat){.st_mode = S_IFREG | 0644, .st_size = (off_t)e->n};
    return 0;
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    const struct entry *e = find(path);

    return e ? fmemopen((void *)e->data, e->n, "rb") : __real_fopen(path, mode);
}

zip_t *__real_zip_open(const char *path, int flags, int *code);
zip_t *__wrap_zip_open(const char *path, int flags, int *code);
zip_t *__wrap_zip_open(const char *path, int flags, int *code)
{
    const struct entry *e = find(path);
    zip_source_t *source;
    zip_error_t why;
    zip_t *z;

    if (!e)
        return __real_zip_open(path, flags, code);
    zip_error_init(&why);
    source = zip_source_buffer_create(e->data, e->n, 0, &why);
    z = source ? zip_open_from_source(source, flags, &why) : NULL;
    if (!z && source)
        zip_source_free(source);
    *code = zip_error_code_zip(&why);
    zip_error_fini(&why);
    return z;
}

gzFile __real_gzopen(const char *path, const char *mode);
gzFile __wrap_gzopen(const char *path, const char *mode);
gzFile __wrap_gzopen(const char *path, const char *mode)
{
    struct entry *e = find(path);
    int fd;

    if (!e)
        return __real_gzopen(path, mode);
    if (e->fd < 0)
        e->fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (pwrite(e->fd, e->data, e->n, 0) != (ssize_t)e->n || ftruncate(e->fd, (off_t)e->n) != 0 ||
        lseek(e->fd, 0, SEEK_SET) != 0 || (fd = dup(e->fd)) < 0)
        abort();
    return gzdopen(fd, mode);
}
