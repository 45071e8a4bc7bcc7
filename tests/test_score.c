/* Scoring requests: a result's bits depend on the request alone, whatever the batch, the order, the
 * sharing of prefixes and the number of threads; and what tokenising a pair does at its edges. */
#include "tests/demo.h"

#define N_EXTRA (SANITIZED ? 48u : 160u)

static struct demo demo;
static struct device *two; /* the same memory, two threads */
static size_t n_layers;    /* of the model; most tests run one of them, in a fraction of the time */

/* ---- more than a thousand requests: all of the demo's tasks, and prefixes of every length */

static struct prepared sets[16];
static struct score_request *all;
static size_t n_all;

/* Prefixes of one text, ending on every place of a page and of the attention's chunks, with
 * one-token continuations (two of each length, and some twice). */
static void add_prefixes(void)
{
    struct ids text = demo_wikitext(demo.tokenizer);

    for (size_t i = 0; i < N_EXTRA; i++) {
        size_t n = 1 + i / 2;
        struct score_request r = {xmalloc((n + 1) * sizeof(int32_t)), n + 1, 1, 0};

        memcpy(r.ids, text.v, n * sizeof(*r.ids));
        r.ids[n] = i % 2 ? text.v[n] : 7 + (int32_t)(i % 3);
        all[n_all++] = r;
    }
    ids_release(&text);
}

static void open_requests(void)
{
    size_t total = 0;

    for (int i = 0; tasks[i]; i++) {
        demo_task(&sets[i], &demo, tasks[i], 0, i % 2 ? "lmeval-0.4" : "lmeval-0.4.9.2", 4096);
        total += sets[i].n_requests;
    }
    all = xmalloc((total + N_EXTRA) * sizeof(*all));
    for (int i = 0; tasks[i]; i++)
        for (size_t q = 0; q < sets[i].n_requests; q += SANITIZED ? 12 : 1)
            all[n_all++] = sets[i].requests[q];
    add_prefixes();
}

static void close_requests(void)
{
    for (size_t i = n_all - N_EXTRA; i < n_all; i++)
        free(all[i].ids);
    for (int i = 0; tasks[i]; i++)
        prepared_release(&sets[i]);
    free(all);
}

/* ---- ways to run them */

struct way {
    size_t budget;
    int threads, no_sharing;
    uint32_t shuffle;      /* seed; 0: in order */
    size_t stride, offset; /* every stride-th request from offset on */
};

/* Scores the way's requests (those that fit its budget) and compares bits with want. Returns how
 * many there were. */
static size_t check_way(const struct way *w, const struct score_result *want)
{
    struct model m = demo.model;
    struct score_request *r = xmalloc(n_all * sizeof(*r));
    size_t *from = xmalloc(n_all * sizeof(*from)), n = 0, differ = 0;
    struct score_result *got;
    struct pcg32 g;

    m.dev = w->threads == 2 ? two : demo.dev;
    for (size_t i = w->offset; i < n_all; i += w->stride)
        if (all[i].n_ids - 1 <= w->budget)
            from[n++] = i;
    pcg32_init(&g, w->shuffle, 1);
    for (size_t i = n; w->shuffle && i > 1; i--) {
        size_t j = pcg32_below(&g, (uint32_t)i), keep = from[j];

        from[j] = from[i - 1];
        from[i - 1] = keep;
    }
    for (size_t i = 0; i < n; i++)
        r[i] = all[from[i]];
    got = demo_score(&m, r, n, w->budget, w->no_sharing);
    for (size_t i = 0; i < n; i++)
        differ += memcmp(&got[i].logprob, &want[from[i]].logprob, sizeof(double)) != 0 ||
                  got[i].greedy != want[from[i]].greedy;
    if (differ)
        printf("# %zu of %zu differ: budget %zu, threads %d, sharing %d, shuffle %u\n", differ, n,
               w->budget, w->threads, !w->no_sharing, w->shuffle);
    CHECK(differ == 0);
    free(r);
    free(from);
    free(got);
    return n;
}

