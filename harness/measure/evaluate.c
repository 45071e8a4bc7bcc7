/* Scoring the tasks. */
#include "harness/measure/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/measure/perplexity.h"

size_t limit_count(double limit, size_t n)
{
    double k = limit <= 0 ? (double)n : limit < 1 ? ceil((double)n * limit) : limit;

    return k < (double)n ? (size_t)k : n;
}

/* ---- preparing */

int prepare_task(struct prepared *p, const struct task *task, struct dataset *data,
                 const char *data_sha256, double limit, const struct tokenizer *t,
                 const struct protocol *protocol, size_t max_positions)
{
    char where[128];

    *p = (struct prepared){.task = task, .name = task->name, .version = task->version,
                           .data = *data, .n_total = data->n};
    *data = (struct dataset){0};
    snprintf(p->data_sha256, sizeof(p->data_sha256), "%s", data_sha256);
    p->n = limit_count(limit, p->n_total);
    p->first = xcalloc(p->n + 1, sizeof(*p->first));
    p->requests = xcalloc(p->n * TASK_MAX_CHOICES, sizeof(*p->requests));
    for (size_t i = 0; i < p->n; i++) {
        const struct document *d = &p->data.docs[i];

        for (size_t c = 0; c < d->n_choices; c++) {
            snprintf(where, sizeof(where), "%s: document %zu, choice %zu", task->name, i, c);
            if (score_tokenize(t, protocol, max_positions, &d->requests[c], where,
                               &p->requests[p->n_requests]) != 0)
                return -1;
            p->n_requests++;
        }
        p->first[i + 1] = p->n_requests;
    }
    return 0;
}

int prepare_perplexity(struct prepared *p, const struct buf *raw, const char *data_sha256,
                       double limit, const struct tokenizer *t, size_t window, int bos,
                       size_t max_positions)
{
    *p = (struct prepared){.name = "wikitext2", .version = "1", .window = window, .bos = bos};
    snprintf(p->data_sha256, sizeof(p->data_sha256), "%s", data_sha256);
    if (window < 2 || window > max_positions)
        return error("wikitext2: a window of %zu ids; the model has %zu positions", window,
                     max_positions);
    if (wikitext_ids(t, raw, bos, &p->ids) != 0)
        return -1;
    p->n_total = p->ids.n / window;
    p->n = limit_count(limit, p->n_total);
    if (p->n == 0)
        return error("wikitext2: %zu ids are less than one window of %zu", p->ids.n, window);
    return 0;
}

void prepared_release(struct prepared *p)
{
    for (size_t i = 0; i < p->n_requests; i++)
        free(p->requests[i].ids);
    free(p->requests);
    free(p->first);
    dataset_release(&p->data);
    ids_release(&p->ids);
    *p = (struct prepared){0};
}

/* ---- the journal: a document's results, or a window's, are one entry */

struct entry {
    double logprob[TASK_MAX_CHOICES];
    int32_t greedy[TASK_MAX_CHOICES];
};

struct run {
    const struct prepared *p;
    struct scores *out;
    struct journal *j;
    const char *cell;
    size_t *missing; /* per document: choices not yet scored */
    size_t *document; /* per request: its document */
};

static void item_key(const struct prepared *p, size_t i, struct buf *key)
{
    key->n = 0;
    if (p->task)
        journal_document_key(key, p->name, i, &p->data.docs[i]);
    else
        journal_window_key(key, p->name, i, p->ids.v + i * p->window, p->window);
}

static void load_entry(struct run *r, size_t i, const char *key)
{
    const struct prepared *p = r->p;
    struct entry e;

    if (!p->task) {
        double nll;

        if (journal_get(r->j, r->cell, key, &nll, sizeof(nll)))
            r->out->nll[i] = nll;
        return;
    }
    if (!journal_get(r->j, r->cell, key, &e, sizeof(e)))
        return;
    for (size_t q = p->first[i]; q < p->first[i + 1]; q++)
        r->out->results[q] = (struct score_result){e.logprob[q - p->first[i]],
                                                   e.greedy[q - p->first[i]]};
}

static void store_entry(struct run *r, size_t i)
{
    const struct prepared *p = r->p;
    struct entry e = {{0}, {0}};
    struct buf key = {0};

    item_key(p, i, &key);
    if (p->task) {
        for (size_t q = p->first[i]; q < p->first[i + 1]; q++) {
            e.logprob[q - p->first[i]] = r->out->results[q].logprob;
            e.greedy[q - p->first[i]] = r->out->results[q].greedy;
        }
        journal_put(r->j, r->cell, buf_str(&key), &e, sizeof(e));
    } else {
        journal_put(r->j, r->cell, buf_str(&key), &r->out->nll[i], sizeof(*r->out->nll));
    }
    buf_release(&key);
}

