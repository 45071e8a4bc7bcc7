/* Timing: statistics on samples whose answers are known, when to stop, the interleaving loop on a
 * clock that the test turns, and speed records. */
#include "tests/test.h"

#include <math.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/measure/bench_run.h"
#include "harness/measure/output.h"
#include "harness/measure/record.h"

#define N 400

/* Normal enough: the sum of 12 uniforms less 6. */
static double normal(struct pcg32 *g)
{
    double s = -6;

    for (int i = 0; i < 12; i++)
        s += pcg32_double(g);
    return s;
}

static void test_stats_by_hand(void)
{
    /* Sorted 8 9 10 10 11 12 40: median 10; deviations 0 0 1 1 2 2 30: MAD 1. */
    static const double x[] = {12, 10, 40, 8, 10, 9, 11};
    struct bench_stats s;

    bench_stats(x, 7, &s);
    CHECK(s.n == 7 && s.median == 10 && s.mad == 1 && s.n_outliers == 1);
    CHECK_NEAR(s.noise_pct, 14.826, 1e-9);
    /* Few samples: the standard deviation, sqrt(781.428571 / 6), is larger. */
    CHECK_NEAR(s.error_pct, 100 * 1.2533 * sqrt(781.428571 / 6) / sqrt(7) / 10, 1e-5);
    /* Halves of three: medians of 12 10 40 and 10 9 11. */
    CHECK_NEAR(s.drift_pct, 100 * (10. / 12 - 1), 1e-9);
}

static void test_stats_of_constants(void)
{
    static const double x[] = {5, 5, 5, 5, 7};
    struct bench_stats s;

    bench_stats(x, 4, &s);
    CHECK(s.median == 5 && s.mad == 0 && s.noise_pct == 0 && s.error_pct == 0);
    CHECK(s.n_outliers == 0 && s.drift_pct == 0);
    bench_stats(x, 5, &s);
    CHECK(s.mad == 0 && s.n_outliers == 1);
    bench_stats(x, 1, &s);
    CHECK(s.median == 5 && isnan(s.error_pct) && isnan(s.drift_pct));
}

static void test_not_a_time(void)
{
    static const double bad[] = {NAN, INFINITY, 0, -1};
    double x[5] = {1, 2, 3, 4, 5}, y[5] = {1, 2, 3, 4, 5};
    struct bench_limits l = {2, 100, 50, 10};
    const double *both[] = {x, y};

    for (int i = 0; i < 4; i++) {
        struct bench_stats s;

        y[4] = bad[i];
        bench_stats(y, 5, &s);
        CHECK(isnan(s.median) && isnan(s.mad) && isnan(s.noise_pct) && isnan(s.drift_pct));
        CHECK(isnan(bench_ratio(x, y, 5).value) && isnan(bench_ratio(y, x, 5).value));
        CHECK(isnan(bench_ratio(x, y, 5).se));
        CHECK(bench_should_stop(both, 2, 5, 0, &l) == BENCH_NO_TIME);
    }
    CHECK(isnan(bench_ratio(x, y, 0).value));
}

/* Two equal samples of three do not make an error of nothing. */
static void test_few_samples(void)
{
    static const double a[] = {20, 20, 30}, b[] = {10, 10, 10};
    double many[BENCH_FEW];
    struct bench_stats s;

    CHECK_NEAR(bench_ratio(a, b, 3).se, 1.2533 * sqrt(1. / 3) / sqrt(3), 1e-9);
    for (size_t i = 0; i < BENCH_FEW; i++)
        many[i] = i == 5 ? 30 : 20;
    bench_stats(many, BENCH_FEW, &s);
    CHECK(s.error_pct == 0 && s.n_outliers == 1);
}

/* The stated error is the spread of the estimate over many repetitions, within a fifth. */
static void test_errors_are_honest(void)
{
    double a[N], b[N], medians[300], ratios[300], error = 0, ratio_error = 0;
    struct pcg32 g;

    pcg32_init(&g, 1, 1);
    for (int k = 0; k < 300; k++) {
        struct bench_stats s;
        struct estimate e;

        for (int i = 0; i < N; i++) {
            a[i] = 2200 + 30 * normal(&g);
            b[i] = 1000 + 10 * normal(&g);
        }
        bench_stats(a, N, &s);
        e = bench_ratio(a, b, N);
        medians[k] = s.median;
        ratios[k] = e.value;
        error += s.error_pct / 100 * s.median / 300;
        ratio_error += e.se / 300;
    }
    CHECK_NEAR(stats_mean(medians, 300).se * sqrt(300) / error, 1, 0.2);
    CHECK_NEAR(stats_mean(ratios, 300).se * sqrt(300) / ratio_error, 1, 0.2);
    CHECK_NEAR(stats_mean(ratios, 300).value, 2.2, 0.001);
}

