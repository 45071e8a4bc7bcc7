/* What a data set's reader refuses, and how it says so. */
#include "harness/base/error.h"
#include "harness/measure/dataset.h"
#include "tests/test.h"

#define PIQA "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\"}"
#define BOOLQ "{\"question\": \"q\", \"passage\": \"p\", \"label\": true}"
#define ENDINGS "\"endings\": [\"a\", \"b\", \"c\", \"d\"]"
#define AB "{\"text\": \"t\", \"label\": \"A\"}, {\"text\": \"u\", \"label\": \"B\"}"

/* Parses literal bytes; labels may be NULL. */
static int parse(const char *name, const char *text, size_t nbytes, const char *labels,
                 size_t n_expected, struct dataset *out)
{
    struct buf lines = {0}, gold = {0};
    int rc;

    buf_add(&lines, text, nbytes);
    buf_adds(&gold, labels ? labels : "");
    rc =
        dataset_parse(task_find(name), &lines, labels ? &gold : NULL, "d/t.jsonl", n_expected, out);
    buf_release(&lines);
    buf_release(&gold);
    return rc;
}

/* Must fail with nothing left over and a message that begins so. */
static void refuses(const char *name, const char *text, size_t nbytes, const char *labels,
                    size_t n_expected, const char *message)
{
    struct dataset d;

    CHECK(parse(name, text, nbytes, labels, n_expected, &d) == -1);
    CHECK(!d.docs && d.n == 0);
    if (strncmp(error_last(), message, strlen(message)) != 0)
        CHECK_STR(error_last(), message);
}

#define REFUSES(name, text, message) refuses(name, text, sizeof(text) - 1, NULL, 0, message)

static void accepts(const char *name, const char *text, const char *labels, size_t n)
{
    struct dataset d;

    CHECK(parse(name, text, strlen(text), labels, n, &d) == 0);
    CHECK(d.n == n);
    dataset_release(&d);
    CHECK(!d.docs && d.n == 0);
    dataset_release(&d);
}

static void line_ends(void)
{
    accepts("boolq", BOOLQ "\n" BOOLQ "\n", NULL, 2);
    accepts("boolq", BOOLQ "\n" BOOLQ, NULL, 2);
    accepts("boolq", BOOLQ "\r\n\t " BOOLQ " \r\n", NULL, 2);
    accepts("piqa", PIQA "\n" PIQA, "1\r\n 0 \n", 2);
    /* Only \n ends a line. */
    accepts("boolq", "{\"question\": \"a\u2028b\xc2\x85\", \"passage\": \"\", \"label\": false}",
            NULL, 1);
    REFUSES("boolq", BOOLQ "\n\n" BOOLQ "\n", "d/t.jsonl line 2: blank line");
    REFUSES("boolq", BOOLQ "\n \r\n" BOOLQ "\n", "d/t.jsonl line 2: blank line");
    REFUSES("boolq", BOOLQ "\n\n", "d/t.jsonl line 2: blank line");
}

static void counts(void)
{
    refuses("boolq", BOOLQ "\n" BOOLQ, strlen(BOOLQ "\n" BOOLQ), NULL, 3,
            "d/t.jsonl: 2 documents where 3 are expected");
    refuses("boolq", BOOLQ "\n" BOOLQ, strlen(BOOLQ "\n" BOOLQ), NULL, 1,
            "d/t.jsonl: 2 documents where 1 are expected");
    REFUSES("boolq", "", "d/t.jsonl: no documents");
}

static void labels(void)
{
    const size_t n = strlen(PIQA "\n" PIQA);

    refuses("piqa", PIQA "\n" PIQA, n, "0\n", 0,
            "d/t.jsonl: 2 documents but 1 labels in 'valid-labels.lst'");
    refuses("piqa", PIQA "\n" PIQA, n, "0\n1\n1\n", 2,
            "d/t.jsonl: 2 documents but 3 labels in 'valid-labels.lst'");
    refuses("piqa", PIQA "\n" PIQA, n, "", 0,
            "d/t.jsonl: 2 documents but 0 labels in 'valid-labels.lst'");
    refuses("piqa", PIQA "\n" PIQA, n, NULL, 0,
            "d/t.jsonl: the labels file 'valid-labels.lst' is missing");
    refuses("piqa", PIQA "\n" PIQA, n, "0\n\n", 0, "valid-labels.lst line 2: no valid label");
    refuses("piqa", PIQA "\n" PIQA, n, "0\n\xff\n", 0, "valid-labels.lst line 2: no valid label");
    refuses("piqa", PIQA "\n" PIQA, n, "0\n2\n", 0,
            "d/t.jsonl line 2: the label is '2', not 0 or 1");
    refuses("piqa", PIQA "\n" PIQA, n, "0\n01\n", 0,
            "d/t.jsonl line 2: the label is '01', not 0 or 1");
}

