/* Merging one word's bytes into tokens, in n log n. */
#include "harness/model/bpe_merge.h"

#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/model/tokenizer.h"

/* Tokens of the word as a doubly linked list. */
struct bpe_node {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t prev, next;
};

static void heap_push(struct bpe_merger *m, uint64_t v)
{
    size_t i = m->n_heap++;

    if (m->n_heap > m->cap_heap) {
        m->cap_heap = 2 * m->n_heap + 64;
        m->heap = xrealloc(m->heap, m->cap_heap * sizeof(*m->heap));
    }
    for (; i > 0 && m->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = v;
}

static uint64_t heap_pop(struct bpe_merger *m)
{
    uint64_t top = m->heap[0], v = m->heap[--m->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < m->n_heap) {
        child += child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child];
        if (m->heap[child] >= v)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = v;
    return top;
}

/* The rule for the tokens at i and after it among n; NULL: none. */
static const struct pair *rule_at(const struct pair_table *rules, const struct bpe_node *nodes,
                                  uint32_t i, uint32_t n)
{
    if (i >= n || nodes[i].id < 0 || nodes[i].next >= n)
        return NULL;
    return pair_table_get(rules, nodes[i].id, nodes[nodes[i].next].id);
}

static void push_candidate(const struct pair_table *rules, struct bpe_merger *m, uint32_t i,
                           uint32_t n)
{
    const struct pair *p = rule_at(rules, m->nodes, i, n);

    if (p)
        heap_push(m, (uint64_t)p->rank << 32 | i);
}

static void nodes_init(struct bpe_merger *m, const int32_t of_byte[256], const char *word,
                       uint32_t n)
{
    if (n > m->cap_nodes) {
        m->cap_nodes = n + 64;
        free(m->nodes);
        m->nodes = xmalloc(m->cap_nodes * sizeof(*m->nodes));
    }
    for (uint32_t i = 0; i < n; i++)
        m->nodes[i] =
            (struct bpe_node){.id = of_byte[(unsigned char)word[i]], .prev = i - 1, .next = i + 1};
    m->n_heap = 0;
}

void bpe_merge(struct bpe_merger *m, const struct pair_table *rules, const int32_t of_byte[256],
               const char *word, uint32_t n, struct ids *out)
{
    struct bpe_node *v;

    nodes_init(m, of_byte, word, n);
    v = m->nodes;
    for (uint32_t i = 0; i < n; i++)
        push_candidate(rules, m, i, n);
    while (m->n_heap) {
        uint64_t top = heap_pop(m);
        uint32_t i = (uint32_t)top, right;
        const struct pair *p = rule_at(rules, v, i, n);

        if (!p || p->rank != top >> 32)
            continue;
        right = v[i].next;
        v[i].id = p->into;
        v[i].next = v[right].next;
        v[right].id = -1;
        if (v[i].next < n)
            v[v[i].next].prev = i;
        push_candidate(rules, m, i, n);
        push_candidate(rules, m, v[i].prev, n); /* UINT32_MAX before the first */
    }
    for (uint32_t i = 0; i < n; i = v[i].next)
        ids_add(out, v[i].id);
}

void bpe_merger_trim(struct bpe_merger *m)
{
    if (m->cap_nodes > 1 << 16 || m->cap_heap > 1 << 16)
        bpe_merger_release(m);
}

void bpe_merger_release(struct bpe_merger *m)
{
    free(m->nodes);
    free(m->heap);
    *m = (struct bpe_merger){0};
}
