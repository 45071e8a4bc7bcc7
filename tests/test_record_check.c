/* What the numbers of a record may be; and whatever they are, no table shows what is no number. */
#include "tests/test.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/compare.h"
#include "harness/measure/output.h"
#include "harness/measure/record.h"
#include "harness/measure/record_fields.h"

static double *number_of(struct record *r, const struct record_field *f)
{
    return (double *)((char *)r + f->offset);
}

static void fill(struct record *r, const char *task, const char *metric, double value)
{
    record_init(r);
    record_set(&r->model, "m");
    record_set(&r->protocol, "p");
    record_set(&r->method, "wanda");
    record_set(&r->task, task);
    record_set(&r->metric, metric);
    r->value = value;
}

/* ---- bounds */

static void check_bound(const char *metric, const char *field, double v, int want)
{
    struct record r;
    char quoted[64];

    fill(&r, "t", metric, 1);
    r.speedup = r.speedup_err = 1;
    r.diff_low = r.diff_high = 0;
    *number_of(&r, record_field_find(field)) = v;
    if ((record_check(&r, "f line 3") == 0) != want) {
        printf("# %s of %s: %g\n", field, metric, v);
        test_bad = 1;
    }
    snprintf(quoted, sizeof(quoted), "f line 3: t %s: field '%s'", metric, field);
    CHECK(want || strncmp(error_last(), quoted, strlen(quoted)) == 0 ||
          strstr(error_last(), "which is not a result"));
    record_release(&r);
}

static void test_bounds(void)
{
    static const struct {
        const char *metric, *field;
        double good, bad;
    } cases[] = {
        {"acc", "value", 0, -1e-9},
        {"acc_norm", "value", 1, 1 + 1e-9},
        {"same_top1", "value", 1, 1e308},
        {"perplexity", "value", 1e300, 0},
        {"perplexity", "value", 1, 1e308},
        {"perplexity", "stderr", 100, 101},
        {"perplexity", "stderr", 0, -1},
        {"acc", "stderr", 0.5, 2},
        {"acc", "diff", -1, -1.5},
        {"acc", "diff_low", -1, -1.5},
        {"acc", "diff_stderr", 0, -0.5},
        {"perplexity", "diff", -1e10, -1e308},
        {"kl_divergence", "value", -1e-9, 1e16},
        {"tokens_per_s", "value", 1e9, 1e300},
        {"acc", "weight_sparsity", 0.5, 50},
        {"acc", "act_sparsity", 1, -0.5},
        {"acc", "weight_zeros", 1, 2},
        {"acc", "act_zeros", 0, 1.01},
        {"acc", "p_value", 1, 1.01},
        {"acc", "alpha", -1, 1e308},
        {"acc", "limit", 0.5, -1},
        {"acc", "seconds", 0, -1},
        {"tokens_per_s", "median_ns", 1e9, 0},
        {"tokens_per_s", "median_ns", 0.5, 1e-300},
        {"tokens_per_s", "read_gbps", 3000, 0},
        {"tokens_per_s", "speedup", 2, -2},
        {"tokens_per_s", "speedup_err", 0, 101},
        {"tokens_per_s", "scored_acc", 1, 1e308},
        {"tokens_per_s", "scored_perplexity", 1e200, 0},
        {"tokens_per_s", "celsius", -40, -INFINITY},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_bound(cases[i].metric, cases[i].field, cases[i].good, 1);
        check_bound(cases[i].metric, cases[i].field, cases[i].bad, 0);
        check_bound(cases[i].metric, cases[i].field, INFINITY, 0);
    }
}

static void test_pairs(void)
{
    struct record r;

    fill(&r, "piqa", "acc", 0.5);
    r.diff_low = -0.1;
    CHECK(record_check(&r, "") == -1 && strstr(error_last(), "'diff_low' without 'diff_high'"));
    r.diff_low = NAN;
    r.diff_high = 0.1;
    CHECK(record_check(&r, "") == -1 && strstr(error_last(), "'diff_high' without 'diff_low'"));
    r.diff_low = 0;
    CHECK(record_check(&r, "") == 0);
    r.speedup = 2;
    CHECK(record_check(&r, "") == -1 && strstr(error_last(), "'speedup' without 'speedup_err'"));
    r.speedup_err = 0.1;
    CHECK(record_check(&r, "") == 0);
    record_release(&r);
}

static void test_lists(void)
{
    static const double bad[] = {-1, NAN, INFINITY, 1e16};
    struct record r;

    fill(&r, "decode", "tokens_per_s", 1);
    for (int i = 0; i < 8; i++) {
        double two[] = {1, bad[i / 2]};

        record_set_samples(&r, two, i % 2 ? 2 : 1);
        record_set_by_layer(&r, two, i % 2 ? 1 : 2);
        CHECK(record_check(&r, "") == -1 && strstr(error_last(), "number 1 is out of range"));
    }
    record_release(&r);
}

/* ---- tables */

