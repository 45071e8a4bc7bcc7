/* Reading the bitmask form as hostile input. */
#include "harness/model/checkpoint_bitmask.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

enum { VALUES, BITS, SHAPE, OFFSETS, N_PARTS };

static const char *const suffixes[N_PARTS] = {"compressed", "bitmask", "shape", "row_offsets"};

struct parts {
    const struct st_tensor *t[N_PARTS];
    const char *path; /* of the values */
};

/* NAME of "NAME.weight", with its point. */
static size_t stem_length(const char *name)
{
    size_t n = strlen(name), w = strlen("weight");

    return n > w && strcmp(name + n - w, "weight") == 0 ? n - w : 0;
}

static void find_parts(const struct checkpoint *c, const char *name, struct parts *p)
{
    size_t n = stem_length(name);
    const char *path = NULL;
    char full[128];

    *p = (struct parts){.path = c->dir};
    for (int i = 0; i < N_PARTS && n > 0 && n < 100; i++) {
        snprintf(full, sizeof(full), "%.*s%s", (int)n, name, suffixes[i]);
        p->t[i] = checkpoint_find(c, full, &path);
        if (i == VALUES && p->t[i])
            p->path = path;
    }
}

int checkpoint_has_bitmask(const struct checkpoint *c, const char *name)
{
    const char *path;
    struct parts p;

    find_parts(c, name, &p);
    return p.t[VALUES] && !checkpoint_find(c, name, &path);
}

int checkpoint_bitmask_dtype(const struct checkpoint *c, const char *name)
{
    struct parts p;

    find_parts(c, name, &p);
    return p.t[VALUES] ? p.t[VALUES]->dtype : -1;
}

int bitmask_weight_name(const char *name, char weight[128])
{
    const char *point = strrchr(name, '.');

    for (int i = 0; i < N_PARTS && point; i++)
        if (strcmp(point + 1, suffixes[i]) == 0 && point - name < 100) {
            snprintf(weight, 128, "%.*s.weight", (int)(point - name), name);
            return 1;
        }
    return 0;
}

static int is(const struct st_tensor *t, const char *dtype, size_t n_dims, size_t d0, size_t d1)
{
    return strcmp(t->dtype_name, dtype) == 0 && t->n_dims == n_dims && t->dims[0] == d0 &&
           (n_dims == 1 || t->dims[1] == d1);
}

static int check_parts(const struct parts *p, const char *name, size_t rows, size_t cols)
{
    int64_t shape[2];

    for (int i = 0; i < N_PARTS; i++)
        if (!p->t[i])
            return error("%s: tensor '%s' is compressed, but its '%s' is missing", p->path, name,
                         suffixes[i]);
    if (p->t[VALUES]->dtype < 0 || p->t[VALUES]->n_dims != 1)
        return error("%s: the values of tensor '%s' are %s; duo reads F32, F16 and BF16 in a row",
                     p->path, name, p->t[VALUES]->dtype_name);
    if (!is(p->t[SHAPE], "I64", 1, 2, 0) || !is(p->t[OFFSETS], "I64", 1, rows, 0) ||
        !is(p->t[BITS], "U8", 2, rows, (cols + 7) / 8))
        return error("%s: the parts of tensor '%s' do not fit %zu x %zu, as config.json says",
                     p->path, name, rows, cols);
    memcpy(shape, p->t[SHAPE]->data, sizeof(shape)); /* it may lie anywhere in the file */
    if (shape[0] != (int64_t)rows || shape[1] != (int64_t)cols)
        return error("%s: tensor '%s' is %lld x %lld, config.json says %zu x %zu", p->path, name,
                     (long long)shape[0], (long long)shape[1], rows, cols);
    return 0;
}

int checkpoint_check_bitmask(const struct checkpoint *c, const char *name, size_t rows, size_t cols)
{
    struct parts p;

    find_parts(c, name, &p);
    return check_parts(&p, name, rows, cols);
}

/* Values of a row; -1 if a bit beyond the last column is set. */
static int64_t count_bits(const uint8_t *bits, size_t cols)
{
    int64_t n = 0;

    for (size_t i = 0; i < (cols + 7) / 8; i++)
        n += __builtin_popcount(bits[i]);
    return cols % 8 && bits[cols / 8] >> cols % 8 ? -1 : n;
}

/* Every row has as many bits as the offsets say, and all together as many as there are values. */
static int check_bits(const struct parts *p, const char *name, size_t rows, size_t cols)
{
    const uint8_t *bits = p->t[BITS]->data;
    int64_t want = 0, offset, n;

    for (size_t i = 0; i < rows; i++) {
        memcpy(&offset, (const char *)p->t[OFFSETS]->data + i * sizeof(offset), sizeof(offset));
        n = count_bits(bits + i * ((cols + 7) / 8), cols);
        if (n < 0 || offset != want)
            return error("%s: row %zu of tensor '%s': its bits and offsets do not agree", p->path,
                         i, name);
        want += n;
    }
    if ((size_t)want != p->t[VALUES]->dims[0])
        return error("%s: tensor '%s' has %zu values, its bits say %lld", p->path, name,
                     p->t[VALUES]->dims[0], (long long)want);
    return 0;
}

static void expand_row(char *out, const char *values, const uint8_t *bits, size_t cols, size_t size)
{
    for (size_t j = 0; j < cols; j++)
        if (bits[j / 8] >> j % 8 & 1) {
            memcpy(out + j * size, values, size);
            values += size;
        }
}

int checkpoint_read_bitmask(const struct checkpoint *c, const char *name, size_t rows, size_t cols,
                            struct tensor *out)
{
    size_t width = (cols + 7) / 8, size;
    const char *values, *offsets;
    const uint8_t *bits;
    struct parts p;

    find_parts(c, name, &p);
    if (check_parts(&p, name, rows, cols) != 0 || check_bits(&p, name, rows, cols) != 0)
        return -1;
    values = p.t[VALUES]->data;
    offsets = p.t[OFFSETS]->data;
    bits = p.t[BITS]->data;
    *out = (struct tensor){NULL, (enum dtype)p.t[VALUES]->dtype, rows, cols};
    size = dtype_size(out->dtype);
    free(*c->expanded);
    *c->expanded = out->data = xcalloc(rows * cols, size);
#pragma omp parallel for
    for (size_t i = 0; i < rows; i++) {
        int64_t at;

        memcpy(&at, offsets + i * sizeof(at), sizeof(at));
        expand_row((char *)out->data + i * cols * size, values + (size_t)at * size,
                   bits + i * width, cols, size);
    }
    return 0;
}
