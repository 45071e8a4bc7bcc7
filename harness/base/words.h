/* A command line as one line of text that a shell reads back as the same words. */
#ifndef DUO_BASE_WORDS_H
#define DUO_BASE_WORDS_H

#include <stddef.h>

#include "harness/base/buf.h"

/* Appends the n words with blanks between, those with anything but letters, digits and ,./:=+@%_-
 * in single quotes. */
void words_quote(struct buf *b, const char *const *words, size_t n);

/* Splits such a line, or one as a person writes it: blanks, '...', "..." (\" and \\ inside) and
 * \c. The words lie in one block: free(*words) frees all; *words ends with a NULL. The number of
 * words, or -1 after error() naming `where` (a quote without an end). No variables, no patterns. */
int words_split(const char *line, const char *where, char ***words);

#endif
