/* Sample files: byte for byte what lm-eval 0.4.9.1 writes, and read back for pairing.
 *
 * Expected hashes come from Python 3.11:
 *   H = lambda s: hashlib.sha256(s.encode()).hexdigest()
 *   H(json.dumps(doc, indent=2, ensure_ascii=False))
 * and for the whole line from the statements of lm-eval's save_results_samples on the same
 * document. */
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/sha256.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/samples.h"

#define LINE_SEPARATOR "\xe2\x80\xa8"
static const char doc_1[] =
    "{\"id\":\"Mercury_7175875\",\"question\":\"An astronomer said \\\"caf\\u00e9\\\\bar\\\"."
    "\\tWhich\\n" LINE_SEPARATOR
    "effect / day?\\u0001\x7f\",\"choices\":{\"text\":[\"Days\\u2014longer.\",\"\\ud83d\\ude00\","
    "\"\"],\"label\":[\"A\",\"B\",\"C\"]},\"answerKey\":\"C\"}";
static const char doc_1_hash[] = "fc1623f2ac3e797c670de604cb7913403d05b2c992bd15adf3c9eb206cee94be";
static const char doc_2[] =
    "{\"ind\":24,\"empty\":{},\"list\":[],\"none\":null,\"yes\":true,\"no\":false,\"nested\":"
    "[[1,2],[{\"a\":-3}]],\"big\":9007199254740992,\"f\":0.1,\"label\":\"3\",\"z\":\"\"}";
static const char doc_2_hash[] = "7c292071c5ec1d8f0ca498fc11ad8f88ad2901a4ed4702bd4aff4b76fe51cb15";

static char dir[] = "/tmp/duo-test-samples-XXXXXX";

