/* The layer problem of SparseGPT and DuoGPT (METHOD sections 3 and 4), in backend operations.
 *
 * With H = X^T X / n (tokens as rows), C = dX^T X / n, a_p = ||dX_p||^2 / n, columns in the chosen
 * order and U the upper factor of H^-1 = U^T U:
 *   Q = C U^T,  b_p = sum_{j>p} Q_pj^2,  c_p = Q_pp / U_pp,  D = alpha triu(Q, 1) U
 *   coef_p = 1 / U_pp^2 + alpha (a_p - b_p + 2 c_p),  score S[:,p] = W[:,p]^2 coef_p */
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

/* What the matrices of a group share. */
struct problem {
    size_t k;
    int32_t *order, *inverse; /* column order and its inverse; NULL: natural */
    struct tensor u, d, coef; /* d.data NULL: no correction */
    unsigned char *dead;      /* columns whose input is always 0 */
};

struct by_value {
    float v;
    int32_t i;
};

static int descending(const void *a, const void *b)
{
    const struct by_value *x = a, *y = b;

    if (x->v != y->v)
        return x->v > y->v ? -1 : 1;
    return x->i < y->i ? -1 : 1;
}

static void order_columns(struct problem *p, const float *diag)
{
    struct by_value *s = xmalloc(p->k * sizeof(*s));

    p->order = xmalloc(p->k * sizeof(*p->order));
    p->inverse = xmalloc(p->k * sizeof(*p->inverse));
    for (size_t j = 0; j < p->k; j++)
        s[j] = (struct by_value){diag[j], (int32_t)j};
    qsort(s, p->k, sizeof(*s), descending);
    for (size_t j = 0; j < p->k; j++) {
        p->order[j] = s[j].i;
        p->inverse[s[j].i] = (int32_t)j;
    }
    free(s);
}

/* h = H in order, damped; u = its factor. A matrix that is not positive definite gets ten times the
 * damping, said aloud, up to 1; then the linear is refused. */
static int factor(struct prune_job *job, struct problem *p, struct tensor h_mean,
                  const float *dead_one, double mean_diag)
{
    struct device *dev = job->dev;
    struct tensor h = device_tensor(dev, DTYPE_F32, p->k, p->k);
    float *add = xmalloc(p->k * sizeof(*add));
    double damp = job->options->damp;
    int info;

    for (;;) {
        dev->ops->permute(dev, h, h_mean, p->order, p->order);
        for (size_t j = 0; j < p->k; j++)
            add[j] = dead_one[p->order ? (size_t)p->order[j] : j] + (float)(damp * mean_diag);
        dev->ops->add_diagonal(dev, h, add);
        info = dev->ops->inverse_factor(dev, p->u, h);
        if (info == 0 && dev->ops->all_finite(dev, p->u))
            break;
        if (damp >= 1) {
            info = error("layer %zu %s: the Hessian is not positive definite even with damping %g",
                         job->layer, job->names[0], damp);
            break;
        }
        warning("layer %zu %s: the Hessian is not positive definite with damping %g; trying %g",
                job->layer, job->names[0], damp, damp > 0 ? 10 * damp : 0.01);
        damp = damp > 0 ? 10 * damp : 0.01;
    }
    device_tensor_free(dev, &h);
    free(add);
    return info ? -1 : 0;
}

/* out = a op(b), k x k: processes that share the group's matrices share its rows, too. */
static void multiply(struct prune_job *job, struct tensor out, struct tensor a, struct tensor b,
                     int b_transposed)
{
    struct device *dev = job->dev;
    struct comm *c = job->comm;
    size_t n = c ? out.rows / (size_t)c->size : out.rows, first = c ? (size_t)c->rank * n : 0;
    struct tensor part = tensor_rows(out, first, n);

    if (!c || out.rows % (size_t)c->size || n % dev->ops->row_tile) {
        dev->ops->multiply(dev, out, a, b, b_transposed);
        return;
    }
    dev->ops->multiply(dev, part, tensor_rows(a, first, n), b, b_transposed);
    c->all_gather(c, out.data, part.data, tensor_nbytes(part));
}

/* D and the residual's part of coef. */
static void correct(struct prune_job *job, struct problem *p, double alpha, double scale)
{
    struct device *dev = job->dev;
    size_t k = p->k;
    struct tensor c = device_tensor(dev, DTYPE_F32, k, k), q = device_tensor(dev, DTYPE_F32, k, k);
    struct tensor row = device_tensor(dev, DTYPE_F32, 1, k);
    float *a = xmalloc(5 * k * sizeof(*a)), *b = a + k, *qd = b + k, *ud = qd + k, *coef = ud + k;

    dev->ops->permute(dev, c, job->stats->cross, p->order, p->order);
    dev->ops->scale(dev, c, (float)scale);
    multiply(job, q, c, p->u, 1);
    dev->ops->download(dev, a, job->stats->residual.data, k * sizeof(*a));
    dev->ops->upper_row_squares(dev, row, q);
    dev->ops->download(dev, b, row.data, k * sizeof(*b));
    dev->ops->get_diagonal(dev, row, q);
    dev->ops->download(dev, qd, row.data, k * sizeof(*qd));
    dev->ops->get_diagonal(dev, row, p->u);
    dev->ops->download(dev, ud, row.data, k * sizeof(*ud));
    dev->ops->download(dev, coef, p->coef.data, k * sizeof(*coef));
    for (size_t j = 0; j < k; j++) {
        double ap = (double)a[p->order ? (size_t)p->order[j] : j] * scale;

        coef[j] += (float)(alpha * (ap - b[j] + 2.0 * qd[j] / ud[j]));
    }
    if (job->options->correct != CORRECT_UPDATE)
        dev->ops->upload(dev, p->coef.data, coef, k * sizeof(*coef));
    if (job->options->correct != CORRECT_SCORE) {
        dev->ops->strict_upper(dev, q, (float)alpha);
        p->d = device_tensor(dev, DTYPE_F32, k, k);
        multiply(job, p->d, q, p->u, 0);
        dev->ops->strict_upper(dev, p->d, 1);
    }
    device_tensor_free(dev, &c);
    device_tensor_free(dev, &q);
    device_tensor_free(dev, &row);
    free(a);
}

