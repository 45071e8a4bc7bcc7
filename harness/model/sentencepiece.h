/* The few functions of the SentencePiece C++ library that duo uses, as C; no exception leaves. The
 * prefix is spm because the library took the name sentencepiece. */
#ifndef DUO_MODEL_SENTENCEPIECE_H
#define DUO_MODEL_SENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

struct ids;
struct spm;

/* What a piece of the vocabulary is. */
enum spm_type {
    SPM_NORMAL,
    SPM_UNKNOWN,
    SPM_CONTROL, /* <s>, </s>: never made from text */
    SPM_BYTE,    /* <0x41> */
};

/* Loads a serialised model; data may go away afterwards. NULL after error() naming path. */
struct spm *spm_open(const char *path, const void *data, size_t nbytes);
void spm_close(struct spm *m);

/* Appends the ids of valid UTF-8 text without specials. Thread safe. 0, or error(). */
int spm_encode(const struct spm *m, const char *text, size_t nbytes, struct ids *out);

int32_t spm_n_vocab(const struct spm *m);
int32_t spm_bos(const struct spm *m); /* -1 where the model has none */
int32_t spm_eos(const struct spm *m);

/* The piece as spelled in the model, spaces as U+2581; borrowed. 0 <= id < n_vocab. */
const char *spm_piece(const struct spm *m, int32_t id);
enum spm_type spm_type(const struct spm *m, int32_t id);

#endif
