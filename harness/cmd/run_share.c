/* Several processes on the cells of one run. */
#include "harness/cmd/run_share.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"
#include "harness/base/progress.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run_message.h"

/* ---- before the work */

void run_share_roles(struct run_options *o)
{
    if (procs_rank() == 0)
        return;
    o->quiet = 1;
    progress_quiet(1);
    o->resume = o->out = o->log_samples = o->save_calib = o->save_act_ratios = NULL;
}

static int check_same(const struct run *r)
{
    if (procs_same("program", duo_git) != 0 || procs_same("backend", r->dev->ops->name) != 0 ||
        procs_same("device", r->dev->ops->describe(r->dev)) != 0 ||
        procs_same("type", dtype_name(r->model.dtype)) != 0 ||
        procs_same("model", r->model_sha256) != 0 ||
        procs_same("tokenizer", r->tokenizer ? tokenizer_sha256(r->tokenizer) : "") != 0 ||
        procs_same("calibration", r->calib.sha256) != 0)
        return -1;
    for (size_t i = 0; i < r->o.n_tasks; i++)
        if (procs_same(r->tasks[i].name, r->tasks[i].data_sha256) != 0)
            return -1;
    return 0;
}

int run_share_check(const struct run *r, int rc)
{
    if (procs_size() == 1)
        return rc;
    return procs_agree(rc) != 0 ? -1 : check_same(r);
}

size_t run_share_rows(size_t rows)
{
    size_t n = (size_t)procs_size(), *all = xcalloc(n, sizeof(*all));

    procs_all_gather(&rows, sizeof(rows), all);
    for (size_t i = 0; i < n; i++)
        rows = all[i] < rows ? all[i] : rows;
    free(all);
    return rows;
}

int run_share_by_cells(const struct run *r)
{
    size_t first = r->o.baseline ? 1 : 0, n_weights = 0;

    if (procs_size() == 1 || r->model.comm || r->o.save_act_ratios || r->o.share == SHARE_REQUESTS)
        return 0;
    for (size_t i = first; i < r->n_cells; i++) {
        size_t k = first;

        while (k < i && !run_same_weights(&r->cells[k], &r->cells[i]))
            k++;
        n_weights += k == i;
    }
    return r->o.share == SHARE_CELLS || n_weights >= (size_t)procs_size();
}

/* ---- one cell by all */

/* What rank 0 knows of the cell goes to all; -1 everywhere where rank 0 could not open it. */
static int tell_known(struct run *r, struct outcome *o, int rc)
{
    struct buf b = {0};

    if (procs_rank() == 0) {
        buf_addc(&b, rc != 0);
        buf_addc(&b, (char)o->whole);
        if (rc == 0)
            message_add_known(r, o, &b);
    }
    procs_broadcast_buf(&b, 0);
    rc = b.data[0] ? -1 : 0;
    if (procs_rank() > 0 && rc == 0) {
        o->whole = (unsigned char)b.data[1];
        message_set_known(r, o, b.data + 2);
    }
    buf_release(&b);
    return rc;
}

static void receive_all(void *arg)
{
    struct buf b = {0};
    int from;

    while (procs_poll(&b, &from))
        message_take(arg, &b, from);
    buf_release(&b);
}

static void receive_until_all_ended(struct run *r, const struct outcome *o)
{
    struct buf b = {0};
    int from;

    while (o->n_ended < procs_size() - 1) {
        procs_receive(&b, &from);
        message_take(r, &b, from);
    }
    buf_release(&b);
}

/* Rank 0's and the others' shares of the cell. 0 or error(). */
static int compute_share(struct run *r, struct outcome *o)
{
    int rc;

    memset(r->share.load, 0, (size_t)procs_size() * sizeof(*r->share.load));
    if (!r->model.comm) /* else all hold one model, and run every batch of it together */
        message_follow(r, o, &r->share);
    if (procs_rank() > 0) {
        rc = outcome_compute(r, o);
        message_send_end(r, o, rc);
        return rc;
    }
    progress_hook(receive_all, r);
    rc = outcome_compute(r, o);
    receive_until_all_ended(r, o);
    progress_hook(NULL, NULL);
    if (rc == 0 && o->failed) /* there, and not here: what fails everywhere is said once */
        rc = error("%s", o->complaint);
    return rc == 0 ? outcome_finish(r, o) : -1;
}

static void open_sharing(struct run *r)
{
    r->share = (struct share){procs_rank(), procs_size(),
                              xcalloc((size_t)procs_size(), sizeof(*r->share.load))};
    r->outcomes = xcalloc(r->n_cells, sizeof(*r->outcomes));
}

static void close_sharing(struct run *r)
{
    free(r->share.load);
    free(r->outcomes);
    r->share = (struct share){0};
    r->outcomes = NULL;
}

int run_share_cell(struct run *r, size_t cell)
{
    struct outcome *o;
    int rc;

    open_sharing(r);
    o = &r->outcomes[cell];
    rc = outcome_open(r, cell, o);
    outcome_say(r, cell, "");
    rc = tell_known(r, o, rc);
    if (rc == 0 && !o->whole)
        rc = compute_share(r, o);
    else if (rc == 0 && procs_rank() == 0)
        rc = outcome_judge(r, o);
    if (rc == 0 && procs_rank() == 0)
        rc = outcome_report(r, o);
    procs_broadcast(&rc, sizeof(rc), 0); /* rank 0's word counts */
    outcome_close(r, o);
    close_sharing(r);
    return rc;
}

