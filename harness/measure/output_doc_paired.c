/* The table that compares with the dense run. */
#include "harness/measure/output_doc.h"

#include <math.h>
#include <stdio.h>

#include "harness/measure/paired.h"
#include "harness/measure/table.h"

#define PM "\xc2\xb1" /* plus-minus */

enum { METHOD, WEIGHTS, ACTS, TASK, DIFF, RANGE, GAINED, LOST, P, RATIO, KL, SAME_TOP, N_COLS };

static const char *const heads[N_COLS] = {
    "method", "W %",  "A %", "task",      "difference", "95 % / \xc2\xb1",
    "gained", "lost", "p",   "log ratio", "KL",         "same top %"};

static void set_percent(struct table *t, size_t row, size_t col, double share)
{
    if (!isnan(share))
        table_set(t, row, col, "%.4g", 100 * share);
}

static void set_cell(struct table *t, size_t row, const struct block *k, size_t cell)
{
    const struct record *r = k->cells.first[cell];

    table_set(t, row, METHOD, "%s", k->cells.label[cell]);
    set_percent(t, row, WEIGHTS, r->weight_sparsity);
    if (r->nm)
        table_set(t, row, WEIGHTS, "%s", r->nm);
    set_percent(t, row, ACTS, r->act_sparsity);
}

static void set_p(struct table *t, size_t row, double p)
{
    if (isnan(p))
        return;
    table_set(t, row, P, p < 0.0005 ? "%.0e" : "%.3f", p);
    if (p < 0.05)
        table_star(t, row, P);
}

static void set_accuracy(struct table *t, size_t row, const struct record *r)
{
    table_set(t, row, DIFF, "%+.2f", 100 * r->diff);
    if (!isnan(r->diff_low))
        table_set(t, row, RANGE, "%+.2f to %+.2f", 100 * r->diff_low, 100 * r->diff_high);
    if (!isnan(r->gained))
        table_set(t, row, GAINED, "%.0f", r->gained);
    if (!isnan(r->lost))
        table_set(t, row, LOST, "%.0f", r->lost);
    set_p(t, row, r->p_value);
}

/* "0.1234 PM 0.0012", without the error where it is not known. */
static void set_estimate(struct table *t, size_t row, size_t col, const char *fmt, double v,
                         double se)
{
    char value[32], error[32] = "";

    snprintf(value, sizeof(value), fmt, v);
    if (!isnan(se))
        snprintf(error, sizeof(error), fmt, se);
    table_set(t, row, col, "%s%s%s", value, *error ? " " PM " " : "", error);
}

static void set_perplexity(struct table *t, size_t row, const struct block *k, size_t cell,
                           const struct record *r)
{
    const struct record *kl = column_sibling(&k->columns, cell, r, "kl_divergence");
    const struct record *top = column_sibling(&k->columns, cell, r, "same_top1");

    table_set(t, row, DIFF, fabs(r->diff) < 1e5 ? "%+.3f" : "%+.3e", r->diff);
    if (!isnan(r->diff_stderr))
        table_set(t, row, RANGE, r->diff_stderr < 1e5 ? PM " %.3f" : PM " %.3e", r->diff_stderr);
    if (!isnan(r->log_ratio))
        set_estimate(t, row, RATIO, "%.4f", r->log_ratio, r->log_ratio_stderr);
    if (kl)
        set_estimate(t, row, KL, "%.4f", kl->value, kl->stderr_);
    if (top)
        set_estimate(t, row, SAME_TOP, "%.2f", 100 * top->value, 100 * top->stderr_);
}

static void add_cell(struct table *t, const struct block *k, size_t cell)
{
    for (size_t i = 0; i < k->columns.n; i++) {
        const struct record *r = k->columns.items[i].of_cell[cell];
        struct buf head = {0};
        size_t row;

        if (!r || !is_paired(r))
            continue;
        row = table_add_row(t);
        set_cell(t, row, k, cell);
        block_add_head(&head, r);
        table_set(t, row, TASK, "%s", buf_str(&head));
        if (metric_is_perplexity(r))
            set_perplexity(t, row, k, cell, r);
        else
            set_accuracy(t, row, r);
        buf_release(&head);
    }
}

int block_paired(const struct block *k, struct doc *out)
{
    struct table t;
    int any;

    table_init(&t, N_COLS);
    t.n_once = 3; /* METHOD, WEIGHTS, ACTS */
    table_add_row(&t);
    for (size_t col = 0; col < N_COLS; col++)
        table_set(&t, 0, col, "%s", heads[col]);
    for (size_t i = 0; i < k->cells.n; i++)
        add_cell(&t, k, i);
    any = t.n_rows > 1;
    if (any) {
        table_drop_empty(&t);
        doc_table(out, "against-dense", "Against dense:", &t, 1);
    }
    table_release(&t);
    return any;
}
