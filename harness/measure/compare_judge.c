/* What the difference of two comparable records is worth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/measure/bench.h"
#include "harness/measure/cells.h"
#include "harness/measure/compare.h"
#include "harness/measure/paired.h"
#include "harness/measure/samples.h"
#include "harness/measure/stats.h"

#define LEVEL 0.05
#define NORMAL_95 1.959963984540054

void record_cell_name(const struct record *r, struct buf *out)
{
    char id[17];

    record_cell_id(r, id);
    buf_addf(out, "%s-w%g-a%g-%.8s", r->method, r->weight_sparsity, r->act_sparsity, id);
}

char *record_samples_path(const char *dir, const struct record *r)
{
    struct buf path = {0};
    char id[17];

    record_cell_id(r, id);
    buf_addf(&path, "%s/", dir);
    record_cell_name(r, &path);
    buf_addf(&path, "/samples_%s_%s.jsonl", r->task, id);
    return buf_detach(&path);
}

/* +1: more is better. */
static int direction(const char *metric)
{
    return strcmp(metric, "perplexity") == 0 || strcmp(metric, "kl_divergence") == 0 ||
                   strcmp(metric, "median_ns") == 0
               ? -1
               : 1;
}

static void set_verdict(struct comparison *c, int differs)
{
    c->verdict = !differs || c->change == 0             ? VERDICT_SAME
                 : c->change * direction(c->metric) > 0 ? VERDICT_BETTER
                                                        : VERDICT_WORSE;
}

static int excludes_zero(const struct comparison *c)
{
    return c->low > 0 || c->high < 0;
}

/* exp(x) - 1 in per cent */
/* Finite: of ruined models the end of an interval is beyond what a double holds. */
static double percent(double log_ratio)
{
    return 100 * expm1(log_ratio > 700 ? 700 : log_ratio);
}

static void set_log_interval(struct comparison *c, double log_ratio, double half)
{
    c->low = percent(log_ratio - half);
    c->high = percent(log_ratio + half);
}

/* ---- samples */

static double *metric_of(const struct sample_scores *s, const char *metric)
{
    return strcmp(metric, "acc") == 0        ? s->acc
           : strcmp(metric, "acc_norm") == 0 ? s->acc_norm
                                             : s->nll;
}

/* Reads the samples of a record and sees that they are its own. */
static int read_samples(struct sample_scores *s, const char *dir, const struct record *r)
{
    char *path = record_samples_path(dir, r);
    int rc = samples_read(s, path);

    if (rc == 0) {
        double value = stats_mean(metric_of(s, r->metric), s->n).value;

        if (metric_is_perplexity(r))
            value = exp(value);
        if (!(fabs(value - r->value) <= 1e-9 * fabs(r->value)))
            rc = error("%s: the samples give %s %.12g, the record says %.12g", path, r->metric,
                       value, r->value);
    }
    free(path);
    return rc;
}

static void judge_pairs(struct comparison *c, const double *a, const double *b, size_t n)
{
    struct record r;

    record_init(&r);
    c->by = BY_PAIRS;
    if (c->unit == UNIT_POINTS) {
        paired_accuracy(&r, a, b, n, 0);
        c->se = 100 * r.diff_stderr;
        c->low = 100 * r.diff_low;
        c->high = 100 * r.diff_high;
        c->p = r.p_value;
        set_verdict(c, r.p_value < LEVEL);
    } else {
        paired_perplexity(&r, a, b, n);
        set_log_interval(c, r.log_ratio, stats_student(n - 1) * r.log_ratio_stderr);
        set_verdict(c, excludes_zero(c));
    }
}

static int judge_samples(struct comparison *c, const struct compare_options *o)
{
    struct sample_scores a = {0}, b = {0};
    const char *metric = c->base->rec.metric;
    int rc = read_samples(&a, o->base_samples, &c->base->rec);

    if (rc == 0)
        rc = read_samples(&b, o->new_samples, &c->now->rec);
    if (rc == 0 && samples_check_paired(&a, &b, &c->why) == 0)
        judge_pairs(c, metric_of(&a, metric), metric_of(&b, metric), a.n);
    sample_scores_release(&a);
    sample_scores_release(&b);
    return rc;
}

/* ---- without */

/* As if the two runs had seen different documents: their common ones make the true interval
 * narrower. */
static void judge_errors(struct comparison *c)
{
    const struct record *a = &c->base->rec, *b = &c->now->rec;
    double se_a = a->stderr_, se_b = b->stderr_, half;

    c->by = BY_ERRORS;
    if (c->unit == UNIT_PERCENT) {
        half = NORMAL_95 * hypot(se_a / a->value, se_b / b->value);
        set_log_interval(c, log(b->value / a->value), half);
    } else {
        c->se = hypot(se_a, se_b) * (c->unit == UNIT_POINTS ? 100 : 1);
        half = NORMAL_95 * c->se;
        c->low = c->change - half;
        c->high = c->change + half;
    }
    set_verdict(c, excludes_zero(c));
}

