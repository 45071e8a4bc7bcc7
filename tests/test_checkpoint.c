/* Checkpoint folders made on the fly: forms, content hash, and what is refused. */
#include "harness/model/model.h"
#include "tests/checkpoint_fixture.h"

static int opens(struct checkpoint *c)
{
    int rc = checkpoint_open(c, folder);

    if (rc != 0)
        CHECK(!c->shards && !c->dir);
    return rc;
}

static void refuses(const char *message)
{
    struct checkpoint c;

    FAILS(opens(&c), message);
    CHECK(strstr(error_last(), folder) != NULL);
    checkpoint_close(&c);
}

static void hash_of_folder(char out[65])
{
    struct checkpoint c;

    memset(out, 0, 65);
    if (opens(&c) == 0) {
        checkpoint_sha256(&c, out);
        checkpoint_close(&c);
    }
    CHECK(strlen(out) == 64);
}

/* ---- good ones */

static void each_dtype(void)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } kinds[] = {{"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}};

    write_config("{}");
    for (int i = 0; i < 3; i++) {
        struct model_parts m = good_parts(kinds[i].name);
        struct checkpoint c;
        struct tensor t;

        write_single(&m);
        CHECK(opens(&c) == 0);
        CHECK(checkpoint_dtype(&c) == kinds[i].dtype);
        CHECK(checkpoint_tensor(&c, "model.layers.1.self_attn.k_proj.weight", 4, 8, &t) == 0);
        CHECK(t.rows == 4 && t.cols == 8 && t.dtype == kinds[i].dtype);
        CHECK(checkpoint_tensor(&c, "model.norm.weight", 1, 8, &t) == 0);
        FAILS(checkpoint_tensor(&c, "model.norm.weight", 8, 1, &t), "config.json says 8 x 1");
        FAILS(checkpoint_tensor(&c, "none", 8, 1, &t), "no tensor 'none'");
        checkpoint_close(&c);
        checkpoint_close(&c);
        remove_weights();
    }
}

/* The device's weights are the file's, whatever their dtype. */
static void loaded_values(void)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    struct device *dev;

    CHECK(device_open(&dev, "cpu", 1) == 0);
    write_config("{}");
    for (int i = 0; i < 3; i++) {
        struct model_parts m = good_parts(dtypes[i]);
        const struct made *v = find_made(&m, "model.layers.1.self_attn.v_proj.weight");
        struct checkpoint c;
        struct model model;
        const float *w;

        write_single(&m);
        if (opens(&c) != 0)
            return;
        CHECK(model_open(&model, dev, &c, DTYPE_F32) == 0);
        w = model.layers[1].linears[LINEAR_V].w.data;
        for (size_t k = 0; k < 32; k++)
            CHECK(w[k] == value_of(&m, v, k));
        memset(model.layers[1].qkv.data, 0, tensor_nbytes(model.layers[1].qkv));
        CHECK(linear_zeros(&model, 1, LINEAR_V) == 32);
        CHECK(model_restore(&model) == 0);
        for (size_t k = 0; k < 32; k++)
            CHECK(w[k] == value_of(&m, v, k));
        CHECK(model.head.data != model.embed.data);
        model_close(&model);
        checkpoint_close(&c);
        remove_weights();
    }
    device_close(dev);
}

static void single_and_sharded_are_one(void)
{
    struct model_parts m = good_parts("F16");
    char single[65], sharded[65], other[65];
    struct checkpoint c;

    write_config("{}");
    write_single(&m);
    hash_of_folder(single);
    remove_weights();
    write_sharded(&m, 7, 0, NULL);
    CHECK(opens(&c) == 0);
    CHECK(c.n_shards == 2);
    checkpoint_close(&c);
    hash_of_folder(sharded);
    CHECK_STR(sharded, single);
    remove_weights();
    write_sharded(&m, 15, 0, NULL);
    hash_of_folder(sharded);
    CHECK_STR(sharded, single);
    remove_weights();
    /* Another order of the tensors is the same model; another value, dtype or config is not. */
    struct made first = m.t[0];
    m.t[0] = m.t[5];
    m.t[5] = first;
    write_single(&m);
    hash_of_folder(other);
    CHECK_STR(other, single);
    m.spoil = "model.layers.1.mlp.up_proj.weight";
    m.value = 9;
    write_single(&m);
    hash_of_folder(other);
    CHECK(strcmp(other, single) != 0);
    m = good_parts("BF16");
    write_single(&m);
    hash_of_folder(other);
    CHECK(strcmp(other, single) != 0);
    m = good_parts("F16");
    write_single(&m);
    write_config("{\"rope_theta\": 20000.0}");
    hash_of_folder(other);
    CHECK(strcmp(other, single) != 0);
    remove_weights();
}

