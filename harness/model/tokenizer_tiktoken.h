/* A line of a tiktoken-form file, apart from the tokenizer that it belongs to (for fuzzing: a whole
 * file has 128000). */
#ifndef DUO_MODEL_TOKENIZER_TIKTOKEN_H
#define DUO_MODEL_TOKENIZER_TIKTOKEN_H

#include <stddef.h>

struct buf;

/* "BASE64 RANK", n bytes without the newline. The rank, and the token's bytes in *bytes (emptied
 * first); or error() naming path and line number. */
int tiktoken_parse_line(const char *path, size_t number, const char *line, size_t n,
                        struct buf *bytes);

#endif
