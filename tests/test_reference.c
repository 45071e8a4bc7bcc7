/* Scores and perplexities against a textbook LLaMA in double: the demo model always, the reference
 * models (grouped queries, scaled rope, bf16, shards, an untied head) where they are there. */
#include "tests/demo.h"
#include "tests/llama_double.h"

#define N_REQUESTS 20

/* ---- requests */

/* The inputs of requests side by side: a sequence each, all ids but the last. */
struct packed_double {
    struct double_batch b;
    int32_t *ids, *target, *top;
    size_t *begin, *pos;
    double *logprob;
};

static struct packed_double pack_open(size_t total)
{
    struct packed_double p = {.ids = xmalloc(3 * total * sizeof(int32_t)),
                              .begin = xmalloc(2 * total * sizeof(size_t)),
                              .logprob = xmalloc(total * sizeof(double))};

    p.target = p.ids + total;
    p.top = p.target + total;
    p.pos = p.begin + total;
    return p;
}

static void pack_add(struct packed_double *p, const int32_t *ids, size_t n_ids)
{
    size_t first = p->b.n;

    for (size_t i = 0; i + 1 < n_ids; i++) {
        p->ids[first + i] = ids[i];
        p->target[first + i] = ids[i + 1];
        p->begin[first + i] = first;
        p->pos[first + i] = i;
    }
    p->b.n += n_ids - 1;
}

static void pack_run(struct packed_double *p, const struct checkpoint *c)
{
    p->b.ids = p->ids;
    p->b.begin = p->begin;
    p->b.pos = p->pos;
    double_logprobs(c, &p->b, p->target, p->logprob, p->top);
}

static void pack_release(struct packed_double *p)
{
    free(p->ids);
    free(p->begin);
    free(p->logprob);
}

/* Some short requests of every task, neighbours that share prefixes among them. */
static size_t short_requests(const struct demo *d, struct prepared *p, struct score_request *r)
{
    size_t n = 0, at = 0;

    for (int i = 0; tasks[i]; i++) {
        size_t taken = 0;

        demo_task(&p[i], d, tasks[i], 12, "lmeval-0.4", d->model.config.max_positions);
        for (size_t q = 0; q < p[i].n_requests && taken < (SANITIZED ? 1 : 3) && n < N_REQUESTS;
             q++)
            if (p[i].requests[q].n_ids < 40) {
                r[n++] = p[i].requests[q];
                taken++;
            }
        at += p[i].n_requests;
    }
    CHECK(at > 200);
    return n;
}

static void test_scores_of_requests(void)
{
    struct demo d;
    struct prepared p[16] = {0};
    struct score_request r[N_REQUESTS];
    struct score_result *got;
    struct packed_double all;
    size_t n, total = 0, at = 0, greedy = 0;

    demo_open(&d, DEMO_MODEL, 2);
    n = short_requests(&d, p, r);
    CHECK(n >= (SANITIZED ? 4 : 15));
    got = demo_score(&d.model, r, n, 2048, 0);
    for (size_t i = 0; i < n; i++)
        total += r[i].n_ids;
    all = pack_open(total);
    for (size_t i = 0; i < n; i++)
        pack_add(&all, r[i].ids, r[i].n_ids);
    pack_run(&all, &d.checkpoint);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        int top = 1;

        at += r[i].n_ids - 1;
        for (size_t j = at - r[i].n_cont; j < at; j++) {
            sum += all.logprob[j];
            top &= all.top[j] == all.target[j];
        }
        CHECK_NEAR(got[i].logprob, sum, 1e-4);
        CHECK(got[i].greedy == top);
        greedy += (size_t)top;
    }
    CHECK(greedy < n);
    pack_release(&all);
    free(got);
    for (int i = 0; tasks[i]; i++)
        prepared_release(&p[i]);
    demo_close(&d);
}

/* ---- perplexity */

/* The first n_windows windows of the demo's WikiText-2 under the model of that folder. */
static void check_windows(const char *dir, size_t n_windows, size_t window)
{
    struct demo d;
    struct ids ids;
    struct session s;
    struct packed_double all = pack_open(n_windows * window);
    double nll[8] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};

    demo_open(&d, dir, 2);
    ids = demo_wikitext(d.tokenizer);
    CHECK(ids.n > 3 * n_windows * window);
    demo_session(&s, &d.model, n_windows * window);
    CHECK(perplexity_windows(&s, ids.v, n_windows, window, nll, NULL) == 0);
    for (size_t i = 0; i < n_windows; i++)
        pack_add(&all, ids.v + i * window, window);
    pack_run(&all, &d.checkpoint);
    for (size_t i = 0; i < n_windows; i++) {
        double sum = 0;

        for (size_t j = 0; j < window - 1; j++)
            sum -= all.logprob[i * (window - 1) + j];
        CHECK_NEAR(nll[i], sum / (double)(window - 1), 2e-5);
    }
    session_close(&s);
    ids_release(&ids);
    pack_release(&all);
    demo_close(&d);
}

static void test_windows_of_the_demo(void)
{
    check_windows(DEMO_MODEL, 2, SANITIZED ? 40 : 150);
}

static void test_windows_of_llama2_ref(void)
{
    char dir[4096];

    snprintf(dir, sizeof(dir), "%s/models/llama2-ref", test_shared());
    check_windows(dir, 2, SANITIZED ? 10 : 48);
}

static void test_windows_of_llama3_ref(void)
{
    char dir[4096];

    snprintf(dir, sizeof(dir), "%s/models/llama3-ref", test_shared());
    check_windows(dir, 2, SANITIZED ? 10 : 48);
}

int main(void)
{
    RUN(test_scores_of_requests);
    RUN(test_windows_of_the_demo);
    if (test_shared()) {
        RUN(test_windows_of_llama2_ref);
        RUN(test_windows_of_llama3_ref);
    } else {
        SKIP("test_windows_of_llama2_ref", "../shared is not here");
        SKIP("test_windows_of_llama3_ref", "../shared is not here");
    }
    return 0;
}
