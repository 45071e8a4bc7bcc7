/* The cells of a run, one after another: in an order that prunes once for cells with the same
 * weights, each for itself where one fails, recorded in the order of the lists. */
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"
#include "harness/cmd/run_share.h"

int run_same_weights(const struct cell *a, const struct cell *b)
{
    /* Sequential methods calibrate on the inputs of the run to come. */
    int sees_activations = a->method->needs && a->method->sequential;

    return a->method == b->method && a->sparsity == b->sparsity &&
           (a->act_sparsity == b->act_sparsity || !sees_activations);
}

/* In the order of the lists, but each cell followed by those that run on the same weights. */
static void order_cells(const struct run *r, size_t *order)
{
    unsigned char *taken = xcalloc(r->n_cells, 1);
    size_t n = 0;

    for (size_t i = 0; i < r->n_cells; i++) {
        if (taken[i])
            continue;
        for (size_t k = i; k < r->n_cells; k++)
            if (!taken[k] && run_same_weights(&r->cells[i], &r->cells[k])) {
                taken[k] = 1;
                order[n++] = k;
            }
    }
    free(taken);
}

/* Puts each cell's records, items first[c] .. end[c], in the order of the cells. */
static void sort_records(struct records *rs, const size_t *first, const size_t *end, size_t n_cells)
{
    struct record *sorted = xcalloc(rs->n, sizeof(*sorted));
    size_t n = 0;

    for (size_t c = 0; c < n_cells; c++)
        for (size_t i = first[c]; i < end[c]; i++)
            sorted[n++] = rs->items[i];
    free(rs->items);
    rs->items = sorted;
    rs->cap = rs->n;
}

static void drop_records(struct records *rs, size_t from)
{
    while (rs->n > from)
        record_release(&rs->items[--rs->n]);
}

/* One line, where the cells' own errors stand among others' progress. */
static void say_failed(const struct run *r, const unsigned char *failed, size_t n)
{
    struct buf names = {0};

    if (r->n_cells == 1)
        return;
    for (size_t i = 0; i < r->n_cells; i++)
        if (failed[i])
            buf_addf(&names, "%s%s w%g a%g", names.n ? ", " : "", r->cells[i].method->name,
                     r->cells[i].sparsity, r->cells[i].act_sparsity);
    if (failed[0] && r->o.baseline)
        error("the dense model could not be scored: nothing to compare the others with");
    else
        error("%zu of %zu cells failed: %s", n, r->n_cells, buf_str(&names));
    buf_release(&names);
}

/* What came of the cells so far. */
struct sweep {
    struct run *r;
    size_t *order, *first, *end, n_failed;
    size_t n_before; /* records before the cell that comes back next */
    unsigned char *failed;
};

static void note(struct sweep *s, size_t cell, int rc)
{
    if (rc != 0) {
        drop_records(&s->r->records, s->first[cell]);
        s->failed[cell] = 1;
        s->n_failed++;
    }
    s->end[cell] = s->r->records.n;
}

/* Handed out, cells come back one at a time, each with its records at the end. */
static void note_handed_out(size_t cell, int rc, void *arg)
{
    struct sweep *s = arg;

    s->first[cell] = s->n_before;
    note(s, cell, rc);
    s->n_before = s->r->records.n;
}

static int has_baseline(const struct sweep *s)
{
    return !(s->r->o.baseline && s->failed[0]);
}

/* All cells but those that are handed out, which are the rest. */
static void run_in_order(struct sweep *s,
                         int (*follow)(struct run *r, size_t cell, size_t first, void *arg),
                         void *arg)
{
    struct run *r = s->r;
    int hand_out = run_share_by_cells(r);
    size_t i = 0;

    for (; i < r->n_cells && has_baseline(s); i++) {
        size_t c = s->order[i];
        int rc;

        if (hand_out && !(r->o.baseline && c == 0))
            break;
        s->first[c] = r->records.n;
        rc = procs_size() > 1 ? run_share_cell(r, c) : run_cell(r, c);
        if (rc == 0 && follow)
            rc = follow(r, c, s->first[c], arg);
        note(s, c, rc);
    }
    s->n_before = r->records.n;
    if (hand_out && has_baseline(s))
        run_share_cells(r, s->order + i, r->n_cells - i, note_handed_out, s);
}

int run_cells(struct run *r, int (*follow)(struct run *r, size_t cell, size_t first, void *arg),
              void *arg)
{
    size_t n = r->n_cells;
    struct sweep s = {.r = r,
                      .order = xcalloc(n, sizeof(*s.order)),
                      .first = xcalloc(n, sizeof(*s.first)),
                      .end = xcalloc(n, sizeof(*s.end)),
                      .failed = xcalloc(n, 1)};

    order_cells(r, s.order);
    run_in_order(&s, follow, arg);
    sort_records(&r->records, s.first, s.end, n);
    if (s.n_failed)
        say_failed(r, s.failed, s.n_failed);
    free(s.order);
    free(s.first);
    free(s.end);
    free(s.failed);
    return s.n_failed ? -1 : 0;
}
