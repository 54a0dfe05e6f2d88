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

static void add_template(json_t *config, const char *config_path) {
    if (json_object_get(config, "chat_template"))
        return;
    const char *slash = strrchr(config_path, '/');
    char *dir = slash ? base_strndup(config_path, (size_t)(slash - config_path)) : base_strdup(".");
    char *path = base_path_join(dir, "chat_template.jinja");
    base_str text = {0};
    if (base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, NULL) == 0)
        json_object_set_new(config, "chat_template", json_stringn(text.data, text.len));
    base_str_free(&text);
    base_free(path);
    base_free(dir);
}

int api_tokenizer_info_make(api_server *s, base_err *err) {
    static const char *const wanted[] = {"eos_token", "bos_token", "chat_template"};
    const char *path = s->options.tokenizer_config;
    base_str text = {0};
    if (!s->options.tokenizer_info)
        return 0;
    if (base_file_read(path, MAX_CONFIG_BYTES, BASE_ERR_MODEL, &text, err))
        return err->code;
    json_t *config = base_json_parse(text.data, text.len, path, BASE_ERR_MODEL, err);
    base_str_free(&text);
    if (!config)
        return err->code;
    if (!json_is_object(config)) {
        json_decref(config);
        return base_fail(err, BASE_ERR_MODEL, "%s: not a JSON object", path);
    }
    add_template(config, path);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!json_object_get(config, wanted[i]))
            json_object_set_new(config, wanted[i], json_null());
    char *printed = json_dumps(config, JSON_COMPACT);
    if (printed)
        base_str_adds(&s->tokenizer_info, printed);
    free(printed);
    json_decref(config);
    return printed ? 0 : base_fail(err, BASE_ERR_RESOURCE, "%s: out of memory", path);
}

void api_get_tokenizer_info(api_server *s, http_exchange *x) {
    api_respond_json(s, x, NULL, &s->tokenizer_info);
}
