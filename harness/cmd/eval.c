/* duo eval: (prune in memory, then) score. */
#include <stdio.h>

#include "harness/base/error.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run.h"

int cmd_eval(int argc, char **argv)
{
    static struct run r;
    int rc = run_options_parse(&r.o, argc, argv);

    if (rc != 0)
        return rc > 0 ? 0 : 2;
    rc = run_open(&r);
    for (size_t i = 0; i < r.n_cells && rc == 0; i++)
        rc = run_cell(&r, i);
    if (rc == 0)
        rc = output_write(&r.records, r.o.format, r.o.out);
    run_close(&r);
    return rc ? 1 : 0;
}
