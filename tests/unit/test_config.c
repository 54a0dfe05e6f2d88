// config.json and generation_config.json: what is read, and that everything else is refused with
// the name of the field.
#include "model/internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static const char GOOD[] =
    "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"kimi_k2\","
    "\"hidden_size\": 64, \"num_hidden_layers\": 4, \"num_attention_heads\": 4,"
    "\"num_key_value_heads\": 4, \"vocab_size\": 512, \"q_lora_rank\": 48, \"kv_lora_rank\": 32,"
    "\"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, \"v_head_dim\": 16,"
    "\"intermediate_size\": 96, \"moe_intermediate_size\": 64, \"n_routed_experts\": 8,"
    "\"num_experts_per_tok\": 2, \"n_shared_experts\": 1, \"first_k_dense_replace\": 1,"
    "\"moe_layer_freq\": 1, \"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true,"
    "\"routed_scaling_factor\": 2.5, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\","
    "\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", \"attention_bias\": false,"
    "\"tie_word_embeddings\": false, \"max_position_embeddings\": 4096, \"rope_theta\": 50000.0,"
    "\"eos_token_id\": 258, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 64.0,"
    "\"original_max_position_embeddings\": 64, \"beta_fast\": 1.0, \"beta_slow\": 1.0,"
    "\"mscale\": 1.0, \"mscale_all_dim\": 1.0},"
    "\"quantization_config\": {\"quant_method\": \"compressed-tensors\","
    "\"format\": \"pack-quantized\", \"config_groups\": {\"group_0\": {\"weights\": {"
    "\"num_bits\": 4, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\","
    "\"group_size\": 32, \"dynamic\": false, \"actorder\": null}}}}}";

// GOOD with the value at `path` ("rope_scaling.type") set to the JSON text `value`; NULL deletes
// it.
static char *edit(const char *path, const char *value) {
    json_t *root = json_loads(GOOD, 0, NULL), *object = root;
    assert_non_null(root);
    char key[200];
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        object = json_object_get(object, key);
        assert_non_null(object);
    }
    if (value)
        json_object_set_new(object, path, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, path);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static int parse_edited(const char *path, const char *value, model_config *out, base_err *err) {
    char *text = edit(path, value);
    int rc = model_config_parse(out, text, strlen(text), "config.json", err);
    free(text);
    return rc;
}

static void test_good_config_is_read(void **state) {
    (void)state;
    model_config c;
    base_err err = {0};
    assert_int_equal(model_config_parse(&c, GOOD, strlen(GOOD), "config.json", &err), 0);
    assert_string_equal(c.architecture, "DeepseekV3ForCausalLM");
    assert_string_equal(c.model_type, "kimi_k2");
    assert_int_equal(c.hidden_size, 64);
    assert_int_equal(c.q_lora_rank, 48);
    assert_int_equal(c.n_experts_per_tok, 2);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos_ids[0], 258);
    assert_true(c.int4_experts && c.rope.yarn && c.norm_topk_prob);
    assert_true(c.rms_norm_eps == 1e-5 && c.inner_norm_eps == 1e-5);
    assert_true(c.rope.factor == 64 && c.rope.theta == 50000 && c.rope.beta_fast == 1);
    assert_int_equal(c.rope.original_max_position, 64);
    assert_false(model_layer_is_moe(&c, 0));
    assert_true(model_layer_is_moe(&c, 1));
}

typedef struct change {
    const char *path, *value;
    const char *field; // what the message must name; NULL: accepted
} change;

