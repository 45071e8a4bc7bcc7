/* Records: round trip, refusal of what is not a number, identity, and the four output formats. */
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/base/rng.h"
#include "harness/measure/output.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record.h"
#include "harness/measure/record_read.h"

static void fill(struct record *r, const char *method, double sparsity, const char *task,
                 const char *metric, double value, double se)
{
    record_init(r);
    record_set(&r->time, "2025-01-31T12:00:00Z");
    record_set(&r->git, "abc1234");
    record_set(&r->model, "models/demo");
    record_set(&r->model_sha256, "0123456789abcdef");
    r->n_params = 5800000;
    record_set(&r->method, method);
    r->weight_sparsity = r->act_sparsity = sparsity;
    r->weight_zeros = r->act_zeros = sparsity;
    record_set(&r->protocol, "lmeval-0.4");
    record_set(&r->backend, "cpu");
    record_set(&r->dtype, "f32");
    record_set(&r->task, task);
    record_set(&r->version, "1.0");
    record_set(&r->metric, metric);
    r->n = r->n_total = 1838;
    r->value = value;
    r->stderr_ = se;
    if (sparsity > 0) {
        record_set(&r->calib, "c4:128x2048");
        r->seed = 0;
    }
}

static void add(struct records *rs, const char *method, double sparsity, const char *task,
                const char *metric, double value, double se)
{
    struct record r;

    fill(&r, method, sparsity, task, metric, value, se);
    CHECK(records_add(rs, &r) == 0);
}

static void add_cell(struct records *rs, const char *method, double sparsity, double shift)
{
    static const char *const both[] = {"piqa", "hellaswag", "arc_easy", "arc_challenge",
                                       "openbookqa"};

    for (size_t i = 0; i < 5; i++) {
        add(rs, method, sparsity, both[i], "acc", 0.5 + shift, 0.01);
        add(rs, method, sparsity, both[i], "acc_norm", 0.55 + shift, 0.01);
    }
    add(rs, method, sparsity, "winogrande", "acc", 0.6 + shift, 0.01);
    add(rs, method, sparsity, "boolq", "acc", 0.7 + shift, 0.01);
    add(rs, method, sparsity, "wikitext2", "perplexity", 5.47 + 10 * sparsity - shift, 0.05);
}

static void test_numbers_read_back(void)
{
    struct pcg32 g;

    pcg32_init(&g, 1, 1);
    for (int i = 0; i < 20000; i++) {
        union {
            uint64_t bits;
            double v;
        } u = {(uint64_t)pcg32_next(&g) << 32 | pcg32_next(&g)};
        struct buf b = {0};

        if (!isfinite(u.v))
            continue;
        if (i % 2)
            u.v = pcg32_double(&g) * 100;
        pyjson_add_number(&b, u.v);
        CHECK(strtod(b.data, NULL) == u.v);
        buf_release(&b);
    }
}

/* for v in (1, .1, -12.345678329467773, 1e16, 123456789012345680., 1e15, 1e-4, 1e-5, 1.5e-7, 1e22,
 *           5e-324, 100., 2/3, 1e-300): print(repr(float(v))) */
static void test_repr(void)
{
    static const double v[] = {1,
                               .1,
                               -12.345678329467773,
                               1e16,
                               123456789012345680.,
                               1e15,
                               1e-4,
                               1e-5,
                               1.5e-7,
                               1e22,
                               5e-324,
                               100.,
                               2 / 3.,
                               1e-300,
                               -0.0};
    static const char *const want[] = {"1.0",
                                       "0.1",
                                       "-12.345678329467773",
                                       "1e+16",
                                       "1.2345678901234568e+17",
                                       "1000000000000000.0",
                                       "0.0001",
                                       "1e-05",
                                       "1.5e-07",
                                       "1e+22",
                                       "5e-324",
                                       "100.0",
                                       "0.6666666666666666",
                                       "1e-300",
                                       "-0.0"};

    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct buf b = {0};

        pyjson_add_float(&b, v[i]);
        CHECK_STR(buf_str(&b), want[i]);
        buf_release(&b);
    }
}

