/* --log-samples: a folder per cell, a file per task. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/file.h"
#include "harness/cmd/run.h"
#include "harness/measure/compare.h"
#include "harness/measure/samples.h"

static int write_document(struct samples *out, const struct prepared *p, const struct scores *s,
                          size_t i)
{
    double ll[TASK_MAX_CHOICES];
    unsigned char greedy[TASK_MAX_CHOICES];
    struct sample x = {i, &p->data.docs[i], ll, greedy, s->acc[i], NAN, NULL, NULL};

    for (size_t q = p->first[i]; q < p->first[i + 1]; q++) {
        ll[q - p->first[i]] = s->results[q].logprob;
        greedy[q - p->first[i]] = (unsigned char)s->results[q].greedy;
    }
    if (p->task->metrics & TASK_ACC_NORM)
        x.acc_norm = s->acc_norm[i];
    return samples_add(out, &x);
}

int run_log_samples(const struct run *r, const struct record *cell, const struct prepared *p,
                    const struct scores *s)
{
    struct samples out = {0};
    struct buf name = {0};
    char id[17], *dir;
    int rc;

    record_cell_id(cell, id);
    record_cell_name(cell, &name);
    dir = path_join(r->o.log_samples, buf_str(&name));
    rc = samples_open(&out, dir, p->name, id);
    for (size_t i = 0; i < p->n && rc == 0; i++)
        rc = p->task ? write_document(&out, p, s, i)
                     : samples_add_window(&out, i, p->ids.v + i * p->window, p->window, s->nll[i]);
    if (rc == 0)
        rc = samples_close(&out);
    samples_abort(&out);
    free(dir);
    buf_release(&name);
    return rc;
}
