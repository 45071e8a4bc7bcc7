/* Tables as data: scripts/tables/NAME.json says which cells a table has and by what options each is
 * measured; which records are its own, and which are missing, follows. Keys:
 *
 *   title, about   texts
 *   command        "eval", or "bench" for tables with speeds
 *   options        options that all cells have, as on a command line; no -m, --data, --out, -t
 *   tasks          of -t
 *   mean           tasks of the mean accuracy (acc_norm where there is one)
 *   paper_model    model name of the published numbers; optional
 *   cells          list of {label, options}, one method, sparsity and share of activations each */
#ifndef DUO_CMD_TABLE_FILE_H
#define DUO_CMD_TABLE_FILE_H

#include "harness/cmd/run_options.h"
#include "harness/measure/record_read.h"

struct table_cell {
    char *label, *options;
    struct record want; /* method and the rest of the recipe, protocol, limit */
};
struct table_file {
    char *title, *about, *command, *options, *paper_model; /* paper_model may be NULL */
    const struct task *tasks[MAX_LIST];                    /* NULL: wikitext2 */
    size_t n_tasks;
    const struct task *mean[MAX_LIST];
    size_t n_mean;
    double window, bos; /* of perplexities */
    int is_bench;
    struct table_cell *cells;
    size_t n_cells;
    cJSON *json;
};

/* name: of scripts/tables, or a path ending in .json. 0 or error(); *t is to be released in either
 * case. */
int table_file_open(struct table_file *t, const char *name);
void table_file_release(struct table_file *t);

/* scripts/tables/NAME.json or results/NAME beside the program; the caller frees it. NULL: not
 * there, without a message. */
char *project_file(const char *folder, const char *name);

/* Was the record measured as the cell says? The task is not looked at. */
int table_cell_has(const struct table_cell *c, const struct record *r);

#endif
