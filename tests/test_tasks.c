/* The seven tasks: two documents each in the publishers' form, with prompts derived by hand, and
 * the real sets' counts where they are at hand. */
#include "data/archive.h"
#include "data/sources.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/measure/dataset.h"
#include "tests/test.h"

/* Parses documents of a task by hand; dies of nothing: an empty set shows in the checks. */
static struct dataset parse(const char *name, const char *json, const char *labels)
{
    struct buf lines = {0}, gold = {0};
    struct dataset d;

    buf_adds(&lines, json);
    buf_adds(&gold, labels ? labels : "");
    if (dataset_parse(task_find(name), &lines, labels ? &gold : NULL, "t.jsonl", 0, &d) != 0)
        printf("# %s: %s\n", name, error_last());
    buf_release(&lines);
    buf_release(&gold);
    return d;
}

static void check_request(const struct document *d, size_t i, const char *context,
                          const char *continuation, size_t n_chars)
{
    CHECK(i < d->n_choices);
    CHECK_STR(d->requests[i].context, context);
    CHECK_STR(d->requests[i].continuation, continuation);
    CHECK(d->n_chars[i] == n_chars);
}

static void check_document(const struct document *d, size_t n_choices, int gold, const char *target,
                           const char *doc)
{
    char *got = cJSON_PrintUnformatted(d->doc);

    CHECK(d->n_choices == n_choices);
    CHECK(d->gold == gold);
    CHECK_STR(d->target, target);
    CHECK_STR(got, doc);
    free(got);
}

static void piqa(void)
{
    struct dataset d =
        parse("piqa",
              "{\"goal\": \"To boil caf\\u00e9 milk\", \"sol1\": \"use a pan\", \"sol2\": \"use a "
              "p\\u00e2t\\u00e9 \"}\n"
              "{\"goal\": \"tie\\na knot\", \"sol1\": \"pull\", \"sol2\": \"push\"}\n",
              "1\n0\n");

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Question: To boil caf\u00e9 milk\nAnswer:", " use a pan", 9);
    check_request(&d.docs[0], 1,
                  "Question: To boil caf\u00e9 milk\nAnswer:", " use a p\u00e2t\u00e9 ", 11);
    check_document(&d.docs[0], 2, 1, "1",
                   "{\"goal\":\"To boil caf\u00e9 milk\",\"sol1\":\"use a pan\",\"sol2\":\"use a "
                   "p\u00e2t\u00e9 \",\"label\":1}");
    check_request(&d.docs[1], 0, "Question: tie\na knot\nAnswer:", " pull", 4);
    check_document(&d.docs[1], 2, 0, "0",
                   "{\"goal\":\"tie\\na knot\",\"sol1\":\"pull\",\"sol2\":\"push\",\"label\":0}");
    dataset_release(&d);
}

