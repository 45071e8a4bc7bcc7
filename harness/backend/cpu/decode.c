/* Decoding on the CPU: one token through the operations of batches, and the choice of the next. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/backend/cpu/cpu.h"

/* A batch of one segment of one row, whose pages lie in order: the bits are those of prefill. */
static void decode_attention(struct device *dev, struct tensor out, struct tensor qkv,
                             struct kv_layer kv, struct attention_shape shape,
                             struct tensor cos_sin, const int32_t *position, size_t max_positions)
{
    const int32_t seg_row[] = {0, 1}, zero = 0;
    size_t n_pages = (size_t)*position / KV_PAGE + 1;
    int32_t *pages = xmalloc(n_pages * sizeof(*pages));
    const struct batch_layout b = {
        .n_rows = 1,
        .n_segments = 1,
        .n_copies = 1,
        .max_positions = (size_t)*position + 1,
        .positions = position,
        .seg_row = seg_row,
        .seg_pos = position,
        .seg_page = &zero,
        .pages = pages,
        .copy_row = &zero,
        .copy_slot = position,
    };

    assert(b.max_positions <= max_positions);
    for (size_t i = 0; i < n_pages; i++)
        pages[i] = (int32_t)i;
    cpu_kv_write(dev, kv, qkv, shape, cos_sin, &b);
    cpu_attention(dev, out, qkv, kv, shape, cos_sin, &b, NULL);
    free(pages);
}

static void gemv_of(struct device *dev, struct tensor out, const struct decode_input *in,
                    const struct packed *w, int accumulate)
{
    cpu_gemv(dev, out, decode_input_row(dev, in), w, accumulate);
}

static int32_t arg_max(const float *x, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return (int32_t)best;
}

/* Sum of e^((x_i - max) / temperature), in the order of the ids, up to the first that is larger
 * than stop; *at: the id that made it so, or the last one of weight. */
static double sum_exp(const float *x, size_t n, float max, double temperature, double stop,
                      int32_t *at)
{
    double sum = 0;

    for (size_t i = 0; i < n && sum <= stop; i++) {
        double e = exp(((double)x[i] - max) / temperature);

        sum += e;
        if (e > 0)
            *at = (int32_t)i;
    }
    return sum;
}

static void move_on(struct decode_cursor *cursor, int32_t id)
{
    cursor->id = id;
    cursor->position++;
}

static void cpu_sample(struct device *dev, struct decode_cursor *cursor, int32_t *ids,
                       struct tensor logits, float temperature)
{
    const float *x = logits.data;
    size_t n = logits.cols;
    int32_t id = arg_max(x, n);

    (void)dev;
    if (temperature > 0) {
        struct pcg32 g = {cursor->rng, DECODE_RNG_INC};
        float max = x[id];
        double total = sum_exp(x, n, max, temperature, INFINITY, &id);

        sum_exp(x, n, max, temperature, pcg32_double(&g) * total, &id);
        cursor->rng = g.state;
    }
    move_on(cursor, id);
    ids[cursor->position] = id;
}

static void cpu_force(struct device *dev, struct decode_cursor *cursor, const int32_t *ids,
                      struct tensor logits, double *logprob)
{
    const float *x = logits.data;
    int32_t id = ids[cursor->position + 1], top = arg_max(x, logits.cols), last;
    double sum = sum_exp(x, logits.cols, x[top], 1, INFINITY, &last);

    (void)dev;
    move_on(cursor, id);
    logprob[cursor->position] = (double)x[id] - x[top] - log(sum);
}

const struct decode_ops cpu_decode = {
    .rmsnorm = cpu_rmsnorm,
    .pack = cpu_pack,
    .unpack = cpu_unpack,
    .packed_free = cpu_packed_free,
    .gemv = cpu_gemv,
    .gemv_of = gemv_of,
    .attention = decode_attention,
    .silu_mul = cpu_silu_mul,
    .sample = cpu_sample,
    .force = cpu_force,
};
