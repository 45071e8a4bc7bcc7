/* Reading files of records (JSON lines) for report, compare and rerun. A file may come from another
 * version of the program or from anywhere: fields that this version does not know are kept as JSON,
 * known ones must have their type, and what is not a record is an error that names file and line.
 * Missing and null are unknown. */
#ifndef DUO_MEASURE_RECORD_READ_H
#define DUO_MEASURE_RECORD_READ_H

#include <stddef.h>

#include "harness/base/json.h"
#include "harness/measure/record.h"

struct record_line {
    struct record rec; /* the known fields; run_id is filled in */
    cJSON *unknown;    /* an object of the other fields */
    char *path;        /* where it was read, */
    size_t line;       /* from 1 */
};
struct record_list {
    struct record_line *items;
    size_t n, cap;
};

/* Appends every record of a file, blank lines left out; a second file may follow. 0, or error()
 * beginning with "PATH line N": not JSON, not UTF-8, a field twice or of a wrong type, control
 * characters in a text, a record without task, metric, model, protocol or finite value, and a
 * run_id that the fields do not give (not checked where there are unknown fields, which may be part
 * of it). What was read before the error stays in the list. */
int record_list_read(struct record_list *l, const char *path);
void record_list_release(struct record_list *l);

/* A field by its name in files ("task", "stderr"), known or not. Unknown, null or of another type:
 * NULL, NaN (truths are 1 and 0), NULL with *n = 0. Borrowed. The arrays are `samples_ns` and
 * `by_layer`. */
const char *record_string(const struct record_line *l, const char *field);
double record_number(const struct record_line *l, const char *field);
const double *record_samples(const struct record_line *l, const char *field, size_t *n);

#endif