/* Every kind of record there is a table of, in pairs: as sparse as can be told, and dense. */
static void fill_kind(struct record *r, int kind)
{
    static const char *const tasks[] = {"piqa",   "wikitext2", "wikitext2", "decode",
                                        "layers", "layers",    "prefill",   "layer"};
    static const char *const metrics[] = {"acc",          "perplexity", "same_top1", "tokens_per_s",
                                          "output_error", "zeros",      "median_ns", "median_ns"};
    static const double list[] = {1, 0.25, 0.5};

    fill(r, tasks[kind], metrics[kind], 1);
    record_set(&r->baseline, "0011223344556677");
    if (kind < 3) {
        r->diff = 0.5;
        r->diff_stderr = r->log_ratio = r->log_ratio_stderr = 0.1;
        r->diff_low = r->diff_high = 0.5;
        r->stderr_ = 0.5;
    }
    if (kind == 4 || kind == 5)
        record_set_by_layer(r, list, 3);
    if (kind == 3 || kind > 5) {
        record_set_samples(r, list, 3);
        record_set(&r->path, "nonzeros");
        record_set(&r->cache, "cold");
        record_set(&r->speedup_over, "own");
        r->median_ns = r->speedup = r->speedup_err = 1;
        r->compute_mhz = r->memory_mhz = r->watts = r->celsius = r->context = 1;
        r->bytes_moved = r->read_gbps = r->tokens_per_s = 1;
    }
}
enum { N_KINDS = 8 };

/* "nan" or "inf" as a word of its own, or a number that fills a line */
static const char *no_number(const char *text)
{
    for (const char *p = text; *p; p++) {
        size_t n_digits = strspn(p, "0123456789");

        if (n_digits > 40)
            return p;
        if ((strncmp(p, "nan", 3) == 0 || strncmp(p, "inf", 3) == 0) && !isalpha(p[3]) &&
            (p == text || !isalpha(p[-1])))
            return p;
    }
    return NULL;
}

static void check_shown(struct record *r, const char *what)
{
    struct records rs = {0};
    struct buf b = {0};
    const char *bad;
    struct record twin;

    record_copy(&twin, r);
    record_set(&twin.method, "dense");
    CHECK(records_add(&rs, &twin) == 0 && records_add(&rs, r) == 0);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    bad = no_number(buf_str(&b));
    if (bad) {
        printf("# %s: \"%.60s\"\n", what, bad);
        test_bad = 1;
    }
    buf_release(&b);
    records_release(&rs);
}

/* Each number in turn unknown, and at either end of what passes. */
static void test_shown(void)
{
    static const double ends[] = {NAN, 0, 1e-15, 0.5, 1, 100, 1e15, 0x1p53, 1e300, -1e15, -1e300};

    for (int kind = 0; kind < N_KINDS; kind++)
        for (const struct record_field *f = record_fields; f->name; f++)
            for (size_t i = 0; field_is_number(f) && i < sizeof(ends) / sizeof(ends[0]); i++) {
                struct record r;

                fill_kind(&r, kind);
                *number_of(&r, f) = ends[i];
                if (record_check(&r, "") == 0)
                    check_shown(&r, f->name);
                record_release(&r);
            }
}

/* All that may be unknown is, at once. */
static void test_nothing_known(void)
{
    static const char *const kept[] = {"value", "median_ns", "speedup", "speedup_err", "diff"};

    for (int kind = 0; kind < N_KINDS; kind++) {
        struct record r;

        fill_kind(&r, kind);
        for (const struct record_field *f = record_fields; f->name; f++) {
            int keep = !field_is_number(f);

            for (size_t i = 0; i < 5; i++)
                keep |= strcmp(f->name, kept[i]) == 0;
            if (!keep)
                *number_of(&r, f) = NAN;
        }
        CHECK(record_check(&r, "") == 0);
        check_shown(&r, "nothing known");
        record_release(&r);
    }
}

/* The worst two of each score that can meet. */
static void test_compared(void)
{
    static const double values[] = {0.5, 1, 1e300}, errors[] = {NAN, 0, 1, 100};

    for (int i = 0; i < 9 * 16; i++) {
        struct record_line a = {.line = 1}, b = {.line = 1};
        struct record_list base = {.items = &a, .n = 1}, now = {.items = &b, .n = 1};
        struct comparisons c;

        fill(&a.rec, "wikitext2", "perplexity", values[i % 3]);
        fill(&b.rec, "wikitext2", "perplexity", values[i / 3 % 3]);
        record_set(&a.rec.run_id, "0");
        record_set(&b.rec.run_id, "0");
        a.rec.stderr_ = errors[i / 9 % 4] * a.rec.value;
        b.rec.stderr_ = errors[i / 36] * b.rec.value;
        CHECK(record_check(&a.rec, "") == 0 && record_check(&b.rec, "") == 0);
        CHECK(compare_records(&base, &now, &(struct compare_options){0}, &c) == 0 && c.n == 1);
        CHECK(isfinite(c.items[0].change));
        CHECK(isnan(c.items[0].low) || (isfinite(c.items[0].low) && isfinite(c.items[0].high)));
        comparisons_release(&c);
        record_release(&a.rec);
        record_release(&b.rec);
    }
}

int main(void)
{
    error_silence(1);
    RUN(test_bounds);
    RUN(test_pairs);
    RUN(test_lists);
    RUN(test_shown);
    RUN(test_nothing_known);
    RUN(test_compared);
    return 0;
}
