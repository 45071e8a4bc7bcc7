/* Ids of real vocabularies against those of the reference implementations: sentencepiece 0.2.3,
 * tokenizers 0.23.3 (special tokens not parsed), tiktoken 0.14.0. */
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/sha256.h"
#include "harness/model/tokenizer.h"
#include "tests/test.h"

static const char *const texts[] = {
    "Hello world",
    " two  spaces\n\n\tx ",
    "I'll don't 12345 3.14",
    "<s></s><|begin_of_text|>",
    "caf\u00e9 \u65e5\u672c \U0001f600",
};

struct expected {
    const char *name, *folder;
    int32_t bos, eos;
    size_t n_vocab;
    const char *ids[5];
    size_t n_piqa; /* mirror/piqa/valid.jsonl as one text: number of ids, and SHA-256 of them */
    const char *piqa;
};

static const struct expected demo = {
    .name = "demo",
    .folder = "models/demo",
    .bos = 1,
    .eos = 2,
    .n_vocab = 4096,
    .ids = {"323 468 3988 1301", "3982 608 3982 682 404 277 13 13 12 4029 3982",
            "317 4027 1114 3191 4027 3985 3982 4007 4014 4042 4044 4040 3982 4042 4004 4007 4044",
            "3982 63 3990 65 63 4056 3990 65 63 127 2268 2461 4078 2020 4078 489 1157 127 65",
            "282 1341 4058 3982 233 154 168 233 159 175 3982 243 162 155 131"},
    .n_piqa = 197146,
    .piqa = "bee2bb5078a98c6bf68f60297c476d9c2e5bb3d4f69a1be58744be41897775fc",
};

static const struct expected llama2 = {
    .name = "llama2",
    .folder = "models/llama2-ref",
    .bos = 1,
    .eos = 2,
    .n_vocab = 32000,
    .ids = {"15043 3186", "29871 1023 29871 8162 13 13 12 29916 29871",
            "306 29915 645 1016 29915 29873 29871 29896 29906 29941 29946 29945 29871 29941 29889 "
            "29896 29946",
            "529 29879 2565 29879 5299 29989 463 29918 974 29918 726 29989 29958",
            "274 28059 29871 30325 30346 29871 243 162 155 131"},
    .n_piqa = 148162,
    .piqa = "661ec6d8af1f24485a994eef15a254257fde1465f5010af54ab6094dd0275c2e",
};

static const struct expected llama3_json = {
    .name = "llama3_json",
    .folder = "models/llama3-ref",
    .bos = 0,
    .eos = 1,
    .n_vocab = 16384,
    .ids = {"41 7682 1255", "607 222 9509 529 199 89 222",
            "42 13453 3044 2202 222 14924 4052 222 20 15 1280",
            "29 84 31 29 16 84 31 29 93 2314 1466 64 1871 64 16176 93 31",
            "68 1440 998 222 164 247 100 164 252 107 222 174 255 248 224"},
    .n_piqa = 167008,
    .piqa = "2cbbb155d7e65e2452148372d1c12053058b7e596085e912fca573b7af5a87d9",
};

static const struct expected llama3_tiktoken = {
    .name = "llama3_tiktoken",
    .bos = 128000,
    .eos = 128001,
    .n_vocab = 128256,
    .ids = {"9906 1917", "1403 220 12908 271 10436 220",
            "40 3358 1541 956 220 4513 1774 220 18 13 975",
            "45147 1500 82 1822 91 7413 3659 4424 91 29", "936 59958 105180 91416"},
    .n_piqa = 127660,
    .piqa = "d8ed3eb4444b14a9e64aa794ce48d307bb33bc5863361ea55f7dcc758149d22b",
};

static void check_texts(const struct expected *e, const struct tokenizer *t)
{
    struct buf line = {0}, back = {0};
    struct ids ids = {0};

    for (int i = 0; i < 5; i++) {
        line.n = ids.n = back.n = 0;
        CHECK(tokenizer_encode(t, texts[i], strlen(texts[i]), &ids) == 0);
        for (size_t j = 0; j < ids.n; j++) {
            buf_addf(&line, j ? " %d" : "%d", ids.v[j]);
            tokenizer_decode(t, ids.v[j], &back);
        }
        CHECK_STR(buf_str(&line), e->ids[i]);
        /* SentencePiece's dummy prefix is seen again. */
        CHECK_STR(buf_str(&back) + (e->bos == 1), texts[i]);
    }
    buf_release(&line);
    buf_release(&back);
    ids_release(&ids);
}

static void check_piqa(const struct expected *e, const struct tokenizer *t)
{
    char *path = path_join(test_shared(), "mirror/piqa/valid.jsonl"), hex[65];
    struct buf text = {0};
    struct ids ids = {0};

    CHECK(file_read(path, &text) == 0);
    CHECK(tokenizer_encode(t, buf_str(&text), text.n, &ids) == 0);
    CHECK(ids.n == e->n_piqa);
    sha256_hex(ids.v, ids.n * sizeof(*ids.v), hex);
    CHECK_STR(hex, e->piqa);
    buf_release(&text);
    ids_release(&ids);
    free(path);
}

static void check(const struct expected *e, const char *folder)
{
    struct tokenizer *t = NULL;
    struct buf none = {0};

    CHECK(tokenizer_open(&t, folder) == 0);
    if (!t)
        return;
    CHECK(tokenizer_bos(t) == e->bos && tokenizer_eos(t) == e->eos);
    CHECK(tokenizer_n_vocab(t) == e->n_vocab);
    check_texts(e, t);
    check_piqa(e, t);
    tokenizer_decode(t, e->bos, &none);
    tokenizer_decode(t, -1, &none);
    tokenizer_decode(t, (int32_t)e->n_vocab, &none);
    CHECK_STR(buf_str(&none), "");
    buf_release(&none);
    tokenizer_close(t);
}

static void check_model(const struct expected *e)
{
    char *folder = path_join(test_shared(), e->folder);

    check(e, folder);
    free(folder);
}

static void sentencepiece_demo(void)
{
    check_model(&demo);
}

static void sentencepiece_llama2(void)
{
    check_model(&llama2);
}

static void bpe_llama3_json(void)
{
    check_model(&llama3_json);
}

/* The file lies under another name than in a model folder. */
static void bpe_llama3_tiktoken(void)
{
    char dir[] = "/tmp/duo-tokenizer-XXXXXX";
    char *from = path_join(test_shared(), "tokenizers/llama3.tokenizer.model"), *to;
    struct buf data = {0};

    CHECK(mkdtemp(dir) != NULL);
    to = path_join(dir, "tokenizer.model");
    CHECK(file_read(from, &data) == 0 && file_write_atomic(to, data.data, data.n) == 0);
    check(&llama3_tiktoken, dir);
    unlink(to);
    rmdir(dir);
    buf_release(&data);
    free(from);
    free(to);
}

int main(void)
{
    if (!test_shared()) {
        SKIP("test_tokenizer_ref", "no ../shared with the reference vocabularies");
        return 0;
    }
    RUN(sentencepiece_demo);
    RUN(sentencepiece_llama2);
    RUN(bpe_llama3_json);
    RUN(bpe_llama3_tiktoken);
    return 0;
}