static void hellaswag(void)
{
    struct dataset d = parse(
        "hellaswag",
        "{\"ind\": 24, \"activity_label\": \"Roof repair\", \"ctx_a\": \"A man is on a roof.\", "
        "\"ctx_b\": \"he NOW\", \"ctx\": \"A man is on a roof. he NOW\", \"split\": \"val\", "
        "\"split_type\": \"indomain\", \"label\": 3, \"endings\": [\"a\", \"b b\", \"c.\", "
        "\"d\"], \"source_id\": \"activitynet~v_x\"}\n"
        "{\"ind\": 31, \"activity_label\": \"Youth\", \"ctx_a\": \"[header] How to nap [title] "
        "Lie down. [step] Close  both eyes.\", \"split\": \"val\", \"split_type\": \"zeroshot\", "
        "\"label\": \"0\", \"endings\": [\"Rest [substeps] now.\", \" x \", \"y\", \"z\"], "
        "\"source_id\": \"wikihow~1\"}\n",
        NULL);

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Roof repair: A man is on a roof. He now", " a", 1);
    check_request(&d.docs[0], 1, "Roof repair: A man is on a roof. He now", " b b", 3);
    check_document(
        &d.docs[0], 4, 3, "3",
        "{\"ind\":24,\"activity_label\":\"Roof repair\",\"ctx_a\":\"A man is on a roof.\","
        "\"ctx_b\":\"he NOW\",\"ctx\":\"A man is on a roof. he NOW\",\"endings\":[\"a\",\"b b\","
        "\"c.\",\"d\"],\"source_id\":\"activitynet~v_x\",\"split\":\"val\",\"split_type\":"
        "\"indomain\",\"label\":\"3\",\"query\":\"Roof repair: A man is on a roof. He now\","
        "\"choices\":[\"a\",\"b b\",\"c.\",\"d\"],\"gold\":3}");
    /* Deleting "[header]" leaves two spaces, of which one pass makes one. */
    check_request(&d.docs[1], 0, "Youth: How to nap. Lie down. Close both eyes.", " Rest now.", 9);
    check_request(&d.docs[1], 1, "Youth: How to nap. Lie down. Close both eyes.", " x", 1);
    check_document(
        &d.docs[1], 4, 0, "0",
        "{\"ind\":31,\"activity_label\":\"Youth\",\"ctx_a\":\"[header] How to nap [title] Lie "
        "down. [step] Close  both eyes.\",\"ctx_b\":\"\",\"ctx\":\"\",\"endings\":[\"Rest "
        "[substeps] now.\",\" x \",\"y\",\"z\"],\"source_id\":\"wikihow~1\",\"split\":\"val\","
        "\"split_type\":\"zeroshot\",\"label\":\"0\",\"query\":\"Youth: How to nap. Lie down. "
        "Close both eyes.\",\"choices\":[\"Rest now.\",\"x\",\"y\",\"z\"],\"gold\":0}");
    dataset_release(&d);
}

/* P(text) of one string, by way of an ending; the caller frees it. */
static char *clean(const char *json_text)
{
    struct buf line = {0};
    struct dataset d;
    char *got;

    buf_addf(&line, "{\"label\": 0, \"endings\": [\"%s\", \"\", \"\", \"\"]}", json_text);
    d = parse("hellaswag", line.data, NULL);
    got = strdup(d.n == 1 ? d.docs[0].requests[0].continuation + 1 : "(failed)");
    buf_release(&line);
    dataset_release(&d);
    return got;
}

static void hellaswag_text(void)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"\\u3000\\u001f a b\\u00a0\\n", "a b"},
        {"[title] a [title] b", " a. b"}, /* the first has no space before it; no strip after */
        {"a [title]", "a. "},
        {"a  [title] b", "a . b"},
        {"a    b", "a  b"}, /* one pass: four become two, */
        {"a   b", "a  b"},  /* and three too */
        {"a [x] b", "a b"},
        {"[a [b] c]", " c]"},
        {"[[[[a]]]]", "]]]"},
        {"a[]b[", "ab["},
        {"[a\\nb] [c\\r\\u2028d]", "[a\nb] "},
        {"[a\\n[b]c", "[a\nc"},
        {"] [", "] ["},
        {"[ti[x]tle] a", "tle] a"},
        {"a [titl[x]e] b", "a e] b"},
        {"[Title] [TITLE]", " "},
        {"[caf\\u00e9]\\u200b", "\u200b"}, /* a zero-width space is none */
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *got = clean(cases[i][0]);

        CHECK_STR(got, cases[i][1]);
        free(got);
    }
}