static void bytes(void)
{
    REFUSES("boolq", BOOLQ "\n{\"question\": \"\xc3\x28\"}",
            "d/t.jsonl line 2: invalid UTF-8 at byte 14");
    REFUSES("boolq", "{\"question\": \"a\\u0000b\", \"passage\": \"\", \"label\": true}",
            "d/t.jsonl line 1: a string holds a NUL (\\u0000) at byte 15");
    REFUSES("boolq", "{\"question\": \"a\0b\", \"passage\": \"\", \"label\": true}",
            "d/t.jsonl line 1: control character 0x00 at byte 15");
    REFUSES("boolq", BOOLQ "\0", "d/t.jsonl line 1: control character 0x00 at byte 48");
    REFUSES("boolq", "{\"question\": \"a\tb\", \"passage\": \"\", \"label\": true}",
            "d/t.jsonl line 1: control character 0x09 at byte 15");
    REFUSES("boolq", "{\"question\": \"\\ud800\", \"passage\": \"\", \"label\": true}",
            "d/t.jsonl line 1: bad JSON at byte ");
    /* A backslash and "u0000" behind it, and an escaped quote before a tab between members. */
    accepts("boolq", "{\"question\": \"\\\\u0000\\\"\",\t\"passage\": \"\", \"label\": true}", NULL,
            1);
}

static void json(void)
{
    REFUSES("boolq", "[1]", "d/t.jsonl line 1: not a JSON object");
    REFUSES("boolq", BOOLQ "\n" BOOLQ BOOLQ,
            "d/t.jsonl line 2: bad JSON: something follows the value at byte 48");
    REFUSES("boolq", "{\"question\": \"a\"", "d/t.jsonl line 1: bad JSON at byte ");
}

static void fields(void)
{
    refuses("piqa", "{\"goal\": \"g\", \"sol1\": \"a\"}", 26, "0", 0,
            "d/t.jsonl line 1: no field 'sol2'");
    REFUSES("boolq", "{\"question\": \"q\", \"passage\": \"p\"}",
            "d/t.jsonl line 1: no field 'label'");
    REFUSES("boolq", "{\"question\": \"q\", \"passage\": 7, \"label\": true}",
            "d/t.jsonl line 1: field 'passage' is not a string");
    REFUSES("boolq", "{\"question\": \"q\", \"passage\": \"p\", \"label\": \"true\"}",
            "d/t.jsonl line 1: field 'label' is not true or false");
    REFUSES(
        "winogrande",
        "{\"sentence\": \"no blank\", \"option1\": \"a\", \"option2\": \"b\", \"answer\": \"1\"}",
        "d/t.jsonl line 1: field 'sentence' has no '_'");
    REFUSES("winogrande",
            "{\"sentence\": \"_ x\", \"option1\": \"a\", \"option2\": \"b\", \"answer\": \"\"}",
            "d/t.jsonl line 1: field 'answer' is '', not 1 or 2");
    REFUSES("hellaswag", "{\"label\": 4, " ENDINGS "}",
            "d/t.jsonl line 1: field 'label' is 4, not a whole number from 0 to 3");
    REFUSES("hellaswag", "{\"label\": \"\", " ENDINGS "}",
            "d/t.jsonl line 1: field 'label' is '', not 0 to 3");
    REFUSES("hellaswag", "{" ENDINGS "}", "d/t.jsonl line 1: no field 'label'");
    REFUSES("hellaswag", "{\"label\": 0}", "d/t.jsonl line 1: no field 'endings'");
    REFUSES("hellaswag", "{\"label\": 0, \"endings\": [\"a\"]}",
            "d/t.jsonl line 1: field 'endings' has 1 members, not 4");
    REFUSES("hellaswag", "{\"label\": 0, \"endings\": [\"a\", 1, \"\", \"\"]}",
            "d/t.jsonl line 1: field 'endings' holds something that is not a string");
    REFUSES("hellaswag", "{\"label\": 0, \"ctx_a\": {}, " ENDINGS "}",
            "d/t.jsonl line 1: field 'ctx_a' is not a string");
}

static void questions(void)
{
    REFUSES("arc_easy", "{\"question\": \"flat\", \"answerKey\": \"A\"}",
            "d/t.jsonl line 1: field 'question' is missing or not an object");
    REFUSES("arc_easy", "{\"question\": {\"stem\": \"s\", \"choices\": [" AB "]}}",
            "d/t.jsonl line 1: no field 'answerKey'");
    REFUSES("arc_easy",
            "{\"question\": {\"stem\": \"s\", \"choices\": [" AB "]}, \"answerKey\": \"A\"}",
            "d/t.jsonl line 1: field 'choices' has 2 members, not 3 to 5");
    REFUSES("openbookqa",
            "{\"question\": {\"stem\": \"s\", \"choices\": [" AB "," AB "," AB
            "]}, \"answerKey\": \"A\"}",
            "d/t.jsonl line 1: field 'choices' has 6 members, not 4 to 4");
    REFUSES("openbookqa",
            "{\"question\": {\"stem\": \"s\", \"choices\": [" AB "," AB "]}, \"answerKey\": \"C\"}",
            "d/t.jsonl line 1: field 'answerKey' is 'C', which is no choice's label");
    REFUSES("openbookqa",
            "{\"question\": {\"stem\": \"s\", \"choices\": [" AB ",{\"text\": \"x\"}, 1]}, "
            "\"answerKey\": \"A\"}",
            "d/t.jsonl line 1: no field 'label'");
}

int main(void)
{
    error_silence(1);
    RUN(line_ends);
    RUN(counts);
    RUN(labels);
    RUN(bytes);
    RUN(json);
    RUN(fields);
    RUN(questions);
    return 0;
}
