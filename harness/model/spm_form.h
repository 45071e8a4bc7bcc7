/* What a SentencePiece model says beside its pieces, read from the protocol buffer itself: the
 * library shows none of it, and checks too little to be handed a hostile file. */
#ifndef DUO_MODEL_SPM_FORM_H
#define DUO_MODEL_SPM_FORM_H

#include <stddef.h>

struct buf;

struct spm_form {
    int dummy_prefix; /* a space is put before a text */
    int words_apart;  /* no piece has a space after another character: words cannot influence each
                         other and may be encoded one by one */
};

/* Reads a ModelProto and appends to out one that is the same but without a dummy prefix (and
 * without self-test samples, which would miss it). Known is LLaMA-2's form: BPE with byte fallback,
 * spaces kept, no character map. 0, or error() naming path. */
int spm_form_read(struct spm_form *f, const char *path, const void *data, size_t nbytes,
                  struct buf *out);

#endif
