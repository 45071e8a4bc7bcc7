/* The single file of weights of a checkpoint whose configuration is good: all tensors are read, the
 * compressed ones expanded. */
#include "harness/backend/tensor.h"
#include "harness/model/checkpoint.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small_model.h"

static unsigned sum_of(struct tensor t)
{
    const unsigned char *p = t.data;
    unsigned sum = 0;

    for (size_t i = 0; i < tensor_numel(t) * dtype_size(t.dtype); i++)
        sum += p[i];
    return sum;
}

void fuzz_checkpoint(const uint8_t *data, size_t n)
{
    static volatile unsigned sink;
    struct checkpoint c;
    struct tensor t;

    fuzz_file("config.json", small_model_config, strlen(small_model_config));
    fuzz_file("model.safetensors", data, n);
    if (checkpoint_open(&c, FUZZ_FOLDER) == 0) {
        for (size_t i = 0; i < SMALL_MODEL_TENSORS; i++) {
            const struct small_tensor *s = &small_model_tensors[i];

            if (checkpoint_tensor(&c, s->name, s->rows, s->cols, &t) == 0)
                sink += sum_of(t);
        }
        FUZZ_ACCEPTED(1);
        checkpoint_close(&c);
    }
    fuzz_files_forget();
}
