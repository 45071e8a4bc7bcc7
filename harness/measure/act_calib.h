/* Rules of sparse activations for a whole model: thresholds calibrated to a share of zeros (TEAL,
 * arXiv 2408.14690), and that share dealt out among the groups of a layer.
 *
 * Everything is seen as it will be evaluated: the weights as they are (pruned), and inputs that
 * passed through the rules of all groups before (TEAL takes dense inputs). So the calibration set,
 * run under the rules that were found, has the share of zeros that was asked for. All tokens of a
 * window count. */
#ifndef DUO_MEASURE_ACT_CALIB_H
#define DUO_MEASURE_ACT_CALIB_H

#include <stdint.h>

#include "harness/model/model.h"

/* What is asked. Shares are of a group's input channels; a mean of shares weighs each group by its
 * weights. */
struct act_plan {
    enum act_kind kind;
    double sparsity;      /* mean share of zeros, 0 <= s < 1 */
    int greedy;           /* dealt out in each layer by act_allocate, of rules that count channels
                             in whole ones; else the same everywhere */
    const double *ratios; /* n_layers x N_GROUPS: these shares instead; NULL */
};

/* What was found: n_layers x N_GROUPS each. */
struct act_setting {
    enum act_kind kind;
    size_t n_layers;
    double *ratios;
    float *thresholds; /* ACT_THRESHOLD; else 0 */
};

/* Does the plan need calibration ids? */
int act_needs_ids(const struct act_plan *p);

/* Finds the setting for m's weights as they are; ids: n_windows x window, or NULL where none are
 * needed. m's rules are dense afterwards. 0, or error() naming layer and group whose inputs are not
 * finite. *out is to be released in either case. */
int act_calibrate(struct act_setting *out, struct model *m, const struct act_plan *p,
                  const int32_t *ids, size_t n_windows, size_t window);
void act_setting_release(struct act_setting *s);

/* Sets m's rules. */
void act_set(struct model *m, const struct act_setting *s);

/* The mean share of all layers' groups. */
double act_mean(const struct model *m, const double *ratios);

/* Turns shares whose mean is the target into whole channels dropped per token, each share the least
 * that drops its number: floor(width share) or one more, those with the largest part of a channel
 * first, so that the total is met again: |act_mean() - target| is at most half a channel of the
 * groups with the fewest weights a channel, which make up for the rest (2.7e-5 of the demo model).
 * (Layers of other shapes than the rest, of a model with parts removed, are counted together in
 * act_zeros, which is then the mean only nearly.) The mean is over the weights
 * of the decoder's linears, each one's share of inputs that are dropped weighed by its number of
 * weights: what a record's act_zeros measures, which is more only by inputs that are 0 anyway. */
void act_whole_channels(const struct model *m, double target, double *ratios);

/* TEAL's greedy allocation in one layer, for N_GROUPS groups of `weights` weights (0: not there).
 * All shares begin at 0. Each step raises the share of the group that costs the least error for it,
 * as loss(arg, shares) says (what a step costs is taken to rise while others' shares do: a group is
 * asked again only when it looks cheapest), by as much as adds ACT_STEP (or a whole part of the target just
 * below) to the mean, none above ACT_MOST (or the target, if larger), until the mean is the target;
 * if the target everywhere costs less error in the end, that it is. Ties go to the first. */
#define ACT_STEP 0.02
#define ACT_MOST 0.95
void act_allocate(double shares[N_GROUPS], const double weights[N_GROUPS], double target,
                  double (*loss)(void *arg, const double shares[N_GROUPS]), void *arg);

/* A JSON object of all shares, {"0.qkv": 0.5, "0.o": 0.4, "0.gate_up": 0.5, "0.down": 0.6, ...}.
 * Reading is strict: a name that is not there, unknown or repeated, and a value outside of 0 to
 * 0.999, are error() naming it. 0 or error(). */
int act_ratios_read(const char *path, size_t n_layers, double *ratios);
int act_ratios_write(const char *path, size_t n_layers, const double *ratios);

#endif
