/* Comparing records: differences that were planted are found, their absence is not, and what cannot
 * be compared is named. */
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/rng.h"
#include "harness/cmd/compare_rules.h"
#include "harness/measure/bench.h"
#include "harness/measure/compare.h"
#include "harness/measure/stats.h"

static char dir[] = "/tmp/duo-test-compare-records-XXXXXX";

/* ---- fixtures */

static void fill(struct record *r, const char *task, const char *metric, double value, double se)
{
    record_init(r);
    record_set(&r->model, "models/demo");
    record_set(&r->model_sha256, "0123");
    record_set(&r->method, "duogpt");
    r->weight_sparsity = r->act_sparsity = 0.5;
    r->alpha = 0.125;
    record_set(&r->protocol, "lmeval-0.4");
    record_set(&r->device, "a CPU");
    record_set(&r->task, task);
    record_set(&r->metric, metric);
    r->value = value;
    r->stderr_ = se;
}

static void add(struct record_list *l, struct record *r)
{
    char id[17];

    record_id(r, id);
    record_set(&r->run_id, id);
    l->items = realloc(l->items, (l->n + 1) * sizeof(*l->items));
    l->items[l->n++] = (struct record_line){.rec = *r, .path = strdup("f"), .line = l->n};
    record_init(r);
}

static void add_new(struct record_list *l, const char *task, const char *metric, double value,
                    double se)
{
    struct record r;

    fill(&r, task, metric, value, se);
    add(l, &r);
}

static void add_times(struct record_list *l, const double *ns, size_t n, double speedup)
{
    struct record r;

    fill(&r, "decode", "tokens_per_s", 1, NAN);
    record_set(&r.path, "nonzeros");
    record_set_samples(&r, ns, n);
    r.speedup = speedup;
    r.speedup_err = isnan(speedup) ? NAN : 0.004;
    add(l, &r);
}

/* The samples of record l->items[0]: windows or documents named by their number. */
static void write_samples(const struct record_list *l, const char *sub, const char *metric,
                          const double *x, size_t n)
{
    struct buf b = {0};
    char root[4096], *path, *slash;

    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "{\"doc_hash\": \"%zu\", \"%s\": %.17g}\n", i, metric, x[i]);
    snprintf(root, sizeof(root), "%s/%s", dir, sub);
    path = record_samples_path(root, &l->items[0].rec);
    slash = strrchr(path, '/');
    *slash = 0;
    CHECK(dir_make(path) == 0);
    *slash = '/';
    CHECK(file_write_atomic(path, buf_str(&b), b.n) == 0);
    free(path);
    buf_release(&b);
}

static struct comparison compare(const struct record_list *a, const struct record_list *b,
                                 const struct compare_options *o)
{
    struct comparisons c;
    struct comparison first = {0};

    CHECK(compare_records(a, b, o, &c) == 0 && c.n >= 1);
    if (c.n)
        first = c.items[0];
    first.why = NULL;
    comparisons_release(&c);
    return first;
}

/* One record each, with samples. */
static struct comparison compare_samples(const char *task, const char *metric, const double *a,
                                         const double *b, size_t n)
{
    struct record_list base = {0}, now = {0};
    char dir_a[4096], dir_b[4096];
    int is_ppl = strcmp(metric, "perplexity") == 0;
    struct estimate ea = is_ppl ? stats_perplexity(a, n) : stats_mean(a, n);
    struct estimate eb = is_ppl ? stats_perplexity(b, n) : stats_mean(b, n);
    struct comparison c;

    snprintf(dir_a, sizeof(dir_a), "%s/a", dir);
    snprintf(dir_b, sizeof(dir_b), "%s/b", dir);
    add_new(&base, task, metric, ea.value, ea.se);
    add_new(&now, task, metric, eb.value, eb.se);
    write_samples(&base, "a", is_ppl ? "nll" : metric, a, n);
    write_samples(&now, "b", is_ppl ? "nll" : metric, b, n);
    c = compare(&base, &now, &(struct compare_options){dir_a, dir_b, NULL, 0});
    c.base = c.now = NULL;
    record_list_release(&base);
    record_list_release(&now);
    return c;
}

static double normal(struct pcg32 *g)
{
    double u = pcg32_double(g), v = pcg32_double(g);

    return sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v);
}

/* ---- accuracies and perplexities */

#define N_DOCS 500

