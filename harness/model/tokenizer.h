/* Text to token ids, exactly as the checkpoint's reference tokenizer does it. */
#ifndef DUO_MODEL_TOKENIZER_H
#define DUO_MODEL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

struct buf;

struct ids {
    int32_t *v;
    size_t n, cap;
};
void ids_add(struct ids *ids, int32_t id);
void ids_append(struct ids *ids, const int32_t *v, size_t n);
void ids_release(struct ids *ids);

/* The kinds of tokenizer, tried in this order by tokenizer_open. One file each. */
struct tokenizer_kind {
    const char *name; /* "sentencepiece", "bpe-json", "tiktoken" */
    const char *file; /* the file in the model folder that this kind reads */
    /* 1 if the bytes of that file look like this kind (a cheap sniff), else 0. */
    int (*sniff)(const void *data, size_t nbytes);
    /* Parses a hostile file. A state pointer, or NULL after error() that names path. */
    void *(*open)(const char *path, const void *data, size_t nbytes);
    void (*close)(void *state);
    /* Appends the ids of valid UTF-8 text without specials. Text that spells a special token is
     * text. Thread safe. 0, or error(). */
    int (*encode)(const void *state, const char *text, size_t nbytes, struct ids *out);
    /* Appends the bytes of one id, 0 <= id < n_vocab; specials give nothing. */
    void (*decode)(const void *state, int32_t id, struct buf *out);
    size_t (*n_vocab)(const void *state);
    int32_t (*bos)(const void *state); /* -1: has none */
    int32_t (*eos)(const void *state);
};

extern const struct tokenizer_kind tokenizer_sentencepiece; /* LLaMA-2: tokenizer.model */
extern const struct tokenizer_kind tokenizer_bpe_json;      /* LLaMA-3: tokenizer.json */
extern const struct tokenizer_kind tokenizer_tiktoken; /* LLaMA-3: tiktoken-form tokenizer.model */

/* Opens the tokenizer of a model folder: tokenizer.model if it is SentencePiece's, else
 * tokenizer.json, else tokenizer.model in tiktoken's form. 0, or error() naming the file. */
struct tokenizer;
int tokenizer_open(struct tokenizer **out, const char *model_dir);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

const char *tokenizer_kind_name(const struct tokenizer *t);
const char *tokenizer_path(const struct tokenizer *t);   /* the file that was read */
const char *tokenizer_sha256(const struct tokenizer *t); /* its 64 hex digits: part of a result's
                                                            identity */
size_t tokenizer_n_vocab(const struct tokenizer *t);     /* specials included */
int32_t tokenizer_bos(const struct tokenizer *t);        /* -1: has none */
int32_t tokenizer_eos(const struct tokenizer *t);

/* Appends BOS. 0, or error() where the tokenizer has none. */
int tokenizer_add_bos(const struct tokenizer *t, struct ids *out);

/* Appends ids. No BOS: the caller's protocol decides. Text may hold NULs; an empty text has no
 * ids. Thread safe. 0, or error() ("text is not UTF-8 at byte N"), which leaves out as it was. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t nbytes, struct ids *out);

/* Appends the bytes of one id to out: part of a character, perhaps. Specials and ids out of range
 * give nothing. SentencePiece's dummy prefix shows as a leading space. */
void tokenizer_decode(const struct tokenizer *t, int32_t id, struct buf *out);

#endif
