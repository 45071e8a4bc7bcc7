/* Fetching data sets and models by name: from a mirror server, a mirror folder and a hub. */
#include <zip.h>

#include "data/fetch.h"
#include "data/sources.h"
#include "harness/cmd/fetch.h"
#include "tests/http_case.h"

/* The routes' strings live until the program ends. */
static char *keep(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *keep(const char *fmt, ...)
{
    static char *kept[512];
    static size_t n_kept;
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (n_kept == 512 || vasprintf(&s, fmt, ap) < 0)
        abort();
    va_end(ap);
    return kept[n_kept++] = s;
}

static char *in_folder(const char *name)
{
    return keep("%s/%s", folder, name);
}

static struct fetch_options options(const char *const *names, const char *cache)
{
    struct fetch_options o;

    fetch_options_default(&o);
    o.http = quick();
    o.names = names;
    while (names[o.n_names])
        o.n_names++;
    o.cache = in_folder(cache);
    return o;
}

static void put(const char *path, const char *text)
{
    char *cut = strrchr(path, '/'), *parent = keep("%.*s", (int)(cut - path), path);

    CHECK(dir_make(parent) == 0 && file_write_atomic(path, text, strlen(text)) == 0);
}

/* A zip with one member. */
static void put_zip(const char *path, const char *member, const char *text)
{
    char *cut = strrchr(path, '/'), *parent = keep("%.*s", (int)(cut - path), path);
    zip_t *zip;

    CHECK(dir_make(parent) == 0);
    zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    CHECK(zip && zip_file_add(zip, member, zip_source_buffer(zip, text, strlen(text), 0), 0) >= 0);
    CHECK(zip_close(zip) == 0);
}

static int is_text(const char *path, const char *want)
{
    struct buf got = {0};
    int ok = file_exists(path) && file_read(path, &got) == 0 && strcmp(buf_str(&got), want) == 0;

    buf_release(&got);
    return ok;
}

static void has_eight_sets(void)
{
    size_t n = 0;

    for (; sources[n]; n++) {
        const struct source *s = sources[n];

        CHECK(source_find(s->set) == s && s->n_documents && s->licence && s->about);
        CHECK(!s->archive == !s->members[0]);
        CHECK(!s->archive || strcmp(s->archive, s->files[0].path) == 0);
        for (const struct source_file *f = s->files; f->path; f++)
            CHECK(strncmp(f->url, "https://", 8) == 0 && (!f->sha256 || strlen(f->sha256) == 64));
    }
    CHECK(n == 8 && !source_find("none"));
}

static void copies_from_a_folder(void)
{
    static const char *const names[] = {"piqa", "boolq", NULL};
    struct fetch_options o = options(names, "cache1");
    struct buf said = {0};

    o.mirror = in_folder("mirror");
    put(in_folder("mirror/piqa/valid.jsonl"), "{\"goal\": \"g\"}\n");
    put(in_folder("mirror/piqa/valid-labels.lst"), "1\n");
    put_zip(in_folder("mirror/boolq/BoolQ.zip"), "BoolQ/val.jsonl", "{}\n");
    o.out = fopen(in_folder("said"), "w");
    CHECK(fetch_run(&o) == 0);
    fclose(o.out);
    CHECK(is_text(in_folder("cache1/data/piqa/valid.jsonl"), "{\"goal\": \"g\"}\n"));
    CHECK(file_exists(in_folder("cache1/data/boolq/BoolQ.zip")));
    CHECK(file_exists(in_folder("cache1/data/boolq/BoolQ.zip.sha256")));
    CHECK(!file_exists(in_folder("cache1/data/boolq/BoolQ.zip.lock")));
    CHECK(file_read(in_folder("said"), &said) == 0);
    CHECK_STR(buf_str(&said), keep("piqa: %s/data/piqa\nboolq: %s/data/boolq\n", o.cache, o.cache));
    buf_release(&said);
    /* Offline: neither the mirror nor a network is needed for what is there. */
    o.out = NULL;
    o.mirror = NULL;
    CHECK(fetch_run(&o) == 0);
}

static void names_what_a_folder_lacks(void)
{
    static const char *const names[] = {"arc", "openbookqa", "c4", NULL};
    struct fetch_options o = options(names, "cache2");

    o.mirror = in_folder("mirror2");
    put_zip(in_folder("mirror2/arc/ARC-V1-Feb2018.zip"), "other/file", "x");
    put(in_folder("mirror2/c4/en/c4-train.00000-of-01024.json.gz"), "plain text\n");
    CHECK(fetch_run(&o) == -1);
    CHECK_STR(error_last(), "c4/en/c4-train.00000-of-01024.json.gz: not a gzip stream");
    CHECK(!file_exists(in_folder("cache2/data/arc/ARC-V1-Feb2018.zip")));
    CHECK(!file_exists(in_folder("cache2/data/arc/ARC-V1-Feb2018.zip.part")));
    o.n_names = 1;
    CHECK(fetch_run(&o) == -1);
    CHECK_STR(error_last(), "arc/ARC-V1-Feb2018.zip: the archive has no "
                            "'ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl'");
    o.mirror = in_folder("nowhere");
    CHECK(fetch_run(&o) == -1);
    CHECK(strstr(error_last(), "is neither an http address nor a folder") != NULL);
}

static void fetches_from_a_server(void)
{
    static const char *const names[] = {"piqa", NULL};
    struct fetch_options o = options(names, "cache3");
    struct route *r = server_add(
        &server, (struct route){.path = "/m/piqa/valid.jsonl", .body = "{}\n", .etag = "\"a\""});

    server_add(&server, (struct route){.path = "/m/piqa/valid-labels.lst", .body = "1\n"});
    o.mirror = keep("http://127.0.0.1:%d/m/", server.port[0]);
    o.token = "hf_secret";
    CHECK(fetch_run(&o) == 0);
    CHECK(is_text(in_folder("cache3/data/piqa/valid.jsonl"), "{}\n"));
    CHECK(r->n_requests == 1 && r->n_tokens[0] == 0); /* a mirror is not the hub */
    CHECK(fetch_run(&o) == 0);
    CHECK(r->n_requests == 1);
}

/* A safetensors file with n bytes of data. */
static struct route tensors(const char *path, size_t n)
{
    char *text = calloc(1, 8 + 200 + n), *header = text + 8;
    struct route r = {.path = path, .body = text, .etag = "\"t\""};

    snprintf(header, 200, "{\"w\":{\"dtype\":\"F16\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
             n / 2, n);
    text[0] = (char)strlen(header);
    r.n_body = 8 + strlen(header) + n;
    return r;
}

#define HUB_DIR "/meta/tiny/resolve/main/"

static struct route *serve_model(const char *index)
{
    struct route *gate;

    server_add(&server, (struct route){.path = HUB_DIR "config.json", .body = "{}"});
    gate = server_add(&server,
                      (struct route){.path = HUB_DIR "tokenizer.model",
                                     .times = -1,
                                     .redirect = keep("http://127.0.0.1:%d/cdn/tokenizer.model",
                                                      server.port[1])});
    server_add(&server, (struct route){.path = "/cdn/tokenizer.model", .body = "pieces"});
    server_add(&server,
               (struct route){.path = HUB_DIR "model.safetensors.index.json", .body = index});
    server_add(&server, tensors(HUB_DIR "model-00001-of-00002.safetensors", 3000));
    server_add(&server, tensors(HUB_DIR "model-00002-of-00002.safetensors", 5000));
    return gate;
}

static void fetches_a_sharded_model(void)
{
    static const char *const names[] = {"meta/tiny", NULL};
    struct fetch_options o = options(names, "cache4");
    struct route *gate =
        serve_model("{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\", "
                    "\"b\": \"model-00002-of-00002.safetensors\", \"c\": "
                    "\"model-00001-of-00002.safetensors\"}}");
    struct route *cdn = gate + 1;
    char *dir = NULL;

    o.endpoint = keep("http://127.0.0.1:%d", server.port[0]);
    o.token = "hf_secret";
    setenv("DUO_CACHE", o.cache, 1);
    CHECK(fetch_model_dir("meta/tiny", &dir) == -1);
    CHECK(strstr(error_last(), "run `duo fetch meta/tiny`") != NULL);
    CHECK(fetch_run(&o) == 0);
    CHECK(gate->n_tokens[0] == 1);
    CHECK(cdn->n_requests == 1 && cdn->n_tokens[0] + cdn->n_tokens[1] == 0);
    CHECK(fetch_model_dir("meta/tiny", &dir) == 0);
    CHECK_STR(dir, keep("%s/models/meta/tiny", o.cache));
    CHECK(file_exists(keep("%s/model-00002-of-00002.safetensors", dir)));
    CHECK(is_text(keep("%s/tokenizer.model", dir), "pieces"));
    CHECK(!file_exists(keep("%s/tokenizer.json", dir)));
    /* Offline, though half of the optional files are not there. */
    o.endpoint = "http://127.0.0.1:1";
    CHECK(fetch_run(&o) == 0);
    /* A damaged shard is noticed. */
    put(keep("%s/model-00001-of-00002.safetensors", dir), "damaged");
    CHECK(fetch_run(&o) == -1);
    o.endpoint = keep("http://127.0.0.1:%d", server.port[0]);
    CHECK(fetch_run(&o) == 0);
    CHECK(gate->n_requests == 1);
    /* The token is in none of the files. */
    CHECK(system(keep("grep -rq Bearer '%s' || grep -rq hf_secret '%s'", o.cache, o.cache)) != 0);
    CHECK(system(keep("grep -rq pieces '%s'", o.cache)) == 0);
    unsetenv("DUO_CACHE");
    free(dir);
}

static void fetches_a_revision(void)
{
    static const char *const names[] = {"meta/one@v1.0", NULL};
    struct fetch_options o = options(names, "cache5");
    const char *base = "/meta/one/resolve/v1.0";

    o.endpoint = keep("http://127.0.0.1:%d/", server.port[0]);
    server_add(&server, (struct route){.path = keep("%s/config.json", base), .body = "{}"});
    CHECK(fetch_run(&o) == -1);
    CHECK_STR(error_last(),
              "meta/one: neither tokenizer.json nor tokenizer.model at revision v1.0");
    server_add(&server, (struct route){.path = keep("%s/tokenizer.json", base), .body = "{}"});
    server_add(&server, tensors(keep("%s/model.safetensors", base), 800));
    CHECK(fetch_run(&o) == 0);
    CHECK(file_exists(in_folder("cache5/models/meta/one@v1.0/model.safetensors")));
}

static void names_a_gated_model(void)
{
    static const char *const names[] = {"meta/gated", NULL};
    struct fetch_options o = options(names, "cache6");

    o.endpoint = keep("http://127.0.0.1:%d", server.port[0]);
    server_add(
        &server,
        (struct route){.path = "/meta/gated/resolve/main/config.json", .times = -1, .status = 401});
    CHECK(fetch_run(&o) == -1);
    CHECK_STR(
        error_last(),
        keep("meta/gated/config.json: 127.0.0.1 denies access (HTTP 401): the model is gated: "
             "accept its licence at %s/meta/gated and set HF_TOKEN",
             o.endpoint));
    o.token = "bad\r\nX: y";
    CHECK(fetch_run(&o) == -1);
    CHECK_STR(error_last(), "HF_TOKEN contains a character that no token has");
}

/* The index comes from the network: its names must not lead out of the folder. */
static void distrusts_an_index(void)
{
    static const char *const bad[] = {
        "{\"weight_map\": {\"a\": \"../../evil.safetensors\"}}",
        "{\"weight_map\": {\"a\": \"/evil.safetensors\"}}",
        "{\"weight_map\": {\"a\": \".safetensors\"}}",
        "{\"weight_map\": {\"a\": \"evil.sh\"}}",
        "{\"weight_map\": {\"a\": 7}}",
        "{\"weight_map\": {}}",
        "{\"weight_map\": 1}",
        "{}",
    };
    static const char *const names[] = {"meta/evil", NULL};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fetch_options o = options(names, keep("cache7-%zu", i));
        char *mirror = keep("%s/hub-%zu", folder, i);

        o.mirror = mirror;
        put(keep("%s/meta/evil/config.json", mirror), "{}");
        put(keep("%s/meta/evil/tokenizer.json", mirror), "{}");
        put(keep("%s/meta/evil/model.safetensors.index.json", mirror), bad[i]);
        CHECK(fetch_run(&o) == -1);
        CHECK(!file_exists(keep("%s/models/meta/evil/fetched.json", o.cache)));
    }
}