static void winogrande(void)
{
    struct dataset d =
        parse("winogrande",
              "{\"qID\": \"q1\", \"sentence\": \"Ann met Eve so _ was glad_ \", \"option1\": "
              "\"Ann\", \"option2\": \"Eve\", \"answer\": \"2\"}\n"
              "{\"sentence\": \"The cup beat the pot as the _, was new.\", \"option1\": \"cup\", "
              "\"option2\": \"pot\", \"answer\": \"1\"}",
              NULL);

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Ann met Eve so Ann", " was glad_", 9);
    check_request(&d.docs[0], 1, "Ann met Eve so Eve", " was glad_", 9);
    check_document(&d.docs[0], 2, 1, "was glad_",
                   "{\"sentence\":\"Ann met Eve so _ was glad_ \",\"option1\":\"Ann\",\"option2\":"
                   "\"Eve\",\"answer\":\"2\"}");
    check_request(&d.docs[1], 1, "The cup beat the pot as the pot", " , was new.", 10);
    check_document(&d.docs[1], 2, 0, ", was new.",
                   "{\"sentence\":\"The cup beat the pot as the _, was new.\",\"option1\":\"cup\","
                   "\"option2\":\"pot\",\"answer\":\"1\"}");
    dataset_release(&d);
}

static void arc(void)
{
    struct dataset d =
        parse("arc_challenge",
              "{\"id\": \"Mercury_1\", \"question\": {\"stem\": \"What melts?\", \"choices\": "
              "[{\"text\": \"ice\", \"label\": \"1\"}, {\"text\": \"fire\", \"label\": \"2\"}, "
              "{\"text\": \"air\", \"label\": \"3\"}]}, \"answerKey\": \"1\"}\n"
              "{\"id\": \"M2\", \"question\": {\"stem\": \"Hot?\", \"choices\": [{\"text\": \"a\", "
              "\"label\": \"A\"}, {\"text\": \"b\", \"label\": \"B\"}, {\"text\": \"c\", "
              "\"label\": \"C\"}, {\"text\": \"d\", \"label\": \"D\"}, {\"text\": \"ee\", "
              "\"label\": \"E\"}]}, \"answerKey\": \"E\"}\n",
              NULL);

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Question: What melts?\nAnswer:", " ice", 3);
    check_request(&d.docs[0], 2, "Question: What melts?\nAnswer:", " air", 3);
    check_document(&d.docs[0], 3, 0, "0",
                   "{\"id\":\"Mercury_1\",\"question\":\"What melts?\",\"choices\":{\"text\":["
                   "\"ice\",\"fire\",\"air\"],\"label\":[\"1\",\"2\",\"3\"]},\"answerKey\":\"1\"}");
    check_request(&d.docs[1], 4, "Question: Hot?\nAnswer:", " ee", 2);
    CHECK(d.docs[1].n_choices == 5 && d.docs[1].gold == 4);
    CHECK_STR(d.docs[1].target, "4");
    CHECK(task_find("arc_easy")->parse == task_find("arc_challenge")->parse);
    dataset_release(&d);
}

static void openbookqa(void)
{
#define CHOICES                                                                                    \
    "\"choices\": [{\"text\": \"dogs\", \"label\": \"A\"}, {\"text\": \"cats\", \"label\": "       \
    "\"B\"}, {\"text\": \"owls\", \"label\": \"C\"}, {\"text\": \"bats\", \"label\": \"D\"}]"
    struct dataset d =
        parse("openbookqa",
              "{\"id\": \"7-980\", \"question\": {\"stem\": \"Who barks\", " CHOICES
              "}, \"answerKey\": \" A\"}\n"
              "{\"id\": \"7-981\", \"question\": {\"stem\": \"Who hangs upside down:\", " CHOICES
              "}, \"answerKey\": \"D\"}\n",
              NULL);

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Who barks", " dogs", 4);
    check_document(&d.docs[0], 4, 0, "0",
                   "{\"id\":\"7-980\",\"question_stem\":\"Who barks\",\"choices\":{\"text\":["
                   "\"dogs\",\"cats\",\"owls\",\"bats\"],\"label\":[\"A\",\"B\",\"C\",\"D\"]},"
                   "\"answerKey\":\" A\"}");
    check_request(&d.docs[1], 3, "Who hangs upside down:", " bats", 4);
    CHECK(d.docs[1].gold == 3);
    dataset_release(&d);
}