/* ---- cells handed out */

/* What rank 0 has to hand out, and who calls when a cell is done. */
struct queue {
    struct run *r;
    const size_t *order;
    size_t n, at; /* order[at ..) is not given yet */
    int n_dismissed;
    void (*done)(size_t cell, int rc, void *arg);
    void *arg;
};

/* The next cells on the same weights that lack something, into cells: how many; 0: none left. */
static size_t next_group(struct queue *q, size_t *cells)
{
    struct run *r = q->r;
    size_t n = 0;

    for (; q->at < q->n; q->at++) {
        size_t c = q->order[q->at];

        if (n && !run_same_weights(&r->cells[cells[0]], &r->cells[c]))
            break;
        if (r->outcomes[c].cell && !r->outcomes[c].whole)
            cells[n++] = c;
    }
    return n;
}

/* A cell's results are all in rank 0, or it failed. */
static void conclude(struct queue *q, struct outcome *o, int rc)
{
    size_t cell = o->number;

    if (rc == 0)
        rc = o->whole ? outcome_judge(q->r, o) : outcome_finish(q->r, o);
    if (rc == 0)
        rc = outcome_report(q->r, o);
    outcome_close(q->r, o);
    q->done(cell, rc, q->arg);
}

static void answer(struct queue *q, int to)
{
    struct run *r = q->r;
    size_t *cells = xmalloc((q->n + 1) * sizeof(*cells)), n = next_group(q, cells);
    struct buf b = {0};
    char where[64];

    buf_add(&b, &n, sizeof(n));
    snprintf(where, sizeof(where), ", by rank %d", to);
    for (size_t i = 0; i < n; i++) {
        outcome_say(r, cells[i], where);
        buf_add(&b, &cells[i], sizeof(cells[i]));
        message_add_known(r, &r->outcomes[cells[i]], &b);
    }
    q->n_dismissed += n == 0;
    procs_send(&b, to);
    buf_release(&b);
    free(cells);
}

static void serve(struct queue *q, const struct buf *b, int from)
{
    long ended;

    if (message_is_ask(b)) {
        answer(q, from);
        return;
    }
    ended = message_take(q->r, b, from);
    if (ended >= 0) {
        struct outcome *o = &q->r->outcomes[ended];

        conclude(q, o, o->failed ? error("%s", o->complaint) : 0);
    }
}

static void serve_all(void *arg)
{
    struct buf b = {0};
    int from;

    while (procs_poll(&b, &from))
        serve(arg, &b, from);
    buf_release(&b);
}

/* Rank 0: opens all cells, works on them like the others, and serves these meanwhile. */
static void hand_out(struct queue *q)
{
    struct run *r = q->r;
    size_t *cells = xmalloc((q->n + 1) * sizeof(*cells)), n;
    struct buf b = {0};
    int from;

    for (size_t i = 0; i < q->n; i++) {
        struct outcome *o = &r->outcomes[q->order[i]];
        int rc = outcome_open(r, q->order[i], o);

        if (rc != 0 || o->whole)
            conclude(q, o, rc);
    }
    progress_hook(serve_all, q);
    while ((n = next_group(q, cells)) > 0)
        for (size_t i = 0; i < n; i++) {
            outcome_say(r, cells[i], "");
            conclude(q, &r->outcomes[cells[i]], outcome_compute(r, &r->outcomes[cells[i]]));
        }
    progress_hook(NULL, NULL);
    while (q->n_dismissed < procs_size() - 1) {
        procs_receive(&b, &from);
        serve(q, &b, from);
    }
    buf_release(&b);
    free(cells);
}

/* One cell that rank 0 gave, which begins at *at of its message. */
static void run_given(struct run *r, const char **at)
{
    struct outcome o;
    size_t cell;
    int rc;

    memcpy(&cell, *at, sizeof(cell));
    *at += sizeof(cell);
    rc = outcome_open(r, cell, &o);
    *at = message_set_known(r, &o, *at);
    message_follow(r, &o, NULL);
    if (rc == 0)
        rc = outcome_compute(r, &o);
    message_send_end(r, &o, rc);
    outcome_close(r, &o);
}

static void ask_and_run(struct run *r)
{
    struct buf b = {0};
    size_t n;
    int from;

    do {
        const char *at;

        message_send_ask();
        procs_receive(&b, &from);
        memcpy(&n, b.data, sizeof(n));
        at = b.data + sizeof(n);
        for (size_t i = 0; i < n; i++)
            run_given(r, &at);
    } while (n);
    buf_release(&b);
}

void run_share_cells(struct run *r, const size_t *order, size_t n,
                     void (*done)(size_t cell, int rc, void *arg), void *arg)
{
    struct queue q = {.r = r, .order = order, .n = n, .done = done, .arg = arg};

    open_sharing(r);
    if (procs_rank() == 0)
        hand_out(&q);
    else
        ask_and_run(r);
    close_sharing(r);
}
