/* The few functions of the SentencePiece C++ library that duo uses, as C. No exception leaves. */
#ifndef DUO_MODEL_SENTENCEPIECE_H
#define DUO_MODEL_SENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

struct ids;
struct sentencepiece;

/* What a piece of the vocabulary is. */
enum sentencepiece_type {
    SENTENCEPIECE_NORMAL,
    SENTENCEPIECE_UNKNOWN,
    SENTENCEPIECE_CONTROL, /* <s>, </s>: never made from text */
    SENTENCEPIECE_BYTE,    /* <0x41> */
};

/* Loads a serialised model; data may go away afterwards. NULL after error() naming path. */
struct sentencepiece *sentencepiece_open(const char *path, const void *data, size_t nbytes);
void sentencepiece_close(struct sentencepiece *sp);

/* Appends the ids of valid UTF-8 text, the model's own dummy prefix included, without specials.
 * Thread safe. 0, or error(). */
int sentencepiece_encode(const struct sentencepiece *sp, const char *text, size_t nbytes,
                         struct ids *out);

int32_t sentencepiece_n_vocab(const struct sentencepiece *sp);
int32_t sentencepiece_bos(const struct sentencepiece *sp); /* -1 where the model has none */
int32_t sentencepiece_eos(const struct sentencepiece *sp);

/* The piece as spelled in the model, spaces as U+2581; borrowed. 0 <= id < n_vocab. */
const char *sentencepiece_piece(const struct sentencepiece *sp, int32_t id);
enum sentencepiece_type sentencepiece_type(const struct sentencepiece *sp, int32_t id);

#endif
