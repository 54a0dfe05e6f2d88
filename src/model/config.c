// config.json -> model_config. What the formula does not cover is refused by name: a wrong guess
// here would give fluent nonsense.
#include "model/internal.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

// All integers with their bounds. `multiple`: the kernels reduce in groups of that many (32: INT4
// groups and sharding units; 2: BF16 pairs).
typedef struct int_field {
    const char *key;
    size_t offset;
    int low, high, multiple;
    enum { REQUIRED, OPTIONAL, NULL_IS_ZERO } when_missing;
    int value; // OPTIONAL: the default
} int_field;

#define AT(member) offsetof(model_config, member)
static const int_field INT_FIELDS[] = {
    {"hidden_size", AT(hidden_size), 32, 65536, 32, REQUIRED, 0},
    {"num_hidden_layers", AT(n_layers), 1, 1024, 1, REQUIRED, 0},
    {"num_attention_heads", AT(n_heads), 1, 1024, 1, REQUIRED, 0},
    {"vocab_size", AT(vocab_size), 2, 4194304, 1, REQUIRED, 0},
    {"q_lora_rank", AT(q_lora_rank), 2, 65536, 2, NULL_IS_ZERO, 0},
    {"kv_lora_rank", AT(kv_lora_rank), 2, 8192, 2, REQUIRED, 0},
    {"qk_nope_head_dim", AT(qk_nope_head_dim), 2, 4096, 2, REQUIRED, 0},
    {"qk_rope_head_dim", AT(qk_rope_head_dim), 2, 1024, 2, REQUIRED, 0},
    {"v_head_dim", AT(v_head_dim), 2, 4096, 2, REQUIRED, 0},
    {"intermediate_size", AT(intermediate_size), 32, 1048576, 32, REQUIRED, 0},
    {"moe_intermediate_size", AT(moe_intermediate_size), 32, 1048576, 32, REQUIRED, 0},
    {"n_routed_experts", AT(n_routed_experts), 1, 4096, 1, REQUIRED, 0},
    {"num_experts_per_tok", AT(n_experts_per_tok), 1, 64, 1, REQUIRED, 0},
    {"n_shared_experts", AT(n_shared_experts), 0, 64, 1, NULL_IS_ZERO, 0},
    {"first_k_dense_replace", AT(first_k_dense_replace), 0, 1024, 1, REQUIRED, 0},
    {"moe_layer_freq", AT(moe_layer_freq), 1, 1024, 1, OPTIONAL, 1},
    {"n_group", AT(n_group), 1, 1024, 1, OPTIONAL, 1},
    {"topk_group", AT(topk_group), 1, 1024, 1, OPTIONAL, 1},
    {"num_nextn_predict_layers", AT(n_nextn_layers), 0, 64, 1, NULL_IS_ZERO, 0},
    {"max_position_embeddings", AT(max_position_embeddings), 1, 16777216, 1, REQUIRED, 0},
};

typedef struct source {
    const json_t *object;
    const char *what; // names the object in messages: "config.json", "config.json: rope_scaling"
    base_err *err;
} source;

