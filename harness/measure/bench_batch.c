/* Timing batches: prompts, and the windows of perplexity. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/measure/bench_work.h"
#include "harness/measure/perplexity.h"
#include "harness/model/session.h"

struct batches {
    struct session session;
    size_t n_windows, window; /* of ids; one prompt: 1 x n */
    int32_t *ids;
    double *nll;
};

static size_t n_pages_for(size_t n_windows, size_t window)
{
    return n_windows * batch_pages_for(0, window);
}

static void batches_open(struct batches *b, const struct model *m, size_t n_windows, size_t window,
                         size_t n_batches, uint64_t seed)
{
    struct pcg32 g;

    *b = (struct batches){.n_windows = n_windows, .window = window};
    b->ids = xmalloc(n_windows * window * sizeof(*b->ids));
    b->nll = xmalloc(n_windows * sizeof(*b->nll));
    pcg32_init(&g, seed, 0);
    for (size_t i = 0; i < n_windows * window; i++)
        b->ids[i] = (int32_t)pcg32_below(&g, (uint32_t)m->config.n_vocab);
    session_open(&b->session, m, n_windows / n_batches * window,
                 n_pages_for(n_windows / n_batches, window), 0);
}

static void batches_close(struct batches *b)
{
    session_close(&b->session);
    free(b->ids);
    free(b->nll);
}

static void run_prompt(void *arg)
{
    struct batches *b = arg;
    int32_t last = (int32_t)b->window - 1, is_top;
    double logprob;

    batch_clear(&b->session.batch);
    batch_add(&b->session.batch, b->ids, b->window, -1);
    session_forward(&b->session);
    session_logprobs(&b->session, &last, b->ids, 1, &logprob, &is_top);
}

static void run_windows(void *arg)
{
    struct batches *b = arg;

    for (size_t i = 0; i < b->n_windows; i++)
        b->nll[i] = NAN;
    if (perplexity_windows(&b->session, b->ids, b->n_windows, b->window, b->nll, NULL) != 0)
        die("a log-likelihood of random ids is not finite");
}

static int bench_batches(struct bench_outcome *out, const struct bench_models *m, const char *task,
                         size_t n_windows, size_t window, size_t n_batches, void (*run)(void *arg))
{
    int has_sparse = bench_is_pruned(m) || m->act_sparsity > 0;
    double n_tokens = (double)n_windows * (double)window;
    struct bench_program programs[2];
    struct batches dense, sparse;

    *out = (struct bench_outcome){
        .task = task, .cache = "cold", .context = (double)window, .tokens = 1};
    if (window > m->dense->config.max_positions)
        return -1;
    batches_open(&dense, m->dense, n_windows, window, n_batches, m->seed);
    programs[0] = (struct bench_program){
        .name = "dense", .run = run, .arg = &dense, .units = n_tokens, .repeatable = 1};
    out->path[out->n_paths++] = PATH_LIBRARY;
    if (has_sparse) {
        batches_open(&sparse, m->pruned, n_windows, window, n_batches, m->seed);
        programs[1] = programs[0];
        programs[1].name = "sparse";
        programs[1].arg = &sparse;
        out->path[out->n_paths++] = PATH_SPARSE;
    }
    for (size_t i = 0; i < out->n_paths; i++)
        out->bytes[i] = NAN; /* bound by arithmetic */
    bench_run(&out->samples, m->dense->dev, programs, out->n_paths, &m->limits);
    batches_close(&dense);
    if (has_sparse)
        batches_close(&sparse);
    return 0;
}

int bench_prefill(struct bench_outcome *out, const struct bench_models *m, size_t n)
{
    return bench_batches(out, m, "prefill", 1, n, 1, run_prompt);
}

int bench_windows(struct bench_outcome *out, const struct bench_models *m, size_t window,
                  size_t rows)
{
    size_t n = rows / window ? rows / window : 1;

    return bench_batches(out, m, "windows", 2 * n, window, 2, run_windows);
}
