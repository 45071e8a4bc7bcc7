/* Kernel checker: what a decode step does between its products, against the CPU and textbook rules,
 * and the recording of operations. */
#include "tests/check_kernels.h"

/* sparse is the rule applied to dense, to the bit; zeros were counted. Takes over both. */
static void expect_rule(float *sparse, float *dense, size_t n, const struct act_rule *rule,
                        const char *what, enum dtype t)
{
    uint64_t zeros = counted(rule->n_zero),
             want = textbook_rule(dense, n, rule->kind, rule->sparsity, rule->threshold);

    EXPECT(misfit(sparse, dense, n, 0, 0) == 0, "%s %s, %zu, s %g", what, dtype_name(t), n,
           rule->sparsity);
    EXPECT(zeros == want, "%s %s, %zu, s %g: %llu zeros, want %llu", what, dtype_name(t), n,
           rule->sparsity, (unsigned long long)zeros, (unsigned long long)want);
    free(sparse);
    free(dense);
}

/* ---- norm and gate; tolerances as in check_rows.c */

/* Row `kind` of odd_rows(): normal, tied, one magnitude, zero, huge, tiny. */
static float *odd_row(size_t n, int kind, float huge, float tiny)
{
    float *all = odd_rows(&rng, 6, n, huge, tiny), *x = xmalloc(n * sizeof(*x));

    memcpy(x, all + (size_t)kind * n, n * sizeof(*x));
    free(all);
    return x;
}

static void norm_case(enum dtype t, size_t n, int kind, double s)
{
    float *x = odd_row(n, kind, 1e15f, 1e-15f), *w = random_floats(&rng, n, 1), *got;
    struct tensor a = put(dev, DTYPE_F32, 1, n, x), g = put(dev, DTYPE_F32, 1, n, w);
    struct tensor ra = put(ref, DTYPE_F32, 1, n, x), rg = put(ref, DTYPE_F32, 1, n, w);
    struct tensor o = poison(dev, t, 1, n), ro = poison(ref, DTYPE_F32, 1, n);
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = s, .n_zero = counter()};

    ref->ops->decode->rmsnorm(ref, ro, ra, rg, 1e-5f, NULL);
    dev->ops->decode->rmsnorm(dev, o, a, g, 1e-5f, NULL);
    got = get(dev, o);
    EXPECT(misfit(got, ro.data, n, 1.01 * rounding(t) + 2e-6, smallest(t)) <= 1,
           "norm of one row %s, %zu", dtype_name(t), n);
    dev->ops->decode->rmsnorm(dev, o, a, g, 1e-5f, &rule);
    expect_rule(get(dev, o), got, n, &rule, "norm of one row", t);
    free(x);
    free(w);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &o);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &rg);
    device_tensor_free(ref, &ro);
}

static void gate_case(enum dtype t, size_t m, int kind, const struct act_rule *how)
{
    float *x = odd_row(2 * m, kind, t == DTYPE_F16 ? 15 : 25, tiny_of(t)), *got;
    struct tensor a = put(dev, DTYPE_F32, 1, 2 * m, x), o = poison(dev, t, 1, m), ra, ro;
    struct act_rule rule = *how;
    double rel = 1.01 * rounding(t) + 1e-5, abs = smallest(t) + 1e-33;

    rule.n_zero = counter();
    round_to(x, 2 * m, t); /* as the device is to do */
    ra = put(ref, DTYPE_F32, 1, 2 * m, x);
    ro = poison(ref, DTYPE_F32, 1, m);
    ref->ops->decode->silu_mul(ref, ro, ra, NULL);
    dev->ops->decode->silu_mul(dev, o, a, NULL);
    got = get(dev, o);
    EXPECT(misfit(got, ro.data, m, rel, abs) <= 1, "gate of one row %s, %zu: %g", dtype_name(t), m,
           misfit(got, ro.data, m, rel, abs));
    dev->ops->decode->silu_mul(dev, o, a, &rule);
    expect_rule(get(dev, o), got, m, &rule, "gate of one row", t);
    free(x);
    device_tensor_free(dev, &a);
    device_tensor_free(dev, &o);
    device_tensor_free(ref, &ra);
    device_tensor_free(ref, &ro);
}

