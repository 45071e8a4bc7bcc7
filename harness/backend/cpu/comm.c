/* Processes on CPUs: what they exchange goes through the processes' own library. */
#include <stdlib.h>
#include <string.h>

#include "harness/backend/cpu/cpu.h"
#include "harness/base/error.h"
#include "harness/base/procs.h"

static void all_gather(struct comm *c, void *dst, const void *src, size_t nbytes)
{
    void *mine = xmalloc(nbytes); /* src may lie in dst */

    (void)c;
    memcpy(mine, src, nbytes);
    procs_all_gather(mine, nbytes, dst);
    free(mine);
}

static void done(struct comm *c)
{
    (void)c;
}

int cpu_comm_open(struct device *dev, struct comm **out)
{
    struct comm *c = xcalloc(1, sizeof(*c));

    (void)dev;
    *c = (struct comm){.rank = procs_rank(),
                       .size = procs_size(),
                       .all_gather = all_gather,
                       .begin = all_gather,
                       .wait = done};
    *out = c;
    return 0;
}
