/* config.json: what is accepted has sizes that can be multiplied. */
#include "harness/model/config.h"
#include "tests/fuzz/fuzz.h"

void fuzz_config(const uint8_t *data, size_t n)
{
    struct llama_config c;

    if (config_parse(&c, (const char *)data, n, "config.json") != 0)
        return;
    FUZZ_ACCEPTED(c.n_layers && c.hidden && c.intermediate && c.n_heads && c.n_vocab);
    FUZZ_ASSERT(c.n_kv_heads && c.n_heads % c.n_kv_heads == 0);
    FUZZ_ASSERT(c.head_dim && c.head_dim % 2 == 0);
    FUZZ_ASSERT(c.eps > 0 && c.rope.theta > 0 && c.bos >= -1 && c.eos >= -1);
    FUZZ_ASSERT(config_n_params(&c) > config_n_linear_params(&c));
    for (size_t i = 0; i < c.n_layers; i++) {
        struct layer_form f = config_layer(&c, i);

        FUZZ_ASSERT(f.n_heads <= c.n_heads && f.n_kv_heads <= c.n_kv_heads);
        FUZZ_ASSERT(f.n_heads ? f.n_kv_heads && f.n_heads % f.n_kv_heads == 0 : !f.n_kv_heads);
        FUZZ_ASSERT(f.intermediate <= c.intermediate);
    }
    config_release(&c);
}
