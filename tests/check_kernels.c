/* check_kernels [--backend NAME] [--seed N] [--bench] [--only GROUP]: checks every operation of a
 * backend (auto: the GPU, if there is one) against the CPU's, on shapes and values that are hard to
 * get right; --bench then times them at LLaMA-2-7B's shapes. Not part of make test: it needs a GPU.
 */
#include "tests/check_kernels.h"

struct device *dev, *ref;
struct pcg32 rng;

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
    const char *only = option(argc, argv, "--only", "");
    int failed = 0;
    unsigned long long seed = strtoull(option(argc, argv, "--seed", "1"), NULL, 10);

    if (device_open(&dev, option(argc, argv, "--backend", "auto"), 0) != 0)
        return 1;
    device_open(&ref, "cpu", 0);
    pcg32_init(&rng, seed, 3);
    printf("# %s: %s; seed %llu\n", dev->ops->name, dev->ops->describe(dev), seed);
    if (!*only || strcmp(only, "forward") == 0)
        failed += check_forward();
    if (!*only || strcmp(only, "attention") == 0)
        failed += check_attention();
    if (!*only || strcmp(only, "prune") == 0)
        failed += check_prune();
    if (flag(argc, argv, "--bench"))
        bench();
    device_close(ref);
    device_close(dev);
    printf("%d failed\n", failed);
    return failed != 0;
}
