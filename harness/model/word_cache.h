/* Word -> ids of one thread: a table of fixed size in which a new word replaces an old one. */
#ifndef DUO_MODEL_WORD_CACHE_H
#define DUO_MODEL_WORD_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WORD_CACHE_BYTES = 32, /* longer words and words of more ids are not kept */
    WORD_CACHE_IDS = 7,
    WORD_CACHE_ENTRIES = 1 << 16, /* 4 MiB */
};

struct word_entry {                     /* one cache line */
    uint64_t key[WORD_CACHE_BYTES / 8]; /* zero padded */
    int32_t ids[WORD_CACHE_IDS];
    uint8_t nbytes; /* 0: free */
    uint8_t n_ids;
};

struct word_cache {
    struct word_entry *entries;
};

void word_cache_init(struct word_cache *c);
void word_cache_release(struct word_cache *c);

/* The n <= 8 bytes at p as a number, without a detour through memory. */
static inline uint64_t word_cache_load(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    uint64_t whole;
    uint32_t head, tail;

    if (n == 8) {
        memcpy(&whole, p, 8);
        return whole;
    }
    if (n >= 4) {
        memcpy(&head, p, 4);
        memcpy(&tail, p + n - 4, 4);
        return head | (uint64_t)tail << 8 * (n - 4);
    }
    return u[0] | (uint64_t)u[n / 2] << 8 * (n / 2) | (uint64_t)u[n - 1] << 8 * (n - 1);
}

/* The entry where a word of 1 <= nbytes <= WORD_CACHE_BYTES belongs. If *hit is 0 then it holds
 * another word: compute the ids and, if they are few enough, word_cache_set. */
static inline struct word_entry *word_cache_find(struct word_cache *c, const char *word,
                                                 size_t nbytes, int *hit)
{
    uint64_t key[WORD_CACHE_BYTES / 8] = {0}, h;
    struct word_entry *e;

    for (size_t i = 0; 8 * i < nbytes; i++)
        key[i] = word_cache_load(word + 8 * i, nbytes - 8 * i < 8 ? nbytes - 8 * i : 8);
    h = (key[0] ^ nbytes) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29) ^ key[1]) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 32) ^ key[2]) * 0x94d049bb133111ebu;
    h = (h ^ (h >> 29) ^ key[3]) * 0x9e3779b97f4a7c15u;
    e = &c->entries[h >> 48];
    *hit = e->nbytes == nbytes && e->key[0] == key[0] && e->key[1] == key[1] &&
           e->key[2] == key[2] && e->key[3] == key[3];
    return e;
}

static inline void word_cache_set(struct word_entry *e, const char *word, size_t nbytes,
                                  const int32_t *ids, size_t n_ids)
{
    *e = (struct word_entry){.nbytes = (uint8_t)nbytes, .n_ids = (uint8_t)n_ids};
    for (size_t i = 0; 8 * i < nbytes; i++)
        e->key[i] = word_cache_load(word + 8 * i, nbytes - 8 * i < 8 ? nbytes - 8 * i : 8);
    memcpy(e->ids, ids, n_ids * sizeof(*ids));
}

_Static_assert(sizeof(struct word_entry) == 64, "a cache line");
_Static_assert(WORD_CACHE_ENTRIES == 1 << (64 - 48), "the hash's top bits choose the entry");

#endif
