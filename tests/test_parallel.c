/* A model held by several devices gives the bits that it gives on one: scores, rules, pruning and
 * decoding; the demo model always, the reference models where they are there. The devices are CPUs,
 * each on a thread of its own; what they exchange goes through the threads' memory. */
#include <pthread.h>

#include "harness/base/file.h"
#include "harness/measure/sweep.h"
#include "harness/model/decode.h"
#include "harness/model/parallel.h"
#include "prune/pruners.h"
#include "tests/demo.h"

#define MOST_DEVICES 4
#define WINDOW 200
#define N_WINDOWS 3
#define N_ROWS (N_WINDOWS * WINDOW + 40 + 2 * 9)
#define N_NEW 12

/* ---- devices on threads */

struct meeting {
    pthread_barrier_t barrier;
    const void *src[MOST_DEVICES];
};

struct thread_comm {
    struct comm base;
    struct meeting *meeting;
};

static void meet(struct comm *c, void *dst, const void *src, size_t nbytes)
{
    struct meeting *m = ((struct thread_comm *)c)->meeting;

    m->src[c->rank] = src;
    pthread_barrier_wait(&m->barrier);
    for (int r = 0; r < c->size; r++)
        if ((char *)dst + (size_t)r * nbytes != m->src[r])
            memcpy((char *)dst + (size_t)r * nbytes, m->src[r], nbytes);
    pthread_barrier_wait(&m->barrier);
}

static void nothing(struct comm *c)
{
    (void)c;
}

/* ---- what one device does with the model, and what comes of it */

struct result {
    double zeros;
    size_t n_pruned; /* rows that the method was given */
    uint64_t n_zero[N_GROUPS];
    double logprob[N_ROWS];
    int32_t top[N_ROWS], ids[WINDOW + N_NEW];
    float *logits;
};

struct work {
    const struct checkpoint *checkpoint;
    const struct pruner *method;
    enum residence residence;
    enum act_kind rule;
    int last_half;
    struct comm *comm; /* NULL: the only device */
    struct result *out;
};

static __thread size_t n_pruned;
static const struct pruner *spied;

static int spy(struct prune_job *job)
{
    for (size_t i = 0; i < job->n_w; i++)
        n_pruned += job->w[i].rows;
    return spied->prune(job);
}

static void prune(struct model *m, const struct pruner *method)
{
    struct pruner with_spy = *method;
    struct prune_options o = {.sparsity = 0.5,
                              .act_sparsity = 0.5,
                              .alpha = 0.125,
                              .damp = 0.01,
                              .order_act = 1,
                              .lazy_exact = 1,
                              .block = 64};
    int32_t ids[4 * 64];

    for (int i = 0; i < 4 * 64; i++)
        ids[i] = 3 + i * i % 900;
    with_spy.prune = spy;
    CHECK(sweep_prune(m, &with_spy, &o, ids, 4, 64, NULL) == 0);
}

/* Windows, and a context that two requests continue. */
static void score(const struct model *m, int last_half, struct result *out)
{
    static const int32_t n_ids[] = {WINDOW, WINDOW, WINDOW, 40, 9, 9};
    int32_t ids[N_ROWS], rows[N_ROWS], target[N_ROWS];
    size_t at = 0, n = last_half ? 3 : 6;
    struct session s;

    session_open(&s, m, N_ROWS, N_ROWS / KV_PAGE + 16, 0);
    for (int i = 0; i < N_ROWS; i++) {
        ids[i] = 3 + i * 31 % 1000;
        rows[i] = i;
        target[i] = 3 + i * 17 % 1000;
    }
    for (size_t i = 0; i < n; at += (size_t)n_ids[i++])
        batch_add(&s.batch, ids + at, (size_t)n_ids[i], i > 3 ? 3 : -1);
    session_forward(&s);
    session_logprobs(&s, rows, target, at, out->logprob, out->top);
    session_close(&s);
}

static void decode(const struct model *m, struct result *out)
{
    struct decode_options o = decode_options_of(PACKED_AUTO, 30 + N_NEW);
    struct decoder d;
    int32_t prompt[30];

    for (int i = 0; i < 30; i++)
        prompt[i] = 3 + i * 41 % 1000;
    CHECK(decoder_open(&d, m, &o) == 0);
    decoder_prefill(&d, prompt, 30);
    decoder_generate(&d, N_NEW);
    decoder_ids(&d, 0, 30 + N_NEW, out->ids);
    out->logits = xmalloc(m->config.n_vocab * sizeof(float));
    decoder_logits(&d, out->logits);
    decoder_close(&d);
}

static void *run(void *arg)
{
    const struct work *w = arg;
    struct model_source src = {.checkpoint = w->checkpoint, .comm = w->comm};
    struct device *dev;
    struct model m;

    CHECK(device_open(&dev, "cpu", 1) == 0);
    CHECK(model_open_from(&m, dev, &src, DTYPE_F32, w->residence) == 0);
    if (w->method)
        prune(&m, w->method);
    w->out->n_pruned = n_pruned;
    w->out->zeros = model_zero_share(&m);
    model_set_activation(&m, w->rule, w->rule == ACT_DENSE ? 0 : 0.5);
    m.act_last_half = w->last_half;
    dev->ops->zero(dev, m.n_act_zero, sizeof(w->out->n_zero));
    score(&m, w->last_half, w->out);
    dev->ops->download(dev, w->out->n_zero, m.n_act_zero, sizeof(w->out->n_zero));
    if (!m.store)
        decode(&m, w->out);
    model_close(&m);
    device_close(dev);
    return NULL;
}