static const change CHANGES[] = {
    // Accepted variants.
    {"q_lora_rank", "null", NULL},
    {"q_lora_rank", NULL, NULL},
    {"n_shared_experts", "null", NULL},
    {"n_shared_experts", "3", NULL},
    {"rope_scaling", "null", NULL},
    {"rope_scaling", NULL, NULL},
    {"rope_scaling", "{\"rope_type\": \"default\"}", NULL},
    {"quantization_config", NULL, NULL},
    {"eos_token_id", "[1, 2, 2]", NULL},
    {"eos_token_id", "null", NULL},
    {"model_type", "\"deepseek_v3\"", NULL},
    {"moe_layer_freq", "2", NULL},
    {"num_nextn_predict_layers", "1", NULL},
    {"rope_interleave", "true", NULL},
    {"rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 10000.0}", NULL},
    {"something_new", "[1, {\"a\": null}]", NULL},
    // What the formula does not cover.
    {"architectures", "[\"LlamaForCausalLM\"]", "LlamaForCausalLM"},
    {"architectures", "[]", "architectures"},
    {"architectures", "\"DeepseekV3ForCausalLM\"", "architectures"},
    {"architectures", "[\"KimiK25ForConditionalGeneration\"]", "text_config"},
    {"model_type", "\"deepseek_v2\"", "model_type"},
    {"hidden_act", "\"gelu\"", "hidden_act"},
    {"scoring_func", "\"softmax\"", "scoring_func"},
    {"topk_method", "\"greedy\"", "topk_method"},
    {"attention_bias", "true", "attention_bias"},
    {"tie_word_embeddings", "true", "tie_word_embeddings"},
    {"mla_use_nope", "true", "mla_use_nope"},
    {"linear_attn_config", "{}", "linear_attn_config"},
    {"rope_interleave", "false", "rope_interleave"},
    {"num_key_value_heads", "2", "num_key_value_heads"},
    {"rope_scaling.type", "\"linear\"", "linear"},
    {"rope_scaling.type", "\"longrope\"", "longrope"},
    {"rope_scaling.type", NULL, "rope_scaling"},
    {"rope_scaling.factor", NULL, "factor"},
    {"rope_scaling.original_max_position_embeddings", NULL, "original_max_position_embeddings"},
    {"rope_scaling.attention_factor", "1.5", "attention_factor"},
    {"rope_scaling.truncate", "false", "truncate"},
    {"rope_scaling.beta_slow", "2", "beta_fast"},
    {"rope_scaling", "\"yarn\"", "rope_scaling"},
    {"quantization_config.quant_method", "\"fp8\"", "fp8"},
    {"quantization_config.format", "\"marlin-24\"", "marlin-24"},
    {"quantization_config.kv_cache_scheme", "{\"num_bits\": 8}", "kv_cache_scheme"},
    {"quantization_config.config_groups", "{}", "config_groups"},
    {"quantization_config.config_groups.group_1", "{}", "config_groups"},
    {"quantization_config.config_groups.group_0.weights.num_bits", "8", "num_bits"},
    {"quantization_config.config_groups.group_0.weights.group_size", "128", "group_size"},
    {"quantization_config.config_groups.group_0.weights.symmetric", "false", "symmetric"},
    {"quantization_config.config_groups.group_0.weights.type", "\"float\"", "type"},
    {"quantization_config.config_groups.group_0.weights.strategy", "\"channel\"", "strategy"},
    {"quantization_config.config_groups.group_0.weights.actorder", "\"group\"", "actorder"},
    {"quantization_config.config_groups.group_0.weights.dynamic", "true", "dynamic"},
    {"quantization_config.config_groups.group_0.input_activations", "{}", "input_activations"},
    {"quantization_config.sparsity_config", "{\"format\": \"x\"}", "sparsity_config"},
    // Missing, mistyped, absurd.
    {"hidden_size", NULL, "hidden_size"},
    {"hidden_size", "null", "hidden_size"},
    {"hidden_size", "\"64\"", "hidden_size"},
    {"hidden_size", "64.0", "hidden_size"},
    {"hidden_size", "true", "hidden_size"},
    {"hidden_size", "-64", "hidden_size"},
    {"hidden_size", "0", "hidden_size"},
    {"hidden_size", "65", "hidden_size"},
    {"hidden_size", "4294967360", "hidden_size"},
    {"hidden_size", "9223372036854775807", "hidden_size"},
    {"num_hidden_layers", "0", "num_hidden_layers"},
    {"num_hidden_layers", "1000000000", "num_hidden_layers"},
    {"num_attention_heads", "2147483647", "num_attention_heads"},
    {"vocab_size", "1", "vocab_size"},
    {"vocab_size", "1e9", "vocab_size"},
    {"vocab_size", "2147483648", "vocab_size"},
    {"q_lora_rank", "-1", "q_lora_rank"},
    {"kv_lora_rank", "0", "kv_lora_rank"},
    {"kv_lora_rank", "33", "kv_lora_rank"},
    {"qk_rope_head_dim", "7", "qk_rope_head_dim"},
    {"v_head_dim", "100000", "v_head_dim"},
    {"moe_intermediate_size", "48", "moe_intermediate_size"},
    {"intermediate_size", "100", "intermediate_size"},
    {"n_routed_experts", "1000000", "n_routed_experts"},
    {"n_routed_experts", "1", "num_experts_per_tok"},
    {"num_experts_per_tok", "9", "num_experts_per_tok"},
    {"n_shared_experts", "-1", "n_shared_experts"},
    {"first_k_dense_replace", "5", "first_k_dense_replace"},
    {"moe_layer_freq", "0", "moe_layer_freq"},
    {"n_group", "3", "n_group"},
    {"n_group", "8", "n_group"},
    {"topk_group", "2", "topk_group"},
    {"routed_scaling_factor", "0", "routed_scaling_factor"},
    {"routed_scaling_factor", NULL, "routed_scaling_factor"},
    {"rms_norm_eps", "-1e-5", "rms_norm_eps"},
    {"rms_norm_eps", "0", "rms_norm_eps"},
    {"rms_norm_eps", "1e300", "rms_norm_eps"},
    {"norm_topk_prob", "1", "norm_topk_prob"},
    {"rope_theta", "0", "rope_theta"},
    {"rope_theta", NULL, "rope_theta"},
    {"rope_scaling.factor", "0", "factor"},
    {"rope_scaling.original_max_position_embeddings", "0", "original_max_position_embeddings"},
    {"max_position_embeddings", "0", "max_position_embeddings"},
    {"max_position_embeddings", "1000000000000", "max_position_embeddings"},
    {"eos_token_id", "512", "eos_token_id"},
    {"eos_token_id", "-1", "eos_token_id"},
    {"eos_token_id", "\"</s>\"", "eos_token_id"},
    {"eos_token_id", "[1, 2.5]", "eos_token_id"},
    {"eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "eos_token_id"},
};

static void test_changes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++) {
        const change *ch = &CHANGES[i];
        model_config c;
        base_err err = {0};
        int rc = parse_edited(ch->path, ch->value, &c, &err);
        if (!ch->field && rc != 0)
            fail_msg("%s = %s: %s", ch->path, ch->value ? ch->value : "(none)", err.message);
        if (ch->field && (rc != BASE_ERR_MODEL || !strstr(err.message, ch->field) ||
                          !strstr(err.message, "config.json")))
            fail_msg("%s = %s: code %d, message \"%s\"", ch->path, ch->value ? ch->value : "(none)",
                     rc, err.message);
    }
}