static void tied_head(void)
{
    struct model_parts m = good_parts("F32");
    struct checkpoint c;
    struct model model;
    struct device *dev;

    write_config("{\"tie_word_embeddings\": true}");
    write_single(&m); /* old files carry the head all the same */
    CHECK(opens(&c) == 0);
    checkpoint_close(&c);
    m.n--;
    write_single(&m);
    CHECK(device_open(&dev, "cpu", 1) == 0);
    CHECK(opens(&c) == 0);
    CHECK(model_open(&model, dev, &c, DTYPE_F32) == 0);
    CHECK(model.head.data == model.embed.data);
    model_close(&model);
    checkpoint_close(&c);
    device_close(dev);
    write_config("{\"tie_word_embeddings\": false}");
    refuses("no tensor 'lm_head.weight'");
    remove_weights();
}

static void old_rotary_tensors_are_ignored(void)
{
    struct model_parts m = good_parts("F32");
    struct checkpoint c;

    add_made(&m, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 2);
    write_config("{}");
    write_single(&m);
    CHECK(opens(&c) == 0);
    checkpoint_close(&c);
    remove_weights();
}

/* ---- tensors that are not those of config.json */

static void missing_tensors(void)
{
    struct model_parts whole = good_parts("F32");
    char message[160];

    write_config("{}");
    for (size_t i = 0; i < whole.n; i++) {
        struct model_parts m = whole;

        m.t[i] = m.t[--m.n];
        write_single(&m);
        snprintf(message, sizeof(message), "no tensor '%s'", whole.t[i].name);
        refuses(message);
    }
    write_single(&whole);
    write_config("{\"num_hidden_layers\": 3}");
    refuses("no tensor 'model.layers.2.input_layernorm.weight'");
    remove_weights();
}

static void other_shapes(void)
{
    struct model_parts m = good_parts("F32");
    struct made *k = find_made(&m, "model.layers.1.self_attn.k_proj.weight");

    write_config("{}");
    k->rows = 8;
    write_single(&m);
    refuses("model.safetensors: tensor 'model.layers.1.self_attn.k_proj.weight' is 8 x 8, "
            "config.json says 4 x 8");
    k->rows = 0;
    write_single(&m);
    refuses("k_proj.weight' is 8, config.json says 4 x 8");
    m = good_parts("F32");
    *find_made(&m, "model.norm.weight") = (struct made){"model.norm.weight", 8, 1};
    write_single(&m);
    refuses("tensor 'model.norm.weight' is 8 x 1, config.json says 1 x 8");
    m = good_parts("F32");
    write_single(&m);
    write_config("{\"vocab_size\": 11}");
    refuses("tensor 'model.embed_tokens.weight' is 10 x 8, config.json says 11 x 8");
    write_config("{\"intermediate_size\": 16}");
    refuses("mlp.gate_proj.weight' is 12 x 8, config.json says 16 x 8");
    write_config("{\"head_dim\": 8}");
    refuses("self_attn.q_proj.weight' is 8 x 8, config.json says 16 x 8");
    remove_weights();
}

static void other_architectures(void)
{
    struct model_parts m = good_parts("F32");

    write_config("{}");
    add_made(&m, "model.layers.0.self_attn.q_proj.bias", 0, 8);
    write_single(&m);
    refuses("model.safetensors: tensor 'model.layers.0.self_attn.q_proj.bias' is not one of a "
            "LLaMA model of 2 layers");
    m = good_parts("F32");
    add_made(&m, "model.layers.1.self_attn.q_norm.weight", 0, 4);
    write_single(&m);
    refuses("tensor 'model.layers.1.self_attn.q_norm.weight' is not one of");
    m = good_parts("F32");
    write_single(&m);
    write_config("{\"num_hidden_layers\": 1}");
    refuses(
        "tensor 'model.layers.1.input_layernorm.weight' is not one of a LLaMA model of 1 layer");
    remove_weights();
}

static void other_dtypes(void)
{
    struct buf data = {0}, header = {0}, file = {0};
    struct model_parts m = good_parts("F32");

    write_config("{}");
    write_shard(&m, 1, m.n, "b.safetensors");
    buf_adds(&header, "{\"model.embed_tokens.weight\": {\"dtype\": \"I32\", \"shape\": [10, 8], "
                      "\"data_offsets\": [0, 320]}}");
    buf_reserve(&data, 320);
    memset(data.data, 0, 320);
    data.n = 320;
    add_file(&file, header.data, header.n, &data);
    write_sharded(&m, 1, 0, NULL);
    write_file("a.safetensors", file.data, file.n);
    refuses(
        "a.safetensors: tensor 'model.embed_tokens.weight' is I32; duo reads F32, F16 and BF16");
    buf_release(&data);
    buf_release(&header);
    buf_release(&file);
    remove_weights();
}

