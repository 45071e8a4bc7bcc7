/* duo.json: how a saved model came to be. */
#include <stdlib.h>

#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/cmd/prune.h"
#include "harness/measure/pyjson.h"
#include "harness/measure/record_fields.h"

static void add_text(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "  \"%s\": ", key);
    json_add_quoted(b, value);
    buf_adds(b, ",\n");
}

static void add_number(struct buf *b, const char *key, double value)
{
    buf_addf(b, "  \"%s\": ", key);
    pyjson_add_number(b, value);
    buf_adds(b, ",\n");
}

/* Every field of the recipe; those that the method does not have are null. */
static void add_recipe(struct buf *b, const struct record *cell)
{
    const char *sep = "\n";

    buf_adds(b, "  \"recipe\": {");
    for (const struct record_field *f = record_fields; f->name; f++) {
        if (f->group != GROUP_RECIPE)
            continue;
        buf_addf(b, "%s    \"%s\": ", sep, f->name);
        field_add_json(b, cell, f);
        sep = ",\n";
    }
    buf_adds(b, "\n  },\n");
}

/* Per layer that is left the share of zeros of each linear that it has. */
static void add_zeros(struct buf *b, const struct model *m)
{
    buf_adds(b, "  \"zeros\": [");
    for (size_t i = 0; i < m->config.n_layers; i++) {
        const struct layer *l = &m->layers[i];

        buf_adds(b, i ? ",\n    {" : "\n    {");
        for (int k = 0, n = 0; k < N_LINEARS; k++) {
            if (tensor_numel(l->linears[k].w) == 0)
                continue;
            buf_addf(b, "%s\"%s\": ", n++ ? ", " : "", l->linears[k].name);
            pyjson_add_number(b, (double)linear_zeros(m, i, k) /
                                     (double)tensor_numel(l->linears[k].w));
        }
        buf_addc(b, '}');
    }
    buf_adds(b, "\n  ],\n");
}

/* What went of a layer, as JSON; l NULL: all of it. */
static const char *removed(const struct layer_form *was, const struct layer *l)
{
    int attention = was->n_heads && !(l && layer_has_attention(l));
    int mlp = was->intermediate && !(l && layer_has_mlp(l));

    if (attention || mlp)
        return !mlp ? "\"attention\"" : !attention ? "\"mlp\"" : "\"layer\"";
    if (!l)
        return "null";
    return l->shape.n_heads < was->n_heads || l->intermediate < was->intermediate ? "\"parts\""
                                                                                  : "null";
}

/* One line for layer i of the model as it was read. */
static void add_left(struct buf *b, const struct model *m, size_t i, const struct layer *l)
{
    struct layer_form was = config_layer(&m->source, i);

    buf_addf(b,
             "%s    {\"layer\": %zu, \"removed\": %s, \"heads\": [%zu, %zu], \"neurons\": "
             "[%zu, %zu]}",
             i ? ",\n" : "\n", i, removed(&was, l), l ? l->shape.n_heads : 0, was.n_heads,
             l ? l->intermediate : 0, was.intermediate);
}

/* Of every layer heads and neurons, [left, of]; and the hidden size. */
static void add_layers(struct buf *b, const struct model *m)
{
    size_t next = 0;

    buf_addf(b, "  \"hidden_size\": [%zu, %zu],\n  \"layers\": [", m->config.hidden,
             m->source.hidden);
    for (size_t i = 0; i < m->source.n_layers; i++) {
        int there = next < m->config.n_layers && m->layers[next].source == i;

        add_left(b, m, i, there ? &m->layers[next] : NULL);
        next += (size_t)there;
    }
    buf_adds(b, "\n  ],\n");
}

static int add_scores(struct buf *b, const struct records *rs)
{
    buf_adds(b, "  \"scores\": [");
    for (size_t i = 0; i < rs->n; i++) {
        buf_adds(b, i ? ",\n    " : "\n    ");
        if (record_to_json(&rs->items[i], b) != 0)
            return -1;
    }
    buf_adds(b, rs->n ? "\n  ]\n" : "]\n");
    return 0;
}

int prune_write_provenance(const struct run *r, const char *dir, const char *saved_sha256)
{
    char *path = path_join(dir, "duo.json");
    struct record cell;
    struct buf b = {0};
    int rc;

    run_identity(r, &r->cells[0], &cell);
    buf_adds(&b, "{\n");
    add_text(&b, "written_by", "duo");
    add_text(&b, "git", cell.git);
    add_text(&b, "time", cell.time);
    add_text(&b, "model_sha256", saved_sha256);
    add_text(&b, "from_model", r->o.model);
    add_text(&b, "from_model_sha256", r->model_sha256);
    add_text(&b, "tokenizer_sha256", cell.tokenizer_sha256);
    add_recipe(&b, &cell);
    add_text(&b, "backend", cell.backend);
    add_text(&b, "device", cell.device);
    add_text(&b, "computed_in", cell.dtype);
    add_text(&b, "saved_as", dtype_name(run_saved_dtype(r)));
    add_number(&b, "n_params", cell.n_params);
    add_number(&b, "n_linear_params", cell.n_linear_params);
    add_number(&b, "weight_zeros", r->weight_zeros);
    add_layers(&b, &r->model);
    add_zeros(&b, &r->model);
    rc = add_scores(&b, &r->records);
    buf_adds(&b, "}\n");
    if (rc == 0)
        rc = file_write_atomic(path, b.data, b.n);
    record_release(&cell);
    buf_release(&b);
    free(path);
    return rc;
}
