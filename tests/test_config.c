/* config.json in its forms, and what is refused. */
#include "harness/model/rope.h"
#include "tests/checkpoint_fixture.h"

static int reads(const char *change, struct llama_config *c)
{
    write_config(change);
    return config_read(c, folder);
}

static void accepts(const char *change, struct llama_config *c)
{
    CHECK(reads(change, c) == 0);
}

static void refuses(const char *change, const char *message)
{
    struct llama_config c;

    FAILS(reads(change, &c), message);
    CHECK(strstr(error_last(), "config.json") != NULL);
}

static void llama2_form(void)
{
    struct llama_config c;

    accepts("{}", &c);
    CHECK(c.n_layers == 2 && c.hidden == 8 && c.intermediate == 12 && c.n_heads == 2);
    CHECK(c.n_kv_heads == 1 && c.head_dim == 4 && c.n_vocab == 10 && c.max_positions == 64);
    CHECK(c.eps == 1e-5f && !c.tied_head && c.bos == 1 && c.eos == 2);
    CHECK(c.rope.type == ROPE_DEFAULT && c.rope.theta == 10000);
    CHECK(config_n_linear_params(&c) == 2 * (8 * 8 * 2 + 8 * 4 * 2 + 3 * 8 * 12));
    CHECK(config_n_params(&c) == config_n_linear_params(&c) + 5 * 8 + 2 * 80);
    accepts("{\"tie_word_embeddings\": true}", &c);
    CHECK(config_n_params(&c) == config_n_linear_params(&c) + 5 * 8 + 80);
}

/* What the published reference reads where a field is missing. */
static void defaults(void)
{
    struct llama_config c;

    accepts("{\"num_key_value_heads\": \"absent\", \"max_position_embeddings\": \"absent\", "
            "\"rms_norm_eps\": \"absent\", \"rope_theta\": \"absent\", \"rope_scaling\": "
            "\"absent\", \"tie_word_embeddings\": \"absent\", \"model_type\": \"absent\", "
            "\"hidden_act\": \"absent\", \"attention_bias\": \"absent\", \"bos_token_id\": "
            "\"absent\", \"eos_token_id\": null}",
            &c);
    CHECK(c.n_kv_heads == 2 && c.max_positions == 2048 && c.eps == 1e-6f);
    CHECK(c.rope.theta == 10000 && c.rope.type == ROPE_DEFAULT && !c.tied_head);
    CHECK(c.bos == -1 && c.eos == -1);
    accepts("{\"head_dim\": null, \"num_key_value_heads\": null}", &c);
    CHECK(c.head_dim == 4 && c.n_kv_heads == 2);
}

#define LLAMA3                                                                                     \
    "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "                      \
    "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192"

static void llama3_form(void)
{
    struct llama_config c;

    accepts("{\"rope_theta\": 500000.0, \"head_dim\": 16, \"eos_token_id\": [7, 9], "
            "\"rope_scaling\": " LLAMA3 "}}",
            &c);
    CHECK(c.head_dim == 16 && c.eos == 7);
    CHECK(c.rope.type == ROPE_LLAMA3 && c.rope.theta == 500000 && c.rope.factor == 8);
    CHECK(c.rope.low_freq_factor == 1 && c.rope.high_freq_factor == 4);
    CHECK(c.rope.original_max_positions == 8192);
}

/* rope_parameters of transformers 5 takes the place of both older fields. */
static void newer_form(void)
{
    struct llama_config c;

    accepts("{\"rope_theta\": \"absent\", \"rope_parameters\": " LLAMA3 ", \"rope_theta\": 5e5}}",
            &c);
    CHECK(c.rope.type == ROPE_LLAMA3 && c.rope.theta == 500000 && c.rope.factor == 8);
    accepts("{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 123.0}}", &c);
    CHECK(c.rope.type == ROPE_DEFAULT && c.rope.theta == 123);
    accepts("{\"rope_parameters\": null, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
            &c);
    CHECK(c.rope.type == ROPE_LINEAR && c.rope.factor == 2 && c.rope.theta == 10000);
}

