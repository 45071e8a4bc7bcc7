/* Packed batches: token rows of many sequences, and where their keys and values live. */
#ifndef DUO_MODEL_BATCH_H
#define DUO_MODEL_BATCH_H

#include "harness/backend/backend.h"

struct i32_list {
    int32_t *v;
    size_t n, cap;
};

/* A sequence whose keys and values stay in the pages of a cached session between batches. */
struct sequence {
    struct i32_list pages;
    size_t n_tokens;
};

/* Built on the host segment by segment, then sent to the device at once. */
struct batch {
    struct i32_list ids, positions, seg_row, seg_pos, seg_page, pages, copy_row, copy_slot;
    struct i32_list parent;   /* per segment; -1: begins a sequence */
    struct i32_list n_spared; /* per segment: its first rows that no rule is applied to; or empty */
    size_t max_positions;
    size_t n_pages;             /* pages given out by batch_add */
    struct batch_layout layout; /* after batch_upload */
    void *device_block;
    size_t device_nbytes;
};

/* Empties it for another batch; keeps memory. A zeroed struct is an empty batch. */
void batch_clear(struct batch *b);
void batch_release(struct batch *b, struct device *dev);

static inline size_t batch_n_rows(const struct batch *b)
{
    return b->ids.n;
}

/* Appends n ids that continue segment `parent` of this batch (all of it), or begin a sequence (-1).
 * Several segments may continue the same one: they share its rows, keys and values. Takes fresh
 * pages. Returns the segment's number; its first row is batch_n_rows() before the call. */
int batch_add(struct batch *b, const int32_t *ids, size_t n, int parent);

/* The row that holds position pos of the sequence that segment seg ends. */
int32_t batch_row(const struct batch *b, int seg, int32_t pos);

/* Appends n ids that continue a cached sequence; pages come from *next_page. */
void batch_add_cached(struct batch *b, const int32_t *ids, size_t n, struct sequence *seq,
                      int32_t *next_page);

/* The rules spare the first ceil(n/2) of the n rows of every segment, none of which continues
 * another; or the first n_spared rows of the only segment. */
void batch_spare_halves(struct batch *b);
void batch_spare(struct batch *b, size_t n_spared);

/* The segments of b as two batches, a and b's rest, of about as many rows, so that neither
 * continues a segment of the other; their pages are b's. 2; or 1 where there is no such place near
 * the middle, and the halves are left empty. */
int batch_halve(const struct batch *b, struct batch half[2]);

/* Pages that n ids at position pos take beside those shared. */
size_t batch_pages_for(size_t pos, size_t n);

/* Sends the arrays to the device; b->layout is then valid until the next change. */
void batch_upload(struct batch *b, struct device *dev);

#endif
