/* Rotary embedding, the paged key/value store, and causal attention over it.
 *
 * Keys of a page are stored d x 16, so that sixteen keys are two vectors and a query's scores come
 * without any sum over lanes; values are stored 16 x d. Scores are made for CHUNK keys at a time
 * with a running maximum. Chunks begin at absolute positions and masked keys weigh exactly 0, so
 * a query's bits do not depend on which other rows are in the batch. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"
#include "harness/backend/cpu/vec.h"

#define TILE 6              /* queries per register tile: 12 accumulators of 8 lanes */
#define BLOCK (8 * TILE)    /* queries that pass over a chunk while it is in cache */
#define CHUNK (4 * KV_PAGE) /* keys per softmax step */
#define MAX_D 256           /* head size */

/* out (d) = x turned to its position. */
static void turn(float *out, const float *x, size_t d, struct tensor cos_sin, int32_t position)
{
    size_t half = d / 2;
    const float *c = cos_sin.data, *s;

    if (!c) {
        memcpy(out, x, d * sizeof(*x));
        return;
    }
    c += (size_t)position * d;
    s = c + half;
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];

        out[i] = a * c[i] - b * s[i];
        out[half + i] = b * c[i] + a * s[i];
    }
}

void cpu_kv_write(struct device *dev, struct kv_layer kv, struct tensor qkv,
                  struct attention_shape shape, struct tensor cos_sin, const struct batch_layout *b)
{
    size_t d = shape.head_dim, nkv = shape.n_kv_heads;

    if (d > MAX_D)
        die("head size %zu is larger than the CPU backend's %d", d, MAX_D);
#pragma omp parallel for num_threads(cpu_team(dev, b->n_copies))
    for (size_t i = 0; i < b->n_copies; i++) {
        size_t row = (size_t)b->copy_row[i];
        const float *k = (const float *)qkv.data + row * qkv.cols + shape.n_heads * d;
        size_t page = (size_t)b->copy_slot[i] / KV_PAGE, at = (size_t)b->copy_slot[i] % KV_PAGE;
        float turned[MAX_D];

        for (size_t g = 0; g < nkv; g++) {
            float *kp = (float *)kv.k + (page * nkv + g) * d * KV_PAGE + at;
            float *vp = (float *)kv.v + ((page * nkv + g) * KV_PAGE + at) * d;

            turn(turned, k + g * d, d, cos_sin, b->positions[row]);
            for (size_t j = 0; j < d; j++)
                kp[j * KV_PAGE] = turned[j];
            memcpy(vp, k + nkv * d + g * d, d * sizeof(float));
        }
    }
}

/* s (TILE x CHUNK, at column 0 of one page) = q_i . k_j for the 16 keys of a page. With n (TILE, or
 * 1 while decoding) a constant, the loops unroll; a query's bits are the same in both. */
static inline __attribute__((always_inline)) void page_scores(float *s, const float *const q[TILE],
                                                              const float *k, size_t d, const int n)
{
    v8f acc[TILE][2] = {{{0}}};

    for (size_t j = 0; j < d; j++) {
        v8f k0 = v8_load(k + j * KV_PAGE), k1 = v8_load(k + j * KV_PAGE + 8);

#pragma GCC unroll 6
        for (int i = 0; i < n; i++) {
            acc[i][0] += k0 * q[i][j];
            acc[i][1] += k1 * q[i][j];
        }
    }
    for (int i = 0; i < n; i++) {
        v8_store(s + i * CHUNK, acc[i][0]);
        v8_store(s + i * CHUNK + 8, acc[i][1]);
    }
}

/* The pages of one chunk's values (one head): n keys in all. */
struct chunk_values {
    const float *page[CHUNK / KV_PAGE];
    size_t n;
};

