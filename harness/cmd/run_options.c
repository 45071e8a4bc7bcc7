/* Strict parsing of the options of commands that run a model. */
#include "harness/cmd/run_options.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/fetch.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/procs.h"
#include "harness/base/progress.h"
#include "harness/base/text.h"
#include "harness/base/words.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run_options_table.h"

static int has_option(const struct run_options *o, const struct run_option *p)
{
    return (p->commands & (unsigned)o->command) != 0;
}

/* What is said of each command. */
static const struct {
    const char *name;
    enum run_command command;
    const char *usage, *about, *examples;
} commands[] = {
    {"eval", RUN_EVAL, "-t LIST [-m DIR] [OPTION...]",
     "Prunes the model in memory (its files are never written), scores it and prints a table.\n"
     "Lists of methods and sparsities run every combination.\n",
     "  duo eval -t all                                    the demo model, dense\n"
     "  duo eval -m llama-2-7b -t wikitext2,piqa --method sparsegpt,duogpt \\\n"
     "           --sparsity 0.5 --act-sparsity 0.5 --calib c4:128x2048 --baseline\n"},
    {"prune", RUN_PRUNE, "--save DIR [-m DIR] [OPTION...]",
     "Prunes the model and writes it as a Hugging Face checkpoint to a new folder: config.json,\n"
     "tokenizer, safetensors, and duo.json, which says how it was made. With -t also scores it, "
     "as\n"
     "it is saved. One method, one sparsity.\n",
     "  duo prune --method magnitude --sparsity 0.5 --save demo-magnitude-50\n"
     "  duo prune -m llama-2-7b --method duogpt --sparsity 0.5 --act-sparsity 0.5 \\\n"
     "            --calib c4:128x2048 -t wikitext2 --save llama-2-7b-duogpt-50\n"
     "  duo eval -m llama-2-7b-duogpt-50 --act-sparsity 0.5 -t all\n"},
    {"generate", RUN_GENERATE, "-p TEXT [-m DIR] [OPTION...]",
     "Prunes the model in memory and continues a text, token by token, until the model ends it or\n"
     "-n tokens are there. How the linears are packed and the speed are said at the end.\n",
     "  duo generate -p \"The river is\"                     the demo model, dense\n"
     "  duo generate -m llama-2-7b -p \"Once upon a time\" -n 200 --temperature 0.8 --seed 1 \\\n"
     "               --method duogpt --sparsity 0.5 --act-sparsity 0.5 --calib c4:128x2048\n"},
    {"bench", RUN_BENCH, "[-m DIR|--shape NAME] [-t LIST] [OPTION...]",
     "Prunes the model in memory, scores it if -t says on what, and times it against the dense\n"
     "one, interleaved in one process: single linears, decoding, prefill. Without pruning "
     "options:\n"
     "magnitude, half of the weights and of the activations.\n",
     "  duo bench                                          the demo model, a few seconds\n"
     "  duo bench --shape llama2-7b --sparsity 0.5,0.6 --context 512,2048 --what decode\n"
     "  duo bench -m llama-2-7b -t wikitext2,piqa --method duogpt --calib c4:128x2048 \\\n"
     "            --sparsity 0.5 --act-sparsity 0.5\n"},
};

static void help(const struct run_options *o)
{
    size_t c = 0;

    while (commands[c].command != o->command)
        c++;
    printf("usage: duo %s %s\n\n%s\n", commands[c].name, commands[c].usage, commands[c].about);
    for (size_t i = 0; i < n_run_options; i++) {
        const struct run_option *p = &run_option_table[i];
        char left[64];

        if (!has_option(o, p))
            continue;
        if (!p->name) {
            printf("\n%s\n", p->help);
            continue;
        }
        snprintf(left, sizeof(left), "%s%c%s--%s%s%s", p->letter ? "-" : "  ",
                 p->letter ? p->letter : ' ', p->letter ? ", " : " ", p->name, p->arg ? " " : "",
                 p->arg ? p->arg : "");
        printf("  %-24s %s\n", left, p->help);
    }
    printf("\nexamples:\n%s", commands[c].examples);
}

/* The option that argv[i] names ("-m", "--model", "--model=X"), its value in *value. */
const struct run_option *run_option_match(const struct run_options *o, const char *arg,
                                          const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < n_run_options; i++) {
        const struct run_option *p = &run_option_table[i];
        size_t n = p->name ? strlen(p->name) : 0;

        if (!p->name || !has_option(o, p))
            continue;
        if (p->letter && arg[0] == '-' && arg[1] == p->letter && !arg[2])
            return p;
        if (strncmp(arg, "--", 2) == 0 && strncmp(arg + 2, p->name, n) == 0 &&
            (arg[2 + n] == 0 || arg[2 + n] == '=')) {
            *value = arg[2 + n] ? arg + 3 + n : NULL;
            return p;
        }
    }
    return NULL;
}

