/* Models from a hub that speaks Hugging Face's addresses: ENDPOINT/ORG/NAME/resolve/REVISION/FILE.
 * A complete model has a file fetched.json that lists what belongs to it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/part.h"
#include "data/plan.h"
#include "data/sources.h"
#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"

#define MANIFEST "fetched.json"
#define INDEX "model.safetensors.index.json"
#define MAX_TEXT_BYTES (256LL << 20)   /* configuration and tokenizers */
#define MAX_WEIGHT_BYTES (200LL << 30) /* one file of weights */
#define MAX_SHARDS 1000

struct model_name {
    char repository[200]; /* ORG/NAME */
    char revision[100];
    char *folder;
};

/* Letters, digits, '.', '_' and '-', not beginning with a dot: safe in paths and addresses. */
static size_t word(const char *s)
{
    return *s == '.'
               ? 0
               : strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
}

static int parse_name(const char *name, struct model_name *m)
{
    size_t org = word(name), n = org && name[org] == '/' ? word(name + org + 1) : 0;
    size_t repository = org + 1 + n;
    const char *revision = "main";

    if (!org || !n || repository >= sizeof(m->repository))
        return -1;
    if (name[repository] == '@')
        revision = name + repository + 1;
    else if (name[repository])
        return -1;
    if (!word(revision) || revision[word(revision)] || strlen(revision) >= sizeof(m->revision))
        return -1;
    snprintf(m->repository, sizeof(m->repository), "%.*s", (int)repository, name);
    snprintf(m->revision, sizeof(m->revision), "%s", revision);
    return 0;
}

int fetch_check_name(const char *name)
{
    struct model_name m;
    struct buf known = {0};
    int rc = 0;

    if (source_find(name) || parse_name(name, &m) == 0)
        return 0;
    for (size_t i = 0; sources[i]; i++)
        buf_addf(&known, " %s", sources[i]->set);
    rc = error("no data set '%s'; known are:%s; a model is named as org/name or org/name@revision",
               name, buf_str(&known));
    buf_release(&known);
    return rc;
}

static char *model_folder(const char *cache, const struct model_name *m)
{
    struct buf b = {0};

    buf_addf(&b, "%s/models/%s", cache, m->repository);
    if (strcmp(m->revision, "main") != 0)
        buf_addf(&b, "@%s", m->revision);
    return buf_detach(&b);
}

int fetch_model_dir(const char *name, char **out)
{
    struct model_name m;
    char *cache, *folder, *manifest;
    int rc = 0;

    if (parse_name(name, &m) != 0)
        return error("'%s' is no model's name: org/name or org/name@revision", name);
    cache = fetch_cache_dir();
    if (!cache)
        return -1;
    folder = model_folder(cache, &m);
    manifest = path_join(folder, MANIFEST);
    if (file_exists(manifest)) {
        *out = folder;
    } else {
        rc = error("model '%s' is not in '%s': run `duo fetch %s`", name, cache, name);
        free(folder);
    }
    free(manifest);
    free(cache);
    return rc;
}

/* 1 if every file of the manifest is there with its hash. */
static int is_complete(const struct model_name *m)
{
    char *path = path_join(m->folder, MANIFEST), hex[65];
    cJSON *manifest = file_exists(path) ? json_read(path) : NULL;
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(manifest, "files"), *f;
    int ok = cJSON_GetArraySize(files) > 0;

    cJSON_ArrayForEach(f, files)
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(f, "path"));
        const char *want = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(f, "sha256"));
        char *file = ok && name && want ? path_join(m->folder, name) : NULL;

        ok = file && file_verified(file, NULL, hex) && strcmp(hex, want) == 0;
        free(file);
    }
    cJSON_Delete(manifest);
    free(path);
    return ok;
}

static int write_manifest(const struct model_name *m, const struct plan *p)
{
    char *path = path_join(m->folder, MANIFEST), when[32];
    struct buf b = {0};
    time_t now = time(NULL);
    struct tm utc;
    const char *comma = "";
    int rc;

    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    buf_addf(&b, "{\n  \"model\": \"%s\",\n  \"revision\": \"%s\",\n  \"time\": \"%s\",\n",
             m->repository, m->revision, when);
    buf_adds(&b, "  \"files\": [");
    for (size_t i = 0; i < p->n; i++) {
        const struct http_file *f = &p->files[i];

        if (f->state == HTTP_ABSENT)
            continue;
        buf_addf(&b, "%s\n    {\"path\": ", comma);
        json_add_quoted(&b, strrchr(f->path, '/') + 1);
        buf_addf(&b, ", \"sha256\": \"%s\"}", f->got_sha256);
        comma = ",";
    }
    buf_adds(&b, "\n  ]\n}\n");
    rc = file_write_atomic(path, b.data, b.n);
    buf_release(&b);
    free(path);
    return rc;
}

const char *hub_endpoint(const struct fetch_options *o)
{
    const char *env = getenv("HF_ENDPOINT");

    return o->endpoint ? o->endpoint : env && env[0] ? env : "https://huggingface.co";
}

