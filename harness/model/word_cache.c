/* Word -> ids of one thread. */
#include "harness/model/word_cache.h"

#include <stdlib.h>

#include "harness/base/error.h"

void word_cache_init(struct word_cache *c)
{
    c->entries = xalloc_aligned(WORD_CACHE_ENTRIES * sizeof(*c->entries));
    memset(c->entries, 0, WORD_CACHE_ENTRIES * sizeof(*c->entries));
}

void word_cache_release(struct word_cache *c)
{
    xfree_aligned(c->entries);
    c->entries = NULL;
}
