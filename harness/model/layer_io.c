/* The thread that reads and writes layers, and their files. */
#include "harness/model/layer_io.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/sha256.h"

#define HEAD 256
#define PIECE (1 << 20) /* bytes read at a time to be checked */
#define MAX_JOBS 8

enum job_kind { JOB_READ, JOB_WRITE_FILE, JOB_READ_FILE };

struct job {
    enum job_kind kind;
    size_t layer;
    char *path, key[65];
    void *block;
};

struct layer_io {
    layer_read_fn *read;
    void *arg;
    size_t nbytes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job jobs[MAX_JOBS]; /* job number n is in jobs[n % MAX_JOBS] */
    uint64_t n_begun, n_done;
    int closing;
};

/* ---- files */

/* The head's first line: version, key, bytes; the second: the SHA-256 of the block behind it. */
static void make_head(char head[HEAD], const char *key, size_t nbytes, const char *sha256)
{
    memset(head, '\n', HEAD);
    head[snprintf(head, HEAD, "duo layer 2 %s %zu\n%s", key, nbytes, sha256)] = '\n';
}

/* Opens a layer file and reads its head, the sum into sha256; NULL: not there or of another kind.
 */
static FILE *open_file(const char *path, const char *key, size_t nbytes, char sha256[65])
{
    char want[HEAD], head[HEAD] = "";
    FILE *f = file_exists(path) ? fopen(path, "rb") : NULL;
    size_t n;

    make_head(want, key, nbytes, "");
    n = strcspn(want, "\n") + 1;
    if (f && (fread(head, HEAD, 1, f) != 1 || memcmp(head, want, n) != 0)) {
        fclose(f);
        f = NULL;
    }
    snprintf(sha256, 65, "%.64s", head + n);
    return f;
}

int layer_file_is(const char *path, const char *key, size_t nbytes)
{
    char want[65], got[65], *piece;
    FILE *f = open_file(path, key, nbytes, want);
    struct sha256 sum;
    size_t n;

    if (!f)
        return 0;
    piece = xmalloc(PIECE);
    sha256_init(&sum);
    while ((n = fread(piece, 1, PIECE, f)) > 0)
        sha256_update(&sum, piece, n);
    sha256_final(&sum, got);
    n = (size_t)(ftello(f) - HEAD);
    fclose(f);
    free(piece);
    if (n == nbytes && strcmp(got, want) == 0)
        return 1;
    warning("%s is damaged: the layer is made again", path);
    return 0;
}

static int read_file(const struct layer_io *io, const struct job *j)
{
    char sha256[65]; /* looked at when the file is taken over, not at every reading */
    FILE *f = open_file(j->path, j->key, io->nbytes, sha256);
    int ok = f && fread(j->block, 1, io->nbytes, f) == io->nbytes;

    if (f)
        fclose(f);
    return ok ? 0 : error("%s: the layer that was written there cannot be read back", j->path);
}

static int write_file(const struct layer_io *io, const struct job *j)
{
    struct atomic_file a;
    char head[HEAD], sha256[65];

    sha256_hex(j->block, io->nbytes, sha256);
    make_head(head, j->key, io->nbytes, sha256);
    if (atomic_file_open(&a, j->path) != 0)
        return -1;
    if (fwrite(head, HEAD, 1, a.f) != 1 || fwrite(j->block, 1, io->nbytes, a.f) != io->nbytes) {
        error("%s: %s", j->path, strerror(errno));
        atomic_file_abort(&a);
        return -1;
    }
    return atomic_file_commit(&a);
}

/* ---- the thread */

static void run(const struct layer_io *io, const struct job *j)
{
    int rc = j->kind == JOB_READ        ? io->read(io->arg, j->layer, j->block)
             : j->kind == JOB_READ_FILE ? read_file(io, j)
                                        : write_file(io, j);

    if (rc != 0)
        die("without layer %zu there is no going on", j->layer);
}

static void *work(void *arg)
{
    struct layer_io *io = arg;

    pthread_mutex_lock(&io->lock);
    for (;;) {
        struct job *j = &io->jobs[(io->n_done + 1) % MAX_JOBS];

        if (io->n_done == io->n_begun) {
            if (io->closing)
                break;
            pthread_cond_wait(&io->changed, &io->lock);
            continue;
        }
        pthread_mutex_unlock(&io->lock);
        run(io, j);
        pthread_mutex_lock(&io->lock);
        free(j->path);
        io->n_done++;
        pthread_cond_broadcast(&io->changed);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

struct layer_io *layer_io_open(layer_read_fn *read, void *arg, size_t nbytes)
{
    struct layer_io *io = xcalloc(1, sizeof(*io));

    io->read = read;
    io->arg = arg;
    io->nbytes = nbytes;
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->changed, NULL);
    if (pthread_create(&io->thread, NULL, work, io) != 0)
        die("no thread to read layers");
    return io;
}

void layer_io_close(struct layer_io *io)
{
    if (!io)
        return;
    pthread_mutex_lock(&io->lock);
    io->closing = 1;
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
    pthread_join(io->thread, NULL);
    pthread_cond_destroy(&io->changed);
    pthread_mutex_destroy(&io->lock);
    free(io);
}

static uint64_t add(struct layer_io *io, struct job j)
{
    uint64_t n;

    pthread_mutex_lock(&io->lock);
    while (io->n_begun - io->n_done == MAX_JOBS - 1)
        pthread_cond_wait(&io->changed, &io->lock);
    n = ++io->n_begun;
    io->jobs[n % MAX_JOBS] = j;
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
    return n;
}

uint64_t layer_io_read(struct layer_io *io, size_t i, void *block)
{
    return add(io, (struct job){.kind = JOB_READ, .layer = i, .block = block});
}

static uint64_t add_file(struct layer_io *io, enum job_kind kind, size_t i, const char *path,
                         const char *key, void *block)
{
    struct job j = {.kind = kind, .layer = i, .path = xstrdup(path), .block = block};

    snprintf(j.key, sizeof(j.key), "%s", key);
    return add(io, j);
}

uint64_t layer_io_write(struct layer_io *io, size_t i, const char *path, const char *key,
                        const void *block)
{
    return add_file(io, JOB_WRITE_FILE, i, path, key, (void *)(uintptr_t)block);
}

uint64_t layer_io_read_file(struct layer_io *io, size_t i, const char *path, const char *key,
                            void *block)
{
    return add_file(io, JOB_READ_FILE, i, path, key, block);
}

void layer_io_wait(struct layer_io *io, uint64_t job)
{
    pthread_mutex_lock(&io->lock);
    while (io->n_done < job)
        pthread_cond_wait(&io->changed, &io->lock);
    pthread_mutex_unlock(&io->lock);
}
