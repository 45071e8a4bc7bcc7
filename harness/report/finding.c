/* What is gained and lost at the same speed. */
#include "harness/report/finding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

#define NBSP "\xc2\xa0"

/* ---- which cells */

static int counts(const struct facts *f, const struct cell_facts *c)
{
    return !c->dense && !isnan(c->speedup.value) && facts_has_quality(f, c);
}

static int rank(const struct cell_facts *c)
{
    int duogpt = c->r->method && strncmp(c->r->method, "duogpt", 6) == 0;

    if (duogpt && c->r->weight_sparsity == 0.5 && c->r->act_sparsity == 0.5)
        return 4;
    return duogpt && c->r->act_sparsity > 0 ? 3 : duogpt ? 2 : !c->structured;
}

static double distance(const struct cell_facts *a, const struct cell_facts *b)
{
    return fabs(log(a->speedup.value / b->speedup.value));
}

static int same_method(const struct cell_facts *a, const struct cell_facts *b)
{
    return strcmp(a->r->method ? a->r->method : "", b->r->method ? b->r->method : "") == 0;
}

static int same_speed(const struct finding *d, const struct cell_facts *c)
{
    return distance(d->chosen, c) <= log(SAME_SPEED);
}

/* How far a cell is from the chosen speed; one of the same sparsities that is about as fast comes
 * first, so that noise does not choose. */
static double farness(const struct finding *d, const struct cell_facts *c)
{
    int alike = c->r->weight_sparsity == d->chosen->r->weight_sparsity &&
                c->r->act_sparsity == d->chosen->r->act_sparsity;

    return alike && same_speed(d, c) ? -1 : distance(d->chosen, c);
}

/* Is no other cell of the method nearer in speed? The first of equals stands. */
static int is_nearest(const struct finding *d, const struct facts *f, const struct cell_facts *c)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct cell_facts *o = &f->cells[i];
        double far = counts(f, o) && same_method(o, c) ? farness(d, o) : INFINITY;

        if (far < farness(d, c) || (far == farness(d, c) && o < c))
            return 0;
    }
    return 1;
}

void finding_init(struct finding *d, const struct facts *f)
{
    *d = (struct finding){.near = xcalloc(f->n, sizeof(*d->near))};
    for (size_t i = 0; i < f->n; i++) {
        const struct cell_facts *c = &f->cells[i];

        if (counts(f, c) && (!d->chosen || rank(c) > rank(d->chosen) ||
                             (rank(c) == rank(d->chosen) && rank(c) < 4 &&
                              c->speedup.value > d->chosen->speedup.value)))
            d->chosen = c;
    }
    for (size_t i = 0; i < f->n && d->chosen; i++) {
        const struct cell_facts *c = &f->cells[i];
        size_t k = d->n_near;

        if (!counts(f, c) || !is_nearest(d, f, c))
            continue;
        for (; k > 0 && facts_better(f, c, d->near[k - 1]); k--)
            d->near[k] = d->near[k - 1];
        d->near[k] = c;
        d->n_near++;
        if (c->structured && !d->chosen->structured && same_speed(d, c) &&
            (!d->rival || facts_better(f, c, d->rival)))
            d->rival = c;
    }
}

void finding_release(struct finding *d)
{
    free(d->near);
    *d = (struct finding){0};
}

/* ---- the sentence */

static const char *work_of(const struct facts *f)
{
    return strcmp(f->work, "decode") == 0  ? "decodes"
           : strcmp(f->work, "layer") == 0 ? "runs the linears of a layer"
                                           : "reads a prompt";
}

/* Ratios with the digits that their error leaves. */
static void add_ratio(struct buf *out, struct estimate e)
{
    buf_addf(out, e.se < 0.01 ? "%.2f" : "%.1f", e.value);
}

static void add_quality(struct buf *out, const struct facts *f, const struct cell_facts *c)
{
    if (f->n_acc)
        buf_addf(out, "%.1f" NBSP "%%", 100 * c->acc.value);
    else
        buf_addf(out,
                 c->perplexity.value < 100   ? "perplexity %.2f"
                 : c->perplexity.value < 1e5 ? "perplexity %.0f"
                                             : "perplexity %.2e",
                 c->perplexity.value);
}

/* "3.2 points more than dense", and whether that is within two standard errors; paired errors,
 * which the tables have, are smaller. */
static void add_difference(struct buf *out, const struct facts *f, const struct cell_facts *a,
                           const struct cell_facts *b, const char *than)
{
    struct estimate x = f->n_acc ? a->acc : a->perplexity, y = f->n_acc ? b->acc : b->perplexity;
    double diff = x.value - y.value, se = hypot(x.se, y.se);

    if (f->n_acc)
        buf_addf(out, "%.1f points %s %s", 100 * fabs(diff), diff < 0 ? "less than" : "more than",
                 than);
    else
        buf_addf(out,
                 x.value / y.value < 1.1   ? "%.3f times that of %s"
                 : x.value / y.value < 1e5 ? "%.2f times that of %s"
                                           : "%.2e times that of %s",
                 x.value / y.value, than);
    if (!isnan(se) && fabs(diff) < 2 * se)
        buf_adds(out, " (within the errors)");
}

