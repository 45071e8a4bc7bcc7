/* Between the files of the sweep: its state, and the walks of the streams through one layer. */
#ifndef DUO_MEASURE_SWEEP_PASS_H
#define DUO_MEASURE_SWEEP_PASS_H

#include "harness/base/progress.h"
#include "harness/measure/hidden.h"
#include "harness/measure/layer_stats.h"
#include "harness/measure/sweep.h"
#include "harness/model/session.h"

struct sweep {
    struct model *m;
    const struct pruner *method;
    const struct prune_options *options;
    struct session s;
    size_t window, n_windows, per_chunk; /* windows per chunk */
    struct hidden xd, xs;                /* T x h, f32: streams */
    struct tensor as; /* T x nh d: sparsified attention output of the pruned stream; data NULL:
                         not kept */
    struct tensor in_d, attn_d, act_d; /* one chunk of the dense stream */
    struct tensor diff;                /* one chunk: X~ - X, as wide as the widest group */
    struct layer dense;                /* the layer as it was */
    struct layer_stats stats[N_GROUPS];
    struct sweep_times times;
    struct progress progress;
    double clock;
    size_t layer;
};

/* One chunk: rows [first, first + n) of the streams; the batch on the device is laid out for it. */
struct chunk {
    size_t first, n;
};

int sweep_two_streams(const struct sweep *w);

/* Books the time since the last call. The device is waited for, so that it is the right kind's. */
void sweep_book(struct sweep *w, double *kind);

/* The streams' first states. */
void sweep_embed(struct sweep *w, const int32_t *ids);

/* What a walk does with a chunk, whose batch is on the device. */
typedef void sweep_pass(struct sweep *w, struct chunk c);

/* A pass over all chunks; share: of the layer's work, for the progress line. */
void sweep_each_chunk(struct sweep *w, const int32_t *ids, sweep_pass *pass, double share);

/* Passes 1 to 5 of methods that prune a layer group by group: each runs what lies before its group
 * with weights pruned so far, and collects the group's statistics; the last ends the layer. */
sweep_pass sweep_pass_qkv, sweep_pass_o, sweep_pass_gate_up, sweep_pass_down, sweep_pass_finish;

/* Of others: statistics of all groups; and the pruned layer. */
sweep_pass sweep_pass_all, sweep_pass_forward;

/* A layer that was pruned before. */
sweep_pass sweep_pass_resumed;

#endif