static void test_norm_and_gate(void)
{
    static const size_t sizes[] = {1, 2, 7, 33, 256, 1000, 4096, 4097, 5120, 11008, 28672, 40000};
    static const double shares[] = {0, 0.1, 0.5, 0.65, 0.999};

    FOR_DTYPES(t)
    for (size_t i = 0; i < 12; i++)
        for (int kind = 0; kind < 6; kind++) {
            struct act_rule top = {.kind = ACT_TOPK, .sparsity = shares[kind % 5]};
            struct act_rule fixed = {.kind = ACT_THRESHOLD, .threshold = 0.4f};

            norm_case(t, sizes[i], kind, shares[(kind + 1) % 5]);
            norm_case(t, sizes[i], kind, 0.5);
            gate_case(t, sizes[i], kind, &top);
            gate_case(t, sizes[i], kind, &fixed);
        }
}

/* ---- attention: positions n_prefix .. n - 1 one by one, after kv_write has stored the ones
 * before; against the CPU over the whole, rows turned and rounded on the host. Tolerance as in
 * check_attention.c, without the weights' rounding. */

struct decode_case {
    enum dtype t;
    struct attention_shape sh;
    size_t n_prefix, n;
};

/* The first n_prefix rows to a poisoned store, page after page. */
static struct kv_layer store_prefix(const struct decode_case *c, const float *qkv, struct tensor cs)
{
    size_t cols = (c->sh.n_heads + 2 * c->sh.n_kv_heads) * c->sh.head_dim;
    size_t page = c->sh.n_kv_heads * c->sh.head_dim * KV_PAGE, pages = c->n / KV_PAGE + 1;
    struct tensor k = poison(dev, c->t, pages, page), v = poison(dev, c->t, pages, page), x;
    int32_t *count = xmalloc(c->n * sizeof(*count)), *d_count;
    struct batch_layout b = {.n_rows = c->n_prefix, .n_segments = 1, .n_copies = c->n_prefix};
    struct kv_layer kv = {k.data, v.data};

    for (size_t i = 0; i < c->n; i++)
        count[i] = (int32_t)i;
    d_count = put_ints(dev, count, c->n);
    b.positions = b.copy_row = b.copy_slot = d_count;
    b.max_positions = c->n_prefix;
    if (c->n_prefix) {
        x = put(dev, c->t, c->n_prefix, cols, qkv);
        dev->ops->kv_write(dev, kv, x, c->sh, cs, &b);
        device_tensor_free(dev, &x);
    }
    free(count);
    dev->ops->free(dev, d_count);
    return kv;
}

static void attention_case(enum dtype t, struct attention_shape sh, size_t n_prefix, size_t n)
{
    struct decode_case c = {t, sh, n_prefix, n};
    struct segment one = {(int)n, -1};
    struct packed_batch b = packed_make(ref, &rng, &one, 1);
    size_t w = sh.n_heads * sh.head_dim, cols = w + 2 * sh.n_kv_heads * sh.head_dim;
    float *qkv = random_floats(&rng, n * cols, 1), *turned = xmalloc(n * cols * sizeof(*turned));
    float *angles = rotations(n, sh.head_dim), *want, *got = NULL;
    struct tensor cs = put(dev, DTYPE_F32, n, sh.head_dim, angles), out = poison(dev, t, 1, w);
    struct tensor row = poison(dev, DTYPE_F32, 1, cols);
    struct kv_layer kv = store_prefix(&c, qkv, cs);
    int32_t zero = 0, *position = put_ints(dev, &zero, 1);
    double tol = (1.5 * rounding(t) + 1e-5) * 4;

    memcpy(turned, qkv, n * cols * sizeof(*turned));
    round_to(turned, n * cols, t);
    turn_rows(&b, t, sh, angles, turned);
    want = run_attention(ref, &b, DTYPE_F32, sh, NULL, turned, NULL);
    for (size_t p = n_prefix; p < n; p++) {
        int32_t at = (int32_t)p;

        dev->ops->upload(dev, row.data, qkv + p * cols, cols * sizeof(*qkv));
        dev->ops->upload(dev, position, &at, sizeof(at));
        dev->ops->decode->attention(dev, out, row, kv, sh, cs, position, n);
        free(got);
        got = get(dev, out);
        EXPECT(misfit(got, want + p * w, w, 0, tol) <= 1, "%s, %zu/%zu heads of %zu, at %zu: %g",
               dtype_name(t), sh.n_heads, sh.n_kv_heads, sh.head_dim, p,
               misfit(got, want + p * w, w, 0, tol));
    }
    free(got);
    free(qkv);
    free(turned);
    free(angles);
    free(want);
    packed_release(ref, &b);
    device_tensor_free(dev, &cs);
    device_tensor_free(dev, &out);
    device_tensor_free(dev, &row);
    dev->ops->free(dev, kv.k);
    dev->ops->free(dev, kv.v);
    dev->ops->free(dev, position);
}

