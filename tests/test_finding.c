/* The report's sentence and its table, on records whose answer is known by hand. */
#include "harness/report/finding.h"

#include <math.h>

#include "harness/measure/output_doc.h"
#include "tests/test.h"

static struct record items[64];
static const struct record *records[64];
static size_t n;

static struct record *add(const char *method, double w, double a, const char *task,
                          const char *metric, double value, double se)
{
    struct record *r = &items[n];

    records[n++] = r;
    record_init(r);
    record_set(&r->model, "m");
    record_set(&r->protocol, "lmeval-0.4");
    record_set(&r->method, method);
    r->weight_sparsity = w;
    r->act_sparsity = a;
    record_set(&r->task, task);
    record_set(&r->metric, metric);
    r->value = value;
    r->stderr_ = se;
    return r;
}

/* A cell: two accuracies whose mean is acc (NaN: none), a perplexity, and decoding by two paths,
 * the slower one last. */
static void cell(const char *method, double w, double a, double acc, double ppl, double speedup)
{
    if (!isnan(acc)) {
        add(method, w, a, "piqa", "acc", acc + 0.1, 0.006);
        add(method, w, a, "piqa", "acc_norm", acc + 0.02, 0.006); /* this one counts */
        add(method, w, a, "boolq", "acc", acc - 0.02, 0.008);
    }
    add(method, w, a, "wikitext2", "perplexity", ppl, 0.1)->effective_params = 1e9 * (2 - w);
    for (int slow = 0; slow < 2; slow++) {
        struct record *r =
            add(method, w, a, "decode", "tokens_per_s", 1e3 * speedup / (1 + slow), NAN);

        record_set(&r->path, slow ? "columns" : "nonzeros");
        r->context = 512;
        r->median_ns = 1e6 / speedup * (1 + slow);
        r->read_gbps = 10;
        if (strcmp(method, "dense") != 0) {
            r->speedup = speedup / (1 + slow);
            r->speedup_err = 0.004;
            record_set(&r->speedup_over, "own");
        }
    }
}

/* One cell per line of the answer, which is checked; then forgets the records. */
static void check_answer(const char *sentence, const char *table)
{
    struct block k = {.records = records, .n = n};
    struct buf said = {0}, text = {0};
    struct finding d;
    struct facts f;
    struct doc doc = {0};

    facts_init(&f, &k);
    finding_init(&d, &f);
    finding_sentence(&d, &f, &said);
    CHECK_STR(buf_str(&said), sentence);
    finding_table(&d, &f, &doc);
    doc_csv.render(&doc, "", &text);
    CHECK_STR(buf_str(&text), table);
    buf_release(&said);
    buf_release(&text);
    doc_release(&doc);
    finding_release(&d);
    facts_release(&f);
    while (n > 0)
        record_release(&items[--n]);
}

#define HEAD                                                                                       \
    "about,table,method,times dense speed,accuracy %,against dense,perplexity,parameters\r\n"

