/* Every input of the fuzz targets' corpora, among them all that once broke something. A target
 * aborts where it fails, so each runs in a process of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/progress.h"
#include "tests/fuzz/fuzz.h"
#include "tests/test.h"

#define CORPUS "tests/fuzz/corpus"

static const struct target {
    const char *name;
    void (*run)(const uint8_t *data, size_t n);
} targets[] = {
#define ROW(name) {#name, fuzz_##name},
    FUZZ_TARGETS(ROW)
#undef ROW
};
#define N_TARGETS (sizeof(targets) / sizeof(targets[0]))

/* Runs all of one folder; returns how many there were. */
static int run_folder(const struct target *t, const char *dir)
{
    const struct dirent *e;
    DIR *d = opendir(dir);
    int n = 0;

    while (d && (e = readdir(d))) {
        char *path = path_join(dir, e->d_name), *exact;
        struct buf b = {0};

        if (file_exists(path) && file_read(path, &b) == 0) {
            fprintf(stderr, "# %s\n", path); /* the last one is the one that aborts */
            exact = malloc(b.n ? b.n : 1);   /* so that sanitizers see a byte too far */
            memcpy(exact, buf_str(&b), b.n);
            t->run((const uint8_t *)exact, b.n);
            free(exact);
            n++;
        }
        buf_release(&b);
        free(path);
    }
    if (d)
        closedir(d);
    return n;
}

static void one(const struct target *t)
{
    char dir[128], log[] = "/tmp/duo-test-corpus-XXXXXX", line[512] = "";
    int status, fd = mkstemp(log);
    pid_t child;

    snprintf(dir, sizeof(dir), CORPUS "/%s", t->name);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        exit(run_folder(t, dir) > 0 && fuzz_n_accepted > 0 ? 0 : 9);
    }
    waitpid(child, &status, 0);
    CHECK(child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (test_bad) {
        FILE *f = fopen(log, "r");

        while (f && fgets(line, sizeof(line), f))
            printf("# %s", line);
        if (f)
            fclose(f);
    }
    close(fd);
    unlink(log);
}

/* A folder of a target that is no more, or misspelt, would never be run. */
static void every_corpus_has_a_target(void)
{
    const struct dirent *e;
    DIR *d = opendir(CORPUS);
    size_t n = 0;

    CHECK(d != NULL);
    while (d && (e = readdir(d))) {
        size_t i = 0;

        if (e->d_name[0] == '.')
            continue;
        while (i < N_TARGETS && strcmp(targets[i].name, e->d_name) != 0)
            i++;
        if (i == N_TARGETS)
            printf("# no target '%s'\n", e->d_name);
        CHECK(i < N_TARGETS);
        n++;
    }
    CHECK(n == N_TARGETS);
    if (d)
        closedir(d);
}

int main(void)
{
    error_silence(1);
    progress_quiet(1);
    RUN(every_corpus_has_a_target);
    for (size_t i = 0; i < N_TARGETS; i++) {
        test_bad = 0;
        one(&targets[i]);
        printf("%s corpus_of_%s\n", test_bad ? "not ok" : "ok", targets[i].name);
    }
    return 0;
}
