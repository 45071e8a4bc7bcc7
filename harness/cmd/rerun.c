/* duo rerun: runs again what made a record, and compares. The record's command gives the options
 * that its fields do not (folders, batches); the fields give method, sparsities and task, so that
 * of a table's command one cell runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/temporary.h"
#include "harness/base/words.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/compare_report.h"
#include "harness/cmd/run_options_table.h"
#include "harness/measure/cells.h"
#include "harness/measure/pyjson.h"

static void help(void)
{
    puts("usage: duo rerun FILE:LINE|FILE:RUN_ID [OPTION...]\n\n"
         "Runs again what made the record in this line of FILE, or with this run_id, and compares\n"
         "the two as duo compare does. Options of eval or bench take the place of the record's,\n"
         "such as --data DIR or --threads 4; --out FILE keeps the new records. Relative folders "
         "are\n"
         "those of the command in the record.\n\n"
         "example:\n"
         "  duo rerun results.jsonl:3 --threads 4");
}

/* ---- the record */

/* Leaves the record that `what` names alone in the list. 0 or error(). */
static int find_record(struct record_list *l, const char *what)
{
    const char *colon = strrchr(what, ':');
    char *path, *end;
    size_t line, k = 0;
    int rc;

    if (!colon || !colon[1])
        return error("rerun: '%s' is not FILE:LINE or FILE:RUN_ID", what);
    path = xstrdup(what);
    path[colon - what] = 0;
    rc = record_list_read(l, path);
    line = strlen(colon + 1) < 16 ? strtoul(colon + 1, &end, 10) : 0;
    if (line && *end)
        line = 0;
    while (rc == 0 && k < l->n &&
           (line ? l->items[k].line != line : strcmp(l->items[k].rec.run_id, colon + 1) != 0))
        k++;
    if (rc == 0 && k == l->n)
        rc = error("%s: no record at '%s'", path, colon + 1);
    if (rc == 0) {
        struct record_line found = l->items[k];

        l->items[k] = l->items[0];
        l->items[0] = found;
    }
    free(path);
    return rc;
}

/* ---- its command */

struct words {
    char **v;
    int n;
    char **owned; /* those to be freed */
    int n_owned;
};

static void add(struct words *w, char *word)
{
    w->v = xrealloc(w->v, ((size_t)w->n + 2) * sizeof(*w->v));
    w->v[w->n++] = word;
    w->v[w->n] = NULL;
}

/* "--name value"; takes over value. */
static void add_option(struct words *w, char *name, char *value)
{
    add(w, name);
    add(w, value);
    w->owned = xrealloc(w->owned, ((size_t)w->n_owned + 1) * sizeof(*w->owned));
    w->owned[w->n_owned++] = value;
}

static char *number_text(double v)
{
    struct buf b = {0};

    pyjson_add_number(&b, v);
    return buf_detach(&b);
}

static int is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0)
            return 1;
    return 0;
}

static int is_given(const struct run_options *o, const struct run_option *p, int argc, char **argv)
{
    const char *value;

    for (int i = 0; i < argc; i++)
        if (run_option_match(o, argv[i], &value) == p)
            return 1;
    return 0;
}

/* Is this option of the command left out of the new one? */
static int is_dropped(const struct run_option *p, const struct run_options *o,
                      const struct record *r, const struct pruner *method)
{
    static const char *const shown[] = {"format", "quiet", NULL};
    static const char *const cells[] = {"method", "sparsity", "act-sparsity", "tasks", NULL};
    static const char *const dense[] = {"baseline", "divergence", NULL};

    if (run_option_writes(p) || is_one_of(p->name, shown))
        return 1;
    if (o->command == RUN_BENCH) /* works are timed beside each other */
        return 0;
    if (is_one_of(p->name, cells) || (is_one_of(p->name, dense) && !metric_is_divergence(r)))
        return 1;
    return p->takes && !(method->takes & p->takes) && !(p->takes == TAKES_CALIB && r->calib);
}

/* The record's command without what is dropped or what the caller gives anew. */
static int add_kept(struct words *w, const struct record *r, const char *where, char **words,
                    int argc, char **argv)
{
    struct run_options o = {.command = strcmp(words[1], "bench") == 0 ? RUN_BENCH : RUN_EVAL};
    const struct pruner *method = pruner_find(r->method);

    if (!method)
        return -1;
    add(w, words[1]);
    for (int i = 2; words[i]; i++) {
        const char *value = NULL;
        const struct run_option *p = run_option_match(&o, words[i], &value);
        int has_value = p && p->arg && !value;

        if (!p)
            return error("%s: the command has an unknown option '%s'", where, words[i]);
        if (!is_dropped(p, &o, r, method) && !is_given(&o, p, argc, argv)) {
            add(w, words[i]);
            if (has_value && words[i + 1])
                add(w, words[i + 1]);
        }
        i += has_value && words[i + 1];
    }
    return 0;
}

