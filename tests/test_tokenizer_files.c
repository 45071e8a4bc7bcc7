/* Tokenizer files: which of a folder's is read, and that hostile ones are errors. */
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/rng.h"
#include "tests/tokenizer_fixture.h"

static void sentencepiece_refuses(void)
{
    struct spm_parts parts = spm_good;

    parts.type = 1;
    CHECK(!open_spm(&parts) && strstr(error_last(), "not a BPE model"));
    parts = spm_good;
    parts.byte_fallback = 0;
    CHECK(!open_spm(&parts) && strstr(error_last(), "byte fallback"));
    parts = spm_good;
    parts.trim = 1;
    CHECK(!open_spm(&parts) && strstr(error_last(), "spaces"));
    parts = spm_good;
    parts.map = "abcd";
    CHECK(!open_spm(&parts) && strstr(error_last(), "character map"));
    parts = spm_good;
    parts.more = "hello"; /* a second time */
    CHECK(!open_spm(&parts) && strstr(error_last(), "t.model"));
    parts.more = "";
    CHECK(!open_spm(&parts) && strstr(error_last(), "empty"));
    parts.more = "\xff";
    CHECK(!open_spm(&parts) && strstr(error_last(), "not text"));
}

/* Whatever is done to the file: an error, or a tokenizer that works. */
static void survive(kind *k, const char *data, size_t n)
{
    void *t = k->open("t", data, n);
    struct ids ids = {0};
    struct buf text = {0};

    if (t) {
        k->encode(t, "hello  w\u00f6rld\n", 15, &ids);
        for (size_t i = 0; i < ids.n; i++)
            if ((size_t)ids.v[i] < k->n_vocab(t))
                k->decode(t, ids.v[i], &text);
        k->close(t);
    }
    ids_release(&ids);
    buf_release(&text);
}

static void damaged_files(void)
{
    struct buf json = {0}, spm = {0};
    struct pcg32 g;

    add_json(&json, &json_good);
    add_spm(&spm, &spm_good);
    for (size_t n = 0; n < json.n; n += 1 + n % 7)
        CHECK(!tokenizer_bpe_json.open("t", json.data, n));
    for (size_t n = 0; n < spm.n; n += 1 + n % 5)
        survive(&tokenizer_sentencepiece, spm.data, n);
    pcg32_init(&g, 7, 7);
    for (int i = 0; i < 1500; i++) {
        struct buf *b = i % 2 ? &json : &spm;
        char *at = b->data + pcg32_below(&g, (uint32_t)b->n), was = *at;

        *at = (char)pcg32_next(&g);
        survive(i % 2 ? &tokenizer_bpe_json : &tokenizer_sentencepiece, b->data, b->n);
        *at = was;
    }
    buf_release(&json);
    buf_release(&spm);
}

