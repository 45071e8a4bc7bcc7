/* Cells against the dense one: the comparison's numbers by hand, the divergence over windows, and
 * the whole of `duo eval --baseline --divergence` with the demo model. */
#include "tests/test.h"

#include <glob.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/cmd/cmd.h"
#include "harness/measure/divergence.h"
#include "harness/measure/paired.h"
#include "harness/measure/record_read.h"
#include "harness/measure/samples.h"
#include "harness/measure/stats.h"

static char dir[] = "/tmp/duo-test-compare-XXXXXX";

/* ---- by hand */

static void test_accuracy_by_hand(void)
{
    static const double dense[] = {1, 1, 0, 0, 1, 0}, pruned[] = {1, 0, 1, 0, 0, 0};
    static const double right[8] = {1, 1, 1, 1, 1, 1, 1, 1}, wrong[8] = {0};
    struct record r;

    record_init(&r);
    paired_accuracy(&r, dense, pruned, 6, 0);
    CHECK_NEAR(r.diff, -1 / 6., 1e-15);
    CHECK_NEAR(r.diff_stderr, sqrt(17 / 180.), 1e-15); /* differences 0 -1 1 0 -1 0 */
    CHECK(r.gained == 1 && r.lost == 2);
    CHECK_NEAR(r.p_value, 1, 1e-12); /* 2 (1 + 3) / 8 */
    CHECK(r.diff_low < r.diff && r.diff < r.diff_high);
    CHECK(isnan(r.log_ratio) && isnan(r.log_ratio_stderr) && is_paired(&r));
    paired_accuracy(&r, right, wrong, 8, 0);
    CHECK(r.diff == -1 && r.diff_low == -1 && r.diff_high == -1 && r.lost == 8 && r.gained == 0);
    CHECK_NEAR(r.p_value, 2 / 256., 1e-15);
    paired_accuracy(&r, dense, dense, 6, 0);
    CHECK(r.diff == 0 && r.diff_stderr == 0 && r.diff_low == 0 && r.diff_high == 0);
    CHECK(r.p_value == 1 && r.gained == 0 && r.lost == 0);
}

static void test_interval_depends_on_the_seed_alone(void)
{
    double a[40], b[40];
    struct record r, s, t;

    for (int i = 0; i < 40; i++) {
        a[i] = i % 3 == 0;
        b[i] = i % 4 == 0;
    }
    record_init(&r);
    record_init(&s);
    record_init(&t);
    paired_accuracy(&r, a, b, 40, 7);
    paired_accuracy(&s, a, b, 40, 7);
    paired_accuracy(&t, a, b, 40, 8);
    CHECK(r.diff_low == s.diff_low && r.diff_high == s.diff_high);
    CHECK(fabs(r.diff_low - t.diff_low) <= 1 / 20.); /* multiples of 1/40 */
}

static void test_perplexity_by_hand(void)
{
    const double dense[] = {log(2), log(8)}, pruned[] = {log(4), log(16)};
    struct record r;

    record_init(&r);
    paired_perplexity(&r, dense, pruned, 2);
    CHECK_NEAR(r.diff, 8 - 4, 1e-12);
    CHECK_NEAR(r.diff_stderr, 4 * log(2), 1e-12); /* of 12 log 2 and 20 log 2 */
    CHECK_NEAR(r.log_ratio, log(2), 1e-12);
    CHECK_NEAR(r.log_ratio_stderr, 0, 1e-12);
    CHECK(isnan(r.gained) && isnan(r.p_value) && isnan(r.diff_low));
    paired_perplexity(&r, dense, dense, 2);
    CHECK(r.diff == 0 && r.diff_stderr == 0 && r.log_ratio == 0 && is_paired(&r));
}

/* ---- divergence over windows of the demo model */

#define WINDOW 24
#define N_WINDOWS 3

struct two {
    struct device *dev;
    struct checkpoint c;
    struct model m[2];
    struct session s[2];
    struct prepared p;
};