/* 300 right of 500; `lost` of them become wrong, `gained` of the others right. */
static void plant(double *a, double *b, size_t lost, size_t gained)
{
    for (size_t i = 0; i < N_DOCS; i++) {
        a[i] = i < 300;
        b[i] = i < 300 ? i >= lost : i < 300 + gained;
    }
}

static void test_planted_accuracy(void)
{
    double a[N_DOCS], b[N_DOCS];
    struct record_list base = {0}, now = {0};
    struct comparison c;

    plant(a, b, 30, 5);
    c = compare_samples("piqa", "acc", a, b, N_DOCS);
    CHECK(c.verdict == VERDICT_WORSE && c.by == BY_PAIRS && c.unit == UNIT_POINTS);
    CHECK_NEAR(c.change, -5, 1e-9);
    CHECK(c.low < -5 && c.high > -5 && c.high < 0);
    /* Python: 2 * sum(comb(35, i) for i in range(6)) / 2**35 */
    CHECK_NEAR(c.p, 2.2361520677804947e-05, 1e-15);
    c = compare_samples("piqa", "acc", b, a, N_DOCS);
    CHECK(c.verdict == VERDICT_BETTER && c.change > 4.9);
    plant(a, b, 12, 8); /* binomtest(8, 20): 0.50 */
    c = compare_samples("piqa", "acc", a, b, N_DOCS);
    CHECK(c.verdict == VERDICT_SAME && c.p > 0.4);
    plant(a, b, 5, 5);
    c = compare_samples("piqa", "acc", a, b, N_DOCS);
    CHECK(c.verdict == VERDICT_SAME && c.by == BY_PAIRS && c.change == 0);
    /* Without samples the same loss is within the two runs' errors. */
    add_new(&base, "piqa", "acc", 0.60, 0.0219);
    add_new(&now, "piqa", "acc", 0.55, 0.0223);
    c = compare(&base, &now, &(struct compare_options){0});
    CHECK(c.verdict == VERDICT_SAME && c.by == BY_ERRORS);
    CHECK_NEAR(c.high, -5 + 195.9964 * hypot(0.0219, 0.0223), 1e-3);
    c = compare(&base, &now, &(struct compare_options){.exact = 1});
    CHECK(c.verdict == VERDICT_WORSE && c.by == BY_BITS);
    c = compare(&base, &base, &(struct compare_options){.exact = 1});
    CHECK(c.verdict == VERDICT_SAME && c.by == BY_BITS);
    record_list_release(&base);
    record_list_release(&now);
}

/* Windows differ far more from each other than from themselves in another run. */
static void test_planted_perplexity(void)
{
    enum { N = 40 };
    double a[N], b[N];
    struct record_list base = {0}, now = {0};
    struct estimate ea, eb;
    struct comparison c;
    struct pcg32 g;

    pcg32_init(&g, 1, 1);
    for (size_t i = 0; i < N; i++) {
        a[i] = 3 + 0.3 * normal(&g);
        b[i] = a[i] + 0.01 + 0.01 * normal(&g);
    }
    c = compare_samples("wikitext2", "perplexity", a, b, N);
    CHECK(c.verdict == VERDICT_WORSE && c.by == BY_PAIRS && c.unit == UNIT_PERCENT);
    CHECK_NEAR(c.change, 1.005, 0.4);
    CHECK(c.low > 0 && c.low < c.change && c.change < c.high);
    CHECK(compare_samples("wikitext2", "perplexity", b, a, N).verdict == VERDICT_BETTER);
    ea = stats_perplexity(a, N);
    eb = stats_perplexity(b, N);
    add_new(&base, "wikitext2", "perplexity", ea.value, ea.se);
    add_new(&now, "wikitext2", "perplexity", eb.value, eb.se);
    c = compare(&base, &now, &(struct compare_options){0});
    CHECK(c.verdict == VERDICT_SAME && c.by == BY_ERRORS);
    record_list_release(&base);
    record_list_release(&now);
}

