/* Messages between the processes of a run. */
#include "harness/cmd/run_message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"

enum kind { BATCH, DIVERGENCE, END, ASK };

struct header {
    enum kind kind;
    uint32_t cell, task;
    uint64_t n; /* items of a batch; the window of a divergence */
    int has_results;
    struct act_count counts;
};

/* What follows END; then the seconds of the tasks and of the divergence, and the layers' figures.
 */
struct end {
    int rc;
    char text[400]; /* of the error */
    char host[64];
    struct measured measured;
    struct group_sizes groups;
};

/* ---- what is known */

void message_add_known(const struct run *r, const struct outcome *o, struct buf *out)
{
    for (size_t i = 0; i < r->o.n_tasks; i++)
        evaluation_add_known(&o->evals[i], out);
    if (o->text)
        divergence_add_known(&o->diverging, out);
}

const char *message_set_known(const struct run *r, struct outcome *o, const char *known)
{
    for (size_t i = 0; i < r->o.n_tasks; i++)
        known += evaluation_set_known(&o->evals[i], known);
    if (o->text)
        known += divergence_set_known(&o->diverging, known);
    return known;
}

/* ---- sending */

/* Where a task's batches belong. */
struct address {
    uint32_t cell, task;
};

static void send_batch(const struct scored *s, void *arg)
{
    const struct address *to = arg;
    struct header h = {.kind = BATCH,
                       .cell = to->cell,
                       .task = to->task,
                       .n = s->n,
                       .has_results = s->results != NULL,
                       .counts = s->counts};
    struct buf b = {0};

    buf_add(&b, &h, sizeof(h));
    buf_add(&b, s->index, s->n * sizeof(*s->index));
    if (s->results)
        buf_add(&b, s->results, s->n * sizeof(*s->results));
    procs_send(&b, 0);
    buf_release(&b);
}

static void send_window(size_t window, const struct divergence_result *d, void *arg)
{
    const struct address *to = arg;
    struct header h = {.kind = DIVERGENCE, .cell = to->cell, .n = window};
    struct buf b = {0};

    buf_add(&b, &h, sizeof(h));
    buf_add(&b, d, sizeof(*d));
    procs_send(&b, 0);
    buf_release(&b);
}

void message_follow(struct run *r, struct outcome *o, struct share *share)
{
    static struct address addresses[MAX_LIST + 1]; /* one cell is computed at a time */

    for (size_t i = 0; i <= r->o.n_tasks; i++)
        addresses[i] = (struct address){(uint32_t)o->number, (uint32_t)i};
    for (size_t i = 0; i < r->o.n_tasks; i++) {
        o->evals[i].share = share;
        o->evals[i].told = procs_rank() > 0 ? send_batch : NULL;
        o->evals[i].arg = &addresses[i];
    }
    o->diverging.share = share;
    o->diverging.told = procs_rank() > 0 ? send_window : NULL;
    o->diverging.arg = &addresses[r->o.n_tasks];
}

static size_t n_layer_figures(const struct run *r)
{
    return N_LAYER_METRICS * r->probe.n_layers;
}

void message_send_end(const struct run *r, const struct outcome *o, int rc)
{
    struct header h = {.kind = END, .cell = (uint32_t)o->number};
    struct end e = {.rc = rc, .measured = o->measured, .groups = o->groups};
    struct buf b = {0};

    snprintf(e.text, sizeof(e.text), "%s", rc ? error_last() : "");
    snprintf(e.host, sizeof(e.host), "%s", procs_host());
    buf_add(&b, &h, sizeof(h));
    buf_add(&b, &e, sizeof(e));
    for (size_t i = 0; i < r->o.n_tasks; i++)
        buf_add(&b, &o->scores[i].seconds, sizeof(double));
    buf_add(&b, &o->divergence.seconds, sizeof(double));
    if (o->layers)
        buf_add(&b, o->layers, n_layer_figures(r) * sizeof(double));
    procs_send(&b, 0);
    buf_release(&b);
}

void message_send_ask(void)
{
    struct header h = {.kind = ASK};
    struct buf b = {0};

    buf_add(&b, &h, sizeof(h));
    procs_send(&b, 0);
    buf_release(&b);
}

/* ---- receiving */

static struct header header_of(const struct buf *b)
{
    struct header h;

    memcpy(&h, b->data, sizeof(h));
    return h;
}

int message_is_ask(const struct buf *b)
{
    return header_of(b).kind == ASK;
}

/* The parts of a message lie unaligned in it. */
static void take_batch(struct outcome *o, const struct header *h, const char *at)
{
    size_t *index = xmalloc(h->n * sizeof(*index));
    struct score_result *results = xmalloc(h->n * sizeof(*results));
    struct scored s = {index, h->has_results ? results : NULL, h->n, h->counts};

    memcpy(index, at, h->n * sizeof(*index));
    if (h->has_results)
        memcpy(results, at + h->n * sizeof(*index), h->n * sizeof(*results));
    evaluation_take(&o->evals[h->task], &s);
    free(index);
    free(results);
}

/* Of a cell that this process does not work on itself, the measurements come from there. */
static void take_end(const struct run *r, struct outcome *o, const char *at, int from)
{
    struct end e;
    int shared = r->model.comm || (r->o.n_tasks && o->evals[0].share);

    memcpy(&e, at, sizeof(e));
    at += sizeof(e);
    if (e.rc && !o->failed)
        snprintf(o->complaint, sizeof(o->complaint), "rank %d (%s): %s", from, e.host, e.text);
    o->failed |= e.rc != 0;
    o->n_ended++;
    if (shared)
        return;
    o->measured = e.measured;
    o->groups = e.groups;
    for (size_t i = 0; i < r->o.n_tasks; i++, at += sizeof(double))
        memcpy(&o->scores[i].seconds, at, sizeof(double));
    memcpy(&o->divergence.seconds, at, sizeof(double));
    if (o->layers)
        memcpy(o->layers, at + sizeof(double), n_layer_figures(r) * sizeof(double));
}

long message_take(struct run *r, const struct buf *b, int from)
{
    struct header h = header_of(b);
    struct outcome *o = &r->outcomes[h.cell];
    const char *at = b->data + sizeof(h);
    struct divergence_result d;

    switch (h.kind) {
    case BATCH:
        take_batch(o, &h, at);
        return -1;
    case DIVERGENCE:
        memcpy(&d, at, sizeof(d));
        divergence_take(&o->diverging, h.n, &d);
        return -1;
    case END:
        take_end(r, o, at, from);
        return (long)h.cell;
    case ASK:
        break;
    }
    return -1;
}