/* One sample in ten is ten times as long: the ratio does not move by more than its error. */
static void test_outliers_do_not_move_the_ratio(void)
{
    double a[N], b[N];
    struct bench_stats s;
    struct estimate e;
    struct pcg32 g;

    pcg32_init(&g, 2, 1);
    for (int i = 0; i < N; i++) {
        a[i] = 2200 + 10 * normal(&g);
        b[i] = (1000 + 5 * normal(&g)) * (i % 10 == 3 ? 10 : 1);
    }
    e = bench_ratio(a, b, N);
    CHECK_NEAR(e.value, 2.2, 4 * e.se);
    CHECK(e.se < 0.002);
    bench_stats(b, N, &s);
    CHECK(s.n_outliers >= N / 10 && s.n_outliers < N / 10 + 10);
}

/* Both get slower by a half in the course of it: the ratio stays, and the drift is said. */
static void test_drift(void)
{
    double a[N], b[N];
    struct bench_stats s;

    for (int i = 0; i < N; i++) {
        /* a first in even pairs, b first in odd ones */
        double t = (double)i / N, dt = 0.5 / N, a_at = i % 2 ? t + dt : t,
               b_at = i % 2 ? t : t + dt;

        a[i] = 3000 * (1 + 0.5 * a_at);
        b[i] = 1000 * (1 + 0.5 * b_at);
    }
    CHECK_NEAR(bench_ratio(a, b, N).value, 3, 1e-5);
    bench_stats(a, N, &s);
    CHECK_NEAR(s.drift_pct, 100 * (1.375 / 1.125 - 1), 0.2);
}

static void test_when_to_stop(void)
{
    double a[N], b[N];
    const double *both[] = {a, b};
    struct bench_limits l = {20, 300, 0.5, 2.0};
    struct pcg32 g;

    pcg32_init(&g, 3, 1);
    for (int i = 0; i < N; i++) {
        a[i] = 500;
        b[i] = 250;
    }
    CHECK(bench_should_stop(both, 2, 19, 0.1, &l) == BENCH_GO_ON);
    CHECK(bench_should_stop(both, 2, 20, 0.1, &l) == BENCH_STABLE);
    CHECK(bench_should_stop(both, 2, 19, 2.0, &l) == BENCH_TIME);
    CHECK(bench_should_stop(both, 2, 2, 9.0, &l) == BENCH_GO_ON);
    CHECK(bench_should_stop(both, 2, 3, 9.0, &l) == BENCH_TIME);
    for (int i = 0; i < N; i++)
        b[i] = 250 + 25 * normal(&g); /* 10 %: 0.5 % needs about 630 samples */
    CHECK(bench_should_stop(both, 2, 20, 0.1, &l) == BENCH_GO_ON);
    CHECK(bench_should_stop(both, 2, 299, 0.1, &l) == BENCH_GO_ON);
    CHECK(bench_should_stop(both, 2, 300, 0.1, &l) == BENCH_TIME);
    CHECK(bench_should_stop(both, 1, 299, 0.1, &l) == BENCH_STABLE);
    l.max_error_pct = 2;
    CHECK(bench_should_stop(both, 2, 299, 0.1, &l) == BENCH_STABLE);
}

static void test_the_sentence(void)
{
    struct buf b = {0};

    bench_sentence(&b, "dual 50/50", (struct estimate){2.2013, 0.0096}, "own GEMV", "cuBLAS",
                   2.612);
    CHECK_STR(b.data, "dual 50/50 ran 2.20 +- 0.01 times faster than dense (own GEMV; cuBLAS: 2.61)"
                      "\n");
    b.n = 0;
    bench_sentence(&b, "x", (struct estimate){0.8, 0.0012}, "OpenBLAS", NULL, NAN);
    CHECK_STR(buf_str(&b), "x ran 0.800 +- 0.001 times as fast as dense (OpenBLAS)\n");
    b.n = 0;
    bench_sentence(&b, "x", (struct estimate){2, NAN}, "own", "lib", NAN);
    CHECK_STR(buf_str(&b), "x ran 2.00 times faster than dense (own)\n");
    b.n = 0;
    bench_sentence(&b, "x", (struct estimate){NAN, NAN}, "own", "lib", 2);
    CHECK(b.n == 0);
    buf_release(&b);
}

