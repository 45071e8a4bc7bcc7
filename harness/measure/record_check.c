/* What the numbers of a record may be. */
#include "harness/measure/record.h"

#include <math.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/record_fields.h"

/* Ten days in nanoseconds, a petabyte: a hundredfold of it prints in a table's cell. */
#define MOST_NUMBER 1e15
#define LEAST_TIME 1e-15
/* Relative: an interval of two is exp of twice that. */
#define MOST_ERROR 100
/* exp of a mean negative log-likelihood, rounded; no other bound: a model may be ruined. */
#define LEAST_PERPLEXITY 0.5
#define MOST_PERPLEXITY 1e300

int metric_is_accuracy(const struct record *r)
{
    return strcmp(r->metric, "acc") == 0 || strcmp(r->metric, "acc_norm") == 0;
}

int metric_is_perplexity(const struct record *r)
{
    return strcmp(r->metric, "perplexity") == 0;
}

int metric_is_divergence(const struct record *r)
{
    return strcmp(r->metric, "kl_divergence") == 0 || strcmp(r->metric, "same_top1") == 0;
}

int metric_is_share(const struct record *r)
{
    return metric_is_accuracy(r) || strcmp(r->metric, "same_top1") == 0;
}

static int is_perplexity(double v)
{
    return v >= LEAST_PERPLEXITY && v <= MOST_PERPLEXITY;
}

/* Of value and what belongs to it. */
static int score_fits(const struct record *r, const struct record_field *f, double v)
{
    int is_difference = strncmp(f->name, "diff", 4) == 0 && strcmp(f->name, "diff_stderr") != 0;
    int is_error = strstr(f->name, "stderr") != NULL;

    if (metric_is_share(r))
        return v >= (is_difference ? -1 : 0) && v <= 1;
    if (metric_is_perplexity(r))
        return is_difference ? fabs(v) <= MOST_PERPLEXITY
               : is_error    ? v >= 0 && v <= MOST_ERROR * r->value
                             : is_perplexity(v);
    return fabs(v) <= MOST_NUMBER && (!is_error || v >= 0);
}

/* Unknown always, never infinite. */
static int number_fits(const struct record *r, const struct record_field *f, double v)
{
    if (isnan(v))
        return 1;
    if (f->kind == FIELD_COUNT)
        return v >= 0 && v <= 0x1p53 && v == floor(v);
    if (f->kind == FIELD_BOOL)
        return v == 0 || v == 1;
    if (!isfinite(v))
        return 0;
    switch (f->range) {
    case RANGE_SCORE:
        return score_fits(r, f, v);
    case RANGE_SHARE:
        return v >= 0 && v <= 1;
    case RANGE_ERROR:
        return v >= 0 && !(v > MOST_ERROR * r->speedup);
    case RANGE_FROM_0:
        return v >= 0 && v <= MOST_NUMBER;
    case RANGE_ABOVE_0:
        return v >= LEAST_TIME && v <= MOST_NUMBER;
    case RANGE_PERPLEXITY:
        return is_perplexity(v);
    case RANGE_ANY:
        break;
    }
    return fabs(v) <= MOST_NUMBER;
}

/* Times, shares of zeros, relative errors: none is negative. */
static const char *wrong_list(const struct record *r, size_t *at)
{
    for (const struct record_field *f = record_fields; f->name; f++) {
        size_t n = 0;
        const double *v = f->kind == FIELD_NUMBERS ? field_numbers(r, f, &n) : NULL;

        for (*at = 0; *at < n; ++*at)
            if (!(v[*at] >= 0 && v[*at] <= MOST_NUMBER))
                return f->name;
    }
    return NULL;
}

static const struct record_field *wrong_number(const struct record *r)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (field_is_number(f) && !number_fits(r, f, field_number(r, f)))
            return f;
    return NULL;
}

/* What says nothing without another field, and that field. */
static const char *const pairs[][2] = {
    {"diff_low", "diff_high"},
    {"diff_high", "diff_low"},
    {"speedup", "speedup_err"},
};

/* The first pair of which only one is known, or NULL. */
static const char *const *widowed(const struct record *r)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (!isnan(field_number(r, record_field_find(pairs[i][0]))) &&
            isnan(field_number(r, record_field_find(pairs[i][1]))))
            return pairs[i];
    return NULL;
}

static const char *lacking(const struct record *r)
{
    return !r->task       ? "task"
           : !r->metric   ? "metric"
           : !r->model    ? "model"
           : !r->protocol ? "protocol"
                          : NULL;
}

int record_check(const struct record *r, const char *where)
{
    const char *task = r->task ? r->task : "?", *metric = r->metric ? r->metric : "?";
    const char *lacks = lacking(r), *list, *colon;
    const char *const *pair;
    const struct record_field *f;
    size_t at;

    if (!where[0] && r->method) /* a record in the making: its cell is the place */
        where = r->method;
    colon = where[0] ? ": " : "";
    if (lacks)
        return error("%s%srecord of %s %s: no %s", where, colon, task, metric, lacks);
    if (!isfinite(r->value))
        return error("%s%s%s %s is %g, which is not a result", where, colon, task, metric,
                     r->value);
    if ((f = wrong_number(r)))
        return error("%s%s%s %s: field '%s' cannot be %.17g", where, colon, task, metric, f->name,
                     field_number(r, f));
    if ((list = wrong_list(r, &at)))
        return error("%s%s%s %s: field '%s': number %zu is out of range", where, colon, task,
                     metric, list, at);
    if ((pair = widowed(r)))
        return error("%s%s%s %s: field '%s' without '%s'", where, colon, task, metric, pair[0],
                     pair[1]);
    return 0;
}
