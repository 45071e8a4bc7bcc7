/* A record: one flat row per metric, with everything needed to run it again and to judge it. It is
 * what `-o jsonl` writes, what results/ keeps and what report and compare read.
 *
 * A field that is not known is NaN or NULL and becomes null; nothing is made up. `value` is always
 * a finite number: a NaN never becomes a result. */
#ifndef DUO_MEASURE_RECORD_H
#define DUO_MEASURE_RECORD_H

#include <stddef.h>

#include "harness/base/buf.h"

struct record {
    char *run_id;    /* 16 hex digits, see record_id(); filled by records_add() where NULL */
    char *time;      /* ISO 8601, UTC, "2025-01-31T12:00:00Z": when the task began */
    char *git;       /* revision of the program */
    char *command;   /* "duo eval ...", quoted for a shell: what duo rerun runs again */
    char *host;      /* processor, clock, memory, system */
    char *build;     /* compiler and its options */
    char *libraries; /* files of those that numbers may depend on, with their versions */

    char *model;             /* folder or name as given */
    char *model_sha256;      /* of its content before pruning, 64 hex digits */
    char *tokenizer_sha256;  /* of the tokenizer's file */
    double n_params;         /* all parameters of the dense model */
    double n_linear_params;  /* those of the prunable linear layers, dense */
    double effective_params; /* measured: parameters that are there and not zero */

    char *method;            /* prune/'s name, "dense" for none */
    double weight_sparsity;  /* asked, fraction of the prunable weights */
    double weight_zeros;     /* measured, the same fraction: zero, or gone from a smaller model */
    double act_sparsity;     /* asked, fraction of a linear's inputs */
    double act_zeros;        /* measured: the share of the prunable weights that met a zero input */
    char *act_rule;          /* topk, threshold, wina */
    char *act_allocation;    /* greedy, file; NULL: the same share for all */
    char *act_ratios_sha256; /* of the shares, of file */
    char *act_part;          /* last-half; NULL: all tokens */
    char *nm;                /* "2:4" */
    double alpha;
    char *correct;                  /* score, update; NULL: both, or no alpha */
    double refit_beta, refit_steps; /* duogpt+ */
    char *order;                    /* act, natural */
    char *lazy;                     /* exact, reference */
    double damp;
    double block;
    char *calib;        /* c4:128x2048 */
    char *calib_sha256; /* of the ids */
    double seed;        /* a whole number up to 2^53 */
    char *rng;          /* pcg, python */

    char *protocol; /* lmeval-0.4, ... */
    char *backend, *device, *dtype;
    double threads;
    double limit; /* as given: documents, or a fraction below 1; NaN: the whole set */

    char *task, *version;
    char *data_sha256; /* of the file(s) read */
    double window;     /* perplexity: tokens of a window (S) */
    double bos;        /* 1 or 0: was BOS put before the text or the contexts */
    double n;          /* documents or windows scored */
    double n_total;    /* documents or windows in the set */
    double tokens;     /* tokens of all inputs, shared prefixes and resumed parts counted too */

    char *metric; /* acc, acc_norm, perplexity, kl_divergence, same_top1, ... */
    double value;
    double stderr_; /* "stderr" in files: the C library has that name */

    /* Against the dense model on the same documents or windows; measure/paired.h */
    char *baseline;                     /* run_id of the dense record */
    double diff, diff_stderr;           /* value - dense value; paired */
    double diff_low, diff_high;         /* accuracies: 95 % interval, paired bootstrap */
    double gained, lost, p_value;       /* accuracies: documents, McNemar's exact test */
    double log_ratio, log_ratio_stderr; /* perplexity: log(value / dense value); paired */

    double seconds;       /* of the task, the model's loading and pruning not counted */
    double prune_seconds; /* of pruning, calibration passes included */
    double prune_nbytes;  /* most of the device's memory meanwhile, the model itself included */
    char **warnings;
    size_t n_warnings;

    /* Speed records only: absent from the JSON of others. Their task is the work (linear_qkv,
     * layer, decode, prefill, windows), their value the tokens per second or the nanoseconds. */
    char *path;     /* dense: "own" (GEMV) or what the backend's linear() computes with; sparse:
                     * "columns", "nonzeros" (packed, of decoding), "rows" (parts
                     * removed), "sparse" (batches) */
    char *cache;    /* cold, warm: were the weights in the device's cache */
    double context; /* decode: tokens in the KV cache; prefill: of the prompt */

