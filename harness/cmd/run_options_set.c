/* Options whose values are lists, or limited by more than a range or a list of words. */
#include "harness/cmd/run_options_table.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/cmd/parse.h"
#include "harness/model/synthetic.h"

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

int options_shape(struct run_options *o, const char *s)
{
    struct llama_config unused;

    o->shape = s;
    return synthetic_config(&unused, s);
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

int options_tasks(struct run_options *o, const char *s)
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

int options_methods(struct run_options *o, const char *s)
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

int options_sparsities(struct run_options *o, const char *s)
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

int options_act_sparsities(struct run_options *o, const char *s)
{
    return each_item(s, add_act_sparsity, o);
}

static int choose(const char *name, const char *s, const char *zero, const char *one, int *out)
{
    if (strcmp(s, zero) != 0 && strcmp(s, one) != 0)
        return error("%s: '%s' is neither %s nor %s", name, s, one, zero);
    *out = strcmp(s, one) == 0;
    return 0;
}

int options_order(struct run_options *o, const char *s)
{
    return choose("--order", s, "natural", "act", &o->order);
}

int options_lazy(struct run_options *o, const char *s)
{
    return choose("--lazy", s, "reference", "exact", &o->lazy_exact);
}

int options_rng(struct run_options *o, const char *s)
{
    return choose("--rng", s, "pcg", "python", &o->python_rng);
}

int options_backend(struct run_options *o, const char *s)
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

int options_dtype(struct run_options *o, const char *s)
{
    static const char *const known[] = {"auto", "f32", "f16", "bf16"};
    int unused;

    o->dtype = s;
    return parse_word("--dtype", s, known, 4, &unused);
}

int options_batch_tokens(struct run_options *o, const char *s)
{
    uint64_t v = 0;

    if (strcmp(s, "auto") == 0)
        return 0;
    if (parse_whole("--batch-tokens", s, 1, 1 << 24, &v) != 0)
        return -1;
    o->batch_tokens = v;
    return 0;
}

int options_limit(struct run_options *o, const char *s)
{
    return parse_limit(s, &o->limit);
}

int options_protocol(struct run_options *o, const char *s)
{
    o->protocol = protocol_find(s);
    return o->protocol ? 0 : -1;
}

int options_format(struct run_options *o, const char *s)
{
    return output_format_parse(s, &o->format);
}

int options_save_dtype(struct run_options *o, const char *s)
{
    static const char *const known[] = {"as-read", "f32", "f16", "bf16"};
    static const int dtypes[] = {SAVE_AS_READ, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    int i = 0, rc = parse_word("--save-dtype", s, known, 4, &i);

    o->saving.dtype = dtypes[i];
    return rc;
}

int options_save_format(struct run_options *o, const char *s)
{
    int bitmask = 0;

    if (choose("--save-format", s, "dense", "sparse-bitmask", &bitmask) != 0)
        return -1;
    o->saving.format = bitmask ? SAVE_BITMASK : SAVE_DENSE;
    return 0;
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

int options_what(struct run_options *o, const char *s)
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

int options_contexts(struct run_options *o, const char *s)
{
    return each_item(s, add_context, o);
}

int options_packed(struct run_options *o, const char *s)
{
    static const char *const names[] = {"auto", "rows", "columns", "nonzeros"};

    for (int i = 0; i < 4; i++)
        if (strcmp(s, names[i]) == 0) {
            o->packed = i - 1; /* PACKED_AUTO, then enum packed_kind */
            return 0;
        }
    return error("--packed: '%s' is not auto, rows, columns or nonzeros", s);
}
