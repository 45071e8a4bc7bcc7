/* What the tests of backend operations share: host matrices with random content, their way to a
 * device and back in any element type, packed batches with pages, and comparison. */
#ifndef DUO_TESTS_KERNELS_H
#define DUO_TESTS_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/backend/backend.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "tests/test.h"

#define UNUSED __attribute__((unused))

/* ---- random matrices in host memory, row-major, free()d by the caller */

/* n normal values times scale. */
static UNUSED float *random_floats(struct pcg32 *g, size_t n, double scale)
{
    float *x = xmalloc(n * sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(pcg32_normal(g) * scale);
    return x;
}

/* n values from {-2, -1, -0.5, 0, 0.5, 1, 2}: ties everywhere. */
static UNUSED float *tied_floats(struct pcg32 *g, size_t n)
{
    static const float v[] = {-2, -1, -0.5f, 0, 0.5f, 1, 2};
    float *x = xmalloc(n * sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = v[pcg32_below(g, 7)];
    return x;
}

/* n values uniform in (-1, 1): quicker. */
static UNUSED float *uniform_floats(struct pcg32 *g, size_t n)
{
    float *x = xmalloc(n * sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)pcg32_next(g) * 0x1p-31f;
    return x;
}

/* Rows of the adversarial kinds, by turns: normal, tied, all of one magnitude, zero, times huge,
 * times tiny. */
static UNUSED float *odd_rows(struct pcg32 *g, size_t rows, size_t n, float huge, float tiny)
{
    float *x = random_floats(g, rows * n, 1), *tied = tied_floats(g, rows * n);

    for (size_t i = 0; i < rows * n; i++) {
        const float kinds[] = {x[i], tied[i], i % 2 ? 1.5f : -1.5f, 0, x[i] * huge, x[i] * tiny};

        x[i] = kinds[i / n % 6];
    }
    free(tied);
    return x;
}

/* Rounds to the values that dtype can hold. */
static UNUSED void round_to(float *x, size_t n, enum dtype dtype)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == DTYPE_F16)
            x[i] = f16_to_f32(f32_to_f16(x[i]));
        else if (dtype == DTYPE_BF16)
            x[i] = bf16_to_f32(f32_to_bf16(x[i]));
    }
}

/* ---- to a device and back */

/* A new device tensor with the values of x, rounded to dtype. */
static UNUSED struct tensor put(struct device *dev, enum dtype dtype, size_t rows, size_t cols,
                                const float *x)
{
    struct tensor t = device_tensor(dev, dtype, rows, cols);
    size_t n = rows * cols;
    uint16_t *h;

    if (dtype == DTYPE_F32) {
        dev->ops->upload(dev, t.data, x, n * sizeof(*x));
        return t;
    }
    h = xmalloc(n * sizeof(*h));
    for (size_t i = 0; i < n; i++)
        h[i] = dtype == DTYPE_F16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    dev->ops->upload(dev, t.data, h, n * sizeof(*h));
    free(h);
    return t;
}

/* A new tensor whose every byte is 0xff (NaN in every type): an unwritten element shows. */
static UNUSED struct tensor poison(struct device *dev, enum dtype dtype, size_t rows, size_t cols)
{
    struct tensor t = device_tensor(dev, dtype, rows, cols);
    void *p = xmalloc(tensor_nbytes(t));

    memset(p, 0xff, tensor_nbytes(t));
    dev->ops->upload(dev, t.data, p, tensor_nbytes(t));
    free(p);
    return t;
}

/* The columns of x (rows x n) in n_parts matrices one after another. */
static UNUSED float *in_parts(const float *x, size_t rows, size_t n, size_t n_parts)
{
    float *out = xmalloc(rows * n * sizeof(*out));
    size_t c = n / n_parts;

    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            out[j / c * rows * c + r * c + j % c] = x[r * n + j];
    return out;
}

/* The values of t as floats. */
static UNUSED float *get(struct device *dev, struct tensor t)
{
    size_t n = tensor_numel(t);
    void *raw = xmalloc(tensor_nbytes(t));
    float *x = xmalloc(n * sizeof(*x));

    dev->ops->download(dev, raw, t.data, tensor_nbytes(t));
    for (size_t i = 0; i < n; i++)
        x[i] = t.dtype == DTYPE_F32   ? ((float *)raw)[i]
               : t.dtype == DTYPE_F16 ? f16_to_f32(((uint16_t *)raw)[i])
                                      : bf16_to_f32(((uint16_t *)raw)[i]);
    free(raw);
    return x;
}