static void hostile_json(void)
{
#define BAD(part, value, message)                                                                  \
    do {                                                                                           \
        struct json_parts p_ = json_good;                                                          \
        void *t_;                                                                                  \
                                                                                                   \
        p_.part = value;                                                                           \
        t_ = open_json(&p_);                                                                       \
        CHECK(!t_);                                                                                \
        if (!strstr(error_last(), message))                                                        \
            CHECK_STR(error_last(), message);                                                      \
        if (t_)                                                                                    \
            tokenizer_bpe_json.close(t_);                                                          \
    } while (0)

    BAD(merges, "\"h zz\"", "merge 0");
    BAD(merges, "\"h e\", \"l e\"", "merge 1"); /* "le" is no token */
    BAD(merges, "\"h e e\"", "not two tokens");
    BAD(merges, "[\"h\"]", "not two tokens");
    BAD(merges, "7", "not two tokens");
    BAD(merges, "\"\u4e00 e\"", "no token");
    BAD(more, ", \"he\": 255", "two tokens have the id 255");
    BAD(more, ", \"a\": 256", "field 'a' is there twice");
    BAD(more, ", \"he\": -1", "out of range");
    BAD(more, ", \"he\": 16777216", "out of range");
    BAD(more, ", \"he\": 1e300", "out of range");
    BAD(more, ", \"he\": 256.5", "out of range");
    BAD(more, ", \"he\": \"256\"", "no id");
    BAD(more, ", \"\": 256", "no bytes");
    BAD(added, "{\"id\": 300, \"content\": \"x\", \"special\": false}", "not special");
    BAD(added, "{\"id\": 97, \"content\": \"x\", \"special\": true}", "two tokens have the id");
    BAD(added, "{\"id\": 300, \"content\": \"a\", \"special\": true}", "another id");
    BAD(added, "{\"id\": -5, \"content\": \"x\", \"special\": true}", "'id'");
    BAD(added, "7", "content");
    BAD(added, "", "'<|bos|>' is not the added token 300");
    BAD(normalizer, "{\"type\": \"NFC\"}", "normalizer: 'NFC'");
    BAD(pre_tokenizer, "null", "pre_tokenizer");
    BAD(pre_tokenizer, "{\"type\": \"Whitespace\"}", "'Whitespace' is not known");
    BAD(pre_tokenizer, "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "add_prefix_space");
    BAD(pre_tokenizer, "{\"type\": \"Sequence\", \"pretokenizers\": [1, 2]}", "pre_tokenizer");
    BAD(pre_tokenizer, "{\"type\": \"Sequence\", \"pretokenizers\": []}", "pre_tokenizer");
    BAD(post_processor, "{\"type\": \"BertProcessing\"}", "'BertProcessing'");
    BAD(post_processor, "{\"type\": \"TemplateProcessing\"}", "post_processor");
    BAD(ignore_merges, "1", "ignore_merges");
    BAD(model, ", \"dropout\": 0.1", "dropout");
    BAD(model, ", \"byte_fallback\": true", "tokenizer.model");
    BAD(model, ", \"end_of_word_suffix\": \"</w>\"", "end_of_word_suffix");
    BAD(model, ", \"vocab\": []", "'vocab'");
#undef BAD
}

static void hostile_nesting(void)
{
    struct json_parts parts = json_good;
    struct buf deep = {0};

    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    CHECK(!tokenizer_bpe_json.open("t", deep.data, deep.n));
    parts.post_processor = deep.data;
    CHECK(!open_json(&parts));
    CHECK(!tokenizer_bpe_json.open("t", "[]", 2));
    CHECK(!tokenizer_bpe_json.open("t", "{\"\xff\": 1}", 9) && strstr(error_last(), "byte 2"));
    buf_release(&deep);
}

static void tiktoken_form(void)
{
    kind *k = &tokenizer_tiktoken;
    struct buf text = {0}, copy = {0};
    void *t;

    add_ranks(&text);
    CHECK(k->sniff(text.data, text.n));
    t = k->open("t", text.data, text.n);
    CHECK(k->n_vocab(t) == 128256 && k->bos(t) == 128000 && k->eos(t) == 128001);
    CHECK_STR(ids_of(k, t, "a"), "97");
    CHECK_STR(ids_of(k, t, "ab"), "25441");  /* 256 + 97 + 256 * 98 */
    CHECK_STR(ids_of(k, t, "abx"), "90185"); /* 65000 + 97 + 256 * 98 */
    CHECK_STR(ids_of(k, t, "<|"), "32060");
    k->close(t);

    CHECK(!k->open("t", text.data, text.n / 2)); /* within a line */
    CHECK(!k->open("t", text.data, (size_t)(strstr(text.data, " 9999\n") + 6 - text.data)));
    CHECK(strstr(error_last(), "t: 10000 ranks, but"));
    buf_addf(&copy, "IQ== 127999\n%s", text.data);
    CHECK(!k->open("t", copy.data, copy.n) && strstr(error_last(), "are the same"));
    static const char *const bad[] = {
        "",       "IQ==",   "IQ== ", "I!== 0",          "IQ=  0",      "IQ= 0",   "IQ== x",
        "IR== 0", "==== 0", " 0",    "IQ== 9999999999", "IQ== 128000", "IQ== -1", "IQ== 0\nIg== 0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!k->open("t", bad[i], strlen(bad[i])));
    copy.n = 0;
    for (int i = 0; i < 500; i++)
        buf_adds(&copy, "YWFh"); /* 1500 bytes: to cut it everywhere takes the square of that */
    buf_adds(&copy, " 0\n");
    CHECK(!k->open("t", copy.data, copy.n) &&
          strstr(error_last(), "line 1: a token of 1500 bytes"));
    buf_release(&text);
    buf_release(&copy);
}

static void write_file(const char *dir, const char *name, const struct buf *b)
{
    char *path = path_join(dir, name);

    CHECK(file_write_atomic(path, buf_str(b), b->n) == 0);
    free(path);
}

static const char *kind_opened(const char *dir)
{
    struct tokenizer *t;
    const char *name = "none";

    if (tokenizer_open(&t, dir) == 0) {
        CHECK(strlen(tokenizer_sha256(t)) == 64);
        CHECK(strstr(tokenizer_path(t), dir) != NULL);
        name = tokenizer_kind_name(t);
    }
    tokenizer_close(t);
    return name;
}

static void folder_decides_the_kind(void)
{
    char dir[] = "/tmp/duo-tokenizer-XXXXXX", *path;
    struct buf json = {0}, spm = {0}, ranks = {0}, junk = {0};

    CHECK(mkdtemp(dir) != NULL);
    add_json(&json, &json_good);
    add_spm(&spm, &spm_good);
    add_ranks(&ranks);
    buf_adds(&junk, "junk");
    CHECK_STR(kind_opened(dir), "none");
    CHECK(strstr(error_last(), dir) != NULL);
    write_file(dir, "tokenizer.model", &junk);
    CHECK_STR(kind_opened(dir), "none");
    write_file(dir, "tokenizer.model", &ranks);
    CHECK_STR(kind_opened(dir), "tiktoken");
    write_file(dir, "tokenizer.json", &json);
    CHECK_STR(kind_opened(dir), "bpe-json");
    write_file(dir, "tokenizer.model", &spm);
    CHECK_STR(kind_opened(dir), "sentencepiece");
    for (int i = 0; i < 2; i++) {
        path = path_join(dir, i ? "tokenizer.json" : "tokenizer.model");
        unlink(path);
        free(path);
    }
    rmdir(dir);
    buf_release(&json);
    buf_release(&spm);
    buf_release(&ranks);
    buf_release(&junk);
}

/* Text that is not UTF-8 is an error that says where, and leaves the ids alone. */
static void invalid_utf8(void)
{
    static const char *const bad[] = {"ab\xff", "ab\xc3",         "ab\xc0\x80",
                                      "ab\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80"};
    char dir[] = "/tmp/duo-tokenizer-XXXXXX", *path;
    struct buf spm = {0};
    struct tokenizer *t;
    struct ids ids = {0};

    CHECK(mkdtemp(dir) != NULL);
    add_spm(&spm, &spm_good);
    write_file(dir, "tokenizer.model", &spm);
    CHECK(tokenizer_open(&t, dir) == 0);
    ids_add(&ids, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(tokenizer_encode(t, bad[i], strlen(bad[i]), &ids) == -1);
        CHECK_STR(error_last(), "text is not UTF-8 at byte 2");
    }
    CHECK(ids.n == 1);
    CHECK(tokenizer_encode(t, "", 0, &ids) == 0 && tokenizer_encode(t, NULL, 0, &ids) == 0);
    CHECK(ids.n == 1);
    tokenizer_close(t);
    path = path_join(dir, "tokenizer.model");
    unlink(path);
    rmdir(dir);
    free(path);
    ids_release(&ids);
    buf_release(&spm);
}

int main(void)
{
    error_silence(1);
    RUN(sentencepiece_refuses);
    RUN(damaged_files);
    RUN(hostile_json);
    RUN(hostile_nesting);
    RUN(tiktoken_form);
    RUN(folder_decides_the_kind);
    RUN(invalid_utf8);
    return 0;
}
