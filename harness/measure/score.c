/* Packing requests into batches and scoring them. */
#include "harness/measure/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/text.h"

/* ---- tokenising a pair */

static int encode(const struct tokenizer *t, int bos, const char *text, size_t nbytes,
                  struct ids *out)
{
    if (bos && tokenizer_add_bos(t, out) != 0)
        return -1;
    return tokenizer_encode(t, text, nbytes, out);
}

int score_tokenize(const struct tokenizer *t, const struct protocol *p, size_t max_positions,
                   const struct request *r, const char *where, struct score_request *out)
{
    size_t n_context = strlen(r->context), spaces = text_trailing_spaces(r->context, n_context);
    struct buf whole = {0};
    struct ids ids = {0}, context = {0};
    size_t keep;
    int rc = -1, bos;

    n_context -= spaces;
    buf_adds(&whole, r->context);
    buf_adds(&whole, r->continuation);
    /* An empty context is BOS, whatever the protocol. */
    bos = p->bos || n_context == 0;
    if (encode(t, bos, buf_str(&whole), n_context, &context) != 0 ||
        encode(t, bos, buf_str(&whole), whole.n, &ids) != 0)
        goto out;
    if (ids.n <= context.n) {
        error("%s: the continuation has no token of its own", where);
        goto out;
    }
    /* What is scored is context ++ whole[len(context):], also where the texts' ids differ. */
    memcpy(ids.v, context.v, context.n * sizeof(*ids.v));
    keep = ids.n < max_positions + 1 ? ids.n : max_positions + 1;
    out->n_cont = ids.n - context.n;
    if (out->n_cont >= keep) {
        error("%s: a continuation of %zu ids does not fit %zu positions", where, out->n_cont,
              max_positions);
        goto out;
    }
    memmove(ids.v, ids.v + ids.n - keep, keep * sizeof(*ids.v));
    out->ids = ids.v;
    out->n_ids = keep;
    out->n_dropped = ids.n - keep;
    ids.v = NULL;
    rc = 0;
out:
    ids_release(&ids);
    ids_release(&context);
    buf_release(&whole);
    return rc;
}

/* ---- packing */

/* The requests of one batch in the order of their ids, and where each ends up. */
struct pack {
    struct session *s;
    const struct score_request *r;
    const struct score_options *o;
    struct score_result *out;
    int sharing;   /* of prefixes */
    size_t *order; /* the requests of all batches, sorted */
    size_t n;
    int *segment; /* per place in order: the segment that holds its last input id */
    struct progress bar;
};

/* The model's input: all ids but the last. */
static size_t n_input(const struct score_request *r)
{
    return r->n_ids - 1;
}

