/* The eight tasks on the demo data, end to end through the library: read, tokenised, scored,
 * judged. */
#include "tests/demo.h"

static struct demo demo;

/* Every document scored, accuracies as the log-likelihoods say, ties to the lowest index. */
static void check_task(const struct task *task)
{
    struct prepared p;
    struct scores s;
    struct session session;
    size_t right = 0;

    demo_task(&p, &demo, task, SANITIZED ? 1 : 8, "lmeval-0.4", demo.model.config.max_positions);
    CHECK(p.n_total == 44 && p.n == (SANITIZED ? 1 : 8));
    demo_session(&session, &demo.model, prepared_longest(&p)); /* has room for each */
    CHECK(evaluate(&s, &p, &session, NULL, "") == 0);
    session_close(&session);
    for (size_t i = 0; i < p.n; i++) {
        const struct document *d = &p.data.docs[i];
        const struct score_result *r = s.results + p.first[i];
        int best = 0, best_norm = 0;

        CHECK(p.first[i + 1] - p.first[i] == d->n_choices);
        for (size_t c = 0; c < d->n_choices; c++) {
            CHECK(r[c].logprob < 0 && isfinite(r[c].logprob) && d->n_chars[c] > 0);
            if (r[c].logprob > r[best].logprob)
                best = (int)c;
            if (r[c].logprob / (double)d->n_chars[c] >
                r[best_norm].logprob / (double)d->n_chars[best_norm])
                best_norm = (int)c;
        }
        CHECK(s.acc[i] == (best == d->gold) && s.acc_norm[i] == (best_norm == d->gold));
        right += s.acc[i] == 1;
    }
    CHECK(s.n_tokens > 0 && right <= p.n);
    scores_release(&s);
    prepared_release(&p);
}

static void test_choice_tasks(void)
{
    int n = 0;

    for (; tasks[n]; n++) {
        check_task(tasks[n]);
        if (test_bad) {
            printf("# in task %s\n", tasks[n]->name);
            break;
        }
    }
    CHECK(n == 7);
}

/* Windows of the text, one after the other, far below the vocabulary's log(4096) = 8.3 nats. */
static void test_wikitext2(void)
{
    struct prepared p;
    struct scores s;
    struct session session;
    struct buf raw = {0};
    struct ids ids = demo_wikitext(demo.tokenizer);

    CHECK(data_read(DEMO_DATA, "wikitext", NULL, "wikitext-2-raw/wiki.test.raw", &raw) == 0);
    CHECK(prepare_perplexity(&p, &raw, "", SANITIZED ? 3 : 5, demo.tokenizer, 200, 1,
                             demo.model.config.max_positions) == 0);
    CHECK(p.n == (SANITIZED ? 3 : 5) && p.n_total == ids.n / 200);
    CHECK(p.ids.n == ids.n && p.ids.v[0] == 1 && memcmp(p.ids.v, ids.v, ids.n * 4) == 0);
    CHECK(prepared_longest(&p) == 200);
    demo_session(&session, &demo.model, 450); /* two windows a batch */
    CHECK(evaluate(&s, &p, &session, NULL, "") == 0);
    for (size_t i = 0; i < p.n; i++)
        CHECK(s.nll[i] > 1 && s.nll[i] < 6);
    session_close(&session);
    scores_release(&s);
    prepared_release(&p);
    buf_release(&raw);
    ids_release(&ids);
}

/* A window's bits do not depend on those beside it. */
static void test_windows_keep_bits(void)
{
    static const size_t budgets[] = {2048, 300, 128};
    struct ids ids = demo_wikitext(demo.tokenizer);
    double nll[3][7];
    size_t n = SANITIZED ? 3 : 7;

    for (int b = 0; b < 3; b++) {
        struct session s;

        for (size_t i = 0; i < n; i++)
            nll[b][i] = NAN;
        demo_session(&s, &demo.model, budgets[b]);
        CHECK(perplexity_windows(&s, ids.v, n, 100, nll[b], NULL) == 0);
        session_close(&s);
        CHECK(memcmp(nll[b], nll[0], n * sizeof(double)) == 0);
    }
    ids_release(&ids);
}

int main(void)
{
    demo_open(&demo, DEMO_MODEL, 2);
    RUN(test_choice_tasks);
    RUN(test_wikitext2);
    RUN(test_windows_keep_bits);
    demo_close(&demo);
    return 0;
}