static void test_round_trip(void)
{
    static const double ns[] = {1.5, 2.25, 1e9 / 3};
    struct buf a = {0}, b = {0};
    struct record r, s;
    char id[17];

    fill(&r, "duogpt", 0.5, "piqa", "acc", 1 / 3., 0.1 + 0.2);
    record_set(&r.device, "CPU \"quoted\", caf\xc3\xa9\n");
    r.alpha = 0.125;
    r.bos = 0;
    r.seconds = 12.75;
    record_warn(&r, "noise %d %%", 12);
    record_warn(&r, "second");
    record_set_samples(&r, ns, 3);
    record_set_by_layer(&r, ns + 1, 2);
    r.median_ns = 2.25;
    record_set(&r.baseline, "0011223344556677");
    r.diff = -1 / 7.;
    r.gained = 3;
    record_id(&r, id);
    record_set(&r.run_id, id);
    CHECK(record_to_json(&r, &a) == 0);
    CHECK(!strchr(a.data, '\n'));
    CHECK(record_from_json(a.data, a.n, "here", &s) == 0);
    CHECK(s.value == 1 / 3. && s.stderr_ == 0.1 + 0.2 && s.bos == 0 && s.n_samples == 3);
    CHECK(s.samples_ns[2] == 1e9 / 3 && s.n_warnings == 2 && isnan(s.damp) && !s.nm);
    CHECK(record_is_layers(&s) && s.n_by_layer == 2 && s.by_layer[1] == 1e9 / 3);
    CHECK(s.diff == -1 / 7. && s.gained == 3 && isnan(s.p_value));
    CHECK_STR(s.baseline, "0011223344556677");
    CHECK_STR(s.device, r.device);
    CHECK(record_to_json(&s, &b) == 0);
    CHECK_STR(b.data, a.data);
    record_release(&s);
    record_copy(&s, &r);
    b.n = 0;
    CHECK(record_to_json(&s, &b) == 0);
    CHECK_STR(b.data, a.data);
    record_release(&s);
    record_release(&r);
    buf_release(&a);
    buf_release(&b);
}

static void test_unknown_is_null(void)
{
    struct buf b = {0};
    struct record r;
    cJSON *v;

    fill(&r, "dense", 0, "piqa", "acc", 0.5, NAN);
    CHECK(record_to_json(&r, &b) == 0);
    v = cJSON_Parse(b.data);
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(v, "stderr")));
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(v, "nm")));
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(v, "limit")));
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(v, "baseline")));
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(v, "p_value")));
    CHECK(cJSON_IsArray(cJSON_GetObjectItem(v, "warnings")));
    CHECK(!cJSON_GetObjectItem(v, "samples_ns") && !cJSON_GetObjectItem(v, "by_layer"));
    cJSON_Delete(v);
    buf_release(&b);
    record_release(&r);
}

static void test_not_a_number_refused(void)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    struct records rs = {0};
    struct buf b = {0};
    struct record r;

    for (int i = 0; i < 3; i++) {
        fill(&r, "wanda", 0.5, "arc_easy", "acc_norm", bad[i], 0);
        CHECK(record_to_json(&r, &b) == -1 && b.n == 0);
        CHECK(strstr(error_last(), "arc_easy acc_norm") != NULL);
        CHECK(records_add(&rs, &r) == -1 && rs.n == 0);
        r.value = 1;
        r.stderr_ = i ? bad[i] : 0;
        r.n = i ? 5 : 1.5;
        CHECK(record_to_json(&r, &b) == -1);
        record_release(&r);
    }
    records_release(&rs);
    buf_release(&b);
}

static void test_reading_is_strict(void)
{
#define REST "\"model\":\"m\",\"protocol\":\"p\",\"task\":\"t\",\"metric\":\"acc\""
    static const char *const bad[] = {
        "{" REST ",\"value\":1,\"vlaue\":1}",
        "{" REST ",\"value\":1,\"value\":2}",
        "{" REST ",\"value\":\"1\"}",
        "{" REST ",\"value\":null}",
        "{" REST "}",
        "{" REST ",\"value\":1e999}",
        "{" REST ",\"value\":1,\"n\":1.5}",
        "{" REST ",\"value\":1,\"bos\":1}",
        "{" REST ",\"value\":1,\"git\":1}",
        "{" REST ",\"value\":1,\"baseline\":1}",
        "{" REST ",\"value\":1,\"diff\":\"0\"}",
        "{" REST ",\"value\":1,\"gained\":0.5}",
        "{" REST ",\"value\":1,\"lost\":-1}",
        "{" REST ",\"value\":1,\"warnings\":\"w\"}",
        "{" REST ",\"value\":1} x",
        "[]",
        "{" REST ",\"value\":1,\"run_id\":\"0000000000000000\"}",
    };
    struct record r;

    CHECK(record_from_json("{" REST ",\"value\":1}", strlen("{" REST ",\"value\":1}"), "f", &r) ==
          0);
    record_release(&r);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(record_from_json(bad[i], strlen(bad[i]), "f line 7", &r) == -1);
        CHECK(strncmp(error_last(), "f line 7: ", 10) == 0);
        record_release(&r);
    }
}

