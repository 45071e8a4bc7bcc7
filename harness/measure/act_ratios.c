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

void act_allocate(double shares[N_GROUPS], const double weights[N_GROUPS], double target,
                  double (*loss)(void *arg, const double shares[N_GROUPS]), void *arg)
{
    double uniform[N_GROUPS], total = 0, left, step, at = 0;
    double most = target > ACT_MOST ? target : ACT_MOST;

    for (int g = 0; g < N_GROUPS; g++) {
        total += weights[g];
        shares[g] = 0;
        uniform[g] = weights[g] > 0 ? target : 0;
    }
    left = target * total;
    step = left / ceil(target / ACT_STEP);
    while (left > 1e-9 * total) {
        double best_cost = INFINITY, best_error = 0, best_up = 0;
        int best = -1;

        for (int g = 0; g < N_GROUPS; g++) {
            double up = weights[g] > 0 ? room(shares[g], weights[g], fmin(step, left), most) : 0;
            double old = shares[g], e, cost;

            if (up <= 0)
                continue;
            shares[g] = old + up;
            e = loss(arg, shares);
            shares[g] = old;
            cost = (e - at) / (up * weights[g]); /* a step cut short adds less */
            if (best < 0 || cost < best_cost) {
                best = g;
                best_cost = cost;
                best_error = e;
                best_up = up;
            }
        }
        if (best < 0) /* all at the most; by rounding alone, for most >= target */
            break;
        shares[best] += best_up;
        left -= best_up * weights[best];
        at = best_error;
    }
    if (loss(arg, uniform) < at)
        memcpy(shares, uniform, sizeof(uniform));
}

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