static int two_open(struct two *t)
{
    char *demo = demo_dir(), path[4096];
    int rc = -1;

    *t = (struct two){.p = {.name = "wikitext2", .n = N_WINDOWS, .window = WINDOW}};
    snprintf(path, sizeof(path), "%s/model", demo ? demo : "");
    free(demo);
    if (device_open(&t->dev, "cpu", 1) == 0 && checkpoint_open(&t->c, path) == 0)
        rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = model_open(&t->m[i], t->dev, &t->c, DTYPE_F32);
        if (rc == 0)
            session_open(&t->s[i], &t->m[i], 64 + 64 * (size_t)i, 16, 0);
    }
    for (int i = 0; i < WINDOW * N_WINDOWS; i++)
        ids_add(&t->p.ids, 5 + i * 37 % 4000);
    return rc;
}

static void two_close(struct two *t)
{
    for (int i = 0; i < 2; i++) {
        session_close(&t->s[i]);
        model_close(&t->m[i]);
    }
    ids_release(&t->p.ids);
    checkpoint_close(&t->c);
    device_close(t->dev);
}

/* The logits of one window's scored positions. */
static float *logits_of(struct session *s, const int32_t *ids)
{
    int32_t rows[WINDOW - 1];
    float *out = xmalloc((WINDOW - 1) * s->m->head.rows * sizeof(*out));

    for (int i = 0; i < WINDOW - 1; i++)
        rows[i] = i;
    batch_clear(&s->batch);
    batch_add(&s->batch, ids, WINDOW - 1, -1);
    session_forward(s);
    session_logits(s, rows, WINDOW - 1, out);
    return out;
}

static double log_sum_exp(const float *x, size_t n, size_t *best)
{
    double sum = 0;

    *best = 0;
    for (size_t i = 0; i < n; i++)
        *best = x[i] > x[*best] ? i : *best;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - x[*best]);
    return x[*best] + log(sum);
}

static void textbook(struct two *t, size_t window, double *kl, double *same)
{
    size_t vocab = t->m[0].head.rows;
    const int32_t *ids = t->p.ids.v + window * WINDOW;
    float *a = logits_of(&t->s[0], ids), *b = logits_of(&t->s[1], ids);

    *kl = *same = 0;
    for (size_t r = 0; r < WINDOW - 1; r++) {
        const float *x = a + r * vocab, *y = b + r * vocab;
        size_t top_a, top_b;
        double za = log_sum_exp(x, vocab, &top_a), zb = log_sum_exp(y, vocab, &top_b);

        for (size_t v = 0; v < vocab; v++)
            *kl += exp(x[v] - za) * ((x[v] - za) - (y[v] - zb)) / (WINDOW - 1);
        *same += (top_a == top_b) / (double)(WINDOW - 1);
    }
    free(a);
    free(b);
}

/* What the journal has; 1 if that is all. Else *d is released. */
static int resume_divergence(struct divergence *d, const struct prepared *p, struct journal *j,
                             const char *cell)
{
    struct divergence_run r;
    int whole;

    divergence_begin(&r, d, p, j, cell);
    whole = divergence_missing(&r) == 0;
    divergence_end(&r);
    if (!whole)
        divergence_release(d);
    return whole;
}

static int run_divergence(struct divergence *d, const struct prepared *p, struct session *dense,
                          struct session *pruned, struct journal *j, const char *cell)
{
    struct divergence_run r;
    int rc;

    divergence_begin(&r, d, p, j, cell);
    rc = divergence_go(&r, dense, pruned);
    divergence_end(&r);
    return rc;
}

static void test_identical_models_do_not_diverge(void)
{
    struct divergence d;
    struct two t;

    CHECK(two_open(&t) == 0);
    CHECK(run_divergence(&d, &t.p, &t.s[0], &t.s[1], NULL, "") == 0);
    for (int i = 0; i < N_WINDOWS; i++)
        CHECK(fabs(d.kl[i]) < 1e-12 && d.same_top[i] == 1);
    CHECK(d.n_tokens == WINDOW * N_WINDOWS);
    divergence_release(&d);
    two_close(&t);
}

