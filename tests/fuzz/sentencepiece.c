/* A SentencePiece model through the wrapper, and a text through what is accepted. */
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/spm_form.h"
#include "harness/model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

void fuzz_sentencepiece(const uint8_t *data, size_t n)
{
    static const char text[] = "hello hell \xc3\xa9 x";
    const struct tokenizer_kind *k = &tokenizer_sentencepiece;
    void *t = k->sniff(data, n) ? k->open("tokenizer.model", data, n) : NULL;
    struct buf back = {0};
    struct ids ids = {0};

    if (!t)
        return;
    FUZZ_ASSERT(k->bos(t) < (int64_t)k->n_vocab(t) && k->eos(t) < (int64_t)k->n_vocab(t));
    if (k->encode(t, text, strlen(text), &ids) == 0)
        for (size_t i = 0; i < ids.n; i++) {
            FUZZ_ASSERT(ids.v[i] >= 0 && (size_t)ids.v[i] < k->n_vocab(t));
            k->decode(t, ids.v[i], &back);
        }
    ids_release(&ids);
    buf_release(&back);
    k->close(t);
}