// An absent key and null are the same thing everywhere.
static const json_t *get(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int fail(const source *s, const char *key, const char *reason) {
    return base_fail(s->err, BASE_ERR_MODEL, "%s: %s: %s", s->what, key, reason);
}

static int read_int(const source *s, const int_field *f, int *out) {
    const json_t *value = get(s->object, f->key);
    if (!value && f->when_missing == REQUIRED)
        return fail(s, f->key, "missing");
    if (!value) {
        *out = f->value;
        return 0;
    }
    if (!json_is_integer(value))
        return fail(s, f->key, "must be an integer");
    json_int_t n = json_integer_value(value);
    if (f->when_missing == NULL_IS_ZERO && n == 0) {
        *out = 0;
        return 0;
    }
    if (n < f->low || n > f->high || n % f->multiple != 0)
        return base_fail(s->err, BASE_ERR_MODEL, "%s: %s: %lld; must be in [%d, %d]%s%s", s->what,
                         f->key, (long long)n, f->low, f->high,
                         f->multiple > 1 ? " and a multiple of " : "",
                         f->multiple == 32  ? "32"
                         : f->multiple == 2 ? "2"
                                            : "");
    *out = (int)n;
    return 0;
}

// A number in [low, high]; `fallback` when it is missing, NAN if it must be there.
static int read_double(const source *s, const char *key, double low, double high, double fallback,
                       double *out) {
    const json_t *value = get(s->object, key);
    if (!value && isnan(fallback))
        return fail(s, key, "missing");
    if (value && !json_is_number(value))
        return fail(s, key, "must be a number");
    double x = value ? json_number_value(value) : fallback;
    if (value && !(x >= low && x <= high))
        return base_fail(s->err, BASE_ERR_MODEL, "%s: %s: %g; must be in [%g, %g]", s->what, key, x,
                         low, high);
    *out = x;
    return 0;
}

// A boolean that may be missing, but must be `wanted` if it is there.
static int require_bool(const source *s, const char *key, bool wanted) {
    const json_t *value = get(s->object, key);
    if (value && !json_is_boolean(value))
        return fail(s, key, "must be true or false");
    if (value && json_is_true(value) != wanted)
        return fail(s, key, wanted ? "false is not supported" : "true is not supported");
    return 0;
}

// A string that may be missing, but must be one of `wanted` (NULL-terminated) if it is there.
static int require_string(const source *s, const char *key, const char *const *wanted) {
    const json_t *value = get(s->object, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return fail(s, key, "must be a string");
    for (int i = 0; wanted[i]; i++)
        if (strcmp(json_string_value(value), wanted[i]) == 0)
            return 0;
    return base_fail(s->err, BASE_ERR_MODEL, "%s: %s: \"%s\" is not supported (\"%s\" is)", s->what,
                     key, json_string_value(value), wanted[0]);
}

static int require_absent(const source *s, const char *key) {
    return get(s->object, key) ? fail(s, key, "is not supported") : 0;
}

// ---------------------------------------------------------------------------------------------

static int read_architecture(const source *top, const source *text, model_config *c) {
    static const char *const known[] = {"DeepseekV3ForCausalLM", "KimiK25ForConditionalGeneration",
                                        "KimiVLForConditionalGeneration", NULL};
    static const char *const types[] = {"kimi_k2", "deepseek_v3", NULL};
    const json_t *list = get(top->object, "architectures");
    const json_t *first = json_array_get(list, 0);
    if (!json_is_string(first))
        return fail(top, "architectures", "a list with a name is expected");
    const char *name = json_string_value(first);
    int i = 0;
    while (known[i] && strcmp(known[i], name) != 0)
        i++;
    if (!known[i])
        return base_fail(top->err, BASE_ERR_MODEL,
                         "%s: architectures: \"%s\" is not supported (\"%s\" is)", top->what, name,
                         known[0]);
    if ((text->object != top->object) != (i > 0))
        return fail(top, "text_config", i > 0 ? "missing" : "not expected for this architecture");
    const json_t *type = get(top->object, "model_type");
    if (type && (!json_is_string(type) || json_string_length(type) >= sizeof c->model_type))
        return fail(top, "model_type", "must be a short string");
    snprintf(c->architecture, sizeof c->architecture, "%s", known[i]);
    snprintf(c->model_type, sizeof c->model_type, "%s",
             type ? json_string_value(type) : "deepseek_v3");
    return require_string(text, "model_type", types);
}

// What would change the formula.
static int check_features(const source *s) {
    static const char *const silu[] = {"silu", NULL}, *const sigmoid[] = {"sigmoid", NULL},
                             *const noaux_tc[] = {"noaux_tc", NULL};
    static const char *const absent[] = {"linear_attn_config", "sliding_window", "index_topk",
                                         "attn_module_list_cfg"};
    static const char *const not_true[] = {"attention_bias", "mlp_bias", "mla_use_nope",
                                           "tie_word_embeddings"};
    int rc = require_string(s, "hidden_act", silu);
    if (rc == 0)
        rc = require_string(s, "scoring_func", sigmoid);
    if (rc == 0)
        rc = require_string(s, "topk_method", noaux_tc);
    if (rc == 0)
        rc = require_bool(s, "rope_interleave", true);
    for (size_t i = 0; rc == 0 && i < sizeof not_true / sizeof *not_true; i++)
        rc = require_bool(s, not_true[i], false);
    for (size_t i = 0; rc == 0 && i < sizeof absent / sizeof *absent; i++)
        rc = require_absent(s, absent[i]);
    return rc;
}

static int read_numbers(const source *s, model_config *c) {
    for (size_t i = 0; i < sizeof INT_FIELDS / sizeof *INT_FIELDS; i++) {
        int rc = read_int(s, &INT_FIELDS[i], (int *)((char *)c + INT_FIELDS[i].offset));
        if (rc != 0)
            return rc;
    }
    const json_t *norm = get(s->object, "norm_topk_prob");
    if (norm && !json_is_boolean(norm))
        return fail(s, "norm_topk_prob", "must be true or false");
    c->norm_topk_prob = !norm || json_is_true(norm);
    int rc = read_double(s, "routed_scaling_factor", 1e-6, 1e6, NAN, &c->routed_scaling_factor);
    if (rc == 0)
        rc = read_double(s, "rms_norm_eps", 1e-20, 0.1, NAN, &c->rms_norm_eps);
    c->inner_norm_eps = c->rms_norm_eps;
    return rc;
}

static int check_together(const source *s, const model_config *c) {
    const json_t *kv_heads = get(s->object, "num_key_value_heads");
    if (kv_heads && (!json_is_integer(kv_heads) || json_integer_value(kv_heads) != c->n_heads))
        return fail(s, "num_key_value_heads", "must equal num_attention_heads");
    if (c->first_k_dense_replace > c->n_layers)
        return fail(s, "first_k_dense_replace", "more than num_hidden_layers");
    if (c->n_experts_per_tok > c->n_routed_experts)
        return fail(s, "num_experts_per_tok", "more than n_routed_experts");
    if (c->n_routed_experts % c->n_group != 0)
        return fail(s, "n_group", "does not divide n_routed_experts");
    if (c->topk_group > c->n_group)
        return fail(s, "topk_group", "more than n_group");
    int per_group = c->n_routed_experts / c->n_group;
    if (c->n_group > 1 && per_group < 2)
        return fail(s, "n_group", "leaves fewer than 2 experts in a group");
    if (c->n_experts_per_tok > c->topk_group * per_group)
        return fail(s, "topk_group", "leaves fewer experts than num_experts_per_tok");
    return 0;
}

// ---------------------------------------------------------------------------------------------

static int check_rope_keys(const source *s) {
    static const char *const known[] = {
        "type",       "rope_type", "factor", "original_max_position_embeddings",
        "beta_fast",  "beta_slow", "mscale", "mscale_all_dim",
        "rope_theta", "truncate",  NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)s->object, key, value) {
        int i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i] && !json_is_null(value))
            return fail(s, key, "is not supported");
    }
    return require_bool(s, "truncate", true);
}

