/* Every task's parser: the first byte chooses the task; what comes after a line "%" are labels. */
#include "harness/base/text.h"
#include "harness/measure/dataset.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct dataset *d)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct document *doc = &d->docs[i];

        FUZZ_ASSERT(doc->n_choices >= 2 && doc->n_choices <= TASK_MAX_CHOICES);
        FUZZ_ACCEPTED(doc->gold >= 0 && (size_t)doc->gold < doc->n_choices);
        for (size_t k = 0; k < doc->n_choices; k++) {
            const struct request *r = &doc->requests[k];

            FUZZ_ASSERT(r->context && r->continuation && r->continuation[0]);
            FUZZ_ASSERT(utf8_valid(r->context, strlen(r->context)) < 0);
            FUZZ_ASSERT(utf8_valid(r->continuation, strlen(r->continuation)) < 0);
        }
    }
}

void fuzz_tasks(const uint8_t *data, size_t n)
{
    struct buf lines = {0}, labels = {0};
    const struct task *t;
    const uint8_t *cut;
    struct dataset d;
    size_t n_tasks = 0;

    while (tasks[n_tasks])
        n_tasks++;
    if (n == 0)
        return;
    t = tasks[data[0] % n_tasks];
    data++;
    n--;
    cut = memmem(data, n, "\n%\n", 3);
    buf_add(&lines, data, cut ? (size_t)(cut - data) : n);
    if (cut)
        buf_add(&labels, cut + 3, n - (size_t)(cut - data) - 3);
    if (dataset_parse(t, &lines, cut || t->labels ? &labels : NULL, "file.jsonl", 0, &d) == 0)
        check(&d);
    dataset_release(&d);
    buf_release(&lines);
    buf_release(&labels);
}
