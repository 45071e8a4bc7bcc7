/* model.safetensors.index.json of a checkpoint whose configuration and files are good. */
#include "harness/model/checkpoint.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small_model.h"

void fuzz_index(const uint8_t *data, size_t n)
{
    static char *a, *b;
    static size_t n_a, n_b;
    struct checkpoint c;

    if (!a) {
        a = small_model_file(0, 1, &n_a);
        b = small_model_file(1, SMALL_MODEL_TENSORS, &n_b);
    }
    fuzz_file("config.json", small_model_config, strlen(small_model_config));
    fuzz_file("a.safetensors", a, n_a);
    fuzz_file("b.safetensors", b, n_b);
    fuzz_file("model.safetensors.index.json", data, n);
    if (checkpoint_open(&c, FUZZ_FOLDER) == 0) {
        FUZZ_ACCEPTED(c.n_shards == 2);
        checkpoint_close(&c);
    }
    fuzz_files_forget();
}