static void test_divergence_is_the_textbook_s(void)
{
    const char *cell = "cell";
    struct divergence d, again;
    struct journal *j;
    struct two t;
    char path[4096];
    double kl, same;

    CHECK(two_open(&t) == 0);
    snprintf(path, sizeof(path), "%s/journal", dir);
    CHECK(journal_open(&j, path) == 0);
    model_set_activation(&t.m[1], ACT_TOPK, 0.5);
    CHECK(resume_divergence(&d, &t.p, j, cell) == 0);
    CHECK(run_divergence(&d, &t.p, &t.s[0], &t.s[1], j, cell) == 0);
    for (size_t i = 0; i < N_WINDOWS; i++) {
        textbook(&t, i, &kl, &same);
        CHECK(kl > 0.01);
        CHECK_NEAR(d.kl[i], kl, 1e-6 + 1e-5 * kl);
        CHECK_NEAR(d.same_top[i], same, 1e-12);
    }
    /* Another run takes everything from the journal, to the bit; another cell nothing. */
    CHECK(resume_divergence(&again, &t.p, j, "other") == 0);
    CHECK(resume_divergence(&again, &t.p, j, cell) == 1);
    CHECK(memcmp(again.kl, d.kl, N_WINDOWS * sizeof(double)) == 0 && again.n_tokens == 0);
    CHECK(memcmp(again.same_top, d.same_top, N_WINDOWS * sizeof(double)) == 0);
    divergence_release(&again);
    t.p.ids.v[WINDOW] ^= 1; /* other text in the second window alone */
    CHECK(run_divergence(&again, &t.p, &t.s[0], &t.s[1], j, cell) == 0);
    CHECK(again.n_tokens == WINDOW && again.kl[1] != d.kl[1] && again.kl[2] == d.kl[2]);
    divergence_release(&again);
    divergence_release(&d);
    journal_close(j);
    two_close(&t);
}

static void test_backend_without_divergence(void)
{
    struct backend lacking = *backends[0];
    struct device dev = {.ops = &lacking};

    CHECK(divergence_check(&dev) == 0);
    lacking.divergence = NULL;
    CHECK(divergence_check(&dev) == -1);
    CHECK_STR(error_last(), "the cpu backend has no divergence");
}

/* ---- the whole command */