/* ---- folders and indexes */

static void indexes(void)
{
    struct model_parts m = good_parts("F32");
    static const char *const texts[] = {"[]", "{}", "{\"weight_map\": []}",
                                        "{\"weight_map\": {\"t\": 3}}"};
    static const char *const messages[] = {"no object 'weight_map'", "no object 'weight_map'",
                                           "no object 'weight_map'",
                                           "tensor 't' names no file of this folder"};

    write_config("{}");
    refuses("neither model.safetensors nor model.safetensors.index.json is there");
    write_sharded(&m, 5, 2, "../evil");
    refuses("index.json: tensor 'model.layers.0.post_attention_layernorm.weight' names no file of "
            "this folder");
    write_sharded(&m, 5, 2, "/etc/passwd");
    refuses("names no file of this folder");
    write_sharded(&m, 5, 2, "..");
    refuses("names no file of this folder");
    write_sharded(&m, 5, 2, "");
    refuses("names no file of this folder");
    write_sharded(&m, 5, 2, "c.safetensors");
    refuses("c.safetensors': No such file");
    write_sharded(&m, 5, 2, "b.safetensors");
    refuses("tensor 'model.layers.0.post_attention_layernorm.weight' should be in b.safetensors, "
            "is in ");
    for (int i = 0; i < 4; i++) {
        write_file("model.safetensors.index.json", texts[i], strlen(texts[i]));
        refuses(messages[i]);
    }
    write_file("model.safetensors.index.json", "{\"weight_map\": {", 16);
    refuses("bad JSON");
    write_file("model.safetensors.index.json", "{\"weight_map\": {\"t\": \"a.safetensors\"}}", 38);
    refuses("tensor 't' should be in a.safetensors, is in no file");
    remove_weights();
}

static void shards_that_overlap(void)
{
    struct model_parts m = good_parts("F32");

    write_config("{}");
    write_sharded(&m, 5, 0, NULL);
    write_shard(&m, 4, m.n, "b.safetensors"); /* tensor 4 is in both */
    refuses("b.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' is also in ");
    write_shard(&m, 6, m.n, "b.safetensors"); /* tensor 5 is in none */
    refuses("tensor 'model.layers.0.self_attn.v_proj.weight' should be in b.safetensors, is in no "
            "file");
    remove_weights();
}

/* ---- values */

static void refuses_values(struct device *dev, const struct model_parts *m, enum dtype dtype,
                           const char *message)
{
    struct checkpoint c;
    struct model model;

    write_single(m);
    if (opens(&c) != 0)
        return;
    FAILS(model_open(&model, dev, &c, dtype), message);
    CHECK(strstr(error_last(), folder) && strstr(error_last(), m->spoil));
    checkpoint_close(&c);
}

static void values_that_are_not_finite(void)
{
    static const char *const names[] = {
        "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
        "model.layers.1.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"};
    struct model_parts m = good_parts("F32");
    struct device *dev;

    CHECK(device_open(&dev, "cpu", 1) == 0);
    write_config("{}");
    for (int i = 0; i < 5; i++) {
        m.spoil = names[i];
        m.value = __builtin_nanf("");
        refuses_values(dev, &m, DTYPE_F32, "has values that are not finite");
        m.value = -__builtin_inff();
        refuses_values(dev, &m, DTYPE_F32, "has values that are not finite");
    }
    m.spoil = "model.layers.1.mlp.down_proj.weight";
    m.value = 70000; /* finite, but not in f16 */
    refuses_values(dev, &m, DTYPE_F16, "has values that are not finite in f16");
    m.dtype = "BF16";
    m.value = 1e30f;
    refuses_values(dev, &m, DTYPE_F16, "has values that are not finite in f16");
    device_close(dev);
    remove_weights();
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    RUN(each_dtype);
    RUN(loaded_values);
    RUN(single_and_sharded_are_one);
    RUN(tied_head);
    RUN(old_rotary_tensors_are_ignored);
    RUN(missing_tensors);
    RUN(other_shapes);
    RUN(other_architectures);
    RUN(other_dtypes);
    RUN(indexes);
    RUN(shards_that_overlap);
    RUN(values_that_are_not_finite);
    remove_file("config.json");
    return rmdir(folder) != 0;
}
