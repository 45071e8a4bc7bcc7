/* The options of patterns: N:M of the weights, and what is dropped of the activations. */
#include <stdio.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/cmd/parse.h"
#include "harness/cmd/run_options_table.h"

int options_nm(struct run_options *o, const char *s)
{
    int end = 0;

    if (strspn(s, "0123456789:") != strlen(s) ||
        sscanf(s, "%2zu:%2zu%n", &o->nm_n, &o->nm_m, &end) != 2 || s[end] || o->nm_n == 0 ||
        o->nm_n >= o->nm_m || o->nm_m > 64)
        return error("--nm: '%s' is not N:M with 0 < N < M, such as 2:4", s);
    return 0;
}

int options_act_rule(struct run_options *o, const char *s)
{
    static const char *const known[] = {"topk", "threshold", "wina"};
    static const enum act_kind kinds[] = {ACT_TOPK, ACT_THRESHOLD, ACT_WINA};
    int i = 0, rc = parse_word("--act-rule", s, known, 3, &i);

    o->act_rule = kinds[i];
    return rc;
}

int options_act_allocation(struct run_options *o, const char *s)
{
    return parse_word("--act-allocation", s, (const char *const[]){"uniform", "greedy"}, 2,
                      &o->act_greedy);
}

int options_act_part(struct run_options *o, const char *s)
{
    return parse_word("--act-part", s, (const char *const[]){"all", "last-half"}, 2,
                      &o->act_last_half);
}

int options_act_ratios(struct run_options *o, const char *s)
{
    o->act_ratios = s;
    return 0;
}

int options_save_act_ratios(struct run_options *o, const char *s)
{
    o->save_act_ratios = s;
    return 0;
}

static int any_sparse(const struct run_options *o)
{
    for (size_t i = 0; i < o->n_act_sparsities; i++)
        if (o->act_sparsities[i] != 0)
            return 1;
    return 0;
}

int run_options_deals_out(const struct run_options *o, const struct pruner *method)
{
    return o->act_greedy >= 0 ? o->act_greedy : method->deals_out && !o->act_ratios;
}

int run_options_act_calibrates(const struct run_options *o)
{
    int deals_out = 0;

    for (size_t i = 0; i < o->n_methods; i++)
        deals_out |= run_options_deals_out(o, o->methods[i]);
    return any_sparse(o) && (o->act_rule == ACT_THRESHOLD || deals_out);
}

static int check_ratios(const struct run_options *o)
{
    if (!o->act_ratios)
        return 0;
    if (o->act_sparsities[0] >= 0)
        return error("--act-ratios and --act-sparsity exclude each other");
    if (o->act_greedy > 0)
        return error("--act-ratios and --act-allocation greedy exclude each other");
    for (size_t i = 0; i < o->n_methods; i++)
        if (o->methods[i]->restructure)
            return error("--act-ratios does not apply to method %s, which removes layers",
                         o->methods[i]->name);
    return 0;
}

int options_check_act(const struct run_options *o)
{
    const char *idle = o->act_rule != ACT_TOPK ? "--act-rule"
                       : o->act_greedy > 0     ? "--act-allocation"
                       : o->act_last_half      ? "--act-part"
                                               : NULL;

    if (check_ratios(o) != 0)
        return -1;
    if (idle && !any_sparse(o))
        return error("%s: no activations are sparse: give --act-sparsity, such as 0.5", idle);
    if (!o->save_act_ratios)
        return 0;
    if (!any_sparse(o) || !run_options_deals_out(o, o->methods[0]))
        return error("--save-act-ratios saves what --act-allocation greedy finds");
    if (o->n_methods > 1 || o->n_sparsities > 1 || o->n_act_sparsities > 1)
        return error("--save-act-ratios: give one --method, one --sparsity, one --act-sparsity");
    return o->resume ? error("--save-act-ratios and --resume exclude each other") : 0;
}
