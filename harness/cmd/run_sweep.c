/* The cells of a run, one after another: in an order that prunes once for cells with the same
 * weights, each for itself where one fails, recorded in the order of the lists. */
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/cmd/run.h"

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

int run_cells(struct run *r, int (*follow)(struct run *r, size_t cell, size_t first, void *arg),
              void *arg)
{
    size_t n_failed = 0, *order = xcalloc(r->n_cells, sizeof(*order));
    size_t *first = xcalloc(r->n_cells, sizeof(*first)), *end = xcalloc(r->n_cells, sizeof(*end));
    unsigned char *failed = xcalloc(r->n_cells, 1);

    order_cells(r, order);
    for (size_t i = 0; i < r->n_cells && !(r->o.baseline && failed[0]); i++) {
        size_t c = order[i];

        first[c] = r->records.n;
        if (run_cell(r, c) != 0 || (follow && follow(r, c, first[c], arg) != 0)) {
            drop_records(&r->records, first[c]);
            failed[c] = 1;
            n_failed++;
        }
        end[c] = r->records.n;
    }
    sort_records(&r->records, first, end, r->n_cells);
    if (n_failed)
        say_failed(r, failed, n_failed);
    free(order);
    free(first);
    free(end);
    free(failed);
    return n_failed ? -1 : 0;
}