static void test_bits_do_not_depend_on_the_batch(void)
{
    static const struct way ways[] = {
        {4096, 2, 0, 11, 1, 0}, {500, 1, 0, 12, 3, 0},   {96, 2, 0, 13, 3, 1},
        {4096, 2, 1, 0, 12, 0}, {2048, 1, 1, 14, 12, 3}, {500, 2, 1, 15, 12, 7},
        {96, 1, 1, 0, 12, 10},
    };
    struct score_result *want;
    size_t n = 0;

    CHECK(n_all > (SANITIZED ? 100 : 1000));
    want = demo_score(&demo.model, all, n_all, 2048, 0);
    for (size_t i = 0; i < n_all; i++)
        CHECK(want[i].logprob < 0 && isfinite(want[i].logprob));
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        n += check_way(&ways[i], want);
    CHECK(2 * n > 3 * n_all); /* each request at least once more, on average twice */
    free(want);
}

/* The whole model, on some of each set. */
static void test_bits_of_the_whole_model(void)
{
    static const struct way ways[] = {{300, 2, 1, 21, 1, 0}, {96, 1, 0, 22, 1, 0}};
    struct score_request *everything = all, some[64];
    size_t n_everything = n_all, layers = demo.model.config.n_layers;
    struct score_result *want;

    demo.model.config.n_layers = n_layers;
    n_all = 0;
    for (size_t i = 0; i < n_everything && n_all < 64; i += SANITIZED ? 40 : 21)
        some[n_all++] = everything[i];
    all = some;
    want = demo_score(&demo.model, all, n_all, 2048, 0);
    for (size_t i = 0; i < 2; i++)
        CHECK(check_way(&ways[i], want) > n_all / 2);
    free(want);
    all = everything;
    n_all = n_everything;
    demo.model.config.n_layers = layers;
}

/* Equal requests get equal results, each its own; a request that is the beginning of another too.
 */
static void test_duplicates(void)
{
    struct score_request r[12];
    struct score_result *got, *alone;

    for (size_t i = 0; i < 12; i++)
        r[i] = all[i % 4];
    r[11] = (struct score_request){all[0].ids, all[0].n_ids - 1, 1, 0};
    for (int no_sharing = 0; no_sharing < 2; no_sharing++) {
        got = demo_score(&demo.model, r, 12, 2048, no_sharing);
        alone = demo_score(&demo.model, r + 11, 1, 2048, 1);
        for (size_t i = 0; i < 11; i++)
            CHECK(got[i].logprob == got[i % 4].logprob && got[i].logprob < 0);
        CHECK(got[11].logprob == alone->logprob);
        free(got);
        free(alone);
    }
}

/* Results that are there already are left alone; the rest is scored as ever. */
static void test_resumed_results_stay(void)
{
    struct score_result *want = demo_score(&demo.model, all, 20, 500, 0), got[20];
    struct score_options o = {.what = "test"};
    struct session s;
    int rc;

    demo_session(&s, &demo.model, 500);
    for (size_t i = 0; i < 20; i++)
        got[i] = (struct score_result){i % 3 ? NAN : 1.5, 0};
    score_requests(&s, all, 20, &o, got, &rc);
    CHECK(rc == 0);
    for (size_t i = 0; i < 20; i++)
        CHECK(got[i].logprob == (i % 3 ? want[i].logprob : 1.5));
    CHECK(score_requests(&s, all, 20, &o, got, &rc) == 0 && rc == 0);
    free(want);
    session_close(&s);
}

static void test_request_longer_than_the_budget(void)
{
    struct score_result got = {NAN, 0};
    struct score_options o = {.what = "test"};
    struct score_request r = all[n_all - 1];
    struct session s;
    int rc;

    demo_session(&s, &demo.model, r.n_ids - 2);
    error_silence(1);
    score_requests(&s, &r, 1, &o, &got, &rc);
    error_silence(0);
    CHECK(rc == -1 && isnan(got.logprob));
    CHECK(strstr(error_last(), "does not fit a batch"));
    session_close(&s);
    demo_session(&s, &demo.model, r.n_ids - 1); /* one row more is enough */
    score_requests(&s, &r, 1, &o, &got, &rc);
    CHECK(rc == 0 && got.logprob < 0);
    session_close(&s);
}

