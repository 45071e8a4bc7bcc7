/* Records: the table of fields, life and identity. JSON is in record_json.c. */
#include "harness/measure/record.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/sha256.h"
#include "harness/base/text.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

#define FIELD_IN(range_, kind_, group_, member)                                                    \
    {                                                                                              \
        .name = #member, .kind = FIELD_##kind_, .group = GROUP_##group_, .range = RANGE_##range_,  \
        .offset = offsetof(struct record, member)                                                  \
    }
#define FIELD(kind_, group_, member) FIELD_IN(ANY, kind_, group_, member)

const struct record_field record_fields[] = {
    FIELD(STRING, RUN, run_id),
    FIELD(STRING, RUN, time),
    FIELD(STRING, RUN, git),
    FIELD(STRING, RUN, command),
    FIELD(STRING, RUN, host),
    FIELD(STRING, RUN, build),
    FIELD(STRING, RUN, libraries),
    FIELD(STRING, MODEL, model),
    FIELD(STRING, MODEL, model_sha256),
    FIELD(STRING, MODEL, tokenizer_sha256),
    FIELD(COUNT, MODEL, n_params),
    FIELD(COUNT, MODEL, n_linear_params),
    FIELD(COUNT, RESULT, effective_params),
    FIELD(STRING, RECIPE, method),
    FIELD_IN(SHARE, NUMBER, RECIPE, weight_sparsity),
    FIELD_IN(SHARE, NUMBER, RESULT, weight_zeros),
    FIELD_IN(SHARE, NUMBER, RECIPE, act_sparsity),
    FIELD_IN(SHARE, NUMBER, RESULT, act_zeros),
    FIELD(STRING, RECIPE, act_rule),
    FIELD(STRING, RECIPE, act_allocation),
    FIELD(STRING, RECIPE, act_ratios_sha256),
    FIELD(STRING, RECIPE, act_part),
    FIELD(STRING, RECIPE, nm),
    FIELD(NUMBER, RECIPE, alpha),
    FIELD(STRING, RECIPE, correct),
    FIELD_IN(FROM_0, NUMBER, RECIPE, refit_beta),
    FIELD(COUNT, RECIPE, refit_steps),
    FIELD(STRING, RECIPE, order),
    FIELD(STRING, RECIPE, lazy),
    FIELD_IN(FROM_0, NUMBER, RECIPE, damp),
    FIELD(COUNT, RECIPE, block),
    FIELD(STRING, RECIPE, calib),
    FIELD(STRING, RECIPE, calib_sha256),
    FIELD(COUNT, RECIPE, seed),
    FIELD(STRING, RECIPE, rng),
    FIELD(STRING, PLACE, protocol),
    FIELD(STRING, PLACE, backend),
    FIELD(STRING, PLACE, device),
    FIELD(STRING, PLACE, dtype),
    FIELD(COUNT, PLACE, threads),
    FIELD_IN(FROM_0, NUMBER, PLACE, limit),
    FIELD(STRING, TASK, task),
    FIELD(STRING, TASK, version),
    FIELD(STRING, TASK, data_sha256),
    FIELD(COUNT, TASK, window),
    FIELD(BOOL, TASK, bos),
    FIELD(COUNT, TASK, n),
    FIELD(COUNT, TASK, n_total),
    FIELD(COUNT, TASK, tokens),
    FIELD(STRING, TASK, metric),
    FIELD_IN(SCORE, NUMBER, RESULT, value),
    {.name = "stderr",
     .kind = FIELD_NUMBER,
     .group = GROUP_RESULT,
     .range = RANGE_SCORE,
     .offset = offsetof(struct record, stderr_)},
    FIELD(STRING, PAIRED, baseline),
    FIELD_IN(SCORE, NUMBER, PAIRED, diff),
    FIELD_IN(SCORE, NUMBER, PAIRED, diff_stderr),
    FIELD_IN(SCORE, NUMBER, PAIRED, diff_low),
    FIELD_IN(SCORE, NUMBER, PAIRED, diff_high),
    FIELD(COUNT, PAIRED, gained),
    FIELD(COUNT, PAIRED, lost),
    FIELD_IN(SHARE, NUMBER, PAIRED, p_value),
    FIELD(NUMBER, PAIRED, log_ratio),
    FIELD_IN(FROM_0, NUMBER, PAIRED, log_ratio_stderr),
    FIELD_IN(FROM_0, NUMBER, RUN, seconds),
    FIELD_IN(FROM_0, NUMBER, RUN, prune_seconds),
    FIELD(COUNT, RUN, prune_nbytes),
    FIELD(STRINGS, RESULT, warnings),
    FIELD(STRING, WORK, path),
    FIELD(STRING, WORK, cache),
    FIELD(COUNT, WORK, context),
    {.name = "samples_ns",
     .kind = FIELD_NUMBERS,
     .group = GROUP_SPEED,
     .offset = offsetof(struct record, samples_ns),
     .n_offset = offsetof(struct record, n_samples)},
    FIELD_IN(ABOVE_0, NUMBER, SPEED, median_ns),
    FIELD_IN(FROM_0, NUMBER, SPEED, mad_ns),
    FIELD_IN(FROM_0, NUMBER, SPEED, noise_pct),
    FIELD(COUNT, SPEED, outliers),
    FIELD(NUMBER, SPEED, drift_pct),
    FIELD(STRING, SPEED, stopped),
    FIELD_IN(ABOVE_0, NUMBER, SPEED, tokens_per_s),
    FIELD_IN(FROM_0, NUMBER, SPEED, bytes_moved),
    FIELD_IN(ABOVE_0, NUMBER, SPEED, read_gbps),
    FIELD_IN(FROM_0, NUMBER, SPEED, peak_gbps_pct),
    FIELD(STRING, SPEED, speedup_over),
    FIELD_IN(ABOVE_0, NUMBER, SPEED, speedup),
    FIELD_IN(ERROR, NUMBER, SPEED, speedup_err),
    FIELD_IN(ABOVE_0, NUMBER, SPEED, speedup_other),
    FIELD_IN(PERPLEXITY, NUMBER, SPEED, scored_perplexity),
    FIELD_IN(SHARE, NUMBER, SPEED, scored_acc),
    FIELD_IN(FROM_0, NUMBER, SPEED, compute_mhz),
    FIELD_IN(FROM_0, NUMBER, SPEED, memory_mhz),
    FIELD_IN(FROM_0, NUMBER, SPEED, watts),
    FIELD(NUMBER, SPEED, celsius),
    FIELD(STRING, SPEED, throttle),
    {.name = "by_layer",
     .kind = FIELD_NUMBERS,
     .group = GROUP_LAYERS,
     .offset = offsetof(struct record, by_layer),
     .n_offset = offsetof(struct record, n_by_layer)},
    {.name = NULL},
};