static void missing_fields(void)
{
    static const char *const needed[] = {"num_hidden_layers", "hidden_size", "intermediate_size",
                                         "num_attention_heads", "vocab_size"};
    char change[96], message[96];

    for (int i = 0; i < 5; i++) {
        snprintf(change, sizeof(change), "{\"%s\": \"absent\"}", needed[i]);
        snprintf(message, sizeof(message), "no field '%s'", needed[i]);
        refuses(change, message);
    }
}

static void wrong_types(void)
{
    refuses("{\"hidden_size\": \"8\"}", "field 'hidden_size' is not a finite number");
    refuses("{\"hidden_size\": null}", "field 'hidden_size' is not a finite number");
    refuses("{\"num_hidden_layers\": 2.5}", "field 'num_hidden_layers' is 2.5");
    refuses("{\"num_key_value_heads\": []}", "field 'num_key_value_heads'");
    refuses("{\"rms_norm_eps\": \"1e-5\"}", "field 'rms_norm_eps'");
    refuses("{\"rms_norm_eps\": 0}", "field 'rms_norm_eps' is not positive");
    refuses("{\"rms_norm_eps\": -1e-5}", "field 'rms_norm_eps' is not positive");
    refuses("{\"rms_norm_eps\": 1e-50}", "'rms_norm_eps' is 1e-50, which is no positive float");
    refuses("{\"rms_norm_eps\": 1e50}", "'rms_norm_eps' is 1e+50, which is no positive float");
    refuses("{\"rope_theta\": -1}", "field 'rope_theta' is not positive");
    refuses("{\"rope_theta\": true}", "field 'rope_theta'");
    refuses("{\"tie_word_embeddings\": 1}", "field 'tie_word_embeddings' is not true or false");
    refuses("{\"attention_bias\": \"no\"}", "field 'attention_bias' is not true or false");
    refuses("{\"bos_token_id\": \"<s>\"}", "field 'bos_token_id' is not a token id");
    refuses("{\"eos_token_id\": [-1]}", "field 'eos_token_id' is not a token id");
    refuses("{\"eos_token_id\": 1.5}", "field 'eos_token_id' is not a token id");
    refuses("{\"model_type\": 3}", "field 'model_type' is not a string");
    refuses("{\"rope_scaling\": \"llama3\"}", "'rope_scaling' is not an object");
    refuses("{\"rope_parameters\": [1]}", "'rope_parameters' is not an object");
}

static void other_models(void)
{
    refuses("{\"model_type\": \"mistral\"}", "'model_type' is 'mistral'");
    refuses("{\"hidden_act\": \"gelu\"}", "'hidden_act' is 'gelu'");
    refuses("{\"attention_bias\": true}", "'attention_bias' is true");
    refuses("{\"mlp_bias\": true}", "'mlp_bias' is true");
    refuses("{\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}}",
            "'partial_rotary_factor' is 0.5");
}

static void unknown_ropes(void)
{
    refuses("{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}",
            "rope type 'yarn' is not known; known: default, linear, llama3");
    refuses("{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4}}", "rope type 'dynamic'");
    refuses("{\"rope_scaling\": {\"rope_type\": 4}}", "field 'rope_type' is not a string");
    refuses("{\"rope_scaling\": {\"type\": \"linear\"}}", "needs 'factor'");
    refuses("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}}", "field 'factor'");
    refuses("{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
            "\"high_freq_factor\": 4}}",
            "'high_freq_factor' is not above 'low_freq_factor'");
}

