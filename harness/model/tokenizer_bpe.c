/* Byte-level BPE: vocabulary, merge rules, and the way from text to ids. */
#include "harness/model/tokenizer_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/model/bpe_merge.h"
#include "harness/model/bpe_table.h"
#include "harness/model/pool.h"
#include "harness/model/tokenizer.h"
#include "harness/model/tokenizer_split.h"
#include "harness/model/word_cache.h"

struct token {
    size_t at; /* its bytes in bpe.bytes */
    uint32_t nbytes;
    enum bpe_kind kind;
};

struct bpe {
    char *path;
    struct split *split;
    int whole_words;
    struct token *tokens; /* by id */
    size_t n_tokens, cap_tokens;
    struct buf bytes;
    struct token_table table; /* BPE_TEXT tokens by their bytes */
    struct pair_table pairs;
    int32_t of_byte[256]; /* -1: no token */
    struct pool pool;     /* of struct scratch */
};

struct scratch {
    struct split_scratch *split;
    struct word_cache cache;
    struct bpe_merger merger;
};

struct bpe *bpe_open(const char *path, const char *split, int whole_words)
{
    struct bpe *b = xcalloc(1, sizeof(*b));

    b->path = xstrdup(path);
    b->whole_words = whole_words;
    memset(b->of_byte, 0xff, sizeof(b->of_byte));
    pool_init(&b->pool);
    b->split = split_open(split, path);
    if (b->split)
        return b;
    bpe_close(b);
    return NULL;
}

static void scratch_free(void *item)
{
    struct scratch *s = item;

    split_scratch_close(s->split);
    word_cache_release(&s->cache);
    bpe_merger_release(&s->merger);
    free(s);
}

void bpe_close(struct bpe *b)
{
    if (!b)
        return;
    pool_release(&b->pool, scratch_free);
    split_close(b->split);
    token_table_release(&b->table);
    pair_table_release(&b->pairs);
    buf_release(&b->bytes);
    free(b->tokens);
    free(b->path);
    free(b);
}

const char *bpe_token(const struct bpe *b, int32_t id, size_t *nbytes)
{
    *nbytes = b->tokens[id].nbytes;
    return buf_str(&b->bytes) + b->tokens[id].at;
}

int32_t bpe_find(const struct bpe *b, const void *bytes, size_t nbytes)
{
    uint32_t hash = token_hash(bytes, nbytes);
    const char *text;
    size_t n;
    int32_t id;

    for (size_t i = hash; (id = token_table_get(&b->table, &i, hash)) >= 0; i++) {
        text = bpe_token(b, id, &n);
        if (n == nbytes && memcmp(text, bytes, n) == 0)
            return id;
    }
    return -1;
}

static void grow_tokens(struct bpe *b, size_t n)
{
    if (n > b->cap_tokens) {
        size_t cap = n > 2 * b->cap_tokens ? n : 2 * b->cap_tokens;

        b->tokens = xrealloc(b->tokens, cap * sizeof(*b->tokens));
        memset(b->tokens + b->cap_tokens, 0, (cap - b->cap_tokens) * sizeof(*b->tokens));
        b->cap_tokens = cap;
    }
    if (n > b->n_tokens)
        b->n_tokens = n;
}

int bpe_add_token(struct bpe *b, int64_t id, const void *bytes, size_t nbytes, enum bpe_kind kind)
{
    if (id < 0 || id >= BPE_MAX_IDS)
        return error("%s: token id %lld is out of range", b->path, (long long)id);
    grow_tokens(b, (size_t)id + 1);
    if (b->tokens[id].kind != BPE_NONE)
        return error("%s: two tokens have the id %lld", b->path, (long long)id);
    if (nbytes >= UINT32_MAX || (kind == BPE_TEXT && nbytes == 0))
        return error("%s: token %lld has no bytes, or too many", b->path, (long long)id);
    if (kind == BPE_TEXT && bpe_find(b, bytes, nbytes) >= 0)
        return error("%s: the tokens %d and %lld are the same", b->path,
                     (int)bpe_find(b, bytes, nbytes), (long long)id);
    b->tokens[id] = (struct token){.at = b->bytes.n, .nbytes = (uint32_t)nbytes, .kind = kind};
    buf_add(&b->bytes, bytes, nbytes);
    if (kind != BPE_TEXT)
        return 0;
    token_table_add(&b->table, token_hash(bytes, nbytes), (int32_t)id);
    if (nbytes == 1)
        b->of_byte[*(const unsigned char *)bytes] = (int32_t)id;
    return 0;
}

