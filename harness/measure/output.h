/* What the commands print: a list of records as a table (md), csv, json or jsonl. */
#ifndef DUO_MEASURE_OUTPUT_H
#define DUO_MEASURE_OUTPUT_H

#include "harness/base/buf.h"
#include "harness/measure/doc.h"
#include "harness/measure/record.h"

enum output_format {
    OUTPUT_MD,
    OUTPUT_CSV,
    OUTPUT_JSON,
    OUTPUT_JSONL,
};

/* "md", "csv", "json", "jsonl"; another name is error() that lists them. */
int output_format_parse(const char *name, enum output_format *out);

/* Writes the whole list, once, to stdout (path NULL) or atomically to a file. 0 or error(); a full
 * disk or a closed pipe is an error too. */
int output_write(const struct records *rs, enum output_format format, const char *path);

/* The same into memory. The list's records have passed record_check() (records_add() sees to it).
 *
 * md: one block per model, protocol, backend, device, dtype and limit: the identity line, one row
 * per cell and one column per task and metric (accuracy in per cent; perplexity as it is), the mean
 * accuracy, then the standard errors as a second table, where records carry a comparison a third
 * one against the dense run, notes and warnings. The best value of a column among two or more
 * pruned rows carries a star. Valid GitHub markdown, aligned in a terminal.
 *
 * csv: a line of names, then one line per record, all fields; doc_csv_text() has the escapes.
 * Unknown is empty; warnings are joined by "; ", lists of numbers by a space.
 *
 * json: lm-eval's results file: results.TASK."acc,none", "acc_stderr,none", ..., versions,
 * n-samples, n-shot, higher_is_better, config, git_hash, date; and against_dense.TASK.METRIC with
 * the comparison's fields where there is one. Several cells (pruning recipes, models) become an
 * array "cells" of such objects.
 *
 * jsonl: record_to_json() and a newline each. */
int output_render(const struct records *rs, enum output_format format, struct buf *out);

/* json, for output_render(). */
void output_json(const struct records *rs, struct buf *out);

/* Appends what md shows to a document, for whatever form. */
void output_doc(const struct record *const *records, size_t n, struct doc *out);

#endif
