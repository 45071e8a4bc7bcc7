/* The tokenizers on small files made here: their rules, and what a text may hold. */
#include <pthread.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/model/tokenizer_split.h"
#include "tests/tokenizer_fixture.h"

static void bpe_merges_by_rank(void)
{
    struct json_parts parts = json_good;
    void *t = open_json(&parts);

    CHECK(tokenizer_bpe_json.n_vocab(t) == 302);
    CHECK(tokenizer_bpe_json.bos(t) == 300 && tokenizer_bpe_json.eos(t) == 301);
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "hello"), "259");
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "hell"), "258");
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "llhe"), "257 256");
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "lll"), "257 108"); /* the left one of equals */
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "a"), "97");
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, ""), "");
    CHECK_STR(ids_n(&tokenizer_bpe_json, t, "a\0b", 3), "97 0 98");
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "\u00e9"), "195 169");
    tokenizer_bpe_json.close(t);
}

static void bpe_whole_words_first(void)
{
    struct json_parts parts = json_good;
    void *t = open_json(&parts);

    CHECK_STR(ids_of(&tokenizer_bpe_json, t, " hello"), "260"); /* no merge leads there */
    tokenizer_bpe_json.close(t);
    parts.ignore_merges = "false";
    t = open_json(&parts);
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, " hello"), "32 259");
    tokenizer_bpe_json.close(t);
    parts.merges = "[\"h\", \"e\"], [\"l\", \"l\"], [\"he\", \"ll\"], [\"hell\", \"o\"]";
    t = open_json(&parts);
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, " hello"), "32 259");
    tokenizer_bpe_json.close(t);
}

static void bpe_specials_are_text(void)
{
    struct json_parts parts = json_good;
    struct buf text = {0};
    void *t = open_json(&parts);

    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "<|bos|>"), "60 124 98 111 115 124 62");
    tokenizer_bpe_json.decode(t, 300, &text);
    CHECK_STR(buf_str(&text), "");
    tokenizer_bpe_json.decode(t, 260, &text);
    tokenizer_bpe_json.decode(t, 10, &text);
    CHECK_STR(buf_str(&text), " hello\n");
    buf_release(&text);
    tokenizer_bpe_json.close(t);

    /* Repeated in the vocabulary, as a whole word even: still not made from text. */
    parts.more = ", \"zz\": 300";
    parts.merges = "";
    parts.added = "{\"id\": 300, \"content\": \"zz\", \"special\": true}";
    parts.post_processor = "null";
    t = open_json(&parts);
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "zz"), "122 122");
    CHECK(tokenizer_bpe_json.bos(t) == -1 && tokenizer_bpe_json.eos(t) == -1);
    tokenizer_bpe_json.close(t);
}

/* The words of text as "a|b", by the expression. */
static const char *words_of(const struct split *s, const char *text, size_t nbytes)
{
    static struct buf line;
    struct split_scratch *m = split_scratch_open(s);
    size_t at = 0, begin, end;

    line.n = 0;
    while (split_next(s, m, text, nbytes, at, &begin, &end) > 0) {
        CHECK(begin == at);
        buf_add(&line, text + begin, end - begin);
        buf_addc(&line, '|');
        at = end;
    }
    CHECK(at == nbytes);
    split_scratch_close(m);
    return buf_str(&line);
}

