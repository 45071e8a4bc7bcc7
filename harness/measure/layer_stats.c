/* Collecting the statistics of a group's input. */
#include "harness/measure/layer_stats.h"

static struct tensor zeros(struct device *dev, size_t rows, size_t cols)
{
    struct tensor t = device_tensor(dev, DTYPE_F32, rows, cols);

    dev->ops->zero(dev, t.data, tensor_nbytes(t));
    return t;
}

void layer_stats_init(struct layer_stats *st, struct device *dev, unsigned needs, size_t k)
{
    *st = (struct layer_stats){0};
    if (needs & NEED_SUM_SQUARES)
        st->sum_squares = zeros(dev, 1, k);
    if (needs & NEED_GRAM)
        st->gram = zeros(dev, k, k);
    if (needs & NEED_RESIDUAL) {
        st->cross = zeros(dev, k, k);
        st->residual = zeros(dev, 1, k);
    }
}

void layer_stats_release(struct layer_stats *st, struct device *dev)
{
    device_tensor_free(dev, &st->sum_squares);
    device_tensor_free(dev, &st->gram);
    device_tensor_free(dev, &st->cross);
    device_tensor_free(dev, &st->residual);
    st->n_tokens = 0;
}

void layer_stats_add(struct layer_stats *st, struct device *dev, struct tensor x,
                     struct tensor dense, struct tensor room)
{
    st->n_tokens += x.rows;
    if (st->sum_squares.data)
        dev->ops->sum_squares(dev, st->sum_squares, x);
    if (st->gram.data)
        dev->ops->gram(dev, st->gram, x);
    if (st->cross.data) {
        struct tensor diff = {room.data, room.dtype, x.rows, x.cols};

        dev->ops->subtract(dev, diff, dense, x);
        dev->ops->cross(dev, st->cross, diff, x);
        dev->ops->sum_squares(dev, st->residual, diff);
    }
}
