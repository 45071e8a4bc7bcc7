/* Operations on rows: embedding, norm, gate, and the rules that sparsify them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"
#include "harness/backend/cpu/vec.h"

void cpu_count(const struct act_rule *rule, uint64_t n_zero)
{
    if (rule && rule->n_zero)
        __atomic_fetch_add(rule->n_zero, n_zero, __ATOMIC_RELAXED);
}

/* Bits of |x|: their order as integers is the order of the magnitudes. */
static uint32_t magnitude_bits(float x)
{
    uint32_t b;

    memcpy(&b, &x, sizeof(b));
    return b & 0x7fffffff;
}

/* Bits of the idx-th smallest magnitude: the largest t with fewer than idx + 1 values below it,
 * found by bisection, since counting is what vector units do best. */
static uint32_t kth_magnitude(const float *x, size_t n, size_t idx)
{
    uint32_t lo = 0, hi = 0;

    for (size_t j = 0; j < n; j++) {
        uint32_t m = magnitude_bits(x[j]);

        hi = m > hi ? m : hi;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2, below = 0;

        for (size_t j = 0; j < n; j++)
            below += magnitude_bits(x[j]) < mid;
        if (below <= idx)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* WINA: keeps the channels whose score is at least the idx-th smallest. Returns the zeros. */
static uint64_t keep_best_scores(float *x, const float *gate, size_t n, size_t idx)
{
    float *scores = xmalloc(n * sizeof(*scores));
    uint32_t t;
    uint64_t zeros = 0;

    for (size_t j = 0; j < n; j++)
        scores[j] = fabsf(x[j]) * gate[j];
    t = idx > 0 ? kth_magnitude(scores, n, idx) : 0;
    for (size_t j = 0; j < n; j++) {
        x[j] = magnitude_bits(scores[j]) >= t ? x[j] : 0;
        zeros += x[j] == 0;
    }
    free(scores);
    return zeros;
}

void cpu_apply_rule(float *x, size_t n, const struct act_rule *rule, uint64_t *n_zero)
{
    uint32_t t = 0, zeros = 0;

    if (!rule || rule->kind == ACT_DENSE)
        return;
    if (rule->kind == ACT_WINA) {
        *n_zero += keep_best_scores(x, rule->gate, n, sparsity_index(n, rule->sparsity));
        return;
    }
    if (rule->kind == ACT_TOPK) {
        size_t idx = sparsity_index(n, rule->sparsity);

        if (idx > 0)
            t = kth_magnitude(x, n, idx);
    } else {
        t = magnitude_bits(rule->threshold);
    }
    for (size_t j = 0; j < n; j++) {
        x[j] = magnitude_bits(x[j]) >= t ? x[j] : 0;
        zeros += x[j] == 0;
    }
    *n_zero += zeros;
}

void cpu_embed(struct device *dev, struct tensor out, struct tensor table, const int32_t *ids)
{
    float *o = out.data;
    const float *t = table.data;

    (void)dev;
    for (size_t r = 0; r < out.rows; r++)
        memcpy(o + r * out.cols, t + (size_t)ids[r] * table.cols, out.cols * sizeof(float));
}

void cpu_gather(struct device *dev, struct tensor out, struct tensor x, const int32_t *rows)
{
    cpu_embed(dev, out, x, rows);
}

/* In double: an error of one unit in the last place of the norm's scale shows when top-k has to
 * choose between channels that are nearly equal. Eight sums, so that it vectorises. */
static double sum_of_squares(const float *x, size_t n)
{
    double s[8] = {0};
    size_t j = 0;

    for (; j + 8 <= n; j += 8)
        for (int i = 0; i < 8; i++)
            s[i] += (double)x[j + (size_t)i] * x[j + (size_t)i];
    for (; j < n; j++)
        s[0] += (double)x[j] * x[j];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

void cpu_rmsnorm(struct device *dev, struct tensor out, struct tensor x, struct tensor weight,
                 float eps, const struct act_rule *rule)
{
    size_t n = x.cols;
    const float *w = weight.data;

#pragma omp parallel for num_threads(cpu_team(dev, out.rows))
    for (size_t r = 0; r < x.rows; r++) {
        const float *xr = (const float *)x.data + r * n;
        float *o = (float *)out.data + r * n;
        float scale = 1.0f / sqrtf((float)(sum_of_squares(xr, n) / (double)n) + eps);

        for (size_t j = 0; j < n; j++)
            o[j] = xr[j] * scale * w[j];
    }
    cpu_sparsify(dev, out, out, rule);
}

/* out may overlap nothing; n need not be a multiple of 8. */
static void silu_mul_row(float *out, const float *gate, const float *up, size_t n)
{
    size_t j = 0;

    for (; j + 8 <= n; j += 8) {
        v8f g = v8_load(gate + j);

        v8_store(out + j, g / (1.0f + v8_exp(-g)) * v8_load(up + j));
    }
    if (j < n) {
        float g[8] = {0}, u[8] = {0};
        v8f v;

        memcpy(g, gate + j, (n - j) * sizeof(float));
        memcpy(u, up + j, (n - j) * sizeof(float));
        v = v8_load(g) / (1.0f + v8_exp(-v8_load(g))) * v8_load(u);
        memcpy(out + j, &v, (n - j) * sizeof(float));
    }
}

void cpu_silu_mul(struct device *dev, struct tensor out, struct tensor gate_up,
                  const struct act_rule *rule)
{
    size_t m = out.cols;

#pragma omp parallel for num_threads(cpu_team(dev, out.rows))
    for (size_t r = 0; r < out.rows; r++) {
        const float *g = (const float *)gate_up.data + r * 2 * m;
        float *o = (float *)out.data + r * m;

        silu_mul_row(o, g, g + m, m);
    }
    cpu_sparsify(dev, out, out, rule);
}

void cpu_linear_silu_mul(struct device *dev, struct tensor out, struct tensor gate_up,
                         struct tensor x, struct tensor w, const struct act_rule *rule)
{
    cpu_linear(dev, gate_up, x, w, 0);
    cpu_silu_mul(dev, out, gate_up, rule);
}

void cpu_sparsify(struct device *dev, struct tensor out, struct tensor x,
                  const struct act_rule *rule)
{
    size_t n = x.cols;
    uint64_t zeros = 0;

    if (out.data == x.data && (!rule || rule->kind == ACT_DENSE))
        return;
#pragma omp parallel for num_threads(cpu_team(dev, x.rows)) reduction(+ : zeros)
    for (size_t r = 0; r < x.rows; r++) {
        float *o = (float *)out.data + r * n;

        if (out.data != x.data)
            memcpy(o, (const float *)x.data + r * n, n * sizeof(float));
        cpu_apply_rule(o, n, rule, &zeros);
    }
    cpu_count(rule, zeros);
}

void cpu_join(struct device *dev, struct tensor out, const void *parts, size_t n_parts,
              const struct act_rule *rule)
{
    struct tensor part = {(void *)(uintptr_t)parts, out.dtype, out.rows, out.cols / n_parts};

    for (size_t i = 0; i < n_parts; i++) {
        cpu_copy_columns(dev, out, i * part.cols, part, 0, part.cols);
        part.data = (char *)part.data + tensor_nbytes(part);
    }
    cpu_sparsify(dev, out, out, rule);
}

void cpu_rmsnorm_joined(struct device *dev, struct tensor out, struct tensor x, size_t n_parts,
                        struct tensor weight, float eps, const struct act_rule *rule)
{
    struct tensor whole = x;

    whole.data = xmalloc(tensor_nbytes(whole));
    cpu_join(dev, whole, x.data, n_parts, NULL);
    cpu_rmsnorm(dev, out, whole, weight, eps, rule);
    free(whole.data);
}

void cpu_subtract(struct device *dev, struct tensor out, struct tensor a, struct tensor b)
{
    float *o = out.data;
    const float *x = a.data, *y = b.data;

#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t i = 0; i < tensor_numel(a); i++)
        o[i] = x[i] - y[i];
}

void cpu_sum_squares(struct device *dev, struct tensor s, struct tensor x)
{
    float *sum = s.data;

    (void)dev;
    for (size_t r = 0; r < x.rows; r++) {
        const float *xr = (const float *)x.data + r * x.cols;

        for (size_t j = 0; j < x.cols; j++)
            sum[j] += xr[j] * xr[j];
    }
}
