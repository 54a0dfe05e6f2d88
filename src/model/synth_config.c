// Presets -> config.json. The keys are those of the published configs, so that every reader of a
// real checkpoint's config.json finds in a synthetic one what it looks for.
#include "model/synth.h"
#include <string.h>

// What is the same in all presets: every key of Kimi-K2-Thinking's config.json.
static const char k2_config[] =
    "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"attention_bias\": false,"
    " \"attention_dropout\": 0.0,"
    " \"auto_map\": {\"AutoConfig\": \"configuration_deepseek.DeepseekV3Config\","
    " \"AutoModel\": \"modeling_deepseek.DeepseekV3Model\","
    " \"AutoModelForCausalLM\": \"modeling_deepseek.DeepseekV3ForCausalLM\"},"
    " \"aux_loss_alpha\": 0.001, \"bos_token_id\": 163584, \"eos_token_id\": 163586,"
    " \"first_k_dense_replace\": 1, \"hidden_act\": \"silu\", \"hidden_size\": 7168,"
    " \"initializer_range\": 0.02, \"intermediate_size\": 18432, \"kv_lora_rank\": 512,"
    " \"max_position_embeddings\": 262144, \"model_type\": \"kimi_k2\","
    " \"moe_intermediate_size\": 2048, \"moe_layer_freq\": 1, \"n_group\": 1,"
    " \"n_routed_experts\": 384, \"n_shared_experts\": 1, \"norm_topk_prob\": true,"
    " \"num_attention_heads\": 64, \"num_experts_per_tok\": 8, \"num_hidden_layers\": 61,"
    " \"num_key_value_heads\": 64, \"num_nextn_predict_layers\": 0, \"pad_token_id\": 163839,"
    " \"pretraining_tp\": 1, \"q_lora_rank\": 1536, \"qk_nope_head_dim\": 128,"
    " \"qk_rope_head_dim\": 64,"
    " \"quantization_config\": {\"config_groups\": {\"group_0\": {\"input_activations\": null,"
    " \"output_activations\": null, \"targets\": [\"Linear\"], \"weights\": {\"actorder\": null,"
    " \"block_structure\": null, \"dynamic\": false, \"group_size\": 32, \"num_bits\": 4,"
    " \"observer\": \"minmax\", \"observer_kwargs\": {}, \"strategy\": \"group\","
    " \"symmetric\": true, \"type\": \"int\"}}}, \"format\": \"pack-quantized\","
    " \"ignore\": [\"lm_head\", \"re:.*self_attn.*\", \"re:.*shared_experts.*\","
    " \"re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*\"], \"kv_cache_scheme\": null,"
    " \"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\"},"
    " \"rms_norm_eps\": 1e-05,"
    " \"rope_scaling\": {\"beta_fast\": 1.0, \"beta_slow\": 1.0, \"factor\": 64.0,"
    " \"mscale\": 1.0, \"mscale_all_dim\": 1.0, \"original_max_position_embeddings\": 4096,"
    " \"type\": \"yarn\"},"
    " \"rope_theta\": 50000.0, \"routed_scaling_factor\": 2.827, \"scoring_func\": \"sigmoid\","
    " \"seq_aux\": true, \"tie_word_embeddings\": false, \"topk_group\": 1,"
    " \"topk_method\": \"noaux_tc\", \"torch_dtype\": \"bfloat16\","
    " \"transformers_version\": \"4.51.3\", \"use_cache\": true, \"v_head_dim\": 128,"
    " \"vocab_size\": 163840}";

// Every size is divisible by 8 ranks; a rank's share of an expert is a whole number of groups.
static const char tiny_changes[] =
    "{\"hidden_size\": 256, \"intermediate_size\": 512, \"kv_lora_rank\": 64,"
    " \"moe_intermediate_size\": 256, \"n_routed_experts\": 16, \"num_attention_heads\": 8,"
    " \"num_experts_per_tok\": 4, \"num_hidden_layers\": 4, \"num_key_value_heads\": 8,"
    " \"q_lora_rank\": 96, \"qk_nope_head_dim\": 32, \"qk_rope_head_dim\": 16,"
    " \"v_head_dim\": 32, \"vocab_size\": 1024}";

// Moonlight-16B-A3B's shape: no query compression, no rope scaling, two shared experts.
static const char moonlight_changes[] =
    "{\"hidden_size\": 2048, \"intermediate_size\": 11264, \"max_position_embeddings\": 8192,"
    " \"model_type\": \"deepseek_v3\", \"moe_intermediate_size\": 1408,"
    " \"n_routed_experts\": 64, \"n_shared_experts\": 2, \"num_attention_heads\": 16,"
    " \"num_experts_per_tok\": 6, \"num_hidden_layers\": 27, \"num_key_value_heads\": 16,"
    " \"q_lora_rank\": null, \"rope_scaling\": null, \"routed_scaling_factor\": 2.446}";

