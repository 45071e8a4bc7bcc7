/* What pruning did to each layer: its zeros, and how far it is from the dense one on the first
 * tokens of a text. Layers are those of the source; one that was removed is all zeros, and leaves
 * the residual stream as it is. */
#ifndef DUO_MEASURE_LAYER_PROBE_H
#define DUO_MEASURE_LAYER_PROBE_H

#include "harness/model/session.h"

#define LAYER_PROBE_TOKENS 512

/* The dense model's residual stream on the host. */
struct layer_probe {
    size_t n_layers, hidden, n_tokens;
    int32_t *ids;
    float *stream; /* (n_layers + 1) x n_tokens x hidden: before the first layer, after each */
};

/* Metrics of a layer. h, f: the dense model's residual stream before the layer and the dense layer,
 * h', f': the pruned model's; means are over tokens, rules of sparse activations included. */
enum layer_metric {
    LAYER_ZEROS_FIRST,                           /* shares of zeros of q, ... down; */
    LAYER_ZEROS = LAYER_ZEROS_FIRST + N_LINEARS, /* of them all */
    LAYER_OUTPUT_ERROR, /* mean of |f'(h) - f(h)| / |f(h) - h|: the layer's own error */
    LAYER_STREAM_ERROR, /* mean of |f'(h') - f(h)| / |f(h)|: what all layers so far add up to */
    N_LAYER_METRICS,
};
/* "zeros_q", ..., "zeros", "output_error", "stream_error" */
extern const char *const layer_metric_names[N_LAYER_METRICS];

/* Runs the model, dense and as loaded, on the first of n ids: as many as a session of its size
 * takes, at most LAYER_PROBE_TOKENS. */
void layer_probe_open(struct layer_probe *p, struct session *s, const int32_t *ids, size_t n);
void layer_probe_close(struct layer_probe *p);

/* The pruned model in the session: out is N_LAYER_METRICS x n_layers. The errors are NaN where the
 * residual stream has another width. Counts zeros in the rules' counters. */
void layer_probe_run(const struct layer_probe *p, struct session *s, double *out);

/* One metric of all layers: of zeros the share among all weights of the source, of output_error
 * the mean, of stream_error that after the last layer. */
double layer_probe_total(const struct llama_config *source, enum layer_metric metric,
                         const double *by_layer);

#endif
