/* What the task files share: their declarations for the table, and the few steps by which every
 * parse() builds a document. Seen by this folder only. */
#ifndef DUO_TASKS_TASKS_H
#define DUO_TASKS_TASKS_H

#include "harness/measure/task.h"

extern const struct task task_piqa, task_hellaswag, task_winogrande, task_arc_easy,
    task_arc_challenge, task_openbookqa, task_boolq;

/* Appends one choice: the request (context, " " + choice) and the choice's code points. 0, or
 * error() if the document has TASK_MAX_CHOICES already. */
int document_add(struct document *d, const char *where, const char *context, const char *choice);

/* Sets gold, and target to its decimal form. */
void document_set_gold(struct document *d, int gold);

/* Members of d->doc, in the order of the calls. value: owned by the document from then on. */
void doc_add(struct document *d, const char *key, cJSON *value);
void doc_add_string(struct document *d, const char *key, const char *s);
void doc_add_int(struct document *d, const char *key, int v);

/* Copies a member that is only shown, not used: where it is absent, nothing happens. */
void doc_copy(struct document *d, const cJSON *line, const char *key);

/* AI2's form of a question, shared by ARC and OpenBookQA:
 *   {"id", "question": {"stem", "choices": [{"text", "label"}, ...]}, "answerKey"}
 * read into doc in the hub's form, {"id", STEM_KEY, "choices": {"text", "label"}, "answerKey"},
 * with the gold answer and one request per choice, whose context is the stem between prefix and
 * suffix. The number of choices must be from min to max. 0, or error(). */
int question_parse(const cJSON *line, const char *where, const char *stem_key, const char *prefix,
                   const char *suffix, size_t min, size_t max, struct document *out);

#endif
