// generation_config.json: the server's defaults for requests.
#include "model/internal.h"

#include <limits.h>

static int read_number(const json_t *root, const char *key, double low, double high, bool integer,
                       const char *what, bool *has, double *out, base_err *err) {
    const json_t *value = json_object_get(root, key);
    *has = value && !json_is_null(value);
    if (!*has)
        return 0;
    if (integer ? !json_is_integer(value) : !json_is_number(value))
        return base_fail(err, BASE_ERR_MODEL, "%s: %s: must be %s", what, key,
                         integer ? "an integer" : "a number");
    *out = json_number_value(value);
    if (!(*out >= low && *out <= high))
        return base_fail(err, BASE_ERR_MODEL, "%s: %s: %g; must be in [%g, %g]", what, key, *out,
                         low, high);
    return 0;
}

static int read_all(const json_t *root, model_generation *g, const char *what, base_err *err) {
    double top_k = 0, max_new_tokens = 0;
    const struct {
        const char *key;
        double low, high;
        bool integer;
        bool *has;
        double *out;
    } fields[] = {
        {"temperature", 0, 100, false, &g->has_temperature, &g->temperature},
        {"top_p", 1e-9, 1, false, &g->has_top_p, &g->top_p},
        {"min_p", 0, 1, false, &g->has_min_p, &g->min_p},
        {"repetition_penalty", 1e-3, 1e3, false, &g->has_repetition, &g->repetition_penalty},
        {"top_k", -1, INT_MAX, true, &g->has_top_k, &top_k},
        {"max_new_tokens", 1, INT_MAX, true, &g->has_max_new_tokens, &max_new_tokens},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        int rc = read_number(root, fields[i].key, fields[i].low, fields[i].high, fields[i].integer,
                             what, fields[i].has, fields[i].out, err);
        if (rc != 0)
            return rc;
    }
    g->top_k = top_k < 0 ? 0 : (int)top_k; // -1 and 0 both mean off
    g->max_new_tokens = (int)max_new_tokens;
    return 0;
}

int model_generation_parse(model_generation *out, model_config *config, const char *json,
                           size_t len, const char *what, base_err *err) {
    *out = (model_generation){0};
    json_t *root = base_json_parse(json, len, what, BASE_ERR_MODEL, err);
    if (!root)
        return BASE_ERR_MODEL;
    int rc = 0;
    if (!json_is_object(root))
        rc = base_fail(err, BASE_ERR_MODEL, "%s: not a JSON object", what);
    else
        rc = read_all(root, out, what, err);
    if (rc == 0)
        rc = model_config_add_eos(config, json_object_get(root, "eos_token_id"), what, err);
    json_decref(root);
    return rc;
}
