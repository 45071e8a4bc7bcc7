/* Scores and speeds of the same cell, joined. */
#include "harness/report/facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/pruner.h"

/* ---- what a cell is */

static int is_dense(const struct record *r)
{
    return (!r->method || strcmp(r->method, "dense") == 0) && !(r->act_sparsity > 0);
}

static int is_structured(const struct record *r)
{
    for (int i = 0; pruners[i] && r->method; i++)
        if (strcmp(pruners[i]->name, r->method) == 0)
            return pruners[i]->restructure != NULL;
    return 0;
}

int facts_colour(const char *method)
{
    static const char *const known[] = {"dense",       "duogpt",    "duogpt+",  "sparsegpt",
                                        "wanda",       "magnitude", "shortgpt", "sleb",
                                        "blockpruner", "2ssp",      "flap",     "slicegpt"};
    unsigned sum = 0;

    for (int i = 0; i < 12; i++)
        if (method && strcmp(known[i], method) == 0)
            return i;
    for (const char *p = method ? method : ""; *p; p++)
        sum = 31 * sum + (unsigned char)*p;
    return 1 + (int)(sum % 11);
}

static void add_percent(struct buf *b, double share)
{
    if (isnan(share))
        buf_addc(b, '?');
    else
        buf_addf(b, "%.4g", 100 * share);
}

/* Names come from records, and the sentences and plots that use them have little room. */
static void shorten(struct buf *name)
{
    enum { KEPT = 32 };
    size_t n = 0, at = 0;

    for (; at < name->n; at++)
        if (((unsigned char)name->data[at] & 0xc0) != 0x80 && n++ == KEPT)
            break;
    if (at == name->n)
        return;
    name->n = at;
    buf_adds(name, "\xe2\x80\xa6");
}

static void set_names(struct cell_facts *c, const char *name)
{
    const struct record *r = c->r;
    struct buf series = {0}, label = {0};

    buf_adds(&series, name);
    shorten(&series);
    buf_adds(&label, series.data);
    if (!c->dense) {
        buf_addc(&label, ' ');
        if (r->nm)
            buf_adds(&label, r->nm);
        else
            add_percent(&label, r->weight_sparsity);
        if (!c->structured || r->act_sparsity > 0) {
            buf_addc(&label, '/');
            add_percent(&label, r->act_sparsity);
        }
        if (r->nm)
            buf_addf(&series, " %s", r->nm);
        if (!c->structured && r->act_sparsity == 0)
            buf_adds(&series, ", dense inputs");
        else if (r->act_sparsity > 0 && r->act_sparsity != r->weight_sparsity)
            buf_addf(&series, ", %.4g %% of inputs", 100 * r->act_sparsity);
    }
    c->series = buf_detach(&series);
    c->label = buf_detach(&label);
    c->numbers = c->dense ? "" : strrchr(c->label, ' ') + 1;
}

/* ---- what it gave */

static void set_scores(struct facts *f, const struct columns *columns)
{
    const struct column *text = NULL;

    for (size_t i = 0; i < columns->n; i++) {
        if (!text && metric_is_perplexity(columns->items[i].like))
            text = &columns->items[i];
        f->n_acc += (size_t)column_in_mean(columns, &columns->items[i]);
    }
    f->text = text ? text->like->task : NULL;
    for (size_t i = 0; i < f->n; i++) {
        struct cell_facts *c = &f->cells[i];
        const struct record *ppl = text ? text->of_cell[i] : NULL;

        cell_mean(columns, i, &c->acc.value, &c->acc.se);
        for (size_t k = 0; k < columns->n && f->n_acc == 1; k++)
            if (column_in_mean(columns, &columns->items[k]) && columns->items[k].of_cell[i])
                c->acc = (struct estimate){columns->items[k].of_cell[i]->value,
                                           columns->items[k].of_cell[i]->stderr_};
        c->perplexity =
            ppl ? (struct estimate){ppl->value, ppl->stderr_} : (struct estimate){NAN, NAN};
    }
}

static void set_layers(struct cell_facts *c, const struct record *r)
{
    if (strcmp(r->metric, layer_metric_names[LAYER_ZEROS]) == 0)
        c->zeros = r;
    else if (strcmp(r->metric, layer_metric_names[LAYER_OUTPUT_ERROR]) == 0)
        c->output_error = r;
    else if (strcmp(r->metric, layer_metric_names[LAYER_STREAM_ERROR]) == 0)
        c->stream_error = r;
}

/* ---- how fast it was */

static int is_work(const struct facts *f, const struct record *r)
{
    return f->work && strcmp(r->task, f->work) == 0 &&
           (isnan(f->context) || r->context == f->context) &&
           (strcmp(f->work, "layer") != 0 || !r->cache || strcmp(r->cache, "cold") == 0);
}

