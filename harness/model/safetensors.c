/* safetensors: 8 bytes of header length, a JSON header, data. */
#include "harness/model/safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/json.h"

#define MAX_HEADER 100000000 /* the format's own limit */

static const struct {
    const char *name;
    size_t nbytes;
    int dtype;
} dtypes[] = {
    {"F32", 4, DTYPE_F32}, {"F16", 2, DTYPE_F16}, {"BF16", 2, DTYPE_BF16}, {"F64", 8, -1},
    {"I64", 8, -1},        {"I32", 4, -1},        {"I16", 2, -1},          {"I8", 1, -1},
    {"U64", 8, -1},        {"U32", 4, -1},        {"U16", 2, -1},          {"U8", 1, -1},
    {"BOOL", 1, -1},       {"F8_E4M3", 1, -1},    {"F8_E5M2", 1, -1},
};

/* A JSON number as an exact size below 2^53. */
static int as_size(const cJSON *v, size_t *out)
{
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;

    if (!(d >= 0 && d < 9007199254740992.0) || d != (double)(size_t)d)
        return -1;
    *out = (size_t)d;
    return 0;
}

static int read_shape(struct st_tensor *t, const cJSON *shape, size_t *numel)
{
    const cJSON *v;

    *numel = 1;
    cJSON_ArrayForEach(v, shape)
    {
        if (t->n_dims == 8 || as_size(v, &t->dims[t->n_dims]) != 0 ||
            __builtin_mul_overflow(*numel, t->dims[t->n_dims], numel))
            return -1;
        t->n_dims++;
    }
    return 0;
}

static int read_tensor(struct st_tensor *t, const cJSON *j, const char *path,
                       const unsigned char *data, size_t data_nbytes)
{
    const cJSON *shape, *offsets;
    const char *dtype;
    size_t begin, end, numel, size = 0, want;
    char where[512];

    snprintf(where, sizeof(where), "%s: tensor '%s'", path, t->name);
    if (!cJSON_IsObject(j))
        return error("%s: not a JSON object", where);
    if (json_string(j, "dtype", where, &dtype) || json_array(j, "shape", where, &shape) ||
        json_array(j, "data_offsets", where, &offsets))
        return -1;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]) && !size; i++)
        if (strcmp(dtypes[i].name, dtype) == 0) {
            size = dtypes[i].nbytes;
            t->dtype = dtypes[i].dtype;
            t->dtype_name = dtypes[i].name;
        }
    if (!size)
        return error("%s: unknown dtype '%s'", where, dtype);
    if (read_shape(t, shape, &numel) != 0)
        return error("%s: bad shape", where);
    if (cJSON_GetArraySize(offsets) != 2 || as_size(cJSON_GetArrayItem(offsets, 0), &begin) ||
        as_size(cJSON_GetArrayItem(offsets, 1), &end) || begin > end)
        return error("%s: bad data_offsets", where);
    if (end > data_nbytes)
        return error("%s: data ends at byte %zu, the file's data at %zu (truncated file?)", where,
                     end, data_nbytes);
    if (__builtin_mul_overflow(numel, size, &want) || end - begin != want)
        return error("%s: %zu bytes of data do not fit its shape and dtype", where, end - begin);
    t->data = data + begin;
    t->nbytes = end - begin;
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;

    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return x->nbytes < y->nbytes ? -1 : x->nbytes > y->nbytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

/* Ranges must follow each other; then the list is sorted by name (each is there once: they are
 * keys). */
static int check_places(struct safetensors *st, const unsigned char *data, size_t data_nbytes)
{
    const unsigned char *at = data;

    qsort(st->tensors, st->n_tensors, sizeof(*st->tensors), by_place);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const unsigned char *begin = st->tensors[i].data;

        if (begin != at)
            return error("%s: tensor '%s' %s", st->path, st->tensors[i].name,
                         begin < at ? "overlaps another" : "follows a gap in the data");
        at = begin + st->tensors[i].nbytes;
    }
    if (at != data + data_nbytes)
        return error("%s: %zu bytes at its end belong to no tensor", st->path,
                     (size_t)(data + data_nbytes - at));
    qsort(st->tensors, st->n_tensors, sizeof(*st->tensors), by_name);
    return 0;
}

int safetensors_parse(struct safetensors *st, const char *header, size_t nbytes,
                      const unsigned char *data, size_t data_nbytes)
{
    cJSON *j = json_parse(header, nbytes, st->path);
    const cJSON *item;
    int rc = -1;

    if (!j)
        return -1;
    if (!cJSON_IsObject(j)) {
        error("%s: header is not a JSON object", st->path);
        goto out;
    }
    st->tensors = xcalloc((size_t)cJSON_GetArraySize(j), sizeof(*st->tensors));
    cJSON_ArrayForEach(item, j)
    {
        struct st_tensor *t = &st->tensors[st->n_tensors];

        if (strcmp(item->string, "__metadata__") == 0)
            continue;
        t->name = xstrdup(item->string);
        st->n_tensors++;
        if (read_tensor(t, item, st->path, data, data_nbytes) != 0)
            goto out;
    }
    rc = check_places(st, data, data_nbytes);
out:
    cJSON_Delete(j);
    return rc;
}

int safetensors_parse_file(struct safetensors *st, const unsigned char *bytes, size_t nbytes)
{
    uint64_t n = 0;

    if (nbytes < 8)
        return error("%s: too short for a safetensors file", st->path);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | bytes[i];
    if (n > MAX_HEADER || n > nbytes - 8)
        return error("%s: header length %llu does not fit the file's %zu bytes", st->path,
                     (unsigned long long)n, nbytes);
    return safetensors_parse(st, (const char *)bytes + 8, n, bytes + 8 + n, nbytes - 8 - n);
}

int safetensors_open(struct safetensors *st, const char *path)
{
    *st = (struct safetensors){0};
    if (file_map_open(&st->map, path) != 0)
        return -1;
    st->path = xstrdup(path);
    return safetensors_parse_file(st, st->map.data, st->map.nbytes);
}

void safetensors_close(struct safetensors *st)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        free(st->tensors[i].name);
    free(st->tensors);
    free(st->path);
    file_map_close(&st->map);
    *st = (struct safetensors){0};
}
