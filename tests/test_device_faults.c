/* A whole `duo eval` (sparsegpt, sparse activations, two tasks, a journal, records) on a device
 * that fails at the n-th allocation, or is lost at the n-th operation, simulated at the seam: the
 * device is the CPU with a table of its own (--wrap of device_open, in the Makefile). Each run ends
 * with status 1 and one line; no temporary file is left, and the run after it on the same journal
 * has the values of a run without faults. DUO_FAULTS_MOST: how many n of each kind (4; "all" in
 * test-long), or every S-th from the I-th on, as I/S. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/backend/backend.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/stop.h"
#include "harness/cmd/cmd.h"
#include "tests/temporary.h"
#include "tests/test.h"

#ifdef __SANITIZE_THREAD__
#define CHILDREN_HAVE_THREADS 0 /* the parent has OpenBLAS's */
#else
#define CHILDREN_HAVE_THREADS 1
#endif

static char folder[] = "/tmp/duo-test-faults-XXXXXX";

/* ---- the device */

enum kind { NONE, MEMORY, LOST };
static struct {
    enum kind kind;
    long at; /* the call that fails, from 0 */
} fault;
static long *n_calls; /* of each kind, shared with the runs */
static struct backend failing;
static const struct backend *real;

static void count(enum kind kind)
{
    if (n_calls[kind]++ != fault.at || fault.kind != kind)
        return;
    if (kind == MEMORY)
        die("no room on the device: 0.0 MB are free");
    die("CUDA: the device is lost");
}

static void *alloc_until(struct device *dev, size_t nbytes)
{
    count(MEMORY);
    return real->alloc(dev, nbytes);
}

/* An operation: its parameters, and its arguments. */
#define OPERATIONS(X)                                                                              \
    X(upload, (struct device * d, void *a, const void *b, size_t n), (d, a, b, n))                 \
    X(download, (struct device * d, void *a, const void *b, size_t n), (d, a, b, n))               \
    X(copy, (struct device * d, void *a, const void *b, size_t n), (d, a, b, n))                   \
    X(zero, (struct device * d, void *a, size_t n), (d, a, n))                                     \
    X(convert, (struct device * d, struct tensor a, struct tensor b), (d, a, b))                   \
    X(embed, (struct device * d, struct tensor a, struct tensor b, const int32_t *i),              \
      (d, a, b, i))                                                                                \
    X(rmsnorm,                                                                                     \
      (struct device * d, struct tensor a, struct tensor b, struct tensor c, float e,              \
       const struct act_rule *r),                                                                  \
      (d, a, b, c, e, r))                                                                          \
    X(linear, (struct device * d, struct tensor a, struct tensor b, struct tensor c, int n),       \
      (d, a, b, c, n))                                                                             \
    X(gather, (struct device * d, struct tensor a, struct tensor b, const int32_t *i),             \
      (d, a, b, i))                                                                                \
    X(attention,                                                                                   \
      (struct device * d, struct tensor a, struct tensor b, struct kv_layer k,                     \
       struct attention_shape s, struct tensor c, const struct batch_layout *l,                    \
       const struct act_rule *r),                                                                  \
      (d, a, b, k, s, c, l, r))                                                                    \
    X(kv_write,                                                                                    \
      (struct device * d, struct kv_layer k, struct tensor a, struct attention_shape s,            \
       struct tensor c, const struct batch_layout *l),                                             \
      (d, k, a, s, c, l))                                                                          \
    X(sparsify, (struct device * d, struct tensor a, struct tensor b, const struct act_rule *r),   \
      (d, a, b, r))                                                                                \
    X(logprob,                                                                                     \
      (struct device * d, double *p, int32_t *t, struct tensor a, struct tensor b,                 \
       const int32_t *i),                                                                          \
      (d, p, t, a, b, i))                                                                          \
    X(gram, (struct device * d, struct tensor a, struct tensor b), (d, a, b))                      \
    X(mirror, (struct device * d, struct tensor a), (d, a))                                        \
    X(scale, (struct device * d, struct tensor a, float f), (d, a, f))                             \
    X(permute,                                                                                     \
      (struct device * d, struct tensor a, struct tensor b, const int32_t *i, const int32_t *j),   \
      (d, a, b, i, j))                                                                             \
    X(obs_prune,                                                                                   \
      (struct device * d, struct tensor a, struct tensor b, struct tensor c, struct tensor e,      \
       const struct obs_options *o),                                                               \
      (d, a, b, c, e, o))

#define DEFINE(name, parameters, arguments)                                                        \
    static void name##_until parameters                                                            \
    {                                                                                              \
        count(LOST);                                                                               \
        real->name arguments;                                                                      \
    }
OPERATIONS(DEFINE)