const char *field_string(const struct record *r, const struct record_field *f)
{
    return *(char *const *)((const char *)r + f->offset);
}

double field_number(const struct record *r, const struct record_field *f)
{
    return *(const double *)((const char *)r + f->offset);
}

const double *field_numbers(const struct record *r, const struct record_field *f, size_t *n)
{
    *n = *(const size_t *)((const char *)r + f->n_offset);
    return *(double *const *)((const char *)r + f->offset);
}

int field_is_number(const struct record_field *f)
{
    return f->kind == FIELD_NUMBER || f->kind == FIELD_COUNT || f->kind == FIELD_BOOL;
}

int field_is_known(const struct record_field *f, const struct record *r)
{
    return f->kind == FIELD_STRING ? field_string(r, f) != NULL : !isnan(field_number(r, f));
}

void field_add_shown(struct buf *b, const struct record *r, const struct record_field *f)
{
    if (!field_is_known(f, r))
        buf_addc(b, '?');
    else if (f->kind == FIELD_STRING)
        buf_adds(b, field_string(r, f));
    else
        pyjson_add_number(b, field_number(r, f));
}

int field_same(const struct record_field *f, const struct record *a, const struct record *b)
{
    if (f->kind == FIELD_STRING) {
        const char *s = field_string(a, f), *t = field_string(b, f);

        return s && t ? strcmp(s, t) == 0 : s == t;
    } else {
        double x = field_number(a, f), y = field_number(b, f);

        return x == y || (isnan(x) && isnan(y));
    }
}

void record_init(struct record *r)
{
    memset(r, 0, sizeof(*r));
    for (const struct record_field *f = record_fields; f->name; f++)
        if (field_is_number(f))
            *(double *)((char *)r + f->offset) = NAN;
}

void record_release(struct record *r)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->kind == FIELD_STRING)
            free(*(char **)((char *)r + f->offset));
    for (size_t i = 0; i < r->n_warnings; i++)
        free(r->warnings[i]);
    free(r->warnings);
    free(r->samples_ns);
    free(r->by_layer);
    record_init(r);
}

