/* Kernel checker: speeds at LLaMA-2-7B's shapes in f16, against what the card was measured to do:
 * bytes per second of a large copy, operations per second of a large product. */
#include <time.h>

#include "tests/check_kernels.h"

enum { T = 8192, H = 4096, M = 11008, NH = 32, D = 128, V = 32000, SEQ = 2048 };

static double copy_rate, product_rate; /* bytes/s, operations/s */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void wait_for_device(void)
{
    static uint64_t *word;
    uint64_t host;

    if (!word)
        word = dev->ops->alloc(dev, sizeof(*word));
    dev->ops->download(dev, &host, word, sizeof(host));
}

/* A device tensor of uniform random values: 4 M of them, repeated. */
static struct tensor random_tensor(enum dtype t, size_t rows, size_t cols, double scale)
{
    struct tensor a = device_tensor(dev, t, rows, cols);
    size_t n = rows * cols, chunk = n < 1 << 22 ? n : 1 << 22, e = dtype_size(t);
    float *x = uniform_floats(&rng, chunk);
    struct tensor src;

    for (size_t i = 0; i < chunk; i++)
        x[i] *= (float)scale;
    src = put(dev, t, 1, chunk, x);
    for (size_t at = 0; at < n; at += chunk)
        dev->ops->copy(dev, (char *)a.data + at * e, src.data,
                       (n - at < chunk ? n - at : chunk) * e);
    device_tensor_free(dev, &src);
    free(x);
    return a;
}

/* Seconds per run: after two runs to warm up, the median of five batches of about 60 ms. */
#define SECONDS(statement)                                                                         \
    ({                                                                                             \
        double t_[5], t0_;                                                                         \
        int n_ = 1;                                                                                \
        for (int i_ = 0; i_ < 2; i_++) {                                                           \
            wait_for_device();                                                                     \
            t0_ = now();                                                                           \
            statement;                                                                             \
            wait_for_device();                                                                     \
            n_ = (int)(0.06 / (now() - t0_)) + 1;                                                  \
        }                                                                                          \
        for (int r_ = 0; r_ < 5; r_++) {                                                           \
            t0_ = now();                                                                           \
            for (int i_ = 0; i_ < n_; i_++) {                                                      \
                statement;                                                                         \
            }                                                                                      \
            wait_for_device();                                                                     \
            t_[r_] = (now() - t0_) / n_;                                                           \
        }                                                                                          \
        qsort(t_, 5, sizeof(*t_), by_double);                                                      \
        t_[2];                                                                                     \
    })

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Prints one line and returns the seconds. */
static double report(const char *what, double seconds, double nbytes, double flops)
{
    printf("%-34s %9.3f ms", what, seconds * 1e3);
    if (nbytes > 0)
        printf(" %8.0f GB/s %5.1f %%", nbytes / seconds * 1e-9, 100 * nbytes / seconds / copy_rate);
    if (flops > 0)
        printf(" %8.1f TFLOP/s %5.1f %%", flops / seconds * 1e-12,
               100 * flops / seconds / product_rate);
    printf("\n");
    fflush(stdout);
    return seconds;
}

static void ceilings(void)
{
    size_t n = (size_t)2 << 30, k = 8192;
    void *a = dev->ops->alloc(dev, n), *b = dev->ops->alloc(dev, n);
    struct tensor x = random_tensor(DTYPE_F16, k, k, 1), w = random_tensor(DTYPE_F16, k, k, 1);
    struct tensor o = device_tensor(dev, DTYPE_F16, k, k);
    double s;

    dev->ops->zero(dev, a, n);
    s = SECONDS(dev->ops->copy(dev, b, a, n));
    copy_rate = 2.0 * (double)n / s;
    report("copy 2 GiB", s, 2.0 * (double)n, 0);
    s = SECONDS(dev->ops->linear(dev, o, x, w, 0));
    product_rate = 2.0 * (double)k * (double)k * (double)k / s;
    report("product 8192^3 f16", s, 0, 2.0 * (double)k * (double)k * (double)k);
    dev->ops->free(dev, a);
    dev->ops->free(dev, b);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &w);
    device_tensor_free(dev, &o);
}

/* ---- forward: seconds of one layer, dense and with top-k */

