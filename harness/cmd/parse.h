/* Strict reading of what options say. `name` begins the message, such as "--sparsity". */
#ifndef DUO_CMD_PARSE_H
#define DUO_CMD_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* A decimal number in [min, max]; no hex, no inf, no blanks. 0 or error(). */
int parse_number(const char *name, const char *s, double min, double max, double *out);

/* A whole number in [min, max], digits alone. */
int parse_whole(const char *name, const char *s, double min, double max, uint64_t *out);

/* --limit: a number of documents, or a share of them below 1. */
int parse_limit(const char *s, double *out);

/* Bytes: a whole number above 0 and KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of 1024)
 * or B or nothing; case does not matter. */
int parse_nbytes(const char *name, const char *s, size_t *out);

/* The index of s among the n known words, in *out; or error() that lists them. */
int parse_word(const char *name, const char *s, const char *const *known, int n, int *out);

#endif
