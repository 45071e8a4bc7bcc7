/* The processes of one run: started together (mpirun, srun), each a rank from 0 on. A program
 * started alone, or built without MPI, is the one process of its run: everything below then works
 * and costs nothing. Rank 0 is the one that speaks, reads journals and writes files.
 *
 * Calls marked "all" are made by every process, in the same order. Sizes are bytes, any number of
 * them. A process that is lost ends the run: the others do not return from the call that needs
 * it. One thread at a time. */
#ifndef DUO_BASE_PROCS_H
#define DUO_BASE_PROCS_H

#include <stddef.h>

#include "harness/base/buf.h"

/* Joins the run; the first thing a program does. In ranks other than 0 stdout goes nowhere from
 * here on, and error() and warning() keep their line to themselves (procs_agree tells it); only
 * die() speaks, and names its rank. A process that ends without procs_close() ends all. 0, or
 * error(): started as one of several, but this build has no MPI. */
int procs_open(void);

/* Is there a way to run as several in this build? */
int procs_can_be_many(void);

/* Leaves; all, the last call. */
void procs_close(void);

int procs_rank(void);
int procs_size(void);
int procs_local_rank(void); /* number among those on this machine: which of its cards to take */
int procs_local_size(void);
const char *procs_host(void); /* this machine's name */

/* CPU threads for a process that was not told: its share of the cores that it may run on, where
 * others on this machine may run on them too; 0 (all of them) for a process alone. */
int procs_threads(void);

/* ---- all */

void procs_barrier(void);

/* data of root to everyone's data. */
void procs_broadcast(void *data, size_t nbytes, int root);

/* The same for a buffer whose size the others do not know; theirs is replaced. */
void procs_broadcast_buf(struct buf *b, int root);

/* mine (nbytes) of rank r to all + r * nbytes, in every process. */
void procs_all_gather(const void *mine, size_t nbytes, void *all);

/* mine, of any size, to all[r] in rank 0, whose array has procs_size() empty buffers; the others
 * may pass NULL. */
void procs_gather(const struct buf *mine, struct buf *all);

/* Did all come through? 0 if rc is 0 everywhere, else -1 everywhere. An error that rank 0 did not
 * have itself is printed once, with the rank and the machine where it happened. */
int procs_agree(int rc);

/* Does everyone have the same text? 0, or error() in all, saying `what` and the first that differs,
 * as in "model.safetensors: rank 2 (node7) has '...', rank 0 (node1) '...'". */
int procs_same(const char *what, const char *text);

/* ---- one by one */

/* Sends a copy of b to a process, without waiting for it. */
void procs_send(const struct buf *b, int to);

/* Puts the oldest message that has come, if any, into b (replaced) and its sender into *from: 1,
 * or 0 if there is none. Messages of one sender come in the order in which they were sent. */
int procs_poll(struct buf *b, int *from);

/* The same, waiting for one. */
void procs_receive(struct buf *b, int *from);

/* Ends all processes of the run with this status. */
void procs_abort(int status) __attribute__((noreturn));

/* ---- for procs.c: what a library gives. The calls of above; broadcast in pieces of any size. */
struct procs_kind {
    const char *name;
    int (*is_launched)(void); /* started by this library's launcher? */
    void (*open)(int *rank, int *size, int *local_rank, int *local_size);
    void (*close)(void);
    void (*barrier)(void);
    void (*broadcast)(void *data, size_t nbytes, int root);
    void (*all_gather)(const void *mine, size_t nbytes, void *all);
    void (*send)(const void *data, size_t nbytes, int to);
    int (*receive)(struct buf *b, int *from, int wait); /* 1: b, *from are set */
    void (*abort)(int status);
};

extern const struct procs_kind procs_mpi;

#endif
