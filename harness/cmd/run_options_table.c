/* The table of options of the commands that run a model. Numbers are read strictly. */
#include "harness/cmd/run_options_table.h"

#include "harness/cmd/parse.h"

/* ---- options whose value is a text, a number, a size or a word: a line each */

#define SETTER(name, assignment)                                                                   \
    static int name(struct run_options *o, const char *s)                                          \
    {                                                                                              \
        (void)s;                                                                                   \
        assignment;                                                                                \
        return 0;                                                                                  \
    }
SETTER(set_model, o->model = s)
SETTER(set_tokenizer, o->tokenizer = s)
SETTER(set_data, o->data_dir = s)
SETTER(set_calib, o->calib = s)
SETTER(set_save_calib, o->save_calib = s)
SETTER(set_resume, o->resume = s)
SETTER(set_save, o->save = s)
SETTER(set_out, o->out = s)
SETTER(set_log_samples, o->log_samples = s)
SETTER(set_layer_dir, o->layer_dir = s)
SETTER(set_prompt_text, o->prompt_text = s)
SETTER(set_baseline, o->baseline = 1)
SETTER(set_divergence, o->divergence = 1)
SETTER(set_per_layer, o->per_layer = 1)
SETTER(set_no_bos, o->no_bos = 1)
SETTER(set_quiet, o->quiet = 1)
SETTER(set_tensor_parallel, o->tensor_parallel = 1)

/* A number of [min, max]. */
#define NUMBER(name, option, min, max, field)                                                      \
    static int name(struct run_options *o, const char *s)                                          \
    {                                                                                              \
        return parse_number(option, s, min, max, &o->field);                                       \
    }
NUMBER(set_alpha, "--alpha", 0, 100, alpha)
NUMBER(set_refit_beta, "--refit-beta", 0, 1, refit_beta)
NUMBER(set_damp, "--damp", 0, 100, damp)
NUMBER(set_time_limit, "--time-limit", 0, 1e6, time_limit)
NUMBER(set_temperature, "--temperature", 0, 100, temperature)

/* A whole number of [min, max]. */
#define WHOLE(name, option, min, max, field)                                                       \
    static int name(struct run_options *o, const char *s)                                          \
    {                                                                                              \
        uint64_t v = 0;                                                                            \
        int rc = parse_whole(option, s, min, max, &v);                                             \
                                                                                                   \
        if (rc == 0)                                                                               \
            o->field = (__typeof__(o->field))v;                                                    \
        return rc;                                                                                 \
    }
WHOLE(set_layers, "--layers", 1, 100000, n_layers)
WHOLE(set_refit_steps, "--refit-steps", 0, 10000, refit_steps)
WHOLE(set_block, "--block", 1, 65536, block)
WHOLE(set_seed, "--seed", 0, 9007199254740992.0, seed)
WHOLE(set_threads, "--threads", 1, 1024, threads)
WHOLE(set_window, "--window", 2, 1 << 24, window)
WHOLE(set_prompt, "--prompt", 1, 1 << 24, prompt)
WHOLE(set_n_new, "--n-tokens", 1, 1e7, n_new)

/* A size in bytes. */
#define SIZE(name, option, field)                                                                  \
    static int name(struct run_options *o, const char *s)                                          \
    {                                                                                              \
        return parse_nbytes(option, s, &o->field);                                                 \
    }
SIZE(set_memory_limit, "--memory-limit", memory_limit)
SIZE(set_host_limit, "--host-limit", host_limit)
SIZE(set_shard_size, "--shard-size", saving.shard_nbytes)

/* One of some words, each at its value of the enum. */
#define WORD(name, option, field, ...)                                                             \
    static int name(struct run_options *o, const char *s)                                          \
    {                                                                                              \
        static const char *const known[] = {__VA_ARGS__};                                          \
        int i = 0, rc = parse_word(option, s, known, sizeof(known) / sizeof(known[0]), &i);        \
                                                                                                   \
        o->field = (__typeof__(o->field))i;                                                        \
        return rc;                                                                                 \
    }
WORD(set_weights, "--weights", residence, [RESIDENCE_AUTO] = "auto", [RESIDENCE_DEVICE] = "device",
     [RESIDENCE_STREAM] = "stream")
WORD(set_share, "--share",
     share, [SHARE_AUTO] = "auto", [SHARE_REQUESTS] = "requests", [SHARE_CELLS] = "cells")
WORD(set_correct, "--correct",
     correct, [CORRECT_ALL] = "all", [CORRECT_SCORE] = "score", [CORRECT_UPDATE] = "update")

/* ---- the table */

#define ALL (RUN_EVAL | RUN_BENCH | RUN_PRUNE)
#define SCORING (RUN_EVAL | RUN_BENCH)
#define EVERY (ALL | RUN_GENERATE)

