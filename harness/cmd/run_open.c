/* Opening a run: everything that can be wrong is found here, before the long work. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/archive.h"
#include "data/manifest.h"
#include "data/sources.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/procs.h"
#include "harness/base/sha256.h"
#include "harness/base/stop.h"
#include "harness/base/text.h"
#include "harness/cmd/run.h"
#include "harness/cmd/run_share.h"
#include "harness/model/parallel.h"
#include "harness/model/synthetic.h"

/* The type to compute with, and whether the backend can. */
static int choose_dtype(const struct run *r, enum dtype own, enum dtype *out)
{
    const struct run_options *o = &r->o;
    unsigned dtypes = r->dev->ops->dtypes;

    *out = own;
    if (strcmp(o->dtype, "auto") != 0)
        *out = strcmp(o->dtype, "f32") == 0   ? DTYPE_F32
               : strcmp(o->dtype, "f16") == 0 ? DTYPE_F16
                                              : DTYPE_BF16;
    else if (!(dtypes & 1u << own))
        *out = DTYPE_F32;
    if (!(dtypes & 1u << *out))
        return error("--dtype %s: the %s backend does not compute in it; try --dtype auto",
                     dtype_name(*out), r->dev->ops->name);
    return 0;
}

static int open_tokenizer(struct run *r, const char *dir, size_t n_vocab)
{
    if (!dir)
        return 0;
    if (tokenizer_open(&r->tokenizer, dir) != 0)
        return -1;
    if (tokenizer_n_vocab(r->tokenizer) > n_vocab)
        return error("%s: the tokenizer has %zu ids, the model's vocabulary %zu", dir,
                     tokenizer_n_vocab(r->tokenizer), n_vocab);
    return 0;
}

/* For a second model, and packed weights of both kinds of sparsity, which are smaller. */
static int has_room_for_dense(const struct run *r)
{
    double nbytes = (double)(config_n_params(&r->model.config) * dtype_size(r->model.dtype));

    size_t left = parallel_least(&r->model, r->dev->ops->memory_free(r->dev));

    return !r->model.store && (double)left > 1.8 * nbytes / (double)parallel_size(&r->model);
}

static void print_residence(const struct model *m)
{
    size_t n = 0;

    while (n < m->config.n_layers && layer_store_holds(m->store, n))
        n++;
    if (n == m->config.n_layers)
        fprintf(stderr, "the layers stay in host memory and are copied to the device in turn\n");
    else
        fprintf(stderr, "%zu of %zu layers stay in host memory, the others are %s each time\n", n,
                m->config.n_layers, m->checkpoint ? "read" : "made");
}

static int open_model(struct run *r)
{
    const struct run_options *o = &r->o;
    struct model_source src = {.seed = o->seed, .host_limit = o->host_limit};
    enum dtype dtype = DTYPE_F16; /* of synthetic weights */
    size_t n_vocab;

    if (device_open(&r->dev, o->backend, o->threads ? o->threads : procs_threads()) != 0)
        return -1;
    r->dev->memory_limit = o->memory_limit;
    if (o->tensor_parallel && procs_size() > 1 && r->dev->ops->comm_open(r->dev, &r->comm) != 0)
        return -1;
    src.comm = r->comm;
    if (o->shape ? synthetic_config(&src.config, o->shape) != 0
                 : checkpoint_open(&r->checkpoint, o->model) != 0)
        return -1;
    r->n_shape_layers = src.config.n_layers;
    if (o->n_layers && o->n_layers < src.config.n_layers)
        src.config.n_layers = o->n_layers;
    n_vocab = o->shape ? src.config.n_vocab : r->checkpoint.config.n_vocab;
    if (open_tokenizer(r, o->tokenizer ? o->tokenizer : o->model, n_vocab) != 0 ||
        (o->divergence && divergence_check(r->dev) != 0))
        return -1;
    if (!o->shape) {
        src.checkpoint = &r->checkpoint;
        dtype = checkpoint_dtype(&r->checkpoint);
        checkpoint_sha256(&r->checkpoint, r->model_sha256);
    }
    if (choose_dtype(r, dtype, &dtype) != 0 ||
        model_open_from(&r->model, r->dev, &src, dtype, o->residence) != 0)
        return -1;
    if (r->model.store && !o->quiet)
        print_residence(&r->model);
    return o->divergence || (r->keep_dense && has_room_for_dense(r))
               ? model_open_from(&r->dense, r->dev, &src, dtype, o->residence)
               : 0;
}

