/* What the tests of structured methods share: the demo model, a few calibration windows, and losses
 * computed apart, by a second copy of the model in which what is left out has weights of zero. */
#ifndef DUO_TESTS_STRUCTURED_H
#define DUO_TESTS_STRUCTURED_H

#include "harness/base/rng.h"
#include "harness/measure/sweep.h"
#include "prune/pruners.h"
#include "tests/demo.h"

#define WINDOW 24
#define N_WINDOWS 3
#define N_IDS (WINDOW * N_WINDOWS)
#define N_LAYERS 6

static struct demo demo, whole; /* the second one: for weights and losses, never pruned */
static struct session whole_session;
static int32_t ids[N_IDS];

static inline void structured_open(void)
{
    struct pcg32 g;

    pcg32_init(&g, 11, 5);
    demo_open(&demo, DEMO_MODEL, 1);
    demo_open(&whole, DEMO_MODEL, 1);
    demo_session(&whole_session, &whole.model, N_IDS);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = i % WINDOW ? 3 + (int32_t)pcg32_below(&g, 4000) : 1;
}

static inline void structured_close(void)
{
    session_close(&whole_session);
    demo_close(&whole);
    demo_close(&demo);
}

static inline struct prune_options options_of(double sparsity)
{
    return (struct prune_options){.sparsity = sparsity};
}

static inline void lay_windows(struct session *s)
{
    batch_clear(&s->batch);
    for (int i = 0; i < N_WINDOWS; i++)
        batch_add(&s->batch, ids + i * WINDOW, WINDOW, -1);
}

/* Log-probabilities of every id but the windows' first ones; their mean's negative is returned. */
static inline double run_windows(struct session *s, double *logprob)
{
    int32_t rows[N_IDS], targets[N_IDS], top[N_IDS];
    size_t n = 0;
    double sum = 0;

    lay_windows(s);
    for (int i = 0; i < N_IDS; i++)
        if (i % WINDOW != WINDOW - 1) {
            rows[n] = i;
            targets[n++] = ids[i + 1];
        }
    session_forward(s);
    session_logprobs(s, rows, targets, n, logprob, top);
    for (size_t i = 0; i < n; i++)
        sum -= logprob[i];
    return sum / (double)n;
}

/* The same for the model as it now is. */
static inline double run_model(const struct model *m, double *logprob)
{
    struct session s;
    double loss;

    demo_session(&s, m, N_IDS);
    loss = run_windows(&s, logprob);
    session_close(&s);
    return loss;
}

/* The layer of the whole model that l was. */
static inline size_t layer_was(const struct layer *l)
{
    size_t i = 0;

    while (i < N_LAYERS &&
           memcmp((l->o.data ? l->o : l->down).data,
                  (l->o.data ? whole.model.layers[i].o : whole.model.layers[i].down).data, 4096))
        i++;
    return i;
}

/* Which sub-blocks the demo model still has. */
static inline void parts_left(char attention[N_LAYERS], char mlp[N_LAYERS])
{
    memset(attention, 0, N_LAYERS);
    memset(mlp, 0, N_LAYERS);
    for (size_t i = 0; i < demo.model.config.n_layers; i++) {
        size_t was = layer_was(&demo.model.layers[i]);

        CHECK(was < N_LAYERS);
        if (was == N_LAYERS)
            continue;
        attention[was] = (char)layer_has_attention(&demo.model.layers[i]);
        mlp[was] = (char)layer_has_mlp(&demo.model.layers[i]);
    }
}

/* The loss with the outputs of all other sub-blocks set to zero. */
static inline double loss_with(const char attention[N_LAYERS], const char mlp[N_LAYERS])
{
    double logprob[N_IDS], loss;
    struct tensor kept[N_LAYERS][2];

    for (size_t i = 0; i < N_LAYERS; i++) {
        struct layer *l = &whole.model.layers[i];

        kept[i][0] = l->o;
        kept[i][1] = l->down;
        if (!attention[i])
            l->o.data = xcalloc(tensor_numel(l->o), sizeof(float));
        if (!mlp[i])
            l->down.data = xcalloc(tensor_numel(l->down), sizeof(float));
    }
    loss = run_windows(&whole_session, logprob);
    for (size_t i = 0; i < N_LAYERS; i++) {
        struct layer *l = &whole.model.layers[i];

        if (!attention[i])
            free(l->o.data);
        if (!mlp[i])
            free(l->down.data);
        l->o = kept[i][0];
        l->down = kept[i][1];
    }
    return loss;
}

/* The best of the sub-blocks still there to leave out next: the lowest loss_with(). Pairs: a
 * layer's two together. Clears it. */
static inline void leave_out_best(char attention[N_LAYERS], char mlp[N_LAYERS], int pairs)
{
    double best = INFINITY;
    int which = -1;

    for (int i = 0; i < 2 * N_LAYERS; i++) {
        char a[N_LAYERS], m[N_LAYERS];
        double loss;

        if (!(i % 2 ? mlp : attention)[i / 2] || (pairs && i % 2))
            continue;
        memcpy(a, attention, N_LAYERS);
        memcpy(m, mlp, N_LAYERS);
        if (i % 2 == 0 || pairs)
            a[i / 2] = 0;
        if (i % 2 == 1 || pairs)
            m[i / 2] = 0;
        loss = loss_with(a, m);
        if (loss < best) {
            best = loss;
            which = i;
        }
    }
    if (which % 2 == 0 || pairs)
        attention[which / 2] = 0;
    if (which % 2 == 1 || pairs)
        mlp[which / 2] = 0;
}

#endif