/* ---- tokenising a pair */

static int pair(const char *context, const char *continuation, const char *protocol, size_t max,
                struct score_request *out)
{
    struct request r = {(char *)context, (char *)continuation};

    *out = (struct score_request){0};
    return score_tokenize(demo.tokenizer, protocol_find(protocol), max, &r, "piqa: document 3",
                          out);
}

/* The ids of text, `bos` before them. */
static struct ids ids_of(const char *text, int bos)
{
    struct ids ids = {0};

    if (bos)
        ids_add(&ids, tokenizer_bos(demo.tokenizer));
    CHECK(tokenizer_encode(demo.tokenizer, text, strlen(text), &ids) == 0);
    return ids;
}

static void check_pair(const char *context, const char *continuation, const char *protocol,
                       const char *text, int bos, size_t n_cont)
{
    struct score_request r;
    struct ids want = ids_of(text, bos);

    CHECK(pair(context, continuation, protocol, 4096, &r) == 0);
    CHECK(r.n_ids == want.n && r.n_cont == n_cont);
    CHECK(r.n_ids == want.n && memcmp(r.ids, want.v, want.n * sizeof(*r.ids)) == 0);
    free(r.ids);
    ids_release(&want);
}

static void test_bos_by_protocol(void)
{
    struct ids context = ids_of("Question: why?\nAnswer:", 0), whole;

    whole = ids_of("Question: why?\nAnswer: because", 0);
    check_pair("Question: why?\nAnswer:", " because", "lmeval-0.4",
               "Question: why?\nAnswer: because", 0, whole.n - context.n);
    check_pair("Question: why?\nAnswer:", " because", "lmeval-0.4.9.2",
               "Question: why?\nAnswer: because", 1, whole.n - context.n);
    ids_release(&context);
    ids_release(&whole);
}

/* An empty context, or one of white space alone, becomes BOS, under either protocol. */
static void test_empty_context(void)
{
    static const char *const protocol[] = {"lmeval-0.4", "lmeval-0.4.9.2"};
    struct ids yes = ids_of(" yes", 0), spaced = ids_of(" \n yes", 0);

    for (int i = 0; i < 2; i++) {
        check_pair("", " yes", protocol[i], " yes", 1, yes.n);
        check_pair(" \n", " yes", protocol[i], " \n yes", 1, spaced.n);
    }
    ids_release(&yes);
    ids_release(&spaced);
}

/* Trailing white space of the context, Unicode's included, belongs to the continuation. */
static void test_trailing_space_moves(void)
{
    static const char *const spaces[] = {" ", "  ", "\n", " \t\n", "\xc2\xa0", " \xe3\x80\x80"};
    struct ids context = ids_of("The answer is", 0);

    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        struct buf left = {0}, right = {0}, text = {0};
        struct score_request a, b;
        struct ids whole;

        buf_addf(&left, "The answer is%s", spaces[i]);
        buf_addf(&right, "%syes", spaces[i]);
        buf_addf(&text, "The answer is%syes", spaces[i]);
        whole = ids_of(buf_str(&text), 0);
        check_pair(buf_str(&left), "yes", "lmeval-0.4", buf_str(&text), 0, whole.n - context.n);
        CHECK(pair(buf_str(&left), "yes", "lmeval-0.4", 4096, &a) == 0);
        CHECK(pair("The answer is", buf_str(&right), "lmeval-0.4", 4096, &b) == 0);
        CHECK(a.n_ids == b.n_ids && a.n_cont == b.n_cont &&
              memcmp(a.ids, b.ids, a.n_ids * sizeof(*a.ids)) == 0);
        free(a.ids);
        free(b.ids);
        ids_release(&whole);
        buf_release(&left);
        buf_release(&right);
        buf_release(&text);
    }
    ids_release(&context);
}

