/* The published shapes. */
#include "harness/model/synthetic.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

static const struct {
    const char *name;
    size_t n_layers, hidden, intermediate, n_heads, n_kv_heads, n_vocab, max_positions;
    double theta;
} shapes[] = {
    {"tiny", 2, 64, 160, 4, 2, 4096, 512, 1e4}, /* for trying things out, and for tests */
    {"llama2-7b", 32, 4096, 11008, 32, 32, 32000, 4096, 1e4},
    {"llama2-13b", 40, 5120, 13824, 40, 40, 32000, 4096, 1e4},
    {"llama2-70b", 80, 8192, 28672, 64, 8, 32000, 4096, 1e4},
    {"llama3-8b", 32, 4096, 14336, 32, 8, 128256, 8192, 5e5},
    {"llama3-70b", 80, 8192, 28672, 64, 8, 128256, 8192, 5e5},
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static int unknown(const char *name)
{
    struct buf known = {0};

    for (size_t i = 0; i < N_SHAPES; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", shapes[i].name);
    error("no shape '%s'; known: %s", name, buf_str(&known));
    buf_release(&known);
    return -1;
}

int synthetic_config(struct llama_config *c, const char *name)
{
    size_t i = 0;

    while (i < N_SHAPES && strcmp(shapes[i].name, name) != 0)
        i++;
    if (i == N_SHAPES)
        return unknown(name);
    *c = (struct llama_config){.n_layers = shapes[i].n_layers,
                               .hidden = shapes[i].hidden,
                               .intermediate = shapes[i].intermediate,
                               .n_heads = shapes[i].n_heads,
                               .n_kv_heads = shapes[i].n_kv_heads,
                               .head_dim = shapes[i].hidden / shapes[i].n_heads,
                               .n_vocab = shapes[i].n_vocab,
                               .max_positions = shapes[i].max_positions,
                               .eps = 1e-5f,
                               .bos = -1,
                               .eos = -1};
    c->rope.theta = shapes[i].theta;
    return 0;
}

uint64_t synthetic_stream(const char *tensor_name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const char *p = tensor_name; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return h >> 1;
}