/* ---- one device and several */

static void run_on(struct result *out, const struct work *what, int n)
{
    struct meeting meeting;
    struct thread_comm comm[MOST_DEVICES];
    struct work work[MOST_DEVICES];
    pthread_t thread[MOST_DEVICES];

    pthread_barrier_init(&meeting.barrier, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        comm[i].meeting = &meeting;
        comm[i].base =
            (struct comm){.rank = i, .size = n, .all_gather = meet, .begin = meet, .wait = nothing};
        work[i] = *what;
        work[i].comm = &comm[i].base;
        work[i].out = &out[i];
        CHECK(pthread_create(&thread[i], NULL, run, &work[i]) == 0);
    }
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&meeting.barrier);
}

/* Rows that one of n CPUs prunes: its part of a group's, if that is a multiple of the backend's
 * tile. */
static size_t rows_of_part(const struct llama_config *k, int n)
{
    const size_t part = (size_t)n, tile = backends[0]->row_tile, kv = k->n_kv_heads * k->head_dim;
    size_t q = k->n_heads * k->head_dim, f = k->intermediate, e = k->hidden, sum = 0;

    sum += (q + 2 * kv) / (q / part % tile || kv / part % tile ? 1 : part);
    sum += 2 * (e / (e / part % tile ? 1 : part)); /* o, down */
    sum += 2 * (f / (f / part % tile ? 1 : part));
    return sum * k->n_layers;
}

static void compare(const struct work *what, int n)
{
    static struct result one, many[MOST_DEVICES];
    struct work alone = *what;
    const struct llama_config *k = &what->checkpoint->config;

    memset(&one, 0, sizeof(one));
    memset(many, 0, sizeof(many));
    alone.out = &one;
    spied = what->method;
    n_pruned = 0;
    run(&alone);
    run_on(many, what, n);
    for (int i = 0; i < n; i++) {
        const struct result *r = &many[i];

        CHECK(one.logprob[0] < 0 && r->zeros == one.zeros);
        CHECK(r->n_pruned == (what->method ? rows_of_part(k, n) : 0));
        CHECK(what->rule == ACT_DENSE || memcmp(r->n_zero, one.n_zero, sizeof(one.n_zero)) == 0);
        CHECK(memcmp(r->logprob, one.logprob, sizeof(one.logprob)) == 0);
        CHECK(memcmp(r->top, one.top, sizeof(one.top)) == 0);
        CHECK(memcmp(r->ids, one.ids, sizeof(one.ids)) == 0);
        CHECK(!one.logits || memcmp(r->logits, one.logits, k->n_vocab * sizeof(float)) == 0);
        free(many[i].logits);
    }
    free(one.logits);
}

static void compare_model(const char *dir, int many)
{
    struct checkpoint c;
    struct work w = {.checkpoint = &c, .residence = RESIDENCE_DEVICE, .rule = ACT_DENSE};

    CHECK(checkpoint_open(&c, dir) == 0);
    if (many > 2)
        compare(&w, many);
    w.rule = ACT_TOPK;
    compare(&w, 2);
    w.method = &pruner_duogpt;
    compare(&w, 2);
    checkpoint_close(&c);
}

static void test_demo(void)
{
    compare_model(DEMO_MODEL, 4);
}

static void test_rules_methods_and_streaming(void)
{
    struct checkpoint c;
    struct work w = {.checkpoint = &c, .residence = RESIDENCE_STREAM, .method = &pruner_wanda};

    CHECK(checkpoint_open(&c, DEMO_MODEL) == 0);
    w.rule = ACT_WINA;
    compare(&w, 2);
    w.residence = RESIDENCE_DEVICE;
    w.method = &pruner_magnitude;
    w.rule = ACT_TOPK;
    w.last_half = 1;
    compare(&w, 2);
    checkpoint_close(&c);
}

static void test_reference_models(void)
{
    const char *const dirs[] = {"../shared/models/llama2-ref", "../shared/models/llama3-ref"};

    for (int i = 0; i < 2; i++)
        if (dir_exists(dirs[i]) && !SANITIZED)
            compare_model(dirs[i], 2);
        else
            printf("skip %s\n", dirs[i]);
}

static void test_what_cannot_be_divided(void)
{
    struct llama_config c = {.n_heads = 8, .n_kv_heads = 2, .intermediate = 96, .hidden = 64};

    error_silence(1);
    CHECK(parallel_check(&c, 2) == 0);
    CHECK(parallel_check(&c, 4) == -1);
    CHECK(strstr(error_last(), "2 key and value heads are not divisible by 4"));
    error_silence(0);
}

int main(void)
{
    progress_quiet(1);
    RUN(test_demo);
    RUN(test_rules_methods_and_streaming);
    RUN(test_reference_models);
    RUN(test_what_cannot_be_divided);
    return 0;
}
