/* duo: dispatch to the commands. */
#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/stop.h"
#include "harness/base/procs.h"
#include "harness/cmd/cmd.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    int many; /* knows what to do as one of several processes */
} commands[] = {
    {"eval", cmd_eval, "prune in memory, then score: perplexity and zero-shot tasks", 1},
    {"prune", cmd_prune, "prune and write a Hugging Face checkpoint", 0},
    {"bench", cmd_bench, "time a pruned model against the dense one: linears, decoding, prefill",
     1},
    {"generate", cmd_generate, "prune in memory, then continue a text", 1},
    {"report", cmd_report, "records as tables, or as one page with plots", 0},
    {"compare", cmd_compare, "two files of records: what became better or worse", 0},
    {"rerun", cmd_rerun, "run again what made a record, and compare", 0},
    {"fetch", cmd_fetch, "download data sets and models, verified", 0},
    {"list", cmd_list, "tasks, methods, backends, sources, protocols", 1},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *f)
{
    fprintf(f, "duo: pruned LLaMA models, scored and measured by one tool\n\n"
               "usage: duo COMMAND [OPTION...]      duo COMMAND --help says more\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fprintf(f,
            "\nexample:\n"
            "  duo eval -m llama-2-7b -t all --method duogpt --sparsity 0.5 --act-sparsity 0.5 \\\n"
            "           --calib c4:128x2048 --baseline\n");
}

static int unknown(const char *name)
{
    struct buf known = {0};

    for (size_t i = 0; i < N_COMMANDS; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", commands[i].name);
    error("no command '%s'; known: %s (see duo --help)", name, buf_str(&known));
    buf_release(&known);
    return 2;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("duo %s\n", duo_git);
        return 0;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            if (procs_size() > 1 && !commands[i].many) {
                error("duo %s runs as one process, not as %d", argv[1], procs_size());
                return 2;
            }
            return commands[i].run(argc - 1, argv + 1);
        }
    return unknown(argv[1]);
}

/* Libraries read their settings before main(), so the program starts itself once more with these:
 * Threads that wait for others spin in OpenMP's runtime for a third of a second before they sleep;
 * on a machine shared with other work that costs a factor of two to a hundred.
 * OpenBLAS makes threads that nobody uses (cpu/device.c). Each wants 128 MB of addresses, tries for
 * ever where a limit leaves no room for them, and exit() waits for it. */
static void settle_libraries(char **argv)
{
    const char *blas = getenv("OPENBLAS_NUM_THREADS");
    int spins = !getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY");
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    if (n <= 0 || (!spins && blas && strcmp(blas, "1") == 0))
        return;
    exe[n] = 0;
    if ((!spins || setenv("GOMP_SPINCOUNT", "10000", 1) == 0) &&
        setenv("OPENBLAS_NUM_THREADS", "1", 1) == 0)
        execv(exe, argv); /* returns only where it cannot: then it just runs slower */
}

/* glibc moves its bound between the heap and maps of their own up to 32 MB as blocks are freed; matrices
 * then leave holes in the heap that a later cell's do not fit, and a sweep grows by a megabyte per
 * cell (results/soak.md). A fixed bound keeps it flat, for 0.1 s of page faults per 2 s of work. */
static void keep_heap_small(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

/* Where stdin, stdout or stderr is closed, the next file opened would take its number, and what is
 * said would go there. Read-only, so that writing still fails. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd ? O_RDONLY : O_RDWR);
}

int main(int argc, char **argv)
{
    int rc;

    fill_standard_streams();
    settle_libraries(argv);
    keep_heap_small();
    stop_install();
    setlocale(LC_CTYPE, "C.UTF-8");
    if (procs_open() != 0)
        return 2;
    rc = dispatch(argc, argv);
    if (rc == 0 && stop_flush_stdout("all") != 0)
        rc = 1;
    procs_close();
    return procs_rank() == 0 ? rc : 0; /* one status of a run, not one of each process */
}
