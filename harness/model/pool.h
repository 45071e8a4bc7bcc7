/* Scratch objects that threads borrow one at a time: one short lock per call, none per word. */
#ifndef DUO_MODEL_POOL_H
#define DUO_MODEL_POOL_H

#include <pthread.h>
#include <stddef.h>

struct pool {
    pthread_mutex_t lock;
    void **items; /* those not borrowed */
    size_t n, cap;
};

void pool_init(struct pool *p);

/* Frees every item. All must have been given back. */
void pool_release(struct pool *p, void (*free_item)(void *item));

/* An item that was given back, or NULL: the caller then makes one. So there are never more than
 * there are threads at a time. */
void *pool_take(struct pool *p);
void pool_give(struct pool *p, void *item);

#endif
