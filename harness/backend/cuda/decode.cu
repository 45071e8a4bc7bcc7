/* The table of the decode path (decode.h). */
#include "harness/backend/cuda/decode.cuh"

const struct decode_ops decode_cuda = {
    .pack = cuda_pack,
    .unpack = cuda_unpack,
    .packed_free = cuda_packed_free,
    .gemv = cuda_gemv,
    .attention = NULL,
    .silu_mul = NULL,
    .sample = NULL,
    .force = NULL,
    .record_begin = NULL,
    .record_end = NULL,
    .record_run = NULL,
    .record_free = NULL,
};