    double *samples_ns; /* in the order taken; per layer, or per token for what has tokens_per_s */
    size_t n_samples;
    double median_ns, mad_ns; /* MAD without a scale factor */
    double noise_pct;         /* 100 * 1.4826 mad_ns / median_ns */
    double outliers;          /* samples beyond 3 * 1.4826 MAD */
    double drift_pct;         /* later half of the samples against the earlier */
    char *stopped;            /* stable: the errors fell below the limit; time: it ran out before */
    double tokens_per_s;
    double bytes_moved;          /* per unit of median_ns: active weights, index, KV cache */
    double read_gbps;            /* measured in the same process: what the memory gives */
    double peak_gbps_pct;        /* 100 bytes_moved / median_ns / read_gbps */
    char *speedup_over;          /* the faster dense path */
    double speedup, speedup_err; /* over it; measure/bench.h has the formula */
    double speedup_other;        /* over the slower one */
    double scored_perplexity;    /* of the very weights that were timed */
    double scored_acc;           /* mean over the scored tasks, acc_norm where there is one */
    double compute_mhz, memory_mhz, watts, celsius; /* means while measuring */
    char *throttle; /* none, or what was seen: power, heat, hardware, joined by + */

    /* Records of task "layers" only: their metrics are those of measure/layer_probe.h, their value
     * is over all layers. */
    double *by_layer; /* the metric of each layer of the dense model; 1 where the layer is gone */
    size_t n_by_layer;
};

/* All unknown. */
void record_init(struct record *r);
void record_release(struct record *r);
void record_copy(struct record *to, const struct record *from); /* `to` is overwritten as is */

/* Replaces a string member by a copy: record_set(&r.task, "piqa"). NULL makes it unknown. Here and
 * in warnings, what readers refuse in a text is replaced as by text_clean() (base/text.h): a folder
 * may have any name. */
void record_set(char **member, const char *value);
void record_warn(struct record *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void record_set_samples(struct record *r, const double *ns, size_t n);
void record_set_by_layer(struct record *r, const double *values, size_t n);
/* Sets time to now. */
void record_stamp(struct record *r);

/* The first 16 hex digits of SHA-256 over the identity: the lines name="text" or name=number of
 * every known field of the groups MODEL, RECIPE, PLACE, TASK and WORK, in the table's order. What
 * is measured (value, stderr, seconds, zeros, warnings, the comparison with the dense run), the
 * time and the revision are not part of it, so the same question has the same id again, and a field
 * added later leaves old ids as they are. */
void record_id(const struct record *r, char out[17]);

/* The same over MODEL, RECIPE and PLACE: equal for the tasks and metrics of one cell of a table. */
void record_cell_id(const struct record *r, char out[17]);

/* Equal ids, without computing them. */
int record_same_cell(const struct record *a, const struct record *b);

/* Has it any speed field? */
int record_is_speed(const struct record *r);

/* Is it of each layer? */
int record_is_layers(const struct record *r);

/* Accuracies are shares of 1 and shown in per cent. */
int metric_is_accuracy(const struct record *r);
int metric_is_perplexity(const struct record *r);
/* "kl_divergence" and "same_top1": say how far a cell is from the dense one. */
int metric_is_divergence(const struct record *r);
/* From 0 to 1: the accuracies and same_top1. */
int metric_is_share(const struct record *r);

/* Refuses, naming task and metric: no task, metric, model or protocol; a value that is not finite
 * or that the metric cannot have; infinity, a fractional count, a share above 1, a time of nothing;
 * one end of an interval without the other. `where` begins the message, "" for nothing. 0 or
 * error(). */
int record_check(const struct record *r, const char *where);

/* Appends one line of JSON without the newline; numbers read back as the same bits. 0 or error(),
 * as record_check(). */
int record_to_json(const struct record *r, struct buf *out);

/* Strict: an unknown or repeated field, a wrong type, or a run_id that does not fit the identity is
 * error() beginning with `where`. A missing field is unknown. Initialises *out in every case. Files
 * are read by record_read.h. */
int record_from_json(const char *text, size_t nbytes, const char *where, struct record *out);

struct records {
    struct record *items;
    size_t n, cap;
};

/* Moves *r to the end of the list (r is left empty), with its run_id. 0, or error() as
 * record_check(), in which case r is untouched. */
int records_add(struct records *rs, struct record *r);
void records_release(struct records *rs);

#endif
