/* Between the files of the session. */
#ifndef DUO_MODEL_SESSION_INSIDE_H
#define DUO_MODEL_SESSION_INSIDE_H

#include "harness/model/session.h"

/* The batch whose rows the pieces of a layer work on. */
static inline const struct batch *batch_now(const struct session *s)
{
    return s->now ? &s->half[s->now - 1] : &s->batch;
}

/* Its rows of t, `cols` wide: t has room for the widest layer. */
struct tensor rows_now(const struct session *s, struct tensor t, size_t cols);

/* The rule, where it can be applied by the operation that gives the rows; NULL: apart. */
const struct act_rule *fused_rule(const struct session *s, const struct act_rule *rule);
void apply_apart(const struct session *s, struct tensor x, const struct act_rule *rule);

/* The first halves of layer_attention() and layer_mlp_hidden(): this device's columns of attn and
 * act, in part_of() them. */
struct tensor attention_part(struct session *s, const struct layer *l, size_t index,
                             struct tensor in, struct tensor attn);
struct tensor mlp_part(struct session *s, const struct layer *l, struct tensor in,
                       struct tensor act);

/* ---- session_parallel.c */

void parallel_open(struct session *s);
void parallel_close(struct session *s);
size_t parallel_row_nbytes(const struct model *m); /* of a token, of memory beside the session's */

/* Where this device's columns of `whole` (rows of now) go before they are gathered: whole itself
 * where the model is not split. */
struct tensor part_of(const struct session *s, struct tensor whole);

/* whole = everybody's parts side by side, under the rule. Nothing where the model is not split. */
void join_parts(struct session *s, struct tensor whole, struct tensor part,
                const struct act_rule *rule);

/* x += w in, of a split w. */
void parallel_add(struct session *s, struct tensor x, struct tensor in, struct tensor w);

/* session_layers() of a split model: the two halves of the batch take turns, so that one is
 * gathered while the other computes. */
void parallel_layers(struct session *s, struct tensor x, size_t first, size_t end);

#endif
