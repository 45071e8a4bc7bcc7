/* Byte-level BPE, the engine of tokenizer.json and of tiktoken-form files.
 *
 * Text is cut into words by a regular expression. A word starts as one token per byte; of all
 * neighbours that a merge rule names, the rule of lowest rank (the leftmost of equals) is applied,
 * until none applies. */
#ifndef DUO_MODEL_TOKENIZER_BPE_H
#define DUO_MODEL_TOKENIZER_BPE_H

#include <stddef.h>
#include <stdint.h>

struct bpe;
struct buf;
struct ids;

enum bpe_kind {
    BPE_NONE,    /* no token has this id */
    BPE_TEXT,    /* made from text */
    BPE_FOREIGN, /* in the vocabulary, but no text has these bytes: only decoded */
    BPE_SPECIAL, /* never made from text, decoded to nothing */
};

enum { BPE_MAX_IDS = 1 << 24 };

/* Building. split is a pattern for split_open; whole_words: a word that is a token is that token,
 * whatever the merges say (Hugging Face's ignore_merges). path is for messages and is copied. NULL
 * after error(). */
struct bpe *bpe_open(const char *path, const char *split, int whole_words);
void bpe_close(struct bpe *b); /* NULL is fine */

/* An id out of [0, BPE_MAX_IDS), an id used twice, a BPE_TEXT token without bytes and the same
 * bytes twice are error(). */
int bpe_add_token(struct bpe *b, int64_t id, const void *bytes, size_t nbytes, enum bpe_kind kind);

/* The id of the BPE_TEXT token of these bytes, or -1. */
int32_t bpe_find(const struct bpe *b, const void *bytes, size_t nbytes);

/* The bytes of a token, borrowed until the next bpe_add_token. */
const char *bpe_token(const struct bpe *b, int32_t id, size_t *nbytes);

/* 1 if id is the BPE_SPECIAL token of this spelling, else 0. */
int bpe_is_special(const struct bpe *b, int32_t id, const char *content);

/* left right -> into; a pair given twice keeps the last rank. */
void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t into, uint32_t rank);

/* The end of building: every byte that UTF-8 can contain must be a token, else error(). */
int bpe_finish(const struct bpe *b);

/* Using, as tokenizer_kind. */
int bpe_encode(const struct bpe *b, const char *text, size_t nbytes, struct ids *out);
void bpe_decode(const struct bpe *b, int32_t id, struct buf *out);
size_t bpe_n_vocab(const struct bpe *b); /* highest id + 1 */

#endif
