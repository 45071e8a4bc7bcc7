/* Word -> ids of one thread: a table of fixed size in which a new word replaces an old one. */
#ifndef DUO_MODEL_WORD_CACHE_H
#define DUO_MODEL_WORD_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    WORD_CACHE_BYTES = 32, /* longer words and words of more ids are not kept */
    WORD_CACHE_IDS = 7,
    WORD_CACHE_ENTRIES = 1 << 15, /* 2 MiB */
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

/* The entry where a word of 1 <= nbytes <= WORD_CACHE_BYTES belongs. If *hit is 0 then it holds
 * another word: compute the ids and, if they are few enough, word_cache_set. */
static inline struct word_entry *word_cache_find(struct word_cache *c, const char *word,
                                                 size_t nbytes, int *hit)
{
    uint64_t key[WORD_CACHE_BYTES / 8] = {0}, h;
    struct word_entry *e;

    memcpy(key, word, nbytes);
    h = (key[0] ^ nbytes) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29) ^ key[1]) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 32) ^ key[2]) * 0x94d049bb133111ebu;
    h = (h ^ (h >> 29) ^ key[3]) * 0x9e3779b97f4a7c15u;
    e = &c->entries[h >> 49];
    *hit = e->nbytes == nbytes && memcmp(e->key, key, sizeof(key)) == 0;
    return e;
}

static inline void word_cache_set(struct word_entry *e, const char *word, size_t nbytes,
                                  const int32_t *ids, size_t n_ids)
{
    *e = (struct word_entry){.nbytes = (uint8_t)nbytes, .n_ids = (uint8_t)n_ids};
    memcpy(e->key, word, nbytes);
    memcpy(e->ids, ids, n_ids * sizeof(*ids));
}

_Static_assert(sizeof(struct word_entry) == 64, "a cache line");
_Static_assert(WORD_CACHE_ENTRIES == 1 << (64 - 49), "the hash's top bits choose the entry");

#endif