static size_t common_prefix(const struct score_request *a, const struct score_request *b)
{
    size_t n = n_input(a) < n_input(b) ? n_input(a) : n_input(b), i = 0;

    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

/* Adds requests order[lo .. hi), which agree up to depth (already in segment parent), to the batch:
 * their further common prefix once, then each branch. */
static void add_branch(struct pack *p, size_t lo, size_t hi, size_t depth, int parent)
{
    const struct score_request *first = &p->r[p->order[lo]], *last = &p->r[p->order[hi - 1]];
    /* Sorted: what the first and the last share, all share. */
    size_t common = hi - lo > 1 ? common_prefix(first, last) : n_input(first);

    if (common > depth) {
        parent = batch_add(&p->s->batch, first->ids + depth, common - depth, parent);
        depth = common;
    }
    while (lo < hi && n_input(&p->r[p->order[lo]]) == depth)
        p->segment[lo++] = parent;
    while (lo < hi) {
        int32_t id = p->r[p->order[lo]].ids[depth];
        size_t end = lo + 1;

        while (end < hi && p->r[p->order[end]].ids[depth] == id)
            end++;
        add_branch(p, lo, end, depth, parent);
        lo = end;
    }
}

/* The end of the requests from order[lo] on whose rows fit the session. */
static size_t fitting(const struct pack *p, size_t lo)
{
    size_t rows = 0, hi = lo;

    for (; hi < p->n; hi++) {
        const struct score_request *r = &p->r[p->order[hi]];
        size_t more = n_input(r);

        if (p->sharing && hi > lo)
            more -= common_prefix(&p->r[p->order[hi - 1]], r);
        if (rows + more > p->s->max_rows)
            break;
        rows += more;
    }
    return hi;
}

/* Builds the batch of order[lo .. hi); fewer where their pages are too many. Returns its end. */
static size_t build(struct pack *p, size_t lo, size_t hi)
{
    for (;;) {
        batch_clear(&p->s->batch);
        if (p->sharing)
            add_branch(p, lo, hi, 0, -1);
        for (size_t i = lo; !p->sharing && i < hi; i++)
            p->segment[i] =
                batch_add(&p->s->batch, p->r[p->order[i]].ids, n_input(&p->r[p->order[i]]), -1);
        if (p->s->batch.n_pages <= p->s->n_pages || hi == lo + 1)
            return hi;
        hi = lo + (hi - lo) / 2;
    }
}

/* ---- scoring a batch */

/* A batch on its way through the device: requests order[lo .. hi), n continuation ids of theirs. */
struct flight {
    size_t lo, hi, n, cap, n_rows;
    int32_t *rows, *targets, *top;
    double *logprob;
    struct score_result *results; /* one per request */
    struct act_count counts;
};

static void flight_reserve(struct flight *f, size_t n)
{
    if (n <= f->cap)
        return;
    f->cap = 2 * n;
    f->rows = xrealloc(f->rows, f->cap * sizeof(*f->rows));
    f->targets = xrealloc(f->targets, f->cap * sizeof(*f->targets));
    f->top = xrealloc(f->top, f->cap * sizeof(*f->top));
    f->logprob = xrealloc(f->logprob, f->cap * sizeof(*f->logprob));
    f->results = xrealloc(f->results, f->cap * sizeof(*f->results)); /* n_cont is 1 at least */
}

static void flight_release(struct flight *f)
{
    free(f->rows);
    free(f->targets);
    free(f->top);
    free(f->logprob);
    free(f->results);
}

/* The batch is built: lists what of it is scored. */
static void list_targets(const struct pack *p, struct flight *f)
{
    size_t total = 0;

    for (size_t i = f->lo; i < f->hi; i++)
        total += p->r[p->order[i]].n_cont;
    flight_reserve(f, total);
    f->n = 0;
    f->n_rows = batch_n_rows(&p->s->batch);
    for (size_t i = f->lo; i < f->hi; i++) {
        const struct score_request *r = &p->r[p->order[i]];

        for (size_t j = r->n_ids - r->n_cont; j < r->n_ids; j++, f->n++) {
            f->rows[f->n] = batch_row(&p->s->batch, p->segment[i], (int32_t)j - 1);
            f->targets[f->n] = r->ids[j];
        }
    }
}

static void launch(const struct pack *p, const struct flight *f)
{
    session_forward(p->s);
    session_logprobs_begin(p->s, f->rows, f->targets, f->n);
}

static void sum_up(const struct pack *p, const struct flight *f)
{
    size_t at = 0;

    for (size_t i = f->lo; i < f->hi; i++) {
        struct score_result res = {0, 1};

        for (size_t j = 0; j < p->r[p->order[i]].n_cont; j++, at++) {
            res.logprob += f->logprob[at];
            res.greedy &= f->top[at];
        }
        f->results[i - f->lo] = res;
    }
}

static int by_ids(const void *a, const void *b, void *arg)
{
    const size_t *i = a, *j = b;
    const struct score_request *x = (const struct score_request *)arg + *i;
    const struct score_request *y = (const struct score_request *)arg + *j;
    size_t c = common_prefix(x, y);

    if (c < n_input(x) && c < n_input(y))
        return x->ids[c] < y->ids[c] ? -1 : 1;
    if (n_input(x) != n_input(y))
        return n_input(x) < n_input(y) ? -1 : 1;
    return *i < *j ? -1 : 1;
}

/* Rows that all requests take, with sharing only between neighbours in order (all that there is).
 */
static size_t count_rows(const struct pack *p)
{
    size_t rows = 0;

    for (size_t i = 0; i < p->n; i++) {
        rows += n_input(&p->r[p->order[i]]);
        if (p->sharing && i > 0)
            rows -= common_prefix(&p->r[p->order[i - 1]], &p->r[p->order[i]]);
    }
    return rows;
}

static int has_missing(const struct pack *p, size_t lo, size_t hi)
{
    while (lo < hi && !isnan(p->out[p->order[lo]].logprob))
        lo++;
    return lo < hi;
}

/* The batch order[lo .. hi), built, is there already, or somebody else's. */
static int passes(struct pack *p, size_t lo, size_t hi)
{
    const struct batch_hooks *h = &p->o->hooks;
    size_t rows = batch_n_rows(&p->s->batch);
    struct scored known = {.index = p->order + lo, .n = hi - lo};

    if (has_missing(p, lo, hi)) {
        if (share_takes(h->share, (double)rows))
            return 0;
    } else if (h->counted && h->known) {
        h->known(&known, h->arg);
    }
    progress_add(&p->bar, (double)rows);
    return 1;
}

/* The next batch to be run here, from order[*at] on, into the session and f (f->n is 0 where there
 * is none); *at moves behind it. 0, or error(). */
static int prepare(struct pack *p, struct flight *f, size_t *at)
{
    f->n = 0;
    while (*at < p->n) {
        f->lo = *at;
        f->hi = fitting(p, f->lo);
        if (f->hi == f->lo)
            return error(
                "a request of %zu tokens does not fit a batch of %zu tokens (--batch-tokens)",
                n_input(&p->r[p->order[f->lo]]), p->s->max_rows);
        *at = f->hi = build(p, f->lo, f->hi);
        if (!passes(p, f->lo, f->hi)) {
            list_targets(p, f);
            return 0;
        }
    }
    return 0;
}

static void finish(struct pack *p, const struct flight *f)
{
    const struct batch_hooks *h = &p->o->hooks;
    struct scored b = {p->order + f->lo, f->results, f->hi - f->lo, f->counts};

    sum_up(p, f);
    if (h->done)
        h->done(&b, h->arg);
    for (size_t i = 0; i < b.n; i++)
        if (isnan(p->out[b.index[i]].logprob))
            p->out[b.index[i]] = b.results[i];
    progress_add(&p->bar, (double)f->n_rows);
}

/* While the device runs one batch, the host builds the next. */
static size_t run_batches(struct pack *p, int *rc)
{
    struct flight now = {0}, next = {0};
    size_t tokens = 0, at = 0;

    do {
        struct flight landed = now;

        next.n = 0;
        if (*rc == 0)
            *rc = prepare(p, &next, &at);
        if (*rc != 0)
            next.n = 0;
        if (landed.n) {
            session_logprobs_end(p->s, landed.logprob, landed.top);
            landed.counts = (struct act_count){0};
            if (p->o->hooks.counted)
                session_take_counts(p->s, &landed.counts);
        }
        if (next.n)
            launch(p, &next);
        if (landed.n) {
            finish(p, &landed);
            tokens += landed.n_rows;
        }
        now = next;
        next = landed;
    } while (now.n);
    flight_release(&now);
    flight_release(&next);
    return tokens;
}

size_t score_requests(struct session *s, const struct score_request *r, size_t n,
                      const struct score_options *o, struct score_result *out, int *rc)
{
    struct pack p = {
        .s = s,
        .r = r,
        .o = o,
        .out = out,
        /* A prefix would be sparse in one request and spared in another. */
        .sharing = !o->no_sharing && !s->m->act_last_half,
        .order = xmalloc(n * sizeof(size_t)),
        .segment = xmalloc(n * sizeof(int)),
    };
    size_t tokens, missing = 0;

    *rc = 0;
    for (size_t i = 0; i < n; i++) {
        missing += isnan(out[i].logprob);
        if (o->hooks.counted || isnan(out[i].logprob))
            p.order[p.n++] = i;
    }
    qsort_r(p.order, p.n, sizeof(*p.order), by_ids, (void *)r);
    progress_begin(&p.bar, o->what, "tokens", (double)count_rows(&p));
    tokens = run_batches(&p, rc);
    if (missing && *rc == 0)
        progress_end(&p.bar);
    free(p.order);
    free(p.segment);
    return tokens;
}
