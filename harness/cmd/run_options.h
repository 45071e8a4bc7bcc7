/* The options of commands that prune and run a model. */
#ifndef DUO_CMD_RUN_OPTIONS_H
#define DUO_CMD_RUN_OPTIONS_H

#include <stdint.h>

#include "harness/measure/output.h"
#include "harness/measure/protocol.h"
#include "harness/measure/pruner.h"
#include "harness/measure/task.h"
#include "harness/model/save.h"

#define MAX_LIST 64

/* The commands that take these options, as bits. */
enum run_command { RUN_EVAL = 1, RUN_BENCH = 2, RUN_PRUNE = 4, RUN_GENERATE = 8 };

/* What several processes share out between them. */
enum share_mode { SHARE_AUTO, SHARE_REQUESTS, SHARE_CELLS };

/* What bench times, as bits. */
enum run_what {
    WHAT_LINEARS = 1,
    WHAT_LAYER = 2,
    WHAT_DECODE = 4,
    WHAT_PREFILL = 8,
    WHAT_WINDOWS = 16,
    WHAT_ALL = 31,
    WHAT_PRUNE = 32, /* pruning alone: nothing is timed after it */
};

struct run_options {
    enum run_command command;
    char *command_line; /* all words, for records; NULL where it cannot be a record's text */
    const char *model, *data_dir;
    const char *shape;     /* synthetic weights of this shape instead of a model */
    const char *tokenizer; /* folder of the tokenizer; NULL: the model's */
    size_t n_layers;       /* of the shape; 0: all */
    enum residence residence;
    size_t memory_limit, host_limit; /* bytes; 0: what is there */
    const char *layer_dir;           /* where pruned layers are kept, or NULL */
    int demo; /* the embedded model: its data and calibration are the defaults */

    const struct task *tasks[MAX_LIST]; /* NULL: wikitext2 */
    size_t n_tasks;

    const struct pruner *methods[MAX_LIST];
    double sparsities[MAX_LIST],
        act_sparsities[MAX_LIST]; /* of activations: -1: act_ratios' mean */
    size_t n_methods, n_sparsities, n_act_sparsities;
    size_t nm_n, nm_m;
    enum act_kind act_rule; /* of all cells with sparse activations */
    int act_greedy;         /* 1: their share is dealt out in each layer; 0: the same everywhere;
                               -1: as the method says */
    int act_last_half;      /* only the last half of each sequence is sparse */
    const char *act_ratios, *save_act_ratios; /* files of shares, or NULL */
    double refit_beta;
    size_t refit_steps;
    enum correct_part correct;
    double alpha, damp; /* NaN: the method's default */
    int order;          /* 1 act, 0 natural, -1 the method's default */
    int lazy_exact;
    size_t block;
    int baseline;   /* the dense model first, and every cell against it */
    int divergence; /* KL and same-top-1 against the dense model */
    int per_layer;  /* records of each layer */
    const char *calib;
    const char *save_calib;
    uint64_t seed;
    int python_rng;

    const char *backend, *dtype;
    int tensor_parallel; /* the run's processes hold one model together */
    int threads;
    size_t batch_tokens; /* 0: auto */
    double limit;        /* 0: all */
    const struct protocol *protocol;
    size_t window;
    int no_bos;         /* perplexity without BOS at the start */
    const char *resume; /* journal file, or NULL */
    enum share_mode share;

    /* bench */
    unsigned what;
    size_t contexts[MAX_LIST], n_contexts; /* tokens in the cache while decoding */
    size_t prompt;
    double time_limit; /* seconds for each work */

    /* prune */
    const char *save; /* folder */
    struct save_options saving;

    /* generate */
    const char *prompt_text;
    size_t n_new;
    double temperature;
    int packed; /* PACKED_AUTO or enum packed_kind */

    enum output_format format;
    const char *out, *log_samples;
    int quiet;
};

/* Parses; the strings point into argv. 0; 1 when help was printed; -1 after error(). */
int run_options_parse(struct run_options *o, int argc, char **argv);

/* Is a share of activations dealt out for this method? */
int run_options_deals_out(const struct run_options *o, const struct pruner *method);

/* Do the rules of the activations need the calibration set? */
int run_options_act_calibrates(const struct run_options *o);

/* Finds the model and data folders where the options do not name them: the embedded demo, or what
 * was fetched. 0 or error(). */
int run_options_locate(struct run_options *o);

#endif
