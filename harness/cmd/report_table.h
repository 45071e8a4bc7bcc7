/* duo report --table. */
#ifndef DUO_CMD_REPORT_TABLE_H
#define DUO_CMD_REPORT_TABLE_H

#include "harness/measure/doc.h"
#include "harness/measure/record_read.h"

/* limit: of runs that were limited so (--limit of eval), of a table that says nothing of it; NaN:
 * as the table says. */

/* The table of scripts/tables that is called `name`, of the records in l that are its own, beside
 * the published numbers where it has some (paper: their file, NULL for results/paper.jsonl): the
 * difference, and whether it is within the measured standard error. Then what is missing, and its
 * records in full. 0 or error(). */
int report_table(const char *name, double limit, const struct record_list *l, const char *paper,
                 struct doc *out);

/* For each cell of which something is missing the command that measures it, one a line, without
 * -m, --data, --out and the limit. 0 or error(). */
int report_table_missing(const char *name, double limit, const struct record_list *l,
                         struct buf *out);

#endif
