/* Which packing of a weight is fastest to multiply by. */
#include "harness/backend/decode.h"

/* One H100 80GB HBM3 reads 3.1 TB/s; times of f16 products at LLaMA-2-7B's shapes in bytes that
 * could have been read meanwhile, per position of the weight: the constants are what a product
 * takes beside reading. Off by 4 % at most at 0/0, 0/50, 50/0, 50/50, 60/60 and 65/65 (zeros in
 * weights / inputs, percent). */
enum packed_kind packed_choose(double weight_zeros, double act_sparsity, enum dtype dtype)
{
    const double e = (double)dtype_size(dtype), active = 1 - act_sparsity;
    const double mask = 0.141; /* bytes of masks and tables */
    const double cost[] = {
        [PACKED_ROWS] = 0.217 + e,
        [PACKED_COLUMNS] = 0.208 + active * e,
        [PACKED_NONZEROS] = 0.324 + 1.08 * active * ((1 - weight_zeros) * e + mask),
    };
    enum packed_kind best = PACKED_ROWS;

    if (act_sparsity > 0 && cost[PACKED_COLUMNS] < cost[best])
        best = PACKED_COLUMNS;
    if (cost[PACKED_NONZEROS] < cost[best])
        best = PACKED_NONZEROS;
    return best;
}
