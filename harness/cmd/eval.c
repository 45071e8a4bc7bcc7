/* duo eval: (prune in memory, then) score. */
#include "harness/base/stop.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run.h"
#include "harness/cmd/run_share.h"

int cmd_eval(int argc, char **argv)
{
    static struct run r;
    int rc = run_options_parse(&r.o, argc, argv);

    if (rc != 0)
        return rc > 0 ? 0 : 2;
    run_share_roles(&r.o);
    stop_advice(r.o.resume ? "nothing was scored yet: the same command starts again"
                           : "with --resume FILE its results would have been kept");
    rc = run_open(&r);
    if (rc == 0) {
        rc = run_cells(&r, NULL, NULL);
        if (r.records.n && output_write(&r.records, r.o.format, r.o.out) != 0)
            rc = -1;
    }
    run_close(&r);
    return rc ? 1 : 0;
}
