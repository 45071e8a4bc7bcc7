/* What to fetch and where it goes. */
#include "data/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "data/plan.h"
#include "data/sources.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"

#define MAX_SET_BYTES (2LL << 30) /* the largest, ARC, has 0.7 GB */
#define HUB "https://huggingface.co"

void fetch_options_default(struct fetch_options *o)
{
    *o = (struct fetch_options){0};
    http_options_default(&o->http);
}

char *fetch_cache_dir(void)
{
    const char *own = getenv("DUO_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (own && own[0])
        return xstrdup(own);
    if (xdg && xdg[0] == '/') /* others are to be ignored, says the XDG specification */
        return path_join(xdg, "duo");
    if (home && home[0])
        return path_join(home, ".cache/duo");
    error("no cache folder: none of DUO_CACHE, XDG_CACHE_HOME and HOME is set");
    return NULL;
}

char *fetch_data_dir(void)
{
    char *cache = fetch_cache_dir(), *data = cache ? path_join(cache, "data") : NULL;

    free(cache);
    return data;
}

/* MIRROR/SET/FILE, or the publisher's address, with HF_ENDPOINT in place of the hub's. */
static char *set_url(const struct source *s, const struct source_file *file,
                     const struct fetch_options *o)
{
    char *base, *url;

    if (o->mirror) {
        base = path_join(o->mirror, s->set);
        url = path_join(base, file->path);
        free(base);
        return url;
    }
    if (strncmp(file->url, HUB "/", strlen(HUB) + 1) == 0)
        return path_join(hub_endpoint(o), file->url + strlen(HUB) + 1);
    return xstrdup(file->url);
}

static void add_set(struct plan *p, const struct source *s, const char *cache,
                    const struct fetch_options *o)
{
    for (const struct source_file *file = s->files; file->path; file++) {
        char *name = path_join(s->set, file->path), *data = path_join(cache, "data");
        char *path = path_join(data, name), *url = set_url(s, file, o);
        struct http_file *f = plan_add(p, name, url, path);

        f->max_bytes = MAX_SET_BYTES;
        f->members = s->members[0] ? s->members : NULL;
        /* A mirror may have packed an archive anew; its bytes are then not the publisher's. */
        if (!o->mirror) {
            f->sha256 = file->sha256;
            f->nbytes = (int64_t)file->nbytes;
        }
        free(name);
        free(data);
        free(path);
        free(url);
    }
}

/* Prints where a set lies if all its files are there, the files being the next in the plan; adds
 * its name to `foreign` if a mirror brought other bytes than the publisher's. */
static size_t report_set(const struct plan *p, size_t at, const struct source *s, const char *cache,
                         const struct fetch_options *o, struct buf *foreign)
{
    int is_complete = 1, is_foreign = 0;

    for (const struct source_file *file = s->files; file->path; file++, at++) {
        const struct http_file *f = &p->files[at];

        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): put there by add_set() */
        is_complete &= f->state == HTTP_FETCHED || f->state == HTTP_THERE;
        is_foreign |=
            f->state == HTTP_FETCHED && file->sha256 && strcmp(f->got_sha256, file->sha256) != 0;
    }
    if (is_foreign)
        buf_addf(foreign, " %s", s->set);
    if (is_complete && o->out)
        fprintf(o->out, "%s: %s/data/%s\n", s->set, cache, s->set);
    return at;
}

static int is_named(const struct source *s, const struct fetch_options *o)
{
    for (size_t i = 0; i < o->n_names; i++)
        if (strcmp(o->names[i], s->set) == 0)
            return 1;
    return o->n_names == 0;
}

static int fetch_sets(const char *cache, const struct fetch_options *o)
{
    struct plan p = {0};
    struct buf foreign = {0};
    size_t at = 0;
    int rc;

    for (size_t i = 0; sources[i]; i++)
        if (is_named(sources[i], o))
            add_set(&p, sources[i], cache, o);
    rc = p.n ? plan_run(&p, o) : 0;
    for (size_t i = 0; sources[i]; i++)
        if (is_named(sources[i], o))
            at = report_set(&p, at, sources[i], cache, o, &foreign);
    if (foreign.n)
        warning("other bytes than the publishers', packed anew by the mirror perhaps:%s; their own "
                "SHA-256 is recorded",
                buf_str(&foreign));
    buf_release(&foreign);
    plan_release(&p);
    return rc;
}

/* A token goes into a header line. */
static int check_token(const char *token)
{
    for (const char *c = token; c && *c; c++)
        if (*c <= ' ' || *c > '~')
            return error("HF_TOKEN contains a character that no token has");
    return 0;
}

static int check_options(const struct fetch_options *o)
{
    if (o->mirror && !is_address(o->mirror) && !dir_exists(o->mirror))
        return error("the mirror '%s' is neither an http address nor a folder", o->mirror);
    if (!is_address(hub_endpoint(o)))
        return error("HF_ENDPOINT '%s' is not an http address", hub_endpoint(o));
    for (size_t i = 0; i < o->n_names; i++)
        if (fetch_check_name(o->names[i]) != 0)
            return -1;
    return check_token(o->http.token);
}

int fetch_run(const struct fetch_options *options)
{
    struct fetch_options o = *options;
    const char *token = o.token ? o.token : getenv("HF_TOKEN");
    char *cache;
    int rc;

    o.http.token = token && token[0] ? token : NULL;
    o.http.origin = hub_endpoint(&o);
    if (check_options(&o) != 0)
        return -1;
    cache = o.cache ? xstrdup(o.cache) : fetch_cache_dir();
    if (!cache)
        return -1;
    rc = dir_make(cache); /* said once, not for each file */
    if (rc == 0)
        rc = fetch_sets(cache, &o);
    for (size_t i = 0; i < o.n_names && dir_exists(cache); i++)
        if (!source_find(o.names[i]) && hub_fetch(o.names[i], cache, &o) != 0)
            rc = -1;
    free(cache);
    return rc;
}