static int judge_quality(struct comparison *c, const struct compare_options *o)
{
    const struct record *a = &c->base->rec, *b = &c->now->rec;
    int in_samples = metric_is_accuracy(a) || metric_is_perplexity(a);

    if (metric_is_perplexity(a) && !(a->value > 0 && b->value > 0)) {
        c->why = xstrdup("a perplexity that is not above 0");
        return 0;
    }
    c->unit = metric_is_share(a)        ? UNIT_POINTS
              : metric_is_perplexity(a) ? UNIT_PERCENT
                                        : UNIT_PLAIN;
    c->from = a->value * (c->unit == UNIT_POINTS ? 100 : 1);
    c->to = b->value * (c->unit == UNIT_POINTS ? 100 : 1);
    c->change = c->unit == UNIT_PERCENT ? 100 * (b->value / a->value - 1) : c->to - c->from;
    if (o->exact || a->value == b->value) {
        c->by = BY_BITS;
        c->se = 0;
        c->verdict = a->value == b->value ? VERDICT_SAME : VERDICT_WORSE;
        /* Equal means of other documents are no news: the samples decide where there are any. */
        if (o->exact || !o->base_samples || !o->new_samples || !in_samples)
            return 0;
    }
    if (in_samples && o->base_samples && o->new_samples)
        return judge_samples(c, o);
    if (!isnan(a->stderr_) && !isnan(b->stderr_))
        judge_errors(c);
    else
        set_verdict(c, 1);
    return 0;
}

/* ---- times */

static void judge_speed(struct comparison *c)
{
    const struct record *a = &c->base->rec, *b = &c->now->rec;
    struct estimate log_ratio =
        bench_change(a->samples_ns, a->n_samples, b->samples_ns, b->n_samples);

    c->unit = UNIT_PERCENT;
    c->from = stats_median(a->samples_ns, a->n_samples);
    c->to = stats_median(b->samples_ns, b->n_samples);
    c->change = percent(log_ratio.value);
    c->by = BY_SAMPLES;
    if (isnan(log_ratio.value))
        c->why = xstrdup("a sample is not a time");
    else if (isnan(log_ratio.se))
        c->why = xstrdup("one sample has no error");
    if (c->why)
        return;
    set_log_interval(c, log_ratio.value, NORMAL_95 * log_ratio.se);
    set_verdict(c, excludes_zero(c));
}

static void judge_speedup(struct comparison *c)
{
    const struct record *a = &c->base->rec, *b = &c->now->rec;

    c->unit = UNIT_PERCENT;
    c->from = a->speedup;
    c->to = b->speedup;
    c->by = BY_SPEEDUPS;
    if (!(a->speedup > 0 && b->speedup > 0 && a->speedup_err >= 0 && b->speedup_err >= 0)) {
        c->why = xstrdup("a speed-up without its error");
        return;
    }
    c->change = 100 * (b->speedup / a->speedup - 1);
    set_log_interval(c, log(b->speedup / a->speedup),
                     NORMAL_95 * hypot(a->speedup_err / a->speedup, b->speedup_err / b->speedup));
    set_verdict(c, excludes_zero(c));
}

/* ---- the mean accuracy */

static int is_in_mean(const struct comparisons *c, const struct comparison *x)
{
    if (!metric_is_accuracy(&x->base->rec))
        return 0;
    if (strcmp(x->metric, "acc_norm") == 0)
        return 1;
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->items[i].metric, "acc_norm") == 0 &&
            strcmp(c->items[i].base->rec.task, x->base->rec.task) == 0)
            return 0;
    return 1;
}

/* The cell of each row, in order of first appearance. */
static size_t *cells_of(const struct comparisons *c)
{
    const struct record **records = xcalloc(c->n, sizeof(*records));
    struct cells cells;
    size_t *of_row;

    for (size_t i = 0; i < c->n; i++)
        records[i] = &c->items[i].base->rec;
    cells_init(&cells, records, c->n);
    of_row = cells.of_record;
    cells.of_record = NULL;
    cells_release(&cells);
    free((void *)records);
    return of_row;
}

/* Of the cell of row i. 0 where there is none. */
static int mean_of(const struct comparisons *c, const size_t *cell, size_t i,
                   struct comparison *out)
{
    double sum_var = 0, k = 0;

    *out = c->items[i];
    out->metric = "mean";
    out->unit = UNIT_POINTS;
    out->by = BY_BITS;
    out->p = NAN;
    out->why = NULL;
    out->from = out->to = out->change = 0;
    for (size_t j = 0; j < c->n; j++) {
        const struct comparison *x = &c->items[j];

        if (cell[i] != cell[j] || !is_in_mean(c, x))
            continue;
        if (x->verdict == VERDICT_NOT_COMPARABLE)
            return 0;
        out->from += x->from;
        out->to += x->to;
        sum_var += x->se * x->se;
        out->by = x->by != BY_BITS ? x->by : out->by;
        k++;
    }
    if (k < 2)
        return 0;
    out->from /= k;
    out->to /= k;
    out->change = out->to - out->from;
    out->se = sqrt(sum_var) / k;
    out->low = out->change - NORMAL_95 * out->se;
    out->high = out->change + NORMAL_95 * out->se;
    set_verdict(out, excludes_zero(out));
    return 1;
}

void compare_means(struct comparisons *c)
{
    struct comparisons out = {.items = xcalloc(2 * c->n, sizeof(*out.items)), .n_new = c->n_new};
    size_t *cell = cells_of(c), *last = xcalloc(c->n, sizeof(*last));

    for (size_t i = 0; i < c->n; i++)
        last[cell[i]] = i;
    for (size_t i = 0; i < c->n; i++) {
        out.items[out.n++] = c->items[i];
        if (last[cell[i]] == i)
            out.n += (size_t)mean_of(c, cell, i, &out.items[out.n]);
    }
    free(cell);
    free(last);
    free(c->items);
    *c = out;
}

int compare_judge(struct comparison *c, const struct compare_options *o)
{
    int rc = 0;

    if (strcmp(c->metric, "speed") == 0)
        judge_speed(c);
    else if (strcmp(c->metric, "speedup") == 0)
        judge_speedup(c);
    else
        rc = judge_quality(c, o);
    if (c->why)
        c->verdict = VERDICT_NOT_COMPARABLE;
    return rc;
}