static void boolq(void)
{
    struct dataset d =
        parse("boolq",
              "{\"question\": \"is ice cold\", \"passage\": \"Ice -- Ice is frozen.\", \"idx\": 0, "
              "\"label\": true}\n"
              "{\"question\": \"do cows fly\", \"passage\": \"Cows walk.\", \"label\": false}\n",
              NULL);

    CHECK(d.n == 2);
    if (d.n != 2)
        return;
    check_request(&d.docs[0], 0, "Ice -- Ice is frozen.\nQuestion: is ice cold?\nAnswer:", " no",
                  2);
    check_request(&d.docs[0], 1, "Ice -- Ice is frozen.\nQuestion: is ice cold?\nAnswer:", " yes",
                  3);
    check_document(&d.docs[0], 2, 1, "1",
                   "{\"question\":\"is ice cold\",\"passage\":\"Ice -- Ice is frozen.\",\"idx\":0,"
                   "\"label\":1}");
    check_document(&d.docs[1], 2, 0, "0",
                   "{\"question\":\"do cows fly\",\"passage\":\"Cows walk.\",\"label\":0}");
    dataset_release(&d);
}

/* Reads and parses a task's whole set under data_dir; n documents or 0. */
static size_t load(const struct task *t, const char *data_dir, size_t n_expected)
{
    const struct source *s = source_find(t->set);
    struct buf lines = {0}, labels = {0};
    struct dataset d = {0};
    size_t n = 0;

    if (s && data_read(data_dir, t->set, s->archive, t->file, &lines) == 0 &&
        (!t->labels || data_read(data_dir, t->set, s->archive, t->labels, &labels) == 0) &&
        dataset_parse(t, &lines, t->labels ? &labels : NULL, t->file, n_expected, &d) == 0)
        n = d.n;
    dataset_release(&d);
    buf_release(&lines);
    buf_release(&labels);
    return n;
}

static void table(void)
{
    static const char *const names[] = {"piqa",          "hellaswag",  "winogrande", "arc_easy",
                                        "arc_challenge", "openbookqa", "boolq"};
    size_t i;

    for (i = 0; i < 7; i++) {
        CHECK(tasks[i] && tasks[i] == task_find(names[i]));
        CHECK(source_find(tasks[i]->set) != NULL);
    }
    CHECK(!tasks[7]);
    CHECK(!task_find("nope") && !task_find(""));
}

/* The folder's manifest states how many documents each of its sets has. */
static void demo_sets(void)
{
    cJSON *manifest = json_read("data/demo/manifest.json");
    const cJSON *counts = cJSON_GetObjectItemCaseSensitive(manifest, "counts");
    const struct task *const *t;
    int64_t n;

    for (t = tasks; *t; t++) {
        CHECK(json_int(counts, (*t)->name, "manifest", 1, 99999, &n) == 0);
        CHECK(load(*t, "data/demo", (size_t)n) == (size_t)n);
    }
    cJSON_Delete(manifest);
}

static void published_sets(void)
{
    static const size_t counts[] = {1838, 10042, 1267, 2376, 1172, 500, 3270};
    char mirror[4096];
    size_t i;

    snprintf(mirror, sizeof(mirror), "%s/mirror", test_shared());
    for (i = 0; tasks[i]; i++) {
        CHECK(tasks[i]->n_expected == counts[i]);
        CHECK(load(tasks[i], mirror, counts[i]) == counts[i]);
    }
}

int main(void)
{
    RUN(piqa);
    RUN(hellaswag);
    RUN(hellaswag_text);
    RUN(winogrande);
    RUN(arc);
    RUN(openbookqa);
    RUN(boolq);
    RUN(table);
    RUN(demo_sets);
    if (test_shared())
        RUN(published_sets);
    else
        SKIP("published_sets", "no shared reference data");
    return 0;
}
