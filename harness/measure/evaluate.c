/* Scoring the tasks. */
#include "harness/measure/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/sha256.h"
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
    size_t n_cut = 0;
    char where[128];

    *p = (struct prepared){.task = task,
                           .name = task->name,
                           .version = task->version,
                           .data = *data,
                           .n_total = data->n};
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
            n_cut += p->requests[p->n_requests++].n_dropped > 0;
        }
        p->first[i + 1] = p->n_requests;
    }
    if (n_cut)
        warning(
            "%s: %zu of %zu requests are longer than the model's %zu positions: their beginnings "
            "are left out, as lm-evaluation-harness does",
            task->name, n_cut, p->n_requests, max_positions);
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

size_t prepared_longest(const struct prepared *p)
{
    size_t most = p->window;

    for (size_t i = 0; i < p->n_requests; i++)
        most = p->requests[i].n_ids > most ? p->requests[i].n_ids : most;
    return most;
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

void scores_release(struct scores *s)
{
    free(s->results);
    free(s->acc);
    free(s->acc_norm);
    free(s->nll);
    *s = (struct scores){0};
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

/* ---- the journal: a document's results, a window's, or a batch's counters, are one entry */

struct entry {
    double logprob[TASK_MAX_CHOICES];
    int32_t greedy[TASK_MAX_CHOICES];
};

static void item_key(const struct prepared *p, size_t i, struct buf *key)
{
    key->n = 0;
    if (p->task)
        journal_document_key(key, p->name, i, &p->data.docs[i]);
    else
        journal_window_key(key, p->name, i, p->ids.v + i * p->window, p->window);
}

/* Counters depend on the items of the batch, whose own content is in the keys of their results. */
static void counts_key(const struct prepared *p, const struct scored *b, struct buf *key)
{
    char hex[65];

    sha256_hex(b->index, b->n * sizeof(*b->index), hex);
    buf_addf(key, "%s zeros %s %s", p->name, p->data_sha256, hex);
}

static void load_entry(struct evaluation *e, size_t i, const char *key)
{
    const struct prepared *p = e->p;
    struct entry entry;

    if (!p->task) {
        double nll;

        if (journal_get(e->j, e->cell, key, &nll, sizeof(nll)) && isfinite(nll))
            e->out->nll[i] = nll;
        return;
    }
    if (!journal_get(e->j, e->cell, key, &entry, sizeof(entry)))
        return;
    /* What is not finite is no result, whatever its checksum: it is computed again. */
    for (size_t q = p->first[i]; q < p->first[i + 1]; q++)
        if (!isfinite(entry.logprob[q - p->first[i]]))
            return;
    for (size_t q = p->first[i]; q < p->first[i + 1]; q++)
        e->out->results[q] =
            (struct score_result){entry.logprob[q - p->first[i]], entry.greedy[q - p->first[i]]};
}

static void store_entry(struct evaluation *e, size_t i)
{
    const struct prepared *p = e->p;
    struct entry entry = {{0}, {0}};
    struct buf key = {0};

    item_key(p, i, &key);
    if (p->task) {
        for (size_t q = p->first[i]; q < p->first[i + 1]; q++) {
            entry.logprob[q - p->first[i]] = e->out->results[q].logprob;
            entry.greedy[q - p->first[i]] = e->out->results[q].greedy;
        }
        journal_put(e->j, e->cell, buf_str(&key), &entry, sizeof(entry));
    } else {
        journal_put(e->j, e->cell, buf_str(&key), &e->out->nll[i], sizeof(*e->out->nll));
    }
    buf_release(&key);
}

static void store_counts(struct evaluation *e, const struct scored *b)
{
    struct buf key = {0};

    counts_key(e->p, b, &key);
    journal_put(e->j, e->cell, buf_str(&key), &b->counts, sizeof(b->counts));
    buf_release(&key);
}

/* Requests of document i (or the window) that are not scored. */
static size_t count_missing(const struct evaluation *e, size_t i)
{
    const struct prepared *p = e->p;
    size_t n = 0;

    if (!p->task)
        return isnan(e->out->nll[i]);
    for (size_t q = p->first[i]; q < p->first[i + 1]; q++)
        n += isnan(e->out->results[q].logprob);
    return n;
}

void evaluation_begin(struct evaluation *e, struct scores *out, const struct prepared *p,
                      struct journal *j, const char *cell_key)
{
    struct buf key = {0};

    *e = (struct evaluation){.p = p,
                             .out = out,
                             .j = j,
                             .cell = cell_key,
                             .missing = xmalloc((p->n + 1) * sizeof(size_t)),
                             .known = xmalloc(p->n + 1)};
    scores_init(out, p);
    for (size_t i = 0; i < p->n; i++) {
        if (j) {
            item_key(p, i, &key);
            load_entry(e, i, buf_str(&key));
        }
        e->missing[i] = count_missing(e, i);
        e->known[i] = e->missing[i] == 0;
    }
    buf_release(&key);
}

void evaluation_release(struct evaluation *e)
{
    free(e->missing);
    free(e->known);
    *e = (struct evaluation){0};
}

size_t evaluation_missing(const struct evaluation *e)
{
    size_t n = 0;

    for (size_t i = 0; i < e->p->n; i++)
        n += e->missing[i] != 0;
    return n;
}

/* ---- several processes */

void evaluation_add_known(const struct evaluation *e, struct buf *out)
{
    buf_add(out, e->known, e->p->n);
}

size_t evaluation_set_known(struct evaluation *e, const char *known)
{
    memcpy(e->known, known, e->p->n);
    return e->p->n;
}

/* ---- running */

/* The document of a request. */
static size_t document_of(const struct prepared *p, size_t request)
{
    size_t lo = 0, hi = p->n;

    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;

        if (p->first[mid] <= request)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void add_counts(struct evaluation *e, const struct act_count *c)
{
    for (int g = 0; g < N_GROUPS; g++)
        e->counts.n_zero[g] += c->n_zero[g];
    e->counts.n_rows += c->n_rows;
}

/* A batch whose results were there: its counters may be, too. */
static void take_known(struct evaluation *e, const struct scored *b)
{
    struct buf key = {0};
    struct act_count c;

    counts_key(e->p, b, &key);
    if (e->j && journal_get(e->j, e->cell, buf_str(&key), &c, sizeof(c)))
        add_counts(e, &c);
    buf_release(&key);
}

void evaluation_take(struct evaluation *e, const struct scored *b)
{
    const struct prepared *p = e->p;

    if (!b->results) {
        take_known(e, b);
        return;
    }
    add_counts(e, &b->counts);
    /* First, so that where a batch's results are known, its counters are too. */
    if (e->j && e->counted)
        store_counts(e, b);
    for (size_t i = 0; i < b->n; i++) {
        size_t at = b->index[i], d = p->task ? document_of(p, at) : at;

        if (!isnan(p->task ? e->out->results[at].logprob : e->out->nll[at]))
            continue;
        if (p->task)
            e->out->results[at] = b->results[i];
        else
            e->out->nll[at] = b->results[i].logprob;
        e->missing[d] -= !isnan(b->results[i].logprob);
        if (e->missing[d] == 0 && e->j)
            store_entry(e, d);
    }
}

static void batch_done(const struct scored *b, void *arg)
{
    struct evaluation *e = arg;

    evaluation_take(e, b);
    if (e->told)
        e->told(b, e->arg);
}

/* All who share a cell pass by the same batches: nothing to tell. */
static void batch_known(const struct scored *b, void *arg)
{
    struct evaluation *e = arg;

    evaluation_take(e, b);
    if (e->told && !e->share)
        e->told(b, e->arg);
}

/* Who runs what is decided by what was there at the beginning, in all processes alike, where
 * results come in meanwhile or not. So the scorers get a list of their own, with a number for what
 * is there and NaN for what is not. */
static int run_requests(struct evaluation *e, struct session *s, const struct batch_hooks *h)
{
    const struct prepared *p = e->p;
    struct score_result *list = xmalloc(p->n_requests * sizeof(*list));
    struct score_options o = {.what = p->name, .hooks = *h};
    int rc;

    for (size_t i = 0; i < p->n; i++)
        for (size_t q = p->first[i]; q < p->first[i + 1]; q++)
            list[q] = (struct score_result){e->known[i] ? 0 : NAN, 0};
    e->out->n_tokens = score_requests(s, p->requests, p->n_requests, &o, list, &rc);
    free(list);
    return rc;
}

static int run_windows(struct evaluation *e, struct session *s, const struct batch_hooks *h)
{
    const struct prepared *p = e->p;
    double *list = xmalloc((p->n + 1) * sizeof(*list));
    int rc;

    e->out->n_tokens = 0;
    for (size_t i = 0; i < p->n; i++) {
        list[i] = e->known[i] ? 0 : NAN;
        e->out->n_tokens += e->known[i] ? 0 : p->window;
    }
    rc = perplexity_windows(s, p->ids.v, p->n, p->window, list, h);
    free(list);
    return rc;
}

int evaluation_run(struct evaluation *e, struct session *s)
{
    struct batch_hooks h = {e->share, e->counted, batch_done, batch_known, e};
    double start = now_seconds();
    int rc = e->p->task ? run_requests(e, s, &h) : run_windows(e, s, &h);

    if (e->j)
        journal_flush(e->j);
    e->out->seconds = now_seconds() - start;
    return rc;
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

int evaluation_end(struct evaluation *e)
{
    if (e->j)
        journal_flush(e->j);
    return e->p->task ? judge(e->p, e->out) : 0;
}

int evaluate(struct scores *out, const struct prepared *p, struct session *s, struct journal *j,
             const char *cell_key)
{
    struct evaluation e;
    int rc;

    evaluation_begin(&e, out, p, j, cell_key);
    rc = evaluation_run(&e, s);
    if (rc == 0)
        rc = evaluation_end(&e);
    evaluation_release(&e);
    return rc;
}
