/* Processes by MPI: the one file that sees it (make MPI=1). Written for Open MPI 4.1; only calls
 * of MPI 3 that every library has. MPI ends the run itself on its own errors. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"

#define PIECE ((size_t)1 << 30) /* MPI counts in int */
#define TAG 1

/* A message on its way; its bytes have to stay until it has left. */
struct flight {
    MPI_Request request;
    struct flight *next;
    char data[];
};
static struct flight *flights;

/* Without a launcher MPI_Init would start helpers of its own, and there is nobody to talk to. */
static int mpi_is_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}

static void mpi_open(int *rank, int *size, int *local_rank, int *local_size)
{
    MPI_Comm local;

    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    MPI_Comm_rank(local, local_rank);
    MPI_Comm_size(local, local_size);
    MPI_Comm_free(&local);
}

static void forget_landed(int wait)
{
    struct flight **at = &flights;

    while (*at) {
        struct flight *f = *at;
        int landed = 1;

        if (wait)
            MPI_Wait(&f->request, MPI_STATUS_IGNORE);
        else
            MPI_Test(&f->request, &landed, MPI_STATUS_IGNORE);
        if (landed) {
            *at = f->next;
            free(f);
        } else {
            at = &f->next;
        }
    }
}

static void mpi_close(void)
{
    forget_landed(1);
    MPI_Finalize();
}

static void mpi_barrier(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
}

static void mpi_broadcast(void *data, size_t nbytes, int root)
{
    for (size_t at = 0; at < nbytes; at += PIECE)
        MPI_Bcast((char *)data + at, (int)(nbytes - at < PIECE ? nbytes - at : PIECE), MPI_BYTE,
                  root, MPI_COMM_WORLD);
}

static void mpi_all_gather(const void *mine, size_t nbytes, void *all)
{
    int size, rank;

    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (nbytes * (size_t)size < PIECE) {
        MPI_Allgather(mine, (int)nbytes, MPI_BYTE, all, (int)nbytes, MPI_BYTE, MPI_COMM_WORLD);
        return;
    }
    memcpy((char *)all + (size_t)rank * nbytes, mine, nbytes);
    for (int r = 0; r < size; r++)
        mpi_broadcast((char *)all + (size_t)r * nbytes, nbytes, r);
}

static void mpi_send(const void *data, size_t nbytes, int to)
{
    struct flight *f = xmalloc(sizeof(*f) + nbytes);

    if (nbytes > PIECE)
        die("a message of %zu bytes is too long", nbytes);
    memcpy(f->data, data, nbytes);
    MPI_Isend(f->data, (int)nbytes, MPI_BYTE, to, TAG, MPI_COMM_WORLD, &f->request);
    f->next = flights;
    flights = f;
    forget_landed(0);
}

static int mpi_receive(struct buf *b, int *from, int wait)
{
    MPI_Status status;
    int there = 1, n;

    if (wait)
        MPI_Probe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &status);
    else
        MPI_Iprobe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &there, &status);
    if (!there)
        return 0;
    MPI_Get_count(&status, MPI_BYTE, &n);
    b->n = 0;
    MPI_Recv(buf_reserve(b, (size_t)n), n, MPI_BYTE, status.MPI_SOURCE, TAG, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    b->n = (size_t)n;
    b->data[n] = 0;
    *from = status.MPI_SOURCE;
    return 1;
}

static void mpi_abort(int status)
{
    MPI_Abort(MPI_COMM_WORLD, status);
}

const struct procs_kind procs_mpi = {
    .name = "mpi",
    .is_launched = mpi_is_launched,
    .open = mpi_open,
    .close = mpi_close,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .all_gather = mpi_all_gather,
    .send = mpi_send,
    .receive = mpi_receive,
    .abort = mpi_abort,
};