static void test_variants_mean_what_they_say(void **state) {
    (void)state;
    model_config c;
    assert_int_equal(parse_edited("q_lora_rank", "null", &c, NULL), 0);
    assert_int_equal(c.q_lora_rank, 0);
    assert_int_equal(parse_edited("rope_scaling", "null", &c, NULL), 0);
    assert_false(c.rope.yarn);
    assert_int_equal(parse_edited("quantization_config", NULL, &c, NULL), 0);
    assert_false(c.int4_experts);
    assert_int_equal(parse_edited("eos_token_id", "[3, 5, 3]", &c, NULL), 0);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(parse_edited("rope_parameters",
                                  "{\"rope_type\": \"default\", \"rope_theta\": 10000.0}", &c,
                                  NULL),
                     0);
    assert_true(!c.rope.yarn && c.rope.theta == 10000);
    assert_int_equal(parse_edited("moe_layer_freq", "2", &c, NULL), 0);
    assert_false(model_layer_is_moe(&c, 1));
    assert_true(model_layer_is_moe(&c, 2));
}

static void test_broken_text(void **state) {
    (void)state;
    static const char *const texts[] = {
        "", "{", "[]", "null", "{} x", "{\"a\": 1, \"a\": 2}", "{\"a\": \xff}", "\xef\xbb\xbf{}"};
    model_config c;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        base_err err = {0};
        assert_int_equal(model_config_parse(&c, texts[i], strlen(texts[i]), "config.json", &err),
                         BASE_ERR_MODEL);
        assert_non_null(strstr(err.message, "config.json"));
    }
    // Cut at every byte: never accepted, never a crash.
    for (size_t n = 0; n < strlen(GOOD); n++)
        assert_int_equal(model_config_parse(&c, GOOD, n, "config.json", NULL), BASE_ERR_MODEL);
}