/* o_i[0..16) = o_i * scale_i + sum_key p_i,key v_key[0..16), the first of 16 dimensions being j. */
static inline __attribute__((always_inline)) void add_values(float *o, size_t d, size_t j,
                                                             const float *p, const float *scale,
                                                             const struct chunk_values *v,
                                                             const int n)
{
    v8f acc[TILE][2] = {{{0}}};

    for (size_t key = 0; key < v->n; key++) {
        const float *row = v->page[key / KV_PAGE] + key % KV_PAGE * d + j;
        v8f v0 = v8_load(row), v1 = v8_load(row + 8);

#pragma GCC unroll 6
        for (int i = 0; i < n; i++) {
            acc[i][0] += v0 * p[(size_t)i * CHUNK + key];
            acc[i][1] += v1 * p[(size_t)i * CHUNK + key];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < n; i++) {
        float *to = o + (size_t)i * d + j;

        v8_store(to, v8_load(to) * scale[i] + acc[i][0]);
        v8_store(to + 8, v8_load(to + 8) * scale[i] + acc[i][1]);
    }
}

/* The dimensions past the last multiple of 16, in the same order of additions. */
static void add_values_tail(float *o, size_t d, size_t first, const float *p, const float *scale,
                            const struct chunk_values *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = first; j < d; j++) {
            float a = 0;

            for (size_t key = 0; key < v->n; key++)
                a += v->page[key / KV_PAGE][key % KV_PAGE * d + j] * p[i * CHUNK + key];
            o[i * d + j] = o[i * d + j] * scale[i] + a;
        }
}

/* One query's step of the running softmax over a chunk: scores (first key at position `at`) become
 * weights; returns what the earlier sums are to be scaled by. */
static float softmax_step(float *s, size_t at, size_t pos, float factor, float *max, float *sum)
{
    const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
    v8f m = v8_set(*max), total = {0};
    int32_t last = (int32_t)(pos - at); /* keys up to this one are seen */
    float scale;

    for (int j = 0; j < CHUNK; j += 8) {
        v8f x = v8_load(s + j) * factor;

        x = v8_select(lane + j <= last, x, v8_set(-INFINITY));
        m = v8_max(m, x);
        v8_store(s + j, x);
    }
    m = v8_set(v8_hmax(m));
    for (int j = 0; j < CHUNK; j += 8) {
        v8f p = v8_exp(v8_load(s + j) - m);

        p = v8_select(lane + j <= last, p, (v8f){0});
        total += p;
        v8_store(s + j, p);
    }
    scale = v8_exp(v8_set(*max) - m)[0];
    *max = m[0];
    *sum = *sum * scale + v8_sum(total);
    return scale;
}

struct tile_state {
    float o[TILE * MAX_D], turned[TILE * MAX_D]; /* TILE x d: sums; queries */
    float max[TILE], sum[TILE];
    const float *q[TILE];
    size_t pos[TILE];
    size_t n; /* queries in use; the rest repeat the last one */
};

/* One chunk of keys, beginning at position `at`, for the queries of a tile. */
static void tile_chunk(struct tile_state *t, const float *k, const float *v, const int32_t *pages,
                       size_t page_stride, size_t at, size_t d)
{
    float s[TILE * CHUNK], scale[TILE];
    size_t end = t->pos[TILE - 1] + 1 - at, j = 0;
    struct chunk_values values = {.n = end < CHUNK ? end : CHUNK};

    for (size_t p = 0; p * KV_PAGE < values.n; p++) {
        size_t page = (size_t)pages[at / KV_PAGE + p] * page_stride;

        values.page[p] = v + page;
        if (t->n == 1)
            page_scores(s + p * KV_PAGE, t->q, k + page, d, 1);
        else
            page_scores(s + p * KV_PAGE, t->q, k + page, d, TILE);
    }
    for (int i = 0; i < (t->n == 1 ? 1 : TILE); i++) {
        scale[i] = 1;
        if (at <= t->pos[i])
            scale[i] = softmax_step(s + i * CHUNK, at, t->pos[i], 1.0f / sqrtf((float)d),
                                    &t->max[i], &t->sum[i]);
        else
            memset(s + i * CHUNK, 0, CHUNK * sizeof(float));
    }
    for (; j + 16 <= d; j += 16)
        if (t->n == 1)
            add_values(t->o, d, j, s, scale, &values, 1);
        else
            add_values(t->o, d, j, s, scale, &values, TILE);
    if (j < d)
        add_values_tail(t->o, d, j, s, scale, &values, t->n == 1 ? 1 : TILE);
}

