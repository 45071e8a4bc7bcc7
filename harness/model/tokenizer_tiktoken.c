/* LLaMA-3's tokenizer.model in tiktoken's form: a line "BASE64 RANK" per token. Ids are ranks; two
 * neighbours merge if together they are a token, lowest rank first. The split expression and the
 * special tokens are not in the file, so only the size that is LLaMA-3's is taken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/tokenizer.h"
#include "harness/model/tokenizer_bpe.h"
#include "harness/model/tokenizer_split.h"
#include "harness/model/tokenizer_tiktoken.h"

enum { N_RANKS = 128000, N_SPECIALS = 256, BOS = N_RANKS, EOS = N_RANKS + 1 };

/* Of a token; LLaMA-3's longest has 128 bytes. Its rules take the square of the length to find. */
enum { MOST_BYTES = 1024 };

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;

    return p ? (int)(p - digits) : -1;
}

/* Appends the bytes of one base64 word with its padding; -1 (no message) if it is none. */
static int add_base64(struct buf *out, const char *s, size_t n)
{
    uint32_t bits = 0;
    size_t n_pad = 0;

    if (n == 0 || n % 4)
        return -1;
    for (; n_pad < 2 && s[n - 1] == '='; n_pad++)
        n--;
    for (size_t i = 0; i < n; i++) {
        int v = base64_value(s[i]);

        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4)
            buf_addc(out, (char)(bits >> (6 - i % 4 * 2)));
    }
    return bits & ((1u << 2 * n_pad) - 1) ? -1 : 0;
}

int tiktoken_parse_line(const char *path, size_t number, const char *line, size_t n,
                        struct buf *bytes)
{
    const char *space = memchr(line, ' ', n);
    size_t cut = space ? (size_t)(space - line) : n;
    int rank = 0;

    bytes->n = 0;
    if (!space || cut + 1 == n || n - cut > 9 || add_base64(bytes, line, cut) != 0)
        return error("%s line %zu: not a token in base64 and its rank", path, number);
    if (bytes->n > MOST_BYTES)
        return error("%s line %zu: a token of %zu bytes; at most %d are taken", path, number,
                     bytes->n, MOST_BYTES);
    for (size_t i = cut + 1; i < n; i++) {
        if (line[i] < '0' || line[i] > '9')
            return error("%s line %zu: not a token in base64 and its rank", path, number);
        rank = 10 * rank + line[i] - '0';
    }
    if (rank >= N_RANKS)
        return error("%s line %zu: rank %d, but LLaMA-3 has %d", path, number, rank, N_RANKS);
    return rank;
}

static int add_line(struct bpe *b, const char *path, size_t number, const char *line, size_t n,
                    struct buf *bytes)
{
    int rank = tiktoken_parse_line(path, number, line, n, bytes);

    return rank < 0 ? -1 : bpe_add_token(b, rank, buf_str(bytes), bytes->n, BPE_TEXT);
}

static int add_lines(struct bpe *b, const char *path, const char *data, size_t nbytes)
{
    const char *end = data + nbytes, *stop;
    struct buf bytes = {0};
    size_t n = 0;
    int rc = 0;

    for (; rc == 0 && data < end; data = stop < end ? stop + 1 : end) {
        stop = memchr(data, '\n', (size_t)(end - data));
        if (!stop)
            stop = end;
        if (stop > data)
            rc = add_line(b, path, ++n, data, (size_t)(stop - data), &bytes);
    }
    buf_release(&bytes);
    if (rc == 0 && n != N_RANKS)
        return error("%s: %zu ranks, but LLaMA-3 has %d", path, n, N_RANKS);
    return rc;
}

/* Every way to cut a token into two tokens is a rule with the token's rank. */
static void add_rules(struct bpe *b)
{
    for (int32_t id = 0; id < N_RANKS; id++) {
        size_t n;
        const char *text = bpe_token(b, id, &n);

        for (size_t cut = 1; cut < n; cut++) {
            int32_t left = bpe_find(b, text, cut);
            int32_t right = left < 0 ? -1 : bpe_find(b, text + cut, n - cut);

            if (right >= 0)
                bpe_add_merge(b, left, right, id, (uint32_t)id);
        }
    }
}

static int add_specials(struct bpe *b)
{
    char name[64];

    for (int i = 0; i < N_SPECIALS; i++) {
        snprintf(name, sizeof(name), "<|special_%d|>", i); /* only its id matters */
        if (bpe_add_token(b, N_RANKS + i, name, strlen(name), BPE_SPECIAL) != 0)
            return -1;
    }
    return 0;
}

static void *open_ranks(const char *path, const void *data, size_t nbytes)
{
    struct bpe *b = bpe_open(path, split_llama3, 1);

    if (!b)
        return NULL;
    if (add_lines(b, path, data, nbytes) != 0 || add_specials(b) != 0 || bpe_finish(b) != 0) {
        bpe_close(b);
        return NULL;
    }
    add_rules(b);
    return b;
}

/* A first line of base64, a space and a digit. */
static int sniff(const void *data, size_t nbytes)
{
    const char *p = data;
    size_t i = 0;

    while (i < nbytes && i < 1024 && (base64_value(p[i]) >= 0 || p[i] == '='))
        i++;
    return i > 0 && i + 1 < nbytes && p[i] == ' ' && p[i + 1] >= '0' && p[i + 1] <= '9';
}

static void close_ranks(void *state)
{
    bpe_close(state);
}

static int encode(const void *state, const char *text, size_t nbytes, struct ids *out)
{
    return bpe_encode(state, text, nbytes, out);
}

static void decode(const void *state, int32_t id, struct buf *out)
{
    bpe_decode(state, id, out);
}

static size_t n_vocab(const void *state)
{
    return bpe_n_vocab(state);
}

static int32_t bos(const void *state)
{
    (void)state;
    return BOS;
}

static int32_t eos(const void *state)
{
    (void)state;
    return EOS;
}

const struct tokenizer_kind tokenizer_tiktoken = {
    .name = "tiktoken",
    .file = "tokenizer.model",
    .sniff = sniff,
    .open = open_ranks,
    .close = close_ranks,
    .encode = encode,
    .decode = decode,
    .n_vocab = n_vocab,
    .bos = bos,
    .eos = eos,
};
