/* Protocol presets. */
#include "harness/measure/protocol.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

static const struct protocol lmeval_0_4 = {
    .name = "lmeval-0.4",
    .summary = "lm-eval 0.4.0 - 0.4.9.1: no BOS before a context (DuoGPT, GPTAQ, SliceGPT, 2SSP)",
    .bos = 0,
};

static const struct protocol lmeval_0_4_9_2 = {
    .name = "lmeval-0.4.9.2",
    .summary = "lm-eval 0.4.9.2 and later: BOS before every context",
    .bos = 1,
};

const struct protocol *const protocols[] = {&lmeval_0_4, &lmeval_0_4_9_2, NULL};

const struct protocol *protocol_find(const char *name)
{
    struct buf known = {0};

    for (int i = 0; protocols[i]; i++)
        if (!name || strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    for (int i = 0; protocols[i]; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", protocols[i]->name);
    error("no protocol '%s'; known: %s", name, buf_str(&known));
    buf_release(&known);
    return NULL;
}
