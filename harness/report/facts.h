/* What a block's records say of each cell (a model pruned by a recipe), scores and speeds joined:
 * what the page's sentence, table and plots are made of. */
#ifndef DUO_REPORT_FACTS_H
#define DUO_REPORT_FACTS_H

#include "harness/measure/layer_probe.h"
#include "harness/measure/output_doc.h"
#include "harness/measure/stats.h"

struct cell_facts {
    const struct record *r; /* one of its records: the recipe */
    char *label;            /* "duogpt", with what tells it from the method's others, and "50/50" */
    const char *numbers;    /* the last word of the label; "" of the dense model */
    char *series;           /* the label without the numbers that a sweep goes over */
    int dense, structured;
    struct estimate acc;        /* mean over the tasks, share of 1; NaN unknown */
    struct estimate perplexity; /* of the first text */
    struct estimate speedup;    /* of the fastest path of the facts' work */
    double params_left;
    const struct record *timed; /* that path; of the dense cell the faster one */
    const struct record *zeros, *output_error, *stream_error; /* by layer, or NULL */
};

/* Of one block. */
struct facts {
    struct cell_facts *cells; /* in order of first appearance */
    size_t n;
    const struct cell_facts *dense;     /* or NULL */
    const struct record *const *speeds; /* all speed records, later ones of the same first */
    size_t n_speeds;
    const char *work; /* "decode", "layer", "prefill" or NULL: what `speedup` is of */
    double context;   /* of it */
    const char *text; /* the task of perplexity, or NULL */
    size_t n_acc; /* tasks in the mean accuracy, by which cells are compared; 0: not known of two
                     cells, and perplexity takes its place */
};

/* Borrows the block's records. */
void facts_init(struct facts *f, const struct block *k);
void facts_release(struct facts *f);

/* The latest speed record of a cell (record_cell_id()) for a task, path and cache (NULL: any), or
 * NULL. */
const struct record *facts_speed(const struct facts *f, const struct record *cell, const char *task,
                                 const char *path, const char *cache);

/* The colour (0 to 11) of a method in every plot; known methods have their own. */
int facts_colour(const char *method);

/* Mean accuracy where there is one, else perplexity: is a better than b, and by how much a
 * reader would say so? */
int facts_has_quality(const struct facts *f, const struct cell_facts *c);
int facts_better(const struct facts *f, const struct cell_facts *a, const struct cell_facts *b);

#endif
