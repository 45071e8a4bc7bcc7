/* Records arranged as a table: rows are cells (a pruning recipe), columns are metrics of tasks. */
#ifndef DUO_MEASURE_CELLS_H
#define DUO_MEASURE_CELLS_H

#include <stddef.h>

#include "harness/measure/record.h"

/* Numbers the distinct ones of n texts in order of first appearance, and says the number of each;
 * how many there are. */
size_t group_texts(const char *const *texts, size_t n, size_t *group);

/* The distinct cells of some records (record_cell_id()), in order of first appearance. */
struct cells {
    const struct record **first; /* of each cell */
    size_t n;
    size_t *of_record; /* for each record given: the number of its cell */
    char **label;      /* of each cell, or NULL: cells_label() */
};
void cells_init(struct cells *c, const struct record *const *records, size_t n);
void cells_release(struct cells *c);

/* Calls each cell by its method and what else tells it apart from the method's other cells but the
 * sparsities: "duogpt alpha=0.5". */
void cells_label(struct cells *c);

/* A column: one metric of one task, for perplexity also of one window length and BOS habit. */
struct column {
    const struct record *like;     /* its first record: task, metric, window, bos */
    const struct record **of_cell; /* one per cell, NULL where it was not measured */
};
struct columns {
    struct column *items; /* perplexities first, else in order of appearance */
    size_t n;
    size_t n_repeated; /* records that a later one of the same cell and column replaced */
};
void columns_init(struct columns *c, const struct cells *cells, const struct record *const *records,
                  size_t n);
void columns_release(struct columns *c);

/* The cell's record of another metric of the same task, window and BOS habit, or NULL. */
const struct record *column_sibling(const struct columns *c, size_t cell, const struct record *like,
                                    const char *metric);

/* The column that stands for a task in the mean: acc_norm where the task has it, else acc. */
int column_in_mean(const struct columns *c, const struct column *column);

/* Mean over the columns in the mean of one cell, and its standard error sqrt(sum se^2) / k, the
 * tasks being independent samples. NaN where one of them was not measured or there are fewer than
 * two. */
void cell_mean(const struct columns *c, size_t cell, double *mean, double *se);

#endif
