/* The seam between the sweep over the model and the pruning methods. An unstructured method says
 * which statistics it needs and prunes one group of linears; running the model and collecting live
 * in sweep.c. A structured one makes the whole model smaller, with what restructure.h offers. */
#ifndef DUO_MEASURE_PRUNER_H
#define DUO_MEASURE_PRUNER_H

#include "harness/base/progress.h"
#include "harness/model/model.h"

/* Statistics of one group's input, float32 on the device, sums over n_tokens. X: sparsified input
 * in the pruned model's stream, tokens x k; dX = X~ - X with X~ the dense model's input. */
enum pruner_needs {
    NEED_SUM_SQUARES = 1, /* sum_squares: column sums of X^2 */
    NEED_GRAM = 2,        /* gram: X^T X */
    NEED_RESIDUAL = 4, /* cross: dX^T X; residual: column sums of dX^2 (takes the dense stream) */
    NEED_WINDOWS = 8,  /* the calibration windows themselves (structured methods) */
};

struct layer_stats {
    size_t n_tokens;
    struct tensor sum_squares; /* 1 x k */
    struct tensor gram;        /* k x k, full */
    struct tensor cross;       /* k x k */
    struct tensor residual;    /* 1 x k */
};

/* What the residual corrects (alpha): for telling its two parts apart. */
enum correct_part { CORRECT_ALL, CORRECT_SCORE, CORRECT_UPDATE };

/* The recipe, METHOD section 4. NaN and 0 where an option does not apply to the method. */
struct prune_options {
    double sparsity;   /* share of zeros per matrix; structured: of the decoder's linear parameters,
                          the share that goes */
    size_t nm_n, nm_m; /* N:M: n zeros in m consecutive columns; 0: unstructured */
    double act_sparsity;      /* run-time top-k, known to methods that calibrate on sparse inputs */
    const double *act_ratios; /* its shares per layer and group, n_layers x N_GROUPS; NULL: equal */
    double alpha, damp;
    enum correct_part correct; /* the choice of weights, or the update of those kept; or both */
    double refit_beta;         /* share of the residual that kept weights make up for */
    size_t refit_steps;        /* of conjugate gradients */
    int order_act;             /* columns by diag(H), descending; else as they are */
    int lazy_exact;            /* V = values before pruning; else after */
    size_t block;
};

/* One group of one layer: its matrices share the input and so the statistics. */
struct prune_job {
    struct device *dev;
    const struct prune_options *options;
    const struct layer_stats *stats;
    struct tensor w[3]; /* float32, n_out x k each: pruned in place */
    struct comm *comm;  /* w are this process's rows of the matrices; NULL: they are whole */
    const char *names[3];
    size_t n_w;
    size_t layer;
};

/* The whole model, for a structured method. */
struct restructure_job {
    struct model *m; /* as loaded, dense rules; its weights are on the device */
    const struct prune_options *options;
    const int32_t *ids; /* n_windows x window */
    size_t n_windows, window;
    struct progress progress; /* of parameters removed: the method adds to it */
};

/* Options that a method knows; naming another is a usage error. */
enum pruner_takes {
    TAKES_SPARSITY = 1,
    TAKES_CALIB = 2,
    TAKES_OBS = 4,    /* damp, order, lazy, block */
    TAKES_ALPHA = 8,  /* alpha */
    TAKES_REFIT = 16, /* refit_beta, refit_steps */
};

struct pruner {
    const char *name;
    const char *summary;
    unsigned needs; /* enum pruner_needs; 0: no calibration */
    unsigned takes; /* enum pruner_takes */
    int sequential; /* 1: group after group on sparse inputs, later ones seeing earlier ones pruned;
                       0: all groups of a layer from one pass with dense inputs */
    int order_act;  /* the default order */
    double alpha;   /* the default */
    int deals_out;  /* 1: the shares of the activations are dealt out by default: greedy in each
                       layer, on the dense model, before the sweep that then calibrates on them */
    /* Unstructured. 0, or error() naming layer and linear. Call pruner_run(). */
    int (*prune)(struct prune_job *job);
    /* Structured, else NULL; called for a sparsity above 0. 0, or error(). */
    int (*restructure)(struct restructure_job *job);
};

/* Runs the method on one group, after its statistics are found to be finite. 0, or error() naming
 * layer and linear. */
int pruner_run(const struct pruner *p, struct prune_job *job);

/* NULL-terminated; defined in prune/pruners.c, the only symbol of that folder that others see. */
extern const struct pruner *const pruners[];

/* By name, or NULL after error() that lists the known ones. */
const struct pruner *pruner_find(const char *name);

#endif
