/* Hidden states of all calibration tokens. */
#include "harness/measure/hidden.h"

#include "harness/base/error.h"

#define NONE ((size_t)-1)

void hidden_open(struct hidden *h, struct device *dev, size_t n_tokens, size_t width, size_t chunk,
                 int on_host)
{
    *h = (struct hidden){.dev = dev, .chunk = chunk, .at = {NONE, NONE}};
    if (!on_host) {
        h->all = device_tensor(dev, DTYPE_F32, n_tokens, width);
        return;
    }
    h->all = (struct tensor){NULL, DTYPE_F32, n_tokens, width};
    h->host = dev->ops->host_alloc(dev, tensor_nbytes(h->all));
    for (int i = 0; i < 2; i++)
        h->place[i] = device_tensor(dev, DTYPE_F32, chunk, width);
}

void hidden_close(struct hidden *h)
{
    if (!h->dev)
        return;
    device_tensor_free(h->dev, &h->all);
    if (h->host) {
        h->dev->ops->stream_sync(h->dev);
        h->dev->ops->host_free(h->dev, h->host);
    }
    for (int i = 0; i < 2; i++)
        device_tensor_free(h->dev, &h->place[i]);
    *h = (struct hidden){0};
}

static size_t n_chunks(const struct hidden *h)
{
    return (h->all.rows + h->chunk - 1) / h->chunk;
}

static size_t rows_of(const struct hidden *h, size_t k)
{
    size_t left = h->all.rows - k * h->chunk;

    return left < h->chunk ? left : h->chunk;
}

static char *host_of(const struct hidden *h, size_t k)
{
    return h->host + k * h->chunk * h->all.cols * sizeof(float);
}

static size_t nbytes_of(const struct hidden *h, size_t k)
{
    return rows_of(h, k) * h->all.cols * sizeof(float);
}

static void fetch(struct hidden *h, size_t k, int place)
{
    h->dev->ops->stream_in(h->dev, h->place[place].data, host_of(h, k), nbytes_of(h, k));
    h->at[place] = k;
}

void hidden_go_to(struct hidden *h, size_t k)
{
    int place = 1 - h->current;

    if (h->all.data) {
        h->at[h->current] = k;
        return;
    }
    if (h->at[h->current] == k)
        return;
    if (h->at[place] != k)
        fetch(h, k, place);
    h->dev->ops->stream_wait(h->dev);
    h->current = place;
}

void hidden_begin_copies(struct hidden *h)
{
    int old = 1 - h->current;
    size_t k = h->at[h->current], next = (k + 1) % n_chunks(h);

    if (h->all.data || h->at[old] == next)
        return;
    if (h->is_changed[old])
        h->dev->ops->stream_out(h->dev, host_of(h, h->at[old]), h->place[old].data,
                                nbytes_of(h, h->at[old]));
    h->is_changed[old] = 0;
    if (next != k)
        fetch(h, next, old);
}

struct tensor hidden_rows(const struct hidden *h)
{
    size_t k = h->at[h->current];

    return h->all.data ? tensor_rows(h->all, k * h->chunk, rows_of(h, k))
                       : tensor_rows(h->place[h->current], 0, rows_of(h, k));
}

void hidden_changed(struct hidden *h)
{
    h->is_changed[h->current] = !h->all.data;
}
