/* The sweep over the model: calibration statistics layer by layer, pruning in place (METHOD
 * section 5). */
#ifndef DUO_MEASURE_SWEEP_H
#define DUO_MEASURE_SWEEP_H

#include <stdint.h>

#include "harness/backend/backend.h"
#include "harness/measure/pruner.h"

/* Seconds spent, by kind; forward is what running the streams through the layers takes. */
struct sweep_times {
    double forward, statistics, solve, total;
    double *layers; /* seconds of each, n_layers; not of structured methods: 0 */
    size_t n_layers;
    size_t n_resumed;           /* of them were not pruned again but read from files */
    struct stream_times copies; /* of layers and streams that are not on the device */
};
void sweep_times_release(struct sweep_times *t);

/* Prunes m with the method, calibrated on n_windows windows of `window` ids (ids may be NULL where
 * the method needs none). Run-time activation sparsity of m is left dense. times may be NULL, else
 * it is to be released after a 0. 0, or error() naming layer and linear; the weights are then
 * partly pruned. */
int sweep_prune(struct model *m, const struct pruner *method, const struct prune_options *o,
                const int32_t *ids, size_t n_windows, size_t window, struct sweep_times *times);

#endif