static double bench_linear(const char *what, size_t rows, size_t n, size_t k, int accumulate)
{
    struct tensor x = random_tensor(DTYPE_F16, rows, k, 1),
                  w = random_tensor(DTYPE_F16, n, k, 0.02);
    struct tensor o = random_tensor(accumulate ? DTYPE_F32 : DTYPE_F16, rows, n, 1);
    double s = report(what, SECONDS(dev->ops->linear(dev, o, x, w, accumulate)), 0,
                      2.0 * (double)rows * (double)n * (double)k);

    device_tensor_free(dev, &x);
    device_tensor_free(dev, &w);
    device_tensor_free(dev, &o);
    return s;
}

static void bench_gated(void)
{
    struct tensor x = random_tensor(DTYPE_F16, T, H, 1),
                  w = random_tensor(DTYPE_F16, 2 * M, H, 0.02);
    struct tensor gu = device_tensor(dev, DTYPE_F16, T, 2 * M);
    struct tensor out = device_tensor(dev, DTYPE_F16, T, M);

    report("linear gate,up with silu_mul",
           SECONDS(dev->ops->linear_silu_mul(dev, out, gu, x, w, NULL)), 0, 4.0 * T * M * H);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &w);
    device_tensor_free(dev, &gu);
    device_tensor_free(dev, &out);
}

static double bench_attention(const char *what, struct attention_shape sh, size_t n_seq, size_t len,
                              double *store)
{
    struct segment *seg = xmalloc(n_seq * sizeof(*seg));
    size_t w = sh.n_heads * sh.head_dim, kvw = sh.n_kv_heads * sh.head_dim, rows = n_seq * len;
    struct packed_batch b;
    struct tensor qkv = random_tensor(DTYPE_F16, rows, w + 2 * kvw, 1), k, v, o, cs;
    struct kv_layer kv;
    double s, moved;

    for (size_t i = 0; i < n_seq; i++)
        seg[i] = (struct segment){(int)len, -1};
    b = packed_make(dev, &rng, seg, n_seq);
    k = device_tensor(dev, DTYPE_F16, b.n_pages * KV_PAGE, kvw);
    v = device_tensor(dev, DTYPE_F16, b.n_pages * KV_PAGE, kvw);
    o = device_tensor(dev, DTYPE_F16, rows, w);
    cs = random_tensor(DTYPE_F32, len, sh.head_dim, 0.7);
    kv = (struct kv_layer){k.data, v.data};
    dev->ops->kv_write(dev, kv, qkv, sh, cs, &b.b);
    if (store) {
        moved = 2.0 * (double)(rows * 2 * kvw) * 2;
        *store = report("kv_write, keys turned",
                        SECONDS(dev->ops->kv_write(dev, kv, qkv, sh, cs, &b.b)), moved, 0);
    }
    s = SECONDS(dev->ops->attention(dev, o, qkv, kv, sh, cs, &b.b, NULL));
    report(what, s, 0, 2.0 * (double)rows * (double)len * (double)w); /* causal: half of 4 T L w */
    packed_release(dev, &b);
    free(seg);
    device_tensor_free(dev, &qkv);
    device_tensor_free(dev, &k);
    device_tensor_free(dev, &v);
    device_tensor_free(dev, &o);
    device_tensor_free(dev, &cs);
    return s;
}

/* dense[0], sparse[0] += seconds of the operation without and with 50 % top-k */
static void bench_rows(double *dense, double *sparse)
{
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5, .n_zero = dev->ops->alloc(dev, 8)};
    struct tensor x = random_tensor(DTYPE_F32, T, H, 1), w = random_tensor(DTYPE_F16, 1, H, 1);
    struct tensor h = random_tensor(DTYPE_F16, T, H, 1), gu = random_tensor(DTYPE_F16, T, 2 * M, 2);
    struct tensor a = device_tensor(dev, DTYPE_F16, T, M);
    double n = (double)T * H, m = (double)T * M;

    *dense +=
        2 * report("rmsnorm", SECONDS(dev->ops->rmsnorm(dev, h, x, w, 1e-5f, NULL)), 6 * n, 0);
    *sparse += 2 * report("rmsnorm, top-k", SECONDS(dev->ops->rmsnorm(dev, h, x, w, 1e-5f, &rule)),
                          6 * n, 0);
    *dense += report("silu_mul", SECONDS(dev->ops->silu_mul(dev, a, gu, NULL)), 6 * m, 0);
    *sparse += report("silu_mul, top-k", SECONDS(dev->ops->silu_mul(dev, a, gu, &rule)), 6 * m, 0);
    *sparse += report("sparsify 4096", SECONDS(dev->ops->sparsify(dev, h, h, &rule)), 4 * n, 0);
    dev->ops->free(dev, rule.n_zero);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &w);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &gu);
    device_tensor_free(dev, &a);
}