static void test_attention_of_one_row(void)
{
    FOR_DTYPES(t)
    {
        attention_case(t, (struct attention_shape){1, 1, 32}, 0, 40);
        attention_case(t, (struct attention_shape){4, 4, 64}, 7, 150);
        attention_case(t, (struct attention_shape){4, 2, 64}, 16, 60);
        attention_case(t, (struct attention_shape){2, 1, 80}, 15, 50);
        attention_case(t, (struct attention_shape){6, 2, 128}, 31, 70);
        attention_case(t, (struct attention_shape){8, 1, 128}, 33, 40);
        attention_case(t, (struct attention_shape){5, 1, 40}, 3, 20);
        attention_case(t, (struct attention_shape){3, 1, 6}, 5, 40);
        attention_case(t, (struct attention_shape){2, 1, 36}, 17, 40);
        attention_case(t, (struct attention_shape){2, 2, 256}, 100, 120);
        attention_case(t, (struct attention_shape){32, 32, 128}, 509, 516);
        attention_case(t, (struct attention_shape){32, 8, 128}, 2046, 2050);
        attention_case(t, (struct attention_shape){4, 4, 64}, 4093, 4096);
    }
}

/* ---- the next token */

struct chooser {
    struct tensor logits;
    struct decode_cursor *cursor;
    int32_t *ids;
    double *logprob;
};

static struct chooser chooser_open(struct device *on, size_t n, const float *x, uint64_t seed)
{
    struct chooser c = {
        put(on, DTYPE_F32, 1, n, x), on->ops->alloc(on, sizeof(struct decode_cursor)),
        on->ops->alloc(on, 64 * sizeof(int32_t)), on->ops->alloc(on, 64 * sizeof(double))};
    struct decode_cursor at = {.position = 3};
    struct pcg32 g;

    pcg32_init(&g, seed, 0);
    at.rng = g.state;
    on->ops->upload(on, c.cursor, &at, sizeof(at));
    return c;
}

static void chooser_close(struct device *on, struct chooser *c)
{
    device_tensor_free(on, &c->logits);
    on->ops->free(on, c->cursor);
    on->ops->free(on, c->ids);
    on->ops->free(on, c->logprob);
}

/* The CPU and the device draw the same ids from the same generator: sums differ by rounding alone,
 * which moves a draw once in millions. */
static void choice_case(size_t n, const float *x, float temperature)
{
    struct chooser a = chooser_open(dev, n, x, n), b = chooser_open(ref, n, x, n);
    struct decode_cursor got, want;
    int32_t ids[25];

    for (int i = 0; i < 20; i++) {
        dev->ops->decode->sample(dev, a.cursor, a.ids, a.logits, temperature);
        ref->ops->decode->sample(ref, b.cursor, b.ids, b.logits, temperature);
    }
    dev->ops->download(dev, &got, a.cursor, sizeof(got));
    dev->ops->download(dev, ids, a.ids, sizeof(ids));
    memcpy(&want, b.cursor, sizeof(want));
    EXPECT(got.id == want.id && got.position == 23 && got.rng == want.rng,
           "%zu ids, temperature %g: %d at %d, want %d", n, temperature, got.id, got.position,
           want.id);
    EXPECT(memcmp(ids + 4, b.ids + 4, 20 * sizeof(*ids)) == 0, "%zu ids, temperature %g", n,
           temperature);
    chooser_close(dev, &a);
    chooser_close(ref, &b);
}