/* Where the texts' ids differ at the seam, the context's own ids are scored from. */
static void test_context_keeps_its_ids(void)
{
    struct ids context = ids_of("I went to the un", 0),
               whole = ids_of("I went to the university", 0);
    struct score_request r;
    int rc;

    error_silence(1);
    rc = pair("I went to the un", "iversity", "lmeval-0.4", 4096, &r);
    error_silence(0);
    if (whole.n <= context.n) {
        CHECK(rc == -1 && strstr(error_last(), "piqa: document 3: the continuation has no token"));
    } else {
        CHECK(rc == 0 && r.n_ids == whole.n && r.n_cont == whole.n - context.n);
        CHECK(rc == 0 && memcmp(r.ids, context.v, context.n * sizeof(*r.ids)) == 0);
    }
    free(r.ids);
    ids_release(&context);
    ids_release(&whole);
}

/* The last max + 1 ids stay: the continuation always, of the context what fits. */
static void test_truncation(void)
{
    static const char context[] = "One two three four five six seven eight nine ten eleven twelve";
    struct score_request whole, cut;

    CHECK(pair(context, " thirteen fourteen", "lmeval-0.4.9.2", 4096, &whole) == 0);
    CHECK(whole.n_ids > 16 && whole.n_cont < 10);
    for (size_t max = 1; max <= whole.n_ids; max++) {
        size_t keep = max + 1 < whole.n_ids ? max + 1 : whole.n_ids;
        int rc;

        error_silence(1);
        rc = pair(context, " thirteen fourteen", "lmeval-0.4.9.2", max, &cut);
        error_silence(0);
        if (whole.n_cont > max) { /* no context would be left */
            CHECK(rc == -1 && strstr(error_last(), "piqa: document 3"));
            continue;
        }
        CHECK(rc == 0 && cut.n_ids == keep && cut.n_cont == whole.n_cont &&
              cut.n_dropped == whole.n_ids - keep);
        CHECK(rc == 0 && memcmp(cut.ids, whole.ids + whole.n_ids - keep, keep * 4) == 0);
        if (max == 12) { /* exactly as many positions as the model would have */
            struct score_result *r = demo_score(&demo.model, &cut, 1, 12, 0);

            CHECK(r->logprob < 0 && isfinite(r->logprob));
            free(r);
        }
        free(cut.ids);
    }
    free(whole.ids);
}

static void test_one_token_continuation(void)
{
    struct score_request r;
    struct score_result *got;

    CHECK(pair("Is the sky blue?\nAnswer:", " no", "lmeval-0.4", 4096, &r) == 0);
    CHECK(r.n_cont == 1);
    got = demo_score(&demo.model, &r, 1, 64, 0);
    CHECK(got->logprob < 0 && isfinite(got->logprob));
    free(got);
    free(r.ids);
    error_silence(1);
    CHECK(pair("Is the sky blue?", "", "lmeval-0.4", 4096, &r) == -1);
    error_silence(0);
    CHECK_STR(error_last(), "piqa: document 3: the continuation has no token of its own");
}

int main(void)
{
    demo_open(&demo, DEMO_MODEL, 1);
    if (device_open(&two, "cpu", 2) != 0)
        return 1;
    n_layers = demo.model.config.n_layers;
    demo.model.config.n_layers = 1;
    open_requests();
    RUN(test_bits_do_not_depend_on_the_batch);
    RUN(test_bits_of_the_whole_model);
    RUN(test_duplicates);
    RUN(test_resumed_results_stay);
    RUN(test_request_longer_than_the_budget);
    RUN(test_bos_by_protocol);
    RUN(test_empty_context);
    RUN(test_trailing_space_moves);
    RUN(test_context_keeps_its_ids);
    RUN(test_truncation);
    RUN(test_one_token_continuation);
    close_requests();
    device_close(two);
    demo.model.config.n_layers = n_layers;
    demo_close(&demo);
    return 0;
}