const struct run_option run_option_table[] = {
    {'m', "model", "DIR", "Hugging Face folder, or org/name once fetched; default: the demo",
     set_model, 0, EVERY},
    {0, "shape", "NAME",
     "instead of a model: synthetic weights of llama2-7b, llama2-13b,\n" HELP_INDENT
     "llama3-8b, ..., drawn from --seed; for measuring speed",
     options_shape, 0, SCORING},
    {0, "layers", "N", "only the first N layers of the shape", set_layers, 0, SCORING},
    {0, "tokenizer", "DIR", "take the tokenizer from there; default: the model's", set_tokenizer, 0,
     EVERY},
    {'t', "tasks", "LIST", "comma list: wikitext2, piqa, ..., or all (see duo list tasks)",
     options_tasks, 0, ALL},
    {0, "data", "DIR", "the data sets' folder; default: what duo fetch fetched", set_data, 0,
     EVERY},
    {0, NULL, NULL, "pruning", NULL, 0, EVERY},
    {0, "method", "LIST", "dense, magnitude, wanda, sparsegpt, duogpt, duogpt+, ...; default dense",
     options_methods, 0, EVERY},
    {0, "sparsity", "LIST", "share of zero weights in every linear, such as 0.5",
     options_sparsities, TAKES_SPARSITY, EVERY},
    {0, "nm", "N:M", "N zeros in every M consecutive weights of a row instead", options_nm,
     TAKES_SPARSITY, EVERY},
    {0, "act-sparsity", "LIST", "share of each linear's inputs dropped at run time; default 0",
     options_act_sparsities, 0, EVERY},
    {0, "act-rule", "NAME",
     "how inputs are dropped: topk (exact, per token; default), threshold\n" HELP_INDENT
     "(TEAL, calibrated), wina (top-k, weighed by the weights' columns)",
     options_act_rule, 0, EVERY},
    {0, "act-allocation", "NAME",
     "uniform (default), or greedy in each layer (TEAL, calibrated;\n" HELP_INDENT
     "default of duogpt+)",
     options_act_allocation, 0, EVERY},
    {0, "act-part", "NAME", "all (default), or last-half: only that of each prompt is sparse",
     options_act_part, 0, EVERY},
    {0, "act-ratios", "FILE", "shares per layer and group instead of --act-sparsity, as JSON",
     options_act_ratios, 0, EVERY},
    {0, "save-act-ratios", "FILE", "write the shares that greedy found", options_save_act_ratios, 0,
     EVERY},
    {0, "baseline", NULL, "score the dense model first, and compare every other cell with it",
     set_baseline, 0, SCORING},
    {0, "divergence", NULL,
     "KL divergence and same-top-1 rate against the dense model, over the\n" HELP_INDENT
     "windows of wikitext2; with --baseline; keeps a second, dense model",
     set_divergence, 0, RUN_EVAL},
    {0, "per-layer", NULL,
     "records of each layer too: zeros, and errors over the first ids of\n" HELP_INDENT
     "wikitext2 against the dense model's layers",
     set_per_layer, 0, SCORING},
    {0, "calib", "SPEC", "c4:NxS, c4-joined:NxS, self:NxS or FILE.i32 (N windows of S ids)",
     set_calib, TAKES_CALIB, EVERY},
    {0, "save-calib", "FILE", "write the calibration ids (.i32) and their provenance",
     set_save_calib, TAKES_CALIB, EVERY},
    {0, "seed", "N", "of everything random; default 0", set_seed, 0, EVERY},
    {0, "rng", "NAME", "pcg (default), or python for published c4 sets", options_rng, TAKES_CALIB,
     EVERY},
    {0, "alpha", "X", "weight of the residual's correction; default 0.125", set_alpha, TAKES_ALPHA,
     EVERY},
    {0, "correct", "PART", "what the residual corrects: all (default), score or update",
     set_correct, TAKES_ALPHA, EVERY},
    {0, "refit-beta", "X", "duogpt+: share of the residual that kept weights make up; default 0",
     set_refit_beta, TAKES_REFIT, EVERY},
    {0, "refit-steps", "N",
     "duogpt+: solve for the kept weights by so many steps of conjugate\n" HELP_INDENT
     "gradients, such as 20; default 0: as the walk leaves them",
     set_refit_steps, TAKES_REFIT, EVERY},
    {0, "damp", "X", "damping, times the mean diagonal; default 0.01", set_damp, TAKES_OBS, EVERY},
    {0, "order", "NAME", "columns: act (by input norm) or natural", options_order, TAKES_OBS,
     EVERY},
    {0, "lazy", "NAME", "lazy update: exact (default) or reference", options_lazy, TAKES_OBS,
     EVERY},
    {0, "block", "N", "columns per block; default 128", set_block, TAKES_OBS, EVERY},
    {0, NULL, NULL, "running", NULL, 0, EVERY},
    {0, "protocol", "NAME", "lmeval-0.4 (default) or lmeval-0.4.9.2", options_protocol, 0, ALL},
    {0, "limit", "K|F", "first K documents or windows, or the share F < 1", options_limit, 0, ALL},
    {0, "window", "S", "ids per perplexity window; default 2048", set_window, 0, ALL},
    {0, "no-bos", NULL, "perplexity without BOS at the start of the text", set_no_bos, 0, ALL},
    {0, "backend", "NAME", "cpu, cuda, or auto (default)", options_backend, 0, EVERY},
    {0, "dtype", "NAME", "auto (default), f32, f16, bf16", options_dtype, 0, EVERY},
    {0, "weights", "WHERE",
     "device, stream (in host memory, copied layer by layer), or auto\n" HELP_INDENT
     "(default): stream where they do not fit the device",
     set_weights, 0, EVERY},
    {0, "memory-limit", "SIZE",
     "use at most so much of the device's memory, such as 24GiB: layers and\n" HELP_INDENT
     "hidden states that do not fit then are streamed",
     set_memory_limit, 0, EVERY},
    {0, "host-limit", "SIZE",
     "streamed layers in host memory; others are read again each time;\n" HELP_INDENT
     "default: three quarters of what is free",
     set_host_limit, 0, EVERY},
    {0, "layer-dir", "DIR",
     "stream the weights, and keep each pruned layer there once it is done:\n" HELP_INDENT
     "the same command goes on from them after a kill",
     set_layer_dir, 0, RUN_EVAL | RUN_PRUNE},
    {0, "tensor-parallel", NULL,
     "under mpirun -np N: the N processes hold one model together, a part\n" HELP_INDENT
     "on each device; results are those of one",
     set_tensor_parallel, 0, RUN_EVAL | RUN_BENCH | RUN_GENERATE},
    {0, "threads", "N", "CPU threads; default: all", set_threads, 0, EVERY},
    {0, "batch-tokens", "N", "tokens per forward pass; default auto; scores do not depend on it",
     options_batch_tokens, 0, ALL},
    {0, "resume", "FILE", "journal: keep raw results here, take those that are there", set_resume,
     0, RUN_EVAL},
    {0, "share", "WHAT",
     "under mpirun: requests (every cell by all processes), cells (each by one\n" HELP_INDENT
     "process), or auto (default): cells where there are enough to prune",
     set_share, 0, RUN_EVAL},
    {0, NULL, NULL, "measuring", NULL, 0, RUN_BENCH},
    {0, "what", "LIST",
     "linears, layer, decode, prefill, windows (perplexity's rate), prune\n" HELP_INDENT
     "(pruning alone); default: the first five; the demo: without windows",
     options_what, 0, RUN_BENCH},
    {0, "context", "LIST", "tokens in the cache while decoding; default 512", options_contexts, 0,
     RUN_BENCH},
    {0, "prompt", "N", "tokens of the prompt of prefill; default 512", set_prompt, 0, RUN_BENCH},
    {0, "time-limit", "S", "seconds for each work, if not stable before; default 1, demo 0.25",
     set_time_limit, 0, RUN_BENCH},
    {0, NULL, NULL, "generating", NULL, 0, RUN_GENERATE},
    {'p', "prompt", "TEXT", "the text that is continued; default: none, BOS alone", set_prompt_text,
     0, RUN_GENERATE},
    {'n', "n-tokens", "N", "tokens to generate, unless the text ends before; default 128",
     set_n_new, 0, RUN_GENERATE},
    {0, "temperature", "T", "of the draw from the softmax; default 0: the likeliest token",
     set_temperature, 0, RUN_GENERATE},
    {0, "packed", "KIND",
     "the linears for decoding: rows (dense), columns (inputs of 0 skipped),\n" HELP_INDENT
     "nonzeros (both skipped), auto (default): by the zeros that are there",
     options_packed, 0, RUN_GENERATE},
    {0, NULL, NULL, "saving", NULL, 0, RUN_PRUNE},
    {0, "save", "DIR", "the new folder; it must not be there, or be empty", set_save, 0, RUN_PRUNE},
    {0, "save-dtype", "NAME", "as-read (default: each tensor's own type), f32, f16, bf16",
     options_save_dtype, 0, RUN_PRUNE},
    {0, "save-format", "NAME",
     "dense (default), or sparse-bitmask: zeros of the linears not stored, as\n" HELP_INDENT
     "the compressed-tensors library does",
     options_save_format, 0, RUN_PRUNE},
    {0, "shard-size", "SIZE", "most bytes of a file, such as 500MB or 2GiB; default 5GB",
     set_shard_size, 0, RUN_PRUNE},
    {0, NULL, NULL, "output", NULL, 0, EVERY},
    {'o', "format", "NAME", "md (default), csv, json (lm-eval's form), jsonl (records)",
     options_format, 0, ALL},
    {0, "out", "FILE", "write there, not to stdout", set_out, 0, ALL},
    {0, "log-samples", "DIR",
     "one line per document, in lm-eval's form: a folder per cell, such as\n" HELP_INDENT
     "DIR/duogpt-w0.5-a0.5-0123abcd/samples_TASK_*.jsonl, a file per task",
     set_log_samples, 0, SCORING},
    {0, "quiet", NULL, "no progress lines", set_quiet, 0, EVERY},
};

const size_t n_run_options = sizeof(run_option_table) / sizeof(run_option_table[0]);