/* ---- what only the whole tells */

static int check_takes(const struct run_options *o, const unsigned char *given)
{
    unsigned any = run_options_act_calibrates(o) ? TAKES_CALIB : 0;

    for (size_t i = 0; i < o->n_methods; i++)
        any |= o->methods[i]->takes;
    for (size_t i = 0; i < n_run_options; i++)
        if (given[i] && run_option_table[i].takes && !(any & run_option_table[i].takes))
            return error("--%s does not apply to %s%s", run_option_table[i].name,
                         o->n_methods == 1 ? "method " : "any of the methods given",
                         o->n_methods == 1 ? o->methods[0]->name : "");
    if (run_options_act_calibrates(o) && !o->calib)
        return error("%s needs --calib, such as --calib c4:128x2048 or self:64x512",
                     o->act_rule != ACT_THRESHOLD ? "--act-allocation greedy"
                                                  : "--act-rule threshold");
    if (any & TAKES_CALIB && !o->calib)
        return error("--method %s needs --calib, such as --calib c4:128x2048 or self:64x512",
                     o->methods[0]->name);
    if (any & TAKES_SPARSITY && !o->n_sparsities && !o->nm_m)
        return error("--method %s needs --sparsity, such as --sparsity 0.5, or --nm 2:4",
                     o->methods[0]->name);
    for (size_t i = 0; i < o->n_methods && o->nm_m; i++)
        if (o->methods[i]->restructure)
            return error("--nm does not apply to method %s, which removes whole structures",
                         o->methods[i]->name);
    if (o->refit_beta > 0 && !o->refit_steps)
        return error("--refit-beta: nothing is refitted: give --refit-steps, such as 20");
    if (o->n_sparsities && o->nm_m)
        return error("--sparsity and --nm exclude each other");
    if (o->nm_m && o->order == 1)
        return error("--order act and --nm exclude each other: N:M groups are columns as they lie");
    return 0;
}

static int check_divergence(const struct run_options *o)
{
    if (!o->divergence && !o->per_layer)
        return 0;
    if (o->divergence && !o->baseline)
        return error("--divergence compares with the dense model: give --baseline too");
    for (size_t i = 0; i < o->n_tasks; i++)
        if (!o->tasks[i])
            return 0;
    return error("%s runs over the text of wikitext2: add it to -t",
                 o->divergence ? "--divergence" : "--per-layer");
}

static int check_source(const struct run_options *o)
{
    if (o->model && o->shape)
        return error("-m and --shape exclude each other");
    if (o->shape && !o->tokenizer && o->n_tasks)
        return error(
            "--shape %s: synthetic weights have no tokenizer: name one with --tokenizer DIR",
            o->shape);
    if (o->n_layers && !o->shape)
        return error("--layers is for --shape: fewer layers of a model are another model");
    if (o->layer_dir && o->residence == RESIDENCE_DEVICE)
        return error("--layer-dir keeps layers that are streamed: not with --weights device");
    if (o->layer_dir && o->shape)
        return error("--layer-dir is for models of a checkpoint");
    return 0;
}

/* Of several processes: what they can do together. */
static int check_processes(const struct run_options *o)
{
    if (procs_size() == 1)
        return 0;
    if (!o->tensor_parallel && o->command != RUN_EVAL)
        return error("%d processes can only hold one model together here: --tensor-parallel",
                     procs_size());
    if (o->tensor_parallel && o->layer_dir)
        return error("--layer-dir keeps whole layers: not with --tensor-parallel");
    for (size_t i = 0; i < o->n_methods && o->tensor_parallel; i++)
        if (run_options_deals_out(o, o->methods[i]))
            return error("--tensor-parallel: %s deals shares of activations out, which needs the "
                         "model on one device: --act-allocation uniform",
                         o->methods[i]->name);
    return 0;
}

/* Of prune and generate: one model is saved, or continues the text. */
static int check_one_model(const struct run_options *o)
{
    if (o->command != RUN_PRUNE && o->command != RUN_GENERATE)
        return 0;
    if (o->command == RUN_PRUNE && !o->save)
        return error("nowhere to save: give a new folder with --save DIR");
    if (o->n_methods > 1 || o->n_sparsities > 1 || o->n_act_sparsities > 1)
        return error("one model %s: give one --method, one --sparsity, one --act-sparsity",
                     o->command == RUN_PRUNE ? "is saved" : "generates");
    return 0;
}

