/* The files that a run's options name. */
#include <stdlib.h>

#include "data/calib.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/cmd/run_options_table.h"

/* What one option writes another would spoil. */
int options_check_files(const struct run_options *o)
{
    char *calib = calib_file(o->calib);
    const struct {
        const char *name, *path;
        int is_written;
    } files[] = {
        {"out", o->out, 1},
        {"resume", o->resume, 1},
        {"save-calib", o->save_calib, 1},
        {"save-act-ratios", o->save_act_ratios, 1},
        {"log-samples", o->log_samples, 1},
        {"layer-dir", o->layer_dir, 1},
        {"save", o->save, 1},
        {"calib", calib, 0},
        {"act-ratios", o->act_ratios, 0},
    };
    size_t n = sizeof(files) / sizeof(files[0]);
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        for (size_t k = i + 1; k < n && rc == 0; k++)
            if (files[i].path && files[k].path && (files[i].is_written || files[k].is_written) &&
                file_same(files[i].path, files[k].path))
                rc = error("--%s and --%s name the same file '%s'", files[i].name, files[k].name,
                           files[i].path);
    free(calib);
    if (rc == 0 && o->save_calib && !calib_is_file_name(o->save_calib))
        rc = error("--save-calib %s: --calib takes files by their end: name it %s.i32",
                   o->save_calib, o->save_calib);
    return rc;
}