/* The bytes of a set's file and the SHA-256 over all of the task's files. */
static int read_set(const struct run *r, const char *set, const char *file, const char *labels,
                    struct buf *lines, struct buf *label_lines, char sha256[65])
{
    const struct source *src = source_find(set);
    const char *archive = src ? src->archive : NULL;
    struct sha256 h;

    if (data_read(r->o.data_dir, set, archive, file, lines) != 0 ||
        (labels && data_read(r->o.data_dir, set, archive, labels, label_lines) != 0))
        return -1;
    sha256_init(&h);
    sha256_update(&h, buf_str(lines), lines->n);
    sha256_update(&h, buf_str(label_lines), label_lines->n);
    sha256_final(&h, sha256);
    return 0;
}

static int open_choice_task(struct run *r, const struct task *t, struct prepared *p)
{
    struct buf lines = {0}, labels = {0};
    struct dataset data = {0};
    char sha256[65], *path = NULL;
    size_t expected;
    int rc = -1;

    if (read_set(r, t->set, t->file, t->labels, &lines, &labels, sha256) != 0 ||
        manifest_expected(r->o.data_dir, t->name, t->n_expected, &expected) != 0)
        goto out;
    path = xmalloc(strlen(t->set) + strlen(t->file) + 2);
    sprintf(path, "%s/%s", t->set, t->file);
    if (dataset_parse(t, &lines, t->labels ? &labels : NULL, path, expected, &data) != 0)
        goto out;
    rc = prepare_task(p, t, &data, sha256, r->o.limit, r->tokenizer, r->o.protocol,
                      r->model.config.max_positions);
out:
    free(path);
    buf_release(&lines);
    buf_release(&labels);
    return rc;
}

static int open_wikitext(struct run *r, struct prepared *p)
{
    static const char file[] = "wikitext-2-raw/wiki.test.raw";
    struct buf raw = {0}, none = {0};
    char sha256[65];
    int rc = read_set(r, "wikitext", file, NULL, &raw, &none, sha256);
    ptrdiff_t bad = utf8_valid(buf_str(&raw), raw.n);

    if (rc == 0 && bad >= 0)
        rc = error("wikitext/%s: invalid UTF-8 at byte %td", file, bad);
    if (rc == 0)
        rc = prepare_perplexity(p, &raw, sha256, r->o.limit, r->tokenizer, r->o.window,
                                !r->o.no_bos, r->model.config.max_positions);
    buf_release(&raw);
    return rc;
}

static int open_calibration(struct run *r)
{
    struct calib_source src = {&r->model, r->tokenizer, r->o.data_dir, r->o.seed, r->o.python_rng};
    unsigned needs = (unsigned)run_options_act_calibrates(&r->o);

    for (size_t i = 0; i < r->o.n_methods; i++)
        needs |= r->o.methods[i]->needs;
    if (!needs)
        return 0;
    if (calib_open(&r->calib, r->o.calib, &src) != 0)
        return -1;
    return r->o.save_calib ? calib_save(&r->calib, &src, r->o.save_calib) : 0;
}

static void add_cell(struct run *r, const struct pruner *m, double sparsity, double act)
{
    for (size_t i = 0; i < r->n_cells; i++)
        if (r->cells[i].method == m && r->cells[i].sparsity == sparsity &&
            r->cells[i].act_sparsity == act)
            return;
    r->cells[r->n_cells++] = (struct cell){m, sparsity, act};
}

/* The product of the lists; a method that takes no sparsity appears once. */
static int list_cells(struct run *r)
{
    const struct run_options *o = &r->o;

    if (o->baseline)
        add_cell(r, pruners[0], 0, 0);
    for (size_t a = 0; a < o->n_act_sparsities; a++)
        for (size_t s = 0; s < (o->n_sparsities ? o->n_sparsities : 1); s++)
            for (size_t m = 0; m < o->n_methods; m++) {
                double share = o->n_sparsities ? o->sparsities[s] : 0;

                if (o->nm_m)
                    share = (double)o->nm_n / (double)o->nm_m;
                if (!(o->methods[m]->takes & TAKES_SPARSITY))
                    share = 0;
                if (r->n_cells == MAX_LIST * MAX_LIST)
                    return error("the lists' product has more than %d cells", MAX_LIST * MAX_LIST);
                add_cell(r, o->methods[m], share, o->act_sparsities[a]);
            }
    return 0;
}

