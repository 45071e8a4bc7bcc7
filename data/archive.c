/* Files of a data set, plain, in a zip (libzip) or packed by gzip (zlib). */
#include "data/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>
#include <zlib.h>

#include "harness/base/error.h"
#include "harness/base/file.h"

#define CHUNK ((size_t)1 << 16)
#define MAX_UNPACKED ((size_t)1 << 30)
#define FREE_UNPACKED ((size_t)1 << 20) /* so small that no ratio matters */
#define MAX_RATIO 200                   /* text packs to a half or a tenth; deflate can do 1032 */
#define MAX_LINE ((size_t)1 << 26)
#define MAX_LINES ((size_t)4 << 30) /* of all lines together: C4's shard has 0.8 GB */

/* Refuses what unpacks to too much. where: how the message begins. */
static int check_ratio(const char *where, size_t unpacked, size_t packed)
{
    if (unpacked > FREE_UNPACKED && unpacked / MAX_RATIO > packed)
        return error("%s: unpacks to more than %d times its packed size", where, MAX_RATIO);
    return 0;
}

static int check_size(const char *where, size_t unpacked)
{
    if (unpacked > MAX_UNPACKED)
        return error("%s: unpacks to more than %zu MiB", where, MAX_UNPACKED >> 20);
    return 0;
}

/* Appends the open member to out, to its end: only there libzip compares the checksum. */
static int member_read(zip_file_t *f, const char *where, size_t packed, struct buf *out)
{
    size_t unpacked = 0;
    zip_int64_t n;

    while ((n = zip_fread(f, buf_reserve(out, CHUNK), CHUNK)) > 0) {
        out->n += (size_t)n;
        out->data[out->n] = 0;
        unpacked += (size_t)n;
        if (check_size(where, unpacked) != 0 || check_ratio(where, unpacked, packed) != 0)
            return -1;
    }
    if (n < 0)
        return error("%s: %s", where, zip_file_strerror(f));
    return 0;
}

/* NULL after error(). */
static zip_t *open_zip(const char *path)
{
    zip_error_t e;
    int code = 0;
    zip_t *z = zip_open(path, ZIP_RDONLY, &code);

    if (!z) {
        zip_error_init_with_code(&e, code);
        error("archive '%s': %s", path, zip_error_strerror(&e));
        zip_error_fini(&e);
    }
    return z;
}

/* 1 if read, 0 if there is no such member, -1 after error(). */
static int zip_read(const char *path, const char *member, struct buf *out)
{
    struct buf where = {0};
    zip_t *z = open_zip(path);
    zip_file_t *f = NULL;
    zip_int64_t index;
    zip_stat_t st;
    struct stat whole;
    int rc = 0;

    if (!z)
        return -1;
    index = zip_name_locate(z, member, 0);
    if (index < 0)
        goto out;
    buf_addf(&where, "archive '%s', member '%s'", path, member);
    if (stat(path, &whole) != 0 || zip_stat_index(z, (zip_uint64_t)index, 0, &st) != 0 ||
        !(f = zip_fopen_index(z, (zip_uint64_t)index, 0)))
        rc = error("%s: %s", where.data, zip_strerror(z));
    else if (st.comp_size > (zip_uint64_t)whole.st_size)
        rc = error("%s: claims to be larger than the archive", where.data);
    else if (check_size(where.data, st.size) != 0)
        rc = -1;
    else
        rc = member_read(f, where.data, st.comp_size, out) == 0 ? 1 : -1;
out:
    if (f)
        zip_fclose(f);
    zip_discard(z);
    buf_release(&where);
    return rc;
}

static int has_gz_suffix(const char *path)
{
    size_t n = strlen(path);

    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

/* A stream over a gzip file; over a plain file too unless the name ends in ".gz". */
static gzFile gz_open(const char *path)
{
    gzFile gz = gzopen(path, "rb");

    if (!gz) {
        error("cannot open '%s': %s", path, strerror(errno));
        return NULL;
    }
    if (gzdirect(gz) && has_gz_suffix(path)) {
        error("'%s': not a gzip file", path);
        gzclose(gz);
        return NULL;
    }
    return gz;
}

/* Appends up to CHUNK bytes. 1, 0 at the end, -1 after error(). */
static int gz_more(gzFile gz, const char *path, struct buf *out)
{
    int n = gzread(gz, buf_reserve(out, CHUNK), CHUNK), code;
    const char *why = gzerror(gz, &code);

    /* A file cut short gives its last bytes, and only the code tells. why begins with the path. */
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END))
        return error("%s", why);
    out->n += (size_t)n;
    out->data[out->n] = 0;
    if (n > 0 && !gzdirect(gz) && check_ratio(path, (size_t)gztell(gz), (size_t)gzoffset(gz)))
        return -1;
    return n > 0;
}