static UNUSED int32_t *put_ints(struct device *dev, const int32_t *v, size_t n)
{
    int32_t *d = dev->ops->alloc(dev, n * sizeof(*v));

    dev->ops->upload(dev, d, v, n * sizeof(*v));
    return d;
}

/* ---- comparison */

/* The largest |got - want| / (abs_tol + rel_tol |want|): at most 1 passes, NaN never does. */
static UNUSED double misfit(const float *got, const float *want, size_t n, double rel_tol,
                            double abs_tol)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - want[i]) / (abs_tol + rel_tol * fabs((double)want[i]));

        if (got[i] == want[i])
            continue;
        if (!(e <= worst))
            worst = isnan(e) ? INFINITY : e;
    }
    return worst;
}

/* ||got - want|| / ||want||, infinite with a NaN. */
static UNUSED double relative_error(const float *got, const float *want, size_t n)
{
    double num = 0, den = 0;

    for (size_t i = 0; i < n; i++) {
        num += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        den += (double)want[i] * want[i];
    }
    return isnan(num) ? INFINITY : sqrt(num / (den > 0 ? den : 1));
}

static UNUSED int same_bits(const void *a, const void *b, size_t nbytes)
{
    return memcmp(a, b, nbytes) == 0;
}

/* ---- the rule of sparse activations, as METHOD section 1 writes it: by sorting */

static UNUSED int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Applies the rule to one row in place; returns the zeros in the result. */
static UNUSED size_t textbook_rule(float *x, size_t n, enum act_kind kind, double s,
                                   float threshold)
{
    float *a = xmalloc(n * sizeof(*a)), t = threshold;
    size_t zeros = 0;

    for (size_t j = 0; j < n; j++)
        a[j] = fabsf(x[j]);
    if (kind == ACT_TOPK) {
        qsort(a, n, sizeof(*a), by_value);
        t = a[(size_t)((double)n * s)];
    }
    for (size_t j = 0; j < n; j++) {
        x[j] = fabsf(x[j]) >= t ? x[j] : 0;
        zeros += x[j] == 0;
    }
    free(a);
    return zeros;
}

/* The same of WINA: by the scores |x_j| gate_j in float32. */
static UNUSED size_t textbook_wina(float *x, const float *gate, size_t n, double s)
{
    float *a = xmalloc(2 * n * sizeof(*a)), *score = a + n, t;
    size_t zeros = 0;

    for (size_t j = 0; j < n; j++)
        a[j] = score[j] = fabsf(x[j]) * gate[j];
    qsort(a, n, sizeof(*a), by_value);
    t = a[(size_t)((double)n * s)];
    for (size_t j = 0; j < n; j++) {
        x[j] = score[j] >= t ? x[j] : 0;
        zeros += x[j] == 0;
    }
    free(a);
    return zeros;
}

/* n factors of WINA's scores: by turns random, tied, with zeros, all zero, of all sizes, one. */
static UNUSED float *wina_factors(struct pcg32 *g, size_t n, int kind)
{
    static const float few[] = {0.5f, 1, 2, 4};
    float *f = random_floats(g, n, 1);

    for (size_t j = 0; j < n; j++) {
        float r = fabsf(f[j]);

        f[j] = kind == 0   ? r
               : kind == 1 ? few[pcg32_below(g, 4)]
               : kind == 2 ? (pcg32_below(g, 3) ? r : 0)
               : kind == 3 ? 0
               : kind == 4 ? r * (pcg32_below(g, 2) ? 1e15f : 1e-15f)
                           : 1;
    }
    return f;
}

/* x^T x + ridge on the diagonal, from t random rows of k. */
static UNUSED float *positive_definite(struct pcg32 *g, size_t t, size_t k, double ridge)
{
    float *x = random_floats(g, t * k, 1), *h = xcalloc(k * k, sizeof(*h));

    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            double v = i == j ? ridge : 0;

            for (size_t r = 0; r < t; r++)
                v += (double)x[r * k + i] * x[r * k + j];
            h[i * k + j] = h[j * k + i] = (float)v;
        }
    free(x);
    return h;
}

