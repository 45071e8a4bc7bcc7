/* Between the files that make a document of records. */
#ifndef DUO_MEASURE_OUTPUT_DOC_H
#define DUO_MEASURE_OUTPUT_DOC_H

#include "harness/base/buf.h"
#include "harness/measure/cells.h"
#include "harness/measure/doc.h"

/* One table's records: those of the same model, protocol, backend, device, type and limit. */
struct block {
    const struct record **records;
    size_t n;
    struct cells cells;
    struct columns columns;
    int has_mean;
};

struct blocks {
    struct block *items; /* `records` alone is set */
    size_t n;
};
/* Borrows the records; in order of first appearance. */
void blocks_init(struct blocks *bs, const struct record *const *records, size_t n);
void blocks_release(struct blocks *bs);

/* Appends everything that is said of a block: the identity as the lead, tables, notes. */
void block_render(const struct block *k, struct doc *out);

/* The pieces of block_render(): */

/* Appends what all records of a block have in common but the limit: model, protocol, place. */
void block_add_identity(struct buf *b, const struct record *r);
/* The warning of a run over a part of the sets, for it alone. */
void block_add_limit(struct doc *out, const struct record *r);

/* Appends the table of values, or (se) of their standard errors. */
void block_scores(const struct block *k, int se, struct doc *out);

/* Appends the table against the dense run, a row per cell and accuracy or perplexity that carries a
 * comparison; returns 0 and appends nothing where there is none. */
int block_paired(const struct block *k, struct doc *out);

/* Speed records: the table of what was timed; and, below everything, for each cell and context a
 * sentence on how many times faster the faster of its sparse paths decodes than the dense model
 * (the linears of a layer, or a prompt, where that was not timed). */
void block_speeds(const struct record *const *records, size_t n, struct doc *out);
void block_sentences(const struct record *const *records, size_t n, struct doc *out);

/* Records of each layer: the table and what it means. */
void block_layers(const struct record *const *records, size_t n, struct doc *out);

/* The head of a column: "wiki2", "piqa_n". */
void block_add_head(struct buf *b, const struct record *r);

#endif