static void test_with_accuracies(void)
{
    cell("dense", 0, 0, 0.7, 5, 1);
    cell("duogpt", 0.4, 0.4, 0.66, 6, 1.2);
    cell("duogpt", 0.5, 0.5, 0.6, 8, 1.4);
    cell("wanda", 0.5, 0.5, 0.5, 9, 1.42);
    cell("wanda", 0.4, 0.4, 0.55, 7, 1.4); /* as fast to the digit, but not of the same sparsity */
    cell("2ssp", 0.25, 0, 0.65, 7, 1.1);   /* better, but too slow to compare with */
    cell("2ssp", 0.3, 0, 0.57, 10, 1.31);
    cell("sleb", 0.3, 0, 0.45, 11, 1.4);
    cell("flap", 0.3, 0, 0.68, 11, 1.1);
    /* The mean's error is 0.5 %, so that of a difference is 0.71 points; 3 points are beyond. */
    check_answer(
        "duogpt 50/50 decodes 1.40 times faster than the dense model and keeps an accuracy "
        "of 60.0\xc2\xa0%, 10.0 points less than dense. The best structured method at about "
        "that speed, 2ssp 30 (1.31 times), keeps 57.0\xc2\xa0%, 3.0 points less than duogpt "
        "50/50.\n",
        HEAD
        ",same-speed,dense,1.00,70.0 \xc2\xb1 0.5,,5.00,2 B\r\n"
        ",same-speed,flap 30 \xe2\x80\xa0,1.10 \xc2\xb1 0.00,68.0 \xc2\xb1 0.5,-2.0,11.00,1.7 B\r\n"
        ",same-speed,duogpt 50/50,1.40 \xc2\xb1 0.00,60.0 \xc2\xb1 0.5,-10.0,8.00,1.5 B\r\n"
        ",same-speed,2ssp 30,1.31 \xc2\xb1 0.00,57.0 \xc2\xb1 0.5,-13.0,10.00,1.7 B\r\n"
        ",same-speed,wanda 50/50,1.42 \xc2\xb1 0.00,50.0 \xc2\xb1 0.5,-20.0,9.00,1.5 B\r\n"
        ",same-speed,sleb 30,1.40 \xc2\xb1 0.00,45.0 \xc2\xb1 0.5,-25.0,11.00,1.7 B\r\n");
}

static void test_what_is_within_the_errors_is_said(void)
{
    cell("dense", 0, 0, 0.7, 5, 1);
    cell("duogpt", 0.5, 0.5, 0.695, 8, 1.003);
    cell("sleb", 0.3, 0, 0.5, 11, 1.4);
    check_answer(
        "duogpt 50/50 decodes 1.00 times faster than the dense model (\xc2\xb1 0.004: no "
        "measured difference) and keeps an accuracy of 69.5\xc2\xa0%, 0.5 points less than "
        "dense (within the errors). No structured method was measured within 15 % of that "
        "speed.\n",
        HEAD ",same-speed,dense,1.00,70.0 \xc2\xb1 0.5,,5.00,2 B\r\n"
             ",same-speed,duogpt 50/50,1.00 \xc2\xb1 0.00,69.5 \xc2\xb1 0.5,-0.5,8.00,1.5 B\r\n"
             ",same-speed,sleb 30 \xe2\x80\xa0,1.40 \xc2\xb1 0.00,50.0 \xc2\xb1 "
             "0.5,-20.0,11.00,1.7 B\r\n");
}

static void test_perplexity_alone(void)
{
    cell("dense", 0, 0, NAN, 5, 1);
    cell("wanda", 0.5, 0.5, NAN, 10, 0.8);
    cell("sleb", 0.3, 0, NAN, 25, 0.9);
    check_answer(
        "wanda 50/50 decodes 0.80 times as fast as the dense model at perplexity 10.00, 2.00 "
        "times that of dense. The best structured method at about that speed, sleb 30 (0.90 "
        "times), has perplexity 25.00, 2.50 times that of wanda 50/50.\n",
        "about,table,method,times dense speed,perplexity,parameters\r\n"
        ",same-speed,dense,1.00,5.00,2 B\r\n"
        ",same-speed,wanda 50/50,0.80 \xc2\xb1 0.00,10.00,1.5 B\r\n"
        ",same-speed,sleb 30,0.90 \xc2\xb1 0.00,25.00,1.7 B\r\n");
}

static void test_nothing_to_compare(void)
{
    add("wanda", 0.5, 0, "wikitext2", "perplexity", 9, 0.1);
    check_answer("No cell has both a speed and a score: records of duo bench with -t have both.\n",
                 "");
}

int main(void)
{
    RUN(test_with_accuracies);
    RUN(test_what_is_within_the_errors_is_said);
    RUN(test_perplexity_alone);
    RUN(test_nothing_to_compare);
    return 0;
}