static void test_identity(void)
{
    char a[17], b[17];
    struct record r;

    fill(&r, "wanda", 0.5, "piqa", "acc", 0.5, 0.1);
    record_id(&r, a);
    CHECK(strlen(a) == 16);
    record_stamp(&r);
    r.value = 0.6;
    r.seconds = 3;
    r.act_zeros = 0.49;
    record_set(&r.baseline, "0011223344556677");
    r.diff = r.log_ratio = r.p_value = 0.1;
    r.gained = 4;
    record_id(&r, b);
    CHECK_STR(b, a);
    r.seed = 1;
    record_id(&r, b);
    CHECK(strcmp(a, b) != 0);
    r.seed = 0;
    record_cell_id(&r, a);
    record_set(&r.task, "boolq");
    record_cell_id(&r, b);
    CHECK_STR(b, a);
    r.limit = 10;
    record_cell_id(&r, b);
    CHECK(strcmp(a, b) != 0);
    record_release(&r);
}

static size_t columns_of(const char *line, size_t n)
{
    size_t columns = 0;

    for (size_t i = 0; i < n; i++)
        columns += (line[i] & 0xc0) != 0x80;
    return columns;
}

/* All rows of a table are equally wide and have the same number of bars at the same places. */
static void check_aligned(const char *text)
{
    size_t width = 0;

    for (const char *p = text; *p; p = strchr(p, '\n') + 1) {
        size_t n = columns_of(p, (size_t)(strchr(p, '\n') - p));

        if (*p != '|') {
            width = 0;
            continue;
        }
        CHECK(width == 0 || n == width);
        CHECK(n < 170);
        width = n;
    }
}

static void test_md(void)
{
    struct records rs = {0};
    struct buf b = {0};

    add_cell(&rs, "dense", 0, 0.1);
    add_cell(&rs, "wanda", 0.5, 0);
    add_cell(&rs, "duogpt", 0.5, 0.0123);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    if (getenv("SHOW"))
        fputs(b.data, stderr);
    check_aligned(b.data);
    CHECK(strstr(b.data, "Model models/demo (sha256 01234567), 5.8 M parameters; protocol "
                         "lmeval-0.4; cpu; f32\n") != NULL);
    CHECK(strstr(b.data, "Calibration c4:128x2048, seed 0\n") != NULL);
    CHECK(strstr(b.data, "| method | W % | zeros | A % | zeros |  wiki2 |  piqa | piqa_n |") !=
          NULL);
    CHECK(strstr(b.data, " 10.458*|") != NULL); /* the better perplexity of the pruned rows */
    CHECK(strstr(b.data, " 51.23*|") != NULL);
    CHECK(!strstr(b.data, " 60.00*|")); /* dense is not marked */
    /* mean of 5 x 0.55, 0.6, 0.7 */
    CHECK(strstr(b.data, " 57.86 |") != NULL);
    CHECK(strstr(b.data, "mean: acc_norm of piqa, hellaswag, arc_easy, arc_challenge, openbookqa; "
                         "acc of winogrande, boolq.\n") != NULL);
    CHECK(!strstr(b.data, "LIMITED"));
    buf_release(&b);
    records_release(&rs);
}

