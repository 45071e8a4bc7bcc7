/* config.json: what is accepted has sizes that can be multiplied. */
#include "harness/model/config.h"
#include "tests/fuzz/fuzz.h"

void fuzz_config(const uint8_t *data, size_t n)
{
    struct llama_config c;

    if (config_parse(&c, (const char *)data, n, "config.json") != 0)
        return;
    FUZZ_ASSERT(c.n_layers && c.hidden && c.intermediate && c.n_heads && c.n_vocab);
    FUZZ_ASSERT(c.n_kv_heads && c.n_heads % c.n_kv_heads == 0);
    FUZZ_ASSERT(c.head_dim && c.head_dim % 2 == 0);
    FUZZ_ASSERT(c.eps > 0 && c.rope.theta > 0 && c.bos >= -1 && c.eos >= -1);
    FUZZ_ASSERT(config_n_params(&c) > config_n_linear_params(&c));
}
