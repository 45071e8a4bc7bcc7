/* A file that grows beside its final name and takes that name only when it is complete:
 *   PATH.part        the bytes so far, kept when a run is killed, so that the next one goes on
 *   PATH.part.etag   which version at the server these bytes belong to
 *   PATH.lock        held (flock) by the one process that writes the part
 *   PATH.sha256      "HEX  FILE" as sha256sum writes it, recorded when PATH is complete */
#ifndef DUO_DATA_PART_H
#define DUO_DATA_PART_H

#include <stdint.h>

#include "harness/base/sha256.h"

struct part {
    char *path, *tmp, *etag_path, *lock_path;
    int fd, lock_fd;
    int64_t n_bytes; /* in the part so far; all of them went through hash */
    struct sha256 hash;
    char etag[256]; /* "" when the bytes cannot be continued */
};

/* Locks PATH and opens its part; bytes with a known ETag are kept. The folder of PATH is made.
 * Returns 0; 1 if another process holds the lock (try again later); or error(). */
int part_open(struct part *p, const char *path);

/* Appends. 0, or -1 with errno and no message. */
int part_write(struct part *p, const void *data, size_t nbytes);

/* Empties the part, for bytes of the version `etag` ("" or NULL: cannot be continued later).
 * 0 or error(). */
int part_restart(struct part *p, const char *etag);

/* SHA-256 of all bytes; after it only part_restart, part_commit, part_drop and part_close follow.
 */
void part_hash(struct part *p, char hex[65]);

/* Syncs, records the hash in PATH.sha256 and renames. Returns 0 or error(). */
int part_commit(struct part *p, const char hex[65]);

void part_drop(struct part *p);  /* removes the bytes; then as part_close */
void part_close(struct part *p); /* keeps the bytes for later and unlocks; zeroed p is a no-op */

/* 1 if PATH is there and its bytes have the SHA-256 recorded in PATH.sha256 (or, without a record,
 * the expected one), which goes to hex. 0 otherwise, without a message. */
int file_verified(const char *path, const char *expected, char hex[65]);

#endif
