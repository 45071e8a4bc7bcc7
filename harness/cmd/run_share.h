/* A run of several processes. All open the same model and tasks and prune by themselves: the same
 * bits come out, in the time that one takes, and no weights have to travel. Rank 0 speaks, has the
 * journal and writes what is written; the others send it what they scored, batch by batch.
 *
 * Shared by requests, all work on one cell at a time, each on its batches of every task. Shared by
 * cells, each takes the next cell (with those on the same weights) that nobody has yet. The results
 * are those of one process, to the bit. */
#ifndef DUO_CMD_RUN_SHARE_H
#define DUO_CMD_RUN_SHARE_H

#include "harness/cmd/run.h"

/* After the options are read: who writes, who is quiet. */
void run_share_roles(struct run_options *o);

/* After each process has opened its parts, with what came of it: 0, or error() where one failed or
 * has another program, model, device or data than rank 0. All. */
int run_share_check(const struct run *r, int rc);

/* The smallest of all processes' tokens per batch: batches are alike everywhere. All. */
size_t run_share_rows(size_t rows);

/* Are the cells after the baseline handed out whole? */
int run_share_by_cells(const struct run *r);

/* One cell by all processes, as run_cell(). 0 or error(), the same in all. */
int run_share_cell(struct run *r, size_t cell);

/* The n cells whose numbers are in order (those on the same weights in a row), handed out. Rank 0
 * calls done(cell, rc, arg) when a cell's records are in, or when it failed. All; returns when all
 * is done. */
void run_share_cells(struct run *r, const size_t *order, size_t n,
                     void (*done)(size_t cell, int rc, void *arg), void *arg);

#endif
