/* A safetensors file: every tensor that is accepted lies inside it and is as long as its shape. */
#include "harness/model/safetensors.h"
#include "tests/fuzz/fuzz.h"

void fuzz_safetensors(const uint8_t *data, size_t n)
{
    struct safetensors st = {.path = strdup("model.safetensors")};

    if (safetensors_parse_file(&st, data, n) == 0)
        for (size_t i = 0; i < st.n_tensors; i++) {
            const struct st_tensor *t = &st.tensors[i];
            size_t numel = 1;

            FUZZ_ASSERT((const uint8_t *)t->data >= data + 8 && t->nbytes <= n - 8);
            FUZZ_ASSERT((const uint8_t *)t->data + t->nbytes <= data + n);
            FUZZ_ACCEPTED(t->n_dims <= 8);
            for (size_t d = 0; d < t->n_dims; d++)
                numel *= t->dims[d];
            FUZZ_ASSERT(numel ? t->nbytes % numel == 0 : t->nbytes == 0);
            FUZZ_ASSERT(i == 0 || strcmp(st.tensors[i - 1].name, t->name) < 0);
        }
    safetensors_close(&st);
}