void record_copy(struct record *to, const struct record *from)
{
    *to = *from;
    for (const struct record_field *f = record_fields; f->name; f++) {
        char **s = (char **)((char *)to + f->offset);

        if (f->kind == FIELD_STRING && *s)
            *s = xstrdup(*s);
    }
    to->warnings = NULL;
    to->n_warnings = 0;
    for (size_t i = 0; i < from->n_warnings; i++)
        field_add_warning(to, xstrdup(from->warnings[i]));
    to->samples_ns = NULL;
    record_set_samples(to, from->samples_ns, from->n_samples);
    to->by_layer = NULL;
    record_set_by_layer(to, from->by_layer, from->n_by_layer);
}

void record_set(char **member, const char *value)
{
    char *copy = value ? text_clean(value, 0) : NULL;

    free(*member);
    *member = copy;
}

void field_add_warning(struct record *r, char *text)
{
    r->warnings = xrealloc(r->warnings, (r->n_warnings + 1) * sizeof(*r->warnings));
    r->warnings[r->n_warnings++] = text;
}

void record_warn(struct record *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    field_add_warning(r, text_clean(text, 0));
}

static void set_numbers(double **list, size_t *count, const double *values, size_t n)
{
    double *copy = n ? xmalloc(n * sizeof(*copy)) : NULL;

    if (n)
        memcpy(copy, values, n * sizeof(*copy));
    free(*list);
    *list = copy;
    *count = n;
}

void record_set_samples(struct record *r, const double *ns, size_t n)
{
    set_numbers(&r->samples_ns, &r->n_samples, ns, n);
}

void record_set_by_layer(struct record *r, const double *values, size_t n)
{
    set_numbers(&r->by_layer, &r->n_by_layer, values, n);
}

void record_stamp(struct record *r)
{
    time_t now = time(NULL);
    struct tm tm;
    char text[32];

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    record_set(&r->time, text);
}

void field_add_line(struct buf *b, const struct record *r, const struct record_field *f)
{
    if (f->kind == FIELD_STRING && field_string(r, f)) {
        buf_addf(b, "%s=", f->name);
        json_add_quoted(b, field_string(r, f));
        buf_addc(b, '\n');
    } else if (field_is_number(f) && !isnan(field_number(r, f))) {
        buf_addf(b, "%s=", f->name);
        pyjson_add_number(b, field_number(r, f));
        buf_addc(b, '\n');
    }
}

/* Over the known fields of the groups from MODEL to `last`. */
static void identity_id(const struct record *r, enum field_group last, char out[17])
{
    struct buf b = {0};
    char hex[65];

    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->group != GROUP_RUN && f->group <= last)
            field_add_line(&b, r, f);
    sha256_hex(buf_str(&b), b.n, hex);
    memcpy(out, hex, 16);
    out[16] = 0;
    buf_release(&b);
}

void record_id(const struct record *r, char out[17])
{
    identity_id(r, GROUP_WORK, out);
}

int record_same_cell(const struct record *a, const struct record *b)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->group != GROUP_RUN && f->group <= GROUP_PLACE && !field_same(f, a, b))
            return 0;
    return 1;
}

int record_is_speed(const struct record *r)
{
    for (const struct record_field *f = record_fields; f->name; f++)
        if (f->group == GROUP_SPEED && field_is_number(f) && !isnan(field_number(r, f)))
            return 1;
    return r->n_samples > 0;
}

int record_is_layers(const struct record *r)
{
    return r->n_by_layer > 0;
}

void record_cell_id(const struct record *r, char out[17])
{
    identity_id(r, GROUP_PLACE, out);
}

int records_add(struct records *rs, struct record *r)
{
    char id[17];

    if (record_check(r, "") != 0)
        return -1;
    if (!r->run_id) {
        record_id(r, id);
        record_set(&r->run_id, id);
    }
    if (rs->n == rs->cap) {
        rs->cap = rs->cap ? 2 * rs->cap : 16;
        rs->items = xrealloc(rs->items, rs->cap * sizeof(*rs->items));
    }
    rs->items[rs->n++] = *r;
    record_init(r);
    return 0;
}

void records_release(struct records *rs)
{
    for (size_t i = 0; i < rs->n; i++)
        record_release(&rs->items[i]);
    free(rs->items);
    *rs = (struct records){0};
}
