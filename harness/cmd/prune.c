/* duo prune: prune, (score,) and write a checkpoint. */
#include "harness/cmd/prune.h"

#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/buf.h"
#include "harness/base/folder.h"
#include "harness/cmd/cmd.h"

/* Reads back what was written, as any later command will. */
static int verify(const char *dir, char sha256[65])
{
    struct checkpoint c;

    if (checkpoint_open(&c, dir) != 0)
        return -1;
    checkpoint_sha256(&c, sha256);
    checkpoint_close(&c);
    return 0;
}

/* The shares of activations that the weights were pruned for, where they differ. */
static int save_shares(const struct run *r, const char *dir)
{
    char *path = path_join(dir, "act_ratios.json");
    int rc = r->dealt.ratios ? act_ratios_write(path, r->dealt.n_layers, r->dealt.ratios) : 0;

    free(path);
    return rc;
}

static int fill(const struct run *r, const char *dir)
{
    const struct run_options *o = &r->o;
    char sha256[65];

    if (save_weights(&r->model, dir, &o->saving) != 0 ||
        save_config(&r->model, dir, &o->saving, r->weight_zeros) != 0 ||
        save_companions(dir, o->model, o->tokenizer ? o->tokenizer : o->model) != 0 ||
        save_shares(r, dir) != 0 || verify(dir, sha256) != 0)
        return -1;
    return prune_write_provenance(r, dir, sha256);
}

static int save(const struct run *r)
{
    struct atomic_folder a;

    if (atomic_folder_open(&a, r->o.save) != 0)
        return -1;
    if (fill(r, a.tmp) != 0) {
        atomic_folder_abort(&a);
        return -1;
    }
    if (atomic_folder_commit(&a) != 0)
        return -1;
    if (!r->o.quiet)
        fprintf(stderr, "saved to %s: %s, %.2f %% of the linears' weights are zero or gone\n",
                r->o.save, dtype_name(run_saved_dtype(r)), 100 * r->weight_zeros);
    return 0;
}

int cmd_prune(int argc, char **argv)
{
    static struct run r;
    int rc = run_options_parse(&r.o, argc, argv);

    if (rc != 0)
        return rc > 0 ? 0 : 2;
    rc = atomic_folder_check(r.o.save);
    if (rc == 0)
        rc = run_open(&r);
    if (rc == 0 && r.o.saving.format == SAVE_DENSE)
        rc = atomic_folder_room(r.o.save, save_nbytes(&r.model, r.o.saving.dtype));
    if (rc == 0)
        rc = run_cell(&r, 0);
    if (rc == 0)
        rc = save(&r);
    if (rc == 0 && r.o.n_tasks)
        rc = output_write(&r.records, r.o.format, r.o.out);
    run_close(&r);
    return rc ? 1 : 0;
}
