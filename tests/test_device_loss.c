/* A device that runs out of memory or is lost, simulated at the seam: a backend whose n-th
 * operation ends as the GPU's do, with die(). The run ends with status 1 and that one line, leaves
 * no temporary file, and its journal serves the next run. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/base/file.h"
#include "harness/base/stop.h"
#include "harness/measure/journal.h"
#include "tests/demo.h"
#include "tests/temporary.h"

static char folder[] = "/tmp/duo-test-device-XXXXXX";

/* ---- the backend: the CPU's, until the n-th call */

static struct backend failing;
static const struct backend *real;
static int left; /* calls that still go well */

static void *alloc_until(struct device *dev, size_t nbytes)
{
    if (left-- <= 0)
        die("no %zu bytes of device memory: %zu are free", nbytes, (size_t)0);
    return real->alloc(dev, nbytes);
}

static void linear_until(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                         int accumulate)
{
    if (left-- <= 0)
        die("CUDA: the device is lost");
    real->linear(dev, out, x, w, accumulate);
}

/* ---- a run: the demo model, some documents of PIQA, a journal, and a file that is being written
 */

struct fault {
    char what; /* 'a'lloc or 'l'inear; 0: none */
    int after;
};

static double run(struct fault fault)
{
    char *path = path_join(folder, "journal"), *file = path_join(folder, "records");
    struct prepared p = {0};
    struct atomic_file a;
    struct session s;
    struct scores out = {0};
    struct journal *j;
    struct demo d;
    double sum = 0;

    demo_open(&d, DEMO_MODEL, 1);
    demo_task(&p, &d, task_find("piqa"), 6, "lmeval-0.4", 1024);
    if (journal_open(&j, path) != 0 || atomic_file_open(&a, file) != 0)
        exit(8);
    real = d.dev->ops;
    failing = *real;
    if (fault.what == 'a')
        failing.alloc = alloc_until;
    if (fault.what == 'l')
        failing.linear = linear_until;
    left = fault.after;
    d.dev->ops = &failing;
    demo_session(&s, &d.model, 64); /* so small that there are many batches */
    if (evaluate(&out, &p, &s, j, "cell") != 0)
        exit(8);
    for (size_t i = 0; i < p.n_requests; i++)
        sum += out.results[i].logprob;
    d.dev->ops = real;
    session_close(&s);
    scores_release(&out);
    prepared_release(&p);
    atomic_file_abort(&a);
    journal_close(j);
    demo_close(&d);
    free(path);
    free(file);
    return sum;
}

static void forget_journal(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -f %s/journal*", folder);
    CHECK(system(command) == 0);
}

/* The run with that fault in a child ends with status 1 and this line alone. */
static void ends(struct fault fault, const char *line)
{
    int fd = memfd_create("stderr", 0), status = -1;
    char said[4096] = "";
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        stop_install();
        run(fault);
        _exit(7);
    }
    waitpid(child, &status, 0);
    said[pread(fd, said, sizeof(said) - 1, 0)] = 0;
    close(fd);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(strncmp(said, line, strlen(line)) == 0 && strchr(said, '\n') == said + strlen(said) - 1);
    if (test_bad)
        printf("# %c %d: status %d, %s\n", fault.what, fault.after, status, said);
    CHECK(n_temporary(folder) == 0);
}

static void device_without_memory(void)
{
    for (int n = 0; n < 8; n += 3)
        ends((struct fault){'a', n}, "duo: no ");
    forget_journal();
}

/* At the first operation, and in the middle. */
static void device_that_is_lost(void)
{
    static const struct fault faults[] = {{'l', 0}, {'l', 40}, {'l', 70}};

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        ends(faults[i], "duo: CUDA: the device is lost\n");
}

/* On the journal of all the runs above, and on none. */
static void next_run_has_the_same_results(void)
{
    double on_journal = run((struct fault){0}), alone;

    forget_journal();
    alone = run((struct fault){0});
    CHECK(on_journal == alone && alone < 0);
}

int main(void)
{
    char command[128];

    if (!mkdtemp(folder))
        return 1;
    /* The runs that end come first: a child must not be forked off a process with OpenMP's threads.
     */
    RUN(device_without_memory);
    RUN(device_that_is_lost);
    RUN(next_run_has_the_same_results);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0;
}
