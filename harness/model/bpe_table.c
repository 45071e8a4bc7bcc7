/* The two hash tables of byte-level BPE. */
#include "harness/model/bpe_table.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

uint32_t token_hash(const void *bytes, size_t nbytes)
{
    const unsigned char *p = bytes;
    uint64_t h = nbytes, piece;

    for (; nbytes; p += 8) {
        size_t n = nbytes < 8 ? nbytes : 8;

        piece = 0;
        memcpy(&piece, p, n);
        h = (h ^ piece) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        nbytes -= n;
    }
    return (uint32_t)((h * 0xbf58476d1ce4e5b9u) >> 32);
}

static void token_put(struct token_table *t, struct token_slot slot)
{
    size_t i = slot.hash;

    while (t->slots[i & (t->n_slots - 1)].id1)
        i++;
    t->slots[i & (t->n_slots - 1)] = slot;
}

void token_table_add(struct token_table *t, uint32_t hash, int32_t id)
{
    if (2 * (t->n + 1) > t->n_slots) {
        struct token_table old = *t;

        t->n_slots = old.n_slots ? 2 * old.n_slots : 1024;
        t->slots = xcalloc(t->n_slots, sizeof(*t->slots));
        for (size_t i = 0; i < old.n_slots; i++)
            if (old.slots[i].id1)
                token_put(t, old.slots[i]);
        free(old.slots);
    }
    token_put(t, (struct token_slot){.hash = hash, .id1 = id + 1});
    t->n++;
}

void token_table_release(struct token_table *t)
{
    free(t->slots);
    *t = (struct token_table){0};
}

/* Where the pair is, or the free slot where it belongs. */
static struct pair *pair_slot(const struct pair_table *t, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (key * 0x9e3779b97f4a7c15u) >> 32;
    struct pair *p;

    for (;; i++) {
        p = &t->slots[i & (t->n_slots - 1)];
        if (p->left < 0 || (p->left == left && p->right == right))
            return p;
    }
}

static void pair_table_grow(struct pair_table *t)
{
    struct pair_table old = *t;

    t->n_slots = old.n_slots ? 2 * old.n_slots : 1024;
    t->slots = xmalloc(t->n_slots * sizeof(*t->slots));
    memset(t->slots, 0xff, t->n_slots * sizeof(*t->slots));
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.slots[i].left >= 0)
            *pair_slot(t, old.slots[i].left, old.slots[i].right) = old.slots[i];
    free(old.slots);
}

void pair_table_set(struct pair_table *t, int32_t left, int32_t right, int32_t into, uint32_t rank)
{
    struct pair *p;

    if (2 * (t->n + 1) > t->n_slots)
        pair_table_grow(t);
    p = pair_slot(t, left, right);
    if (p->left < 0)
        t->n++;
    *p = (struct pair){.left = left, .right = right, .into = into, .rank = rank};
}

const struct pair *pair_table_get(const struct pair_table *t, int32_t left, int32_t right)
{
    const struct pair *p = t->n ? pair_slot(t, left, right) : NULL;

    return p && p->left >= 0 ? p : NULL;
}

void pair_table_release(struct pair_table *t)
{
    free(t->slots);
    *t = (struct pair_table){0};
}
