/* One cell on its way from the journal to its records. In a run of several processes rank 0 has it
 * whole, and the others what they run of it. */
#ifndef DUO_CMD_RUN_OUTCOME_H
#define DUO_CMD_RUN_OUTCOME_H

#include "harness/cmd/run.h"

/* What the model gives apart from scores; NaN: not known. */
struct measured {
    double weight_zeros, act_zeros, n_params_left, prune_seconds, prune_nbytes;
};

/* Of the groups of linears of the (pruned) model, all layers together. */
struct group_sizes {
    size_t width[N_GROUPS], weights[N_GROUPS];
};

struct outcome {
    const struct cell *cell; /* NULL: not open */
    size_t number;
    struct record identity;
    char key[65];                /* in the journal */
    struct scores *scores;       /* one per task */
    struct evaluation *evals;    /* one per task */
    const struct prepared *text; /* of the divergence, where asked for; else NULL */
    struct divergence divergence;
    struct divergence_run diverging;
    double *layers; /* figures of the layers, N_LAYER_METRICS x n_layers, or NULL */
    struct measured measured;
    struct group_sizes groups;
    int whole;           /* the journal had everything, so that pruning can be skipped too */
    int n_ended;         /* processes that are done with their share */
    int failed;          /* in another process */
    char complaint[512]; /* of the first in which it did: its rank, machine and error */
};

/* Says that the cell begins; where: what follows, such as ", on rank 2". */
void outcome_say(const struct run *r, size_t cell, const char *where);

/* Everything that the journal has. 0 or error(); *o is to be closed in either case. The addresses
 * in *o are used until then: it does not move. */
int outcome_open(struct run *r, size_t cell, struct outcome *o);
void outcome_close(struct run *r, struct outcome *o);

/* Prunes, sets the rules, and runs this process's share of what is missing. 0 or error(). */
int outcome_compute(struct run *r, struct outcome *o);

/* All results are in: the accuracies, what was measured, the journal. 0 or error(). */
int outcome_finish(struct run *r, struct outcome *o);

/* The accuracies alone, where the journal had everything. 0 or error(). */
int outcome_judge(struct run *r, struct outcome *o);

/* Adds the records and writes the samples. 0 or error(). */
int outcome_report(struct run *r, struct outcome *o);

#endif
