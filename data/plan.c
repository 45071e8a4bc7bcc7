/* Runs a plan: over HTTP, or as a copy out of a mirror folder. */
#include "data/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "data/check.h"
#include "data/part.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/progress.h"

int is_address(const char *s)
{
    return strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0;
}

struct http_file *plan_add(struct plan *p, const char *name, const char *url, const char *path)
{
    struct http_file *f;

    p->files = xrealloc(p->files, (p->n + 1) * sizeof(*p->files));
    f = &p->files[p->n++];
    *f = (struct http_file){
        .name = xstrdup(name),
        .url = xstrdup(url),
        .path = xstrdup(path),
        .check = content_check,
    };
    return f;
}

void plan_release(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free((char *)p->files[i].name);
        free((char *)p->files[i].url);
        free((char *)p->files[i].path);
    }
    free(p->files);
    *p = (struct plan){0};
}

/* Waits for another process that is at the same file; 1 if that process completed it. */
static int open_waiting(struct part *part, struct http_file *f)
{
    int rc;

    for (;;) {
        if (file_verified(f->path, f->sha256, f->got_sha256))
            return 1;
        rc = part_open(part, f->path);
        if (rc <= 0)
            return rc;
        usleep(100000);
    }
}

static int copy_bytes(struct part *part, int from, const struct http_file *f)
{
    char *block = xmalloc(1 << 20);
    struct progress progress;
    ssize_t n;
    int rc = part_restart(part, NULL);

    progress_begin(&progress, f->name, "bytes", (double)lseek(from, 0, SEEK_END));
    lseek(from, 0, SEEK_SET);
    while (rc == 0 && (n = read(from, block, 1 << 20)) != 0) {
        if (n < 0)
            rc = error("cannot read '%s': %s", f->url, strerror(errno));
        else if (part_write(part, block, (size_t)n) != 0)
            rc = error("%s: cannot write '%s': %s", f->name, part->tmp, strerror(errno));
        else
            progress_add(&progress, (double)n);
    }
    free(block);
    if (rc == 0 && part->n_bytes == 0)
        rc = error("'%s' is empty", f->url);
    return rc;
}

static void copy(struct http_file *f)
{
    struct part part = {0};
    int from = -1, rc = open_waiting(&part, f);

    f->state = rc == 1 ? HTTP_THERE : HTTP_FAILED;
    if (rc != 0)
        return;
    from = open(f->url, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        if (errno == ENOENT && f->optional)
            f->state = HTTP_ABSENT;
        else
            error("%s: cannot open '%s': %s", f->name, f->url, strerror(errno));
    } else if (copy_bytes(&part, from, f) == 0 && (!f->check || f->check(part.tmp, f) == 0)) {
        part_hash(&part, f->got_sha256);
        if (part_commit(&part, f->got_sha256) == 0)
            f->state = HTTP_FETCHED;
    }
    if (from >= 0)
        close(from);
    part_close(&part);
}

int plan_run(struct plan *p, const struct fetch_options *o)
{
    int rc = 0;

    if (!o->mirror || is_address(o->mirror))
        return http_fetch(p->files, p->n, &o->http);
    for (size_t i = 0; i < p->n; i++) {
        copy(&p->files[i]);
        if (p->files[i].state == HTTP_FAILED)
            rc = -1;
    }
    return rc;
}
