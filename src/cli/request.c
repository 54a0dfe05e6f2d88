#include "cli/request.h"
#include <stdlib.h>

typedef enum { FIELD_REAL, FIELD_INTEGER, FIELD_BOOL, FIELD_STRINGS, FIELD_IDS } field_kind;

static const struct {
    const char *flag, *name;
    field_kind kind;
} fields[] = {
    {"temperature", "temperature", FIELD_REAL},
    {"top-p", "top_p", FIELD_REAL},
    {"top-k", "top_k", FIELD_INTEGER},
    {"min-p", "min_p", FIELD_REAL},
    {"max-tokens", "max_tokens", FIELD_INTEGER},
    {"min-tokens", "min_tokens", FIELD_INTEGER},
    {"n", "n", FIELD_INTEGER},
    {"seed", "seed", FIELD_INTEGER},
    {"presence-penalty", "presence_penalty", FIELD_REAL},
    {"frequency-penalty", "frequency_penalty", FIELD_REAL},
    {"repetition-penalty", "repetition_penalty", FIELD_REAL},
    {"logprobs", "logprobs", FIELD_INTEGER},
    {"prompt-logprobs", "prompt_logprobs", FIELD_INTEGER},
    {"echo", "echo", FIELD_BOOL},
    {"ignore-eos", "ignore_eos", FIELD_BOOL},
    {"stop", "stop", FIELD_STRINGS},
    {"stop-token-ids", "stop_token_ids", FIELD_IDS},
};

static json_t *strings(const cli_options *o, const char *flag) {
    int n;
    const char *const *texts = cli_strings(o, flag, &n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_string(texts[i]));
    return list;
}

static json_t *ids(const cli_options *o, const char *flag) {
    const base_ids *given = cli_ids(o, flag);
    json_t *list = json_array();
    for (size_t i = 0; i < given->len; i++)
        json_array_append_new(list, json_integer(given->data[i]));
    return list;
}

static json_t *value(const cli_options *o, const char *flag, field_kind kind) {
    switch (kind) {
    case FIELD_REAL:
        return json_real(cli_float(o, flag));
    case FIELD_INTEGER:
        return json_integer(cli_int(o, flag));
    case FIELD_BOOL:
        return json_boolean(cli_bool(o, flag));
    case FIELD_STRINGS:
        return strings(o, flag);
    case FIELD_IDS:
        return ids(o, flag);
    }
    return NULL;
}

json_t *cli_request_fields(const cli_options *o) {
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *flag = fields[i].flag;
        if (cli_knows(o, flag) && cli_given(o, flag))
            json_object_set_new(object, fields[i].name, value(o, flag, fields[i].kind));
    }
    return object;
}

const char *cli_request_key(const cli_options *o) {
    const char *key = cli_string(o, "api-key");
    if (key == NULL)
        key = getenv("OPENAI_API_KEY");
    return key != NULL && key[0] != '\0' ? key : NULL;
}
