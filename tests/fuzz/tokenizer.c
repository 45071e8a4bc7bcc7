/* tokenizer.json, and a text through what is accepted: its tokens give back its bytes. */
#include "harness/base/buf.h"
#include "harness/model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

void fuzz_tokenizer(const uint8_t *data, size_t n)
{
    static const char text[] = "hello hell he'll  x1234\n\n caf\xc3\xa9 \xf0\x9f\x98\x80.";
    const struct tokenizer_kind *k = &tokenizer_bpe_json;
    void *t = k->sniff(data, n) ? k->open("tokenizer.json", data, n) : NULL;
    struct buf back = {0};
    struct ids ids = {0};

    if (!t)
        return;
    FUZZ_ACCEPTED(k->bos(t) >= -1 && k->eos(t) >= -1);
    FUZZ_ASSERT(k->bos(t) < (int64_t)k->n_vocab(t) && k->eos(t) < (int64_t)k->n_vocab(t));
    if (k->encode(t, text, strlen(text), &ids) == 0)
        for (size_t i = 0; i < ids.n; i++) {
            FUZZ_ASSERT(ids.v[i] >= 0 && (size_t)ids.v[i] < k->n_vocab(t));
            k->decode(t, ids.v[i], &back);
        }
    FUZZ_ASSERT(back.n <= strlen(text));
    ids_release(&ids);
    buf_release(&back);
    k->close(t);
}
