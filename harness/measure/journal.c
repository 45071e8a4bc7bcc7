/* The resume journal: entries in SQLite. Its file is opened in journal_file.c, keys are in
 * journal_key.c. */
#include "harness/measure/journal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/sha256.h"
#include "harness/base/stop.h"
#include "harness/measure/journal_file.h"

#define MAX_PENDING 256
#define COMMIT_SECONDS 1.0

struct entry {
    char *cell, *item;
    void *payload;
    size_t nbytes;
};

struct journal {
    struct journal_file file;
    struct entry pending[MAX_PENDING];
    size_t n_pending;
    pthread_mutex_t lock; /* at a signal another thread flushes */
    double committed;     /* when, monotonic seconds */
    int off;              /* a write has failed: nothing more is stored */
    int warned;           /* of damaged rows */
};

/* First 8 bytes of SHA-256 over keys (with their NULs) and payload, as 16 hex digits. */
static void row_checksum(const char *cell, const char *item, const void *payload, size_t nbytes,
                         char out[65])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_update(&s, cell, strlen(cell) + 1);
    sha256_update(&s, item, strlen(item) + 1);
    sha256_update(&s, payload, nbytes);
    sha256_final(&s, out);
    out[16] = 0;
}

/* ---- opening ------------------------------------------------------------------------------ */

static void flush_at_signal(void *journal)
{
    journal_flush(journal);
}

int journal_open(struct journal **out, const char *path)
{
    struct journal *j = xcalloc(1, sizeof(*j));

    *out = NULL;
    if (journal_file_open(&j->file, path) != 0) {
        free(j);
        return -1;
    }
    j->committed = now_seconds();
    pthread_mutex_init(&j->lock, NULL);
    stop_add(STOP_SIGNAL, flush_at_signal, j);
    *out = j;
    return 0;
}

/* ---- storing ------------------------------------------------------------------------------ */

static void drop_pending(struct journal *j)
{
    for (size_t i = 0; i < j->n_pending; i++) {
        free(j->pending[i].cell);
        free(j->pending[i].item);
        free(j->pending[i].payload);
    }
    j->n_pending = 0;
}

static int insert(struct journal *j, const struct entry *e)
{
    char checksum[65];
    int rc;

    row_checksum(e->cell, e->item, e->payload, e->nbytes, checksum);
    sqlite3_bind_text(j->file.put, 1, e->cell, -1, SQLITE_STATIC);
    sqlite3_bind_text(j->file.put, 2, e->item, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(j->file.put, 3, e->payload, e->nbytes, SQLITE_STATIC);
    sqlite3_bind_text(j->file.put, 4, checksum, -1, SQLITE_STATIC);
    rc = sqlite3_step(j->file.put);
    sqlite3_reset(j->file.put);
    sqlite3_clear_bindings(j->file.put);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Entries wait in memory and not in an open transaction, so that the write lock is held for
 * milliseconds and another process gets its turn. */
static int flush(struct journal *j)
{
    int rc;

    if (j->off)
        return -1;
    if (j->n_pending == 0)
        return 0;
    rc = sqlite3_exec(j->file.db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (size_t i = 0; rc == SQLITE_OK && i < j->n_pending; i++)
        rc = insert(j, &j->pending[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(j->file.db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        warning("cannot write journal '%s': %s; from here on this run cannot be resumed",
                j->file.path, sqlite3_errmsg(j->file.db));
        sqlite3_exec(j->file.db, "ROLLBACK", NULL, NULL, NULL);
        j->off = 1;
    }
    drop_pending(j);
    j->committed = now_seconds();
    return j->off ? -1 : 0;
}

int journal_flush(struct journal *j)
{
    int rc;

    pthread_mutex_lock(&j->lock);
    rc = flush(j);
    pthread_mutex_unlock(&j->lock);
    return rc;
}

static void put(struct journal *j, const char *cell, const char *item, const void *payload,
                size_t nbytes)
{
    struct entry *e = &j->pending[j->n_pending];

    if (j->off)
        return;
    e->cell = xstrdup(cell);
    e->item = xstrdup(item);
    e->payload = memcpy(xmalloc(nbytes), payload, nbytes);
    e->nbytes = nbytes;
    j->n_pending++;
    if (j->n_pending == MAX_PENDING || now_seconds() - j->committed >= COMMIT_SECONDS)
        flush(j);
}

void journal_put(struct journal *j, const char *cell, const char *item, const void *payload,
                 size_t nbytes)
{
    pthread_mutex_lock(&j->lock);
    put(j, cell, item, payload, nbytes);
    pthread_mutex_unlock(&j->lock);
}

int journal_close(struct journal *j)
{
    int rc;

    if (!j)
        return 0;
    stop_remove(j);
    rc = journal_flush(j);
    journal_file_close(&j->file);
    pthread_mutex_destroy(&j->lock);
    free(j);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------ */

static void warn_once(struct journal *j, const char *what)
{
    if (!j->warned)
        warning("journal '%s': %s; what it held is computed again", j->file.path, what);
    j->warned = 1;
}

/* The row that the statement stands on. */
static int take_row(struct journal *j, const char *cell, const char *item, void *out, size_t nbytes)
{
    const void *payload = sqlite3_column_blob(j->file.get, 0);
    size_t n = (size_t)sqlite3_column_bytes(j->file.get, 0);
    const char *stored = (const char *)sqlite3_column_text(j->file.get, 1);
    char checksum[65];

    row_checksum(cell, item, payload ? payload : "", n, checksum);
    if (!stored || strcmp(stored, checksum) != 0) {
        warn_once(j, "an entry is damaged");
        return 0;
    }
    if (n != nbytes || (n > 0 && !payload)) {
        warn_once(j, "an entry has another size than asked for");
        return 0;
    }
    if (payload && nbytes)
        memcpy(out, payload, nbytes);
    return 1;
}

static int get(struct journal *j, const char *cell, const char *item, void *out, size_t nbytes)
{
    int rc, found = 0;

    for (size_t i = j->n_pending; i-- > 0;) {
        const struct entry *e = &j->pending[i];

        if (strcmp(e->item, item) != 0 || strcmp(e->cell, cell) != 0 || e->nbytes != nbytes)
            continue;
        memcpy(out, e->payload, nbytes);
        return 1;
    }
    sqlite3_bind_text(j->file.get, 1, cell, -1, SQLITE_STATIC);
    sqlite3_bind_text(j->file.get, 2, item, -1, SQLITE_STATIC);
    rc = sqlite3_step(j->file.get);
    if (rc == SQLITE_ROW)
        found = take_row(j, cell, item, out, nbytes);
    else if (rc != SQLITE_DONE)
        warn_once(j, sqlite3_errmsg(j->file.db));
    sqlite3_reset(j->file.get);
    sqlite3_clear_bindings(j->file.get);
    return found;
}

int journal_get(struct journal *j, const char *cell, const char *item, void *out, size_t nbytes)
{
    int found;

    pthread_mutex_lock(&j->lock);
    found = get(j, cell, item, out, nbytes);
    pthread_mutex_unlock(&j->lock);
    return found;
}
