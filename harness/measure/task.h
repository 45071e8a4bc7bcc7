/* The seam between the scorer and the tasks: a zero-shot multiple-choice task describes how one
 * document becomes requests and a gold answer; reading, scoring and averaging live elsewhere. */
#ifndef DUO_MEASURE_TASK_H
#define DUO_MEASURE_TASK_H

#include <cjson/cJSON.h>
#include <stddef.h>

#define TASK_MAX_CHOICES 8

/* One loglikelihood request: the continuation (its leading space included) given the context.
 * Both are NUL-terminated UTF-8 owned by the document. */
struct request {
    char *context;
    char *continuation;
};

struct document {
    size_t n_choices;
    int gold; /* index of the right choice */
    struct request requests[TASK_MAX_CHOICES];
    size_t n_chars[TASK_MAX_CHOICES]; /* code points of the choice, without the delimiter space */
    cJSON *doc;     /* the document as lm-eval's sample files show it (its `doc`), in its key order */
    char *target;   /* str(doc_to_target) as lm-eval's sample files show it */
};

void document_release(struct document *d);

enum task_metrics {
    TASK_ACC = 1,
    TASK_ACC_NORM = 2,
};

struct task {
    const char *name;    /* lm-eval's name */
    const char *version; /* lm-eval's version of the task's YAML */
    const char *summary;
    const char *set;     /* data set: folder under --data and name in the table of sources */
    const char *file;    /* JSON lines, path inside the set (or inside the set's archive) */
    const char *labels;  /* a second file with one gold label a line, or NULL */
    size_t n_expected;   /* documents in the published split */
    unsigned metrics;    /* enum task_metrics */
    /* line: the parsed JSON of one line; label: that line of the labels file or NULL; where: how an
     * error message begins. Fills *out (zeroed by the caller; released by the caller also on
     * failure). 0, or error() naming the field. */
    int (*parse)(const cJSON *line, const char *label, const char *where, struct document *out);
};

/* NULL-terminated, in the order of the paper's tables. Defined in tasks/tasks.c; the only symbol
 * of that folder that others see. */
extern const struct task *const tasks[];

/* The task of that name or NULL, without a message. */
const struct task *task_find(const char *name);

#endif