static int gz_read(const char *path, struct buf *out)
{
    gzFile gz = gz_open(path);
    size_t before = out->n;
    int rc;

    if (!gz)
        return -1;
    do {
        rc = gz_more(gz, path, out);
        if (rc > 0 && check_size(path, out->n - before) != 0)
            rc = -1;
    } while (rc > 0);
    gzclose(gz);
    return rc;
}

/* DATA/SET/NAME and an optional suffix; the caller frees it. */
static char *data_path(const char *data_dir, const char *set, const char *name, const char *suffix)
{
    char *dir = path_join(data_dir, set);
    struct buf b = {0};
    char *path = path_join(dir, name);

    buf_addf(&b, "%s%s", path, suffix);
    free(path);
    free(dir);
    return buf_detach(&b);
}

int data_read(const char *data_dir, const char *set, const char *archive, const char *file,
              struct buf *out)
{
    char *plain = data_path(data_dir, set, file, "");
    char *packed = data_path(data_dir, set, file, ".gz");
    char *zip = archive ? data_path(data_dir, set, archive, "") : NULL;
    size_t before = out->n;
    int rc = 0;

    if (file_exists(plain))
        rc = file_read(plain, out) == 0 ? 1 : -1;
    else if (zip && file_exists(zip))
        rc = zip_read(zip, file, out);
    if (rc == 0 && file_exists(packed))
        rc = gz_read(packed, out) == 0 ? 1 : -1;
    if (rc == 0 && zip && file_exists(zip))
        rc = error("archive '%s' has no member '%s', and there is no '%s' nor '%s'; run: duo fetch "
                   "%s",
                   zip, file, plain, packed, set);
    else if (rc == 0)
        rc = error("data set '%s' is not there: no '%s'%s%s%s nor '%s'; run: duo fetch %s", set,
                   plain, zip ? ", no '" : "", zip ? zip : "", zip ? "'" : "", packed, set);
    if (rc < 0 && out->data) { /* a failed read may have written past n as well */
        out->n = before;
        out->data[before] = 0;
    }
    free(plain);
    free(packed);
    free(zip);
    return rc > 0 ? 0 : -1;
}

int data_lines_open(struct data_lines *l, const char *data_dir, const char *set, const char *file)
{
    char *packed;

    *l = (struct data_lines){.path = data_path(data_dir, set, file, "")};
    if (!file_exists(l->path)) {
        packed = data_path(data_dir, set, file, ".gz");
        if (!file_exists(packed)) {
            error("data set '%s' is not there: no '%s' nor '%s'; run: duo fetch %s", set, l->path,
                  packed, set);
            free(packed);
            return -1;
        }
        free(l->path);
        l->path = packed;
    }
    l->gz = gz_open(l->path);
    return l->gz ? 0 : -1;
}

int data_lines_next(struct data_lines *l, const char **line, size_t *nbytes)
{
    size_t seen = 0; /* bytes after used that hold no newline */
    char *end;
    int more = 1;

    for (;;) {
        size_t n = l->text.n - l->used;

        end = n > seen ? memchr(l->text.data + l->used + seen, '\n', n - seen) : NULL;
        if (end || !more)
            break;
        seen = n;
        if (seen > MAX_LINE)
            return error("'%s' line %zu: longer than %zu MiB", l->path, l->n + 1, MAX_LINE >> 20);
        if (l->used) { /* the rest of the line moves to the front, once a chunk */
            memmove(l->text.data, l->text.data + l->used, n + 1);
            l->text.n = n;
            l->used = 0;
        }
        more = gz_more(l->gz, l->path, &l->text);
        if (more < 0)
            return -1;
    }
    if (!end && l->text.n == l->used)
        return 0;
    *line = l->text.data + l->used;
    *nbytes = (end ? (size_t)(end - l->text.data) : l->text.n) - l->used;
    if (end)
        *end = 0;
    l->used += *nbytes + (end ? 1 : 0);
    l->n++;
    l->total += *nbytes + 1;
    if (l->total > MAX_LINES)
        return error("'%s' line %zu: the file unpacks to more than %zu MiB", l->path, l->n,
                     MAX_LINES >> 20);
    return 1;
}

void data_lines_close(struct data_lines *l)
{
    if (l->gz)
        gzclose(l->gz);
    free(l->path);
    buf_release(&l->text);
    *l = (struct data_lines){0};
}
