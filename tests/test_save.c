/* Saving: JSON spliced, folders renamed, safetensors written and read back, weights rounded. */
#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "harness/base/folder.h"
#include "harness/base/json_edit.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/cmd/parse.h"
#include "harness/model/bitmask.h"
#include "harness/model/safetensors_write.h"
#include "harness/model/reshape.h"
#include "harness/model/save.h"
#include "tests/checkpoint_fixture.h"

/* ---- JSON */

static void sets(const char *text, const char *key, const char *value, const char *want)
{
    struct buf b = {0};

    buf_adds(&b, text);
    json_set_member(&b, key, value);
    CHECK_STR(buf_str(&b), want);
    buf_release(&b);
}

static void json_members(void)
{
    sets("{\"a\": 1.0, \"b\": 1e-05}", "a", "2", "{\"a\": 2, \"b\": 1e-05}");
    sets("{\"a\": 1.0, \"b\": 1e-05}", "b", "null", "{\"a\": 1.0, \"b\": null}");
    sets("{\"a\":1}", "b", "\"x\"", "{\"a\":1,\n  \"b\": \"x\"}");
    sets("{\n  \"a\": 1\n}\n", "b", "2", "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
    sets(" { } ", "b", "2", " {\n  \"b\": 2\n} ");
    sets("{\"x\": {\"b\": 1, \"c\": [\"}\", \"b\"]}, \"b\" : [1, {\"b\": 2}] , \"c\": 3}", "b", "0",
         "{\"x\": {\"b\": 1, \"c\": [\"}\", \"b\"]}, \"b\" : 0 , \"c\": 3}");
    sets("{\"s\": \"\\\"b\\\": 1,\\\\\", \"b\": \"]{\"}", "b", "0",
         "{\"s\": \"\\\"b\\\": 1,\\\\\", \"b\": 0}");
    sets("{\"bb\": 1, \"b\": true\n}", "b", "false", "{\"bb\": 1, \"b\": false\n}");
    sets("{\"a\": \"b\"}", "b", "1", "{\"a\": \"b\",\n  \"b\": 1}");
}

/* Random objects: the member changes, every other one stays, as a parser sees it. */
static void json_random(void)
{
    static const char *const values[] = {
        "1",    "-2.50e+3",        "\"a,}\\\"]\"",   "[]", "[{}]", "{\"k1\": {\"k2\": 1}}", "true",
        "null", "\"\\u0041\\\\\"", " [ 1 , \"}\" ] "};
    struct pcg32 g;

    pcg32_init(&g, 7, 1);
    for (int n = 0; n < 2000; n++) {
        struct buf b = {0};
        cJSON *before, *after;
        char key[8];
        size_t members = pcg32_below(&g, 5);

        buf_adds(&b, "{");
        for (size_t i = 0; i < members; i++)
            buf_addf(&b, "%s\"k%zu\"%s:%s", i ? "," : "", i, pcg32_below(&g, 2) ? " " : "",
                     values[pcg32_below(&g, 10)]);
        buf_adds(&b, "}");
        snprintf(key, sizeof(key), "k%u", (unsigned)pcg32_below(&g, 5));
        before = cJSON_Parse(b.data);
        json_set_member(&b, key, "[\"new\"]");
        after = json_parse(b.data, b.n, "after");
        CHECK(before && after);
        cJSON_DeleteItemFromObjectCaseSensitive(before, key);
        cJSON_AddItemToObject(before, key, cJSON_Parse("[\"new\"]"));
        if (!cJSON_Compare(before, after, 1))
            CHECK_STR(b.data, "the same members");
        cJSON_Delete(before);
        cJSON_Delete(after);
        buf_release(&b);
    }
}

static void sizes(void)
{
    size_t n = 0;

    CHECK(parse_nbytes("--x", "500MB", &n) == 0 && n == 500000000);
    CHECK(parse_nbytes("--x", "5gb", &n) == 0 && n == 5000000000);
    CHECK(parse_nbytes("--x", "3KiB", &n) == 0 && n == 3072);
    CHECK(parse_nbytes("--x", "17", &n) == 0 && n == 17);
    for (const char *const *s =
             (const char *const[]){"", "0", "MB", "-1", "1.5GB", "5 GB", "1e3",
                                   "99999999999999999999", "999999999999TiB", "5GBx", " 5", NULL};
         *s; s++)
        FAILS(parse_nbytes("--x", *s, &n), "--x: '");
}

/* ---- folders */

static char *inside(const char *name)
{
    return path_join(folder, name);
}

static void folders(void)
{
    char *path = inside("new"), *file;
    struct atomic_folder a = {0};

    atomic_folder_abort(&a);
    CHECK(atomic_folder_check(path) == 0 && !dir_exists(path));
    CHECK(atomic_folder_open(&a, path) == 0);
    file = path_join(a.tmp, "x");
    CHECK(file_write_atomic(file, "1", 1) == 0);
    CHECK(!dir_exists(path));
    CHECK(atomic_folder_commit(&a) == 0 && dir_exists(path) && !file_exists(file));
    free(file);
    FAILS(atomic_folder_open(&a, path), "is there and is not empty");
    remove_file("new/x");
    /* an empty one may be there; a file in the way appears while the folder is being filled */
    CHECK(atomic_folder_open(&a, path) == 0);
    write_file("new/y", "1", 1);
    FAILS(atomic_folder_commit(&a), "cannot make");
    remove_file("new/y");
    CHECK(atomic_folder_open(&a, path) == 0);
    file = path_join(a.tmp, "x");
    CHECK(file_write_atomic(file, "1", 1) == 0);
    atomic_folder_abort(&a);
    free(file);
    rmdir(path);
    FAILS(atomic_folder_room(path, (size_t)1 << 62), "MB left");
    CHECK(atomic_folder_room(path, 1) == 0);
    free(path);
}

static void folders_refused(void)
{
    char *file = inside("file"), *link = inside("link"), *in_file = inside("file/x");
    struct atomic_folder a;

    write_file("file", "1", 1);
    CHECK(symlink(folder, link) == 0);
    FAILS(atomic_folder_open(&a, file), "is there and is not a folder");
    FAILS(atomic_folder_open(&a, link), "is there and is not a folder");
    FAILS(atomic_folder_open(&a, in_file), "no folder");
    FAILS(atomic_folder_open(&a, "/nowhere/x"), "no folder '/nowhere'");
    FAILS(atomic_folder_open(&a, ""), "is not the name of a new folder");
    FAILS(atomic_folder_open(&a, "."), "is not the name of a new folder");
    FAILS(atomic_folder_open(&a, "x/.."), "is not the name of a new folder");
    FAILS(atomic_folder_open(&a, "//"), "is not the name of a new folder");
    FAILS(atomic_folder_open(&a, "/proc"), "is there and is not empty");
    unlink(link);
    remove_file("file");
    free(file);
    free(link);
    free(in_file);
}

/* A folder that nobody fills any more is named; one at work and other names are not. */
static void leftovers(void)
{
    char *path = inside("m"), *dead = inside("m.partial-abc123"),
         *other = inside("n.partial-abc123");
    struct atomic_folder a;
    int said;

    mkdir(dead, 0700);
    mkdir(other, 0700);
    capture_begin();
    CHECK(atomic_folder_check(path) == 0);
    said = capture_end();
    CHECK(said == 1);
    rmdir(dead);
    CHECK(atomic_folder_open(&a, path) == 0);
    capture_begin();
    CHECK(atomic_folder_check(path) == 0);
    said = capture_end();
    CHECK(said == 0);
    atomic_folder_abort(&a);
    rmdir(other);
    free(path);
    free(dead);
    free(other);
}

/* ---- safetensors */

static const unsigned char bytes[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static const void *some_bytes(void *arg, size_t i)
{
    (void)arg;
    return bytes + i;
}

/* Mixed types: every tensor lies at a multiple of its element's size, whatever came before it. */
static void alignment(void)
{
    static const struct st_item items[] = {
        {"a.mask", "U8", 2, {1, 3}, 3},        {"a.values", "F16", 1, {3}, 6},
        {"a.shape", "I64", 1, {2}, 16},        {"b.values", "F32", 2, {1, 1}, 4},
        {"b \"quoted\"\n", "BF16", 1, {0}, 0}, {"b.mask", "U8", 1, {1}, 1},
    };
    char *path = inside("model.safetensors");
    struct safetensors st;

    CHECK(safetensors_write(folder, items, 6, 1000, (struct st_source){some_bytes, NULL}) == 0);
    CHECK(safetensors_open(&st, path) == 0);
    CHECK(st.n_tensors == 6);
    for (size_t i = 0; i < st.n_tensors; i++) {
        const struct st_tensor *t = &st.tensors[i];
        size_t k = 0, size = safetensors_dtype_size(t->dtype_name);

        while (k < 6 && strcmp(items[k].name, t->name) != 0)
            k++;
        CHECK(k < 6 && strcmp(items[k].dtype, t->dtype_name) == 0);
        CHECK(t->n_dims == items[k].n_dims && t->dims[0] == items[k].dims[0]);
        CHECK(t->nbytes == items[k].nbytes && memcmp(t->data, bytes + k, t->nbytes) == 0);
        CHECK(((const unsigned char *)t->data - st.map.data) % (ptrdiff_t)size == 0);
    }
    safetensors_close(&st);
    unlink(path);
    free(path);
}

static const void *no_bytes(void *arg, size_t i)
{
    (void)arg;
    error_silence(1);
    error("item %zu", i);
    error_silence(0);
    return NULL;
}

static void failures_leave_no_file(void)
{
    static const struct st_item item = {"a", "U8", 1, {3}, 3};
    char *path = inside("model.safetensors");

    CHECK(safetensors_write(folder, &item, 1, 10, (struct st_source){no_bytes, NULL}) == -1);
    CHECK(!file_exists(path));
    FAILS(safetensors_write("/nowhere", &item, 1, 10, (struct st_source){some_bytes, NULL}),
          "cannot write '/nowhere/model.safetensors'");
    free(path);
}

/* ---- models */

static struct device *dev;

struct opened {
    struct checkpoint c;
    struct model m;
};

static int open_from(struct opened *o, const char *dir)
{
    if (checkpoint_open(&o->c, dir) != 0 || model_open(&o->m, dev, &o->c, DTYPE_F32) != 0) {
        CHECK(!"opens");
        return -1;
    }
    return 0;
}

static void opened_close(struct opened *o)
{
    model_close(&o->m);
    checkpoint_close(&o->c);
}

static char *saved; /* folder/saved */

static void saved_remove(void)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    char name[128];

    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "saved/%s", names[i]);
        remove_file(name);
    }
    for (int n = 1; n < 100; n++)
        for (int f = 1; f <= n; f++) {
            snprintf(name, sizeof(name), "saved/model-%05d-of-%05d.safetensors", f, n);
            remove_file(name);
        }
    rmdir(saved);
}

