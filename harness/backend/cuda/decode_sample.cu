/* The choice of the next token.
 *
 * Every block takes a run of ids and leaves its maximum, the first id that has it, and the sum of
 * e^((x - maximum) / temperature); the last block to finish puts them together in the blocks'
 * order. A draw is the first id at which the cumulative sum passes u times the whole: the block is
 * found from the blocks' sums, the id by going over the block's run again. All sums in double and
 * in a fixed order: the same logits and generator give the same id. */
#include <math.h>

#include "harness/backend/cuda/decode.cuh"

#define THREADS 256
#define MOST_BLOCKS 128

struct part {
    float max;
    int id;
    double sum;
};

struct sample_args {
    struct decode_cursor *cursor;
    int32_t *ids;
    double *logprob; /* not NULL: the token is given */
    const float *logits;
    int n, run; /* ids, and how many of them a block takes */
    float temperature;
    struct part *parts;
    unsigned *ticket; /* 0 between launches */
};

/* Larger, or equal and earlier. */
__device__ __forceinline__ bool goes_before(float x, int i, float y, int j)
{
    return x > y || (x == y && i < j);
}

/* Maximum of every thread's (x, id) to all; slots: 32 of each. */
__device__ __forceinline__ void block_arg_max(float *x, int *id, float *xs, int *ids)
{
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    for (int round = 0; round < 2; round++) {
        for (int o = 16; o; o >>= 1) {
            float y = __shfl_xor_sync(~0u, *x, o);
            int j = __shfl_xor_sync(~0u, *id, o);

            if (goes_before(y, j, *x, *id)) {
                *x = y;
                *id = j;
            }
        }
        if (round)
            return;
        if (lane == 0) {
            xs[warp] = *x;
            ids[warp] = *id;
        }
        __syncthreads();
        *x = lane < blockDim.x / 32 ? xs[lane] : -INFINITY;
        *id = lane < blockDim.x / 32 ? ids[lane] : INT_MAX;
    }
}

/* e^((x - max) / temperature) */
__device__ __forceinline__ double weight_of(float x, float max, float temperature)
{
    return (double)expf((x - max) / temperature);
}

/* The block's part of the logits. */
__device__ struct part make_part(const struct sample_args &a)
{
    __shared__ float xs[32];
    __shared__ int ids[32];
    __shared__ double sums[32];
    const int first = (int)blockIdx.x * a.run, end = min(first + a.run, a.n);
    struct part p = {-INFINITY, INT_MAX, 0};

    for (int i = first + (int)threadIdx.x; i < end; i += THREADS)
        if (goes_before(a.logits[i], i, p.max, p.id)) {
            p.max = a.logits[i];
            p.id = i;
        }
    block_arg_max(&p.max, &p.id, xs, ids);
    if (a.temperature > 0 && p.max > -INFINITY)
        for (int i = first + (int)threadIdx.x; i < end; i += THREADS)
            p.sum += weight_of(a.logits[i], p.max, a.temperature);
    p.sum = block_sum(p.sum, sums);
    return p;
}

/* As base/rng.h. */
__device__ __forceinline__ unsigned pcg32(unsigned long long *state)
{
    unsigned long long old = *state;
    unsigned x = (unsigned)(((old >> 18) ^ old) >> 27), r = (unsigned)(old >> 59);

    *state = old * 6364136223846793005ULL + DECODE_RNG_INC;
    return x >> r | x << (32 - r & 31);
}

