/* What the tests on the demo model share: the model on a device, and its tasks read and tokenised.
 */
#ifndef DUO_TESTS_DEMO_H
#define DUO_TESTS_DEMO_H

#include <math.h>

#include "data/archive.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/measure/evaluate.h"
#include "harness/measure/perplexity.h"
#include "tests/test.h"

#define DEMO_DATA "data/demo"
#define DEMO_MODEL "data/demo/model"

/* Sanitizers take tens of times as long; under them the tests see a part of the data. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

struct demo {
    struct device *dev;
    struct checkpoint checkpoint;
    struct tokenizer *tokenizer;
    struct model model;
};

/* Ends the program where the model cannot be opened. */
static inline void demo_open(struct demo *d, const char *dir, int threads)
{
    progress_quiet(1);
    if (device_open(&d->dev, "cpu", threads) || checkpoint_open(&d->checkpoint, dir) ||
        tokenizer_open(&d->tokenizer, dir) ||
        model_open(&d->model, d->dev, &d->checkpoint, DTYPE_F32))
        exit(1);
}

static inline void demo_close(struct demo *d)
{
    model_close(&d->model);
    tokenizer_close(d->tokenizer);
    checkpoint_close(&d->checkpoint);
    device_close(d->dev);
}

/* One demo task with its first `limit` documents (0: all). Ends the program where it cannot be
 * read. */
static inline void demo_task(struct prepared *p, const struct demo *d, const struct task *task,
                             double limit, const char *protocol, size_t max_positions)
{
    struct buf lines = {0}, labels = {0};
    struct dataset data;

    if (data_read(DEMO_DATA, task->set, NULL, task->file, &lines) ||
        (task->labels && data_read(DEMO_DATA, task->set, NULL, task->labels, &labels)) ||
        dataset_parse(task, &lines, task->labels ? &labels : NULL, task->file, 0, &data) ||
        prepare_task(p, task, &data, "", limit, d->tokenizer, protocol_find(protocol),
                     max_positions))
        exit(1);
    buf_release(&lines);
    buf_release(&labels);
}

/* The ids of the demo's WikiText-2, BOS first. */
static inline struct ids demo_wikitext(const struct tokenizer *t)
{
    struct buf raw = {0};
    struct ids ids = {0};

    if (data_read(DEMO_DATA, "wikitext", NULL, "wikitext-2-raw/wiki.test.raw", &raw) ||
        wikitext_ids(t, &raw, 1, &ids))
        exit(1);
    buf_release(&raw);
    return ids;
}

/* Opens a session for batches of up to `budget` tokens, as duo eval does. */
static inline void demo_session(struct session *s, const struct model *m, size_t budget)
{
    session_open(s, m, budget, budget / KV_PAGE + budget / 4 + 64, 0);
}

/* Scores n requests afresh; the caller frees the results. */
static inline struct score_result *demo_score(const struct model *m, const struct score_request *r,
                                              size_t n, size_t budget, int no_sharing)
{
    struct score_result *out = xmalloc(n * sizeof(*out));
    struct score_options o = {.no_sharing = no_sharing, .what = "test"};
    struct session s;
    int rc;

    for (size_t i = 0; i < n; i++)
        out[i] = (struct score_result){NAN, 0};
    demo_session(&s, m, budget);
    score_requests(&s, r, n, &o, out, &rc);
    CHECK(rc == 0);
    session_close(&s);
    return out;
}

#endif