static void save_to(const struct model *m, struct save_options o)
{
    mkdir(saved, 0777);
    CHECK(save_weights(m, saved, &o) == 0);
    CHECK(save_config(m, saved, &o, 0.5) == 0);
}

static void config_same(int same)
{
    char *a = inside("config.json"), *b = inside("saved/config.json");
    struct buf x = {0}, y = {0};

    CHECK(file_read(a, &x) == 0 && file_read(b, &y) == 0);
    CHECK((x.n == y.n && memcmp(x.data, y.data, x.n) == 0) == same);
    buf_release(&x);
    buf_release(&y);
    free(a);
    free(b);
}

/* A model that was only read is saved as the same model, to the bit, in one file or many. */
static void unchanged(const char *dtype, size_t shard_nbytes, size_t n_files)
{
    struct model_parts parts = good_parts(dtype);
    char before[65], after[65];
    struct opened o, again;

    write_config("{}");
    write_single(&parts);
    if (open_from(&o, folder) != 0)
        return;
    CHECK(save_round(&o.m, SAVE_AS_READ) == 0);
    save_to(&o.m, (struct save_options){SAVE_AS_READ, shard_nbytes, SAVE_DENSE});
    if (open_from(&again, saved) == 0) {
        checkpoint_sha256(&o.c, before);
        checkpoint_sha256(&again.c, after);
        CHECK_STR(after, before);
        CHECK(again.c.n_shards == n_files);
        config_same(1);
        opened_close(&again);
    }
    opened_close(&o);
    saved_remove();
    remove_weights();
}

