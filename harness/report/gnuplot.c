/* gnuplot as a child process. */
#include "harness/report/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/temporary.h"

#define NOT_FOUND 127

struct job {
    char *dir, *script, *out, *said; /* files in dir */
};

static int job_open(struct job *j)
{
    j->dir = temporary_open("plot");
    if (!j->dir)
        return -1;
    j->script = path_join(j->dir, "plot.gp");
    j->out = path_join(j->dir, "plot.svg");
    j->said = path_join(j->dir, "said");
    return 0;
}

static void job_close(struct job *j)
{
    free(j->script);
    free(j->out);
    free(j->said);
    temporary_close(j->dir);
}

/* In the child: never returns. */
static void become_gnuplot(const struct job *j)
{
    int in = open("/dev/null", O_RDONLY);
    int out = open(j->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int said = open(j->said, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (in >= 0 && out >= 0 && said >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 &&
        dup2(said, 2) == 2 && chdir(j->dir) == 0) {
        setenv("LC_ALL", "C.UTF-8", 1); /* a point in numbers */
        execlp("gnuplot", "gnuplot", "-d", "plot.gp", (char *)NULL);
    }
    _exit(errno == ENOENT ? NOT_FOUND : 126);
}

static int run(const struct job *j, int *status)
{
    pid_t child = fork();

    if (child == 0)
        become_gnuplot(j);
    if (child < 0)
        return error("cannot start gnuplot: %s", strerror(errno));
    while (waitpid(child, status, 0) < 0)
        if (errno != EINTR)
            return error("cannot wait for gnuplot: %s", strerror(errno));
    return 0;
}

/* Its first line that says something. */
static void failed(const struct job *j, int status)
{
    struct buf said = {0};
    const char *line = "";

    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND) {
        error(
            "plots need gnuplot: install the Debian package gnuplot-nox, or choose another format "
            "(-o md, csv, latex)");
        return;
    }
    if (file_exists(j->said) && file_read(j->said, &said) == 0) {
        line = buf_str(&said) + strspn(buf_str(&said), " \n^");
        error("gnuplot failed with status %d: %.*s",
              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
              (int)strcspn(line, "\n"), line);
    }
    buf_release(&said);
}

int gnuplot_run(const char *script, struct buf *svg)
{
    struct job j = {0};
    int status = 0, rc;

    if (job_open(&j) != 0)
        return -1;
    rc = file_write_atomic(j.script, script, strlen(script));
    if (rc == 0)
        rc = run(&j, &status);
    if (rc == 0 && status != 0) {
        failed(&j, status);
        rc = -1;
    }
    if (rc == 0)
        rc = file_read(j.out, svg);
    if (rc == 0 && (!svg->n || !strstr(svg->data, "</svg>")))
        rc = error("gnuplot drew nothing");
    job_close(&j);
    return rc;
}
