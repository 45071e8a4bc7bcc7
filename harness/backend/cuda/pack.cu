#include "harness/backend/cuda/decode.cuh"

void cuda_pack(struct device *, struct packed *, struct tensor, enum packed_kind)
{
    die("CUDA: pack is not written yet");
}

void cuda_unpack(struct device *, struct tensor, const struct packed *)
{
    die("CUDA: unpack is not written yet");
}

void cuda_packed_free(struct device *, struct packed *)
{
}

void cuda_gemv(struct device *, struct tensor, struct tensor, const struct packed *, int)
{
    die("CUDA: gemv is not written yet");
}
