/* The table of methods, and running one. */
#include "harness/measure/pruner.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

const struct pruner *pruner_find(const char *name)
{
    struct buf known = {0};

    for (int i = 0; pruners[i]; i++)
        if (strcmp(pruners[i]->name, name) == 0)
            return pruners[i];
    for (int i = 0; pruners[i]; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", pruners[i]->name);
    error("no method '%s'; known: %s", name, buf_str(&known));
    buf_release(&known);
    return NULL;
}

int pruner_run(const struct pruner *p, struct prune_job *job)
{
    const struct layer_stats *s = job->stats;
    const struct tensor all[] = {s->sum_squares, s->gram, s->cross, s->residual};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].data && !job->dev->ops->all_finite(job->dev, all[i]))
            return error("layer %zu %s: the calibration statistics are not finite", job->layer,
                         job->names[0]);
    return p->prune(job);
}