static int add_cell(struct words *w, const struct record *r, const char *where)
{
    static char method[] = "--method", sparsity[] = "--sparsity", act[] = "--act-sparsity";
    static char task[] = "--tasks";
    const struct pruner *m = pruner_find(r->method);

    add_option(w, method, xstrdup(r->method));
    if (m->takes & TAKES_SPARSITY && !r->nm && isnan(r->weight_sparsity))
        return error("%s: the record has no weight_sparsity", where);
    if (m->takes & TAKES_SPARSITY && !r->nm)
        add_option(w, sparsity, number_text(r->weight_sparsity));
    if (r->act_sparsity > 0 && (!r->act_allocation || strcmp(r->act_allocation, "file") != 0))
        add_option(w, act, number_text(r->act_sparsity));
    add_option(w, task, xstrdup(r->task));
    return 0;
}

/* ---- the run */

static int run_words(struct words *w, const char *path)
{
    static char out[] = "--out", format[] = "--format", jsonl[] = "jsonl";
    struct buf line = {0};

    add_option(w, out, xstrdup(path));
    add(w, format);
    add(w, jsonl);
    words_quote(&line, (const char *const *)w->v, (size_t)w->n);
    fprintf(stderr, "duo %s\n", line.data);
    buf_release(&line);
    return strcmp(w->v[0], "bench") == 0 ? cmd_bench(w->n, w->v) : cmd_eval(w->n, w->v);
}

/* Takes "--out FILE" or "--out=FILE" out of the arguments; the file, or NULL. */
static const char *take_out(int *argc, char **argv)
{
    for (int i = 0; i < *argc; i++) {
        int is_one = strncmp(argv[i], "--out=", 6) == 0;
        int n = is_one ? 1 : strcmp(argv[i], "--out") == 0 && i + 1 < *argc ? 2 : 0;
        const char *path = n == 1 ? argv[i] + 6 : argv[i + 1];

        if (n) {
            memmove(argv + i, argv + i + n, (size_t)(*argc - i - n + 1) * sizeof(*argv));
            *argc -= n;
            return path;
        }
    }
    return NULL;
}

static int gives_format(int argc, char **argv)
{
    struct run_options o = {.command = RUN_EVAL};
    const char *value;

    for (int i = 0; i < argc; i++) {
        const struct run_option *p = run_option_match(&o, argv[i], &value);

        if (p && strcmp(p->name, "format") == 0)
            return 1;
        i += p && p->arg && !value;
    }
    return 0;
}

/* Runs the words with the records in `path`, and compares. The status. */
static int run_and_compare(struct words *w, const char *path, const struct record_list *one)
{
    static const char *const across[] = {"device", NULL};
    struct compare_options options = {.across = across};
    struct record_list now = {0};
    int status = 1;

    if (run_words(w, path) == 0 && record_list_read(&now, path) == 0)
        status = compare_report(one, &now, "the record", "this run", &options, NULL, 0);
    record_list_release(&now);
    return status;
}

/* The words of the record's command, which is one that eval or bench had; NULL after error(). */
static char **words_of(const struct record *r, const char *where)
{
    char **words = NULL;
    int n;

    if (!r->command || !r->method) {
        error("%s: the record does not say by what command it was made", where);
        return NULL;
    }
    n = words_split(r->command, where, &words);
    if (n >= 2 && strcmp(words[0], "duo") == 0 &&
        (strcmp(words[1], "eval") == 0 || strcmp(words[1], "bench") == 0))
        return words;
    if (n >= 0)
        error("%s: only what eval and bench made runs again, not '%s'", where, r->command);
    free(words);
    return NULL;
}

/* argv: the options given anew. */
static int rerun(struct record_list *base, int argc, char **argv)
{
    const struct record *r = &base->items[0].rec;
    const char *path = base->items[0].path, *out = take_out(&argc, argv);
    char **words, *dir = NULL, *own = NULL;
    struct record_list one = {base->items, 1, 1};
    struct words w = {0};
    struct buf where = {0};
    int status = 1;

    if (out && file_same(out, path))
        return error("--out %s is the file of the record", out), 1;
    if (gives_format(argc, argv))
        return error("rerun compares records: it takes no --format"), 1;
    buf_addf(&where, "%s line %zu", path, base->items[0].line);
    words = words_of(r, where.data);
    if (words && !out && (dir = temporary_open("rerun")))
        out = own = path_join(dir, "records.jsonl");
    if (words && out && add_kept(&w, r, where.data, words, argc, argv) == 0 &&
        (strcmp(words[1], "eval") != 0 || add_cell(&w, r, where.data) == 0)) {
        for (int i = 0; i < argc; i++)
            add(&w, argv[i]);
        status = run_and_compare(&w, out, &one);
    }
    buf_release(&where);
    for (int i = 0; i < w.n_owned; i++)
        free(w.owned[i]);
    free(w.owned);
    free(w.v);
    free(words);
    free(own);
    temporary_close(dir);
    return status;
}

int cmd_rerun(int argc, char **argv)
{
    struct record_list base = {0};
    int status = 1;

    if (argc < 2 || argv[1][0] == '-') {
        int asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

        if (asked)
            help();
        else
            error("rerun needs a record: duo rerun FILE:LINE (see duo rerun --help)");
        return asked ? 0 : 2;
    }
    if (find_record(&base, argv[1]) == 0)
        status = rerun(&base, argc - 2, argv + 2);
    record_list_release(&base);
    return status;
}