static double bench_logprob(void)
{
    struct tensor x = random_tensor(DTYPE_F16, T, H, 1), w = random_tensor(DTYPE_F16, V, H, 0.02);
    double *lp = dev->ops->alloc(dev, T * 8), s;
    int32_t *top = dev->ops->alloc(dev, T * 4), *target = dev->ops->alloc(dev, T * 4);

    dev->ops->zero(dev, target, T * 4);
    s = SECONDS(dev->ops->logprob(dev, lp, top, x, w, target));
    report("logprob, 32000 ids", s, 0, 2.0 * T * H * V);
    dev->ops->free(dev, lp);
    dev->ops->free(dev, top);
    dev->ops->free(dev, target);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &w);
    return s;
}

static void bench_forward(void)
{
    double layer = 0, dense = 0, sparse = 0, store = 0, head, all, flops;

    layer += bench_linear("linear q,k,v 12288 x 4096", T, 3 * H, H, 0);
    layer += bench_linear("linear o 4096 x 4096, += f32", T, H, H, 1);
    layer += bench_linear("linear gate,up 22016 x 4096", T, 2 * M, H, 0);
    bench_gated();
    layer += bench_linear("linear down 4096 x 11008, += f32", T, H, M, 1);
    bench_linear("linear q,k,v, 1 row", 1, 3 * H, H, 0);
    bench_linear("linear q,k,v, 128 rows", 128, 3 * H, H, 0);
    bench_linear("linear q,k,v, 1000 rows", 1000, 3 * H, H, 0);
    layer += bench_attention("attention 4 x 2048, 32 heads", (struct attention_shape){NH, NH, D},
                             T / SEQ, SEQ, &store);
    layer += store;
    bench_attention("attention 4 x 2048, 32/8 heads", (struct attention_shape){NH, 8, D}, T / SEQ,
                    SEQ, NULL);
    bench_attention("attention 128 x 64, 32 heads", (struct attention_shape){NH, NH, D}, 128, 64,
                    NULL);
    bench_attention("attention 4 x 2048, 64 x 64", (struct attention_shape){64, 64, 64}, T / SEQ,
                    SEQ, NULL);
    bench_rows(&dense, &sparse);
    head = bench_logprob();
    all = 32 * (layer + dense) + head;
    flops = 2.0 * T * (32.0 * (4.0 * H * H + 3.0 * H * M) + (double)H * V) + 32 * 2.0 * T * SEQ * H;
    printf("7B forward from these parts: %.0f tokens/s dense (%.0f TFLOP/s), %.0f with 50 %% top-k "
           "(%.1f %%)\n",
           T / all, flops / all * 1e-12, T / (32 * (layer + sparse) + head),
           100 * all / (32 * (layer + sparse) + head));
}

/* ---- the same as one run: seconds of a pass through 32 layers and the head */

struct pass {
    struct attention_shape shape;
    struct tensor qkv[8], o[8], gate_up[8], down[8]; /* distinct weights, taken by turns */
    struct tensor norm, head, cos_sin, x0, x, in, qkv_out, attn, gu, act;
    struct kv_layer kv;
    struct packed_batch batch;
    double *logprob;
    int32_t *is_top, *target;
};

static struct tensor normal_tensor(enum dtype t, size_t rows, size_t cols, float stddev)
{
    static uint64_t stream;
    struct tensor a = device_tensor(dev, t, rows, cols);

    dev->ops->fill_normal(dev, a, stddev, 1, ++stream);
    return a;
}

