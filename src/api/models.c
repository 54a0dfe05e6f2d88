// What is served: /v1/models and /tokenizer_info.
#include "api/server.h"

#include <stdlib.h>
#include <string.h>

static void add_field(base_str *out, const char *name, const char *value) {
    base_str_printf(out, "\"%s\":", name);
    base_json_add_string(out, value, strlen(value));
    base_str_adds(out, ",");
}

static void add_card(const api_server *s, const char *name, base_str *out) {
    long long created = (long long)s->created_s;
    base_str_adds(out, "{");
    add_field(out, "id", name);
    base_str_printf(out, "\"object\":\"model\",\"created\":%lld,\"owned_by\":\"vllm\",", created);
    add_field(out, "root", s->options.root);
    base_str_printf(out,
                    "\"parent\":null,\"max_model_len\":%d,\"permission\":[{"
                    "\"id\":\"modelperm-%016llx\",\"object\":\"model_permission\","
                    "\"created\":%lld,\"allow_create_engine\":false,\"allow_sampling\":true,"
                    "\"allow_logprobs\":true,\"allow_search_indices\":false,\"allow_view\":true,"
                    "\"allow_fine_tuning\":false,\"organization\":\"*\",\"group\":null,"
                    "\"is_blocking\":false}]}",
                    s->options.max_model_len, (unsigned long long)s->created_s, created);
}

void api_models_make(api_server *s) {
    base_str_adds(&s->models, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < s->options.n_served_names; i++) {
        if (i > 0)
            base_str_adds(&s->models, ",");
        add_card(s, s->options.served_names[i], &s->models);
    }
    base_str_adds(&s->models, "]}");
}

void api_get_models(api_server *s, http_exchange *x) {
    api_respond_json(s, x, NULL, &s->models);
}

// ---------------------------------------------------------------------------------------------
// The tokenizer's configuration as the model has it. lm-eval reads eos_token, bos_token and
// chat_template of it and wants them to be there; the template may be a file of its own.

enum { MAX_CONFIG_BYTES = 16 << 20 };

static void add_member(base_str *out, const char *name, const base_str *value) {
    base_str_printf(out, ",\"%s\":", name);
    if (value == NULL)
        base_str_adds(out, "null");
    else
        base_json_add_string(out, value->data != NULL ? value->data : "", value->len);
}

static void add_template(base_str *out, const char *config_path) {
    const char *slash = strrchr(config_path, '/');
    char *dir = slash ? base_strndup(config_path, (size_t)(slash - config_path)) : base_strdup(".");
    char *path = base_path_join(dir, "chat_template.jinja");
    base_str text = {0};
    int rc = base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, NULL);
    add_member(out, "chat_template", rc == 0 ? &text : NULL);
    base_str_free(&text);
    base_free(path);
    base_free(dir);
}

// The file's own text, with the members it lacks before its last brace: printed anew, numbers such
// as 10^30 (no limit, as Hugging Face writes it) would change.
static int complete_config(const base_str *text, const char *path, base_str *out, base_err *err) {
    json_error_t e;
    json_t *config =
        json_loadb(text->data, text->len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    if (!json_is_object(config) || json_object_size(config) == 0) {
        int rc = config ? base_fail(err, BASE_ERR_MODEL, "%s: not a JSON object", path)
                        : base_fail(err, BASE_ERR_MODEL, "%s: line %d column %d: %s", path, e.line,
                                    e.column, e.text);
        json_decref(config);
        return rc;
    }
    const char *brace = memrchr(text->data, '}', text->len);
    base_str_add(out, text->data, (size_t)(brace - text->data));
    if (!json_object_get(config, "eos_token"))
        add_member(out, "eos_token", NULL);
    if (!json_object_get(config, "bos_token"))
        add_member(out, "bos_token", NULL);
    if (!json_object_get(config, "chat_template"))
        add_template(out, path);
    base_str_adds(out, "}");
    json_decref(config);
    return 0;
}

int api_tokenizer_info_make(api_server *s, base_err *err) {
    const char *path = s->options.tokenizer_config;
    base_str text = {0};
    if (!s->options.tokenizer_info)
        return 0;
    int rc = base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, err);
    if (rc == 0)
        rc = complete_config(&text, path, &s->tokenizer_info, err);
    base_str_free(&text);
    return rc;
}

void api_get_tokenizer_info(api_server *s, http_exchange *x) {
    api_respond_json(s, x, NULL, &s->tokenizer_info);
}