static int read_yarn(const source *s, model_rope *r) {
    static const int_field original = {
        "original_max_position_embeddings", 0, 1, 16777216, 1, REQUIRED, 0};
    int rc = read_double(s, "factor", 1, 65536, NAN, &r->factor);
    if (rc == 0)
        rc = read_int(s, &original, &r->original_max_position);
    if (rc == 0)
        rc = read_double(s, "beta_fast", 1e-3, 1e6, 32, &r->beta_fast);
    if (rc == 0)
        rc = read_double(s, "beta_slow", 1e-3, 1e6, 1, &r->beta_slow);
    if (rc == 0 && r->beta_fast < r->beta_slow)
        rc = fail(s, "beta_fast", "less than beta_slow");
    if (rc == 0)
        rc = read_double(s, "mscale", 0, 100, 1, &r->mscale);
    if (rc == 0)
        rc = read_double(s, "mscale_all_dim", 0, 100, 0, &r->mscale_all_dim);
    r->yarn = true;
    return rc;
}

// rope_scaling with rope_theta beside it, or the newer rope_parameters that holds both.
static int read_rope(const source *text, const char *what, model_config *c) {
    const char *key = get(text->object, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json_t *rope = get(text->object, key);
    if (rope && !json_is_object(rope))
        return fail(text, key, "must be an object or null");
    char name[200];
    snprintf(name, sizeof name, "%.150s: %s", what, key);
    source s = {rope, name, text->err};
    bool inside = rope && get(rope, "rope_theta");
    int rc = read_double(inside ? &s : text, "rope_theta", 1.001, 1e15, NAN, &c->rope.theta);
    if (rc != 0 || !rope)
        return rc;
    if ((rc = check_rope_keys(&s)) != 0)
        return rc;
    const json_t *type = get(rope, "rope_type");
    if (!type)
        type = get(rope, "type");
    const char *kind = json_string_value(type);
    if (!kind)
        return fail(&s, "type", "missing");
    if (strcmp(kind, "default") == 0)
        return 0;
    if (strcmp(kind, "yarn") != 0)
        return base_fail(text->err, BASE_ERR_MODEL,
                         "%s: type: \"%s\" is not supported (\"yarn\" and \"default\" are)", name,
                         kind);
    return read_yarn(&s, &c->rope);
}

// ---------------------------------------------------------------------------------------------

int model_config_add_eos(model_config *config, const json_t *value, const char *what,
                         base_err *err) {
    source s = {NULL, what, err};
    if (!value || json_is_null(value))
        return 0;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id))
            return fail(&s, "eos_token_id", "must be an integer or a list of integers");
        json_int_t number = json_integer_value(id);
        if (number < 0 || number >= config->vocab_size)
            return base_fail(err, BASE_ERR_MODEL, "%s: eos_token_id: %lld; must be in [0, %d)",
                             what, (long long)number, config->vocab_size);
        int at = 0;
        while (at < config->n_eos && config->eos_ids[at] != number)
            at++;
        if (at == MODEL_MAX_EOS)
            return fail(&s, "eos_token_id", "too many ids");
        config->eos_ids[at] = (int32_t)number;
        if (at == config->n_eos)
            config->n_eos++;
    }
    return 0;
}

