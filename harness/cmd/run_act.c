/* The rules of a cell's activations. */
#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/sha256.h"
#include "harness/cmd/run.h"

int run_open_ratios(struct run *r)
{
    size_t n_layers = r->model.config.n_layers, n = n_layers * N_GROUPS;
    double mean;

    if (!r->o.act_ratios)
        return 0;
    r->act_ratios = xmalloc(n * sizeof(*r->act_ratios));
    if (act_ratios_read(r->o.act_ratios, n_layers, r->act_ratios) != 0)
        return -1;
    sha256_hex(r->act_ratios, n * sizeof(*r->act_ratios), r->act_ratios_sha256);
    mean = act_mean(&r->model, r->act_ratios);
    for (size_t i = 0; i < r->n_cells; i++)
        if (r->cells[i].act_sparsity < 0)
            r->cells[i].act_sparsity = mean;
    return 0;
}

static void print_shares(const struct act_setting *s)
{
    fprintf(stderr, "zeros of inputs in %%  q k v      o gate up   down\n");
    for (size_t i = 0; i < s->n_layers; i++) {
        fprintf(stderr, "  layer %3zu        ", i);
        for (int g = 0; g < N_GROUPS; g++)
            fprintf(stderr, " %6.2f", 100 * s->ratios[i * N_GROUPS + (size_t)g]);
        fprintf(stderr, "\n");
    }
}

static int find(struct run *r, struct act_setting *out, const struct act_plan *p)
{
    double start = now_seconds();

    act_setting_release(out);
    if (act_calibrate(out, &r->model, p, r->calib.ids, r->calib.n_windows, r->calib.window) != 0)
        return -1;
    if (act_needs_ids(p) && !r->o.quiet)
        fprintf(stderr, "activations calibrated in %.1f s\n", now_seconds() - start);
    if (p->greedy && !p->ratios && !r->o.quiet)
        print_shares(out);
    return 0;
}

int run_deal_out(struct run *r, const struct cell *c)
{
    /* The sweep calibrates on exact top-k, whatever rule is evaluated. */
    struct act_plan p = {.kind = ACT_TOPK, .sparsity = c->act_sparsity, .greedy = 1};

    act_setting_release(&r->dealt);
    if (c->act_sparsity <= 0 || !c->method->deals_out || !run_options_deals_out(&r->o, c->method))
        return 0;
    return find(r, &r->dealt, &p);
}

static int calibrate(struct run *r, const struct cell *c)
{
    const struct run_options *o = &r->o;
    struct act_plan p = {.kind = o->act_rule,
                         .sparsity = c->act_sparsity,
                         .greedy = run_options_deals_out(o, c->method),
                         .ratios = r->dealt.ratios ? r->dealt.ratios : r->act_ratios};

    r->act_of = NULL;
    if (find(r, &r->act, &p) != 0)
        return -1;
    r->act_of = c;
    return o->save_act_ratios ? act_ratios_write(o->save_act_ratios, r->act.n_layers, r->act.ratios)
                              : 0;
}

int run_set_rules(struct run *r, const struct cell *c)
{
    model_set_activation(&r->model, ACT_DENSE, 0);
    if (c->act_sparsity <= 0)
        return 0;
    if (r->act_of != c && calibrate(r, c) != 0)
        return -1;
    act_set(&r->model, &r->act);
    r->model.act_last_half = r->o.act_last_half;
    return 0;
}
