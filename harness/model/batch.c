/* Packed batches. */
#include "harness/model/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

static void push(struct i32_list *l, int32_t v)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = v;
}

#define N_LISTS 10

/* All lists of b; the first eight travel to the device. */
static void lists(struct batch *b, struct i32_list *all[N_LISTS])
{
    all[0] = &b->ids;
    all[1] = &b->positions;
    all[2] = &b->seg_row;
    all[3] = &b->seg_pos;
    all[4] = &b->seg_page;
    all[5] = &b->pages;
    all[6] = &b->copy_row;
    all[7] = &b->copy_slot;
    all[8] = &b->parent;
    all[9] = &b->n_spared;
}

void batch_clear(struct batch *b)
{
    struct i32_list *l[N_LISTS];

    lists(b, l);
    for (int i = 0; i < N_LISTS; i++)
        l[i]->n = 0;
    b->max_positions = b->n_pages = 0;
}

void batch_release(struct batch *b, struct device *dev)
{
    struct i32_list *l[N_LISTS];

    lists(b, l);
    for (int i = 0; i < N_LISTS; i++)
        free(l[i]->v);
    if (b->device_block)
        dev->ops->free(dev, b->device_block);
    *b = (struct batch){0};
}

size_t batch_pages_for(size_t pos, size_t n)
{
    return (pos + n + KV_PAGE - 1) / KV_PAGE - pos / KV_PAGE;
}

int32_t batch_row(const struct batch *b, int seg, int32_t pos)
{
    while (pos < b->seg_pos.v[seg])
        seg = b->parent.v[seg];
    return b->seg_row.v[seg] + pos - b->seg_pos.v[seg];
}

/* Rows, positions and the segment's head; the pages are the caller's. */
static int begin_segment(struct batch *b, const int32_t *ids, size_t n, size_t pos, int parent)
{
    int seg = (int)b->seg_pos.n;

    push(&b->seg_row, (int32_t)b->ids.n);
    push(&b->seg_pos, (int32_t)pos);
    push(&b->seg_page, (int32_t)b->pages.n);
    push(&b->parent, parent);
    for (size_t i = 0; i < n; i++) {
        push(&b->ids, ids[i]);
        push(&b->positions, (int32_t)(pos + i));
    }
    if (pos + n > b->max_positions)
        b->max_positions = pos + n;
    return seg;
}

/* Key of `row` goes to position pos of the segment whose pages begin at first_page. */
static void push_copy(struct batch *b, int32_t row, size_t pos, int32_t first_page)
{
    push(&b->copy_row, row);
    push(&b->copy_slot,
         b->pages.v[(size_t)first_page + pos / KV_PAGE] * KV_PAGE + (int32_t)(pos % KV_PAGE));
}

int batch_add(struct batch *b, const int32_t *ids, size_t n, int parent)
{
    size_t row = b->ids.n, pos = 0, shared;
    int seg;

    if (parent >= 0) {
        int32_t end = (size_t)parent + 1 < b->seg_row.n ? b->seg_row.v[parent + 1] : (int32_t)row;

        pos = (size_t)(b->seg_pos.v[parent] + end - b->seg_row.v[parent]);
    }
    shared = pos / KV_PAGE;
    seg = begin_segment(b, ids, n, pos, parent);
    for (size_t i = 0; i < shared; i++)
        push(&b->pages, b->pages.v[(size_t)b->seg_page.v[parent] + i]);
    for (size_t i = 0; i < batch_pages_for(pos, n); i++)
        push(&b->pages, (int32_t)b->n_pages++);
    /* The prefix's last page, if partly filled, is copied: the siblings fill it differently. */
    for (size_t p = shared * KV_PAGE; p < pos; p++)
        push_copy(b, batch_row(b, parent, (int32_t)p), p, b->seg_page.v[seg]);
    for (size_t i = 0; i < n; i++)
        push_copy(b, (int32_t)(row + i), pos + i, b->seg_page.v[seg]);
    return seg;
}

void batch_add_cached(struct batch *b, const int32_t *ids, size_t n, struct sequence *seq,
                      int32_t *next_page)
{
    size_t row = b->ids.n, pos = seq->n_tokens;
    int seg = begin_segment(b, ids, n, pos, -1);

    while (seq->pages.n * KV_PAGE < pos + n)
        push(&seq->pages, (*next_page)++);
    for (size_t i = 0; i < seq->pages.n; i++)
        push(&b->pages, seq->pages.v[i]);
    for (size_t i = 0; i < n; i++)
        push_copy(b, (int32_t)(row + i), pos + i, b->seg_page.v[seg]);
    seq->n_tokens += n;
}

