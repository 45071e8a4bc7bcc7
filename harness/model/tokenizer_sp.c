/* LLaMA-2's tokenizer.model: SentencePiece BPE with byte fallback. The library does the work. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/pool.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/spm_form.h"
#include "harness/model/tokenizer.h"
#include "harness/model/word_cache.h"

/* A ModelProto begins with its first piece: field 1, a length, inside it field 1, a string. */
static int sniff(const void *data, size_t nbytes)
{
    const unsigned char *p = data;

    return nbytes > 3 && p[0] == 0x0a && p[1] < 0x80 && p[2] == 0x0a && p[3] < p[1];
}

struct sp {
    struct spm *model; /* its dummy prefix taken out: encode() puts it */
    struct spm_form form;
    struct pool pool; /* of struct scratch */
    int32_t bos, eos; /* asked once: the library makes their spellings at the first question */
};

struct scratch {
    struct word_cache cache;
    struct buf first; /* the first word with its prefix */
};

static void scratch_free(void *item)
{
    struct scratch *s = item;

    word_cache_release(&s->cache);
    buf_release(&s->first);
    free(s);
}

static void close_model(void *state)
{
    struct sp *t = state;

    spm_close(t->model);
    pool_release(&t->pool, scratch_free);
    free(t);
}

static void *open_model(const char *path, const void *data, size_t nbytes)
{
    struct sp *t = xcalloc(1, sizeof(*t));
    struct buf model = {0};

    pool_init(&t->pool);
    if (spm_form_read(&t->form, path, data, nbytes, &model) == 0)
        t->model = spm_open(path, model.data, model.n);
    buf_release(&model);
    if (t->model) {
        t->bos = spm_bos(t->model);
        t->eos = spm_eos(t->model);
        return t;
    }
    close_model(t);
    return NULL;
}

/* Bytes of the space at p, written as ' ' or as U+2581; 0: none there. */
static size_t space_at(const char *p, const char *end)
{
    if (*p == ' ')
        return 1;
    return *p == '\xe2' && end - p >= 3 && memcmp(p, "\xe2\x96\x81", 3) == 0 ? 3 : 0;
}

/* The end of the word at p: spaces, then all up to the next space. */
static const char *word_end(const char *p, const char *end)
{
    size_t n;

    while (p < end && (n = space_at(p, end)) > 0)
        p += n;
    while (p < end && !space_at(p, end))
        p++;
    return p;
}

static int encode_word(const struct sp *t, struct scratch *s, const char *word, size_t nbytes,
                       struct ids *out)
{
    struct word_entry *e;
    size_t first = out->n;
    int hit;

    if (nbytes > WORD_CACHE_BYTES)
        return spm_encode(t->model, word, nbytes, out);
    e = word_cache_find(&s->cache, word, nbytes, &hit);
    if (hit) {
        ids_append(out, e->ids, e->n_ids);
        return 0;
    }
    if (spm_encode(t->model, word, nbytes, out) != 0)
        return -1;
    if (out->n - first <= WORD_CACHE_IDS)
        word_cache_set(e, word, nbytes, out->v + first, out->n - first);
    return 0;
}

static int encode_first(const struct sp *t, struct scratch *s, const char *word, size_t nbytes,
                        struct ids *out)
{
    if (!t->form.dummy_prefix)
        return encode_word(t, s, word, nbytes, out);
    s->first.n = 0;
    buf_addc(&s->first, ' ');
    buf_add(&s->first, word, nbytes);
    return encode_word(t, s, s->first.data, s->first.n, out);
}

/* The library takes seconds for a megabyte; word by word, most are found in the cache. */
static int encode(const void *state, const char *text, size_t nbytes, struct ids *out)
{
    const struct sp *t = state;
    const char *end = text + nbytes, *stop;
    struct scratch *s;
    int rc;

    if (nbytes == 0)
        return 0;
    s = pool_take((struct pool *)&t->pool);
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        word_cache_init(&s->cache);
    }
    stop = t->form.words_apart ? word_end(text, end) : end;
    rc = encode_first(t, s, text, (size_t)(stop - text), out);
    while (rc == 0 && stop < end) {
        text = stop;
        stop = word_end(text, end);
        rc = encode_word(t, s, text, (size_t)(stop - text), out);
    }
    if (s->first.cap > 1 << 16)
        buf_release(&s->first);
    pool_give((struct pool *)&t->pool, s);
    return rc;
}

/* A piece's text with U+2581 (e2 96 81) turned back into the space that it stands for. */
static void add_unescaped(struct buf *out, const char *piece)
{
    const char *mark;

    while ((mark = strstr(piece, "\xe2\x96\x81"))) {
        buf_add(out, piece, (size_t)(mark - piece));
        buf_addc(out, ' ');
        piece = mark + 3;
    }
    buf_adds(out, piece);
}

static void decode(const void *state, int32_t id, struct buf *out)
{
    const struct spm *m = ((const struct sp *)state)->model;

    switch (spm_type(m, id)) {
    case SPM_NORMAL:
        add_unescaped(out, spm_piece(m, id));
        break;
    case SPM_BYTE: /* "<0x41>" */
        buf_addc(out, (char)strtoul(spm_piece(m, id) + 1, NULL, 16));
        break;
    case SPM_UNKNOWN:
        buf_adds(out, " \xe2\x81\x87 "); /* as the library does */
        break;
    case SPM_CONTROL:
        break;
    }
}

static size_t n_vocab(const void *state)
{
    return (size_t)spm_n_vocab(((const struct sp *)state)->model);
}

static int32_t bos(const void *state)
{
    return ((const struct sp *)state)->bos;
}

static int32_t eos(const void *state)
{
    return ((const struct sp *)state)->eos;
}

const struct tokenizer_kind tokenizer_sentencepiece = {
    .name = "sentencepiece",
    .file = "tokenizer.model",
    .sniff = sniff,
    .open = open_model,
    .close = close_model,
    .encode = encode,
    .decode = decode,
    .n_vocab = n_vocab,
    .bos = bos,
    .eos = eos,
};
