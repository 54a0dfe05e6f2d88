// quantization_config: only what kimi.md's checkpoints have is known here, so only that passes.
#include "model/internal.h"

#include <string.h>

typedef struct expected {
    const char *key;
    const char *string; // or
    int number;         // or
    bool flag;
    enum { STRING, INTEGER, BOOLEAN, NOTHING } kind;
    bool may_miss;
} expected;

static const expected TOP[] = {
    {"quant_method", "compressed-tensors", 0, false, STRING, false},
    {"format", "pack-quantized", 0, false, STRING, false},
    {"quantization_status", "compressed", 0, false, STRING, true},
    {"kv_cache_scheme", NULL, 0, false, NOTHING, true},
};

static const expected GROUP[] = {
    {"input_activations", NULL, 0, false, NOTHING, true},
    {"output_activations", NULL, 0, false, NOTHING, true},
    {"format", "pack-quantized", 0, false, STRING, true},
};

static const expected WEIGHTS[] = {
    {"num_bits", NULL, 4, false, INTEGER, false},
    {"type", "int", 0, false, STRING, false},
    {"symmetric", NULL, 0, true, BOOLEAN, false},
    {"strategy", "group", 0, false, STRING, false},
    {"group_size", NULL, 32, false, INTEGER, false},
    {"dynamic", NULL, 0, false, BOOLEAN, true},
    {"actorder", NULL, 0, false, NOTHING, true},
    {"block_structure", NULL, 0, false, NOTHING, true},
};

static bool matches(const expected *e, const json_t *value) {
    if (!value || json_is_null(value))
        return e->may_miss;
    switch (e->kind) {
    case STRING:
        return json_is_string(value) && strcmp(json_string_value(value), e->string) == 0;
    case INTEGER:
        return json_is_integer(value) && json_integer_value(value) == e->number;
    case BOOLEAN:
        return json_is_boolean(value) && json_is_true(value) == e->flag;
    default:
        return false;
    }
}

static int check(const json_t *object, const expected *list, size_t n, const char *what,
                 const char *where, base_err *err) {
    if (!json_is_object(object))
        return base_fail(err, BASE_ERR_MODEL, "%s: %s: must be an object", what, where);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, list[i].key);
        if (matches(&list[i], value))
            continue;
        char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        int rc = base_fail(err, BASE_ERR_MODEL,
                           "%s: %s.%s: %.100s is not supported (experts may be BF16, or "
                           "compressed-tensors pack-quantized symmetric INT4 in groups of 32)",
                           what, where, list[i].key, text ? text : "nothing");
        free(text); // jansson's own allocation
        return rc;
    }
    return 0;
}

int model_quantization_check(const json_t *quantization, const char *what, base_err *err) {
#define COUNT(list) (sizeof(list) / sizeof *(list))
    int rc = check(quantization, TOP, COUNT(TOP), what, "quantization_config", err);
    if (rc != 0)
        return rc;
    const json_t *sparsity = json_object_get(quantization, "sparsity_config");
    if (json_object_size(sparsity) > 0)
        return base_fail(err, BASE_ERR_MODEL,
                         "%s: quantization_config.sparsity_config: is not supported", what);
    json_t *groups = json_object_get(quantization, "config_groups");
    if (json_object_size(groups) != 1)
        return base_fail(err, BASE_ERR_MODEL,
                         "%s: quantization_config.config_groups: exactly one group is supported",
                         what);
    const json_t *group = json_object_iter_value(json_object_iter(groups));
    rc = check(group, GROUP, COUNT(GROUP), what, "quantization_config.config_groups", err);
    if (rc == 0)
        rc = check(json_object_get(group, "weights"), WEIGHTS, COUNT(WEIGHTS), what,
                   "quantization_config.config_groups.weights", err);
    return rc;
#undef COUNT
}
