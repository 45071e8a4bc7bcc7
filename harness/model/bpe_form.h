/* What a tokenizer.json says beside its vocabulary. */
#ifndef DUO_MODEL_BPE_FORM_H
#define DUO_MODEL_BPE_FORM_H

#include <cjson/cJSON.h>

/* Strings are borrowed from the JSON value or static. */
struct bpe_form {
    const char *path;  /* set by the caller, for messages */
    const char *split; /* the pre-tokeniser's expression */
    const char *bos;   /* content of the special token that is put before a text; NULL: none */
    int bos_id;
    int ignore_merges;
};

/* Known is LLaMA-3's form: a byte-level BPE without affixes, dropout or normaliser; a pre-tokeniser
 * Sequence of Split (a Regex, Isolated) and ByteLevel without its own expression, or ByteLevel
 * alone with it; a post-processor that puts one special token or nothing before the text. Whatever
 * else would change ids is error(). */
int bpe_form_read(struct bpe_form *f, const cJSON *root);

#endif
