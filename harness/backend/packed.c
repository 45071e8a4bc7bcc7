/* Which packing of a weight is fastest to multiply by. */
#include "harness/backend/decode.h"

/* One H100 80GB HBM3 reads 3.1 TB/s; times of f16 products at LLaMA-2-7B's shapes (means of four
 * shapes, 50.6 M positions) in bytes that could have been read meanwhile. Off by 4 % at most at
 * 0/0, 0/50, 50/0, 50/50, 60/60 and 65/65 (zeros in weights / inputs, percent). */
enum packed_kind packed_choose(double weight_zeros, double act_sparsity, enum dtype dtype,
                               size_t n_out, size_t n_in)
{
    const double n = (double)n_out * (double)n_in, e = (double)dtype_size(dtype);
    const double active = 1 - act_sparsity, mask = 0.141; /* bytes of masks and tables a position */
    const double cost[] = {
        [PACKED_ROWS] = 11.0e6 + n * e,
        [PACKED_COLUMNS] = 10.5e6 + n * active * e,
        [PACKED_NONZEROS] = 16.4e6 + 1.08 * n * active * ((1 - weight_zeros) * e + mask),
    };
    enum packed_kind best = PACKED_ROWS;

    if (act_sparsity > 0 && cost[PACKED_COLUMNS] < cost[best])
        best = PACKED_COLUMNS;
    if (cost[PACKED_NONZEROS] < cost[best])
        best = PACKED_NONZEROS;
    return best;
}