static void add_speed(struct buf *out, const struct finding *d, const struct facts *f)
{
    const struct cell_facts *c = d->chosen;

    buf_addf(out, "%s %s ", c->label, work_of(f));
    if (c->speedup.value < 1) {
        add_ratio(out, c->speedup);
        buf_adds(out, " times as fast as the dense model");
    } else {
        add_ratio(out, c->speedup);
        buf_adds(out, " times faster than the dense model");
    }
    if (fabs(c->speedup.value - 1) < 2 * c->speedup.se)
        buf_addf(out, " (\xc2\xb1 %.2g: no measured difference)", c->speedup.se);
}

void finding_sentence(const struct finding *d, const struct facts *f, struct buf *out)
{
    const struct cell_facts *c = d->chosen;

    if (!c) {
        buf_adds(out, "No cell has both a speed and a score: records of duo bench with -t have "
                      "both.\n");
        return;
    }
    add_speed(out, d, f);
    buf_addf(out, f->n_acc ? " and keeps an accuracy of " : " at ");
    add_quality(out, f, c);
    if (f->dense && facts_has_quality(f, f->dense)) {
        buf_adds(out, ", ");
        add_difference(out, f, c, f->dense, "dense");
    }
    buf_adds(out, ". ");
    if (d->rival) {
        buf_addf(out, "The best structured method at about that speed, %s (", d->rival->label);
        add_ratio(out, d->rival->speedup);
        buf_adds(out, f->n_acc ? " times), keeps " : " times), has ");
        add_quality(out, f, d->rival);
        buf_adds(out, ", ");
        add_difference(out, f, d->rival, c, c->label);
        buf_adds(out, ".\n");
    } else if (!c->structured) {
        buf_addf(out, "No structured method was measured within %.0f %% of that speed.\n",
                 100 * (SAME_SPEED - 1));
    }
}

/* ---- the table */

enum { METHOD, SPEED, ACC, AGAINST, PPL, PARAMS, N_COLS };

static void set_estimate(struct table *t, size_t row, size_t col, const char *fmt, double scale,
                         struct estimate e)
{
    struct buf b = {0};

    if (isnan(e.value))
        return;
    buf_addf(&b, fmt, scale * e.value);
    if (!isnan(e.se) && e.se > 0) {
        buf_adds(&b, " \xc2\xb1 ");
        buf_addf(&b, fmt, scale * e.se);
    }
    table_set(t, row, col, "%s", b.data);
    buf_release(&b);
}

static void add_cell(struct table *t, const struct finding *d, const struct facts *f,
                     const struct cell_facts *c)
{
    size_t row = table_add_row(t);

    table_set(t, row, METHOD, "%s%s", c->label,
              c == d->chosen || c->dense || same_speed(d, c) ? "" : " \xe2\x80\xa0");
    set_estimate(t, row, SPEED, "%.2f", 1, c->speedup);
    set_estimate(t, row, ACC, "%.1f", 100, c->acc);
    if (f->dense && !c->dense && !isnan(c->acc.value) && !isnan(f->dense->acc.value))
        table_set(t, row, AGAINST, "%+.1f", 100 * (c->acc.value - f->dense->acc.value));
    if (!isnan(c->perplexity.value))
        table_set(t, row, PPL, c->perplexity.value < 1e4 ? "%.2f" : "%.2e", c->perplexity.value);
    if (!isnan(c->params_left))
        table_set(t, row, PARAMS, "%.4g %s", c->params_left / (c->params_left < 1e9 ? 1e6 : 1e9),
                  c->params_left < 1e9 ? "M" : "B");
    if (c == d->chosen)
        table_star(t, row, METHOD);
}

void finding_table(const struct finding *d, const struct facts *f, struct doc *out)
{
    static const char *const heads[N_COLS] = {
        "method", "times dense speed", "accuracy %", "against dense", "perplexity", "parameters",
    };
    struct table t;
    size_t n_far = 0;

    if (!d->chosen)
        return;
    table_init(&t, N_COLS);
    table_add_row(&t);
    for (size_t col = 0; col < N_COLS; col++)
        table_set(&t, 0, col, "%s", heads[col]);
    if (f->dense)
        add_cell(&t, d, f, f->dense);
    for (size_t i = 0; i < d->n_near; i++) {
        add_cell(&t, d, f, d->near[i]);
        n_far += !same_speed(d, d->near[i]);
    }
    table_drop_empty(&t);
    doc_table(out, "same-speed", "Nearest to the same speed, of each method:", &t, 1);
    if (n_far)
        doc_put(out, DOC_TEXT, "\xe2\x80\xa0 more than %.0f %% faster or slower.",
                100 * (SAME_SPEED - 1));
}