static void run_pass(struct pass *p, const struct act_rule *rule)
{
    const struct backend *ops = dev->ops;

    ops->copy(dev, p->x.data, p->x0.data, tensor_nbytes(p->x));
    for (int i = 0; i < 32; i++) {
        ops->rmsnorm(dev, p->in, p->x, p->norm, 1e-5f, rule);
        ops->linear(dev, p->qkv_out, p->in, p->qkv[i % 8], 0);
        ops->kv_write(dev, p->kv, p->qkv_out, p->shape, p->cos_sin, &p->batch.b);
        ops->attention(dev, p->attn, p->qkv_out, p->kv, p->shape, p->cos_sin, &p->batch.b, rule);
        ops->linear(dev, p->x, p->attn, p->o[i % 8], 1);
        ops->rmsnorm(dev, p->in, p->x, p->norm, 1e-5f, rule);
        ops->linear_silu_mul(dev, p->act, p->gu, p->in, p->gate_up[i % 8], rule);
        ops->linear(dev, p->x, p->act, p->down[i % 8], 1);
    }
    ops->rmsnorm(dev, p->in, p->x, p->norm, 1e-5f, NULL);
    ops->logprob(dev, p->logprob, p->is_top, p->in, p->head, p->target);
}

static void bench_pass(size_t rows)
{
    struct pass p = {.shape = {NH, NH, D}};
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    struct segment seg[8] = {{0}};
    double flops = 2.0 * (double)rows *
                   (32.0 * (4.0 * H * H + 3.0 * H * M) + (double)H * V + 32.0 * SEQ * H),
           s;

    for (size_t i = 0; i < rows / SEQ; i++)
        seg[i] = (struct segment){SEQ, -1};
    p.batch = packed_make(dev, &rng, seg, rows / SEQ);
    for (int i = 0; i < 8; i++) {
        p.qkv[i] = normal_tensor(DTYPE_F16, 3 * H, H, 0.02f);
        p.o[i] = normal_tensor(DTYPE_F16, H, H, 0.02f);
        p.gate_up[i] = normal_tensor(DTYPE_F16, 2 * M, H, 0.02f);
        p.down[i] = normal_tensor(DTYPE_F16, H, M, 0.02f);
    }
    p.norm = device_tensor(dev, DTYPE_F16, 1, H);
    dev->ops->fill(dev, p.norm, 1);
    p.head = normal_tensor(DTYPE_F16, V, H, 0.02f);
    p.cos_sin = random_tensor(DTYPE_F32, SEQ, D, 0.7);
    p.x0 = normal_tensor(DTYPE_F32, rows, H, 1);
    p.x = device_tensor(dev, DTYPE_F32, rows, H);
    p.in = device_tensor(dev, DTYPE_F16, rows, H);
    p.qkv_out = device_tensor(dev, DTYPE_F16, rows, 3 * H);
    p.attn = device_tensor(dev, DTYPE_F16, rows, H);
    p.gu = device_tensor(dev, DTYPE_F16, rows, 2 * M);
    p.act = device_tensor(dev, DTYPE_F16, rows, M);
    p.kv.k = dev->ops->alloc(dev, p.batch.n_pages * KV_PAGE * H * 2);
    p.kv.v = dev->ops->alloc(dev, p.batch.n_pages * KV_PAGE * H * 2);
    p.logprob = dev->ops->alloc(dev, rows * 8);
    p.is_top = dev->ops->alloc(dev, rows * 4);
    p.target = dev->ops->alloc(dev, rows * 4);
    dev->ops->zero(dev, p.target, rows * 4);
    for (int sparse = 0; sparse < 2; sparse++) {
        s = SECONDS(run_pass(&p, sparse ? &rule : NULL));
        printf("7B pass of %zu rows, %s: %.1f ms, %.0f tokens/s, %.0f TFLOP/s\n", rows,
               sparse ? "50 % top-k" : "dense", s * 1e3, (double)rows / s, flops / s * 1e-12);
    }
    for (int i = 0; i < 8; i++) {
        device_tensor_free(dev, &p.qkv[i]);
        device_tensor_free(dev, &p.o[i]);
        device_tensor_free(dev, &p.gate_up[i]);
        device_tensor_free(dev, &p.down[i]);
    }
    struct tensor *rest[] = {&p.norm, &p.head,    &p.cos_sin, &p.x0, &p.x,
                             &p.in,   &p.qkv_out, &p.attn,    &p.gu, &p.act};

    for (size_t i = 0; i < sizeof(rest) / sizeof(*rest); i++)
        device_tensor_free(dev, rest[i]);
    dev->ops->free(dev, p.kv.k);
    dev->ops->free(dev, p.kv.v);
    dev->ops->free(dev, p.logprob);
    dev->ops->free(dev, p.is_top);
    dev->ops->free(dev, p.target);
    packed_release(dev, &p.batch);
}