static void requests_done(const size_t *index, size_t n, void *arg)
{
    struct run *r = arg;

    for (size_t i = 0; i < n; i++) {
        size_t d = r->document[index[i]];

        if (--r->missing[d] == 0)
            store_entry(r, d);
    }
}

static void window_done(size_t i, void *arg)
{
    store_entry(arg, i);
}

static void scores_init(struct scores *out, const struct prepared *p)
{
    *out = (struct scores){0};
    if (p->task) {
        out->results = xmalloc(p->n_requests * sizeof(*out->results));
        for (size_t i = 0; i < p->n_requests; i++)
            out->results[i] = (struct score_result){NAN, 0};
        out->acc = xcalloc(p->n, sizeof(*out->acc));
        out->acc_norm = xcalloc(p->n, sizeof(*out->acc_norm));
    } else {
        out->nll = xmalloc(p->n * sizeof(*out->nll));
        for (size_t i = 0; i < p->n; i++)
            out->nll[i] = NAN;
    }
}

/* All entries that the journal has. Returns the number still missing. */
static size_t load_entries(struct run *r)
{
    const struct prepared *p = r->p;
    struct buf key = {0};
    size_t missing = 0;

    for (size_t i = 0; i < p->n; i++) {
        if (r->j) {
            item_key(p, i, &key);
            load_entry(r, i, buf_str(&key));
        }
        missing += isnan(p->task ? r->out->results[p->first[i]].logprob : r->out->nll[i]);
    }
    buf_release(&key);
    return missing;
}

/* ---- accuracies */

static int judge(const struct prepared *p, struct scores *out)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct document *d = &p->data.docs[i];
        const struct score_result *r = out->results + p->first[i];
        size_t best = 0, best_norm = 0;

        for (size_t c = 0; c < d->n_choices; c++) {
            if (!isfinite(r[c].logprob))
                return error("%s: document %zu, choice %zu: its log-likelihood is not finite",
                             p->name, i, c);
            if (r[c].logprob > r[best].logprob)
                best = c;
            if (r[c].logprob / (double)d->n_chars[c] >
                r[best_norm].logprob / (double)d->n_chars[best_norm])
                best_norm = c;
        }
        out->acc[i] = (int)best == d->gold;
        out->acc_norm[i] = (int)best_norm == d->gold;
    }
    return 0;
}

/* ---- running */

static int score_documents(struct run *r, struct session *s)
{
    const struct prepared *p = r->p;
    struct score_options o = {.what = p->name, .done = r->j ? requests_done : NULL, .arg = r};
    int rc;

    r->missing = xcalloc(p->n, sizeof(*r->missing));
    r->document = xmalloc((p->n_requests + 1) * sizeof(*r->document));
    for (size_t i = 0; i < p->n; i++)
        for (size_t q = p->first[i]; q < p->first[i + 1]; q++) {
            r->document[q] = i;
            r->missing[i] += isnan(r->out->results[q].logprob);
        }
    r->out->n_tokens = score_requests(s, p->requests, p->n_requests, &o, r->out->results, &rc);
    free(r->missing);
    free(r->document);
    return rc;
}

int evaluate(struct scores *out, const struct prepared *p, struct session *s, struct journal *j,
             const char *cell_key)
{
    struct run r = {.p = p, .out = out, .j = j, .cell = cell_key};
    double start = now_seconds();
    size_t missing;
    int rc;

    scores_init(out, p);
    missing = load_entries(&r);
    if (p->task) {
        rc = score_documents(&r, s);
        if (rc == 0)
            rc = judge(p, out);
    } else {
        rc = perplexity_windows(s, p->ids.v, p->n, p->window, out->nll, j ? window_done : NULL, &r);
        out->n_tokens = missing * p->window;
    }
    if (j)
        journal_flush(j);
    out->seconds = now_seconds() - start;
    return rc;
}

int evaluate_resume(struct scores *out, const struct prepared *p, struct journal *j,
                    const char *cell_key)
{
    struct run r = {.p = p, .out = out, .j = j, .cell = cell_key};

    scores_init(out, p);
    if (load_entries(&r) == 0 && (!p->task || judge(p, out) == 0))
        return 1;
    scores_release(out);
    return 0;
}

void scores_release(struct scores *s)
{
    free(s->results);
    free(s->acc);
    free(s->acc_norm);
    free(s->nll);
    *s = (struct scores){0};
}
