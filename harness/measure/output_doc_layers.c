/* The table of what pruning did to the layers: a row per cell. */
#include <math.h>
#include <string.h>

#include "harness/measure/layer_probe.h"
#include "harness/measure/output_doc.h"

enum { METHOD, WEIGHTS, ACTS, LEAST, MOST, MEAN, WORST, STREAM, N_COLS };

static const char *const heads[N_COLS] = {"method",       "W %",
                                          "A %",          "least zeros %",
                                          "most zeros %", "layer's error %",
                                          "worst layer",  "error at the end %"};

static const struct record *find(const struct block *k, size_t cell, enum layer_metric metric)
{
    for (size_t i = k->n; i-- > 0;)
        if (k->cells.of_record[i] == cell &&
            strcmp(k->records[i]->metric, layer_metric_names[metric]) == 0)
            return k->records[i];
    return NULL;
}

/* Index of the smallest or the largest number. */
static size_t extreme(const struct record *r, int largest)
{
    size_t at = 0;

    for (size_t i = 1; i < r->n_by_layer; i++)
        if (largest ? r->by_layer[i] > r->by_layer[at] : r->by_layer[i] < r->by_layer[at])
            at = i;
    return at;
}

static void set_cell(struct table *t, size_t row, const struct block *k, size_t cell)
{
    const struct record *r = k->cells.first[cell], *zeros = find(k, cell, LAYER_ZEROS);
    const struct record *own = find(k, cell, LAYER_OUTPUT_ERROR);
    const struct record *stream = find(k, cell, LAYER_STREAM_ERROR);

    table_set(t, row, METHOD, "%s", k->cells.label[cell]);
    if (!isnan(r->weight_sparsity))
        table_set(t, row, WEIGHTS, "%.4g", 100 * r->weight_sparsity);
    if (r->nm)
        table_set(t, row, WEIGHTS, "%s", r->nm);
    if (!isnan(r->act_sparsity))
        table_set(t, row, ACTS, "%.4g", 100 * r->act_sparsity);
    if (zeros) {
        table_set(t, row, LEAST, "%.2f", 100 * zeros->by_layer[extreme(zeros, 0)]);
        table_set(t, row, MOST, "%.2f", 100 * zeros->by_layer[extreme(zeros, 1)]);
    }
    if (own) {
        size_t worst = extreme(own, 1);

        table_set(t, row, MEAN, "%.2f", 100 * own->value);
        table_set(t, row, WORST, "%zu: %.2f", worst, 100 * own->by_layer[worst]);
    }
    if (stream)
        table_set(t, row, STREAM, "%.2f", 100 * stream->value);
}

void block_layers(const struct record *const *records, size_t n, struct doc *out)
{
    struct block k = {.records = (const struct record **)records, .n = n};
    struct buf first = {0};
    struct table t;

    cells_init(&k.cells, records, n);
    cells_label(&k.cells);
    table_init(&t, N_COLS);
    table_add_row(&t);
    for (size_t col = 0; col < N_COLS; col++)
        table_set(&t, 0, col, "%s", heads[col]);
    for (size_t i = 0; i < k.cells.n; i++)
        set_cell(&t, table_add_row(&t), &k, i);
    doc_table(out, "layers", "Layers:", &t, 1);
    if (isnan(records[0]->tokens))
        buf_adds(&first, "tokens");
    else
        buf_addf(&first, "%.0f tokens", records[0]->tokens);
    doc_put(out, DOC_TEXT,
            "Zeros of a layer's linears, gone ones included. Errors over the first %s of the text, "
            "means of relative L2 norms: a layer's own, given the dense model's input, against "
            "what the dense layer adds to the residual stream; and of the stream after the last "
            "layer.",
            first.data);
    buf_release(&first);
    cells_release(&k.cells);
}
