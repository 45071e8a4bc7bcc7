/* What eval does: a model, prepared tasks, and the cells of a sweep over them. */
#ifndef DUO_CMD_RUN_H
#define DUO_CMD_RUN_H

#include "data/calib.h"
#include "harness/cmd/run_options.h"
#include "harness/measure/act_calib.h"
#include "harness/measure/divergence.h"
#include "harness/measure/evaluate.h"
#include "harness/measure/layer_probe.h"
#include "harness/measure/record.h"

/* One combination of the lists. */
struct cell {
    const struct pruner *method;
    double sparsity, act_sparsity;
};

struct run {
    struct run_options o;
    struct device *dev;
    struct comm *comm; /* --tensor-parallel: the devices of the run's processes; else NULL */
    struct checkpoint checkpoint;
    char model_sha256[65];
    struct tokenizer *tokenizer;
    struct model model;
    size_t n_shape_layers;         /* of the shape, of which --layers may run fewer */
    int pruned;                    /* the model's weights are not the checkpoint's */
    const struct cell *weights_of; /* the cell whose weights they are; NULL: unknown */
    const struct cell *failed;     /* the last cell that could not be pruned */
    struct calib calib;
    double *act_ratios; /* --act-ratios: n_layers x N_GROUPS; or NULL */
    char act_ratios_sha256[65];
    struct act_setting dealt; /* the shares under which the weights in memory were pruned, for a
                                 method that has them dealt out; else empty */
    struct act_setting act;   /* the rules of cell act_of */
    const struct cell *act_of;
    struct prepared tasks[MAX_LIST];
    struct cell cells[MAX_LIST * MAX_LIST];
    size_t n_cells;
    struct journal *journal;
    struct session session;
    int keep_dense;      /* asked for before run_open(): `dense`, if there is memory */
    double weight_zeros; /* of the last cell, measured */
    double prune_seconds, prune_nbytes; /* of the weights in memory; NaN: not pruned, not known */
    struct model dense; /* --divergence: a second model, never pruned, and its session */
    struct session dense_session;
    struct layer_probe probe; /* --per-layer: the dense model's layers */
    struct records records;
    /* several processes: what each was given of a cell, and the cells on their way, n_cells */
    struct share share;
    struct outcome *outcomes;
    struct scores *base; /* of the first cell once it is there, if it is the baseline: per task */
};

/* Opens everything that options name, checks it, reads and tokenises the tasks, and makes the
 * calibration set, so that what is wrong is found before the long work. 0 or error(). r->o is the
 * caller's; r is to be closed in either case. */
int run_open(struct run *r);
void run_close(struct run *r);

/* Prunes, scores and adds the cell's records; after the baseline, also compared with it. 0 or
 * error(). */
int run_cell(struct run *r, size_t cell);

/* Prunes the model for the cell, if its weights are not those already. 0 or error(). */
int run_prune(struct run *r, const struct cell *c);

/* Pruned layers that are lost, for neither host memory nor --layer-dir has them. */
size_t run_dropped(const struct run *r);

/* Runs all cells, those on the same weights one after another, and after each what follows it (may
 * be NULL): 0 or error(); its weights are in memory, its records are those from number `first` on.
 * A cell that fails leaves no records, its error is printed, and the others go on; only without the
 * baseline nothing does. The records are in the order of the cells. 0, or -1 where some failed,
 * which then are named once more. */
int run_cells(struct run *r, int (*follow)(struct run *r, size_t cell, size_t first, void *arg),
              void *arg);

/* Before the cell is pruned: if its method has the share of activations dealt out, finds r->dealt on
 * the model, which is dense. 0 or error(). */
int run_deal_out(struct run *r, const struct cell *c);

/* Sets the rules of the cell's activations, calibrated for the weights as they are; once for a
 * cell. 0 or error(). */
int run_set_rules(struct run *r, const struct cell *c);

/* --act-ratios: reads the file, whose mean becomes the sparsity of the cells. 0 or error(). */
int run_open_ratios(struct run *r);

/* Would pruning for a and for b, in one run, give the same weights? */
int run_same_weights(const struct cell *a, const struct cell *b);

/* What the options and the cell say to the pruner. */
struct prune_options run_prune_options(const struct run *r, const struct cell *c);

/* The fields of the group RECIPE; of `r` the options alone are used, and the hashes of what is
 * open. */
void run_recipe(const struct run *r, const struct cell *c, struct record *out);

/* The fields of the groups MODEL, RECIPE and PLACE of a cell's records. */
void run_identity(const struct run *r, const struct cell *c, struct record *out);

/* --save: the type in which the linears are saved. */
enum dtype run_saved_dtype(const struct run *r);

/* Add the records of one task, and of the divergence over text p, to r->records. `cell` has the
 * identity and the measured zeros. 0 or error(). */
int run_add_scores(struct run *r, const struct record *cell, size_t task, const struct scores *s);
int run_add_divergence(struct run *r, const struct record *cell, const struct prepared *p,
                       const struct divergence *d);

/* --per-layer: figures is N_LAYER_METRICS x n_layers, of layer_probe_run(). 0 or error(). */
int run_add_layers(struct run *r, const struct record *cell, const double *figures);

/* Writes one task's samples to DIR/CELL/samples_TASK_ID.jsonl. 0 or error(). */
int run_log_samples(const struct run *r, const struct record *cell, const struct prepared *p,
                    const struct scores *s);

#endif