/* ---- pruning: seconds of 7B's DuoGPT from its parts */

static double bench_statistics(size_t k)
{
    const size_t rows = SEQ;
    struct tensor x = random_tensor(DTYPE_F16, rows, k, 1),
                  y = random_tensor(DTYPE_F16, rows, k, 1);
    struct tensor h = random_tensor(DTYPE_F32, k, k, 0), s = random_tensor(DTYPE_F32, 1, k, 0);
    double n = (double)rows * (double)k, sum = 0;
    char what[64];

    snprintf(what, sizeof(what), "gram %zu, 2048 rows", k);
    sum += report(what, SECONDS(dev->ops->gram(dev, h, x)), 0, n * (double)k);
    snprintf(what, sizeof(what), "cross %zu", k);
    sum += report(what, SECONDS(dev->ops->cross(dev, h, y, x)), 0, 2 * n * (double)k);
    sum += report("subtract", SECONDS(dev->ops->subtract(dev, y, y, x)), 6 * n, 0);
    sum += report("sum_squares", SECONDS(dev->ops->sum_squares(dev, s, x)), 2 * n, 0);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &y);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &s);
    return sum;
}

/* h = 4 on the diagonal and small random symmetric elsewhere: positive definite. */
static void well_conditioned(struct tensor h, float *four)
{
    dev->ops->mirror(dev, h);
    dev->ops->add_diagonal(dev, h, four);
}

static double bench_solve(size_t k, const size_t *n, size_t n_w)
{
    struct tensor h = random_tensor(DTYPE_F32, k, k, 1e-3),
                  g = random_tensor(DTYPE_F32, k, k, 1e-3);
    struct tensor u = device_tensor(dev, DTYPE_F32, k, k), d = device_tensor(dev, DTYPE_F32, k, k);
    struct tensor coef = random_tensor(DTYPE_F32, 1, k, 1);
    struct obs_options opt = {128, 0.5, 0, 0, 1, NULL};
    float *four = xmalloc(k * sizeof(*four));
    double sum = 0, cube = (double)k * (double)k * (double)k;
    char what[64];
    int info = 0;

    for (size_t i = 0; i < k; i++)
        four[i] = 4;
    snprintf(what, sizeof(what), "inverse_factor %zu (f64)", k);
    well_conditioned(h, four);
    sum += report(what, SECONDS(info |= dev->ops->inverse_factor(dev, u, h)), 0, 2.0 / 3 * cube);
    EXPECT(info == 0, "factor: %d", info);
    snprintf(what, sizeof(what), "multiply %zu^3 (f32)", k);
    sum += 2 * report(what, SECONDS(dev->ops->multiply(dev, d, g, u, 1)), 0, 2 * cube);
    dev->ops->strict_upper(dev, d, 0.01f);
    for (size_t i = 0; i < n_w; i++) {
        struct tensor w = random_tensor(DTYPE_F32, n[i], k, 1);
        double walk = (double)n[i] * (double)k * (double)k;

        snprintf(what, sizeof(what), "obs_prune %zu x %zu", n[i], k);
        sum += report(what, SECONDS(dev->ops->obs_prune(dev, w, u, d, coef, &opt)), 0, 2 * walk);
        EXPECT(dev->ops->all_finite(dev, w), "obs_prune");
        device_tensor_free(dev, &w);
    }
    free(four);
    device_tensor_free(dev, &h);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &u);
    device_tensor_free(dev, &d);
    device_tensor_free(dev, &coef);
    return sum;
}

static void bench_masks(void)
{
    struct tensor w = random_tensor(DTYPE_F32, M, H, 1), s = random_tensor(DTYPE_F32, 1, H, 1);
    struct mask_options matrix = {.sparsity = 0.5}, row = {.sparsity = 0.5, .per_row = 1};
    struct mask_options nm = {.nm_n = 2, .nm_m = 4};
    double n = 4.0 * M * H;

    report("mask_smallest, matrix", SECONDS(dev->ops->mask_smallest(dev, w, s, &matrix)), 4 * n, 0);
    report("mask_smallest, per row", SECONDS(dev->ops->mask_smallest(dev, w, s, &row)), n, 0);
    report("mask_smallest, 2:4", SECONDS(dev->ops->mask_smallest(dev, w, s, &nm)), n, 0);
    report("count_zeros", SECONDS((void)dev->ops->count_zeros(dev, w)), n, 0);
    device_tensor_free(dev, &w);
    device_tensor_free(dev, &s);
}

