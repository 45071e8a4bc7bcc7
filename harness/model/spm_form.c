/* What a SentencePiece model says beside its pieces. Field numbers: sentencepiece_model.proto. */
#include "harness/model/spm_form.h"

#include <stdint.h>
#include <string.h>
#include <unistr.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_SELF_TEST = 4 };
enum { PIECE_TEXT = 1 };
enum { TRAINER_TYPE = 3, TRAINER_SUFFIX = 24, TRAINER_BYTE_FALLBACK = 35, TYPE_BPE = 2 };
enum { NORMALIZER_MAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_TRIM = 4, NORMALIZER_ESCAPE = 5 };

/* A position in an encoded message, and the field that was read last. */
struct reader {
    const unsigned char *p, *end;
    uint64_t field, value;      /* value of a number, or size of the bytes */
    const unsigned char *bytes; /* NULL for a number */
};

struct settings {
    uint64_t type, suffix, byte_fallback, map_size, prefix, trim, escape;
    size_t n_pieces, n_crossing;
};

static int read_varint(struct reader *r, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        *v |= (uint64_t)(*r->p & 127) << shift;
        if (*r->p++ < 128)
            return 0;
    }
    return -1;
}

/* 1: a field was read, 0: the end, -1: not a message (no error()). */
static int read_field(struct reader *r)
{
    uint64_t tag;

    if (r->p == r->end)
        return 0;
    if (read_varint(r, &tag) != 0)
        return -1;
    r->field = tag >> 3;
    r->bytes = NULL;
    if ((tag & 7) == 0)
        return read_varint(r, &r->value) == 0 ? 1 : -1;
    if ((tag & 7) == 2) {
        if (read_varint(r, &r->value) != 0)
            return -1;
    } else if ((tag & 7) == 1 || (tag & 7) == 5) {
        r->value = (tag & 7) == 1 ? 8 : 4;
    } else {
        return -1;
    }
    if (r->value > (size_t)(r->end - r->p))
        return -1;
    r->bytes = r->p;
    r->p += r->value;
    return 1;
}

static int piece_crosses_words(const unsigned char *s, size_t n)
{
    size_t i = 0;

    while (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0)
        i += 3;
    return memmem(s + i, n - i, "\xe2\x96\x81", 3) != NULL;
}

static int read_piece(struct settings *s, const char *path, struct reader r)
{
    size_t n = 0;
    int rc;

    while ((rc = read_field(&r)) > 0) {
        if (r.field != PIECE_TEXT || !r.bytes)
            continue;
        n = r.value;
        if (u8_check(r.bytes, n) || memchr(r.bytes, 0, n))
            return error("%s: piece %zu is not text", path, s->n_pieces);
        s->n_crossing += (size_t)piece_crosses_words(r.bytes, n);
    }
    if (rc != 0 || n == 0)
        return error("%s: piece %zu is damaged or empty", path, s->n_pieces);
    s->n_pieces++;
    return 0;
}

/* Keeps a field's value where wanted[field] says. */
static int read_settings(const char *path, struct reader r, uint64_t *const wanted[], size_t n)
{
    int rc;

    while ((rc = read_field(&r)) > 0)
        if (r.field < n && wanted[r.field])
            *wanted[r.field] = r.value;
    return rc == 0 ? 0 : error("%s: its settings are damaged", path);
}

static int read_part(struct settings *s, const char *path, const struct reader *at)
{
    uint64_t *const trainer[TRAINER_BYTE_FALLBACK + 1] = {
        [TRAINER_TYPE] = &s->type,
        [TRAINER_SUFFIX] = &s->suffix,
        [TRAINER_BYTE_FALLBACK] = &s->byte_fallback,
    };
    uint64_t *const normalizer[NORMALIZER_ESCAPE + 1] = {
        [NORMALIZER_MAP] = &s->map_size,
        [NORMALIZER_PREFIX] = &s->prefix,
        [NORMALIZER_TRIM] = &s->trim,
        [NORMALIZER_ESCAPE] = &s->escape,
    };
    struct reader r = {.p = at->bytes, .end = at->bytes + at->value};

    if (at->field == MODEL_PIECES)
        return read_piece(s, path, r);
    if (at->field == MODEL_TRAINER)
        return read_settings(path, r, trainer, TRAINER_BYTE_FALLBACK + 1);
    if (at->field == MODEL_NORMALIZER)
        return read_settings(path, r, normalizer, NORMALIZER_ESCAPE + 1);
    return 0;
}

static int check(const struct settings *s, const char *path)
{
    if (s->n_pieces == 0)
        return error("%s: no pieces", path);
    if (s->type != TYPE_BPE || !s->byte_fallback)
        return error("%s: not a BPE model with byte fallback, as LLaMA's is", path);
    if (s->map_size)
        return error("%s: a normaliser with a character map is not known; LLaMA's is identity",
                     path);
    if (s->trim || !s->escape || s->suffix)
        return error("%s: spaces are not kept as they are, as LLaMA does", path);
    return 0;
}

int spm_form_read(struct spm_form *f, const char *path, const void *data, size_t nbytes,
                  struct buf *out)
{
    static const unsigned char no_prefix[] = {MODEL_NORMALIZER << 3 | 2, 2, NORMALIZER_PREFIX << 3,
                                              0};
    /* The defaults of the .proto. */
    struct settings s = {.type = 1, .prefix = 1, .trim = 1, .escape = 1};
    struct reader r = {.p = data, .end = (const unsigned char *)data + nbytes};
    const unsigned char *from = data;
    int rc;

    while ((rc = read_field(&r)) > 0) {
        if (r.bytes && read_part(&s, path, &r) != 0)
            return -1;
        if (r.field != MODEL_SELF_TEST)
            buf_add(out, from, (size_t)(r.p - from));
        from = r.p;
    }
    if (rc < 0)
        return error("%s: not a SentencePiece model, or damaged at byte %zu", path,
                     (size_t)(from - (const unsigned char *)data));
    buf_add(out, no_prefix, sizeof(no_prefix)); /* a later part adds to an earlier one */
    *f = (struct spm_form){.dummy_prefix = s.prefix != 0, .words_apart = s.n_crossing == 0};
    return check(&s, path);
}