static void force_case(size_t n, const float *x)
{
    struct chooser a = chooser_open(dev, n, x, 1), b = chooser_open(ref, n, x, 1);
    struct decode_cursor at;
    double got[24], *want = b.logprob;

    for (int i = 0; i < 24; i++)
        b.ids[i] = (int32_t)pcg32_below(&rng, (uint32_t)n);
    dev->ops->upload(dev, a.ids, b.ids, 24 * sizeof(*b.ids));
    for (int i = 0; i < 20; i++) {
        dev->ops->decode->force(dev, a.cursor, a.ids, a.logits, a.logprob);
        ref->ops->decode->force(ref, b.cursor, b.ids, b.logits, b.logprob);
    }
    dev->ops->download(dev, got, a.logprob, sizeof(got));
    dev->ops->download(dev, &at, a.cursor, sizeof(at));
    EXPECT(at.position == 23 && at.id == b.ids[23], "%d at %d", at.id, at.position);
    for (int i = 4; i < 24; i++)
        EXPECT(fabs(got[i] - want[i]) <= 1e-6, "%zu ids: %g, want %g", n, got[i], want[i]);
    chooser_close(dev, &a);
    chooser_close(ref, &b);
}

static void test_choice(void)
{
    static const size_t sizes[] = {1, 2, 31, 300, 1024, 1025, 4096, 32000, 128256};

    for (size_t i = 0; i < 9; i++) {
        size_t n = sizes[i];
        float *x = random_floats(&rng, n, 3), *tied = tied_floats(&rng, n);

        choice_case(n, x, 0);
        choice_case(n, x, 0.7f);
        choice_case(n, x, 3);
        choice_case(n, tied, 0); /* the lowest id among equals */
        choice_case(n, tied, 1);
        force_case(n, x);
        for (size_t j = 0; j < n; j++)
            x[j] = j == n / 3 ? -1 : -INFINITY;
        choice_case(n, x, 0);
        choice_case(n, x, 1);
        free(x);
        free(tied);
    }
}

/* ---- recordings: a chain of operations, recorded, gives the bits of the chain itself, each time
 * reading what is in memory then */

static void chain(struct tensor norm, struct tensor x, struct tensor w, struct tensor out,
                  const struct act_rule *rule)
{
    dev->ops->decode->rmsnorm(dev, norm, x, w, 1e-5f, rule);
    dev->ops->decode->silu_mul(dev, out, x, rule);
}

static void test_recording(void)
{
    size_t n = 4096;
    float *w = random_floats(&rng, n, 1);
    struct tensor x = poison(dev, DTYPE_F32, 1, n), g = put(dev, DTYPE_F32, 1, n, w);
    struct tensor norm = poison(dev, DTYPE_F32, 1, n), out = poison(dev, DTYPE_F32, 1, n / 2);
    struct act_rule rule = {.kind = ACT_TOPK, .sparsity = 0.5};
    struct recording *r;

    if (!dev->ops->decode->record_begin) {
        SKIP("recording", "this backend has none");
        return;
    }
    dev->ops->zero(dev, x.data, tensor_nbytes(x));
    chain(norm, x, g, out, &rule); /* warm */
    dev->ops->decode->record_begin(dev);
    chain(norm, x, g, out, &rule);
    r = dev->ops->decode->record_end(dev);
    for (int i = 0; i < 3; i++) {
        float *v = random_floats(&rng, n, 1), *a, *b, *c, *d;

        dev->ops->upload(dev, x.data, v, n * sizeof(*v));
        dev->ops->decode->record_run(dev, r);
        a = get(dev, norm);
        b = get(dev, out);
        chain(norm, x, g, out, &rule);
        c = get(dev, norm);
        d = get(dev, out);
        EXPECT(same_bits(a, c, n * 4) && same_bits(b, d, n * 2), "run %d", i);
        free(v);
        free(a);
        free(b);
        free(c);
        free(d);
    }
    dev->ops->decode->record_free(dev, r);
    free(w);
    device_tensor_free(dev, &x);
    device_tensor_free(dev, &g);
    device_tensor_free(dev, &norm);
    device_tensor_free(dev, &out);
}

int check_decode_step(void)
{
    int failed = 0;

    RUN_AND_COUNT(test_norm_and_gate, failed);
    RUN_AND_COUNT(test_attention_of_one_row, failed);
    RUN_AND_COUNT(test_choice, failed);
    RUN_AND_COUNT(test_recording, failed);
    return failed;
}
