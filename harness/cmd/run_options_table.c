/* The options of the commands that run a model: the table, and what each does with its value.
 * Numbers are read strictly. */
#include "harness/cmd/run_options_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/cmd/parse.h"
#include "harness/model/synthetic.h"

/* ---- values */

/* Calls item() for each part of a comma list. */
static int each_item(const char *list, int (*item)(struct run_options *o, const char *s),
                     struct run_options *o)
{
    char *copy = xstrdup(list), *p = copy;
    int rc = 0;

    while (p && rc == 0) {
        char *comma = strchr(p, ',');

        if (comma)
            *comma++ = 0;
        rc = item(o, p);
        p = comma;
    }
    free(copy);
    return rc;
}

static int full(const char *name, size_t n)
{
    return n == MAX_LIST ? error("%s: more than %d values", name, MAX_LIST) : 0;
}

/* What takes any text, or none. */
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
SETTER(set_baseline, o->baseline = 1)
SETTER(set_divergence, o->divergence = 1)
SETTER(set_per_layer, o->per_layer = 1)
SETTER(set_no_bos, o->no_bos = 1)
SETTER(set_quiet, o->quiet = 1)
SETTER(set_layer_dir, o->layer_dir = s)
SETTER(set_tensor_parallel, o->tensor_parallel = 1)

static int set_shape(struct run_options *o, const char *s)
{
    struct llama_config unused;

    o->shape = s;
    return synthetic_config(&unused, s);
}

static int set_weights(struct run_options *o, const char *s)
{
    static const char *const known[] = {
        [RESIDENCE_AUTO] = "auto", [RESIDENCE_DEVICE] = "device", [RESIDENCE_STREAM] = "stream"};
    int i = 0, rc = parse_word("--weights", s, known, 3, &i);

    o->residence = (enum residence)i;
    return rc;
}

static int set_memory_limit(struct run_options *o, const char *s)
{
    return parse_nbytes("--memory-limit", s, &o->memory_limit);
}

static int set_host_limit(struct run_options *o, const char *s)
{
    return parse_nbytes("--host-limit", s, &o->host_limit);
}

static int set_layers(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--layers", s, 1, 100000, &v) != 0)
        return -1;
    o->n_layers = v;
    return 0;
}

static int set_share(struct run_options *o, const char *s)
{
    static const char *const known[] = {
        [SHARE_AUTO] = "auto", [SHARE_REQUESTS] = "requests", [SHARE_CELLS] = "cells"};
    int i = 0, rc = parse_word("--share", s, known, 3, &i);

    o->share = (enum share_mode)i;
    return rc;
}

static int add_task_named(struct run_options *o, const struct task *t)
{
    for (size_t i = 0; i < o->n_tasks; i++)
        if (o->tasks[i] == t)
            return error("-t: '%s' is there twice", t ? t->name : "wikitext2");
    if (full("-t", o->n_tasks))
        return -1;
    o->tasks[o->n_tasks++] = t;
    return 0;
}

static int add_task(struct run_options *o, const char *s)
{
    struct buf known = {0};
    int rc = 0;

    if (strcmp(s, "wikitext2") == 0)
        return add_task_named(o, NULL);
    if (task_find(s))
        return add_task_named(o, task_find(s));
    if (strcmp(s, "all") == 0) {
        rc = add_task_named(o, NULL);
        for (int i = 0; tasks[i] && rc == 0; i++)
            rc = add_task_named(o, tasks[i]);
        return rc;
    }
    buf_adds(&known, "all, wikitext2");
    for (int i = 0; tasks[i]; i++)
        buf_addf(&known, ", %s", tasks[i]->name);
    rc = error("no task '%s'; known: %s", s, buf_str(&known));
    buf_release(&known);
    return rc;
}

static int set_tasks(struct run_options *o, const char *s)
{
    return each_item(s, add_task, o);
}

static int add_method(struct run_options *o, const char *s)
{
    const struct pruner *p = pruner_find(s);

    if (!p || full("--method", o->n_methods))
        return -1;
    o->methods[o->n_methods++] = p;
    return 0;
}

static int set_methods(struct run_options *o, const char *s)
{
    return each_item(s, add_method, o);
}