/* What is written at the end can be written. */
static int check_outputs(const struct run_options *o)
{
    const char *const paths[] = {o->out, o->save_calib, o->save_act_ratios};
    struct atomic_file a;

    for (int i = 0; i < 3; i++) {
        if (paths[i] && atomic_file_open(&a, paths[i]) != 0)
            return -1;
        if (paths[i])
            atomic_file_abort(&a);
    }
    if (o->layer_dir && dir_make(o->layer_dir) != 0)
        return -1;
    return o->log_samples ? dir_make(o->log_samples) : 0;
}

/* Tokens per forward pass when the options leave it open: as many as fill the device, within
 * AUTO_BYTES and half of what is free, but a window at least. */
#define AUTO_BYTES ((size_t)2 << 30)
#define AUTO_BYTES_STREAMED ((size_t)8 << 30) /* each batch brings all layers anew */
#define AUTO_ROWS_STREAMED 32768
#define AUTO_BYTES_SHARED ((size_t)3 << 30) /* halves of a batch take turns */

static size_t n_pages_for(size_t rows)
{
    return rows / KV_PAGE + rows / 4 + 64;
}

static size_t auto_rows(const struct run *r)
{
    const struct backend *ops = r->dev->ops;
    size_t rows = ops->busy_rows(r->dev), least = r->o.window;
    size_t most = r->model.store  ? AUTO_BYTES_STREAMED
                  : r->model.comm ? AUTO_BYTES_SHARED
                                  : AUTO_BYTES;
    size_t half;

    for (size_t i = 0; i < r->o.n_tasks; i++) {
        size_t longest = prepared_longest(&r->tasks[i]);

        least = longest > least ? longest : least;
    }
    if (r->model.store && !ops->is_host)
        rows = AUTO_ROWS_STREAMED;
    rows = rows > least ? rows : least;
    half = ops->memory_free(r->dev) / 2;
    most = most < half ? most : half;
    while (rows > least && session_nbytes(&r->model, rows, n_pages_for(rows), 0) > most)
        rows = rows / 2 > least ? rows / 2 : least;
    return rows;
}

static void say_how_to_go_on(const struct run *r)
{
    struct buf b = {0};

    buf_addf(&b, "results are in '%s': the same command goes on from there%s", r->o.resume,
             procs_size() == 1 ? ""
                               : ", with any number of processes (if one was lost, mpirun says so)");
    stop_advice(buf_str(&b));
    buf_release(&b);
}

static int open_parts(struct run *r)
{
    if (list_cells(r) != 0 || check_outputs(&r->o) != 0 || run_options_locate(&r->o) != 0 ||
        open_model(r) != 0 || run_open_ratios(r) != 0)
        return -1;
    for (size_t i = 0; i < r->o.n_tasks; i++) {
        const struct task *t = r->o.tasks[i];

        if ((t ? open_choice_task(r, t, &r->tasks[i]) : open_wikitext(r, &r->tasks[i])) != 0)
            return -1;
    }
    if (open_calibration(r) != 0)
        return -1;
    return r->o.resume ? journal_open(&r->journal, r->o.resume) : 0;
}

int run_open(struct run *r)
{
    size_t rows;

    if (run_share_check(r, open_parts(r)) != 0)
        return -1;
    if (r->journal)
        say_how_to_go_on(r);
    rows = run_share_rows(r->o.batch_tokens ? r->o.batch_tokens : auto_rows(r));
    session_open(&r->session, &r->model, rows, n_pages_for(rows), 0);
    for (size_t i = 0; i < r->o.n_tasks && r->o.per_layer; i++)
        if (!r->tasks[i].task)
            layer_probe_open(&r->probe, &r->session, r->tasks[i].ids.v, r->tasks[i].window);
    if (r->o.divergence) /* one window at a time */
        session_open(&r->dense_session, &r->dense, r->o.window, r->o.window / KV_PAGE + 1, 0);
    return 0;
}

void run_close(struct run *r)
{
    for (size_t i = 0; i < r->o.n_tasks; i++) {
        if (r->base)
            scores_release(&r->base[i]);
        prepared_release(&r->tasks[i]);
    }
    free(r->base);
    layer_probe_close(&r->probe);
    session_close(&r->session);
    session_close(&r->dense_session);
    journal_close(r->journal);
    records_release(&r->records);
    calib_release(&r->calib);
    act_setting_release(&r->act);
    act_setting_release(&r->dealt);
    free(r->act_ratios);
    model_close(&r->model);
    model_close(&r->dense);
    tokenizer_close(r->tokenizer);
    checkpoint_close(&r->checkpoint);
    free(r->o.command_line);
    device_close(r->dev);
}
