/* The table of ways to run as several processes, and what is common to all. */
#include "harness/base/procs.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/base/error.h"

static const struct procs_kind *const kinds[] = {
#ifdef DUO_MPI
    &procs_mpi,
#endif
    NULL,
};

static const struct procs_kind *kind; /* NULL: one process */
static int rank, size = 1, local_rank, local_size = 1;
static char host[64], label[96];

/* ---- joining and leaving */

/* What a launcher says to the processes that it starts. */
static int launcher_says(const char *open_mpi, const char *pmi, int otherwise)
{
    const char *v = getenv(open_mpi) ? getenv(open_mpi) : getenv(pmi);

    return v ? atoi(v) : otherwise;
}

static int refuse_many(int n)
{
    error_silence(launcher_says("OMPI_COMM_WORLD_RANK", "PMI_RANK", 0) > 0); /* once is enough */
    return error("started as one of %d processes, but this build has no MPI: make MPI=1", n);
}

/* A process that leaves on its own would leave the others waiting. */
static void end_all(void)
{
    if (kind)
        kind->abort(1);
}

static void be_quiet(void)
{
    snprintf(label, sizeof(label), "rank %d (%s): ", rank, host);
    error_label(label);
    if (!freopen("/dev/null", "w", stdout))
        die("cannot open /dev/null");
}

int procs_open(void)
{
    if (gethostname(host, sizeof(host) - 1) != 0)
        strcpy(host, "?");
    for (int i = 0; kinds[i] && !kind; i++)
        if (kinds[i]->is_launched())
            kind = kinds[i];
    if (!kind) {
        int n = launcher_says("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", 1);

        return n > 1 ? refuse_many(n) : 0;
    }
    kind->open(&rank, &size, &local_rank, &local_size);
    atexit(end_all);
    if (rank > 0)
        be_quiet();
    return 0;
}

int procs_can_be_many(void)
{
    return kinds[0] != NULL;
}

void procs_close(void)
{
    const struct procs_kind *k = kind;

    kind = NULL;
    if (k)
        k->close();
}

int procs_rank(void)
{
    return rank;
}

int procs_size(void)
{
    return size;
}

int procs_local_rank(void)
{
    return local_rank;
}

int procs_local_size(void)
{
    return local_size;
}

const char *procs_host(void)
{
    return host;
}

/* A launcher that binds gives each process cores of its own; one that does not gives all of them
 * to everyone. */
int procs_threads(void)
{
    int n_online = (int)sysconf(_SC_NPROCESSORS_ONLN), n = n_online;
    cpu_set_t set;

    if (local_size == 1 || getenv("OMP_NUM_THREADS"))
        return 0;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    if (n > n_online / local_size)
        n = n_online / local_size;
    return n ? n : 1;
}

/* ---- all */

void procs_barrier(void)
{
    if (kind)
        kind->barrier();
}

void procs_broadcast(void *data, size_t nbytes, int root)
{
    if (kind && nbytes)
        kind->broadcast(data, nbytes, root);
}

void procs_broadcast_buf(struct buf *b, int root)
{
    uint64_t n = b->n;

    procs_broadcast(&n, sizeof(n), root);
    if (rank != root) {
        b->n = 0;
        buf_reserve(b, n);
        b->n = n;
        b->data[n] = 0;
    }
    procs_broadcast(b->data, n, root);
}

void procs_all_gather(const void *mine, size_t nbytes, void *all)
{
    if (kind)
        kind->all_gather(mine, nbytes, all);
    else
        memcpy(all, mine, nbytes);
}

/* One after another: what is gathered is small, and rank 0 has to take it in order anyway. */
void procs_gather(const struct buf *mine, struct buf *all)
{
    struct buf b = {0};

    for (int r = 0; r < size; r++) {
        b.n = 0;
        if (r == rank)
            buf_add(&b, buf_str(mine), mine->n);
        procs_broadcast_buf(&b, r);
        if (rank == 0)
            buf_add(&all[r], b.data, b.n);
    }
    buf_release(&b);
}

/* What a process says of itself. */
struct word {
    int rc;
    char host[64], text[1024];
};

static struct word *collect_words(int rc, const char *text)
{
    struct word mine = {.rc = rc}, *all = xcalloc((size_t)size, sizeof(*all));

    snprintf(mine.host, sizeof(mine.host), "%s", host);
    snprintf(mine.text, sizeof(mine.text), "%s", text);
    procs_all_gather(&mine, sizeof(mine), all);
    return all;
}

int procs_agree(int rc)
{
    struct word *all;
    int bad = 0;

    if (size == 1)
        return rc;
    all = collect_words(rc, rc ? error_last() : "");
    while (bad < size && all[bad].rc == 0)
        bad++;
    if (rank == 0 && bad > 0 && bad < size)
        error("rank %d (%s): %s", bad, all[bad].host, all[bad].text);
    rc = bad < size ? -1 : 0;
    free(all);
    return rc;
}

int procs_same(const char *what, const char *text)
{
    struct word *all;
    int r = 0, rc = 0;

    if (size == 1)
        return 0;
    all = collect_words(0, text);
    while (r < size && strcmp(all[r].text, all[0].text) == 0)
        r++;
    if (r < size)
        rc = error("%s: rank %d (%s) has '%.200s', rank 0 (%s) '%.200s'", what, r, all[r].host,
                   all[r].text, all[0].host, all[0].text);
    free(all);
    return rc;
}

/* ---- one by one */

void procs_send(const struct buf *b, int to)
{
    if (kind)
        kind->send(buf_str(b), b->n, to);
}

int procs_poll(struct buf *b, int *from)
{
    return kind ? kind->receive(b, from, 0) : 0;
}

void procs_receive(struct buf *b, int *from)
{
    if (!kind)
        die("one process alone waits for a message");
    kind->receive(b, from, 1);
}

void procs_abort(int status)
{
    if (kind)
        kind->abort(status);
    _exit(status);
}