/* Runs `duo eval ARGS` with its files in dir; returns the exit code. */
static int eval(const char *args)
{
    const char *duo = getenv("DUO");
    struct buf line = {0};
    int status;

    buf_addf(&line,
             "%s eval %s --quiet --log-samples %s/samples --out %s/out.jsonl -o jsonl 2>%s/err",
             duo ? duo : "build/duo", args, dir, dir, dir);
    status = system(line.data);
    buf_release(&line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void read_out(struct record_list *rs)
{
    char path[4096];

    *rs = (struct record_list){0};
    snprintf(path, sizeof(path), "%s/out.jsonl", dir);
    CHECK(record_list_read(rs, path) == 0);
}

static const struct record *find(const struct record_list *rs, const char *method,
                                 const char *metric)
{
    static const struct record none;

    for (size_t i = 0; i < rs->n; i++)
        if (strcmp(rs->items[i].rec.method, method) == 0 &&
            strcmp(rs->items[i].rec.metric, metric) == 0)
            return &rs->items[i].rec;
    printf("# no record of %s %s\n", method, metric);
    test_bad = 1;
    return &none;
}

static void read_samples(struct sample_scores *s, const char *cell, const char *task)
{
    char pattern[4096];
    glob_t g;

    *s = (struct sample_scores){0};
    snprintf(pattern, sizeof(pattern), "%s/samples/%s-*/samples_%s_*.jsonl", dir, cell, task);
    CHECK(glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc == 1);
    if (g.gl_pathc == 1)
        CHECK(samples_read(s, g.gl_pathv[0]) == 0);
    globfree(&g);
}

static void check_against_samples(const struct record *dense, const struct record *r)
{
    struct sample_scores a, b;
    size_t gained = 0, lost = 0;
    char *why;

    read_samples(&a, "dense-w0-a0", "piqa");
    read_samples(&b, "magnitude-w0.3-a0", "piqa");
    CHECK(a.n == 8 && samples_check_paired(&a, &b, &why) == 0);
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        gained += a.acc[i] == 0 && b.acc[i] == 1;
        lost += a.acc[i] == 1 && b.acc[i] == 0;
    }
    CHECK(r->gained == (double)gained && r->lost == (double)lost);
    CHECK_NEAR(r->gained - r->lost, 8 * r->diff, 1e-12);
    CHECK_NEAR(r->diff, r->value - dense->value, 1e-12);
    CHECK(r->p_value == stats_mcnemar_p(gained, lost));
    CHECK(r->diff_low <= r->diff && r->diff <= r->diff_high);
    CHECK_STR(r->baseline, dense->run_id);
    CHECK(isnan(r->log_ratio) && !dense->baseline && isnan(dense->diff));
    sample_scores_release(&a);
    sample_scores_release(&b);
}

#define RUN_ARGS                                                                                   \
    "-t piqa,wikitext2 --limit 8 --window 16 --baseline --divergence --backend cpu --threads 1 "   \
    "--resume "

static void test_eval(void)
{
    struct record_list rs, again;
    const struct record *ppl, *kl, *top;
    char args[4096];

    snprintf(args, sizeof(args), RUN_ARGS "%s/resume --method magnitude --sparsity 0.3", dir);
    CHECK(eval(args) == 0);
    read_out(&rs);
    CHECK(rs.n == 8); /* 3 dense, 3 pruned, 2 divergences */
    check_against_samples(find(&rs, "dense", "acc"), find(&rs, "magnitude", "acc"));
    ppl = find(&rs, "magnitude", "perplexity");
    CHECK_NEAR(ppl->diff, ppl->value - find(&rs, "dense", "perplexity")->value, 1e-9);
    CHECK_NEAR(ppl->log_ratio, log(ppl->value / find(&rs, "dense", "perplexity")->value), 1e-9);
    CHECK(ppl->diff_stderr > 0 && isnan(ppl->gained));
    kl = find(&rs, "magnitude", "kl_divergence");
    top = find(&rs, "magnitude", "same_top1");
    CHECK(kl->value > 0 && kl->value < 1 && kl->stderr_ > 0 && kl->n == 8);
    CHECK(top->value > 0.3 && top->value < 1 && top->tokens == 8 * 16);
    CHECK_STR(kl->baseline, find(&rs, "dense", "perplexity")->run_id);
    /* Once more: everything is in the journal. */
    CHECK(eval(args) == 0);
    read_out(&again);
    CHECK(again.n == rs.n);
    for (size_t i = 0; i < rs.n && i < again.n; i++) {
        CHECK(again.items[i].rec.value == rs.items[i].rec.value && again.items[i].rec.seconds == 0);
        CHECK_STR(again.items[i].rec.run_id, rs.items[i].rec.run_id);
        CHECK(again.items[i].rec.diff == rs.items[i].rec.diff || isnan(rs.items[i].rec.diff));
    }
    record_list_release(&rs);
    record_list_release(&again);
}

static void test_eval_usage(void)
{
    CHECK(eval("-t piqa --baseline --divergence --limit 1") == 2);
    CHECK(eval("-t wikitext2 --divergence --limit 1") == 2);
}

int main(void)
{
    char line[4200];

    if (!mkdtemp(dir))
        return 1;
    error_silence(1);
    progress_quiet(1);
    RUN(test_accuracy_by_hand);
    RUN(test_interval_depends_on_the_seed_alone);
    RUN(test_perplexity_by_hand);
    RUN(test_identical_models_do_not_diverge);
    RUN(test_divergence_is_the_textbook_s);
    RUN(test_backend_without_divergence);
    RUN(test_eval);
    RUN(test_eval_usage);
    snprintf(line, sizeof(line), "rm -rf %s", dir);
    return system(line) != 0;
}
