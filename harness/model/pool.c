/* Scratch objects that threads borrow one at a time. */
#include "harness/model/pool.h"

#include <stdlib.h>

#include "harness/base/error.h"

void pool_init(struct pool *p)
{
    *p = (struct pool){0};
    pthread_mutex_init(&p->lock, NULL);
}

void pool_release(struct pool *p, void (*free_item)(void *item))
{
    while (p->n)
        free_item(p->items[--p->n]);
    free(p->items);
    pthread_mutex_destroy(&p->lock);
}

void *pool_take(struct pool *p)
{
    void *item = NULL;

    pthread_mutex_lock(&p->lock);
    if (p->n)
        item = p->items[--p->n];
    pthread_mutex_unlock(&p->lock);
    return item;
}

void pool_give(struct pool *p, void *item)
{
    pthread_mutex_lock(&p->lock);
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 8;
        p->items = xrealloc(p->items, p->cap * sizeof(*p->items));
    }
    p->items[p->n++] = item;
    pthread_mutex_unlock(&p->lock);
}