/* Of runs that differ by noise alone about one in twenty is told to differ. */
static void test_nothing_planted(void)
{
    size_t n_ppl = 0, n_acc = 0;
    struct pcg32 g;

    pcg32_init(&g, 2, 2);
    for (int round = 0; round < 200; round++) {
        double a[200], b[200];

        for (size_t i = 0; i < 6; i++) {
            a[i] = 3 + 0.3 * normal(&g);
            b[i] = a[i] + 0.01 * normal(&g);
        }
        n_ppl += compare_samples("wikitext2", "perplexity", a, b, 6).verdict != VERDICT_SAME;
        for (size_t i = 0; i < 200; i++) {
            a[i] = pcg32_double(&g) < 0.5;
            b[i] = pcg32_double(&g) < 0.3 ? pcg32_double(&g) < 0.5 : a[i];
        }
        n_acc += round < 100 && compare_samples("piqa", "acc", a, b, 200).verdict != VERDICT_SAME;
    }
    CHECK(n_ppl >= 1 && n_ppl <= 22); /* 10 +- 3.1: 4 sigma */
    CHECK(n_acc <= 13);               /* at most 5 +- 2.2: 4 sigma */
}

static void test_student(void)
{
    /* scipy.stats.t.ppf(0.975, df) */
    CHECK(isnan(stats_student(0)));
    CHECK_NEAR(stats_student(1), 12.706204736174694, 1e-12);
    CHECK_NEAR(stats_student(2), 4.302652729749462, 1e-12);
    CHECK_NEAR(stats_student(3), 3.182446305284263, 2e-3 * 3.18);
    CHECK_NEAR(stats_student(6), 2.446911851144969, 1e-4 * 2.45);
    CHECK_NEAR(stats_student(30), 2.0422724563012373, 1e-6);
}

/* ---- times */

/* Samples of a machine whose speed wanders: first-order autoregressive noise. */
static void wander(struct pcg32 *g, double *x, size_t n, double median)
{
    double state = 0;

    for (size_t i = 0; i < n; i++) {
        state = 0.7 * state + 0.007 * normal(g);
        x[i] = median * (1 + state) * (pcg32_double(g) < 0.03 ? 1.5 : 1);
    }
}

static void test_planted_speed(void)
{
    enum { N = 200 };
    struct record_list base = {0}, now = {0};
    double a[N], b[N];
    struct comparisons c;
    size_t n_false = 0;
    struct pcg32 g;

    pcg32_init(&g, 3, 3);
    wander(&g, a, N, 1000);
    wander(&g, b, N, 1030);
    add_times(&base, a, N, 1.40);
    add_times(&now, b, N, 1.36);
    CHECK(compare_records(&base, &now, &(struct compare_options){0}, &c) == 0 && c.n == 2);
    CHECK_STR(c.items[0].metric, "speed");
    CHECK(c.items[0].verdict == VERDICT_WORSE && c.items[0].by == BY_SAMPLES);
    CHECK_NEAR(c.items[0].change, 100 * (1 / 1.03 - 1), 0.8);
    CHECK_STR(c.items[1].metric, "speedup");
    CHECK(c.items[1].verdict == VERDICT_WORSE && c.items[1].by == BY_SPEEDUPS);
    CHECK_NEAR(c.items[1].change, 100 * (1.36 / 1.40 - 1), 1e-9);
    comparisons_release(&c);
    CHECK(compare(&now, &base, &(struct compare_options){0}).verdict == VERDICT_BETTER);
    for (int round = 0; round < 200; round++) {
        struct estimate e;

        wander(&g, a, N, 1000);
        wander(&g, b, N, 1000);
        e = bench_change(a, N, b, N);
        n_false += fabs(e.value) > 1.96 * e.se;
    }
    /* Independent errors would be wrong about every third time here. */
    CHECK(n_false <= 24);
    a[3] = NAN;
    CHECK(isnan(bench_change(a, N, b, N).value) && isnan(bench_change(b, 1, b, N).se));
    record_list_release(&base);
    record_list_release(&now);
}

/* ---- what belongs together */

static void check_differs(void (*change)(struct record *), const char *want)
{
    struct record_list base = {0}, now = {0};
    struct comparisons c;
    struct record r;

    add_new(&base, "piqa", "acc", 0.5, 0.01);
    fill(&r, "piqa", "acc", 0.5, 0.01);
    change(&r);
    add(&now, &r);
    CHECK(compare_records(&base, &now, &(struct compare_options){0}, &c) == 0 && c.n == 1);
    CHECK(c.items[0].verdict == (want ? VERDICT_NOT_COMPARABLE : VERDICT_SAME));
    if (want)
        CHECK_STR(c.items[0].why, want);
    comparisons_release(&c);
    record_list_release(&base);
    record_list_release(&now);
}

