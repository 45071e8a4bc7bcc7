/* Calibration sets from files and from C4. */
#include <stdint.h>
#include <unistd.h>

#include "data/archive.h"
#include "data/c4.h"
#include "data/calib.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/mt19937.h"
#include "harness/base/progress.h"
#include "tests/test.h"

static char folder[] = "/tmp/duo-test-calib-XXXXXX";
static struct model model = {.config = {.n_vocab = 100, .max_positions = 64}};

static char *in_folder(const char *name, const char *rest)
{
    struct buf b = {0};

    buf_addf(&b, "%s/%s%s", folder, name, rest);
    return buf_detach(&b);
}

/* n ids 0, 1, 2, ... modulo 90, and some bytes more, as folder/NAME. */
static void write_ids(const char *name, size_t n, size_t more)
{
    struct buf b = {0};
    char *path = in_folder(name, "");

    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)(i % 90);

        buf_add(&b, &id, sizeof(id));
    }
    buf_add(&b, "xyz", more);
    CHECK(file_write_atomic(path, buf_str(&b), b.n) == 0);
    free(path);
    buf_release(&b);
}

static void forget(const char *name)
{
    char *path = in_folder(name, "");

    unlink(path);
    free(path);
}

static int opens(const char *name, const char *rest, struct calib *c)
{
    struct calib_source src = {.model = &model, .data_dir = "/no/such/folder"};
    char *spec = in_folder(name, rest);
    int rc = calib_open(c, spec, &src);

    free(spec);
    return rc;
}

static void accepts(const char *name, const char *rest, size_t n, size_t s)
{
    struct calib c;

    CHECK(opens(name, rest, &c) == 0);
    CHECK(c.n_windows == n && c.window == s);
    CHECK(c.ids && c.ids[1] == 1 && c.ids[n * s - 1] == (int32_t)((n * s - 1) % 90));
    calib_release(&c);
}

static void refuses(const char *name, const char *rest, const char *message)
{
    struct calib c;

    CHECK(opens(name, rest, &c) == -1);
    CHECK(!c.ids && !c.spec);
    if (!strstr(error_last(), message))
        CHECK_STR(error_last(), message);
}

static void shapes_of_files(void)
{
    write_ids("a.4x8.i32", 32, 0);
    accepts("a.4x8.i32", "", 4, 8);
    accepts("a.4x8.i32", ":2x16", 2, 16);
    accepts("a.4x8.i32", ":3x8", 3, 8); /* asked for, a part is enough */
    refuses("a.4x8.i32", ":5x8", "128 bytes are not 5 windows of 8 ids");
    refuses("a.4x8.i32", ":32x1", "windows of 1 ids; the model takes 2 to 64");
    refuses("a.4x8.i32", ":", "is not NxS");
    refuses("a.4x8.i32", ":4x", "is not NxS");
    refuses("a.4x8.i32", ":0x8", "is not NxS");
    refuses("a.4x8.i32", ":4x-8", "is not NxS");
    refuses("a.4x8.i32", ":4x8x2", "is not NxS");
    refuses("a.4x8.i32", ":99999999999999999999x8", "is not NxS");
    write_ids("a.i32.b.i32", 32, 0);
    accepts("a.i32.b.i32", ":2x16", 2, 16);
    forget("a.i32.b.i32");
    write_ids("a.4x8.i32", 31, 0);
    refuses("a.4x8.i32", "", "124 bytes are not 4 windows of 8 ids");
    write_ids("a.4x8.i32", 33, 0);
    refuses("a.4x8.i32", "", "132 bytes are not 4 windows of 8 ids");
    write_ids("a.4x8.i32", 32, 3);
    refuses("a.4x8.i32", "", "131 bytes are not 4 windows of 8 ids");
    write_ids("a.4x8.i32", 0, 0);
    refuses("a.4x8.i32", "", "0 bytes are not 4 windows");
    forget("a.4x8.i32");
    refuses("a.4x8.i32", "", "cannot open '");
    write_ids("plain.i32", 4096, 0);
    refuses("plain.i32", "", "windows of 2048 ids; the model takes 2 to 64");
    accepts("plain.i32", ":64x64", 64, 64);
    write_ids("plain.i32", 4095, 0);
    refuses("plain.i32", "", "16380 bytes are not 2 windows of 2048 ids");
    forget("plain.i32");
}

