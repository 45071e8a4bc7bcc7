/* Merging one word's bytes into tokens, in n log n. */
#ifndef DUO_MODEL_BPE_MERGE_H
#define DUO_MODEL_BPE_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "harness/model/bpe_table.h"

struct ids;

/* One thread's scratch. All zero is ready for use. */
struct bpe_merger {
    struct bpe_node *nodes;
    size_t cap_nodes;
    /* Candidate pairs as rank << 32 | index of the left token, a binary heap with the least on top.
     * One whose tokens have changed since is not removed but recognised when it comes up. */
    uint64_t *heap;
    size_t n_heap, cap_heap;
};

/* Appends the tokens of a word of n < UINT32_MAX bytes, all of which have one (of_byte). */
void bpe_merge(struct bpe_merger *m, const struct pair_table *rules, const int32_t of_byte[256],
               const char *word, uint32_t n, struct ids *out);

/* Keeps what an ordinary word needs, not what a word of a megabyte did. */
void bpe_merger_trim(struct bpe_merger *m);
void bpe_merger_release(struct bpe_merger *m);

#endif