static void test_md_says_what_differs(void)
{
    struct records rs = {0};
    struct record r;
    struct buf b = {0};

    for (int i = 0; i < 2; i++) {
        fill(&r, "duogpt", 0.5, "a|b", "acc", 0.5, NAN);
        r.alpha = i ? 0.5 : 0.125;
        r.limit = 10;
        r.n = 10;
        record_warn(&r, "careful");
        CHECK(records_add(&rs, &r) == 0);
    }
    fill(&r, "duogpt", 0.5, "x", "acc", 0.5, NAN);
    record_set(&r.protocol, "lmeval-0.4.9.2");
    CHECK(records_add(&rs, &r) == 0);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    check_aligned(b.data);
    CHECK(strstr(b.data, "duogpt alpha=0.125") && strstr(b.data, "duogpt alpha=0.5 "));
    CHECK(strstr(b.data, "**LIMITED RUN, --limit 10:") != NULL);
    CHECK(strstr(b.data, "protocol lmeval-0.4;") && strstr(b.data, "protocol lmeval-0.4.9.2;"));
    CHECK(strstr(b.data, "a\\|b") && strstr(b.data, "10 of 1838"));
    CHECK(strstr(b.data, "- warning: careful\n") != NULL);
    CHECK(!strstr(strstr(b.data, "careful") + 1, "careful"));
    CHECK(!strstr(b.data, "Standard errors") && !strstr(b.data, "mean"));
    buf_release(&b);
    records_release(&rs);
}

static void add_paired_cell(struct records *rs, const char *method, double p)
{
    static const char *const metrics[] = {"acc", "acc_norm", "perplexity", "kl_divergence",
                                          "same_top1"};

    for (int i = 0; i < 5; i++) {
        struct record r;

        fill(&r, method, 0.5, i < 2 ? "piqa" : "wikitext2", metrics[i], i == 2 ? 9.5 : 0.25, 0.01);
        record_set(&r.baseline, "0011223344556677");
        if (i < 3) {
            r.diff = i == 2 ? 4.03 : -0.0212;
            r.diff_stderr = 0.011;
        }
        if (i < 2) {
            r.diff_low = -0.0423;
            r.diff_high = 0.0001;
            r.gained = 140;
            r.lost = 179;
            r.p_value = p;
        } else if (i == 2) {
            r.log_ratio = 0.5523;
            r.log_ratio_stderr = 0.0123;
        }
        CHECK(records_add(rs, &r) == 0);
    }
}

static void test_md_against_dense(void)
{
    struct records rs = {0};
    struct buf b = {0};
    const char *part;

    add(&rs, "dense", 0, "piqa", "acc", 0.5, 0.01);
    add(&rs, "dense", 0, "wikitext2", "perplexity", 5.47, 0.05);
    add_paired_cell(&rs, "wanda", 0.049);
    add_paired_cell(&rs, "duogpt", 0.051);
    CHECK(output_render(&rs, OUTPUT_MD, &b) == 0);
    if (getenv("SHOW"))
        fputs(b.data, stderr);
    check_aligned(b.data);
    part = strstr(b.data, "\nAgainst dense:\n\n| method ");
    CHECK(part != NULL);
    CHECK(part && strstr(part, " -2.12 | -4.23 to +0.01 |    140 |  179 | 0.049*|"));
    CHECK(part && strstr(part, " 0.051 |") && !strstr(part, "0.051*"));
    CHECK(part && strstr(part, " +4.030 | "));
    CHECK(part && strstr(part, " 0.5523 \xc2\xb1 0.0123 | 0.2500 \xc2\xb1 0.0100 | 25.00 \xc2\xb1 "
                               "1.00 |"));
    /* The divergences are in that table alone. */
    CHECK(!strstr(b.data, "kl_divergence") && !strstr(b.data, "same_top1"));
    buf_release(&b);
    records_release(&rs);
}

static void test_csv(void)
{
    struct records rs = {0};
    struct record r;
    struct buf b = {0};

    fill(&r, "wanda", 0.5, "piqa", "acc", 0.75, NAN);
    record_set(&r.device, "a \"b\", c");
    record_warn(&r, "one");
    record_warn(&r, "two");
    CHECK(records_add(&rs, &r) == 0);
    CHECK(output_render(&rs, OUTPUT_CSV, &b) == 0);
    CHECK(strncmp(b.data, "run_id,time,git,command,host,", 29) == 0);
    CHECK(strstr(b.data,
                 ",cpu,\"a \"\"b\"\", c\",f32,,,piqa,1.0,,,,1838,1838,,acc,0.75,,,,,,,,,,,,,,,one; "
                 "two,,,,,,,,,,,,,,,,,,,,,,,,,,\r\n") != NULL);
    buf_release(&b);
    records_release(&rs);
}

static double number_at(const cJSON *v, const char *a, const char *b, const char *c)
{
    v = cJSON_GetObjectItemCaseSensitive(v, a);
    v = cJSON_GetObjectItemCaseSensitive(v, b);
    return cJSON_GetNumberValue(c ? cJSON_GetObjectItemCaseSensitive(v, c) : v);
}