static void sizes(void)
{
    refuses("{\"head_dim\": 5}", "head_dim 5 is odd");
    refuses("{\"hidden_size\": 6}", "head_dim 3 is odd");
    refuses("{\"hidden_size\": 9}", "hidden_size 9 is not a multiple of num_attention_heads 2");
    refuses("{\"num_key_value_heads\": 3}",
            "num_attention_heads 2 is not a multiple of num_key_value_heads 3");
    refuses("{\"num_attention_heads\": 0}", "field 'num_attention_heads' is 0");
    refuses("{\"num_hidden_layers\": -2}", "field 'num_hidden_layers' is -2");
    refuses("{\"num_hidden_layers\": 1e6}", "field 'num_hidden_layers'");
    refuses("{\"hidden_size\": 1e18}", "field 'hidden_size'");
    refuses("{\"intermediate_size\": 18446744073709551615}", "field 'intermediate_size'");
    refuses("{\"vocab_size\": 1e308}", "field 'vocab_size'");
    refuses("{\"head_dim\": 100000}", "field 'head_dim'");
    refuses("{\"max_position_embeddings\": 4294967296}", "field 'max_position_embeddings'");
    refuses("{\"max_position_embeddings\": 16777216, \"head_dim\": 128}",
            "max_position_embeddings 16777216 times");
}

/* ---- duo's own form */

#define FORM(heads, kv, m, rest)                                                                   \
    "{\"num_attention_heads\": " heads ", \"num_key_value_heads\": " kv                            \
    ", \"intermediate_size\": " m rest "}"
#define WHOLE FORM("2", "1", "12", "")
#define OWN(layers) "{\"model_type\": \"duo-llama\", \"head_dim\": 4, \"duo_layers\": [" layers "]}"

static void own_form(void)
{
    struct llama_config c;
    struct layer_form f;

    accepts(OWN(WHOLE ", " WHOLE), &c);
    CHECK(config_n_linear_params(&c) == 2 * (8 * 8 * 2 + 8 * 4 * 2 + 3 * 8 * 12));
    CHECK(config_n_params(&c) == config_n_linear_params(&c) + 5 * 8 + 2 * 80);
    config_release(&c);
    CHECK(c.forms == NULL);
    accepts(OWN(FORM("0", "0", "5", ", \"o_bias\": true") ", " FORM(
                "1", "1", "0", ", \"attention_basis\": true, \"down_bias\": false")),
            &c);
    CHECK(c.n_heads == 2 && c.intermediate == 12);
    f = config_layer(&c, 0);
    CHECK(f.n_heads == 0 && f.n_kv_heads == 0 && f.intermediate == 5 && f.o_bias && !f.down_bias);
    f = config_layer(&c, 1);
    CHECK(f.n_heads == 1 && f.n_kv_heads == 1 && f.intermediate == 0 && !f.o_bias);
    CHECK(f.attention_basis && !f.mlp_basis && !f.down_bias);
    /* by hand: neurons, a head of 4 and its basis; then norms of two parts, one bias, the last */
    CHECK(config_n_linear_params(&c) == 3 * 8 * 5 + 4 * 8 * 4 + 64);
    CHECK(config_n_params(&c) == config_n_linear_params(&c) + (2 + 1 + 1) * 8 + 2 * 80);
    config_release(&c);
}

static void own_form_refused(void)
{
    refuses("{\"model_type\": \"duo-llama\"}", "duo_layers");
    refuses(OWN(WHOLE), "'duo_layers' has 1 layers, num_hidden_layers is 2");
    refuses(OWN(WHOLE ", 3"), "duo_layers 1: not an object");
    refuses(OWN(WHOLE ", {}"), "duo_layers 1");
    refuses(OWN(FORM("3", "1", "12", "") ", " WHOLE), "duo_layers 0");
    refuses(OWN(FORM("2", "2", "12", "") ", " WHOLE), "duo_layers 0");
    refuses(OWN(FORM("2", "1", "13", "") ", " WHOLE), "duo_layers 0");
    refuses(OWN(FORM("-1", "1", "12", "") ", " WHOLE), "duo_layers 0");
    refuses(OWN(FORM("2", "0", "12", "") ", " WHOLE), "2 heads do not go with 0 heads of keys");
    refuses(OWN(FORM("0", "1", "12", "") ", " WHOLE), "0 heads do not go with 1 heads of keys");
    refuses(OWN(FORM("2", "1", "12", ", \"o_bias\": 1") ", " WHOLE), "'o_bias'");
    refuses("{\"model_type\": \"duo-llama\", \"duo_layers\": [" WHOLE ", " WHOLE "]}",
            "'head_dim' is missing");
    refuses("{\"model_type\": \"duo\"}", "'model_type' is 'duo'");
}