static void tile_begin(struct tile_state *t, const float *q, size_t stride, struct tensor cos_sin,
                       size_t pos, size_t n, size_t d)
{
    t->n = n < TILE ? n : TILE;
    for (size_t i = 0; i < TILE; i++) {
        size_t j = i < t->n ? i : t->n - 1;

        if (i < t->n)
            turn(t->turned + i * d, q + i * stride, d, cos_sin, (int32_t)(pos + i));
        t->q[i] = t->turned + j * d;
        t->pos[i] = pos + j;
        t->max[i] = -1e30f;
        t->sum[i] = 0;
    }
    memset(t->o, 0, TILE * d * sizeof(float));
}

static void tile_end(const struct tile_state *t, float *out, size_t stride, size_t d)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t j = 0; j < d; j++)
            out[i * stride + j] = t->o[i * d + j] / t->sum[i];
}

/* Queries [first, first + n) of segment seg, head g. */
static void attend(struct tensor out, struct tensor qkv, struct kv_layer kv,
                   struct attention_shape shape, struct tensor cos_sin,
                   const struct batch_layout *b, size_t seg, size_t g, size_t first, size_t n,
                   struct tile_state *tiles)
{
    size_t d = shape.head_dim, kvh = g * shape.n_kv_heads / shape.n_heads;
    size_t page = d * KV_PAGE, stride = shape.n_kv_heads * page;
    size_t row = (size_t)b->seg_row[seg] + first, pos = (size_t)b->seg_pos[seg] + first;
    const float *k = (const float *)kv.k + kvh * page, *v = (const float *)kv.v + kvh * page;
    const float *q = (const float *)qkv.data + row * qkv.cols + g * d;
    float *o = (float *)out.data + row * out.cols + g * d;
    size_t n_tiles = (n + TILE - 1) / TILE;

    for (size_t i = 0; i < n_tiles; i++)
        tile_begin(&tiles[i], q + i * TILE * qkv.cols, qkv.cols, cos_sin, pos + i * TILE,
                   n - i * TILE, d);
    for (size_t at = 0; at < pos + n; at += CHUNK)
        for (size_t i = 0; i < n_tiles; i++)
            if (at <= tiles[i].pos[TILE - 1])
                tile_chunk(&tiles[i], k, v, b->pages + b->seg_page[seg], stride, at, d);
    for (size_t i = 0; i < n_tiles; i++)
        tile_end(&tiles[i], o + i * TILE * out.cols, out.cols, d);
}

/* One unit of work: a block of queries of one segment, all heads apart. */
struct work {
    int32_t seg, first;
};

static struct work *list_work(const struct batch_layout *b, size_t *n_work)
{
    size_t n = 0;
    struct work *w;

    for (size_t s = 0; s < b->n_segments; s++)
        n += ((size_t)(b->seg_row[s + 1] - b->seg_row[s]) + BLOCK - 1) / BLOCK;
    w = xmalloc(n * sizeof(*w));
    *n_work = n;
    n = 0;
    for (size_t s = 0; s < b->n_segments; s++)
        for (int32_t f = 0; f < b->seg_row[s + 1] - b->seg_row[s]; f += BLOCK)
            w[n++] = (struct work){(int32_t)s, f};
    return w;
}

void cpu_attention(struct device *dev, struct tensor out, struct tensor qkv, struct kv_layer kv,
                   struct attention_shape shape, struct tensor cos_sin,
                   const struct batch_layout *b, const struct act_rule *rule)
{
    size_t n_work, products = b->n_rows * b->max_positions * shape.n_heads * shape.head_dim;
    struct work *work = list_work(b, &n_work);

    if (shape.head_dim > MAX_D)
        die("head size %zu is larger than the CPU backend's %d", shape.head_dim, MAX_D);
#pragma omp parallel num_threads(cpu_team(dev, products >> 14))
    {
        struct tile_state *tiles = xalloc_aligned(BLOCK / TILE * sizeof(*tiles));

        /* Long blocks first: the last ones see the most keys. */
#pragma omp for schedule(dynamic) collapse(2)
        for (size_t i = 0; i < n_work; i++)
            for (size_t g = 0; g < shape.n_heads; g++) {
                struct work w = work[n_work - 1 - i];
                size_t left = (size_t)(b->seg_row[w.seg + 1] - b->seg_row[w.seg] - w.first);

                attend(out, qkv, kv, shape, cos_sin, b, (size_t)w.seg, g, (size_t)w.first,
                       left < BLOCK ? left : BLOCK, tiles);
            }
        xfree_aligned(tiles);
    }
    free(work);
    cpu_sparsify(dev, out, out, rule);
}