static void test_json(void)
{
    struct records rs = {0};
    struct buf b = {0};
    cJSON *v, *w;

    add_cell(&rs, "wanda", 0.5, 0);
    CHECK(output_render(&rs, OUTPUT_JSON, &b) == 0);
    v = cJSON_Parse(b.data);
    CHECK(number_at(v, "results", "piqa", "acc_norm,none") == 0.55);
    CHECK(number_at(v, "results", "piqa", "acc_stderr,none") == 0.01);
    CHECK(number_at(v, "results", "wikitext2", "perplexity,none") == 5.47 + 5);
    CHECK(number_at(v, "n-samples", "boolq", "effective") == 1838);
    CHECK(number_at(v, "versions", "piqa", NULL) == 1);
    CHECK(strstr(b.data, "\"piqa\": 1.0") != NULL);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(v, "date")) == 1738324800);
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(v, "git_hash")), "abc1234");
    w = cJSON_GetObjectItem(v, "config");
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(w, "protocol")), "lmeval-0.4");
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(w, "recipe"), "method")),
              "wanda");
    cJSON_Delete(v);
    add_cell(&rs, "dense", 0, 0);
    b.n = 0;
    CHECK(output_render(&rs, OUTPUT_JSON, &b) == 0);
    v = cJSON_Parse(b.data);
    CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(v, "cells")) == 2);
    CHECK(number_at(cJSON_GetArrayItem(cJSON_GetObjectItem(v, "cells"), 1), "results", "piqa",
                    "acc,none") == 0.5);
    cJSON_Delete(v);
    buf_release(&b);
    records_release(&rs);
}

static void test_json_against_dense(void)
{
    struct records rs = {0};
    struct buf b = {0};
    cJSON *v, *w;

    add_paired_cell(&rs, "wanda", 0.25);
    CHECK(output_render(&rs, OUTPUT_JSON, &b) == 0);
    v = cJSON_Parse(b.data);
    w = cJSON_GetObjectItem(v, "against_dense");
    CHECK(number_at(w, "piqa", "acc", "p_value") == 0.25);
    CHECK(number_at(w, "wikitext2", "perplexity", "log_ratio") == 0.5523);
    w = cJSON_GetObjectItem(cJSON_GetObjectItem(w, "wikitext2"), "kl_divergence");
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(w, "baseline")), "0011223344556677");
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(w, "diff")));
    CHECK(number_at(v, "results", "wikitext2", "same_top1,none") == 0.25);
    cJSON_Delete(v);
    buf_release(&b);
    records_release(&rs);
}

static void test_jsonl_file(void)
{
    char path[] = "/tmp/duo-test-record-XXXXXX";
    struct records rs = {0}, again = {0};
    struct record_list back = {0};
    struct buf a = {0}, b = {0};
    enum output_format format;
    int fd = mkstemp(path);

    close(fd);
    CHECK(output_format_parse("jsonl", &format) == 0 && format == OUTPUT_JSONL);
    CHECK(output_format_parse("xml", &format) == -1 && strstr(error_last(), "md csv json jsonl"));
    add_cell(&rs, "wanda", 0.5, 0);
    CHECK(output_write(&rs, format, path) == 0);
    CHECK(record_list_read(&back, path) == 0 && back.n == rs.n);
    for (size_t i = 0; i < back.n; i++)
        CHECK(records_add(&again, &back.items[i].rec) == 0);
    CHECK(output_render(&rs, format, &a) == 0 && output_render(&again, format, &b) == 0);
    CHECK_STR(b.data, a.data);
    CHECK(output_write(&rs, format, "/nonexistent/x") == -1);
    unlink(path);
    buf_release(&a);
    buf_release(&b);
    records_release(&rs);
    records_release(&again);
    record_list_release(&back);
}

int main(void)
{
    error_silence(1);
    RUN(test_numbers_read_back);
    RUN(test_repr);
    RUN(test_round_trip);
    RUN(test_unknown_is_null);
    RUN(test_not_a_number_refused);
    RUN(test_reading_is_strict);
    RUN(test_identity);
    RUN(test_md);
    RUN(test_md_says_what_differs);
    RUN(test_md_against_dense);
    RUN(test_csv);
    RUN(test_json);
    RUN(test_json_against_dense);
    RUN(test_jsonl_file);
    return 0;
}
