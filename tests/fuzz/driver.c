/* libFuzzer's entry for the target that -DFUZZ_TARGET names. */
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "tests/fuzz/fuzz.h"

int omp_get_num_procs(void);
int omp_get_thread_num(void);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* These programs are built without OpenMP. */
int omp_get_num_procs(void)
{
    return 1;
}

int omp_get_thread_num(void)
{
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    error_silence(!getenv("LOUD")); /* LOUD=1: why an input is refused */
    progress_quiet(1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    FUZZ_TARGET(data, n);
    return 0;
}
