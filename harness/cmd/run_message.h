/* What the processes of a run tell each other of its cells (run_share.h). Bytes as they lie in
 * memory: all run the same program. */
#ifndef DUO_CMD_RUN_MESSAGE_H
#define DUO_CMD_RUN_MESSAGE_H

#include "harness/cmd/run_outcome.h"

/* Which documents and windows of the cell are there; taking that over returns what follows. */
void message_add_known(const struct run *r, const struct outcome *o, struct buf *out);
const char *message_set_known(const struct run *r, struct outcome *o, const char *known);

/* From here on the cell is computed by all of share (NULL: by this process alone), and what is
 * computed in a process other than rank 0 is sent there. */
void message_follow(struct run *r, struct outcome *o, struct share *share);

/* To rank 0: this process is done with (its share of) the cell, well or with its last error(). */
void message_send_end(const struct run *r, const struct outcome *o, int rc);

/* To rank 0: what is there to do? */
void message_send_ask(void);
int message_is_ask(const struct buf *b);

/* In rank 0: takes results and ends of cells into r->outcomes. Returns the cell's number where its
 * process is done with it, else -1. */
long message_take(struct run *r, const struct buf *b, int from);

#endif
