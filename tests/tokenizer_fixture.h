/* Small tokenizer files made in memory, whole or spoiled. */
#ifndef DUO_TESTS_TOKENIZER_FIXTURE_H
#define DUO_TESTS_TOKENIZER_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/model/tokenizer.h"
#include "tests/test.h"

#define LLAMA3_SPLIT                                                                               \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"          \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

/* The parts of a tokenizer.json that tests vary. Tokens 0-255 are the bytes, "more" goes on. */
struct json_parts {
    const char *more;   /* ", \"ab\": 256" */
    const char *merges; /* "\"a b\"" */
    const char *ignore_merges;
    const char *added;
    const char *normalizer;
    const char *pre_tokenizer;
    const char *post_processor;
    const char *model; /* further fields of the model */
};

/* In LLaMA-3's form, with the words "he" and "Ġhello" and the special token <|bos|> = 300. */
static const struct json_parts json_good = {
    .more = ", \"he\": 256, \"ll\": 257, \"hell\": 258, \"hello\": 259, \"\u0120hello\": 260",
    .merges = "\"h e\", \"l l\", \"he ll\", \"hell o\"",
    .ignore_merges = "true",
    .added = "{\"id\": 300, \"content\": \"<|bos|>\", \"special\": true},"
             "{\"id\": 301, \"content\": \"<|end_of_text|>\", \"special\": true}",
    .normalizer = "null",
    .pre_tokenizer =
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
        "{\"Regex\": \"" LLAMA3_SPLIT "\"}, \"behavior\": \"Isolated\", \"invert\": false}, "
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}",
    .post_processor =
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
        "\"<|bos|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
        "\"special_tokens\": {\"<|bos|>\": {\"id\": \"<|bos|>\", \"ids\": [300]}}}",
    .model = "",
};

/* The byte as GPT-2's byte-level text spells it, JSON-escaped. */
static inline void add_spelling(struct buf *out, int byte)
{
    int c = byte, other = 256;

    for (int b = 0; b <= byte; b++)
        if (b <= ' ' || (b >= 0x7f && b <= 0xa0) || b == 0xad)
            c = b == byte ? other : c, other++;
    if (c == '"' || c == '\\')
        buf_addc(out, '\\');
    if (c < 128)
        buf_addc(out, (char)c);
    else
        buf_addf(out, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 63));
}

static inline void add_json(struct buf *out, const struct json_parts *p)
{
    buf_addf(out, "{\"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": %s, ", p->added,
             p->normalizer, p->pre_tokenizer);
    buf_addf(out, "\"post_processor\": %s, \"model\": {\"type\": \"BPE\", \"ignore_merges\": %s%s,",
             p->post_processor, p->ignore_merges, p->model);
    buf_adds(out, "\"vocab\": {");
    for (int b = 0; b < 256; b++) {
        buf_adds(out, b ? ", \"" : "\"");
        add_spelling(out, b);
        buf_addf(out, "\": %d", b);
    }
    buf_addf(out, "%s}, \"merges\": [%s]}}", p->more, p->merges);
}

/* A field of a protocol buffer whose value is bytes, or a small number. */
static inline void add_bytes_field(struct buf *out, int field, const void *bytes, size_t n)
{
    for (unsigned tag = (unsigned)field << 3 | 2, more = 1; more; tag >>= 7)
        more = tag > 127, buf_addc(out, (char)((tag & 127) | (more ? 128 : 0)));
    buf_addc(out, (char)n); /* n < 128 */
    buf_add(out, bytes, n);
}

static inline void add_number_field(struct buf *out, int field, int value)
{
    for (unsigned tag = (unsigned)field << 3, more = 1; more; tag >>= 7)
        more = tag > 127, buf_addc(out, (char)((tag & 127) | (more ? 128 : 0)));
    buf_addc(out, (char)value);
}

enum { SPM_TYPE_NORMAL = 1, SPM_TYPE_UNK = 2, SPM_TYPE_CONTROL = 3, SPM_TYPE_BYTE = 6 };