/* ---- packed batches: segment s has seg_pos[s] positions before it (a shared prefix if prefix[s]
 * names an earlier segment) and len[s] rows */

struct packed_batch {
    struct batch_layout b; /* on the device */
    size_t n_pages;        /* pages that the store needs */
    int32_t *row_pos;      /* host copies */
    int32_t *row_seg;
    int32_t *seg_row, *seg_pos, *seg_page, *pages;
    int32_t *copy_row, *copy_slot;
};

struct segment {
    int len;    /* rows */
    int prefix; /* index of an earlier segment with prefix -1 whose positions come first, or -1 */
};

/* A segment with a prefix shares the prefix's full pages and owns a copy of its last, partly filled
 * one; pages are handed out in a shuffled order. Prefix segments begin at position 0. */
static UNUSED struct packed_batch packed_make(struct device *dev, struct pcg32 *g,
                                              const struct segment *seg, size_t n)
{
    struct packed_batch t = {0};
    size_t rows = 0, listed = 0, n_list = 0, copies = 0, max_pos = 0;
    int32_t *perm;

    for (size_t s = 0; s < n; s++) {
        rows += (size_t)seg[s].len;
        listed += (size_t)(seg[s].len + (seg[s].prefix >= 0 ? seg[seg[s].prefix].len : 0));
    }
    t.seg_row = xcalloc(n + 1, sizeof(int32_t));
    t.seg_pos = xcalloc(n, sizeof(int32_t));
    t.seg_page = xcalloc(n, sizeof(int32_t));
    t.row_pos = xcalloc(rows, sizeof(int32_t));
    t.row_seg = xcalloc(rows, sizeof(int32_t));
    t.copy_row = xcalloc(rows + n * KV_PAGE, sizeof(int32_t));
    t.copy_slot = xcalloc(rows + n * KV_PAGE, sizeof(int32_t));
    t.pages = xcalloc(listed / KV_PAGE + n, sizeof(int32_t));
    for (size_t s = 0; s < n; s++) {
        int pos = seg[s].prefix >= 0 ? seg[seg[s].prefix].len : 0;
        int total = pos + seg[s].len, shared = pos / KV_PAGE;

        t.seg_pos[s] = pos;
        t.seg_row[s + 1] = t.seg_row[s] + seg[s].len;
        t.seg_page[s] = (int32_t)n_list;
        max_pos = (size_t)total > max_pos ? (size_t)total : max_pos;
        for (int p = 0; p * KV_PAGE < total; p++)
            t.pages[n_list++] =
                p < shared ? t.pages[t.seg_page[seg[s].prefix] + p] : (int32_t)t.n_pages++;
    }
    perm = xmalloc(t.n_pages * sizeof(*perm));
    for (size_t i = 0; i < t.n_pages; i++) {
        size_t j = pcg32_below(g, (uint32_t)i + 1);

        perm[i] = perm[j];
        perm[j] = (int32_t)i;
    }
    for (size_t i = 0; i < n_list; i++)
        t.pages[i] = perm[t.pages[i]];
    free(perm);
    for (size_t s = 0; s < n; s++) {
        const int32_t *pg = t.pages + t.seg_page[s];
        int pos = t.seg_pos[s];

        /* the rows of the prefix on its partly filled page, copied from the prefix's rows */
        for (int p = pos / KV_PAGE * KV_PAGE; p < pos; p++) {
            t.copy_row[copies] = t.seg_row[seg[s].prefix] + p;
            t.copy_slot[copies++] = pg[p / KV_PAGE] * KV_PAGE + p % KV_PAGE;
        }
        for (int i = 0; i < seg[s].len; i++) {
            int row = t.seg_row[s] + i, p = pos + i;

            t.row_pos[row] = p;
            t.row_seg[row] = (int32_t)s;
            t.copy_row[copies] = row;
            t.copy_slot[copies++] = pg[p / KV_PAGE] * KV_PAGE + p % KV_PAGE;
        }
    }
    t.b = (struct batch_layout){
        .n_rows = rows,
        .n_segments = n,
        .n_copies = copies,
        .max_positions = max_pos,
        .positions = put_ints(dev, t.row_pos, rows),
        .seg_row = put_ints(dev, t.seg_row, n + 1),
        .seg_pos = put_ints(dev, t.seg_pos, n),
        .seg_page = put_ints(dev, t.seg_page, n),
        .pages = put_ints(dev, t.pages, n_list),
        .copy_row = put_ints(dev, t.copy_row, copies),
        .copy_slot = put_ints(dev, t.copy_slot, copies),
    };
    return t;
}