static int add_sparsity(struct run_options *o, const char *s)
{
    return full("--sparsity", o->n_sparsities) ||
                   parse_number("--sparsity", s, 0, 0.999, &o->sparsities[o->n_sparsities++])
               ? -1
               : 0;
}

static int set_sparsities(struct run_options *o, const char *s)
{
    return each_item(s, add_sparsity, o);
}

static int add_act_sparsity(struct run_options *o, const char *s)
{
    return full("--act-sparsity", o->n_act_sparsities) ||
                   parse_number("--act-sparsity", s, 0, 0.999,
                                &o->act_sparsities[o->n_act_sparsities++])
               ? -1
               : 0;
}

static int set_act_sparsities(struct run_options *o, const char *s)
{
    return each_item(s, add_act_sparsity, o);
}

static int set_alpha(struct run_options *o, const char *s)
{
    return parse_number("--alpha", s, 0, 100, &o->alpha);
}

static int set_correct(struct run_options *o, const char *s)
{
    static const char *const known[] = {
        [CORRECT_ALL] = "all", [CORRECT_SCORE] = "score", [CORRECT_UPDATE] = "update"};
    int i = 0, rc = parse_word("--correct", s, known, 3, &i);

    o->correct = (enum correct_part)i;
    return rc;
}

static int set_refit_beta(struct run_options *o, const char *s)
{
    return parse_number("--refit-beta", s, 0, 1, &o->refit_beta);
}

static int set_refit_steps(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--refit-steps", s, 0, 10000, &v) != 0)
        return -1;
    o->refit_steps = v;
    return 0;
}

static int set_damp(struct run_options *o, const char *s)
{
    return parse_number("--damp", s, 0, 100, &o->damp);
}

static int choose(const char *name, const char *s, const char *zero, const char *one, int *out)
{
    if (strcmp(s, zero) != 0 && strcmp(s, one) != 0)
        return error("%s: '%s' is neither %s nor %s", name, s, one, zero);
    *out = strcmp(s, one) == 0;
    return 0;
}

static int set_order(struct run_options *o, const char *s)
{
    return choose("--order", s, "natural", "act", &o->order);
}

static int set_lazy(struct run_options *o, const char *s)
{
    return choose("--lazy", s, "reference", "exact", &o->lazy_exact);
}

static int set_rng(struct run_options *o, const char *s)
{
    return choose("--rng", s, "pcg", "python", &o->python_rng);
}

static int set_block(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--block", s, 1, 65536, &v) != 0)
        return -1;
    o->block = v;
    return 0;
}

static int set_seed(struct run_options *o, const char *s)
{
    return parse_whole("--seed", s, 0, 9007199254740992.0, &o->seed);
}

static int set_backend(struct run_options *o, const char *s)
{
    struct buf known = {0};
    int found = strcmp(s, "auto") == 0;

    o->backend = s;
    buf_adds(&known, "auto");
    for (int i = 0; backends[i]; i++) {
        found |= strcmp(backends[i]->name, s) == 0;
        buf_addf(&known, ", %s", backends[i]->name);
    }
    if (!found)
        error("no backend '%s' in this build; known: %s", s, buf_str(&known));
    buf_release(&known);
    return found ? 0 : -1;
}

static int set_dtype(struct run_options *o, const char *s)
{
    static const char *const known[] = {"auto", "f32", "f16", "bf16"};
    int unused;

    o->dtype = s;
    return parse_word("--dtype", s, known, 4, &unused);
}

static int set_threads(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--threads", s, 1, 1024, &v) != 0)
        return -1;
    o->threads = (int)v;
    return 0;
}

static int set_batch_tokens(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (strcmp(s, "auto") == 0)
        return 0;
    if (parse_whole("--batch-tokens", s, 1, 1 << 24, &v) != 0)
        return -1;
    o->batch_tokens = v;
    return 0;
}

static int set_limit(struct run_options *o, const char *s)
{
    if (parse_number("--limit", s, 0, 1e12, &o->limit) != 0)
        return -1;
    if (o->limit <= 0 || (o->limit >= 1 && o->limit != floor(o->limit)))
        return error("--limit: %s is neither a number of documents nor a share below 1", s);
    return 0;
}

static int set_protocol(struct run_options *o, const char *s)
{
    o->protocol = protocol_find(s);
    return o->protocol ? 0 : -1;
}

