/* A LLaMA model on a device. Weights are pruned in place, in the device's memory; the checkpoint's
 * files are never written. Layers may have become smaller than the checkpoint's (reshape.h): what
 * runs a layer goes by the layer's own sizes. */
#ifndef DUO_MODEL_MODEL_H
#define DUO_MODEL_MODEL_H

#include "harness/backend/backend.h"
#include "harness/model/checkpoint.h"
#include "harness/model/layer_store.h"

/* Linears that read the same input form a group; a group is sparsified and calibrated as one. */
enum group { GROUP_QKV, GROUP_O, GROUP_GATE_UP, GROUP_DOWN, N_GROUPS };

enum { LINEAR_Q, LINEAR_K, LINEAR_V, LINEAR_O, LINEAR_GATE, LINEAR_UP, LINEAR_DOWN, N_LINEARS };

/* One weight matrix, n_out x n_in: a view into the merged tensors of its layer. */
struct linear {
    const char *name; /* "self_attn.q_proj", ... */
    enum group group;
    struct tensor w;
};

/* Parts that a layer may lack have data NULL and cost nothing. */
struct layer {
    struct attention_shape shape; /* of this layer; n_heads 0: no attention: no norm1, qkv, o */
    size_t intermediate;          /* m of this layer; 0: no MLP: no norm2, gate_up, down */
    size_t source;                /* its number in the source, where layers were removed */
    struct tensor norm1, norm2;   /* 1 x h, f32 */
    /* Of a model on several devices: this device's rows of q, k, v, o, gate, up and down, whose
     * heads and m are those of `shape` and `intermediate`. */
    struct tensor qkv;     /* (nh + 2 nkv) d x h: rows of q, k, v */
    struct tensor o;       /* h x nh d */
    struct tensor gate_up; /* 2m x h: rows of gate, up */
    struct tensor down;    /* h x m */
    struct linear linears[N_LINEARS];
    struct act_rule rules[N_GROUPS]; /* what happens to the input of each group */
    struct tensor gates[N_GROUPS];   /* of rules of ACT_WINA: 1 x the input's width, f32 */
    /* Optional. Added to the residual stream with the outputs of o and down: 1 x h, f32. */
    struct tensor o_bias, down_bias;
    /* Optional. Change of the residual stream's basis before the outputs of o and down are added: h
     * x h of the weights' type, x <- x basis^T. */
    struct tensor attention_basis, mlp_basis;
};

static inline int layer_has_attention(const struct layer *l)
{
    return l->shape.n_heads > 0;
}

static inline int layer_has_mlp(const struct layer *l)
{
    return l->intermediate > 0;
}

struct model {
    struct device *dev;
    struct comm
        *comm; /* the devices that hold the model together (parallel.h); NULL: it is whole */
    /* As it runs: n_layers, hidden and eps may differ from the source's; n_heads, n_kv_heads and
     * intermediate are the source's, no layer is larger. */
    struct llama_config config;
    struct llama_config source; /* as loaded */
    int reshaped;               /* is anything but values different from the source */
    enum dtype dtype;
    struct layer *layers;
    struct tensor embed;   /* V x h */
    struct tensor head;    /* V x h; the same memory as embed if tied (and not rotated) */
    struct tensor norm;    /* 1 x h, f32 */
    struct tensor cos_sin; /* max_positions x d, f32 */
    uint64_t *n_act_zero;  /* device counters of zeros in the linears' inputs, one per group */
    int act_last_half;     /* the rules spare the first ceil(n/2) tokens of every sequence of n that
                            * session_forward() runs whole, and of a decoder's prompt */
    struct layer_store *store; /* the layers' linears live in host memory; NULL: on the device */
    unsigned char *checked;    /* of the store: layers that were seen to be finite */
    const struct checkpoint
        *checkpoint; /* borrowed: where the weights come from; NULL: synthetic */
    uint64_t seed;   /* of synthetic weights */
};

/* Where the layers' weights live. Tensors of `layers` may be used between model_layer() calls. */
enum residence {
    RESIDENCE_AUTO,   /* on the device if they fit with room to work, else streamed */
    RESIDENCE_DEVICE, /* all on the device */
    RESIDENCE_STREAM, /* in host memory; each layer is copied to the device for its turn */
};

struct model_source {
    const struct checkpoint *checkpoint; /* stays open as long as the model; NULL: synthetic */
    struct llama_config config;          /* synthetic: see synthetic.h */
    uint64_t seed;
    struct comm *comm; /* devices that are to hold the model together, borrowed; NULL: one device */
    size_t host_limit; /* of streamed layers in host memory, bytes; others are read or made again
                          each time. 0: as many as leave the host a quarter of what is free */
};

/* Loads the checkpoint, converted to dtype, and refuses weights that are not finite; or makes the
 * synthetic weights. 0, or error() naming the tensor. */
int model_open_from(struct model *m, struct device *dev, const struct model_source *src,
                    enum dtype dtype, enum residence residence);
/* The same for a checkpoint, residence chosen. */
int model_open(struct model *m, struct device *dev, const struct checkpoint *c, enum dtype dtype);
void model_close(struct model *m);

/* Layer i, its weights on the device for the operations that follow until the next call with
 * another layer; and, after its weights were changed in place, keeps them. */
const struct layer *model_layer(const struct model *m, size_t i);
void model_layer_changed(const struct model *m, size_t i);

/* Instead of changing layer i: takes what was written of it in an earlier run
 * (layer_store_resume()). 1: it is there, as if changed; 0: there is nothing. */
int model_layer_resume(const struct model *m, size_t i);

/* Puts the source's weights and shapes back: undoes pruning. Rules are then dense if it was
 * reshaped. */
int model_restore(struct model *m);

/* The same rule for every linear's input, for all tokens; ACT_DENSE turns sparsity off. Not for
 * ACT_THRESHOLD, whose thresholds are each input's own. */
void model_set_activation(struct model *m, enum act_kind kind, double sparsity);

/* The rule of one group's input. ACT_WINA (arXiv 2505.19427): a channel's factor is the L2 norm of
 * its column in the group's merged matrix (q, k, v one above the other, gate above up) as the
 * weights are now. threshold: of ACT_THRESHOLD. */
void model_set_rule(struct model *m, size_t layer, enum group g, enum act_kind kind,
                    double sparsity, float threshold);

/* A group's merged matrix; data NULL if the layer lacks it. */
struct tensor layer_group(const struct layer *l, enum group g);

/* "qkv", "o", "gate_up", "down" */
const char *group_name(enum group g);

/* A dense copy of one layer's weights, sharing the norms, with dense rules; not if reshaped. */
void layer_copy(struct layer *copy, const struct model *m, size_t layer);
void layer_copy_free(struct layer *copy, const struct model *m);

/* The four merged tensors of a layer: qkv, o, gate_up, down. */
void layer_merged(struct layer *l, struct tensor *all[4]);
/* Lays the seven linears over them, after their sizes or places changed. */
void layer_lay_linears(struct layer *l);
/* Frees all of a layer's tensors. */
void layer_release(struct layer *l, struct device *dev);

/* Zeros in one linear, of the model as a whole; and its weights. */
size_t linear_numel(const struct model *m, size_t layer, int linear);
size_t linear_zeros(const struct model *m, size_t layer, int linear);

/* Parameters of the decoder's linears (changes of basis included) that are there and not zero, and
 * all parameters but for zeros in the linears. */
size_t model_n_linear_left(const struct model *m);
size_t model_n_params_left(const struct model *m);

/* Share of the source's linear parameters that are zero or gone. */
double model_zero_share(const struct model *m);

#endif