static void refuses_file(const char *text, size_t nbytes, const char *message)
{
    struct llama_config c;

    write_file("config.json", text, nbytes);
    FAILS(config_read(&c, folder), message);
    CHECK(strstr(error_last(), "config.json") != NULL);
}

static void junk(void)
{
    char deep[5000];
    struct llama_config c;

    memset(deep, '[', sizeof(deep));
    refuses_file(deep, sizeof(deep), "bad JSON");
    memcpy(deep, "{\"a\":", 5);
    refuses_file(deep, sizeof(deep), "bad JSON");
    refuses_file("", 0, "bad JSON");
    refuses_file("[]", 2, "not a JSON object");
    refuses_file("{} {}", 5, "something follows the value");
    refuses_file("\xff\xfe{\0}\0", 6, "invalid UTF-8 at byte 0");
    refuses_file(GOOD_CONFIG, sizeof(GOOD_CONFIG) - 2, "bad JSON");
    remove_file("config.json");
    FAILS(config_read(&c, folder), "config.json': No such file");
    FAILS(config_read(&c, "/no/such/folder"), "no model folder '/no/such/folder'");
}

/* ---- rotary frequencies; theta 500000, d 8: f = 1, 0.0376060309, 0.00141421356, 0.0000531829590
 */

static void rope_default_and_linear(void)
{
    struct llama_config c = {.head_dim = 8, .rope = {.theta = 500000}};
    const double want[] = {1, 0.03760603093086393568, 0.00141421356237309504,
                           0.00005318295896944988};
    float f[4];

    rope_frequencies(&c, f);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(f[i], want[i], 1e-6 * want[i]);
    c.rope.type = ROPE_LINEAR;
    c.rope.factor = 4;
    rope_frequencies(&c, f);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(f[i], want[i] / 4, 1e-6 * want[i]);
}

/* 8192 positions are 1304, 49.0, 1.8438 and 0.0693 turns: above high_freq_factor 4 a frequency is
 * kept, below low_freq_factor 1 divided by 8, between, at (1.8438 - 1) / 3 = 0.281283, mixed. */
static void rope_llama3(void)
{
    struct llama_config c = {.head_dim = 8, .rope = {ROPE_LLAMA3, 500000, 8, 1, 4, 8192}};
    const double want[] = {1, 0.03760603093086393568, 0.00052484616099295465,
                           0.00000664786987118123};
    float f[4], table[3 * 8];

    rope_frequencies(&c, f);
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(f[i], want[i], 1e-6 * want[i]);
    rope_table(&c, 3, table);
    for (int i = 0; i < 4; i++) {
        CHECK(table[i] == 1 && table[4 + i] == 0);
        CHECK_NEAR(table[16 + i], __builtin_cos(2 * want[i]), 4e-7);
        CHECK_NEAR(table[20 + i], __builtin_sin(2 * want[i]), 4e-7);
    }
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    RUN(llama2_form);
    RUN(defaults);
    RUN(llama3_form);
    RUN(newer_form);
    RUN(missing_fields);
    RUN(wrong_types);
    RUN(other_models);
    RUN(unknown_ropes);
    RUN(sizes);
    RUN(own_form);
    RUN(own_form_refused);
    RUN(junk);
    RUN(rope_default_and_linear);
    RUN(rope_llama3);
    remove_file("config.json");
    return rmdir(folder) != 0;
}
