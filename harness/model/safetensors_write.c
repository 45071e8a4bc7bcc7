/* safetensors: 8 bytes of header length, a JSON header, data. */
#include "harness/model/safetensors_write.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/base/progress.h"

/* Which items go to which file: file f holds order[first[f]] .. order[first[f + 1] - 1]. */
struct plan {
    const struct st_item *items;
    size_t n, n_files;
    size_t *order, *first;
};

size_t safetensors_dtype_size(const char *dtype)
{
    static const struct {
        const char *name;
        size_t nbytes;
    } known[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U8", 1}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, dtype) == 0)
            return known[i].nbytes;
    return 0;
}

/* ---- the plan */

/* Items [begin, end) to order[], those of larger elements first, else as they come. */
static void order_items(struct plan *p, size_t begin, size_t end)
{
    size_t at = begin;

    for (size_t size = 8; size > 0; size /= 2)
        for (size_t i = begin; i < end; i++)
            if (safetensors_dtype_size(p->items[i].dtype) == size)
                p->order[at++] = i;
}

static void plan_init(struct plan *p, const struct st_item *items, size_t n, size_t shard_nbytes)
{
    size_t in_file = 0;

    *p = (struct plan){.items = items, .n = n};
    p->order = xcalloc(n, sizeof(*p->order));
    p->first = xcalloc(n + 2, sizeof(*p->first));
    for (size_t i = 0; i < n; i++) {
        if (in_file && in_file + items[i].nbytes > shard_nbytes) {
            p->first[++p->n_files] = i;
            in_file = 0;
        }
        in_file += items[i].nbytes;
    }
    p->first[++p->n_files] = n;
    for (size_t f = 0; f < p->n_files; f++)
        order_items(p, p->first[f], p->first[f + 1]);
}

static void plan_release(struct plan *p)
{
    free(p->order);
    free(p->first);
}

static void file_name(const struct plan *p, size_t f, char out[64])
{
    if (p->n_files == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05zu-of-%05zu.safetensors", f + 1, p->n_files);
}

/* ---- one file */

/* Length and header of file f; padded so that the data begins at a multiple of 8. */
static void add_header(const struct plan *p, size_t f, struct buf *out)
{
    struct buf json = {0};
    size_t at = 0;

    buf_adds(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t k = p->first[f]; k < p->first[f + 1]; k++) {
        const struct st_item *t = &p->items[p->order[k]];

        buf_addc(&json, ',');
        json_add_quoted(&json, t->name);
        buf_addf(&json, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
        for (size_t d = 0; d < t->n_dims; d++)
            buf_addf(&json, "%s%zu", d ? "," : "", t->dims[d]);
        buf_addf(&json, "],\"data_offsets\":[%zu,%zu]}", at, at + t->nbytes);
        at += t->nbytes;
    }
    buf_addc(&json, '}');
    while (json.n % 8)
        buf_addc(&json, ' ');
    for (int i = 0; i < 8; i++)
        buf_addc(out, (char)((uint64_t)json.n >> 8 * i));
    buf_add(out, buf_str(&json), json.n);
    buf_release(&json);
}

static int put(struct atomic_file *a, const void *data, size_t nbytes)
{
    if (fwrite(data, 1, nbytes, a->f) == nbytes)
        return 0;
    return error("cannot write '%s': %s", a->path, strerror(errno ? errno : EIO));
}

static int write_file(const struct plan *p, size_t f, const char *path, struct st_source source,
                      struct progress *progress)
{
    struct buf header = {0};
    struct atomic_file a;
    int rc;

    if (atomic_file_open(&a, path) != 0)
        return -1;
    add_header(p, f, &header);
    rc = put(&a, header.data, header.n);
    buf_release(&header);
    for (size_t k = p->first[f]; k < p->first[f + 1] && rc == 0; k++) {
        const struct st_item *t = &p->items[p->order[k]];
        const void *data = source.get(source.arg, p->order[k]);

        rc = data ? put(&a, data, t->nbytes) : -1;
        progress_add(progress, (double)t->nbytes / 1e6);
    }
    if (rc == 0)
        return atomic_file_commit(&a);
    atomic_file_abort(&a);
    return -1;
}

static size_t total_nbytes(const struct plan *p)
{
    size_t total = 0;

    for (size_t i = 0; i < p->n; i++)
        total += p->items[i].nbytes;
    return total;
}

static int write_index(const struct plan *p, const char *dir)
{
    char *path = path_join(dir, "model.safetensors.index.json"), name[64];
    struct buf json = {0};
    const char *sep = "\n";
    int rc;

    buf_addf(&json, "{\n  \"metadata\": {\n    \"total_size\": %zu\n  },\n  \"weight_map\": {",
             total_nbytes(p));
    for (size_t f = 0; f < p->n_files; f++)
        for (size_t i = p->first[f]; i < p->first[f + 1]; i++) {
            file_name(p, f, name);
            buf_addf(&json, "%s    ", sep);
            json_add_quoted(&json, p->items[i].name);
            buf_addf(&json, ": \"%s\"", name);
            sep = ",\n";
        }
    buf_adds(&json, "\n  }\n}\n");
    rc = file_write_atomic(path, json.data, json.n);
    buf_release(&json);
    free(path);
    return rc;
}

int safetensors_write(const char *dir, const struct st_item *items, size_t n, size_t shard_nbytes,
                      struct st_source source)
{
    struct progress progress;
    struct plan p;
    char name[64];
    int rc = 0;

    plan_init(&p, items, n, shard_nbytes);
    progress_begin(&progress, "save", "MB", (double)total_nbytes(&p) / 1e6);
    for (size_t f = 0; f < p.n_files && rc == 0; f++) {
        char *path;

        file_name(&p, f, name);
        path = path_join(dir, name);
        rc = write_file(&p, f, path, source, &progress);
        free(path);
    }
    if (rc == 0 && p.n_files > 1)
        rc = write_index(&p, dir);
    if (rc == 0)
        progress_end(&progress);
    plan_release(&p);
    return rc;
}