static void no_change(struct record *r)
{
    record_set(&r->model, "elsewhere/demo");
    record_set(&r->git, "other");
    r->threads = 7;
    r->seconds = 3;
}
static void other_alpha(struct record *r)
{
    r->alpha = 0.25;
}
static void other_two(struct record *r)
{
    record_set(&r->device, "another");
    r->n = 5;
}
static void other_model(struct record *r)
{
    record_set(&r->model_sha256, "4567");
}
static void no_hash(struct record *r)
{
    record_set(&r->model_sha256, NULL);
}
static void other_task(struct record *r)
{
    record_set(&r->task, "boolq");
}

static void test_what_differs_is_named(void)
{
    check_differs(no_change, NULL);
    check_differs(other_alpha, "alpha 0.125 against 0.25");
    check_differs(other_two, "device a CPU against another, n unknown against 5");
    check_differs(other_model, "model_sha256 0123 against 4567");
    check_differs(no_hash, "model_sha256 0123 against unknown");
    check_differs(other_task, "not measured");
}

/* The partner is the one that differs least; --across lets the fields differ. */
static void test_partners(void)
{
    static const char *const across[] = {"alpha", "method", NULL};
    struct compare_options o = {.across = across};
    struct record_list base = {0}, now = {0};
    struct comparisons c;
    struct record r;

    add_new(&base, "piqa", "acc", 0.4, 0.01);
    add_new(&base, "piqa", "acc", 0.5, 0.01); /* the same run again: it counts */
    for (int i = 0; i < 4; i++) {
        fill(&r, "piqa", "acc", 0.5 + i, 0.01);
        r.alpha = i == 1 ? 0.125 : 7;
        record_set(&r.method, i == 3 ? "wanda" : "duogpt");
        r.seed = i == 2 ? 1 : NAN;
        add(&now, &r);
    }
    CHECK(compare_records(&base, &now, &o, &c) == 0 && c.n == 1 && c.n_new == 3);
    CHECK(c.items[0].from == 50 && c.items[0].to == 150);
    comparisons_release(&c);
    now.items[1].rec.n = 4; /* now the first record differs in what may differ */
    CHECK(compare_records(&base, &now, &o, &c) == 0 && c.items[0].to == 50);
    CHECK(c.items[0].verdict == VERDICT_SAME);
    comparisons_release(&c);
    CHECK(compare_records(&base, &now, &(struct compare_options){0}, &c) == 0);
    CHECK(c.items[0].verdict == VERDICT_NOT_COMPARABLE);
    comparisons_release(&c);
    record_list_release(&base);
    record_list_release(&now);
}

static void test_samples_must_belong(void)
{
    static const double x[] = {1, 0, 1, 1}, y[] = {1, 1, 1, 1, 1};
    struct record_list base = {0}, now = {0};
    struct comparisons c;
    char dir_a[4096], dir_b[4096];
    struct compare_options o = {dir_a, dir_b, NULL, 0};

    snprintf(dir_a, sizeof(dir_a), "%s/c", dir);
    snprintf(dir_b, sizeof(dir_b), "%s/d", dir);
    add_new(&base, "piqa", "acc", 0.75, 0.2);
    add_new(&now, "piqa", "acc", 1, 0.2);
    CHECK(compare_records(&base, &now, &o, &c) == -1);
    comparisons_release(&c);
    write_samples(&base, "c", "acc", x, 4);
    write_samples(&now, "d", "acc", x, 4);
    CHECK(compare_records(&base, &now, &o, &c) == -1);
    CHECK(strstr(error_last(), "the samples give acc 0.75, the record says 1") != NULL);
    comparisons_release(&c);
    write_samples(&now, "d", "acc", y, 5);
    CHECK(compare_records(&base, &now, &o, &c) == 0);
    CHECK(c.items[0].verdict == VERDICT_NOT_COMPARABLE);
    CHECK(c.items[0].why && strstr(c.items[0].why, "4 documents against 5"));
    comparisons_release(&c);
    now.items[0].rec.value = NAN; /* hostile */
    record_set(&base.items[0].rec.metric, "perplexity");
    record_set(&now.items[0].rec.metric, "perplexity");
    now.items[0].rec.value = -1;
    CHECK(compare_records(&base, &now, &o, &c) == 0 &&
          c.items[0].verdict == VERDICT_NOT_COMPARABLE);
    comparisons_release(&c);
    record_list_release(&base);
    record_list_release(&now);
}