static void add(struct plan *p, const struct model_name *m, const char *file, int optional,
                const struct fetch_options *o)
{
    char *path = path_join(m->folder, file), *url;
    struct buf name = {0}, tail = {0};
    struct http_file *f;

    buf_addf(&name, "%s/%s", m->repository, file);
    if (o->mirror && !is_address(o->mirror))
        buf_addf(&tail, "%s/%s", m->repository, file);
    else
        buf_addf(&tail, "%s/resolve/%s/%s", m->repository, m->revision, file);
    url = path_join(o->mirror ? o->mirror : hub_endpoint(o), tail.data);
    f = plan_add(p, name.data, url, path);
    f->optional = optional;
    f->max_bytes =
        strstr(file, ".safetensors") && !strstr(file, ".json") ? MAX_WEIGHT_BYTES : MAX_TEXT_BYTES;
    buf_release(&name);
    buf_release(&tail);
    free(url);
    free(path);
}

/* What a user can do when access is denied; with the model's page where there is one. */
static char *advice(const struct model_name *m, const struct fetch_options *o)
{
    struct buf b = {0};

    if (o->mirror)
        return NULL;
    buf_addf(&b, "the model is gated: accept its licence at %s/%s and set HF_TOKEN",
             hub_endpoint(o), m->repository);
    if (o->http.token)
        buf_adds(&b, " to a token of that account (the one that is set was sent)");
    return buf_detach(&b);
}

static int has_shard(const struct plan *p, const char *folder, const char *file)
{
    size_t n = strlen(folder) + 1;

    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->files[i].path + n, file) == 0)
            return 1;
    return 0;
}

/* The shards that the index names; their names come from the network and become paths. */
static int add_shards(struct plan *p, const struct model_name *m, const char *index_path,
                      const struct fetch_options *o)
{
    cJSON *index = json_read(index_path);
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map"), *v;
    size_t n_before = p->n;
    int rc = index ? 0 : -1;

    if (index && !cJSON_IsObject(map))
        rc = error("%s: no object 'weight_map'", index_path);
    if (rc == 0)
        cJSON_ArrayForEach(v, map)
        {
            const char *file = cJSON_GetStringValue(v);
            size_t n = file ? word(file) : 0;

            if (!n || file[n] || n < 12 || strcmp(file + n - 12, ".safetensors") != 0)
                rc = error("%s: '%s' is no name of a shard", index_path, file ? file : "?");
            else if (!has_shard(p, m->folder, file))
                add(p, m, file, 0, o);
            if (p->n - n_before > MAX_SHARDS)
                rc = error("%s: more than %d shards", index_path, MAX_SHARDS);
            if (rc != 0)
                break;
        }
    if (rc == 0 && p->n == n_before)
        rc = error("%s: names no shard", index_path);
    cJSON_Delete(index);
    return rc;
}

/* 0 if a tokenizer came; else error(). */
static int check_tokenizer(const struct plan *p, const struct model_name *m)
{
    for (size_t i = 0; i < p->n; i++) {
        const char *file = strrchr(p->files[i].path, '/') + 1;

        if (p->files[i].state != HTTP_ABSENT &&
            (strcmp(file, "tokenizer.json") == 0 || strcmp(file, "tokenizer.model") == 0))
            return 0;
    }
    return error("%s: neither tokenizer.json nor tokenizer.model at revision %s", m->repository,
                 m->revision);
}

/* Runs the files of p from `first` on. */
static int run_from(struct plan *p, size_t first, const char *denied, const struct fetch_options *o)
{
    struct plan rest = {p->files + first, p->n - first};

    for (size_t i = 0; i < rest.n; i++)
        rest.files[i].denied = denied;
    return plan_run(&rest, o);
}

/* In three steps: the configuration alone, so that a wrong name or a gated model is said once; the
 * small files and the index; then the weights that the index names. */
static int bring(struct plan *p, const struct model_name *m, const char *denied,
                 const struct fetch_options *o)
{
    static const char *const small[] = {"generation_config.json",  "tokenizer.json",
                                        "tokenizer.model",         "tokenizer_config.json",
                                        "special_tokens_map.json", INDEX};
    size_t n_small = sizeof(small) / sizeof(small[0]), first;

    add(p, m, "config.json", 0, o);
    if (run_from(p, 0, denied, o) != 0)
        return -1;
    first = p->n;
    for (size_t i = 0; i < n_small; i++)
        add(p, m, small[i], 1, o);
    if (run_from(p, first, denied, o) != 0 || check_tokenizer(p, m) != 0)
        return -1;
    first = p->n;
    if (p->files[first - 1].state == HTTP_ABSENT) {
        add(p, m, "model.safetensors", 0, o);
    } else {
        char *index = path_join(m->folder, INDEX);
        int rc = add_shards(p, m, index, o);

        free(index);
        if (rc != 0)
            return -1;
    }
    return run_from(p, first, denied, o);
}

int hub_fetch(const char *name, const char *cache, const struct fetch_options *o)
{
    struct model_name m = {0};
    struct plan p = {0};
    char *denied;
    int rc = 0;

    if (parse_name(name, &m) != 0)
        return error("'%s' is no model's name: org/name or org/name@revision", name);
    m.folder = model_folder(cache, &m);
    denied = advice(&m, o);
    if (!is_complete(&m)) {
        rc = bring(&p, &m, denied, o);
        if (rc == 0)
            rc = write_manifest(&m, &p);
    }
    if (rc == 0 && o->out)
        fprintf(o->out, "%s: %s\n", name, m.folder);
    plan_release(&p);
    free(denied);
    free(m.folder);
    return rc;
}
