/* Reading files of records: what was written comes back, what is hostile is refused with its line.
 */
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/measure/record_read.h"

#define REST "\"model\":\"m\",\"protocol\":\"p\",\"task\":\"t\",\"metric\":\"acc\",\"value\":0.5"

static char path[] = "/tmp/duo-test-record-read-XXXXXX";

static int read_text(struct record_list *l, const char *text, size_t nbytes)
{
    *l = (struct record_list){0};
    CHECK(file_write_atomic(path, text, nbytes) == 0);
    return record_list_read(l, path);
}

static void test_round_trip(void)
{
    static const double ns[] = {3, 1e9 / 3, 5e-324};
    struct record_list l;
    struct record r;
    struct buf b = {0}, again = {0};
    const double *x;
    size_t n;

    record_init(&r);
    record_set(&r.model, "caf\xc3\xa9");
    record_set(&r.protocol, "p");
    record_set(&r.task, "decode");
    record_set(&r.metric, "tokens_per_s");
    r.value = 1 / 3.;
    r.bos = 1;
    r.tokens_per_s = 1 / 3.;
    record_set_samples(&r, ns, 3);
    record_warn(&r, "careful");
    CHECK(record_to_json(&r, &b) == 0);
    buf_adds(&b, "\r\n \n");
    CHECK(record_to_json(&r, &b) == 0); /* the last line without its newline */
    CHECK(read_text(&l, b.data, b.n) == 0 && l.n == 2);
    CHECK(l.n == 2 && l.items[0].line == 1 && l.items[1].line == 3);
    for (size_t i = 0; i < l.n; i++) {
        const struct record_line *q = &l.items[i];

        CHECK_STR(q->path, path);
        CHECK_STR(record_string(q, "model"), "caf\xc3\xa9");
        CHECK(record_number(q, "value") == 1 / 3. && record_number(q, "bos") == 1);
        CHECK(isnan(record_number(q, "alpha")) && !record_string(q, "nm"));
        CHECK(isnan(record_number(q, "model")) && !record_string(q, "value"));
        CHECK(isnan(record_number(q, "nonsense")) && !record_string(q, "nonsense"));
        x = record_samples(q, "samples_ns", &n);
        CHECK(x && n == 3 && memcmp(x, ns, sizeof(ns)) == 0);
        CHECK(!record_samples(q, "value", &n) && n == 0);
        CHECK(q->rec.run_id && strlen(q->rec.run_id) == 16);
        record_set(&l.items[i].rec.run_id, NULL);
        again.n = 0;
        CHECK(record_to_json(&q->rec, &again) == 0);
        CHECK(strncmp(again.data, b.data, again.n) == 0);
    }
    record_list_release(&l);
    record_release(&r);
    buf_release(&again);
    buf_release(&b);
}

static void test_unknown_fields(void)
{
    static const char text[] =
        "{" REST ",\"run_id\":\"0123456789abcdef\",\"colour\":\"red\",\"depth\":7,\"deep\":true,"
        "\"list\":[1,{\"a\":2}],\"none\":null,\"seed\":null,\"warnings\":null,\"samples_ns\":null}";
    struct record_list l;

    CHECK(read_text(&l, text, strlen(text)) == 0 && l.n == 1);
    if (l.n == 1) {
        CHECK_STR(record_string(&l.items[0], "colour"), "red");
        CHECK(record_number(&l.items[0], "depth") == 7 && record_number(&l.items[0], "deep") == 1);
        CHECK(isnan(record_number(&l.items[0], "list")) && !record_string(&l.items[0], "list"));
        CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(l.items[0].unknown, "list")) == 2);
        CHECK(isnan(record_number(&l.items[0], "none")) && isnan(l.items[0].rec.seed));
        CHECK_STR(l.items[0].rec.run_id, "0123456789abcdef");
    }
    record_list_release(&l);
}

static void test_files_follow_each_other(void)
{
    static const char text[] = "{" REST "}\n{" REST ",\"seed\":1}\n";
    struct record_list l;

    CHECK(read_text(&l, text, strlen(text)) == 0 && record_list_read(&l, path) == 0 && l.n == 4);
    record_list_release(&l);
    CHECK(read_text(&l, "", 0) == 0 && l.n == 0);
    CHECK(record_list_read(&l, "/nonexistent/x") == -1);
    CHECK(strstr(error_last(), "/nonexistent/x") != NULL);
    record_list_release(&l);
}

static void check_refused(const char *line, size_t nbytes, const char *want)
{
    struct buf b = {0}, where = {0};
    struct record_list l;

    buf_adds(&b, "{" REST "}\n\n");
    buf_add(&b, line, nbytes);
    buf_adds(&b, "\n{" REST "}\n");
    CHECK(read_text(&l, b.data, b.n) == -1 && l.n == 1);
    buf_addf(&where, "%s line 3: ", path);
    CHECK(strncmp(error_last(), where.data, where.n) == 0);
    if (!strstr(error_last(), want)) {
        printf("# \"%s\" does not say \"%s\"\n", error_last(), want);
        test_bad = 1;
    }
    record_list_release(&l);
    buf_release(&where);
    buf_release(&b);
}

static void test_hostile_lines(void)
{
    static const struct {
        const char *line, *want;
    } bad[] = {
        {"{" REST, "bad JSON"},
        {"{" REST "} {}", "bad JSON"},
        {"[]", "not an object"},
        {"null", "not an object"},
        {"{" REST ",\"value\":1}", "'value' is there twice"},
        {"{" REST ",\"x\":1,\"x\":2}", "'x' is there twice"},
        {"{\"model\":\"m\",\"protocol\":\"p\",\"task\":\"t\",\"metric\":\"acc\",\"value\":1e999}",
         "not a result"},
        {"{\"model\":\"m\",\"protocol\":\"p\",\"task\":\"t\",\"metric\":\"acc\",\"value\":\"1\"}",
         "'value' is not a number"},
        {"{\"model\":\"m\",\"protocol\":\"p\",\"task\":\"t\",\"metric\":\"acc\"}", "not a result"},
        {"{" REST ",\"n\":-1}", "'n'"},
        {"{" REST ",\"seconds\":1e400}", "'seconds'"},
        {"{" REST ",\"git\":[]}", "'git' is not a string"},
        {"{" REST ",\"samples_ns\":[1,\"2\"]}", "'samples_ns'"},
        {"{" REST ",\"samples_ns\":{\"a\":1}}", "'samples_ns' is not a list"},
        {"{" REST ",\"git\":\"\\u001b[2J\"}", "'git' holds the control character 0x1b"},
        {"{" REST ",\"warnings\":[\"a\\nb\"]}", "'warnings' holds the control character 0x0a"},
        {"{" REST ",\"run_id\":\"0123456789abcdef\"}", "the record was changed"},
        {"{" REST ",\"git\":\"\xff\"}", "not UTF-8"},
        {"\xef\xbb\xbf{}x", "bad JSON"},
    };
    struct buf deep = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_refused(bad[i].line, strlen(bad[i].line), bad[i].want);
    check_refused("{\0}", 3, "control character 0x00 at byte 1");
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    check_refused(deep.data, deep.n, "bad JSON");
    buf_release(&deep);
}

int main(void)
{
    int fd = mkstemp(path);

    close(fd);
    error_silence(1);
    RUN(test_round_trip);
    RUN(test_unknown_fields);
    RUN(test_files_follow_each_other);
    RUN(test_hostile_lines);
    unlink(path);
    return 0;
}
