/* Data sets and models into the cache folder: CACHE/data/SET/FILE as `--data` wants them, and
 * CACHE/models/ORG/NAME[@REVISION]/FILE in Hugging Face form. What is there and has its recorded
 * SHA-256 is not fetched again, so a second run needs no network. */
#ifndef DUO_DATA_FETCH_H
#define DUO_DATA_FETCH_H

#include <stdio.h>

#include "data/http.h"

struct fetch_options {
    const char *const *names; /* sets, and models as "org/name" or "org/name@revision" */
    size_t n_names;           /* 0: all sets */
    const char *mirror;       /* a folder or an address in place of the publishers, laid out as
                               * MIRROR/SET/FILE; models at FOLDER/ORG/NAME/FILE or
                               * ADDRESS/ORG/NAME/resolve/REVISION/FILE. NULL: none */
    const char *cache;        /* NULL: fetch_cache_dir() */
    const char *endpoint; /* of the model hub; NULL: $HF_ENDPOINT, else https://huggingface.co */
    const char *token;    /* NULL: $HF_TOKEN, else none; sent to the endpoint only */
    FILE *out;            /* a line "NAME: FOLDER" for each name that is complete; or NULL */
    struct http_options http; /* token and origin are set by fetch_run */
};

void fetch_options_default(struct fetch_options *o);

/* Fetches all that is named; what fails prints one line and the rest still comes. 0 or -1. */
int fetch_run(const struct fetch_options *o);

/* 0 if `name` is a set or has the form of a model's name, else error() with the known sets. */
int fetch_check_name(const char *name);

/* The cache folder: $DUO_CACHE, else $XDG_CACHE_HOME/duo, else ~/.cache/duo. NULL after error() if
 * none of the three is set. And the default for --data in it. The caller frees both. */
char *fetch_cache_dir(void);
char *fetch_data_dir(void);

/* The folder of an already fetched model "org/name[@revision]" in *out (the caller frees it); or
 * error() that says how to fetch it. Does not touch the network. */
int fetch_model_dir(const char *name, char **out);

#endif
