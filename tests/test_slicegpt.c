/* SliceGPT on the demo model: rotating without slicing changes nothing but rounding, nor does
 * slicing off directions that hold nothing; what is sliced off elsewhere is the least that can be.
 */
#include "tests/structured.h"

static struct restructure_job job_of(const struct prune_options *o)
{
    return (struct restructure_job){
        .m = &demo.model, .options = o, .ids = ids, .n_windows = N_WINDOWS, .window = WINDOW};
}

static double largest_difference(const double *a, const double *b)
{
    double worst = 0;

    for (int i = 0; i < N_IDS - N_WINDOWS; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

/* Parameters of the decoder at a width, as the model counts them. */
static double left(const struct llama_config *k, double width)
{
    double a = (double)config_n_linear_params(k) / (double)(k->n_layers * k->hidden);

    return (double)k->n_layers * (a * width + 2 * width * width);
}

static void test_width(void)
{
    const struct llama_config seven = {.n_layers = 32,
                                       .hidden = 4096,
                                       .intermediate = 11008,
                                       .n_heads = 32,
                                       .n_kv_heads = 32,
                                       .head_dim = 128};

    for (double s = 0.05; s < 1; s += 0.05) {
        size_t w = slicegpt_width(&seven, s);
        double want = (1 - s) * (double)config_n_linear_params(&seven);

        CHECK(w % 8 == 0 && w >= 8 && w <= 4096);
        CHECK(fabs(left(&seven, (double)w) - want) <= fabs(left(&seven, (double)w + 8) - want));
        CHECK(w == 8 ||
              fabs(left(&seven, (double)w) - want) <= fabs(left(&seven, (double)w - 8) - want));
    }
}

/* At full width: the same model in another basis. Its log-probabilities differ by 1e-4 at most. */
static void test_rotation_alone(void)
{
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    double dense[N_IDS], got[N_IDS];
    size_t h = whole.model.config.hidden;

    run_model(&whole.model, dense);
    CHECK(model_restore(&demo.model) == 0);
    CHECK(slicegpt_slice(&job, h) == 0);
    CHECK(demo.model.layers[2].attention_basis.cols == h &&
          demo.model.head.data != demo.model.embed.data);
    run_model(&demo.model, got);
    printf("# rotated: log-probabilities differ by %g\n", largest_difference(got, dense));
    CHECK(largest_difference(got, dense) < 1e-4);
    CHECK(largest_difference(got, dense) > 0);
}

/* w (rows x cols) <- w u^T u or u^T u w, u: n orthonormal rows; in double */
static void project(struct tensor w, const double *u, size_t n, int columns)
{
    size_t h = columns ? w.cols : w.rows, many = columns ? w.rows : w.cols;
    size_t along = columns ? 1 : w.cols, across = columns ? w.cols : 1;
    double *p = xmalloc(n * sizeof(*p));
    float *v = w.data;

    for (size_t r = 0; r < many; r++) {
        for (size_t i = 0; i < n; i++) {
            p[i] = 0;
            for (size_t j = 0; j < h; j++)
                p[i] += u[i * h + j] * v[r * across + j * along];
        }
        for (size_t j = 0; j < h; j++) {
            double sum = 0;

            for (size_t i = 0; i < n; i++)
                sum += u[i * h + j] * p[i];
            v[r * across + j * along] = (float)sum;
        }
    }
    free(p);
}

/* n random orthonormal rows of h, by Gram and Schmidt. */
static double *orthonormal(size_t n, size_t h)
{
    double *u = xmalloc(n * h * sizeof(*u));
    struct pcg32 g;

    pcg32_init(&g, 3, 3);
    for (size_t i = 0; i < n; i++) {
        double norm = 0;

        for (size_t j = 0; j < h; j++)
            u[i * h + j] = (double)pcg32_below(&g, 2001) - 1000;
        for (size_t k = 0; k < i; k++) {
            double dot = 0;

            for (size_t j = 0; j < h; j++)
                dot += u[i * h + j] * u[k * h + j];
            for (size_t j = 0; j < h; j++)
                u[i * h + j] -= dot * u[k * h + j];
        }
        for (size_t j = 0; j < h; j++)
            norm += u[i * h + j] * u[i * h + j];
        for (size_t j = 0; j < h; j++)
            u[i * h + j] /= sqrt(norm);
    }
    return u;
}

/* A model whose residual stream lies in `n` directions: everything that writes it is projected. */
static void confine(struct model *m, size_t n)
{
    double *u = orthonormal(n, m->config.hidden);
    struct tensor head = m->head;

    m->head = device_tensor(m->dev, DTYPE_F32, head.rows, head.cols); /* untied: it reads */
    memcpy(m->head.data, head.data, tensor_nbytes(head));
    project(m->embed, u, n, 1);
    for (size_t i = 0; i < m->config.n_layers; i++) {
        project(m->layers[i].o, u, n, 0);
        project(m->layers[i].down, u, n, 0);
    }
    m->reshaped = 1;
    free(u);
}

/* Every hidden state lies in 48 directions: slicing to them loses nothing, to fewer it does. */
static void test_empty_directions(void)
{
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    double want[N_IDS], got[N_IDS], less[N_IDS];

    CHECK(model_restore(&demo.model) == 0);
    confine(&demo.model, 48);
    run_model(&demo.model, want);
    CHECK(slicegpt_slice(&job, 48) == 0);
    CHECK(demo.model.config.hidden == 48 && demo.model.layers[5].down.rows == 48);
    run_model(&demo.model, got);
    printf("# sliced to what is there: log-probabilities differ by %g\n",
           largest_difference(got, want));
    CHECK(largest_difference(got, want) < 1e-3);
    CHECK(model_restore(&demo.model) == 0);
    confine(&demo.model, 48);
    CHECK(slicegpt_slice(&job, 40) == 0);
    run_model(&demo.model, less);
    CHECK(largest_difference(less, want) > 0.01);
    CHECK(model_restore(&demo.model) == 0);
}

/* Of the embeddings, what is lost is the sum of the smallest eigenvalues of their products, the
 * least for any directions: sum |x|^2 - |P x|^2 over the calibration tokens. */
static void test_reconstruction_error(void)
{
    struct device *dev = demo.dev;
    struct prune_options o = options_of(0.5);
    struct restructure_job job = job_of(&o);
    size_t h = whole.model.config.hidden, width = 40;
    const float *e = whole.model.embed.data, *narrow;
    struct tensor gram = device_tensor(dev, DTYPE_F32, h, h),
                  v = device_tensor(dev, DTYPE_F32, h, h);
    struct tensor values = device_tensor(dev, DTYPE_F32, 1, h);
    double lost = 0, tail = 0, all = 0;

    CHECK(model_restore(&demo.model) == 0);
    CHECK(slicegpt_slice(&job, width) == 0);
    CHECK(demo.model.embed.cols == width);
    narrow = demo.model.embed.data;
    for (size_t i = 0; i < h; i++)
        for (size_t j = 0; j < h; j++) {
            double sum = 0;

            for (int t = 0; t < N_IDS; t++)
                sum += (double)e[(size_t)ids[t] * h + i] * e[(size_t)ids[t] * h + j];
            ((float *)gram.data)[i * h + j] = (float)sum;
        }
    CHECK(dev->ops->eigen(dev, v, values, gram) == 0);
    for (size_t i = 0; i < h; i++) {
        all += ((float *)values.data)[i];
        tail += i >= width ? ((float *)values.data)[i] : 0;
    }
    for (int t = 0; t < N_IDS; t++) {
        for (size_t j = 0; j < h; j++)
            lost += pow(e[(size_t)ids[t] * h + j], 2);
        for (size_t j = 0; j < width; j++)
            lost -= pow(narrow[(size_t)ids[t] * width + j], 2);
    }
    CHECK(tail > 0.01 * all);
    CHECK_NEAR(lost / all, tail / all, 1e-5);
    device_tensor_free(dev, &gram);
    device_tensor_free(dev, &v);
    device_tensor_free(dev, &values);
    CHECK(model_restore(&demo.model) == 0);
}

/* Parameters as asked, to half a step of the width. */
static void test_parameters(void)
{
    struct prune_options o = options_of(0.3);
    double n = (double)config_n_linear_params(&whole.model.config), got[N_IDS];
    const struct model *m = &demo.model;
    size_t w;

    CHECK(sweep_prune(&demo.model, &pruner_slicegpt, &o, ids, N_WINDOWS, WINDOW, NULL) == 0);
    w = m->config.hidden;
    CHECK(w == slicegpt_width(&whole.model.config, 0.3));
    CHECK_NEAR(model_zero_share(m), 1 - left(&whole.model.config, (double)w) / n, 1e-4);
    CHECK_NEAR(model_zero_share(m), 0.3, 0.03);
    CHECK(model_n_params_left(m) <=
          (size_t)left(&whole.model.config, (double)w) + 2 * m->config.n_vocab * w + 13 * w);
    CHECK(isfinite(run_model(m, got)));
    CHECK(model_restore(&demo.model) == 0);
}

int main(void)
{
    structured_open();
    RUN(test_width);
    RUN(test_rotation_alone);
    RUN(test_empty_directions);
    RUN(test_reconstruction_error);
    RUN(test_parameters);
    structured_close();
    return 0;
}
