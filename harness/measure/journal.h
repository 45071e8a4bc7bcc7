/* The resume journal: raw results on disk as they are computed, so that a killed run goes on where
 * it was. SQLite in WAL mode; two processes may use one journal at once.
 *
 * What is promised: an entry is served only for the key under which it was stored, with the bytes
 * that were stored, whatever happened to the file (each row carries a checksum over its keys and
 * its payload). Everything committed survives the death of the process, and SIGINT, SIGTERM and
 * SIGHUP commit first. What is not: entries not yet committed (at most the last second's), and a
 * journal on a network file system without locks. One thread at a time per handle. */
#ifndef DUO_MEASURE_JOURNAL_H
#define DUO_MEASURE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "harness/base/buf.h"
#include "harness/measure/record.h"
#include "harness/measure/task.h"

struct journal;

/* Opens or creates PATH (PATH-wal and PATH-shm lie beside it). The whole file is checked first: one
 * that is damaged or of another version is named in a warning and renamed to PATH.corrupt-TIME, and
 * a fresh one is begun. 0, or error() where there can be none (no such folder, no permission) or
 * where the file is somebody's: a text, a database of another program; *out is NULL then. */
int journal_open(struct journal **out, const char *path);

/* Commits and closes; NULL is fine. 0, or -1 when something could not be stored (a warning has
 * said so). */
int journal_close(struct journal *j);

/* Reads an entry of exactly nbytes into out. 1: found; 0: not there, or there but damaged or of
 * another size, which is one warning and then as if not there. Sees what this handle has put. */
int journal_get(struct journal *j, const char *cell, const char *item, void *out, size_t nbytes);

/* Stores an entry in the place of one with the same keys. Entries are committed together, at the
 * first put that comes a second after the last commit, every 256 entries, and by flush and close. A
 * journal that cannot be written (disk full) is one warning and stores nothing more: the results
 * themselves do not depend on it. */
void journal_put(struct journal *j, const char *cell, const char *item, const void *payload,
                 size_t nbytes);

/* Commits what is pending. 0, or -1 as journal_close(). */
int journal_flush(struct journal *j);

/* The cell key: SHA-256 over everything that a raw result depends on apart from the item: content
 * of model and tokenizer, the recipe (calibration by content), protocol, backend, device, dtype and
 * the program's revision. Not: the model's path, --limit, --threads. error() where one of
 * model_sha256, tokenizer_sha256, method, protocol, backend, dtype (and calib_sha256 where there
 * is a calib) is not known: such a run cannot be resumed safely. */
int journal_cell_key(const struct record *r, char out[65]);

/* Item keys name the content, not only the place: task, number and SHA-256 of all contexts and
 * continuations; or the window's number and the SHA-256 of its ids. */
void journal_document_key(struct buf *out, const char *task, size_t index,
                          const struct document *d);
void journal_window_key(struct buf *out, const char *task, size_t index, const int32_t *ids,
                        size_t n_ids);

#endif
