/* Calibration sets: n_windows windows of `window` token ids, and where they come from. */
#ifndef DUO_DATA_CALIB_H
#define DUO_DATA_CALIB_H

#include <stdint.h>

#include "harness/model/model.h"
#include "harness/model/tokenizer.h"

struct calib {
    int32_t *ids; /* n_windows x window */
    size_t n_windows, window;
    char *spec;      /* as given */
    char sha256[65]; /* of the ids, little-endian int32 */
};

struct calib_source {
    const struct model *model;         /* dense; for self: */
    const struct tokenizer *tokenizer; /* for c4: */
    const char *data_dir;              /* for c4: */
    uint64_t seed;
    int python_rng; /* CPython's generator instead of PCG */
};

/* spec:
 *   FILE.i32[:NxS]  little-endian int32 ids; NxS by default from FILE.i32.json as calib_save writes
 *                   it, else from the name (NAME.128x2048.i32), else windows of 2048. The
 *                   file has no more than that, unless NxS is given. Where FILE.i32.json is there
 *                   its SHA-256 must be that of the file, and another tokenizer's is a warning
 *   c4:NxS          N times: draw a document of C4's first training shard until its ids (with BOS)
 *                   are more than S, draw a start, take S ids (SparseGPT, Wanda, GPTAQ)
 *   c4-joined:NxS   the first documents joined by blank lines, no specials, consecutive windows
 *   self:NxS        sampled from the model itself at temperature 1 after BOS, without specials
 * Ids are checked against the vocabulary. 0, or error(). */
int calib_open(struct calib *c, const char *spec, const struct calib_source *src);
void calib_release(struct calib *c);

/* Writes the ids to PATH and the spec, seed, shape and SHA-256 to PATH.json. */
int calib_save(const struct calib *c, const struct calib_source *src, const char *path);

/* The file that a spec names, to be free()d; NULL for none: no spec (NULL), or one of another form.
 */
char *calib_file(const char *spec);

/* Would calib_open() take the path for that of a file? */
int calib_is_file_name(const char *path);

/* Parses "NxS". 0 or -1 without a message. */
int calib_parse_shape(const char *s, size_t *n_windows, size_t *window);

/* Fills ids (n x s) by sampling; data/calib_self.c. */
int calib_sample_self(const struct model *m, const struct tokenizer *t, uint64_t seed, size_t n,
                      size_t s, int32_t *ids);

#endif