static inline void add_piece(struct buf *out, const char *text, float score, int type)
{
    struct buf piece = {0};

    add_bytes_field(&piece, 1, text, strlen(text));
    buf_addc(&piece, 2 << 3 | 5);
    buf_add(&piece, &score, 4);
    add_number_field(&piece, 3, type);
    add_bytes_field(out, 1, piece.data, piece.n);
    buf_release(&piece);
}

/* LLaMA-2's form: <unk> <s> </s>, 256 bytes, then "▁", h, e, l, o, he, ll, hell, hello, ▁hello. */
struct spm_parts {
    int type, byte_fallback, trim;
    const char *map;
    const char *more; /* one more piece; NULL: none */
};
static const struct spm_parts spm_good = {.type = 2, .byte_fallback = 1};

static inline void add_spm(struct buf *out, const struct spm_parts *p)
{
    static const char *const pieces[] = {"\u2581", "h",  "e",    "l",     "o",
                                         "he",     "ll", "hell", "hello", "\u2581hello"};
    struct buf part = {0};
    char byte[16];

    add_piece(out, "<unk>", 0, SPM_TYPE_UNK);
    add_piece(out, "<s>", 0, SPM_TYPE_CONTROL);
    add_piece(out, "</s>", 0, SPM_TYPE_CONTROL);
    for (int b = 0; b < 256; b++) {
        snprintf(byte, sizeof(byte), "<0x%02X>", b);
        add_piece(out, byte, 0, SPM_TYPE_BYTE);
    }
    for (int i = 0; i < 10; i++)
        add_piece(out, pieces[i], (float)-i, SPM_TYPE_NORMAL);
    if (p->more)
        add_piece(out, p->more, -20, SPM_TYPE_NORMAL);
    add_number_field(&part, 3, p->type);
    add_number_field(&part, 35, p->byte_fallback);
    add_bytes_field(out, 2, part.data, part.n);
    part.n = 0;
    add_bytes_field(&part, 1, "identity", 8);
    if (p->map)
        add_bytes_field(&part, 2, p->map, strlen(p->map));
    add_number_field(&part, 3, 1);
    add_number_field(&part, 4, p->trim);
    add_bytes_field(out, 3, part.data, part.n);
    buf_release(&part);
}

/* 128000 ranks: the bytes, all pairs but the last 600, then triples: "BASE64 RANK\n". */
static inline void add_base64(struct buf *out, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? p[2] : 0u);

    buf_addc(out, digits[v >> 18]);
    buf_addc(out, digits[v >> 12 & 63]);
    buf_addc(out, n > 1 ? digits[v >> 6 & 63] : '=');
    buf_addc(out, n > 2 ? digits[v & 63] : '=');
}

static inline void add_ranks(struct buf *out)
{
    for (unsigned rank = 0; rank < 128000; rank++) {
        unsigned i = rank < 256 ? rank : rank < 65000 ? rank - 256 : rank - 65000;
        unsigned char token[3] = {(unsigned char)i, (unsigned char)(i >> 8), 'x'};

        add_base64(out, token, rank < 256 ? 1 : rank < 65000 ? 2 : 3);
        buf_addf(out, " %u\n", rank);
    }
}

typedef const struct tokenizer_kind kind;

static inline void *open_json(const struct json_parts *p)
{
    struct buf text = {0};
    void *t;

    add_json(&text, p);
    t = tokenizer_bpe_json.open("t.json", text.data, text.n);
    buf_release(&text);
    return t;
}

static inline void *open_spm(const struct spm_parts *p)
{
    struct buf model = {0};
    void *t;

    add_spm(&model, p);
    t = tokenizer_sentencepiece.open("t.model", model.data, model.n);
    buf_release(&model);
    return t;
}

/* Ids of text as "1 2 3"; borrowed until the next call. */
static inline const char *ids_n(kind *k, const void *t, const char *text, size_t nbytes)
{
    static struct buf line;
    struct ids ids = {0};

    line.n = 0;
    CHECK(k->encode(t, text, nbytes, &ids) == 0);
    for (size_t i = 0; i < ids.n; i++)
        buf_addf(&line, i ? " %d" : "%d", ids.v[i]);
    ids_release(&ids);
    return line.n ? buf_str(&line) : "";
}

static inline const char *ids_of(kind *k, const void *t, const char *text)
{
    return ids_n(k, t, text, strlen(text));
}

#endif
