/* check_kernels [--backend NAME] [--seed N] [--bench] [--only GROUP] [--dtype T] [--quick]: checks
 * every operation of a backend (auto: the GPU, if there is one) against the CPU's, on shapes and
 * values that are hard to get right; --bench then times them at LLaMA-2-7B's shapes; --quick keeps
 * the shapes small, for a run under a sanitizer. Not part of make test: it needs a GPU. */
#include "tests/check_kernels.h"

struct device *dev, *ref;
struct pcg32 rng;
unsigned checked_dtypes;
int quick;

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

static int flag(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    const char *dtype = option(argc, argv, "--dtype", "");
    const char *only = option(argc, argv, "--only", "");
    int failed = 0;
    unsigned long long seed = strtoull(option(argc, argv, "--seed", "1"), NULL, 10);

    if (device_open(&dev, option(argc, argv, "--backend", "auto"), 0) != 0)
        return 1;
    device_open(&ref, "cpu", 0);
    pcg32_init(&rng, seed, 3);
    for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++)
        if ((dev->ops->dtypes >> t & 1) && (!*dtype || strcmp(dtype, dtype_name(t)) == 0))
            checked_dtypes |= 1u << t;
    quick = flag(argc, argv, "--quick");
    printf("# %s: %s; seed %llu\n", dev->ops->name, dev->ops->describe(dev), seed);
    if (!*only || strcmp(only, "rows") == 0)
        failed += check_rows();
    if (!*only || strcmp(only, "linear") == 0)
        failed += check_linear();
    if (!*only || strcmp(only, "attention") == 0)
        failed += check_attention();
    if (!*only || strcmp(only, "prune") == 0)
        failed += check_prune();
    if (!*only || strcmp(only, "decode") == 0)
        failed += check_decode();
    if (!*only || strcmp(only, "decode_step") == 0)
        failed += check_decode_step();
    if (flag(argc, argv, "--bench"))
        bench();
    device_close(ref);
    device_close(dev);
    printf("%d failed\n", failed);
    return failed != 0;
}