/* ---- decoding: one layer's products with one row of inputs, weights and inputs partly zero */

static struct tensor sparse_tensor(size_t rows, size_t cols, double zeros)
{
    struct tensor a = device_tensor(dev, DTYPE_F16, rows, cols);
    size_t n = rows * cols, chunk = n < 1 << 22 ? n : 1 << 22;
    float *x = uniform_floats(&rng, chunk);
    struct tensor src;

    for (size_t i = 0; i < chunk; i++)
        if (pcg32_next(&rng) * 0x1p-32 < zeros)
            x[i] = 0;
    src = put(dev, DTYPE_F16, 1, chunk, x);
    for (size_t at = 0; at < n; at += chunk)
        dev->ops->copy(dev, (char *)a.data + at * 2, src.data,
                       (n - at < chunk ? n - at : chunk) * 2);
    device_tensor_free(dev, &src);
    free(x);
    return a;
}

/* Seconds of the four products; prints them with the bytes that they have to read. */
static double bench_gemv(const char *what, enum packed_kind kind, double w_zeros, double x_zeros)
{
    static const size_t shape[4][2] = {{3 * H, H}, {H, H}, {2 * M, H}, {H, M}};
    struct tensor x[4], out[4], w[4];
    struct packed p[4];
    double nbytes = 0, s;

    for (int i = 0; i < 4; i++) {
        w[i] = sparse_tensor(shape[i][0], shape[i][1], w_zeros);
        x[i] = sparse_tensor(1, shape[i][1], x_zeros);
        out[i] = random_tensor(DTYPE_F32, 1, shape[i][0], 1);
        dev->ops->decode->pack(dev, &p[i], w[i], kind);
        nbytes += (double)p[i].nbytes * (kind == PACKED_ROWS ? 1 : 1 - x_zeros);
    }
    s = report(what,
               SECONDS(for (int i = 0; i < 4; i++)
                           dev->ops->decode->gemv(dev, out[i], x[i], &p[i], i % 2)),
               nbytes, 0);
    for (int i = 0; i < 4; i++) {
        dev->ops->decode->packed_free(dev, &p[i]);
        device_tensor_free(dev, &w[i]);
        device_tensor_free(dev, &x[i]);
        device_tensor_free(dev, &out[i]);
    }
    return s;
}

static void bench_decode(void)
{
    static const struct {
        const char *what;
        enum packed_kind kind;
        double w, x;
    } c[] = {{"columns, zeros 0/50", PACKED_COLUMNS, 0, 0.5},
             {"non-zeros, 50/0", PACKED_NONZEROS, 0.5, 0},
             {"non-zeros, 40/40", PACKED_NONZEROS, 0.4, 0.4},
             {"non-zeros, 50/50", PACKED_NONZEROS, 0.5, 0.5},
             {"non-zeros, 60/60", PACKED_NONZEROS, 0.6, 0.6},
             {"non-zeros, 65/65", PACKED_NONZEROS, 0.65, 0.65}};
    double dense;

    if (!dev->ops->decode)
        return;
    dense = bench_gemv("gemv of a layer, rows", PACKED_ROWS, 0, 0);
    for (size_t i = 0; i < sizeof(c) / sizeof(*c); i++)
        printf("%34s %.2f x\n", "", dense / bench_gemv(c[i].what, c[i].kind, c[i].w, c[i].x));
}

void bench(void)
{
    static const size_t qkv[] = {H, H, H}, o[] = {H}, gate_up[] = {M, M}, down[] = {H};
    double stats = 0, solve = 0;

    printf("\n# %s; f16, %d tokens, LLaMA-2-7B's shapes\n", dev->ops->describe(dev), T);
    ceilings();
    bench_decode();
    bench_forward();
    bench_pass(T);
    bench_pass(2 * T);
    stats += 3 * bench_statistics(H);
    stats += bench_statistics(M);
    solve += bench_solve(H, qkv, 3);
    solve += bench_solve(H, o, 1);
    solve += bench_solve(H, gate_up, 2);
    solve += bench_solve(M, down, 1);
    bench_masks();
    printf("7B DuoGPT, 128 x 2048: statistics %.1f s, solving %.1f s\n", 32 * 128 * stats,
           32 * solve);
}