static void saved_unchanged(void)
{
    unchanged("F32", 1 << 20, 1);
    unchanged("F16", 1 << 20, 1);
    unchanged("BF16", 1 << 20, 1);
    unchanged("F16", 1, 21);   /* every tensor is larger than that */
    unchanged("F16", 1000, 3); /* 2320 bytes */
}

/* Rounds f32 values to f16 as the host does, and is then what is saved; another type is written to
 * config.json. */
static void rounded(void)
{
    struct model_parts parts = good_parts("F32");
    struct opened o, again;
    struct tensor w;
    float *v;

    write_config("{\"torch_dtype\": \"float32\"}");
    write_single(&parts);
    if (open_from(&o, folder) != 0)
        return;
    w = o.m.layers[1].linears[LINEAR_GATE].w;
    v = w.data;
    v[0] = 1 + 1e-4f;
    v[1] = 1e-9f; /* becomes 0 */
    v[2] = -65504;
    v[3] = 0.1f;
    CHECK(save_round(&o.m, DTYPE_F16) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(v[i] == f16_to_f32(f32_to_f16(v[i])));
    CHECK(v[0] == 1 && v[1] == 0 && v[2] == -65504 && v[3] != 0.1f);
    save_to(&o.m, (struct save_options){DTYPE_F16, 1 << 20, SAVE_DENSE});
    config_same(0);
    if (open_from(&again, saved) == 0) {
        struct tensor b = again.m.layers[1].linears[LINEAR_GATE].w;

        CHECK(memcmp(b.data, w.data, tensor_nbytes(w)) == 0);
        CHECK(memcmp(again.m.embed.data, o.m.embed.data, tensor_nbytes(o.m.embed)) == 0);
        CHECK(checkpoint_dtype(&again.c) == DTYPE_F16);
        opened_close(&again);
    }
    v[2] = 65520; /* rounds to infinity */
    FAILS(save_round(&o.m, DTYPE_F16), "tensor 'model.layers.1.mlp.gate_proj.weight' has values "
                                       "beyond the range of f16");
    CHECK(save_round(&o.m, DTYPE_BF16) == 0);
    opened_close(&o);
    saved_remove();
    remove_weights();
}

/* ---- the bitmask form in a checkpoint */

/* Saves the good model, pruned a little, as bitmasks; *o stays open. */
static int bitmask_saved(struct opened *o)
{
    struct model_parts parts = good_parts("F16");

    write_config("{}");
    write_single(&parts);
    if (open_from(o, folder) != 0)
        return -1;
    for (size_t i = 0; i < 2; i++)
        for (int k = 0; k < N_LINEARS; k++) {
            struct tensor w = o->m.layers[i].linears[k].w;

            for (size_t j = k; j < tensor_numel(w); j += 2)
                ((float *)w.data)[j] = 0;
        }
    save_to(&o->m, (struct save_options){SAVE_AS_READ, 1 << 20, SAVE_BITMASK});
    return 0;
}

static void bitmask_checkpoint(void)
{
    struct opened o, again;

    if (bitmask_saved(&o) != 0)
        return;
    config_same(0);
    if (open_from(&again, saved) == 0) {
        CHECK(checkpoint_dtype(&again.c) == DTYPE_F16);
        for (size_t i = 0; i < 2; i++)
            for (int k = 0; k < N_LINEARS; k++) {
                struct tensor a = o.m.layers[i].linears[k].w, b = again.m.layers[i].linears[k].w;

                CHECK(memcmp(a.data, b.data, tensor_nbytes(a)) == 0);
            }
        opened_close(&again);
    }
    opened_close(&o);
    saved_remove();
    remove_weights();
}

static int open_whole(struct checkpoint *c, struct model *m)
{
    int rc = checkpoint_open(c, saved);

    if (rc == 0) {
        rc = model_open(m, dev, c, DTYPE_F32);
        checkpoint_close(c);
    }
    return rc;
}

/* Byte `at` of a tensor in the saved file becomes `to`: opening or loading the model then fails. */
static void spoiled(const char *tensor, size_t at, unsigned char to, const char *message)
{
    char *path = inside("saved/model.safetensors");
    unsigned char was;
    struct checkpoint c;
    struct model m;
    struct safetensors st;
    size_t i = 0, place;
    int fd = open(path, O_RDWR);

    CHECK(safetensors_open(&st, path) == 0);
    while (i < st.n_tensors && strcmp(st.tensors[i].name, tensor) != 0)
        i++;
    CHECK(i < st.n_tensors && at < st.tensors[i].nbytes);
    place = (size_t)((const unsigned char *)st.tensors[i].data - st.map.data) + at;
    safetensors_close(&st);
    CHECK(pread(fd, &was, 1, (off_t)place) == 1 && was != to);
    CHECK(pwrite(fd, &to, 1, (off_t)place) == 1);
    FAILS(open_whole(&c, &m), message);
    CHECK(pwrite(fd, &was, 1, (off_t)place) == 1);
    close(fd);
    free(path);
}

/* `from` in the header becomes `to`, of the same length. */
static void renamed(const char *from, const char *to, const char *message)
{
    char *path = inside("saved/model.safetensors"), *at;
    struct buf file = {0}, was = {0};
    struct checkpoint c;

    CHECK(file_read(path, &file) == 0);
    buf_add(&was, file.data, file.n);
    at = memmem(file.data, file.n, from, strlen(from));
    CHECK(at && strlen(from) == strlen(to));
    if (at)
        memcpy(at, to, strlen(to));
    CHECK(file_write_atomic(path, file.data, file.n) == 0);
    FAILS(checkpoint_open(&c, saved), message);
    CHECK(file_write_atomic(path, was.data, was.n) == 0);
    buf_release(&file);
    buf_release(&was);
    free(path);
}

static void bitmask_spoiled(void)
{
    struct opened o;

    if (bitmask_saved(&o) != 0)
        return;
#define DOWN "model.layers.1.mlp.down_proj."
    spoiled(DOWN "bitmask", 0, 0xff, "do not agree");
    spoiled(DOWN "bitmask", 1, 0xf0, "do not agree"); /* columns 12 to 15 of 12 */
    spoiled(DOWN "bitmask", 15, 0, "values, its bits say");
    spoiled(DOWN "row_offsets", 0, 1, "row 0 of tensor '" DOWN "weight'");
    spoiled(DOWN "row_offsets", 8, 200, "do not agree");
    spoiled(DOWN "row_offsets", 15, 0x80, "do not agree");
    spoiled(DOWN "shape", 0, 9, "is 9 x 12, config.json says 8 x 12");
    spoiled(DOWN "shape", 15, 0x80, "config.json says 8 x 12");
    renamed(DOWN "row_offsets", DOWN "row_offsetz", "its 'row_offsets' is missing");
    renamed(DOWN "compressed", DOWN "compresset", "no tensor '" DOWN "weight'");
    renamed(DOWN "shape", DOWN "shapf", "its 'shape' is missing");
    renamed("model.layers.0.input_layernorm.weight", "model.layers.1.mlp.down_proj.bitmask ",
            "no tensor 'model.layers.0.input_layernorm.weight'");
#undef DOWN
    opened_close(&o);
    saved_remove();
    remove_weights();
}

/* Layers of different shapes are saved in duo's own form, and whole layers that are gone as a LLaMA. */
static void parts_removed(void)
{
    struct model_parts parts = good_parts("F16");
    struct opened o, again;

    write_config("{}");
    write_single(&parts);
    if (open_from(&o, folder) != 0)
        return;
    layer_remove_attention(&o.m, 0);
    mkdir(saved, 0777);
    CHECK(!save_is_llama(&o.m));
    CHECK(save_round(&o.m, SAVE_AS_READ) == 0);
    save_to(&o.m, (struct save_options){SAVE_AS_READ, 1 << 20, SAVE_DENSE});
    if (open_from(&again, saved) == 0) {
        CHECK(again.c.config.n_layers == 2 && again.c.config.forms);
        CHECK(!layer_has_attention(&again.m.layers[0]) && layer_has_mlp(&again.m.layers[0]));
        CHECK(model_n_params_left(&again.m) == model_n_params_left(&o.m));
        CHECK(config_n_params(&again.m.source) >= model_n_params_left(&again.m));
        opened_close(&again);
    }
    saved_remove();
    layer_remove_mlp(&o.m, 0);
    model_remove_empty_layers(&o.m);
    CHECK(save_is_llama(&o.m));
    CHECK(save_round(&o.m, SAVE_AS_READ) == 0);
    save_to(&o.m, (struct save_options){SAVE_AS_READ, 1 << 20, SAVE_DENSE});
    if (open_from(&again, saved) == 0) {
        CHECK(again.c.config.n_layers == 1);
        for (int k = 0; k < N_LINEARS; k++) {
            struct tensor a = o.m.layers[0].linears[k].w, b = again.m.layers[0].linears[k].w;

            CHECK(memcmp(a.data, b.data, tensor_nbytes(a)) == 0);
        }
        opened_close(&again);
    }
    opened_close(&o);
    saved_remove();
    remove_weights();
}

static void files_that_go_along(void)
{
    char *from = inside("from"), *to = inside("to"), *copy = inside("to/tokenizer.json");

    mkdir(from, 0777);
    mkdir(to, 0777);
    write_file("from/tokenizer.json", "{}", 2);
    write_file("from/other.bin", "x", 1);
    write_file("from/generation_config.json", "{}", 2);
    CHECK(save_companions(to, from, from) == 0);
    CHECK(file_exists(copy));
    remove_file("to/tokenizer.json");
    CHECK(save_companions(to, from, to) == 0);
    CHECK(!file_exists(copy));
    for (const char *const *s = (const char *const[]){"from/tokenizer.json", "from/other.bin",
                                                      "from/generation_config.json",
                                                      "to/generation_config.json", NULL};
         *s; s++)
        remove_file(*s);
    CHECK(rmdir(from) == 0);
    CHECK(rmdir(to) == 0); /* nothing else was copied */
    free(from);
    free(to);
    free(copy);
}

/* ---- bitmask: against a loop over single elements */

static void bitmask_of(size_t rows, size_t cols, enum dtype dtype, struct pcg32 *g)
{
    size_t n = rows * cols, width = (cols + 7) / 8, at = 0, size = dtype_size(dtype);
    struct tensor w = {xcalloc(n, size), dtype, rows, cols};
    unsigned char *values, *bits = xmalloc(rows * width);
    int64_t *offsets = xmalloc(rows * sizeof(*offsets));

    for (size_t i = 0; i < n; i++) {
        uint32_t v = pcg32_below(g, 3) ? pcg32_next(g) : pcg32_below(g, 2) << 31; /* 0 or -0 */

        if (dtype == DTYPE_F32)
            ((uint32_t *)w.data)[i] = v;
        else
            ((uint16_t *)w.data)[i] = (uint16_t)(v >> 16);
    }
    values = xmalloc(bitmask_count(w) * size);
    bitmask_values(values, w);
    bitmask_bits(bits, w);
    bitmask_offsets(offsets, w);
    for (size_t i = 0; i < rows; i++) {
        CHECK(offsets[i] == (int64_t)at);
        for (size_t j = 0; j < 8 * width; j++) {
            const unsigned char *p = (unsigned char *)w.data + (i * cols + j) * size;
            int bit = bits[i * width + j / 8] >> j % 8 & 1, zero = 1;

            for (size_t k = 0; k < size && j < cols; k++)
                zero &= (k == size - 1 ? p[k] & 0x7f : p[k]) == 0;
            CHECK(bit == (j < cols && !zero));
            if (bit) {
                CHECK(memcmp(values + at * size, p, size) == 0);
                at++;
            }
        }
    }
    CHECK(at == bitmask_count(w));
    free(w.data);
    free(values);
    free(bits);
    free(offsets);
}

static void bitmasks(void)
{
    struct pcg32 g;

    pcg32_init(&g, 3, 1);
    for (size_t cols = 1; cols < 40; cols++)
        for (int t = DTYPE_F32; t <= DTYPE_BF16; t++)
            bitmask_of(1 + pcg32_below(&g, 5), cols, (enum dtype)t, &g);
}

int main(void)
{
    if (!mkdtemp(folder) || device_open(&dev, "cpu", 1) != 0)
        return 1;
    progress_quiet(1);
    saved = inside("saved");
    RUN(json_members);
    RUN(json_random);
    RUN(sizes);
    RUN(folders);
    RUN(folders_refused);
    RUN(leftovers);
    RUN(alignment);
    RUN(failures_leave_no_file);
    RUN(saved_unchanged);
    RUN(rounded);
    RUN(bitmask_checkpoint);
    RUN(bitmask_spoiled);
    RUN(parts_removed);
    RUN(files_that_go_along);
    RUN(bitmasks);
    remove_file("config.json");
    device_close(dev);
    free(saved);
    return rmdir(folder) != 0;
}
