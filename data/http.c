/* The loop over files: as many requests at once as allowed, over one libcurl multi handle. */
#include "data/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "data/transfer.h"
#include "harness/base/error.h"

void http_options_default(struct http_options *o)
{
    *o = (struct http_options){
        .n_parallel = 4,
        .n_tries = 6,
        .backoff_s = 1,
        .max_wait_s = 60,
        .stall_s = 30,
        .connect_s = 20,
        .n_redirects = 10,
    };
}

/* Starts what is due and allowed; returns how many are not done. */
static size_t start_due(CURLM *multi, struct transfer *t, size_t n, const struct http_options *o)
{
    size_t n_open = 0, n_running = 0;

    for (size_t i = 0; i < n; i++)
        n_running += t[i].state == TRANSFER_RUNNING;
    for (size_t i = 0; i < n; i++) {
        if (t[i].state == TRANSFER_READY && t[i].wake <= now_seconds() &&
            n_running < (size_t)o->n_parallel) {
            transfer_start(&t[i]);
            if (t[i].state == TRANSFER_RUNNING) {
                n_running++;
                if (curl_multi_add_handle(multi, t[i].curl) != CURLM_OK)
                    die("libcurl takes no more requests");
            }
        }
        n_open += t[i].state != TRANSFER_DONE;
    }
    return n_open;
}

static void take_ended(CURLM *multi)
{
    CURLMsg *m;
    int n_left;

    while ((m = curl_multi_info_read(multi, &n_left))) {
        struct transfer *t = NULL;
        CURLcode rc = m->data.result;
        CURL *curl = m->easy_handle;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **)&t);
        curl_multi_remove_handle(multi, curl);
        transfer_end(t, rc);
    }
}

/* Until something arrives, but not beyond the next start that is due. */
static int wait_ms(const struct transfer *t, size_t n, const struct http_options *o)
{
    double wait = 0.5, now = now_seconds();
    size_t n_running = 0;

    for (size_t i = 0; i < n; i++)
        n_running += t[i].state == TRANSFER_RUNNING;
    for (size_t i = 0; i < n && n_running < (size_t)o->n_parallel; i++)
        if (t[i].state == TRANSFER_READY && t[i].wake - now < wait)
            wait = t[i].wake - now;
    return wait > 0 ? (int)(wait * 1000) + 1 : 0;
}

static void run(struct transfer *t, size_t n, const struct http_options *o)
{
    CURLM *multi = curl_multi_init();
    int n_running;

    if (!multi)
        die("libcurl does not start");
    while (start_due(multi, t, n, o) > 0) {
        curl_multi_poll(multi, NULL, 0, wait_ms(t, n, o), NULL);
        if (curl_multi_perform(multi, &n_running) != CURLM_OK)
            die("libcurl fails");
        take_ended(multi);
    }
    curl_multi_cleanup(multi);
}

int http_fetch(struct http_file *files, size_t n_files, const struct http_options *o)
{
    struct transfer *t = xcalloc(n_files, sizeof(*t));
    struct progress progress;
    struct pcg32 rng;
    int rc = 0;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        die("libcurl does not start");
    pcg32_init(&rng, (uint64_t)time(NULL), (uint64_t)getpid());
    progress_begin(&progress, n_files == 1 ? files[0].name : "fetching", "bytes", 0);
    for (size_t i = 0; i < n_files; i++) {
        files[i].state = HTTP_WAITING;
        t[i].file = &files[i];
        t[i].opt = o;
        t[i].progress = &progress;
        t[i].rng = &rng;
    }
    run(t, n_files, o);
    if (progress.done > 0)
        progress_end(&progress);
    for (size_t i = 0; i < n_files; i++) {
        if (files[i].state == HTTP_FAILED)
            rc = -1;
        transfer_release(&t[i]);
    }
    free(t);
    curl_global_cleanup();
    return rc;
}