/* coef_p = 1 / U_pp^2 */
static void base_coefficients(struct prune_job *job, struct problem *p)
{
    struct device *dev = job->dev;
    float *v = xmalloc(p->k * sizeof(*v));

    p->coef = device_tensor(dev, DTYPE_F32, 1, p->k);
    dev->ops->get_diagonal(dev, p->coef, p->u);
    dev->ops->download(dev, v, p->coef.data, p->k * sizeof(*v));
    for (size_t j = 0; j < p->k; j++)
        v[j] = 1 / (v[j] * v[j]);
    dev->ops->upload(dev, p->coef.data, v, p->k * sizeof(*v));
    free(v);
}

static int problem_open(struct prune_job *job, struct problem *p, double alpha)
{
    struct device *dev = job->dev;
    size_t k = job->w[0].cols;
    double scale = 1 / (double)job->stats->n_tokens, sum = 0;
    struct tensor diag = device_tensor(dev, DTYPE_F32, 1, k);
    struct tensor h = device_tensor(dev, DTYPE_F32, k, k);
    float *d = xmalloc(k * sizeof(*d)), *one = xcalloc(k, sizeof(*one));
    int rc = -1;

    *p = (struct problem){.k = k, .dead = xcalloc(k, 1)};
    p->u = device_tensor(dev, DTYPE_F32, k, k);
    dev->ops->copy(dev, h.data, job->stats->gram.data, tensor_nbytes(h));
    dev->ops->scale(dev, h, (float)scale);
    dev->ops->get_diagonal(dev, diag, h);
    dev->ops->download(dev, d, diag.data, k * sizeof(*d));
    for (size_t j = 0; j < k; j++) {
        p->dead[j] = d[j] == 0;
        d[j] += one[j] = p->dead[j] ? 1 : 0;
        sum += d[j];
    }
    if (job->options->order_act)
        order_columns(p, d);
    if (factor(job, p, h, one, sum / (double)k) != 0)
        goto out;
    base_coefficients(job, p);
    if (alpha != 0 && job->stats->cross.data)
        correct(job, p, alpha, scale);
    rc = 0;
out:
    device_tensor_free(dev, &diag);
    device_tensor_free(dev, &h);
    free(d);
    free(one);
    return rc;
}

static void problem_close(struct prune_job *job, struct problem *p)
{
    device_tensor_free(job->dev, &p->u);
    device_tensor_free(job->dev, &p->d);
    device_tensor_free(job->dev, &p->coef);
    free(p->order);
    free(p->inverse);
    free(p->dead);
}

/* Columns without input do not matter: their weights become 0 before the walk. */
static void clear_dead(struct prune_job *job, const struct problem *p, struct tensor w)
{
    float *host;
    size_t n = 0;

    for (size_t j = 0; j < p->k; j++)
        n += p->dead[j];
    if (n == 0)
        return;
    host = xmalloc(tensor_nbytes(w));
    job->dev->ops->download(job->dev, host, w.data, tensor_nbytes(w));
    for (size_t i = 0; i < tensor_numel(w); i++)
        host[i] = p->dead[i % p->k] ? 0 : host[i];
    job->dev->ops->upload(job->dev, w.data, host, tensor_nbytes(w));
    free(host);
}

int obs_solve(struct prune_job *job, double alpha)
{
    const struct prune_options *o = job->options;
    struct obs_options walk = {o->block, o->sparsity, o->nm_n, o->nm_m, o->lazy_exact, job->comm};
    struct device *dev = job->dev;
    struct problem p;
    int rc = problem_open(job, &p, alpha);

    for (size_t i = 0; i < job->n_w && rc == 0; i++) {
        struct tensor w = job->w[i], tmp = w;

        clear_dead(job, &p, w);
        if (p.order) {
            tmp = device_tensor(dev, DTYPE_F32, w.rows, w.cols);
            dev->ops->permute(dev, tmp, w, NULL, p.order);
        }
        dev->ops->obs_prune(dev, tmp, p.u, p.d, p.coef, &walk);
        if (p.order) {
            dev->ops->permute(dev, w, tmp, NULL, p.inverse);
            device_tensor_free(dev, &tmp);
        }
    }
    problem_close(job, &p);
    return rc;
}