int __real_device_open(struct device **out, const char *name, int n_threads);
int __wrap_device_open(struct device **out, const char *name, int n_threads);
int __wrap_device_open(struct device **out, const char *name, int n_threads)
{
    int rc = __real_device_open(out, name, n_threads);

    if (rc != 0)
        return rc;
    real = (*out)->ops;
    failing = *real;
    failing.alloc = alloc_until;
#define SET(name, parameters, arguments) failing.name = name##_until;
    OPERATIONS(SET)
    (*out)->ops = &failing;
    return 0;
}

/* ---- runs */

static char *file_in(const char *name)
{
    return path_join(folder, name);
}

/* The run with that fault, in a child (a process with OpenMP's threads must not be forked); what it
 * says goes to said. Its status. */
static int run(enum kind kind, long at, char *said, size_t size)
{
    char *journal = file_in("journal"), *records = file_in("records");
    char *args[] = {"eval",           "-m",         "data/demo/model",
                    "--data",         "data/demo",  "-t",
                    "piqa,wikitext2", "--limit",    "1",
                    "--window",       "32",         "--method",
                    "sparsegpt",      "--sparsity", "0.5",
                    "--act-sparsity", "0.3",        "--calib",
                    "self:2x32",      "--backend",  "cpu",
                    "--threads",      "1",          "--resume",
                    journal,          "-o",         "jsonl",
                    "--out",          records,      NULL};
    int fd = memfd_create("stderr", 0), status = -1, n = 0;
    ssize_t n_said;
    pid_t child;

    while (args[n])
        n++;
    n_calls[MEMORY] = n_calls[LOST] = 0;
    unlink(records);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        fault.kind = kind;
        fault.at = at;
        stop_install();
        exit(cmd_eval(n, args));
    }
    waitpid(child, &status, 0);
    n_said = pread(fd, said, size - 1, 0);
    said[n_said > 0 ? n_said : 0] = 0;
    close(fd);
    free(journal);
    free(records);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The values in the records, one after another. */
static char *values(void)
{
    char *path = file_in("records");
    struct buf b = {0}, out = {0};

    buf_adds(&out, "");
    if (file_exists(path) && file_read(path, &b) == 0)
        for (const char *p = b.data; (p = strstr(p, "\"value\": ")); p++)
            buf_add(&out, p, strcspn(p, ","));
    buf_release(&b);
    free(path);
    return buf_detach(&out);
}

/* Removes what is there. */
static void clear(void)
{
    DIR *d = opendir(folder);

    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

/* Is there one message of the program alone, and does it say that? */
static int says_once(const char *said, const char *what)
{
    const char *line = strstr(said, "duo: ");

    return line && strstr(line, what) && !strstr(line + 1, "\nduo: ");
}

/* Which of n calls: from *first on, *step apart. */
static void choose(long n, long *first, long *step)
{
    const char *most = getenv("DUO_FAULTS_MOST");
    long i, s;

    if (most && sscanf(most, "%ld/%ld", &i, &s) == 2 && i >= 0 && s > 0) {
        *first = i;
        *step = s;
        return;
    }
    *first = 0;
    *step = most && strcmp(most, "all") == 0 ? 1 : n / (most ? atol(most) : 4) + 1;
}

static void fails_everywhere(enum kind kind, const char *what)
{
    static char said[1 << 16];
    long n, first, step, n_runs = 0;
    char *want, *got;

    clear();
    CHECK(run(NONE, -1, said, sizeof(said)) == 0);
    n = n_calls[kind];
    want = values();
    CHECK(n > 50 && strlen(want) > 30);
    choose(n, &first, &step);
    for (long at = first; at < n && !test_bad; at += step, n_runs++) {
        clear();
        CHECK(run(kind, at, said, sizeof(said)) == 1);
        CHECK(says_once(said, what));
        CHECK(n_temporary(folder) == 0);
        if (test_bad)
            printf("# call %ld: %s\n", at, said);
        CHECK(run(NONE, -1, said, sizeof(said)) == 0);
        CHECK(!strstr(said, "corrupt"));
        got = values();
        CHECK_STR(got, want);
        free(got);
    }
    CHECK(n_runs > 0);
    printf("# %ld of %ld calls made to fail\n", n_runs, n);
    free(want);
}

static void device_without_memory(void)
{
    fails_everywhere(MEMORY, "no room on the device");
}

static void device_that_is_lost(void)
{
    fails_everywhere(LOST, "the device is lost");
}

int main(void)
{
    int rc;

    n_calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (n_calls == MAP_FAILED || !mkdtemp(folder))
        return 1;
    if (CHILDREN_HAVE_THREADS) {
        RUN(device_without_memory);
        RUN(device_that_is_lost);
    } else {
        printf("skip a failing device: under TSan a child of a process with threads has none\n");
    }
    clear();
    rc = rmdir(folder);
    return rc;
}
