/* Square matrices: factor of the inverse, eigenvectors, diagonals, triangles. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"

/* LAPACK's Cholesky factor, triangular inverse and symmetric eigen-problem, as OpenBLAS exports
 * them. */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
extern void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda,
                    int *info);
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info);

/* With J the reversal of order, J H J = L L^T gives H = R R^T for the upper triangular R = J L J,
 * so H^-1 = R^-T R^-1 and U = R^-1: one Cholesky and one triangular inverse, without ever forming
 * H^-1. Done in double: a damped H of correlated activations has condition numbers near 1e5.
 * LAPACK is column-major: its lower triangle is our upper one read by columns. */
int cpu_inverse_factor(struct device *dev, struct tensor u, struct tensor h)
{
    size_t k = h.rows;
    const float *hd = h.data;
    float *ud = u.data;
    double *a = xmalloc(k * k * sizeof(*a));
    int n = (int)k, info = 0;
    char lower = 'L', non_unit = 'N';

    (void)dev;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            a[i * k + j] = hd[(k - 1 - i) * k + (k - 1 - j)];
    dpotrf_(&lower, &n, a, &n, &info);
    if (info == 0)
        dtrtri_(&lower, &non_unit, &n, a, &n, &info);
    /* a[j * k + i], i >= j, holds L^-1 at row i, column j; U = J L^-1 J. */
    for (size_t i = 0; info == 0 && i < k; i++)
        for (size_t j = 0; j < k; j++)
            ud[i * k + j] = j < i ? 0 : (float)a[(k - 1 - j) * k + (k - 1 - i)];
    free(a);
    return info;
}

/* LAPACK gives eigenvectors as columns, column-major and ascending: our rows from the last one. */
int cpu_eigen(struct device *dev, struct tensor v, struct tensor values, struct tensor h)
{
    size_t k = h.rows;
    double *a = xmalloc(k * k * sizeof(*a)), *w = xmalloc(k * sizeof(*w)), *work, need;
    int n = (int)k, info, lwork = -1, liwork = -1, *iwork, ineed;
    char vectors = 'V', upper = 'U';

    (void)dev;
    for (size_t i = 0; i < k * k; i++)
        a[i] = ((const float *)h.data)[i];
    dsyevd_(&vectors, &upper, &n, a, &n, w, &need, &lwork, &ineed, &liwork, &info);
    lwork = (int)need;
    liwork = ineed;
    work = xmalloc((size_t)lwork * sizeof(*work));
    iwork = xmalloc((size_t)liwork * sizeof(*iwork));
    dsyevd_(&vectors, &upper, &n, a, &n, w, work, &lwork, iwork, &liwork, &info);
    for (size_t i = 0; info == 0 && i < k; i++) {
        ((float *)values.data)[i] = (float)w[k - 1 - i];
        for (size_t j = 0; j < k; j++)
            ((float *)v.data)[i * k + j] = (float)a[(k - 1 - i) * k + j];
    }
    free(work);
    free(iwork);
    free(a);
    free(w);
    return info;
}

void cpu_mirror(struct device *dev, struct tensor h)
{
    float *d = h.data;

    (void)dev;
    for (size_t i = 0; i < h.rows; i++)
        for (size_t j = 0; j < i; j++)
            d[i * h.cols + j] = d[j * h.cols + i];
}

void cpu_scale(struct device *dev, struct tensor x, float factor)
{
    float *d = x.data;

    (void)dev;
    for (size_t i = 0; i < tensor_numel(x); i++)
        d[i] *= factor;
}

void cpu_get_diagonal(struct device *dev, struct tensor d, struct tensor h)
{
    (void)dev;
    for (size_t i = 0; i < h.rows; i++)
        ((float *)d.data)[i] = ((const float *)h.data)[i * h.cols + i];
}

void cpu_add_diagonal(struct device *dev, struct tensor h, const float *host_v)
{
    (void)dev;
    for (size_t i = 0; i < h.rows; i++)
        ((float *)h.data)[i * h.cols + i] += host_v[i];
}

void cpu_permute(struct device *dev, struct tensor out, struct tensor x, const int32_t *row_index,
                 const int32_t *col_index)
{
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t i = 0; i < out.rows; i++) {
        float *o = (float *)out.data + i * out.cols;
        const float *s = (const float *)x.data + (row_index ? (size_t)row_index[i] : i) * x.cols;

        for (size_t j = 0; j < out.cols; j++)
            o[j] = s[col_index ? (size_t)col_index[j] : j];
    }
}

void cpu_strict_upper(struct device *dev, struct tensor x, float factor)
{
    (void)dev;
    for (size_t i = 0; i < x.rows; i++) {
        float *r = (float *)x.data + i * x.cols;

        for (size_t j = 0; j < x.cols; j++)
            r[j] = j > i ? r[j] * factor : 0;
    }
}

void cpu_upper_row_squares(struct device *dev, struct tensor out, struct tensor q)
{
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t i = 0; i < q.rows; i++) {
        const float *r = (const float *)q.data + i * q.cols;
        double s = 0;

        for (size_t j = i + 1; j < q.cols; j++)
            s += (double)r[j] * r[j];
        ((float *)out.data)[i] = (float)s;
    }
}
