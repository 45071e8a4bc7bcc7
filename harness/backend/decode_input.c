/* A decode product's input by operations of its own: where a backend does not make it inside the
 * product. */
#include "harness/backend/backend.h"

struct tensor decode_input_row(struct device *dev, const struct decode_input *in)
{
    const struct decode_ops *ops = dev->ops->decode;

    switch (in->kind) {
    case INPUT_NORM:
        ops->rmsnorm(dev, in->row, in->x, in->weight, in->eps, in->rule);
        return in->row;
    case INPUT_GATE:
        ops->silu_mul(dev, in->row, in->x, in->rule);
        return in->row;
    case INPUT_ROW:
        break;
    }
    if (in->rule && in->rule->kind != ACT_DENSE)
        dev->ops->sparsify(dev, in->x, in->x, in->rule);
    return in->x;
}
