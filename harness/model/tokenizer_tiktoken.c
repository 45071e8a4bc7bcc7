/* To come. */
#include "harness/model/tokenizer.h"

static int sniff(const void *data, size_t nbytes)
{
    (void)data;
    (void)nbytes;
    return 0;
}

const struct tokenizer_kind tokenizer_tiktoken = {
    .name = "tiktoken", .file = "tokenizer.model", .sniff = sniff};