static UNUSED void packed_release(struct device *dev, struct packed_batch *t)
{
    const void *on_device[] = {t->b.positions, t->b.seg_row,  t->b.seg_pos,  t->b.seg_page,
                               t->b.pages,     t->b.copy_row, t->b.copy_slot};

    for (size_t i = 0; i < sizeof(on_device) / sizeof(*on_device); i++)
        dev->ops->free(dev, (void *)on_device[i]);
    free(t->row_pos);
    free(t->row_seg);
    free(t->seg_row);
    free(t->seg_pos);
    free(t->seg_page);
    free(t->pages);
    free(t->copy_row);
    free(t->copy_slot);
    *t = (struct packed_batch){0};
}

/* Row of qkv that holds position p of segment s. */
static UNUSED size_t row_at(const struct packed_batch *t, const struct segment *seg, size_t s,
                            int p)
{
    if (p < t->seg_pos[s])
        return (size_t)(t->seg_row[seg[s].prefix] + p);
    return (size_t)(t->seg_row[s] + p - t->seg_pos[s]);
}

/* A table of rotations as model/rope.c makes them, positions x d, of base 10000; free()d. */
static UNUSED float *rotations(size_t positions, size_t d)
{
    float *cs = xmalloc(positions * d * sizeof(*cs));

    for (size_t p = 0; p < positions; p++)
        for (size_t i = 0; i < d / 2; i++) {
            double f = (double)p * pow(10000, -2.0 * (double)i / (double)d);

            cs[p * d + i] = (float)cos(f);
            cs[p * d + d / 2 + i] = (float)sin(f);
        }
    return cs;
}

/* Turns the q and k parts of the batch's rows on the host, a product and a fused product to each
 * value, and rounds to dtype. */
static UNUSED void turn_rows(const struct packed_batch *t, enum dtype dtype,
                             struct attention_shape sh, const float *cos_sin, float *qkv)
{
    size_t d = sh.head_dim, half = d / 2, cols = (sh.n_heads + 2 * sh.n_kv_heads) * d;

    for (size_t r = 0; r < t->b.n_rows; r++)
        for (size_t g = 0; g < sh.n_heads + sh.n_kv_heads; g++)
            for (size_t i = 0; i < half; i++) {
                const float *c = cos_sin + (size_t)t->row_pos[r] * d + i, s = c[half];
                float *x = qkv + r * cols + g * d + i, a = x[0], b = x[half];
                float ac = a * *c, bc = b * *c;

                x[0] = fmaf(-b, s, ac);
                x[half] = fmaf(a, s, bc);
            }
    round_to(qkv, t->b.n_rows * cols, dtype);
}

/* Writes the keys and values of qkv to a fresh store (poisoned first) and runs attention; returns
 * the output (rows x n_heads d) on the host. cos_sin: host, positions x d, or NULL. */
static UNUSED float *run_attention(struct device *dev, const struct packed_batch *t,
                                   enum dtype dtype, struct attention_shape shape,
                                   const float *cos_sin, const float *qkv,
                                   const struct act_rule *rule)
{
    size_t cols = (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim;
    size_t page = shape.n_kv_heads * shape.head_dim * KV_PAGE;
    struct tensor x = put(dev, dtype, t->b.n_rows, cols, qkv);
    struct tensor k = poison(dev, dtype, t->n_pages, page),
                  v = poison(dev, dtype, t->n_pages, page);
    struct tensor out = poison(dev, dtype, t->b.n_rows, shape.n_heads * shape.head_dim);
    struct kv_layer kv = {k.data, v.data};
    struct tensor cs = {0};
    float *got;

    if (cos_sin)
        cs = put(dev, DTYPE_F32, t->b.max_positions, shape.head_dim, cos_sin);
    dev->ops->kv_write(dev, kv, x, shape, cs, &t->b);
    dev->ops->attention(dev, out, x, kv, shape, cs, &t->b, rule);
    got = get(dev, out);
    device_tensor_free(dev, &cs);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &k);
    device_tensor_free(dev, &v);
    device_tensor_free(dev, &out);
    return got;
}

#endif
