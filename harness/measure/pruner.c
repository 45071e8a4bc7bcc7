/* The table of methods. */
#include "harness/measure/pruner.h"

#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

const struct pruner *pruner_find(const char *name)
{
    struct buf known = {0};

    for (int i = 0; pruners[i]; i++) {
        if (strcmp(pruners[i]->name, name) == 0)
            return pruners[i];
        buf_addf(&known, "%s%s", i ? ", " : "", pruners[i]->name);
    }
    error("no method '%s'; known: %s", name, buf_str(&known));
    buf_release(&known);
    return NULL;
}