/* ---- the loop, on a device whose clock the programs turn */

struct fake {
    struct device base;
    double clock, started;
    char order[4096];
    size_t n_order, n_prepared;
};

static void fake_start(struct device *dev)
{
    struct fake *f = (struct fake *)dev;

    f->started = f->clock;
}

static double fake_stop(struct device *dev)
{
    struct fake *f = (struct fake *)dev;

    return f->clock - f->started;
}

static void fake_clocks(struct device *dev, struct device_clocks *out)
{
    (void)dev;
    *out = (struct device_clocks){1980, NAN, 650, 50, 1, THROTTLE_POWER};
}

static const struct backend fake_backend = {
    .name = "fake", .timer_start = fake_start, .timer_stop = fake_stop, .clocks = fake_clocks};

struct fake_program {
    struct fake *f;
    double seconds;
    char letter;
};

static void fake_run(void *arg)
{
    struct fake_program *p = arg;

    p->f->clock += p->seconds;
    if (p->f->n_order < sizeof(p->f->order) - 1)
        p->f->order[p->f->n_order++] = p->letter;
}

static void fake_prepare(void *arg)
{
    struct fake_program *p = arg;

    p->f->clock += 1000; /* must not be part of any sample */
    p->f->n_prepared++;
}

static void test_rounds_alternate(void)
{
    static struct fake f = {.base = {&fake_backend}};
    struct fake_program a = {&f, 4e-3, 'a'}, b = {&f, 1e-3, 'b'}, c = {&f, 50e-6, 'c'};
    const struct bench_program programs[] = {
        {"a", fake_prepare, fake_run, &a, 4, 0},
        {"b", NULL, fake_run, &b, 1, 1},
        {"c", fake_prepare, fake_run, &c, 1, 0},
    };
    const struct bench_limits l = {5, 100, 0.5, 60};
    struct bench_samples s;

    bench_run(&s, &f.base, programs, 3, &l);
    CHECK(s.n == 5 && s.n_programs == 3 && s.why == BENCH_STABLE);
    CHECK_STR(f.order, "aaabbbccc" /* warm-up */ "abccbaabccbaabc");
    CHECK(f.n_prepared == 3 + 5 + 3 + 5);
    for (size_t i = 0; i < s.n; i++) {
        CHECK_NEAR(s.ns[0][i], 1e6, 1);
        CHECK_NEAR(s.ns[1][i], 1e6, 1);
        CHECK_NEAR(s.ns[2][i], 50e3, 1);
    }
    CHECK(s.clocks.compute_mhz == 1980 && isnan(s.clocks.memory_mhz) && s.clocks.watts == 650);
    CHECK(s.clocks.throttle_known && s.clocks.throttled == THROTTLE_POWER);
    bench_samples_release(&s);
}

static void test_short_runs_repeat(void)
{
    static struct fake f = {.base = {&fake_backend}};
    struct fake_program a = {&f, 30e-6, 'a'}, b = {&f, 1e-3, 'b'};
    const struct bench_program programs[] = {{"a", NULL, fake_run, &a, 1, 1},
                                             {"b", NULL, fake_run, &b, 1, 1}};
    const struct bench_limits l = {3, 100, 0.5, 60};
    struct bench_samples s;

    bench_run(&s, &f.base, programs, 2, &l);
    CHECK_STR(f.order, "aaabbb" /* warm-up */ "aaaaaaab"
                       "baaaaaaa"
                       "aaaaaaab");
    CHECK_NEAR(s.ns[0][2], 30e3, 1);
    bench_samples_release(&s);
}