int bpe_is_special(const struct bpe *b, int32_t id, const char *content)
{
    return id >= 0 && (size_t)id < b->n_tokens && b->tokens[id].kind == BPE_SPECIAL &&
           b->tokens[id].nbytes == strlen(content) &&
           memcmp(b->bytes.data + b->tokens[id].at, content, strlen(content)) == 0;
}

void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t into, uint32_t rank)
{
    pair_table_set(&b->pairs, left, right, into, rank);
}

int bpe_finish(const struct bpe *b)
{
    for (int c = 0; c < 0xf5; c++)
        if (b->of_byte[c] < 0 && c != 0xc0 && c != 0xc1)
            return error("%s: no token for the byte %02x", b->path, c);
    return 0;
}

static void encode_new_word(const struct bpe *b, struct scratch *s, const char *word, size_t nbytes,
                            struct ids *out)
{
    int32_t id = b->whole_words ? bpe_find(b, word, nbytes) : -1;

    if (id >= 0)
        ids_add(out, id);
    else
        bpe_merge(&s->merger, &b->pairs, b->of_byte, word, (uint32_t)nbytes, out);
}

static void encode_word(const struct bpe *b, struct scratch *s, const char *word, size_t nbytes,
                        struct ids *out)
{
    struct word_entry *e;
    size_t first = out->n;
    int hit;

    if (nbytes == 0)
        return;
    if (nbytes > WORD_CACHE_BYTES) {
        encode_new_word(b, s, word, nbytes, out);
        return;
    }
    e = word_cache_find(&s->cache, word, nbytes, &hit);
    if (hit) {
        ids_append(out, e->ids, e->n_ids);
        return;
    }
    encode_new_word(b, s, word, nbytes, out);
    if (out->n - first <= WORD_CACHE_IDS)
        word_cache_set(e, word, nbytes, out->v + first, out->n - first);
}

static struct scratch *scratch_take(const struct bpe *b)
{
    struct scratch *s = pool_take((struct pool *)&b->pool);

    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->split = split_scratch_open(b->split);
        word_cache_init(&s->cache);
    }
    return s;
}

int bpe_encode(const struct bpe *b, const char *text, size_t nbytes, struct ids *out)
{
    struct scratch *s;
    size_t at = 0, begin, end;
    int rc = 0;

    if (nbytes >= UINT32_MAX)
        return error("%s: a text of %zu bytes is too long to encode", b->path, nbytes);
    s = scratch_take(b);
    while (at < nbytes &&
           (rc = split_next(b->split, s->split, text, nbytes, at, &begin, &end)) > 0) {
        encode_word(b, s, text + at, begin - at, out); /* what no match covers is a word as well */
        encode_word(b, s, text + begin, end - begin, out);
        at = end;
    }
    if (rc == 0 && at < nbytes)
        encode_word(b, s, text + at, nbytes - at, out);
    bpe_merger_trim(&s->merger);
    pool_give((struct pool *)&b->pool, s);
    return rc < 0 ? -1 : 0;
}

void bpe_decode(const struct bpe *b, int32_t id, struct buf *out)
{
    size_t n;
    const char *text = bpe_token(b, id, &n);

    if (b->tokens[id].kind == BPE_TEXT || b->tokens[id].kind == BPE_FOREIGN)
        buf_add(out, text, n);
}

size_t bpe_n_vocab(const struct bpe *b)
{
    return b->n_tokens;
}