/* acc_norm of piqa and acc of boolq: (1 + -3) / 2 with sqrt(.5^2 + 1^2 ...) / 2. */
static void test_mean(void)
{
    struct record_list base = {0}, now = {0};
    struct comparisons c;

    add_new(&base, "piqa", "acc", 0.1, 0.01);
    add_new(&base, "piqa", "acc_norm", 0.50, 0.03);
    add_new(&base, "boolq", "acc", 0.60, 0.05);
    add_new(&now, "piqa", "acc", 0.9, 0.01);
    add_new(&now, "piqa", "acc_norm", 0.51, 0.04);
    add_new(&now, "boolq", "acc", 0.57, 0.12);
    CHECK(compare_records(&base, &now, &(struct compare_options){0}, &c) == 0 && c.n == 3);
    compare_means(&c);
    CHECK(c.n == 4);
    if (c.n == 4) {
        CHECK_STR(c.items[3].metric, "mean");
        CHECK_NEAR(c.items[3].from, 55, 1e-9);
        CHECK_NEAR(c.items[3].change, -1, 1e-9);
        CHECK_NEAR(c.items[3].se, sqrt(5 * 5 + 13 * 13) / 2, 1e-9);
        CHECK(c.items[3].verdict == VERDICT_SAME);
    }
    comparisons_release(&c);
    record_list_release(&base);
    record_list_release(&now);
}

static int broken(const char *text, const struct comparison *c)
{
    struct rule r;

    CHECK(rule_parse(&r, text) == 0);
    return rule_is_about(&r, c) ? rule_is_broken(&r, c) : -1;
}

static void test_rules(void)
{
    static const char *const bad[] = {"",        "acc",     "acc<",     "acc<x",    "<1",
                                      "acc=1",   "acc<1%%", "acc<-1%",  "colour<1", "acc<1e999",
                                      "ppl>1%x", "acc<nan", "acc<0x10", "acc< 1"};
    struct rule r;
    struct record_list l = {0};
    struct comparison c = {.metric = "acc", .change = -0.75, .verdict = VERDICT_SAME};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(rule_parse(&r, bad[i]) == -1);
    add_new(&l, "piqa", "acc", 0.5, 0.01);
    add_new(&l, "wikitext2", "perplexity", 5, 0.01);
    add_new(&l, "decode", "tokens_per_s", 5, NAN);
    c.base = &l.items[0];
    CHECK(broken("acc<-0.5", &c) == 1 && broken("acc<-0.75", &c) == 0 && broken("acc>-1", &c) == 1);
    CHECK(broken("piqa<-0.5", &c) == 1 && broken("boolq<-0.5", &c) == -1);
    CHECK(broken("ppl>1%", &c) == -1 && broken("mean<-0.5", &c) == -1);
    c.metric = "mean";
    CHECK(broken("mean<-0.5", &c) == 1 && broken("acc<-0.5", &c) == -1);
    CHECK(broken("piqa<-0.5", &c) == -1);
    c = (struct comparison){.base = &l.items[1], .metric = "perplexity", .change = 1.5};
    CHECK(broken("ppl>1%", &c) == 1 && broken("ppl>1.5", &c) == 0 && broken("acc<5", &c) == -1);
    CHECK(broken("wikitext2>1%", &c) == 1);
    c = (struct comparison){.base = &l.items[2], .metric = "speed", .change = -4};
    CHECK(c.verdict == VERDICT_SAME && broken("speed<-3%", &c) == 0);
    c.verdict = VERDICT_WORSE;
    CHECK(broken("speed<-3%", &c) == 1 && broken("speedup<-3%", &c) == -1);
    record_list_release(&l);
}

int main(void)
{
    struct buf rm = {0};

    CHECK(mkdtemp(dir) != NULL);
    error_silence(1);
    RUN(test_planted_accuracy);
    RUN(test_planted_perplexity);
    RUN(test_nothing_planted);
    RUN(test_student);
    RUN(test_planted_speed);
    RUN(test_what_differs_is_named);
    RUN(test_partners);
    RUN(test_samples_must_belong);
    RUN(test_mean);
    RUN(test_rules);
    buf_addf(&rm, "rm -r %s", dir);
    CHECK(system(rm.data) == 0);
    buf_release(&rm);
    return 0;
}
