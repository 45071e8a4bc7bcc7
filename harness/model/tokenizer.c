/* Choosing a model folder's tokenizer, and what all kinds have in common. */
#include "harness/model/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/sha256.h"

/* In order of preference: a folder in LLaMA-3's form often has both of the last two. */
static const struct tokenizer_kind *const kinds[] = {
    &tokenizer_sentencepiece,
    &tokenizer_bpe_json,
    &tokenizer_tiktoken,
    NULL,
};

struct tokenizer {
    const struct tokenizer_kind *kind;
    void *state;
    char *path;
    char sha256[65];
};

void ids_append(struct ids *ids, const int32_t *v, size_t n)
{
    if (ids->n + n > ids->cap) {
        ids->cap = ids->n + n > 2 * ids->cap ? ids->n + n : 2 * ids->cap;
        ids->v = xrealloc(ids->v, ids->cap * sizeof(*ids->v));
    }
    if (n)
        memcpy(ids->v + ids->n, v, n * sizeof(*v));
    ids->n += n;
}

void ids_add(struct ids *ids, int32_t id)
{
    ids_append(ids, &id, 1);
}

void ids_release(struct ids *ids)
{
    free(ids->v);
    *ids = (struct ids){0};
}

/* 1: opened, 0: the folder has no such file, -1: error(). */
static int try_kind(struct tokenizer *t, const struct tokenizer_kind *kind, const char *dir)
{
    char *path = path_join(dir, kind->file);
    struct file_map m = {0};
    int rc = 0;

    if (!file_exists(path))
        goto out;
    rc = -1;
    if (file_map_open(&m, path) != 0)
        goto out;
    rc = 0;
    if (!kind->sniff(m.data, m.nbytes))
        goto out;
    t->state = kind->open(path, m.data, m.nbytes);
    rc = t->state ? 1 : -1;
    if (rc == 1) {
        t->kind = kind;
        t->path = path;
        path = NULL;
        sha256_hex(m.data, m.nbytes, t->sha256);
    }
out:
    file_map_close(&m);
    free(path);
    return rc;
}

int tokenizer_open(struct tokenizer **out, const char *model_dir)
{
    struct tokenizer *t = xcalloc(1, sizeof(*t));
    int rc = 0;

    for (int i = 0; kinds[i] && rc == 0; i++)
        rc = try_kind(t, kinds[i], model_dir);
    if (rc == 0)
        error("%s: no tokenizer: neither a tokenizer.json nor a tokenizer.model that is a "
              "SentencePiece model or a list of tiktoken ranks",
              model_dir);
    *out = NULL;
    if (rc != 1) {
        free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    t->kind->close(t->state);
    free(t->path);
    free(t);
}

const char *tokenizer_kind_name(const struct tokenizer *t)
{
    return t->kind->name;
}

const char *tokenizer_path(const struct tokenizer *t)
{
    return t->path;
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}

size_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->kind->n_vocab(t->state);
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->kind->bos(t->state);
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->kind->eos(t->state);
}

int tokenizer_add_bos(const struct tokenizer *t, struct ids *out)
{
    int32_t bos = tokenizer_bos(t);

    if (bos < 0)
        return error("%s: the tokenizer has no BOS token to begin a text with", t->path);
    ids_add(out, bos);
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t nbytes, struct ids *out)
{
    const uint8_t *bad = u8_check((const uint8_t *)text, nbytes);
    size_t n = out->n;

    if (bad)
        return error("text is not UTF-8 at byte %zu", (size_t)(bad - (const uint8_t *)text));
    if (t->kind->encode(t->state, text, nbytes, out) != 0) {
        out->n = n;
        return -1;
    }
    return 0;
}

void tokenizer_decode(const struct tokenizer *t, int32_t id, struct buf *out)
{
    if (id >= 0 && (size_t)id < tokenizer_n_vocab(t))
        t->kind->decode(t->state, id, out);
}
