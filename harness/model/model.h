/* A LLaMA model on a device. Weights are pruned in place, in the device's memory; the checkpoint's
 * files are never written. */
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

struct layer {
    struct tensor norm1, norm2; /* 1 x h, f32 */
    struct tensor qkv;          /* (nh + 2 nkv) d x h: rows of q, k, v */
    struct tensor o;            /* h x nh d */
    struct tensor gate_up;      /* 2m x h: rows of gate, up */
    struct tensor down;         /* h x m */
    struct linear linears[N_LINEARS];
    struct act_rule rules[N_GROUPS]; /* what happens to the input of each group */
};

struct model {
    struct device *dev;
    struct llama_config config;
    struct attention_shape shape;
    enum dtype dtype;
    struct layer *layers;
    struct tensor embed;   /* V x h */
    struct tensor head;    /* V x h; the same memory as embed if tied */
    struct tensor norm;    /* 1 x h, f32 */
    struct tensor cos_sin; /* max_positions x d, f32 */
    uint64_t *n_act_zero;  /* device counter of zeros in the linears' inputs */
    struct layer_store *store; /* the layers' linears live in host memory; NULL: on the device */
    const struct checkpoint *checkpoint; /* borrowed: where the weights come from; NULL: synthetic */
    uint64_t seed;                       /* of synthetic weights */
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

/* Puts the source's decoder weights back: undoes pruning. */
int model_restore(struct model *m);

/* The same rule for every linear's input; ACT_DENSE turns sparsity off. */
void model_set_activation(struct model *m, enum act_kind kind, double sparsity);

/* A dense copy of one layer's weights, sharing the norms, with dense rules. */
void layer_copy(struct layer *copy, const struct model *m, size_t layer);
void layer_copy_free(struct layer *copy, const struct model *m);

/* Zeros among the decoder's linears: of one, and of all as a share of config_n_linear_params. */
size_t linear_zeros(const struct model *m, size_t layer, int linear);
double model_zero_share(const struct model *m);

#endif
