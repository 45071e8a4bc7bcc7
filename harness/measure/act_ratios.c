/* Shares of zeros per layer and group: dealt out, averaged, and as a file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/measure/act_calib.h"
#include "harness/measure/pyjson.h"

/* ---- the greedy allocation */

/* How far group g's share may go up in one step that adds `step` to the mean's numerator. */
static double room(double share, double weights, double step, double most)
{
    double up = step / weights;

    return share + up < most ? up : most - share;
}

/* What one more step costs for a group, as last known. */
struct raise {
    double up;    /* of the share; 0: as high as it may be */
    double cost;  /* error per weight, -INFINITY: not asked yet */
    double error; /* with it */
    int fresh;    /* since the last step */
};

/* The group whose step costs least: the one that looked cheapest is asked again until it still
 * is. -1: none may go up. */
static int cheapest(struct raise r[N_GROUPS], double shares[N_GROUPS],
                    const double weights[N_GROUPS], double at,
                    double (*loss)(void *arg, const double shares[N_GROUPS]), void *arg)
{
    for (;;) {
        int best = -1;
        double old;

        for (int g = 0; g < N_GROUPS; g++)
            if (r[g].up > 0 && (best < 0 || r[g].cost < r[best].cost))
                best = g;
        if (best < 0 || r[best].fresh)
            return best;
        old = shares[best];
        shares[best] = old + r[best].up;
        r[best].error = loss(arg, shares);
        shares[best] = old;
        r[best].cost = (r[best].error - at) / (r[best].up * weights[best]);
        r[best].fresh = 1;
    }
}

void act_allocate(double shares[N_GROUPS], const double weights[N_GROUPS], double target,
                  double (*loss)(void *arg, const double shares[N_GROUPS]), void *arg)
{
    double uniform[N_GROUPS], total = 0, left, step, at = 0;
    double most = target > ACT_MOST ? target : ACT_MOST;
    struct raise r[N_GROUPS];

    for (int g = 0; g < N_GROUPS; g++) {
        total += weights[g];
        shares[g] = 0;
        r[g].cost = -INFINITY;
        uniform[g] = weights[g] > 0 ? target : 0;
    }
    left = target * total;
    step = left / ceil(target / ACT_STEP);
    while (left > 1e-9 * total) {
        int best;

        for (int g = 0; g < N_GROUPS; g++) {
            r[g].up = weights[g] > 0 ? room(shares[g], weights[g], fmin(step, left), most) : 0;
            r[g].fresh = 0;
        }
        best = cheapest(r, shares, weights, at, loss, arg);
        if (best < 0) /* all at the most; by rounding alone, for most >= target */
            break;
        shares[best] += r[best].up;
        left -= r[best].up * weights[best];
        at = r[best].error;
    }
    if (loss(arg, uniform) < at)
        memcpy(shares, uniform, sizeof(uniform));
}

/* ---- whole channels */

struct whole {
    double cost, part; /* weights of one channel; the part of a channel that the share is above */
    size_t at, width, n;
};

