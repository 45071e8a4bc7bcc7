/* The hidden states of all calibration tokens, walked chunk by chunk. They live on the device, or
 * in host memory and pass through two places on the device: while one chunk is worked on, the last
 * one is copied back and the next one comes. */
#ifndef DUO_MEASURE_HIDDEN_H
#define DUO_MEASURE_HIDDEN_H

#include "harness/backend/backend.h"

struct hidden {
    struct device *dev;
    struct tensor all;      /* n_tokens x width, f32; data NULL: in host memory */
    size_t chunk;           /* rows of a chunk; the last one may have fewer */
    char *host;             /* pinned */
    struct tensor place[2]; /* chunk x width each */
    size_t at[2];           /* number of the chunk in each place, or on its way there */
    int current;            /* the place of the chunk that is worked on */
    int is_changed[2];      /* what is in the place is newer than the host's */
};

/* Not allocated: width 0; hidden_close() is fine then. */
void hidden_open(struct hidden *h, struct device *dev, size_t n_tokens, size_t width, size_t chunk,
                 int on_host);
void hidden_close(struct hidden *h);

/* Chunk k is worked on from now on. Then, for all streams, begins the copies beside the work: of
 * the last chunk, if it was changed, and of chunk k + 1 (after the last: 0). */
void hidden_go_to(struct hidden *h, size_t k);
void hidden_begin_copies(struct hidden *h);

/* Its rows; hidden_changed() says that they were written. */
struct tensor hidden_rows(const struct hidden *h);
void hidden_changed(struct hidden *h);

#endif