static void test_generation_config(void **state) {
    (void)state;
    static const char good[] = "{\"temperature\": 0.6, \"top_k\": -1, \"top_p\": 0.95,"
                               "\"max_new_tokens\": 100, \"min_p\": null, \"do_sample\": true,"
                               "\"eos_token_id\": [258, 257], \"max_length\": 262144}";
    static const char *const bad[] = {
        "{\"temperature\": -1}",   "{\"temperature\": \"1\"}", "{\"top_p\": 0}",
        "{\"top_p\": 1.5}",        "{\"top_k\": 1.5}",         "{\"min_p\": 2}",
        "{\"max_new_tokens\": 0}", "{\"eos_token_id\": 512}",  "{\"repetition_penalty\": 0}",
        "{\"top_k\": -2}",
    };
    model_config c;
    model_generation g;
    base_err err = {0};
    assert_int_equal(model_config_parse(&c, GOOD, strlen(GOOD), "config.json", NULL), 0);
    assert_int_equal(model_generation_parse(&g, &c, good, strlen(good), "generation", &err), 0);
    assert_true(g.has_temperature && g.temperature == 0.6 && g.top_p == 0.95);
    assert_true(g.has_top_k && g.top_k == 0 && !g.has_min_p && !g.has_repetition);
    assert_int_equal(g.max_new_tokens, 100);
    assert_int_equal(c.n_eos, 2); // 258 of config.json, and 257
    assert_int_equal(c.eos_ids[0], 258);
    assert_int_equal(c.eos_ids[1], 257);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (model_generation_parse(&g, &c, bad[i], strlen(bad[i]), "generation", &err) !=
            BASE_ERR_MODEL)
            fail_msg("%s was accepted", bad[i]);
}

typedef struct published {
    const char *file, *refused; // NULL: accepted
} published;

static void test_published_configs(void **state) {
    (void)state;
    static const published list[] = {
        {"RECONSTRUCTED--Kimi-K2-Thinking", NULL},
        {"RECONSTRUCTED--Moonlight-16B-A3B-Instruct", NULL},
        {"moonshotai--Kimi-K2.5", NULL},
        {"moonshotai--Kimi-K2.6", NULL},
        {"moonshotai--Kimi-K2-Instruct", "fp8"},
        {"deepseek-ai--DeepSeek-V3", "fp8"},
        {"deepseek-ai--DeepSeek-R1", "fp8"},
        {"moonshotai--Kimi-K3", "architectures"},
        {"TRANSCRIBED--Kimi-Linear-48B-A3B-Instruct", "architectures"},
    };
    if (access("../shared/data/configs", F_OK) != 0) {
        print_message("# ../shared is absent\n");
        skip();
    }
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        base_str text = {0}, path = {0};
        base_err err = {0};
        model_config c;
        base_str_printf(&path, "../shared/data/configs/%s_config.json", list[i].file);
        assert_int_equal(base_file_read(path.data, 1 << 20, BASE_ERR_MODEL, &text, &err), 0);
        int rc = model_config_parse(&c, text.data, text.len, list[i].file, &err);
        if (list[i].refused ? rc != BASE_ERR_MODEL || !strstr(err.message, list[i].refused)
                            : rc != 0 || c.vocab_size != 163840)
            fail_msg("%s: %d %s", list[i].file, rc, err.message);
        base_str_free(&text);
        base_str_free(&path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_config_is_read),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_variants_mean_what_they_say),
        cmocka_unit_test(test_broken_text),
        cmocka_unit_test(test_generation_config),
        cmocka_unit_test(test_published_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