static void ids_out_of_range(void)
{
    int32_t bad[2][4] = {{1, 2, 100, 4}, {1, -1, 3, 4}};
    char *path = in_folder("b.2x2.i32", "");

    CHECK(file_write_atomic(path, bad[0], 16) == 0);
    refuses("b.2x2.i32", "", "id 100 at 2 is not in the vocabulary of 100");
    CHECK(file_write_atomic(path, bad[1], 16) == 0);
    refuses("b.2x2.i32", "", "id -1 at 1 is not in the vocabulary of 100");
    forget("b.2x2.i32");
    free(path);
}

static void other_kinds(void)
{
    static const char *const specs[] = {
        "c4",   "c4:", "c4:4",   "c4:4x8x", "c5:4x8",  "selfie:4x8", "",
        ":4x8", "i32", "a.i32x", "c4:4x1",  "c4:4x65", "self:4x65",  "c4-joined:4x65"};
    struct calib_source src = {.model = &model, .data_dir = "/no/such/folder"};
    struct calib c;

    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        CHECK(calib_open(&c, specs[i], &src) == -1);
        CHECK(strncmp(error_last(), "calibration '", 13) == 0);
        CHECK(!c.ids && !c.spec);
    }
}

/* ---- with tokenizers and texts */

static struct tokenizer *open_tokenizer(const char *shared, const char *name)
{
    struct tokenizer *t = NULL;
    struct buf dir = {0};

    if (shared)
        buf_addf(&dir, "%s/models/%s", shared, name);
    else
        buf_adds(&dir, "data/demo/model");
    CHECK(tokenizer_open(&t, buf_str(&dir)) == 0);
    buf_release(&dir);
    return t;
}

static void saved_and_read_again(void)
{
    struct tokenizer *t = open_tokenizer(NULL, "");
    struct calib_source src = {.model = &model, .tokenizer = t, .seed = 7};
    char *path = in_folder("saved.i32", "");
    struct calib a, b;

    write_ids("a.4x8.i32", 32, 0);
    if (!t || opens("a.4x8.i32", "", &a) != 0)
        return;
    CHECK(calib_save(&a, &src, path) == 0);
    CHECK(calib_open(&b, path, &src) == 0); /* its shape from the file beside it */
    CHECK(b.n_windows == 4 && b.window == 8 && memcmp(a.ids, b.ids, 128) == 0);
    CHECK_STR(a.sha256, b.sha256);
    calib_release(&b);
    write_ids("saved.i32", 31, 0);
    refuses("saved.i32", "", "124 bytes are not 4 windows of 8 ids");
    write_ids("saved.i32", 64, 0);
    refuses("saved.i32", "", "256 bytes are not 4 windows of 8 ids");
    a.ids[5] = 77;
    CHECK(file_write_atomic(path, a.ids, 128) == 0);
    refuses("saved.i32", "", "its SHA-256 is not the one in");
    refuses("saved.i32", ":2x2", "its SHA-256 is not the one in"); /* nor a part of it */
    a.ids[5] = 5;
    CHECK(calib_save(&a, &src, path) == 0);
    accepts("saved.i32", ":2x2", 2, 2);
    write_ids("saved.i32.json", 3, 0);
    refuses("saved.i32", "", "saved.i32.json: control character 0x00");
    calib_release(&a);
    tokenizer_close(t);
    forget("a.4x8.i32");
    forget("saved.i32");
    forget("saved.i32.json");
    free(path);
}

#define N 128
#define S 2048

/* The sets beside the checkout were made by others: C4's texts joined by blank lines. */
static void c4_joined_as_published(void)
{
    static const char *const names[] = {"demo", "llama2-ref", "llama3-ref"};
    const char *shared = test_shared();
    int32_t *ids = xmalloc(N * S * sizeof(*ids));
    char *data = path_join(shared, "mirror");

    for (int i = 0; i < 3; i++) {
        struct tokenizer *t = open_tokenizer(shared, names[i]);
        struct buf path = {0}, want = {0};

        buf_addf(&path, "%s/calib/%s.c4.128x2048.i32", shared, names[i]);
        CHECK(file_read(path.data, &want) == 0 && want.n == N * S * sizeof(*ids));
        CHECK(t && c4_joined(data, t, N, S, ids) == 0);
        CHECK(memcmp(ids, buf_str(&want), want.n) == 0);
        tokenizer_close(t);
        buf_release(&path);
        buf_release(&want);
    }
    free(ids);
    free(data);
}