/* Of bench: without a word on pruning, half of everything, which needs no calibration. */
static void apply_bench_defaults(struct run_options *o)
{
    if (!o->n_methods && !o->n_sparsities && !o->n_act_sparsities && !o->nm_m) {
        o->sparsities[o->n_sparsities++] = 0.5;
        o->act_sparsities[o->n_act_sparsities++] = 0.5;
    }
    if (!o->n_methods && (o->n_sparsities || o->nm_m))
        o->methods[o->n_methods++] = pruner_find("magnitude");
    if (!o->what)
        o->what = o->demo ? WHAT_ALL & ~(unsigned)WHAT_WINDOWS : WHAT_ALL;
    if (!o->n_contexts)
        o->contexts[o->n_contexts++] = 512;
    if (!o->prompt)
        o->prompt = 512;
    if (isnan(o->time_limit))
        o->time_limit = o->demo ? 0.25 : 1;
}

static void apply_defaults(struct run_options *o)
{
    o->demo = !o->model && !o->shape;
    if (o->demo && !o->calib)
        o->calib = "self:64x256";
    if (o->act_ratios && !o->n_act_sparsities)
        o->act_sparsities[o->n_act_sparsities++] = -1;
    if (o->command == RUN_BENCH)
        apply_bench_defaults(o);
    if (o->layer_dir && o->residence == RESIDENCE_AUTO)
        o->residence = RESIDENCE_STREAM;
    if (!o->n_methods)
        o->methods[o->n_methods++] = pruners[0];
    if (!o->n_act_sparsities)
        o->act_sparsities[o->n_act_sparsities++] = 0;
}

int run_options_locate(struct run_options *o)
{
    if (o->demo) {
        char *demo = demo_dir();

        if (!demo)
            return error("no model: give one with -m DIR (the embedded demo is not here)");
        o->model = path_join(demo, "model");
        if (!o->data_dir)
            o->data_dir = xstrdup(demo);
        free(demo);
        if (!o->quiet)
            fprintf(stderr, "model: the embedded demo (%s)\n", o->model);
    } else if (o->model && !dir_exists(o->model) && strchr(o->model, '/')) {
        char *found;

        if (access(o->model, F_OK) == 0)
            return error("-m %s: not a folder", o->model);
        if (fetch_model_dir(o->model, &found) != 0)
            return -1;
        o->model = found;
    }
    if (!o->data_dir) {
        o->data_dir = fetch_data_dir();
        if (!o->data_dir)
            return -1;
    }
    return 0;
}

static char *command_line(int argc, char **argv)
{
    struct buf b = {0};

    buf_adds(&b, "duo ");
    words_quote(&b, (const char *const *)argv, (size_t)argc);
    if (utf8_valid(b.data, b.n) < 0 && !text_find_unshown(b.data))
        return buf_detach(&b);
    buf_release(&b);
    return NULL;
}

int run_options_parse(struct run_options *o, int argc, char **argv)
{
    unsigned char given[MAX_OPTIONS] = {0};

    assert(n_run_options <= MAX_OPTIONS);
    *o = (struct run_options){.act_rule = ACT_TOPK,
                              .act_greedy = -1,
                              .alpha = NAN,
                              .refit_beta = 0,
                              .refit_steps = 0,
                              .damp = 0.01,
                              .order = -1,
                              .lazy_exact = 1,
                              .block = 128,
                              .protocol = protocols[0],
                              .window = 2048,
                              .backend = "auto",
                              .dtype = "auto",
                              .time_limit = NAN,
                              .prompt_text = "",
                              .n_new = 128,
                              .packed = -1,
                              .saving = {.dtype = SAVE_AS_READ, .shard_nbytes = 5000000000}};
    o->command_line = command_line(argc, argv);
    for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++)
        if (strcmp(argv[0], commands[c].name) == 0)
            o->command = commands[c].command;
    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct run_option *p = run_option_match(o, argv[i], &value);

        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help(o);
            return 1;
        }
        if (!p)
            return error("unknown option '%s' (see duo %s --help)", argv[i], argv[0]);
        if (!p->arg && value)
            return error("--%s takes no value", p->name);
        if (p->arg && !value) {
            if (i + 1 == argc)
                return error("--%s needs a value (%s)", p->name, p->arg);
            value = argv[++i];
        }
        if (given[p - run_option_table]++)
            return error("--%s is given twice", p->name);
        if (p->set(o, value) != 0)
            return -1;
    }
    if (!o->n_tasks && o->command == RUN_EVAL)
        return error("no tasks: give some with -t, such as -t wikitext2,piqa or -t all");
    apply_defaults(o);
    if (check_source(o) != 0 || check_processes(o) != 0 || check_one_model(o) != 0 ||
        check_divergence(o) != 0 || options_check_act(o) != 0 || check_takes(o, given) != 0 ||
        options_check_files(o) != 0)
        return -1;
    progress_quiet(o->quiet);
    return 0;
}