/* A device whose clock stands still gives no numbers. */
static void test_no_clock_no_number(void)
{
    static struct fake f = {.base = {&fake_backend}};
    struct fake_program a = {&f, 0, 'a'};
    const struct bench_program programs[] = {{"a", NULL, fake_run, &a, 1, 1}};
    const struct bench_limits l = {3, 100, 0.5, 60};
    struct bench_samples s;
    struct bench_stats st;

    bench_run(&s, &f.base, programs, 1, &l);
    CHECK(s.why == BENCH_NO_TIME && s.n == 1);
    bench_stats(s.ns[0], s.n, &st);
    CHECK(isnan(st.median));
    bench_samples_release(&s);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* The CPU's own clock: it moves, and the memory's rate is one that memory has. */
static void test_cpu_clock(void)
{
    struct device *dev;
    double rate;

    CHECK(device_open(&dev, "cpu", 1) == 0);
    dev->ops->timer_start(dev);
    nothing(NULL);
    CHECK(dev->ops->timer_stop(dev) >= 0);
    rate = bench_read_rate(dev, 0.05);
    CHECK(rate > 1e8 && rate < 1e13);
    device_close(dev);
}

/* ---- records */

static void fill(struct record *r)
{
    static const double ns[] = {1000.5, 1001.25, 999.0};

    record_init(r);
    record_set(&r->model, "m");
    record_set(&r->protocol, "lmeval-0.4");
    record_set(&r->task, "decode");
    record_set(&r->metric, "tokens_per_s");
    r->value = r->tokens_per_s = 190.5;
    record_set(&r->path, "dual");
    record_set(&r->cache, "cold");
    r->context = 512;
    record_set_samples(r, ns, 3);
    r->median_ns = 1000.5;
    r->mad_ns = 0.75;
    r->noise_pct = 0.11;
    r->outliers = 2;
    record_set(&r->stopped, "stable");
    record_set(&r->speedup_over, "own");
    r->speedup = 2.2;
    r->speedup_err = 0.01;
    r->speedup_other = 2.61;
    r->scored_perplexity = 12.345;
    r->scored_acc = 0.5;
    record_set(&r->throttle, "power+heat");
}

static void test_record_round_trip(void)
{
    struct record r, s;
    struct buf a = {0}, b = {0};

    fill(&r);
    CHECK(record_is_speed(&r));
    CHECK(record_to_json(&r, &a) == 0);
    CHECK(strstr(a.data, "\"drift_pct\": null") && strstr(a.data, "\"watts\": null"));
    CHECK(record_from_json(a.data, a.n, "here", &s) == 0);
    CHECK(s.context == 512 && s.outliers == 2 && s.speedup_other == 2.61 && s.scored_acc == 0.5);
    CHECK(s.scored_perplexity == 12.345 && isnan(s.drift_pct) && isnan(s.compute_mhz));
    CHECK_STR(s.path, "dual");
    CHECK_STR(s.stopped, "stable");
    CHECK_STR(s.throttle, "power+heat");
    CHECK(record_to_json(&s, &b) == 0);
    CHECK_STR(b.data, a.data);
    record_release(&r);
    record_release(&s);
    buf_release(&a);
    buf_release(&b);
}

/* What was timed is part of the identity, what came out is not. */
static void test_record_identity(void)
{
    char a[17], b[17], cell_a[17], cell_b[17];
    struct record r;

    fill(&r);
    record_id(&r, a);
    record_cell_id(&r, cell_a);
    r.speedup = 3;
    r.median_ns = 5;
    record_set(&r.stopped, "time");
    record_id(&r, b);
    CHECK_STR(b, a);
    r.context = 1024;
    record_id(&r, b);
    CHECK(strcmp(a, b) != 0);
    r.context = 512;
    record_set(&r.path, "own");
    record_id(&r, b);
    CHECK(strcmp(a, b) != 0);
    record_cell_id(&r, cell_b);
    CHECK_STR(cell_b, cell_a);
    record_release(&r);
}

static void test_record_without_a_number(void)
{
    struct buf b = {0};
    struct record r;

    fill(&r);
    r.value = NAN; /* what a run without a clock gives */
    CHECK(record_to_json(&r, &b) == -1 && b.n == 0);
    r.value = 1;
    r.speedup = INFINITY;
    CHECK(record_to_json(&r, &b) == -1 && b.n == 0);
    r.speedup = NAN;
    CHECK(record_to_json(&r, &b) == 0 && strstr(b.data, "\"speedup\": null"));
    record_release(&r);
    buf_release(&b);
}

/* ---- the table */

static void add_speed(struct records *rs, const char *task, const char *path, double context,
                      double ns, double speedup)
{
    int dense = isnan(speedup);
    struct record r;

    fill(&r);
    record_set(&r.method, dense ? "dense" : "duogpt");
    r.weight_sparsity = r.weight_zeros = r.act_sparsity = dense ? 0 : 0.5;
    record_set(&r.task, task);
    record_set(&r.path, path);
    r.context = context;
    r.median_ns = ns;
    r.tokens_per_s = r.value = 1e9 / ns;
    r.speedup = speedup;
    r.read_gbps = 2900;
    r.speedup_err = dense ? NAN : 0.0096;
    r.speedup_other = dense ? NAN : 2.612;
    r.scored_perplexity = dense ? NAN : 43.762;
    r.scored_acc = dense ? NAN : 0.4321;
    record_set(&r.speedup_over, dense ? NULL : "own");
    CHECK(records_add(rs, &r) == 0);
}

static void add_decode(struct records *rs, double context)
{
    add_speed(rs, "decode", "own", context, 5.2e6, NAN);
    add_speed(rs, "decode", "cuBLAS", context, 6.1e6, NAN);
    add_speed(rs, "decode", "nonzeros", context, 2.36e6, 2.2013);
    add_speed(rs, "decode", "columns", context, 3.1e6, 1.7);
}

/* The last line, without its newline. */
static const char *last_line(struct buf *b)
{
    char *p;

    b->data[b->n - 1] = 0;
    p = strrchr(b->data, '\n');
    return p ? p + 1 : b->data;
}

/* Perplexity, accuracy and speed-up of one cell stand in one row; the sentence is the last line. */
static void test_md(void)
{
    struct records rs = {0};
    struct buf b = {0};
    char *row;

    add_speed(&rs, "linear_qkv", "nonzeros", NAN, 1e4, 2.5);
    add_decode(&rs, 512);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    if (getenv("SHOW"))
        fputs(b.data, stderr);
    CHECK_STR(last_line(&b), "dual 50/50 ran 2.20 +- 0.01 times faster than dense (own GEMV; "
                             "cuBLAS: 2.61)");
    row = strstr(b.data, "| decode @512 | duogpt 50/50 | nonzeros |");
    CHECK(row != NULL);
    if (row) {
        row[strcspn(row, "\n")] = 0;
        CHECK(strstr(row, " 2.201 \xc2\xb1 0.010 |") && strstr(row, " 43.762 |"));
        CHECK(strstr(row, " 43.21 |") && strstr(row, "2360.00") && strstr(row, " 423.7 |"));
    }
    CHECK(!strstr(b.data, "wiki2 |  piqa")); /* no table of scores */
    buf_release(&b);
    records_release(&rs);
}

/* Without decoding a layer's linears speak; without speeds nothing is said. */
static void test_md_sentences(void)
{
    struct records rs = {0};
    struct buf b = {0};
    size_t n = 0;

    add_speed(&rs, "layer", "own", NAN, 1e4, NAN);
    add_speed(&rs, "layer", "nonzeros", NAN, 2e4, 0.5);
    add_speed(&rs, "layer", "columns", NAN, 1.25e4, 0.8);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    CHECK_STR(last_line(&b), "sparse activations 50/50 ran 0.80 +- 0.01 times as fast as dense "
                             "(own GEMV)");
    add_decode(&rs, 512);
    add_decode(&rs, 2048);
    b.n = 0;
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    for (const char *p = b.data; (p = strstr(p, " times ")); p++)
        n++;
    CHECK(n == 2 && strstr(b.data, "after 512 tokens") && strstr(b.data, "after 2048 tokens"));
    buf_release(&b);
    records_release(&rs);
}

/* Unknown is empty in the table and null in the records, never a number. */
static void test_unknown_stays_unknown(void)
{
    struct records rs = {0};
    struct buf b = {0};

    add_speed(&rs, "decode", "nonzeros", 512, 2e6, NAN);
    rs.items[0].noise_pct = rs.items[0].scored_perplexity = rs.items[0].scored_acc = NAN;
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    CHECK(!strstr(b.data, "nan") && !strstr(b.data, "speed-up |") && !strstr(b.data, " ran "));
    CHECK(strstr(b.data, "Clocks are not known"));
    b.n = 0;
    CHECK(output_render(&rs, OUTPUT_JSON, &b) == 0);
    CHECK(!strstr(b.data, "nan") && strstr(b.data, "\"scored_acc\": null"));
    CHECK(!strstr(b.data, "tokens_per_s,none")); /* speeds are no results of a task */
    buf_release(&b);
    records_release(&rs);
}

int main(void)
{
    error_silence(1);
    RUN(test_stats_by_hand);
    RUN(test_stats_of_constants);
    RUN(test_not_a_time);
    RUN(test_few_samples);
    RUN(test_errors_are_honest);
    RUN(test_outliers_do_not_move_the_ratio);
    RUN(test_drift);
    RUN(test_when_to_stop);
    RUN(test_the_sentence);
    RUN(test_rounds_alternate);
    RUN(test_short_runs_repeat);
    RUN(test_no_clock_no_number);
    RUN(test_cpu_clock);
    RUN(test_record_round_trip);
    RUN(test_record_identity);
    RUN(test_record_without_a_number);
    RUN(test_md);
    RUN(test_md_sentences);
    RUN(test_unknown_stays_unknown);
    return 0;
}
