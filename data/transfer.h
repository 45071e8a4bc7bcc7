/* One file's way through requests, redirects, cuts and tries; the loop over files is in http.c. */
#ifndef DUO_DATA_TRANSFER_H
#define DUO_DATA_TRANSFER_H

#include <curl/curl.h>

#include "data/http.h"
#include "data/part.h"
#include "harness/base/buf.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"

enum transfer_state {
    TRANSFER_READY, /* to start when `wake` has come */
    TRANSFER_RUNNING,
    TRANSFER_DONE, /* file->state says how */
};

/* What the server said in the response now coming in. */
struct response {
    int status;
    int64_t length;       /* of this body; -1: not said */
    int64_t start, total; /* from Content-Range; -1: not said */
    int chunked;
    char etag[256];
    char error_code[64]; /* X-Error-Code, as model hubs send it */
    size_t n_header_bytes;
    int is_body;         /* 200 or 206: the bytes go to the part */
    size_t n_page_bytes; /* of any other body */
};

struct transfer {
    struct http_file *file;
    const struct http_options *opt;
    struct progress *progress; /* of all files together */
    struct pcg32 *rng;
    enum transfer_state state;
    double wake; /* monotonic seconds */

    struct part part;
    int is_open;
    int64_t best;      /* most bytes the part ever had */
    int64_t announced; /* of this file in progress->total */
    int n_tries, n_restarts;
    char sha256[65]; /* what the bytes must have: file->sha256 or the endpoint's word; "" unknown */

    CURL *curl;
    struct curl_slist *headers;
    char *url; /* of the running request; NULL: file->url */
    int n_redirects;
    int64_t asked_from; /* the Range of the running request */
    struct response response;
    struct buf fatal; /* why no further try can help */
    int is_printed;   /* the error is already printed */
    char curl_error[CURL_ERROR_SIZE];
};

/* Verifies or locks and prepares the next request. If then t->state is TRANSFER_RUNNING, t->curl is
 * to be driven; otherwise the transfer is done or has to wait until t->wake. */
void transfer_start(struct transfer *t);

/* Takes the end of the request t->curl and decides: done, or again at t->wake. */
void transfer_end(struct transfer *t, CURLcode rc);

void transfer_release(struct transfer *t);

/* A new handle with the callbacks of libcurl, and address, range and token of the next request. */
void request_prepare(struct transfer *t);
/* The host of an address, for messages; cut at size. */
void url_host(const char *url, char *host, size_t size);

#endif