/* Those with equal cost together, the dearest first; in them the largest part first. */
static int by_cost(const void *a, const void *b)
{
    const struct whole *x = a, *y = b;

    if (x->cost != y->cost)
        return x->cost > y->cost ? -1 : 1;
    if (x->part != y->part)
        return x->part > y->part ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* The smallest share that drops n of them. */
static double share_of(size_t n, size_t width)
{
    double share = (double)n / (double)width;

    while (sparsity_index(width, share) < n)
        share = nextafter(share, 1);
    return share;
}

/* What is left is no more than the dearer ones' rounding: the cheapest make it up in turn. */
static void settle_rest(struct whole *all, size_t n, double left)
{
    double cost = n ? all[n - 1].cost : 0;

    for (size_t i = n, idle = 0; fabs(left) > cost / 2 && idle <= n; i = i > 1 ? i - 1 : n) {
        struct whole *a = &all[i - 1];

        idle++;
        if (a->cost != cost || (left < 0 ? a->n == 0 : a->n + 1 >= a->width))
            continue;
        a->n = left < 0 ? a->n - 1 : a->n + 1;
        left += left < 0 ? cost : -cost;
        idle = 0;
    }
}

void act_whole_channels(const struct model *m, double target, double *ratios)
{
    struct whole *all = xmalloc(m->config.n_layers * N_GROUPS * sizeof(*all));
    size_t n = 0;
    double left = 0; /* weights by which the mean is below the target */

    for (size_t i = 0; i < m->config.n_layers * N_GROUPS; i++) {
        struct tensor w = layer_group(&m->layers[i / N_GROUPS], (enum group)(i % N_GROUPS));
        struct whole *a = &all[n];

        if (tensor_numel(w) == 0)
            continue;
        *a = (struct whole){.cost = (double)w.rows, .at = i, .width = w.cols};
        a->n = sparsity_index(w.cols, ratios[i]);
        a->part = (double)w.cols * ratios[i] - (double)a->n;
        left += (double)w.rows * ((double)w.cols * target - (double)a->n);
        n++;
    }
    qsort(all, n, sizeof(*all), by_cost);
    for (size_t i = 0; i < n; i++) {
        double later = 0; /* what the cheaper ones' parts can make up on their own */

        for (size_t k = i; k < n; k++)
            later += all[k].cost < all[i].cost ? all[k].cost * all[k].part : 0;
        if (all[i].n + 1 < all[i].width && left - later > all[i].cost / 2) {
            all[i].n++;
            left -= all[i].cost;
        }
    }
    settle_rest(all, n, left);
    for (size_t i = 0; i < n; i++)
        ratios[all[i].at] = share_of(all[i].n, all[i].width);
    free(all);
}

/* ---- the mean */

double act_mean(const struct model *m, const double *ratios)
{
    double sum = 0, total = 0;

    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++) {
            double n = (double)tensor_numel(layer_group(&m->layers[i], (enum group)g));

            sum += n * ratios[i * N_GROUPS + (size_t)g];
            total += n;
        }
    return total > 0 ? sum / total : 0;
}

/* ---- the file */

static int place_of(const char *name, size_t n_layers, size_t *at)
{
    char want[64];
    size_t layer = strtoul(name, NULL, 10);

    for (int g = 0; g < N_GROUPS && layer < n_layers; g++) {
        snprintf(want, sizeof(want), "%zu.%s", layer, group_name((enum group)g));
        if (strcmp(name, want) == 0) {
            *at = layer * N_GROUPS + (size_t)g;
            return 0;
        }
    }
    return -1;
}

static int read_member(const cJSON *v, const char *path, size_t n_layers, double *ratios)
{
    size_t at;

    if (place_of(v->string, n_layers, &at) != 0)
        return error("%s: '%s' is no layer and group of this model, such as \"0.qkv\" (layers 0 to "
                     "%zu; qkv, o, gate_up, down)",
                     path, v->string, n_layers - 1);
    if (!isnan(ratios[at]))
        return error("%s: '%s' is there twice", path, v->string);
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= 0.999))
        return error("%s: '%s' is not a number from 0 to 0.999", path, v->string);
    ratios[at] = v->valuedouble;
    return 0;
}

int act_ratios_read(const char *path, size_t n_layers, double *ratios)
{
    cJSON *all = json_read(path);
    size_t n = n_layers * N_GROUPS;
    int rc = 0;

    if (!all)
        return -1;
    for (size_t i = 0; i < n; i++)
        ratios[i] = NAN;
    if (!cJSON_IsObject(all))
        rc = error("%s: not a JSON object", path);
    for (const cJSON *v = all->child; v && rc == 0; v = v->next)
        rc = read_member(v, path, n_layers, ratios);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (isnan(ratios[i]))
            rc = error("%s: no field '%zu.%s'", path, i / N_GROUPS,
                       group_name((enum group)(i % N_GROUPS)));
    cJSON_Delete(all);
    return rc;
}

int act_ratios_write(const char *path, size_t n_layers, const double *ratios)
{
    struct buf b = {0};
    int rc;

    for (size_t i = 0; i < n_layers * N_GROUPS; i++) {
        buf_addf(&b, "%s\"%zu.%s\": ",
                 i == 0         ? "{"
                 : i % N_GROUPS ? ", "
                                : ",\n ",
                 i / N_GROUPS, group_name((enum group)(i % N_GROUPS)));
        pyjson_add_number(&b, ratios[i]);
    }
    buf_adds(&b, "}\n");
    rc = file_write_atomic(path, b.data, b.n);
    buf_release(&b);
    return rc;
}
