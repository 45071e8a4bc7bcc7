/* Operations on the residual stream, float32. */
#include <math.h>

#include "harness/backend/cpu/cpu.h"

void cpu_add_row(struct device *dev, struct tensor x, struct tensor row)
{
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t t = 0; t < x.rows; t++)
        for (size_t j = 0; j < x.cols; j++)
            ((float *)x.data)[t * x.cols + j] += ((const float *)row.data)[j];
}

void cpu_row_cosine(struct device *dev, double *out, struct tensor a, struct tensor b)
{
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t t = 0; t < a.rows; t++) {
        const float *x = (const float *)a.data + t * a.cols,
                    *y = (const float *)b.data + t * b.cols;
        double xx = 0, yy = 0, xy = 0;

        for (size_t j = 0; j < a.cols; j++) {
            xx += (double)x[j] * x[j];
            yy += (double)y[j] * y[j];
            xy += (double)x[j] * y[j];
        }
        out[t] = xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : 0;
    }
}
