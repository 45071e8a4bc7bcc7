/* The table of pruning methods. A new one: a file beside this one and a line here. */
#include "prune/pruners.h"

const struct pruner *const pruners[] = {
    &pruner_dense,
    &pruner_magnitude,
    &pruner_wanda,
    &pruner_sparsegpt,
    &pruner_duogpt,
    &pruner_duogpt_plus,
    &pruner_shortgpt,
    &pruner_sleb,
    &pruner_blockpruner,
    &pruner_2ssp,
    &pruner_flap,
    &pruner_slicegpt,
    NULL,
};