static void test_document_hash(void)
{
    cJSON *a = cJSON_Parse(doc_1), *b = cJSON_Parse(doc_2);
    char hex[65];

    document_hash(a, hex);
    CHECK_STR(hex, doc_1_hash);
    document_hash(b, hex);
    CHECK_STR(hex, doc_2_hash);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

/* print(json.dumps({"a": [], "b": {}, "c": [1, {"d": [True, None]}], "e": 0.1}, indent=2)) */
static void test_dump(void)
{
    cJSON *v = cJSON_Parse("{\"a\":[],\"b\":{},\"c\":[1,{\"d\":[true,null]}],\"e\":0.1}");
    struct buf b = {0};

    pyjson_dump(&b, v, 2);
    CHECK_STR(b.data, "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": [\n"
                      "        true,\n        null\n      ]\n    }\n  ],\n  \"e\": 0.1\n}");
    b.n = 0;
    pyjson_dump(&b, v, -1);
    CHECK_STR(b.data, "{\"a\": [], \"b\": {}, \"c\": [1, {\"d\": [true, null]}], \"e\": 0.1}");
    cJSON_Delete(v);
    buf_release(&b);
}

static struct document make_document(void)
{
    static char context[] = "Question: An astronomer said \"caf\xc3\xa9\\bar\".\nAnswer:";
    static char days[] = " Days\xe2\x80\x94longer.", smile[] = " \xf0\x9f\x98\x80", space[] = " ";
    static char target[] = "2";

    return (struct document){
        .n_choices = 3,
        .gold = 2,
        .requests = {{context, days}, {context, smile}, {context, space}},
        .doc = cJSON_Parse(doc_1),
        .target = target,
    };
}

static const double ll[] = {-12.345678329467773, -0.5, -100};
static const unsigned char greedy[] = {0, 1, 0};

static char *sample_path(const char *task, const char *stamp)
{
    struct buf b = {0};

    buf_addf(&b, "%s/sub/samples_%s_%s.jsonl", dir, task, stamp);
    return buf_detach(&b);
}

static void write_samples(const char *stamp, size_t n, double acc, int with_tokens)
{
    int32_t v[] = {1, 22, 333};
    struct ids context[3] = {{v, 2, 0}, {v, 1, 0}, {v, 0, 0}}, cont[3] = {{v, 1, 0}, {v, 3, 0}};
    struct document d = make_document();
    struct buf folder = {0};
    struct samples s;

    buf_addf(&folder, "%s/sub", dir);
    CHECK(samples_open(&s, folder.data, "arc_easy", stamp) == 0);
    for (size_t i = 0; i < n; i++) {
        struct sample x = {.doc_id = 7 + i,
                           .doc = &d,
                           .ll = ll,
                           .greedy = greedy,
                           .acc = acc,
                           .acc_norm = 1,
                           .context = with_tokens ? context : NULL,
                           .continuation = cont};

        CHECK(samples_add(&s, &x) == 0);
    }
    CHECK(samples_close(&s) == 0);
    cJSON_Delete(d.doc);
    buf_release(&folder);
}

static void test_line_equals_lm_eval(void)
{
    struct buf text = {0};
    char *path = sample_path("arc_easy", "t1"), hex[65];

    write_samples("t1", 1, 0, 0);
    CHECK(file_read(path, &text) == 0);
    sha256_hex(buf_str(&text), text.n, hex);
    CHECK_STR(hex, "fe6b2aeedd3adcfdef0bce92b7f6aeb4d73985277e942e3cfada28d68dd27b83");
    unlink(path);
    free(path);
    buf_release(&text);
}

static void test_tokens(void)
{
    struct buf text = {0};
    char *path = sample_path("arc_easy", "t2");

    write_samples("t2", 1, 0, 1);
    CHECK(file_read(path, &text) == 0);
    CHECK(strstr(text.data, "\"acc_norm\": 1.0, \"tokens\": [[[1, 22], [1]], [[1], [1, 22, 333]], "
                            "[[], []]]}\n") != NULL);
    unlink(path);
    free(path);
    buf_release(&text);
}

static void test_not_finite_refused(void)
{
    struct document d = make_document();
    double bad[] = {-1, NAN, -1};
    struct sample x = {.doc_id = 41, .doc = &d, .ll = bad, .greedy = greedy, .acc = 1};
    struct samples s;
    char *path = sample_path("piqa", "t3");
    struct buf folder = {0};

    buf_addf(&folder, "%s/sub", dir);
    CHECK(samples_open(&s, folder.data, "piqa", "t3") == 0);
    CHECK(samples_add(&s, &x) == -1 && strstr(error_last(), "piqa document 41"));
    CHECK(samples_add_window(&s, 3, (int32_t[]){1}, 1, INFINITY) == -1);
    samples_abort(&s);
    CHECK(!file_exists(path));
    cJSON_Delete(d.doc);
    free(path);
    buf_release(&folder);
}

static void test_pairing(void)
{
    struct sample_scores a, b, c;
    char *why;
    char *path_a = sample_path("arc_easy", "a"), *path_b = sample_path("arc_easy", "b"),
         *path_c = sample_path("arc_easy", "c");

    write_samples("a", 2, 1, 0);
    write_samples("b", 2, 0, 1);
    write_samples("c", 1, 0, 0);
    CHECK(samples_read(&a, path_a) == 0 && samples_read(&b, path_b) == 0);
    CHECK(samples_read(&c, path_c) == 0);
    CHECK(a.n == 2 && a.acc[1] == 1 && a.acc_norm[0] == 1 && isnan(a.nll[0]) && b.acc[1] == 0);
    CHECK(samples_check_paired(&a, &b, &why) == 0 && !why);
    CHECK(samples_check_paired(&a, &c, &why) == -1);
    free(why);
    b.hash[1][3] ^= 1;
    CHECK(samples_check_paired(&a, &b, &why) == -1 && strstr(why, "line 2"));
    free(why);
    sample_scores_release(&a);
    sample_scores_release(&b);
    sample_scores_release(&c);
    unlink(path_a);
    unlink(path_b);
    unlink(path_c);
    free(path_a);
    free(path_b);
    free(path_c);
}

static void test_windows(void)
{
    static const int32_t ids[] = {1, 2, 3, 4};
    struct sample_scores a;
    struct samples s;
    struct buf folder = {0};
    char *path = sample_path("wikitext2", "w");

    buf_addf(&folder, "%s/sub", dir);
    CHECK(samples_open(&s, folder.data, "wikitext2", "w") == 0);
    CHECK(samples_add_window(&s, 0, ids, 4, 1 / 3.) == 0);
    CHECK(samples_add_window(&s, 1, ids + 1, 3, 2) == 0);
    CHECK(samples_close(&s) == 0);
    CHECK(samples_read(&a, path) == 0 && a.n == 2);
    CHECK(a.nll[0] == 1 / 3. && a.nll[1] == 2 && isnan(a.acc[0]));
    CHECK(strcmp(a.hash[0], a.hash[1]) != 0);
    sample_scores_release(&a);
    CHECK(file_write_atomic(path, "{\"doc_hash\": \"x\"}\n", 18) == 0);
    CHECK(samples_read(&a, path) == -1 && strstr(error_last(), "line 1: neither acc nor nll"));
    unlink(path);
    free(path);
    buf_release(&folder);
}

int main(void)
{
    struct buf folder = {0};

    error_silence(1);
    if (!mkdtemp(dir))
        return 1;
    RUN(test_document_hash);
    RUN(test_dump);
    RUN(test_line_equals_lm_eval);
    RUN(test_tokens);
    RUN(test_not_finite_refused);
    RUN(test_pairing);
    RUN(test_windows);
    buf_addf(&folder, "%s/sub", dir);
    rmdir(folder.data);
    CHECK(rmdir(dir) == 0);
    buf_release(&folder);
    return test_bad;
}
