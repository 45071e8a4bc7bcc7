/* Which records belong together. */
#include "harness/measure/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/record_fields.h"

/* Of records, those that would be looked at in the worst case; about a microsecond each. */
#define MOST_PAIRS ((size_t)1 << 26)

const char *const verdict_names[] = {"SAME", "BETTER", "WORSE", "NOT COMPARABLE"};
const char *const change_by_names[] = {"bits", "pairs", "errors", "samples", "speed-ups", "value"};

static int is_one_of(const char *name, const char *const *names)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return 1;
    return 0;
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
    if (!field_is_known(f, r))
        buf_adds(b, "unknown");
    else if (f->kind == FIELD_STRING)
        /* Of a hash the first digits tell as much. */
        buf_addf(b, strstr(f->name, "sha256") ? "%.12s" : "%.80s", field_string(r, f));
    else
        buf_addf(b, "%.12g", field_number(r, f));
}

size_t compare_identity(const struct record *a, const struct record *b, const char *const *across,
                        struct buf *out)
{
    size_t n = 0;

    for (const struct record_field *f = record_fields; f->name; f++) {
        if (!of_identity(f) || field_same(f, a, b) || is_said_elsewhere(f, a, b) ||
            is_one_of(f->name, across))
            continue;
        if (!out) {
            n++;
            continue;
        }
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
    static const char *const names[] = {"task", "metric", "path", "cache", "context"};
    static const struct record_field *fields[5];

    for (size_t i = 0; i < 5; i++) {
        fields[i] = fields[i] ? fields[i] : record_field_find(names[i]);
        if (!field_same(fields[i], a, b) && !is_one_of(names[i], across))
            return 0;
    }
    return 1;
}

/* Of each run_id the last record: it has replaced those before. */
struct latest {
    const struct record_line **items; /* sorted by run_id, then by place */
    size_t n;
};

static int by_run_id(const void *a, const void *b)
{
    const struct record_line *x = *(const struct record_line *const *)a;
    const struct record_line *y = *(const struct record_line *const *)b;
    int order = strcmp(x->rec.run_id, y->rec.run_id);

    return order ? order : x < y ? -1 : 1;
}

static void latest_init(struct latest *t, const struct record_list *l)
{
    *t = (struct latest){xcalloc(l->n, sizeof(*t->items)), l->n};
    for (size_t i = 0; i < l->n; i++)
        t->items[i] = &l->items[i];
    qsort(t->items, t->n, sizeof(*t->items), by_run_id);
}

static const struct record_line *latest_find(const struct latest *t, const char *run_id)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) { /* the first that is greater */
        size_t mid = lo + (hi - lo) / 2;

        if (strcmp(t->items[mid]->rec.run_id, run_id) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && strcmp(t->items[lo - 1]->rec.run_id, run_id) == 0 ? t->items[lo - 1] : NULL;
}

static int is_replaced(const struct latest *t, const struct record_line *l)
{
    return latest_find(t, l->rec.run_id) != l;
}

/* Fewest fields that forbid a comparison, then fewest that differ at all: with `across method` each
 * method still finds itself first. */
static const struct record_line *partner_of(const struct record_line *base,
                                            const struct record_list *now,
                                            const struct latest *latest, const char *const *across,
                                            struct buf *why)
{
    const struct record_line *best = latest_find(latest, base->rec.run_id);
    size_t least = 0, least_all = 0;

    /* The same question again is the rule; a run_id alone is not proof (record_fields.h). */
    if (best && same_question(&base->rec, &best->rec, NULL) &&
        compare_identity(&base->rec, &best->rec, NULL, NULL) == 0)
        return best;
    best = NULL;

    for (size_t i = 0; i < now->n; i++) {
        const struct record *r = &now->items[i].rec;
        size_t n, n_all;

        if (!same_question(&base->rec, r, across))
            continue;
        n = compare_identity(&base->rec, r, across, NULL);
        n_all = across ? compare_identity(&base->rec, r, NULL, NULL) : n;
        if (best && (n > least || (n == least && n_all > least_all)))
            continue;
        best = &now->items[i];
        least = n;
        least_all = n_all;
    }
    if (!best)
        buf_adds(why, "not measured");
    else if (least)
        compare_identity(&base->rec, &best->rec, across, why);
    return best;
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
                       const struct record_list *now, const struct latest *latest,
                       const struct compare_options *o, unsigned char *met)
{
    struct buf why = {0};
    const struct record_line *partner = partner_of(base, now, latest, o->across, &why);
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
    unsigned char *met;
    struct latest of_base, of_now;
    int rc = 0;

    *out = (struct comparisons){0};
    if (base->n && now->n > MOST_PAIRS / base->n)
        return error("%zu records are too many to compare with %zu: each meets each", base->n,
                     now->n);
    met = xcalloc(now->n, 1);
    latest_init(&of_base, base);
    latest_init(&of_now, now);

    *out = (struct comparisons){.items = xcalloc(2 * base->n, sizeof(*out->items))};
    for (size_t i = 0; i < base->n && rc == 0; i++)
        if (!is_replaced(&of_base, &base->items[i]))
            rc = compare_one(out, &base->items[i], now, &of_now, o, met);
    for (size_t i = 0; i < now->n; i++)
        out->n_new += !met[i] && !is_replaced(&of_now, &now->items[i]);
    free((void *)of_base.items);
    free((void *)of_now.items);
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