static int set_window(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--window", s, 2, 1 << 24, &v) != 0)
        return -1;
    o->window = v;
    return 0;
}

static int set_format(struct run_options *o, const char *s)
{
    return output_format_parse(s, &o->format);
}

static int set_save_dtype(struct run_options *o, const char *s)
{
    static const char *const known[] = {"as-read", "f32", "f16", "bf16"};
    static const int dtypes[] = {SAVE_AS_READ, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    int i = 0, rc = parse_word("--save-dtype", s, known, 4, &i);

    o->saving.dtype = dtypes[i];
    return rc;
}

static int set_save_format(struct run_options *o, const char *s)
{
    int bitmask = 0;

    if (choose("--save-format", s, "dense", "sparse-bitmask", &bitmask) != 0)
        return -1;
    o->saving.format = bitmask ? SAVE_BITMASK : SAVE_DENSE;
    return 0;
}

static int set_shard_size(struct run_options *o, const char *s)
{
    return parse_nbytes("--shard-size", s, &o->saving.shard_nbytes);
}

static int add_what(struct run_options *o, const char *s)
{
    static const char *const known[] = {"linears", "layer",   "decode",
                                        "prefill", "windows", "prune"};
    int i = 0, rc = parse_word("--what", s, known, 6, &i);

    if (rc == 0)
        o->what |= 1u << i;
    return rc;
}

static int set_what(struct run_options *o, const char *s)
{
    return each_item(s, add_what, o);
}

static int add_context(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (full("--context", o->n_contexts) || parse_whole("--context", s, 1, 1 << 24, &v) != 0)
        return -1;
    o->contexts[o->n_contexts++] = v;
    return 0;
}

static int set_contexts(struct run_options *o, const char *s)
{
    return each_item(s, add_context, o);
}

static int set_prompt(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (parse_whole("--prompt", s, 1, 1 << 24, &v) != 0)
        return -1;
    o->prompt = v;
    return 0;
}

static int set_time_limit(struct run_options *o, const char *s)
{
    return parse_number("--time-limit", s, 0, 1e6, &o->time_limit);
}

static int set_prompt_text(struct run_options *o, const char *s)
{
    o->prompt_text = s;
    return 0;
}

static int set_n_new(struct run_options *o, const char *s)
{
    uint64_t n = 0;

    if (parse_whole("--n-tokens", s, 1, 1e7, &n) != 0)
        return -1;
    o->n_new = (size_t)n;
    return 0;
}

static int set_temperature(struct run_options *o, const char *s)
{
    return parse_number("--temperature", s, 0, 100, &o->temperature);
}

static int set_packed(struct run_options *o, const char *s)
{
    static const char *const names[] = {"auto", "rows", "columns", "nonzeros"};

    for (int i = 0; i < 4; i++)
        if (strcmp(s, names[i]) == 0) {
            o->packed = i - 1; /* PACKED_AUTO, then enum packed_kind */
            return 0;
        }
    return error("--packed: '%s' is not auto, rows, columns or nonzeros", s);
}

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
     set_shape, 0, SCORING},
    {0, "layers", "N", "only the first N layers of the shape", set_layers, 0, SCORING},
    {0, "tokenizer", "DIR", "take the tokenizer from there; default: the model's", set_tokenizer, 0,
     EVERY},
    {'t', "tasks", "LIST", "comma list: wikitext2, piqa, ..., or all (see duo list tasks)",
     set_tasks, 0, ALL},
    {0, "data", "DIR", "the data sets' folder; default: what duo fetch fetched", set_data, 0,
     EVERY},
    {0, NULL, NULL, "pruning", NULL, 0, EVERY},
    {0, "method", "LIST", "dense, magnitude, wanda, sparsegpt, duogpt, duogpt+, ...; default dense",
     set_methods, 0, EVERY},
    {0, "sparsity", "LIST", "share of zero weights in every linear, such as 0.5", set_sparsities,
     TAKES_SPARSITY, EVERY},
    {0, "nm", "N:M", "N zeros in every M consecutive weights of a row instead", options_nm,
     TAKES_SPARSITY, EVERY},
    {0, "act-sparsity", "LIST", "share of each linear's inputs dropped at run time; default 0",
     set_act_sparsities, 0, EVERY},
    {0, "act-rule", "NAME",
     "how inputs are dropped: topk (exact, per token; default), threshold\n" HELP_INDENT
     "(TEAL, calibrated), wina (top-k, weighed by the weights' columns)",
     options_act_rule, 0, EVERY},
    {0, "act-allocation", "NAME", "uniform (default), or greedy in each layer (TEAL, calibrated;\n" HELP_INDENT
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
    {0, "rng", "NAME", "pcg (default), or python for published c4 sets", set_rng, TAKES_CALIB,
     EVERY},
    {0, "alpha", "X", "weight of the residual's correction; default 0.125", set_alpha, TAKES_ALPHA,
     EVERY},
    {0, "correct", "PART", "what the residual corrects: all (default), score or update",
     set_correct, TAKES_ALPHA, EVERY},
    {0, "refit-beta", "X", "duogpt+: share of the residual that kept weights make up; default 0",
     set_refit_beta, TAKES_REFIT, EVERY},
    {0, "refit-steps", "N", "duogpt+: solve for the kept weights by so many steps of conjugate\n" HELP_INDENT
     "gradients, such as 20; default 0: as the walk leaves them", set_refit_steps,
     TAKES_REFIT, EVERY},
    {0, "damp", "X", "damping, times the mean diagonal; default 0.01", set_damp, TAKES_OBS, EVERY},
    {0, "order", "NAME", "columns: act (by input norm) or natural", set_order, TAKES_OBS, EVERY},
    {0, "lazy", "NAME", "lazy update: exact (default) or reference", set_lazy, TAKES_OBS, EVERY},
    {0, "block", "N", "columns per block; default 128", set_block, TAKES_OBS, EVERY},
    {0, NULL, NULL, "running", NULL, 0, EVERY},
    {0, "protocol", "NAME", "lmeval-0.4 (default) or lmeval-0.4.9.2", set_protocol, 0, ALL},
    {0, "limit", "K|F", "first K documents or windows, or the share F < 1", set_limit, 0, ALL},
    {0, "window", "S", "ids per perplexity window; default 2048", set_window, 0, ALL},
    {0, "no-bos", NULL, "perplexity without BOS at the start of the text", set_no_bos, 0, ALL},
    {0, "backend", "NAME", "cpu, cuda, or auto (default)", set_backend, 0, EVERY},
    {0, "dtype", "NAME", "auto (default), f32, f16, bf16", set_dtype, 0, EVERY},
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
     set_batch_tokens, 0, ALL},
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
     set_what, 0, RUN_BENCH},
    {0, "context", "LIST", "tokens in the cache while decoding; default 512", set_contexts, 0,
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
     set_packed, 0, RUN_GENERATE},
    {0, NULL, NULL, "saving", NULL, 0, RUN_PRUNE},
    {0, "save", "DIR", "the new folder; it must not be there, or be empty", set_save, 0, RUN_PRUNE},
    {0, "save-dtype", "NAME", "as-read (default: each tensor's own type), f32, f16, bf16",
     set_save_dtype, 0, RUN_PRUNE},
    {0, "save-format", "NAME",
     "dense (default), or sparse-bitmask: zeros of the linears not stored, as\n" HELP_INDENT
     "the compressed-tensors library does",
     set_save_format, 0, RUN_PRUNE},
    {0, "shard-size", "SIZE", "most bytes of a file, such as 500MB or 2GiB; default 5GB",
     set_shard_size, 0, RUN_PRUNE},
    {0, NULL, NULL, "output", NULL, 0, EVERY},
    {'o', "format", "NAME", "md (default), csv, json (lm-eval's form), jsonl (records)", set_format,
     0, ALL},
    {0, "out", "FILE", "write there, not to stdout", set_out, 0, ALL},
    {0, "log-samples", "DIR",
     "one line per document, in lm-eval's form: a folder per cell, such as\n" HELP_INDENT
     "DIR/duogpt-w0.5-a0.5-0123abcd/samples_TASK_*.jsonl, a file per task",
     set_log_samples, 0, SCORING},
    {0, "quiet", NULL, "no progress lines", set_quiet, 0, EVERY},
};

const size_t n_run_options = sizeof(run_option_table) / sizeof(run_option_table[0]);
