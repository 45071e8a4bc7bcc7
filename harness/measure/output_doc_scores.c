/* The table of what was scored. */
#include "harness/measure/output_doc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/table.h"

#define N_RECIPE_COLS 5 /* method, W %, zeros, A %, zeros */

void block_add_head(struct buf *b, const struct record *r)
{
    static const char *const shorts[][2] = {
        {"wikitext2", "wiki2"}, {"hellaswag", "hella"},     {"winogrande", "wino"},
        {"arc_easy", "arc_e"},  {"arc_challenge", "arc_c"}, {"openbookqa", "obqa"},
    };
    const char *head = r->task;

    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++)
        if (strcmp(r->task, shorts[i][0]) == 0)
            head = shorts[i][1];
    buf_adds(b, head);
    if (strcmp(r->metric, "acc_norm") == 0)
        buf_adds(b, "_n");
    else if (!metric_is_accuracy(r) && !metric_is_perplexity(r))
        buf_addf(b, " %s", r->metric);
    if (metric_is_perplexity(r) && !isnan(r->window) && r->window != 2048)
        buf_addf(b, " @%.0f", r->window);
    if (metric_is_perplexity(r) && r->bos == 0)
        buf_adds(b, " no BOS");
}

static void set_percent(struct table *t, size_t row, size_t col, const char *fmt, double share)
{
    char text[32];

    snprintf(text, sizeof(text), fmt, 100 * share);
    table_set(t, row, col, "%s", isnan(share) ? "-" : text);
}

static void set_recipe(struct table *t, size_t row, const struct block *k, size_t cell)
{
    const struct record *r = k->cells.first[cell];

    table_set(t, row, 0, "%s", k->cells.label[cell]);
    set_percent(t, row, 1, "%.4g", r->weight_sparsity);
    if (r->nm)
        table_set(t, row, 1, "%s", r->nm);
    set_percent(t, row, 2, "%.2f", r->weight_zeros);
    set_percent(t, row, 3, "%.4g", r->act_sparsity);
    set_percent(t, row, 4, "%.2f", r->act_zeros);
}

static void set_value(struct table *t, size_t row, size_t col, const struct record *like, double v)
{
    if (isnan(v))
        table_set(t, row, col, "-");
    else if (metric_is_accuracy(like))
        table_set(t, row, col, "%.2f", 100 * v);
    else if (metric_is_perplexity(like))
        table_set(t, row, col, fabs(v) < 1e5 ? "%.3f" : "%.3e", v);
    else
        table_set(t, row, col, "%.5g", v);
}

static int is_pruned(const struct record *r)
{
    return r->method && strcmp(r->method, "dense") != 0;
}

/* Stars the best of a column of doubles (NaN: absent) if two pruned rows have it. */
static void star_best(struct table *t, const struct block *k, size_t col, const double *v,
                      int smaller)
{
    double best = NAN;
    size_t n = 0;

    for (size_t i = 0; i < k->cells.n; i++) {
        if (!is_pruned(k->cells.first[i]) || isnan(v[i]))
            continue;
        n++;
        if (!(smaller ? v[i] >= best : v[i] <= best))
            best = v[i];
    }
    for (size_t i = 0; n >= 2 && i < k->cells.n; i++)
        if (is_pruned(k->cells.first[i]) && v[i] == best)
            table_star(t, i + 1, col);
}

/* One column of values or of standard errors; the mean where column is NULL. */
static void set_column(struct table *t, size_t col, const struct block *k,
                       const struct column *column, int se)
{
    static const struct record mean_like = {.metric = (char *)"acc"};
    const struct record *like = column ? column->like : &mean_like;
    double *v = xcalloc(k->cells.n, sizeof(*v)), mean, mean_se;
    struct buf head = {0};

    if (column)
        block_add_head(&head, like);
    table_set(t, 0, col, "%s", column ? head.data : "mean");
    for (size_t i = 0; i < k->cells.n; i++) {
        const struct record *r = column ? column->of_cell[i] : NULL;

        cell_mean(&k->columns, i, &mean, &mean_se);
        if (column)
            v[i] = !r ? NAN : se ? r->stderr_ : r->value;
        else
            v[i] = se ? mean_se : mean;
        set_value(t, i + 1, col, like, v[i]);
    }
    if (!se && (metric_is_accuracy(like) || metric_is_perplexity(like)))
        star_best(t, k, col, v, metric_is_perplexity(like));
    buf_release(&head);
    free(v);
}

/* The divergences have their place in the table against the dense run. */
static int is_shown(const struct column *c)
{
    return !metric_is_divergence(c->like);
}

void block_scores(const struct block *k, int se, struct doc *out)
{
    static const char *const heads[N_RECIPE_COLS] = {"method", "W %", "zeros", "A %", "zeros"};
    size_t n = N_RECIPE_COLS + (k->has_mean ? 1 : 0), next = N_RECIPE_COLS;
    struct table t;

    for (size_t i = 0; i < k->columns.n; i++)
        n += is_shown(&k->columns.items[i]);
    table_init(&t, n);
    table_add_row(&t);
    for (size_t col = 0; col < N_RECIPE_COLS; col++)
        table_set(&t, 0, col, "%s", heads[col]);
    for (size_t i = 0; i < k->cells.n; i++)
        set_recipe(&t, table_add_row(&t), k, i);
    for (size_t i = 0; i < k->columns.n; i++)
        if (is_shown(&k->columns.items[i]))
            set_column(&t, next++, k, &k->columns.items[i], se);
    if (k->has_mean)
        set_column(&t, n - 1, k, NULL, se);
    doc_table(out, se ? "stderr" : "scores", se ? "Standard errors of the same:" : NULL, &t, 1);
}
