/* The files that a run's options name. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "data/calib.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/cmd/run_options_table.h"

/* Those that are written. */
static const struct written {
    const char *name;
    size_t offset;
} written[] = {
    {"out", offsetof(struct run_options, out)},
    {"resume", offsetof(struct run_options, resume)},
    {"save-calib", offsetof(struct run_options, save_calib)},
    {"save-act-ratios", offsetof(struct run_options, save_act_ratios)},
    {"log-samples", offsetof(struct run_options, log_samples)},
    {"layer-dir", offsetof(struct run_options, layer_dir)},
    {"save", offsetof(struct run_options, save)},
};
#define N_WRITTEN (sizeof(written) / sizeof(written[0]))

static const char *path_of(const struct run_options *o, size_t i)
{
    return *(const char *const *)((const char *)o + written[i].offset);
}

int run_option_writes(const struct run_option *p)
{
    for (size_t i = 0; i < N_WRITTEN; i++)
        if (strcmp(p->name, written[i].name) == 0)
            return 1;
    return 0;
}

int options_write(const struct run_options *o)
{
    for (size_t i = 0; i < N_WRITTEN; i++)
        if (path_of(o, i))
            return 1;
    return 0;
}

/* Is none of the first i written files at this path? One option's would spoil the other's. */
static int check_path(const struct run_options *o, const char *name, const char *path, size_t i)
{
    for (size_t k = 0; k < i && path; k++)
        if (path_of(o, k) && file_same(path_of(o, k), path))
            return error("--%s and --%s name the same file '%s'", written[k].name, name,
                         path_of(o, k));
    return 0;
}

int options_check_files(const struct run_options *o)
{
    char *calib = calib_file(o->calib);
    int rc = 0;

    for (size_t i = 0; i < N_WRITTEN && rc == 0; i++)
        rc = check_path(o, written[i].name, path_of(o, i), i);
    if (rc == 0)
        rc = check_path(o, "calib", calib, N_WRITTEN);
    if (rc == 0)
        rc = check_path(o, "act-ratios", o->act_ratios, N_WRITTEN);
    free(calib);
    if (rc == 0 && o->save_calib && !calib_is_file_name(o->save_calib))
        rc = error("--save-calib %s: --calib takes files by their end: name it %s.i32",
                   o->save_calib, o->save_calib);
    return rc;
}
