#include "api/format.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CHOICES = 1 << 16 };

// ---------------------------------------------------------------------------------------------
// response_format

static int read_json_schema(const api_object *format, api_format *out) {
    api_object named, schema;
    bool strict; // what is not understood is refused anyway
    int rc;
    if ((rc = api_field_need_object(format, "json_schema", &named)) ||
        (rc = api_field_need_object(&named, "schema", &schema)) ||
        (rc = api_field_bool(&named, "strict", &strict)))
        return rc;
    out->answer = GRAMMAR_ANSWER_SCHEMA;
    out->schema = schema.json;
    out->field = "response_format.json_schema.schema";
    return 0;
}

static int read_response_format(const api_object *body, api_format *out) {
    api_object format;
    const char *type = NULL;
    int rc;
    if ((rc = api_field_object(body, "response_format", &format)) || !format.json)
        return rc;
    if ((rc = api_field_need_string(&format, "type", &type)))
        return rc;
    if (strcmp(type, "text") == 0)
        return 0;
    out->request = out->field = "response_format";
    if (strcmp(type, "json_schema") == 0)
        return read_json_schema(&format, out);
    if (strcmp(type, "structural_tag") == 0)
        return api_field_fail(&format, 400, "type", "structural_tag is not supported");
    if (strcmp(type, "json_object") != 0)
        return api_field_fail(&format, 400, "type", "must be text, json_object or json_schema");
    out->answer = GRAMMAR_ANSWER_OBJECT;
    return 0;
}

// ---------------------------------------------------------------------------------------------
// structured_outputs

static int read_json(const api_object *o, api_format *out) {
    const json_t *value = api_field_get(o, "json");
    base_err err;
    out->answer = GRAMMAR_ANSWER_SCHEMA;
    out->field = "structured_outputs.json";
    out->schema = value;
    if (json_is_object(value))
        return 0;
    if (!json_is_string(value))
        return api_field_fail_type(o, "json", "a JSON Schema: an object, or a string of one",
                                   value);
    out->parsed = base_json_parse(json_string_value(value), json_string_length(value), out->field,
                                  BASE_ERR_USAGE, &err);
    out->schema = out->parsed;
    if (!out->parsed)
        return api_field_fail(o, 400, "json", "is not valid JSON: %s", err.message);
    return json_is_object(out->parsed)
               ? 0
               : api_field_fail_type(o, "json", "a string of a JSON object", out->parsed);
}

static int read_regex(const api_object *o, api_format *out) {
    out->answer = GRAMMAR_ANSWER_REGEX;
    out->field = "structured_outputs.regex";
    int rc = api_field_string(o, "regex", &out->regex, &out->regex_len);
    return rc || out->regex_len > 0 ? rc : api_field_fail(o, 400, "regex", "must not be empty");
}

static int read_choice(const api_object *o, api_format *out) {
    const json_t *list = NULL;
    int rc = api_field_list(o, "choice", &list);
    size_t n = json_array_size(list);
    if (rc)
        return rc;
    if (n == 0 || n > MAX_CHOICES)
        return api_field_fail(o, 400, "choice", "must be from 1 to %d strings, got %zu",
                              MAX_CHOICES, n);
    out->answer = GRAMMAR_ANSWER_CHOICE;
    out->field = "structured_outputs.choice";
    out->choices = base_calloc(n, sizeof *out->choices);
    out->choice_lens = base_calloc(n, sizeof *out->choice_lens);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        char name[32];
        snprintf(name, sizeof name, "choice[%zu]", i);
        if (!json_is_string(item))
            return api_field_fail_type(o, name, "a string", item);
        if (json_string_length(item) == 0)
            return api_field_fail(o, 400, name, "must not be empty");
        out->choices[i] = json_string_value(item);
        out->choice_lens[i] = json_string_length(item);
    }
    out->n_choices = (int)n;
    return 0;
}

static int read_json_object(const api_object *o, api_format *out) {
    bool wanted = true;
    int rc = api_field_bool(o, "json_object", &wanted);
    out->answer = GRAMMAR_ANSWER_OBJECT;
    out->field = "structured_outputs.json_object";
    return rc || wanted ? rc : api_field_fail(o, 400, "json_object", "must be true");
}

static int refuse_kinds(const api_object *o) {
    static const char *const names[] = {"grammar", "structural_tag", "whitespace_pattern"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (api_field_get(o, names[i]))
            return api_field_fail(o, 400, names[i],
                                  "is not supported; json, regex, choice and json_object are");
    return 0;
}

static int read_structured_outputs(const api_object *body, api_format *out) {
    static const struct {
        const char *name;
        int (*read)(const api_object *o, api_format *out);
    } kinds[] = {{"json", read_json},
                 {"regex", read_regex},
                 {"choice", read_choice},
                 {"json_object", read_json_object}};
    api_object o;
    int rc, n = 0, which = 0;
    if ((rc = api_field_object(body, "structured_outputs", &o)) || !o.json)
        return rc;
    if (out->request)
        return api_field_fail(body, 400, "structured_outputs",
                              "cannot be given together with response_format");
    if ((rc = refuse_kinds(&o)))
        return rc;
    for (int i = 0; i < 4; i++) {
        if (!api_field_get(&o, kinds[i].name))
            continue;
        which = i;
        n++;
    }
    if (n != 1)
        return api_field_fail(body, 400, "structured_outputs",
                              "must have exactly one of json, regex, choice and json_object");
    out->request = "structured_outputs";
    if ((rc = api_field_bool(&o, "disable_any_whitespace", &out->no_whitespace)) ||
        (rc = api_field_bool(&o, "disable_additional_properties", &out->no_additional)))
        return rc;
    return kinds[which].read(&o, out);
}

// ---------------------------------------------------------------------------------------------

static int refuse_old_fields(const api_object *body) {
    static const struct {
        const char *name, *reason;
    } fields[] = {
        {"guided_json", "is no longer a field: use structured_outputs with json"},
        {"guided_regex", "is no longer a field: use structured_outputs with regex"},
        {"guided_choice", "is no longer a field: use structured_outputs with choice"},
        {"guided_grammar", "is no longer a field, and structured_outputs has no grammars here: "
                           "json, regex, choice and json_object are supported"},
        {"guided_whitespace_pattern",
         "is no longer a field: structured_outputs has disable_any_whitespace"},
        {"structural_tag", "is not supported: use response_format or structured_outputs"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (api_field_get(body, fields[i].name))
            return api_field_fail(body, 400, fields[i].name, "%s", fields[i].reason);
    return 0;
}

int api_format_read(const api_object *body, api_format *out) {
    int rc;
    *out = (api_format){.answer = GRAMMAR_ANSWER_TEXT};
    if ((rc = refuse_old_fields(body)) || (rc = read_response_format(body, out)))
        return rc;
    return read_structured_outputs(body, out);
}

void api_format_free(api_format *f) {
    json_decref(f->parsed);
    base_free(f->choices);
    base_free(f->choice_lens);
    *f = (api_format){0};
}
