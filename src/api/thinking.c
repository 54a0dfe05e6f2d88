#include "api/thinking.h"

#include <string.h>
#include <strings.h>

// ---------------------------------------------------------------------------------------------
// Switches

typedef enum { SAYS_NO, SAYS_YES, SAYS_NOTHING } answer;

static answer answer_of_word(const char *word) {
    static const char *const words[2][4] = {
        [SAYS_NO] = {"false", "0", "disabled", "off"},
        [SAYS_YES] = {"true", "1", "enabled", "on"},
    };
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 4; k++)
            if (strcasecmp(word, words[i][k]) == 0)
                return (answer)i;
    return SAYS_NOTHING;
}

static answer answer_of(const json_t *value) {
    if (json_is_boolean(value))
        return json_is_true(value) ? SAYS_YES : SAYS_NO;
    if (json_is_integer(value) && (json_integer_value(value) & ~1LL) == 0)
        return (answer)json_integer_value(value);
    return json_is_string(value) ? answer_of_word(json_string_value(value)) : SAYS_NOTHING;
}

// {"type": "enabled", "budget_tokens": N}, as Anthropic and Moonshot have it.
static int read_object(const api_object *parent, const char *name, const char *field,
                       api_thinking *out) {
    api_object o;
    const char *type = NULL;
    size_t len;
    int64_t budget = -1;
    int rc;
    if ((rc = api_field_object(parent, name, &o)) ||
        (rc = api_field_string(&o, "type", &type, &len)) ||
        (rc = api_field_int(&o, "budget_tokens", -1, INT64_MAX, &budget)))
        return rc;
    bool on = !type || strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0 ||
              strcmp(type, "auto") == 0;
    if (!on && strcmp(type, "disabled") != 0)
        return api_field_fail(&o, 400, "type", "must be enabled or disabled");
    out->off |= !on;
    if (budget >= 0) {
        out->budget = budget;
        out->field = field;
    }
    return 0;
}

static int read_switches(const api_object *o, api_thinking *out) {
    static const char *const names[] = {"thinking", "enable_thinking"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = api_field_get(o, names[i]);
        int rc = 0;
        if (json_is_object(value))
            rc = read_object(o, names[i], "thinking", out);
        else if (value && answer_of(value) == SAYS_NOTHING)
            rc = api_field_fail_type(o, names[i], "true or false, or an object with a type", value);
        if (rc)
            return rc;
        out->off |= value && answer_of(value) == SAYS_NO;
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------

// The model was trained on no degrees of effort: less of it is a shorter thought.
static int read_effort(const api_object *body, api_thinking *out) {
    static const struct {
        const char *word;
        int64_t budget;
    } efforts[] = {{"none", 0},  {"minimal", 512}, {"low", 2048}, {"medium", 8192},
                   {"high", -1}, {"xhigh", -1},    {"max", -1}};
    const char *word = NULL;
    size_t len;
    int rc = api_field_string(body, "reasoning_effort", &word, &len);
    if (rc || !word)
        return rc;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(word, efforts[i].word) != 0)
            continue;
        out->off |= i == 0;
        out->budget = efforts[i].budget;
        out->field = out->budget >= 0 ? "reasoning_effort" : NULL;
        return 0;
    }
    return api_field_fail(body, 400, "reasoning_effort",
                          "must be none, minimal, low, medium, high, xhigh or max");
}

static int read_budget(const api_object *body, api_thinking *out) {
    int64_t budget = -1;
    int rc = api_field_int(body, "thinking_token_budget", -1, INT64_MAX, &budget);
    if (rc || !api_field_get(body, "thinking_token_budget"))
        return rc;
    out->budget = budget;
    out->field = budget >= 0 ? "thinking_token_budget" : NULL;
    return 0;
}

int api_thinking_read(const api_object *body, api_thinking *out) {
    api_object kwargs;
    int rc;
    *out = (api_thinking){.budget = -1};
    if ((rc = api_field_object(body, "chat_template_kwargs", &kwargs)) ||
        (rc = read_effort(body, out)) || (rc = read_switches(&kwargs, out)) ||
        (rc = read_switches(body, out)))
        return rc;
    return read_budget(body, out);
}