void batch_spare_halves(struct batch *b)
{
    b->n_spared.n = 0;
    for (size_t i = 0; i < b->seg_row.n; i++) {
        int32_t end = i + 1 < b->seg_row.n ? b->seg_row.v[i + 1] : (int32_t)b->ids.n;

        assert(b->parent.v[i] < 0);
        push(&b->n_spared, (end - b->seg_row.v[i] + 1) / 2);
    }
}

void batch_spare(struct batch *b, size_t n_spared)
{
    assert(b->seg_row.n == 1 && n_spared <= b->ids.n);
    b->n_spared.n = 0;
    push(&b->n_spared, (int32_t)n_spared);
}

/* Appends to[] = from[begin .. end) - less. */
static void push_range(struct i32_list *to, const struct i32_list *from, size_t begin, size_t end,
                       int32_t less)
{
    for (size_t i = begin; i < end; i++)
        push(to, from->v[i] - less);
}

/* Segments [first, end) of b, whose rows begin at row and whose copies are [copy, copy_end). */
static void take_segments(struct batch *out, const struct batch *b, size_t first, size_t end,
                          size_t copy, size_t copy_end)
{
    size_t n_segments = b->seg_row.n, row = (size_t)b->seg_row.v[first];
    size_t row_end = end < n_segments ? (size_t)b->seg_row.v[end] : b->ids.n;
    size_t page = (size_t)b->seg_page.v[first];
    size_t page_end = end < n_segments ? (size_t)b->seg_page.v[end] : b->pages.n;

    batch_clear(out);
    push_range(&out->ids, &b->ids, row, row_end, 0);
    push_range(&out->positions, &b->positions, row, row_end, 0);
    push_range(&out->seg_row, &b->seg_row, first, end, (int32_t)row);
    push_range(&out->seg_pos, &b->seg_pos, first, end, 0);
    push_range(&out->seg_page, &b->seg_page, first, end, (int32_t)page);
    push_range(&out->pages, &b->pages, page, page_end, 0);
    push_range(&out->copy_row, &b->copy_row, copy, copy_end, (int32_t)row);
    push_range(&out->copy_slot, &b->copy_slot, copy, copy_end, 0);
    push_range(&out->parent, &b->parent, first, end, (int32_t)first);
    if (b->n_spared.n)
        push_range(&out->n_spared, &b->n_spared, first, end, 0);
    out->max_positions = b->max_positions;
    out->n_pages = b->n_pages;
}

/* Neither half has less than a quarter of the rows. */
int batch_halve(const struct batch *b, struct batch half[2])
{
    size_t n = b->ids.n, n_segments = b->seg_row.n, best = 0, best_off = n / 4 + 1, copy = 0;

    batch_clear(&half[0]);
    batch_clear(&half[1]);
    for (size_t s = 1; s < n_segments; s++) {
        size_t row = (size_t)b->seg_row.v[s], off = row > n / 2 ? row - n / 2 : n / 2 - row;

        if (b->parent.v[s] < 0 && off < best_off) {
            best = s;
            best_off = off;
        }
    }
    for (size_t s = best + 1; s < n_segments && best; s++)
        if (b->parent.v[s] >= 0 && (size_t)b->parent.v[s] < best)
            best = 0;
    if (!best)
        return 1;
    /* Copies come segment by segment. */
    while (copy < b->copy_row.n && b->copy_row.v[copy] < b->seg_row.v[best])
        copy++;
    take_segments(&half[0], b, 0, best, 0, copy);
    take_segments(&half[1], b, best, n_segments, copy, b->copy_row.n);
    return 2;
}

void batch_upload(struct batch *b, struct device *dev)
{
    struct i32_list *l[N_LISTS];
    size_t total = 0, at[8];
    int32_t *host, *d;

    lists(b, l);
    for (int i = 0; i < 8; i++) {
        at[i] = total;
        total += l[i]->n + (i == 2); /* seg_row has one more */
    }
    if (total * sizeof(*host) > b->device_nbytes) {
        if (b->device_block)
            dev->ops->free(dev, b->device_block);
        b->device_nbytes = 2 * total * sizeof(*host);
        b->device_block = dev->ops->alloc(dev, b->device_nbytes);
    }
    host = xmalloc(total * sizeof(*host));
    for (int i = 0; i < 8; i++)
        if (l[i]->n)
            memcpy(host + at[i], l[i]->v, l[i]->n * sizeof(*host));
    host[at[2] + b->seg_row.n] = (int32_t)b->ids.n;
    dev->ops->upload(dev, b->device_block, host, total * sizeof(*host));
    free(host);
    d = b->device_block;
    b->layout = (struct batch_layout){b->ids.n,  b->seg_pos.n, b->copy_row.n, b->max_positions,
                                      d + at[0], d + at[1],    d + at[2],     d + at[3],
                                      d + at[4], d + at[5],    d + at[6],     d + at[7]};
}
