/* What eval does: a model, prepared tasks, and the cells of a sweep over them. */
#ifndef DUO_CMD_RUN_H
#define DUO_CMD_RUN_H

#include "data/calib.h"
#include "harness/cmd/run_options.h"
#include "harness/measure/evaluate.h"
#include "harness/measure/record.h"

/* One combination of the lists. */
struct cell {
    const struct pruner *method;
    double sparsity, act_sparsity;
};

struct run {
    struct run_options o;
    struct device *dev;
    struct checkpoint checkpoint;
    char model_sha256[65];
    struct tokenizer *tokenizer;
    struct model model;
    int pruned; /* the model's weights are not the checkpoint's */
    struct calib calib;
    struct prepared tasks[MAX_LIST];
    struct cell cells[MAX_LIST * MAX_LIST];
    size_t n_cells;
    struct journal *journal;
    struct session session;
    struct records records;
    struct scores *base; /* of the first cell, if it is the baseline: one per task */
};

/* Opens everything that options name, checks it, reads and tokenises the tasks, and makes the
 * calibration set, so that what is wrong is found before the long work. 0 or error(). r->o is the
 * caller's; r is to be closed in either case. */
int run_open(struct run *r);
void run_close(struct run *r);

/* Prunes, scores and adds the cell's records. 0 or error(). */
int run_cell(struct run *r, size_t cell);

/* The fields of the groups MODEL, RECIPE and PLACE of a cell's records. */
void run_identity(const struct run *r, const struct cell *c, struct record *out);

#endif
