/* UTF-8 text with Python's meaning of "white space" and "capitalize", because the prompts that are
 * to be reproduced were made by Python. All sizes are bytes unless they say code points; texts need
 * no NUL at their end where a size is given. Valid UTF-8 is expected where nothing else is said:
 * check once, where text comes in. */
#ifndef DUO_BASE_TEXT_H
#define DUO_BASE_TEXT_H

#include <stddef.h>

#include "harness/base/buf.h"

/* The offset of the first byte that no valid UTF-8 text has there, or -1 if all is valid. Overlong
 * forms, surrogates and code points above U+10FFFF are invalid; NUL is valid. */
ptrdiff_t utf8_valid(const char *s, size_t nbytes);

/* Bytes of the character at s, which ends with NUL, if it is one that a terminal or a reader obeys
 * and does not show: C0, DEL, C1, line and paragraph separators, what turns the direction of
 * writing (bidirectional embeddings, overrides, isolates); else 0. Any bytes may be there. */
size_t text_unshown(const char *s);

/* The first such character of the text, or NULL. Any bytes may be there. */
const char *text_find_unshown(const char *s);

/* Appends any bytes, with U+FFFD in the place of each that is no UTF-8. */
void text_add_mended(struct buf *b, const char *s, size_t nbytes);

/* A copy of any bytes, to be free()d, as text_add_mended() and without what text_unshown() tells
 * of: each becomes a space (a newline stays where keep_lines). */
char *text_clean(const char *s, int keep_lines);

/* Code points (Python's len()). */
size_t utf8_length(const char *s, size_t nbytes);

/* White space below is what Python's str.isspace() says: category Zs or bidirectional class WS, B
 * or S. That is the Unicode property White_Space and U+001C to U+001F. */

/* str.strip(): moves *s past leading white space and returns the length up to trailing one. */
size_t text_strip(const char **s, size_t nbytes);

/* The length in bytes of the white space that str.rstrip() would take off. */
size_t text_trailing_spaces(const char *s, size_t nbytes);

/* str.capitalize(): appends the first code point title-cased and all others lower-cased, with the
 * full Unicode mappings (one code point may become up to three) and the final form of sigma. No
 * language's own rules. */
void text_capitalize(const char *s, size_t nbytes, struct buf *out);

#endif
