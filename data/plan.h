/* What one run of fetch brings, from publishers, another server or a folder. */
#ifndef DUO_DATA_PLAN_H
#define DUO_DATA_PLAN_H

#include "data/fetch.h"
#include "data/http.h"

struct plan {
    struct http_file *files; /* their strings belong to the plan */
    size_t n;
};

/* Adds PATH, to come from URL (in a run from a mirror folder: a file's path). The strings are
 * copied; the returned file, zero in all else and with its content checked by name, may be filled
 * in further and is valid until the next plan_add. */
struct http_file *plan_add(struct plan *p, const char *name, const char *url, const char *path);

/* Brings all. 0 if none failed; each failure has printed its line. */
int plan_run(struct plan *p, const struct fetch_options *o);

void plan_release(struct plan *p);

/* 1 if s is an http or https address. */
int is_address(const char *s);

/* The hub's address: o->endpoint, else $HF_ENDPOINT, else https://huggingface.co. */
const char *hub_endpoint(const struct fetch_options *o);

/* Fetches the model of that name (data/hub.c) and says on o->out where it lies. 0 or -1. */
int hub_fetch(const char *name, const char *cache, const struct fetch_options *o);

#endif