static void split_is_llama3s(void)
{
    struct split *s = split_open(split_llama3, "t");
    static const char *const cases[][2] = {
        {"I'LL don't", "I|'LL| don|'t|"},
        {"o'\u017f x", "o|'\u017f| x|"}, /* the long s is an s regardless of case */
        {"12345 6", "123|45| |6|"},
        {"a  b\n\n c \t", "a| | b|\n\n| c| \t|"},
        {"x\u180e\u3000y", "x|\u180e|\u3000y|"}, /* U+180E is no white space, U+3000 is */
        {"a\xc2\x85\u00a0 b", "a|\xc2\x85\u00a0| b|"},
        {"a\U00031350b", "a\U00031350b|"}, /* a letter since Unicode 15 */
        {"(don\n", "(don|\n|"},
        {"!!!\r\nx", "!!!\r\n|x|"},
        {"caf\u00e9s", "caf\u00e9s|"},
        {"A\u0301b", "A|\u0301b|"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_STR(words_of(s, cases[i][0], strlen(cases[i][0])), cases[i][1]);
    split_close(s);
    s = split_open(split_gpt2, "t");
    CHECK_STR(words_of(s, "it's 12345  x", 13), "it|'s| 12345| | x|");
    split_close(s);
}

static void add_random_char(struct buf *out, struct pcg32 *g)
{
    static const char *const chars[] = {"a",      "b",      "Z",      "'",      "s",      "\u017f",
                                        " ",      " ",      "\n",     "\r",     "1",      "!",
                                        "\u00e9", "\u0301", "\u3000", "\u4e00", "\u0660", "\t"};

    buf_adds(out, chars[pcg32_below(g, sizeof(chars) / sizeof(chars[0]))]);
}

/* The shortcut for ASCII words changes nothing: in a group, the expression goes without it. */
static void split_shortcut_is_exact(void)
{
    struct split *fast, *plain;
    struct buf text = {0}, words = {0}, group = {0};
    struct pcg32 g;

    for (int gpt2 = 0; gpt2 < 2; gpt2++) {
        group.n = text.n = 0;
        buf_addf(&group, "(?:%s)", gpt2 ? split_gpt2 : split_llama3);
        fast = split_open(gpt2 ? split_gpt2 : split_llama3, "t");
        plain = split_open(group.data, "t");
        pcg32_init(&g, 1, 1);
        for (int i = 0; i < 100000; i++)
            add_random_char(&text, &g);
        words.n = 0;
        buf_adds(&words, words_of(fast, text.data, text.n));
        CHECK(strcmp(words_of(plain, text.data, text.n), words.data) == 0);
        split_close(fast);
        split_close(plain);
    }
    buf_release(&text);
    buf_release(&words);
    buf_release(&group);
}

static void split_refuses_other_dialects(void)
{
    static const char *const bad[] = {
        "\\h+",     "\\w+",    "\\d",      "[a&&b]",  "[[a]b]",  "^a",    "a$",    ".+",
        "\\p{Han}", "\\p{Lu}", "(?i:ss)",  "(?<=a)b", "a{1,2}+", "a{,3}", "a{2}?", "[]a]",
        "a*",       "",        "a|",       "(a",      "[a",      "\\",    "a{",    "[\\S]",
        "(?>a)",    "\\x{41}", "a{99999}", "*a",      "(?i:'s",  "\\p{L", "[\\",   "(?",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(split_open(bad[i], "t") == NULL);
    CHECK(strstr(error_last(), "t: split expression"));
}

static void long_words_are_quick(void)
{
    struct json_parts parts = json_good;
    void *t = open_json(&parts), *sp = open_spm(&spm_good);
    struct ids ids = {0};
    size_t n = 1 << 20;
    char *text = xmalloc(n);

    for (int c = 0; c < 3; c++) {
        memset(text, "l \n"[c], n);
        ids.n = 0;
        CHECK(tokenizer_bpe_json.encode(t, text, n, &ids) == 0);
        CHECK(ids.n == (c ? n : n / 2));
    }
    memset(text, 'l', n);
    ids.n = 0;
    CHECK(tokenizer_sentencepiece.encode(sp, text, n / 4, &ids) == 0 && ids.n == 1 + n / 8);
    ids_release(&ids);
    free(text);
    tokenizer_bpe_json.close(t);
    tokenizer_sentencepiece.close(sp);
}

static void sentencepiece_rules(void)
{
    kind *k = &tokenizer_sentencepiece;
    void *t = open_spm(&spm_good);
    struct buf text = {0};

    CHECK(k->n_vocab(t) == 269 && k->bos(t) == 1 && k->eos(t) == 2);
    CHECK_STR(ids_of(k, t, "hello"), "268");
    CHECK_STR(ids_of(k, t, "hello hello"), "268 268");
    CHECK_STR(ids_of(k, t, ""), "");
    CHECK_STR(ids_of(k, t, " "), "259 259");
    CHECK_STR(ids_of(k, t, " hello  hell "), "259 268 259 259 266 259");
    CHECK_STR(ids_of(k, t, "hello\u2581hello"), "268 268");
    CHECK_STR(ids_of(k, t, "he\nl"), "259 264 13 262");
    CHECK_STR(ids_of(k, t, "<s>"), "259 63 118 65"); /* bytes 3c, 73, 3e: text, not <s> */
    CHECK_STR(ids_of(k, t, "\u00e9"), "259 198 172");
    CHECK_STR(ids_n(k, t, "l\0l", 3), "259 262 3 262");
    for (int id = 0; id < 269; id += id == 4 ? 255 + 9 : 1)
        k->decode(t, id, &text);
    CHECK(text.n == 5 + 2 + 6 && memcmp(text.data, " \u2047 \0\1 hello", text.n) == 0);
    buf_release(&text);
    k->close(t);
}

/* With a piece across words the text must not be cut into words. */
static void sentencepiece_pieces_across_words(void)
{
    struct spm_parts parts = spm_good;
    void *t;

    parts.more = "o\u2581";
    t = open_spm(&parts);
    CHECK_STR(ids_of(&tokenizer_sentencepiece, t, "o "), "259 269");
    CHECK_STR(ids_of(&tokenizer_sentencepiece, t, "hello hello"), "268 268");
    tokenizer_sentencepiece.close(t);
}

static void gpt2_form(void)
{
    struct json_parts parts = json_good;
    void *t;

    parts.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}";
    parts.merges = "\"#version: 0.2\", \"h e\", \"l l\"";
    t = open_json(&parts);
    CHECK_STR(ids_of(&tokenizer_bpe_json, t, "hexll"), "256 120 257");
    tokenizer_bpe_json.close(t);
}

struct job {
    kind *k;
    const void *t;
    const struct buf *text;
    struct ids ids;
};

static void *encode_often(void *arg)
{
    struct job *j = arg;

    for (int i = 0; i < 20; i++) {
        j->ids.n = 0;
        j->k->encode(j->t, j->text->data, j->text->n, &j->ids);
    }
    return NULL;
}

static void threads_agree(void)
{
    struct json_parts parts = json_good;
    void *json = open_json(&parts), *sp = open_spm(&spm_good);
    struct job jobs[4];
    pthread_t threads[4];
    struct buf text = {0};
    struct pcg32 g;

    pcg32_init(&g, 3, 3);
    for (int i = 0; i < 5000; i++)
        add_random_char(&text, &g);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            jobs[i] = (struct job){round ? &tokenizer_sentencepiece : &tokenizer_bpe_json,
                                   round ? sp : json,
                                   &text,
                                   {0}};
            pthread_create(&threads[i], NULL, encode_often, &jobs[i]);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            CHECK(jobs[i].ids.n > 0 && jobs[i].ids.n == jobs[0].ids.n);
            CHECK(memcmp(jobs[i].ids.v, jobs[0].ids.v, 4 * jobs[i].ids.n) == 0);
        }
        for (int i = 0; i < 4; i++)
            ids_release(&jobs[i].ids);
    }
    buf_release(&text);
    tokenizer_bpe_json.close(json);
    tokenizer_sentencepiece.close(sp);
}

int main(void)
{
    error_silence(1);
    RUN(bpe_merges_by_rank);
    RUN(bpe_whole_words_first);
    RUN(bpe_specials_are_text);
    RUN(split_is_llama3s);
    RUN(split_shortcut_is_exact);
    RUN(split_refuses_other_dialects);
    RUN(long_words_are_quick);
    RUN(sentencepiece_rules);
    RUN(sentencepiece_pieces_across_words);
    RUN(gpt2_form);
    RUN(threads_agree);
    return 0;
}