static void checks_names(void)
{
    static const char *const bad[] = {"nope", "a/b/c",    "../x", "a/..",
                                      "a/b@", "a/b@../c", "/a",   "a/"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(fetch_check_name(bad[i]) == -1);
    CHECK_STR(keep("%.60s", error_last()),
              "no data set 'a/'; known are: wikitext piqa hellaswag winogra");
    CHECK(fetch_check_name("piqa") == 0 && fetch_check_name("a-b/C_d.e@main") == 0);
}

static void finds_the_cache(void)
{
    char *dir;

    setenv("HOME", "/h", 1);
    unsetenv("DUO_CACHE");
    unsetenv("XDG_CACHE_HOME");
    CHECK_STR(dir = fetch_cache_dir(), "/h/.cache/duo");
    free(dir);
    setenv("XDG_CACHE_HOME", "/x", 1);
    CHECK_STR(dir = fetch_data_dir(), "/x/duo/data");
    free(dir);
    setenv("DUO_CACHE", "/d", 1);
    CHECK_STR(dir = fetch_cache_dir(), "/d");
    free(dir);
    unsetenv("DUO_CACHE");
}

#define COMMAND(...)                                                                               \
    cmd_fetch(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), (char *[]){__VA_ARGS__, NULL})

static void parses_its_options(void)
{
    char *mirror = keep("--mirror=%s/mirror", folder), *cache = in_folder("cache8");
    int out = dup(STDOUT_FILENO);

    fflush(stdout);
    if (!freopen("/dev/null", "w", stdout))
        abort();
    CHECK(COMMAND("fetch", "--nope") == 2);
    CHECK(COMMAND("fetch", "nope") == 2);
    CHECK(COMMAND("fetch", "--cache") == 2);
    CHECK(COMMAND("fetch", "--cache", "--quiet") == 2);
    CHECK(COMMAND("fetch", "--mirror=") == 2);
    CHECK(COMMAND("fetch", "--mirrors=x") == 2);
    CHECK(COMMAND("fetch", "--cache", "a", "--cache", "b") == 2);
    CHECK(COMMAND("fetch", "--help") == 0);
    CHECK(COMMAND("fetch", "boolq", mirror, "--cache", cache) == 0);
    CHECK(COMMAND("fetch", "arc", mirror, "--cache", cache) == 1);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    CHECK(file_exists(keep("%s/data/boolq/BoolQ.zip", cache)));
}

/* The real files, where they are. */
static void copies_the_shared_mirror(void)
{
    static const char *const none[] = {NULL};
    struct fetch_options o = options(none, "cache9");

    if (!test_shared()) {
        SKIP("copies_the_shared_mirror", "no ../shared here");
        return;
    }
    o.mirror = keep("%s/mirror", test_shared());
    CHECK(fetch_run(&o) == 0);
    for (size_t i = 0; sources[i]; i++)
        CHECK(file_exists(
            keep("%s/data/%s/%s", o.cache, sources[i]->set, sources[i]->files[0].path)));
}

int main(void)
{
    setenv("no_proxy", "*", 1);
    unsetenv("HF_TOKEN");
    unsetenv("HF_ENDPOINT");
    if (begin() != 0)
        return 1;
    RUN(has_eight_sets);
    RUN(copies_from_a_folder);
    RUN(names_what_a_folder_lacks);
    RUN(fetches_from_a_server);
    RUN(fetches_a_sharded_model);
    RUN(fetches_a_revision);
    RUN(names_a_gated_model);
    RUN(distrusts_an_index);
    RUN(checks_names);
    RUN(finds_the_cache);
    RUN(parses_its_options);
    RUN(copies_the_shared_mirror);
    return end();
}