static int read_quantization(const source *top, const source *text, model_config *c) {
    const json_t *q = get(text->object, "quantization_config");
    if (!q)
        q = get(top->object, "quantization_config");
    if (!q)
        return 0;
    c->int4_experts = true;
    return model_quantization_check(q, top->what, top->err);
}

static int read_all(const source *top, const source *text, model_config *c) {
    int rc = read_architecture(top, text, c);
    if (rc == 0)
        rc = read_quantization(top, text, c);
    if (rc == 0)
        rc = check_features(text);
    if (rc == 0)
        rc = require_bool(top, "tie_word_embeddings", false);
    if (rc == 0)
        rc = read_numbers(text, c);
    if (rc == 0)
        rc = check_together(text, c);
    if (rc == 0)
        rc = read_rope(text, text->what, c);
    if (rc == 0)
        rc = model_config_add_eos(c, get(text->object, "eos_token_id"), text->what, text->err);
    if (rc == 0)
        rc = model_config_add_eos(c, get(top->object, "eos_token_id"), top->what, top->err);
    return rc;
}

int model_config_parse(model_config *out, const char *json, size_t len, const char *what,
                       base_err *err) {
    *out = (model_config){0};
    json_t *root = base_json_parse(json, len, what, BASE_ERR_MODEL, err);
    if (!root)
        return BASE_ERR_MODEL;
    const json_t *inner = get(root, "text_config");
    char name[200];
    snprintf(name, sizeof name, "%.150s: text_config", what);
    source top = {root, what, err}, text = {inner ? inner : root, inner ? name : what, err};
    int rc = 0;
    if (!json_is_object(root) || !json_is_object(text.object))
        rc = base_fail(err, BASE_ERR_MODEL, "%s: not a JSON object", text.what);
    else
        rc = read_all(&top, &text, out);
    json_decref(root);
    return rc;
}

bool model_layer_is_moe(const model_config *config, int layer) {
    return layer >= config->first_k_dense_replace && layer % config->moe_layer_freq == 0;
}
