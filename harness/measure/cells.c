/* Records arranged as a table. */
#include "harness/measure/cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

struct key {
    const char *text;
    size_t i;
};

static int by_text(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int order = strcmp(x->text, y->text);

    return order ? order : x->i < y->i ? -1 : 1;
}

size_t group_texts(const char *const *texts, size_t n, size_t *group)
{
    struct key *keys = xcalloc(n, sizeof(*keys));
    size_t n_groups = 0;

    for (size_t i = 0; i < n; i++)
        keys[i] = (struct key){texts[i], i};
    qsort(keys, n, sizeof(*keys), by_text);
    for (size_t i = 0; i < n; i++) /* for now: the first of the same text */
        group[keys[i].i] =
            i && strcmp(keys[i].text, keys[i - 1].text) == 0 ? group[keys[i - 1].i] : keys[i].i;
    for (size_t i = 0; i < n; i++)
        group[i] = group[i] == i ? n_groups++ : group[group[i]];
    free(keys);
    return n_groups;
}

void cells_init(struct cells *c, const struct record *const *records, size_t n)
{
    char(*ids)[17] = xcalloc(n, sizeof(*ids));
    const char **texts = xcalloc(n, sizeof(*texts));

    for (size_t i = 0; i < n; i++) {
        record_cell_id(records[i], ids[i]);
        texts[i] = ids[i];
    }
    *c = (struct cells){.of_record = xcalloc(n, sizeof(*c->of_record))};
    c->n = group_texts(texts, n, c->of_record);
    c->first = xcalloc(c->n, sizeof(*c->first));
    for (size_t i = n; i-- > 0;)
        c->first[c->of_record[i]] = records[i];
    free((void *)texts);
    free(ids);
}

void cells_release(struct cells *c)
{
    for (size_t i = 0; c->label && i < c->n; i++)
        free(c->label[i]);
    free(c->label);
    free(c->first);
    free(c->of_record);
    *c = (struct cells){0};
}

static int same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static int same_question(const struct record *a, const struct record *b)
{
    return strcmp(a->task, b->task) == 0 && same_number(a->window, b->window) &&
           same_number(a->bos, b->bos);
}

static int same_column(const struct record *a, const struct record *b)
{
    return same_question(a, b) && strcmp(a->metric, b->metric) == 0;
}

/* Appends the columns of the perplexities (or of all other metrics) that are not there yet. */
static void add_columns(struct columns *c, const struct record *const *records, size_t n,
                        int perplexity)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        if (metric_is_perplexity(records[i]) != perplexity)
            continue;
        while (k < c->n && !same_column(c->items[k].like, records[i]))
            k++;
        if (k == c->n)
            c->items[c->n++] = (struct column){.like = records[i]};
    }
}

void columns_init(struct columns *c, const struct cells *cells, const struct record *const *records,
                  size_t n)
{
    *c = (struct columns){.items = xcalloc(n, sizeof(*c->items))};
    add_columns(c, records, n, 1);
    add_columns(c, records, n, 0);
    for (size_t k = 0; k < c->n; k++)
        c->items[k].of_cell = xcalloc(cells->n, sizeof(*c->items[k].of_cell));
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        while (!same_column(c->items[k].like, records[i]))
            k++;
        c->n_repeated += c->items[k].of_cell[cells->of_record[i]] != NULL;
        c->items[k].of_cell[cells->of_record[i]] = records[i];
    }
}

void columns_release(struct columns *c)
{
    for (size_t k = 0; k < c->n; k++)
        free(c->items[k].of_cell);
    free(c->items);
    *c = (struct columns){0};
}

const struct record *column_sibling(const struct columns *c, size_t cell, const struct record *like,
                                    const char *metric)
{
    for (size_t k = 0; k < c->n; k++)
        if (strcmp(c->items[k].like->metric, metric) == 0 && same_question(c->items[k].like, like))
            return c->items[k].of_cell[cell];
    return NULL;
}

int column_in_mean(const struct columns *c, const struct column *column)
{
    if (!metric_is_accuracy(column->like))
        return 0;
    if (strcmp(column->like->metric, "acc_norm") == 0)
        return 1;
    for (size_t k = 0; k < c->n; k++)
        if (strcmp(c->items[k].like->task, column->like->task) == 0 &&
            strcmp(c->items[k].like->metric, "acc_norm") == 0)
            return 0;
    return 1;
}

void cell_mean(const struct columns *c, size_t cell, double *mean, double *se)
{
    double sum = 0, sum_var = 0;
    size_t n = 0;

    for (size_t k = 0; k < c->n; k++) {
        const struct record *r = c->items[k].of_cell[cell];

        if (!column_in_mean(c, &c->items[k]))
            continue;
        sum += r ? r->value : NAN;
        sum_var += r ? r->stderr_ * r->stderr_ : NAN;
        n++;
    }
    *mean = n >= 2 ? sum / (double)n : NAN;
    *se = n >= 2 ? sqrt(sum_var) / (double)n : NAN;
}
