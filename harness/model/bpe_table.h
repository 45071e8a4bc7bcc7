/* The two hash tables of byte-level BPE: open addressing, at most half full, never shrinking. */
#ifndef DUO_MODEL_BPE_TABLE_H
#define DUO_MODEL_BPE_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Ids by hash. The caller compares the bytes. */
struct token_table {
    struct token_slot {
        uint32_t hash;
        int32_t id1; /* id + 1; 0: free */
    } * slots;
    size_t n, n_slots; /* a power of two, or 0 */
};
uint32_t token_hash(const void *bytes, size_t nbytes);
void token_table_add(struct token_table *t, uint32_t hash, int32_t id);
void token_table_release(struct token_table *t);

/* The next id with this hash, -1: no more. Start with *i = hash; *i + 1 goes on. */
static inline int32_t token_table_get(const struct token_table *t, size_t *i, uint32_t hash)
{
    const struct token_slot *slot;

    for (; t->n_slots; ++*i) {
        slot = &t->slots[*i & (t->n_slots - 1)];
        if (!slot->id1 || slot->hash == hash)
            return slot->id1 - 1;
    }
    return -1;
}

/* Merge rules by their two ids. */
struct pair_table {
    struct pair {
        int32_t left, right; /* left < 0: free */
        int32_t into;
        uint32_t rank;
    } * slots;
    size_t n, n_slots;
};
void pair_table_set(struct pair_table *t, int32_t left, int32_t right, int32_t into, uint32_t rank);
const struct pair *pair_table_get(const struct pair_table *t, int32_t left, int32_t right);
void pair_table_release(struct pair_table *t);

#endif