__device__ __forceinline__ double pcg_double(unsigned long long *state)
{
    unsigned long long hi = pcg32(state), lo = pcg32(state);

    return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

/* The id at which the cumulative sum of the run [first, end) passes `stop`; the last one of any
 * weight where rounding keeps it from passing. A warp looks at 32 ids at a time. */
__device__ int find_in_run(const struct sample_args &a, int first, int end, float max, double stop)
{
    int lane = (int)threadIdx.x % 32, last = first;
    double before = 0;

    for (int i = first; i < end; i += 32) {
        double w = i + lane < end ? weight_of(a.logits[i + lane], max, a.temperature) : 0;
        double upto = w;
        unsigned past;

        for (int o = 1; o < 32; o <<= 1) {
            double y = __shfl_up_sync(~0u, upto, o);

            upto += lane >= o ? y : 0;
        }
        past = __ballot_sync(~0u, before + upto > stop && w > 0);
        if (past)
            return i + __ffs((int)past) - 1;
        past = __ballot_sync(~0u, w > 0);
        if (past)
            last = i + 31 - __clz((int)past);
        before += __shfl_sync(~0u, upto, 31);
    }
    return last;
}

/* By one warp: the token from the parts, read afresh from where other blocks left them. */
__device__ void choose(const struct sample_args &a, int n_parts)
{
    int lane = (int)threadIdx.x, id = INT_MAX, pos = a.cursor->position + 1;
    float max = -INFINITY;
    double total = 0;
    unsigned long long state = a.cursor->rng;

    for (int b = 0; b < n_parts; b++) {
        float m = __ldcg(&a.parts[b].max);

        if (m > max) {
            max = m;
            id = __ldcg(&a.parts[b].id);
        }
    }
    if (a.temperature > 0) {
        for (int b = 0; b < n_parts; b++)
            total +=
                __ldcg(&a.parts[b].sum) * weight_of(__ldcg(&a.parts[b].max), max, a.temperature);
        if (a.logprob) {
            id = a.ids[pos];
            if (lane == 0)
                a.logprob[pos] = (double)a.logits[id] - max - log(total);
        } else {
            double stop = pcg_double(&state) * total, sum = 0, scale = 1;
            int b = -1, last = 0;

            for (int i = 0; i < n_parts && b < 0; i++) {
                double s = weight_of(__ldcg(&a.parts[i].max), max, a.temperature);
                double w = __ldcg(&a.parts[i].sum) * s;

                if (w > 0) {
                    last = i;
                    scale = s;
                }
                if (w > 0 && sum + w > stop)
                    b = i;
                else
                    sum += w;
            }
            if (b < 0) { /* by rounding: the last run of any weight */
                b = last;
                stop = INFINITY;
            }
            id = find_in_run(a, b * a.run, min((b + 1) * a.run, a.n), __ldcg(&a.parts[b].max),
                             (stop - sum) / scale);
        }
    }
    if (id >= a.n) /* nothing but NaN */
        id = 0;
    if (lane == 0) {
        a.cursor->rng = state;
        a.cursor->id = id;
        a.cursor->position = pos;
        if (!a.logprob)
            a.ids[pos] = id;
        *a.ticket = 0;
    }
}

__global__ void __launch_bounds__(THREADS) decode_sample(struct sample_args a)
{
    __shared__ bool last;
    struct part p;

    grid_wait();
    grid_release();
    p = make_part(a);
    if (threadIdx.x == 0) {
        a.parts[blockIdx.x] = p;
        __threadfence();
        last = atomicAdd(a.ticket, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x < 32)
        choose(a, (int)gridDim.x);
}

static void launch(struct device *dev, struct sample_args *a, struct tensor logits)
{
    unsigned blocks = n_blocks(logits.cols, 4 * THREADS);

    blocks = blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS;
    a->logits = (const float *)logits.data;
    a->n = (int)logits.cols;
    a->run = (int)n_blocks(logits.cols, blocks);
    a->ticket = decode_tickets(dev, 1);
    a->parts = (struct part *)decode_scratch(dev, MOST_BLOCKS * sizeof(struct part));
    launch_after(dev, decode_sample, n_blocks(logits.cols, (size_t)a->run), THREADS, 0, *a);
}

void cuda_decode_sample(struct device *dev, struct decode_cursor *cursor, int32_t *ids,
                        struct tensor logits, float temperature)
{
    struct sample_args a = {};

    a.cursor = cursor;
    a.ids = ids;
    a.temperature = temperature;
    launch(dev, &a, logits);
}

void cuda_decode_force(struct device *dev, struct decode_cursor *cursor, const int32_t *ids,
                       struct tensor logits, double *logprob)
{
    struct sample_args a = {};

    a.cursor = cursor;
    a.ids = (int32_t *)ids;
    a.logprob = logprob;
    a.temperature = 1;
    launch(dev, &a, logits);
}
