/* A SentencePiece model through the wrapper, and a text through what is accepted. A last byte 'B'
 * stands for the pieces of all 256 bytes, which every model must have. */
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/spm_form.h"
#include "harness/model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

/* As fields of the model: a protocol buffer may have them anywhere. */
static void add_byte_pieces(struct buf *b)
{
    for (int i = 0; i < 256; i++) {
        char piece[] = "\x0a\x0a\x0a\x06<0x00>\x18\x06"; /* text, and its kind 6 */

        snprintf(piece + 6, 5, "x%02X>", (unsigned)i);
        memcpy(piece + 10, "\x18\x06", 2);
        buf_add(b, piece, sizeof(piece) - 1);
    }
}

void fuzz_sentencepiece(const uint8_t *data, size_t n)
{
    static const char text[] = "hello hell \xc3\xa9 x";
    const struct tokenizer_kind *k = &tokenizer_sentencepiece;
    struct buf back = {0}, model = {0};
    struct ids ids = {0};
    void *t;

    buf_add(&model, data, n);
    if (n > 0 && data[n - 1] == 'B') {
        model.n--;
        add_byte_pieces(&model);
    }
    t = k->sniff(model.data, model.n) ? k->open("tokenizer.model", model.data, model.n) : NULL;
    buf_release(&model);
    if (!t)
        return;
    FUZZ_ACCEPTED(k->bos(t) < (int64_t)k->n_vocab(t) && k->eos(t) < (int64_t)k->n_vocab(t));
    if (k->encode(t, text, strlen(text), &ids) == 0)
        for (size_t i = 0; i < ids.n; i++) {
            FUZZ_ASSERT(ids.v[i] >= 0 && (size_t)ids.v[i] < k->n_vocab(t));
            k->decode(t, ids.v[i], &back);
        }
    ids_release(&ids);
    buf_release(&back);
    k->close(t);
}
