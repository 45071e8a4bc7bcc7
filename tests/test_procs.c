/* The processes of one run. A process alone does what one process would do; built with MPI=1 this
 * program also runs itself again as four, each of which checks what it gets. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"
#include "tests/test.h"

#define LONG 300000 /* bytes, more than a library sends without asking */

/* Every process of any number of them runs these; each is told by its rank what it should get. */

static void broadcast_from_every_root(void)
{
    for (int root = 0; root < procs_size(); root++) {
        unsigned char id[128];
        struct buf b = {0};

        memset(id, procs_rank() == root ? 7 + root : 0, sizeof(id));
        procs_broadcast(id, sizeof(id), root);
        CHECK(id[0] == 7 + root && id[127] == 7 + root);
        if (procs_rank() == root)
            buf_addf(&b, "from %d", root);
        else
            buf_adds(&b, "something much longer that has to go");
        procs_broadcast_buf(&b, root);
        CHECK(b.n == 6 && buf_str(&b)[5] == '0' + root);
        b.n = 0;
        procs_broadcast_buf(&b, root);
        CHECK(b.n == 0);
        buf_release(&b);
    }
}

static void all_gather_in_the_order_of_ranks(void)
{
    int n = procs_size(), *all = xcalloc((size_t)n, 2 * sizeof(*all));
    int mine[2] = {procs_rank(), 100 + procs_rank()};

    procs_all_gather(mine, sizeof(mine), all);
    for (int r = 0; r < n; r++)
        CHECK(all[2 * r] == r && all[2 * r + 1] == 100 + r);
    free(all);
}

static void gather_of_any_size(void)
{
    struct buf mine = {0}, *all = xcalloc((size_t)procs_size(), sizeof(*all));

    for (int i = 0; i < procs_rank() * 1000; i++)
        buf_addc(&mine, (char)('a' + procs_rank()));
    procs_gather(&mine, procs_rank() == 0 ? all : NULL);
    for (int r = 0; r < procs_size() && procs_rank() == 0; r++) {
        CHECK(all[r].n == (size_t)r * 1000);
        CHECK(r == 0 || all[r].data[r * 1000 - 1] == 'a' + r);
    }
    for (int r = 0; r < procs_size(); r++)
        buf_release(&all[r]);
    free(all);
    buf_release(&mine);
}

static void all_fail_where_one_fails(void)
{
    int last = procs_size() - 1, rc = 0;

    CHECK(procs_agree(0) == 0);
    error_silence(1);
    if (procs_rank() == last)
        rc = error("no such thing");
    CHECK(procs_agree(rc) == -1);
    /* Where it was not rank 0's own, rank 0 says whose. */
    if (procs_rank() == 0 && last > 0) {
        CHECK(strstr(error_last(), "no such thing") && strstr(error_last(), "rank 3 ("));
    }
    CHECK(procs_agree(0) == 0);
    CHECK(procs_same("thing", "the same") == 0);
    if (last > 0) {
        CHECK(procs_same("thing", procs_rank() == 2 ? "left" : "right") == -1);
        CHECK(strstr(error_last(), "thing: rank 2 (") && strstr(error_last(), "'left', rank 0"));
    }
    error_silence(0);
}

/* Messages of one sender keep their order and their bytes, whatever their size. */
static void messages_to_rank_0(void)
{
    static const size_t sizes[] = {0, 1, LONG, 5};
    size_t n_left = 4 * (size_t)(procs_size() - 1), *seen = xcalloc((size_t)procs_size(), 8);
    struct buf b = {0};
    int from;

    for (size_t i = 0; i < 4 && procs_rank() > 0; i++) {
        b.n = 0;
        for (size_t k = 0; k < sizes[i]; k++)
            buf_addc(&b, (char)(k * 7 + (size_t)procs_rank()));
        procs_send(&b, 0);
        b.n = 0;
        buf_adds(&b, "what was sent is a copy");
    }
    for (; procs_rank() == 0 && n_left; n_left--) {
        if (!procs_poll(&b, &from))
            procs_receive(&b, &from);
        CHECK(from > 0 && from < procs_size() && seen[from] < 4);
        CHECK(b.n == sizes[seen[from]++]);
        for (size_t k = 0; k < b.n; k++)
            if (b.data[k] != (char)(k * 7 + (size_t)from)) {
                CHECK(!"the bytes that were sent");
                break;
            }
    }
    procs_barrier();
    CHECK(procs_poll(&b, &from) == 0);
    buf_release(&b);
    free(seen);
}

static void ranks_on_this_machine(void)
{
    int n = procs_size(), *all = xcalloc((size_t)n, sizeof(*all)), mine = procs_local_rank();

    CHECK(procs_rank() >= 0 && procs_rank() < n && procs_local_size() == n);
    procs_all_gather(&mine, sizeof(mine), all);
    for (int r = 0; r < n; r++)
        CHECK(all[r] == r);
    CHECK(n == 1 || getenv("OMP_NUM_THREADS") || procs_threads() >= 1);
    free(all);
}

/* ---- running them */

static int run_all(void)
{
    int bad = 0, any;
    void (*const tests[])(void) = {broadcast_from_every_root, all_gather_in_the_order_of_ranks,
                                   gather_of_any_size,        all_fail_where_one_fails,
                                   messages_to_rank_0,        ranks_on_this_machine};

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        test_bad = 0;
        tests[i]();
        bad |= test_bad;
    }
    error_silence(1);
    any = procs_agree(bad ? error("bad") : 0);
    error_silence(0);
    return any != 0;
}

static int run_command(const char *ending, char *said, size_t nbytes)
{
    char self[4000], command[5000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    FILE *f;
    size_t got;

    self[n > 0 ? n : 0] = 0;
    snprintf(command, sizeof(command), "mpirun --allow-run-as-root --oversubscribe %s %s 2>&1",
             ending, self);
    f = popen(command, "r");
    got = f ? fread(said, 1, nbytes - 1, f) : 0;
    said[got] = 0;
    return f ? WEXITSTATUS(pclose(f)) : -1;
}

static void one_process_alone(void)
{
    CHECK(procs_rank() == 0 && procs_size() == 1 && procs_local_size() == 1);
    CHECK(procs_threads() == 0);
    CHECK(run_all() == 0);
}

static void four_processes(void)
{
    static char said[20000];
    int status = run_command("-np 4", said, sizeof(said));

    CHECK(status == 0);
    if (status != 0)
        printf("# %s\n", said);
}

static void many_without_mpi_are_refused(void)
{
    static char said[20000];

    CHECK(run_command("-np 2", said, sizeof(said)) == 2);
    CHECK(strstr(said, "started as one of 2 processes, but this build has no MPI: make MPI=1"));
}

int main(void)
{
    int status;

    if (procs_open() != 0)
        return 2;
    if (procs_size() > 1) {
        status = run_all();
        procs_close();
        return status;
    }
    RUN(one_process_alone);
    if (system("command -v mpirun >/dev/null") != 0)
        SKIP("four_processes", "no mpirun");
    else if (procs_can_be_many())
        RUN(four_processes);
    else
        RUN(many_without_mpi_are_refused);
    procs_close();
    return 0;
}
