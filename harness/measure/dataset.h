/* A task's documents out of the bytes of its files. Strict: a line that cannot be used fails the
 * whole set, so that the number of documents never shrinks silently. */
#ifndef DUO_MEASURE_DATASET_H
#define DUO_MEASURE_DATASET_H

#include <stddef.h>

#include "harness/base/buf.h"
#include "harness/measure/task.h"

struct dataset {
    struct document *docs;
    size_t n;
};

/* Parses one document per line of `lines` (JSON lines) and, for a task with a labels file, of
 * `labels` (else NULL). Lines end in "\n" only, which the last one may lack; none may be blank,
 * hold invalid UTF-8, a NUL, even as the escape \u0000, or a raw control character in a string.
 * path names the JSON file in messages; n_expected is the number of documents, 0 if not known.
 * 0, or error() "PATH line N: ..."; after that *out is zeroed. */
int dataset_parse(const struct task *t, const struct buf *lines, const struct buf *labels,
                  const char *path, size_t n_expected, struct dataset *out);

void dataset_release(struct dataset *d);

#endif
