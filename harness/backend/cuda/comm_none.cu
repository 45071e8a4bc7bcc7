/* In a build without NCCL: a device is alone. */
#include "harness/backend/cuda/device.cuh"

int cuda_comm_open(struct device *dev, struct comm **out)
{
    (void)dev;
    *out = NULL;
    return error("this build has no NCCL: several GPUs cannot hold one model (make CUDA=1 NCCL=1)");
}
