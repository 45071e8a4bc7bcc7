/* LLaMA-2's tokenizer.model: SentencePiece BPE with byte fallback. The library does the work. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/tokenizer.h"

/* A ModelProto begins with its first piece: field 1, a length, inside it field 1, a string. */
static int sniff(const void *data, size_t nbytes)
{
    const unsigned char *p = data;

    return nbytes > 3 && p[0] == 0x0a && p[1] < 0x80 && p[2] == 0x0a && p[3] < p[1];
}

static void *open_model(const char *path, const void *data, size_t nbytes)
{
    return spm_open(path, data, nbytes);
}

static void close_model(void *state)
{
    spm_close(state);
}

static int encode(const void *state, const char *text, size_t nbytes, struct ids *out)
{
    return nbytes ? spm_encode(state, text, nbytes, out) : 0;
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
    switch (spm_type(state, id)) {
    case SPM_NORMAL:
        add_unescaped(out, spm_piece(state, id));
        break;
    case SPM_BYTE: /* "<0x41>" */
        buf_addc(out, (char)strtoul(spm_piece(state, id) + 1, NULL, 16));
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
    return (size_t)spm_n_vocab(state);
}

static int32_t bos(const void *state)
{
    return spm_bos(state);
}

static int32_t eos(const void *state)
{
    return spm_eos(state);
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
