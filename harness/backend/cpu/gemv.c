/* One token's product with a packed weight (layouts in packed.h): blocks of rows side by side, each
 * block's sums over the columns in their order. A row's bits depend on its weights and on x alone.
 */
#include "harness/backend/cpu/packed.h"

/* Adds column c of block b times x to sum. */
static void add_dense(float *sum, const struct packed *w, size_t b, size_t c, float x)
{
    const float *v = packed_column(w, b, c);

    for (size_t r = 0; r < packed_rows(w, b); r++)
        sum[r] += x * v[r];
}

static void add_nonzeros(float *sum, const struct packed *w, size_t b, size_t c, float x)
{
    const uint8_t *entry = packed_entry(w, b, c);
    const float *v = packed_values(w, b) + packed_first(entry);

    for (size_t r = 0; r < packed_rows(w, b); r++)
        if (packed_has(entry, r))
            sum[r] += x * *v++;
}

static void sum_rows(float *sum, const struct packed *w, size_t b, const float *x)
{
    const float *v = (const float *)w->data + b * w->layout * w->n_in;

    for (size_t r = 0; r < packed_rows(w, b); r++)
        for (size_t c = 0; c < w->n_in; c++)
            sum[r] += x[c] * v[r * w->n_in + c];
}

static void sum_columns(float *sum, const struct packed *w, size_t b, const float *x)
{
    for (size_t c = 0; c < w->n_in; c++) {
        if (x[c] == 0)
            continue;
        if (w->kind == PACKED_COLUMNS)
            add_dense(sum, w, b, c, x[c]);
        else
            add_nonzeros(sum, w, b, c, x[c]);
    }
}

void cpu_gemv(struct device *dev, struct tensor out, struct tensor x, const struct packed *w,
              int accumulate)
{
    float *o = out.data;

#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t b = 0; b < packed_blocks(w); b++) {
        float sum[PACKED_MAX_ROWS] = {0};

        if (w->kind == PACKED_ROWS)
            sum_rows(sum, w, b, x.data);
        else
            sum_columns(sum, w, b, x.data);
        for (size_t r = 0; r < packed_rows(w, b); r++) {
            float *to = o + b * w->layout + r;

            *to = accumulate ? *to + sum[r] : sum[r];
        }
    }
}