static void choose_work(struct facts *f)
{
    static const char *const works[] = {"decode", "layer", "prefill"};

    f->context = NAN;
    for (size_t w = 0; w < 3 && !f->work; w++)
        for (size_t i = 0; i < f->n_speeds && !f->work; i++)
            if (strcmp(f->speeds[i]->task, works[w]) == 0) {
                f->work = works[w];
                f->context = f->speeds[i]->context;
            }
}

/* The fastest path stands for a cell, of records of the same path the latest. */
static void set_speed(const struct facts *f, struct cell_facts *c, const struct record *r)
{
    if (!is_work(f, r) || !r->path || facts_speed(f, r, r->task, r->path, r->cache) != r)
        return;
    if (c->dense ? !c->timed || r->median_ns < c->timed->median_ns
                 : !isnan(r->speedup) && !(r->speedup <= c->speedup.value)) {
        c->timed = r;
        c->speedup =
            c->dense ? (struct estimate){1, 0} : (struct estimate){r->speedup, r->speedup_err};
    }
    /* Speeds without scores beside them: of the run that timed it. */
    if (isnan(c->perplexity.value))
        c->perplexity.value = r->scored_perplexity;
    if (isnan(c->acc.value))
        c->acc.value = r->scored_acc;
}

const struct record *facts_speed(const struct facts *f, const struct record *cell, const char *task,
                                 const char *path, const char *cache)
{
    for (size_t i = 0; i < f->n_speeds; i++) {
        const struct record *r = f->speeds[i];

        if (strcmp(r->task, task) != 0 || (path && (!r->path || strcmp(r->path, path) != 0)) ||
            (cache && (!r->cache || strcmp(r->cache, cache) != 0)) ||
            (!isnan(f->context) && !isnan(r->context) && r->context != f->context))
            continue;
        if (record_same_cell(cell, r))
            return r;
    }
    return NULL;
}

/* Accuracy counts where two cells have it; scores beside speeds do not say of how many tasks. */
static void choose_quality(struct facts *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        n += !isnan(f->cells[i].acc.value);
    f->n_acc = n < 2 ? 0 : f->n_acc ? f->n_acc : 1;
}

/* ---- the whole */

static void name_cells(struct facts *f, const struct block *k)
{
    for (size_t i = 0; i < f->n; i++) {
        struct cell_facts *c = &f->cells[i];

        c->r = k->cells.first[i];
        c->dense = is_dense(c->r);
        c->structured = is_structured(c->r);
        c->speedup = (struct estimate){NAN, NAN};
        c->params_left = NAN;
        set_names(c, k->cells.label[i]);
        f->dense = c->dense && !f->dense ? c : f->dense;
    }
}

/* What was scored, in columns over the cells of all records. */
static void add_scores(struct facts *f, const struct block *k)
{
    const struct record **scores = xcalloc(k->n, sizeof(*scores));
    size_t *cell = xcalloc(k->n, sizeof(*cell)), n = 0;
    struct cells cells = {.first = k->cells.first, .n = k->cells.n, .of_record = cell};
    struct columns columns;

    for (size_t i = 0; i < k->n; i++)
        if (!record_is_speed(k->records[i]) && !record_is_layers(k->records[i])) {
            cell[n] = k->cells.of_record[i];
            scores[n++] = k->records[i];
        }
    columns_init(&columns, &cells, scores, n);
    set_scores(f, &columns);
    columns_release(&columns);
    free(scores);
    free(cell);
}

void facts_init(struct facts *f, const struct block *k)
{
    const struct record **speeds = xcalloc(k->n, sizeof(*speeds));
    struct block all = *k;

    cells_init(&all.cells, k->records, k->n);
    cells_label(&all.cells);
    *f = (struct facts){.cells = xcalloc(all.cells.n, sizeof(*f->cells)), .n = all.cells.n};
    f->speeds = speeds;
    name_cells(f, &all);
    add_scores(f, &all);
    for (size_t i = k->n; i-- > 0;)
        if (record_is_speed(k->records[i]))
            speeds[f->n_speeds++] = k->records[i];
    choose_work(f);
    for (size_t i = 0; i < k->n; i++) {
        struct cell_facts *c = &f->cells[all.cells.of_record[i]];
        const struct record *r = k->records[i];

        if (!isnan(r->effective_params))
            c->params_left = r->effective_params;
        if (record_is_speed(r))
            set_speed(f, c, r);
        else if (record_is_layers(r))
            set_layers(c, r);
    }
    choose_quality(f);
    cells_release(&all.cells);
}

void facts_release(struct facts *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->cells[i].label);
        free(f->cells[i].series);
    }
    free(f->cells);
    free((void *)f->speeds);
    *f = (struct facts){0};
}

int facts_has_quality(const struct facts *f, const struct cell_facts *c)
{
    return !isnan(f->n_acc ? c->acc.value : c->perplexity.value);
}

int facts_better(const struct facts *f, const struct cell_facts *a, const struct cell_facts *b)
{
    return f->n_acc ? a->acc.value > b->acc.value : a->perplexity.value < b->perplexity.value;
}
