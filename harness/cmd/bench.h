/* Between the files of duo bench. */
#ifndef DUO_CMD_BENCH_H
#define DUO_CMD_BENCH_H

#include "harness/cmd/run.h"
#include "harness/measure/bench_work.h"

/* What the scoring of a cell gave; NaN: not scored. */
struct bench_scores {
    double perplexity, acc;
};

/* From the records that the cell's scoring added, r->records from number `first` on. */
struct bench_scores bench_scores_of(const struct run *r, size_t first);

/* Adds a record for each path of one work to r->records. dense: what the dense model scored. 0 or
 * error(). */
int bench_add_records(struct run *r, const struct cell *c, const struct bench_models *m,
                      const struct bench_outcome *o, struct bench_scores scored,
                      struct bench_scores dense);

#endif