static const char slice_changes[] =
    "{\"n_routed_experts\": 64, \"num_hidden_layers\": 4, \"vocab_size\": 32768}";

static const struct {
    const char *name, *changes;
} presets[] = {
    {"tiny", tiny_changes},
    {"moonlight", moonlight_changes},
    {"k2-slice", slice_changes},
    {"k2", "{}"},
};

static json_t *preset_config(const char *name, base_err *err) {
    for (size_t i = 0; name && i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(name, presets[i].name) != 0)
            continue;
        json_t *config = json_loads(k2_config, 0, NULL);
        json_t *changes = json_loads(presets[i].changes, 0, NULL);
        if (config && changes)
            json_object_update(config, changes);
        json_decref(changes);
        return config;
    }
    base_fail(err, BASE_ERR_USAGE, "preset \"%s\" is not one of tiny, moonlight, k2-slice, k2",
              name ? name : "");
    return NULL;
}

static json_t *parse_overrides(const char *text, base_err *err) {
    json_t *overrides = base_json_parse(text, strlen(text), "overrides", BASE_ERR_USAGE, err);
    if (overrides && !json_is_object(overrides)) {
        base_fail(err, BASE_ERR_USAGE, "overrides: not a JSON object");
        json_decref(overrides);
        return NULL;
    }
    return overrides;
}

json_t *synth_config_make(const model_synth_options *options, int n_ids, base_err *err) {
    json_t *config = preset_config(options->preset, err);
    if (!config)
        return NULL;
    int vocab_size = options->vocab_size ? options->vocab_size : n_ids;
    if (vocab_size)
        json_object_set_new(config, "vocab_size", json_integer(vocab_size));
    if (options->n_layers)
        json_object_set_new(config, "num_hidden_layers", json_integer(options->n_layers));
    if (options->n_experts)
        json_object_set_new(config, "n_routed_experts", json_integer(options->n_experts));
    if (options->overrides) {
        json_t *overrides = parse_overrides(options->overrides, err);
        if (!overrides) {
            json_decref(config);
            return NULL;
        }
        // Objects merge key by key; null is a value of its own ("q_lora_rank": null).
        json_object_update_recursive(config, overrides);
        json_decref(overrides);
    }
    return config;
}

static void set_id(json_t *config, const json_t *overrides, const char *key, int32_t id) {
    if (json_object_get(config, key) && !json_object_get(overrides, key))
        json_object_set_new(config, key, id < 0 ? json_null() : json_integer(id));
}

int synth_config_set_ids(json_t *config, const model_synth_options *options,
                         const synth_tokenizer *tokenizer, base_err *err) {
    json_t *overrides = NULL;
    if (options->overrides && !(overrides = parse_overrides(options->overrides, err)))
        return BASE_ERR_USAGE;
    set_id(config, overrides, "bos_token_id", tokenizer->bos);
    set_id(config, overrides, "eos_token_id", tokenizer->eos);
    set_id(config, overrides, "pad_token_id", tokenizer->pad);
    json_decref(overrides);
    return 0;
}

// ---------------------------------------------------------------------------------------------

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_value(const json_t *value, int indent, base_str *out);

static void print_break(int indent, base_str *out) {
    base_str_printf(out, "\n%*s", indent, "");
}

static void print_object(const json_t *object, int indent, base_str *out) {
    size_t n = json_object_size(object), i = 0;
    if (n == 0) {
        base_str_adds(out, "{}");
        return;
    }
    const char **keys = base_calloc(n, sizeof *keys);
    json_t *map = (json_t *)object; // jansson's iterator takes no const, but changes nothing
    const char *key;
    json_t *unused;
    json_object_foreach(map, key, unused) keys[i++] = key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (i = 0; i < n; i++) {
        base_str_adds(out, i ? "," : "{");
        print_break(indent + 2, out);
        base_json_add_string(out, keys[i], strlen(keys[i]));
        base_str_adds(out, ": ");
        print_value(json_object_get(object, keys[i]), indent + 2, out);
    }
    print_break(indent, out);
    base_str_adds(out, "}");
    base_free(keys);
}

static void print_array(const json_t *array, int indent, base_str *out) {
    size_t n = json_array_size(array);
    if (n == 0) {
        base_str_adds(out, "[]");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        base_str_adds(out, i ? "," : "[");
        print_break(indent + 2, out);
        print_value(json_array_get(array, i), indent + 2, out);
    }
    print_break(indent, out);
    base_str_adds(out, "]");
}

static void print_value(const json_t *value, int indent, base_str *out) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        print_object(value, indent, out);
        break;
    case JSON_ARRAY:
        print_array(value, indent, out);
        break;
    default:
        base_json_add(out, value, ",", ":", true);
    }
}

void synth_config_print(const json_t *config, base_str *out) {
    print_value(config, 0, out);
    base_str_adds(out, "\n");
}