/* SparseGPT's loop again, in the words of its script, over the piece of C4. */
static void c4_python_draws(void)
{
    const char *shared = test_shared();
    struct tokenizer *t = open_tokenizer(shared, "demo");
    char *data = path_join(shared, "mirror");
    struct data_lines lines;
    struct ids *docs = NULL;
    int32_t got[6 * 300];
    struct mt19937 g;
    const char *line;
    size_t n = 0, nbytes;

    CHECK(data_lines_open(&lines, data, "c4", "en/c4-train.00000-of-01024.json.gz") == 0);
    while (data_lines_next(&lines, &line, &nbytes) > 0) {
        cJSON *j = json_parse(line, nbytes, "line");
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(j, "text"));

        docs = xrealloc(docs, (n + 1) * sizeof(*docs));
        docs[n] = (struct ids){0};
        ids_add(&docs[n], 1);
        CHECK(text && tokenizer_encode(t, text, strlen(text), &docs[n]) == 0);
        n++;
        cJSON_Delete(j);
    }
    data_lines_close(&lines);
    CHECK(n > 100 && c4_sample(data, t, 3, 1, 6, 300, got) == 0);
    mt19937_init(&g, 3);
    for (int i = 0; i < 6; i++) {
        const struct ids *d;

        do
            d = &docs[mt19937_below(&g, (uint32_t)n)];
        while (d->n <= 300);
        CHECK(memcmp(got + i * 300, d->v + mt19937_below(&g, (uint32_t)d->n - 300),
                     300 * sizeof(*got)) == 0);
    }
    for (size_t i = 0; i < n; i++)
        ids_release(&docs[i]);
    free(docs);
    free(data);
    tokenizer_close(t);
}

static void c4_seeds(void)
{
    const char *shared = test_shared();
    struct tokenizer *t = open_tokenizer(shared, "demo");
    char *data = path_join(shared, "mirror");
    int32_t a[4 * 64], b[4 * 64], few[64], python[4 * 64];

    CHECK(c4_sample(data, t, 1, 0, 4, 64, a) == 0);
    CHECK(c4_sample(data, t, 1, 0, 4, 64, b) == 0);
    CHECK(memcmp(a, b, sizeof(a)) == 0);
    CHECK(c4_sample(data, t, 1, 0, 1, 64, few) == 0);
    CHECK(memcmp(a, few, sizeof(few)) == 0); /* the first windows of a smaller set */
    CHECK(c4_sample(data, t, 2, 0, 4, 64, b) == 0);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    CHECK(c4_sample(data, t, 1, 1, 4, 64, python) == 0);
    CHECK(memcmp(a, python, sizeof(a)) != 0);
    for (int p = 0; p < 2; p++) { /* would otherwise draw for ever */
        CHECK(c4_sample(data, t, 1, p, 1, 1 << 20, a) == -1);
        CHECK(strstr(error_last(), "has more than 1048576 ids; the longest has ") != NULL);
    }
    CHECK(c4_joined(data, t, 1 << 20, 2048, a) == -1);
    CHECK(strstr(error_last(), "are needed") != NULL);
    CHECK(c4_sample("/no/such/folder", t, 1, 0, 4, 64, a) == -1);
    CHECK(strstr(error_last(), "duo fetch c4") != NULL);
    free(data);
    tokenizer_close(t);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    error_silence(1);
    progress_quiet(1);
    RUN(shapes_of_files);
    RUN(ids_out_of_range);
    RUN(other_kinds);
    RUN(saved_and_read_again);
    if (test_shared()) {
        RUN(c4_joined_as_published);
        RUN(c4_python_draws);
        RUN(c4_seeds);
    } else {
        SKIP("c4_joined_as_published", "no ../shared");
        SKIP("c4_python_draws", "no ../shared");
        SKIP("c4_seeds", "no ../shared");
    }
    return rmdir(folder) != 0;
}
