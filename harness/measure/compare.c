/* Which records belong together. */
#include "harness/measure/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/record_fields.h"

const char *const verdict_names[] = {"SAME", "BETTER", "WORSE", "NOT COMPARABLE"};
const char *const change_by_names[] = {"bits", "pairs", "errors", "samples", "speed-ups", "value"};

static int is_one_of(const char *name, const char *const *names)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return 1;
    return 0;
}

static int is_text(const struct record_field *f)
{
    return f->kind == FIELD_STRING;
}

static int same_field(const struct record_field *f, const struct record *a, const struct record *b)
{
    if (is_text(f)) {
        const char *s = field_string(a, f), *t = field_string(b, f);

        return s && t ? strcmp(s, t) == 0 : s == t;
    } else {
        double x = field_number(a, f), y = field_number(b, f);

        return x == y || (isnan(x) && isnan(y));
    }
}

static int of_identity(const struct record_field *f)
{
    return f->group >= GROUP_MODEL && f->group <= GROUP_WORK && f->group != GROUP_RESULT &&
           f->kind != FIELD_STRINGS && f->kind != FIELD_NUMBERS;
}

/* Names for what another field says by content. */
static int is_said_elsewhere(const struct record_field *f, const struct record *a,
                             const struct record *b)
{
    if (strcmp(f->name, "model") == 0)
        return a->model_sha256 && b->model_sha256;
    if (strcmp(f->name, "calib") == 0)
        return a->calib_sha256 && b->calib_sha256;
    /* Scores do not depend on the threads; times do. */
    if (strcmp(f->name, "threads") == 0)
        return !record_is_speed(a) && !record_is_speed(b);
    return 0;
}

static void add_value(struct buf *b, const struct record *r, const struct record_field *f)
{
    if (is_text(f) && field_string(r, f))
        /* Of a hash the first digits tell as much. */
        buf_addf(b, strstr(f->name, "sha256") ? "%.12s" : "%.80s", field_string(r, f));
    else if (is_text(f) || isnan(field_number(r, f)))
        buf_adds(b, "unknown");
    else
        buf_addf(b, "%.12g", field_number(r, f));
}

size_t compare_identity(const struct record *a, const struct record *b, const char *const *across,
                        struct buf *out)
{
    size_t n = 0;

    for (const struct record_field *f = record_fields; f->name; f++) {
        if (!of_identity(f) || same_field(f, a, b) || is_said_elsewhere(f, a, b) ||
            is_one_of(f->name, across))
            continue;
        buf_addf(out, "%s%s ", n++ ? ", " : "", f->name);
        add_value(out, a, f);
        buf_adds(out, " against ");
        add_value(out, b, f);
    }
    return n;
}

/* What makes two records candidates of each other. The rest of the identity must then agree. */
static int same_question(const struct record *a, const struct record *b, const char *const *across)
{
    static const char *const names[] = {"task", "metric", "path", "cache", "context", NULL};

    for (size_t i = 0; names[i]; i++)
        if (!is_one_of(names[i], across) && !same_field(record_field_find(names[i]), a, b))
            return 0;
    return 1;
}

/* Fewest fields that forbid a comparison, then fewest that differ at all: with `across method` each
 * method still finds itself first. */
static const struct record_line *partner_of(const struct record_line *base,
                                            const struct record_list *now,
                                            const char *const *across, struct buf *why)
{
    const struct record_line *best = NULL;
    size_t least = 0, least_all = 0;
    struct buf text = {0}, all = {0};

    for (size_t i = 0; i < now->n; i++) {
        const struct record *r = &now->items[i].rec;
        size_t n, n_all;

        if (!same_question(&base->rec, r, across))
            continue;
        text.n = all.n = 0;
        n = compare_identity(&base->rec, r, across, &text);
        n_all = compare_identity(&base->rec, r, NULL, &all);
        if (best && (n > least || (n == least && n_all > least_all)))
            continue;
        best = &now->items[i];
        least = n;
        least_all = n_all;
        why->n = 0;
        buf_adds(why, n ? text.data : "");
    }
    if (!best)
        buf_adds(why, "not measured");
    buf_release(&text);
    buf_release(&all);
    return best;
}

static int is_replaced(const struct record_list *l, size_t i)
{
    for (size_t k = i + 1; k < l->n; k++)
        if (strcmp(l->items[k].rec.run_id, l->items[i].rec.run_id) == 0)
            return 1;
    return 0;
}

static int has_speedup(const struct comparison *c)
{
    return c->now && !isnan(c->base->rec.speedup) && !isnan(c->now->rec.speedup);
}

static struct comparison *add(struct comparisons *out, const struct record_line *base,
                              const struct record_line *now, const char *metric)
{
    struct comparison *c = &out->items[out->n++];

    *c = (struct comparison){
        .base = base,
        .now = now,
        .metric = metric,
        .from = NAN,
        .to = NAN,
        .change = NAN,
        .se = NAN,
        .low = NAN,
        .high = NAN,
        .p = NAN,
        .by = BY_NOTHING,
        .verdict = VERDICT_NOT_COMPARABLE,
    };
    return c;
}

/* The rows of one record: its metric, or for times the speed and, of sparse paths, the speed-up. */
static int compare_one(struct comparisons *out, const struct record_line *base,
                       const struct record_list *now, const struct compare_options *o,
                       unsigned char *met)
{
    struct buf why = {0};
    const struct record_line *partner = partner_of(base, now, o->across, &why);
    int is_speed = base->rec.n_samples > 0, rc = 0;
    struct comparison *c = add(out, base, partner, is_speed ? "speed" : base->rec.metric);

    if (!partner || why.n) {
        c->why = buf_detach(&why);
        return 0;
    }
    buf_release(&why);
    met[partner - now->items] = 1;
    rc = compare_judge(c, o);
    if (rc == 0 && is_speed && has_speedup(c))
        rc = compare_judge(add(out, base, partner, "speedup"), o);
    return rc;
}

int compare_records(const struct record_list *base, const struct record_list *now,
                    const struct compare_options *o, struct comparisons *out)
{
    unsigned char *met = xcalloc(now->n, 1);
    int rc = 0;

    *out = (struct comparisons){.items = xcalloc(2 * base->n, sizeof(*out->items))};
    for (size_t i = 0; i < base->n && rc == 0; i++)
        if (!is_replaced(base, i))
            rc = compare_one(out, &base->items[i], now, o, met);
    for (size_t i = 0; i < now->n; i++)
        out->n_new += !met[i] && !is_replaced(now, i);
    free(met);
    return rc;
}

void comparisons_release(struct comparisons *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->items[i].why);
    free(c->items);
    *c = (struct comparisons){0};
}
