/* The table of the decode path (decode.h). */
#include "harness/backend/cuda/decode.cuh"

const struct decode_ops decode_cuda = {
    .pack = cuda_pack,
    .unpack = cuda_unpack,
    .packed_free = cuda_packed_free,
    .gemv = cuda_gemv,
    .gemv_of = cuda_gemv_of,
    .rmsnorm = cuda_decode_rmsnorm,
    .attention = cuda_decode_attention,
    .silu_mul = cuda_decode_silu_mul,
    .sample = cuda_decode_sample,
    .force = cuda_decode_force,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .record_run = cuda_record_run,
    .record_free = cuda_record_free,
};
