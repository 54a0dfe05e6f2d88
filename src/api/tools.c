#include "api/tools.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TOOLS = 4096, MAX_NAME = 256 };

static int refuse_old_fields(const api_object *body) {
    static const char *const fields[][2] = {{"functions", "tools"},
                                            {"function_call", "tool_choice"}};
    for (int i = 0; i < 2; i++)
        if (api_field_get(body, fields[i][0]))
            return api_field_fail(body, 400, fields[i][0],
                                  "is of an older API and not supported: use %s", fields[i][1]);
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Tools

static int read_name(const api_object *function, chat_slice *name) {
    int rc = api_field_string(function, "name", &name->at, &name->len);
    if (rc)
        return rc;
    if (!name->at)
        return api_field_fail(function, 400, "name", "is missing");
    if (name->len == 0 || name->len > MAX_NAME)
        return api_field_fail(function, 400, "name", "must have from 1 to %d bytes, got %zu",
                              MAX_NAME, name->len);
    for (size_t i = 0; i < name->len; i++)
        if ((unsigned char)name->at[i] < 0x20 || name->at[i] == 0x7f)
            return api_field_fail(function, 400, "name", "must not have control characters");
    return 0;
}

static int read_tool(const api_object *tool, api_tools *t, int index) {
    api_object function, parameters;
    const char *type = NULL, *description = NULL;
    size_t len;
    grammar_tool *out = &t->at[index];
    int rc;
    if ((rc = api_field_string(tool, "type", &type, &len)))
        return rc;
    if (!type) // as in vLLM, which shows it to the model, too
        json_object_set_new((json_t *)tool->json, "type", json_string("function"));
    else if (strcmp(type, "function") != 0)
        return api_field_fail(tool, 400, "type", "must be function, got \"%.40s\"", type);
    if ((rc = api_field_need_object(tool, "function", &function)) ||
        (rc = read_name(&function, &t->names[index])) ||
        (rc = api_field_string(&function, "description", &description, &len)) ||
        (rc = api_field_object(&function, "parameters", &parameters)) ||
        (rc = api_field_bool(&function, "strict", &out->strict)))
        return rc;
    snprintf(t->fields[index], sizeof *t->fields, "tools[%d].function.parameters", index);
    out->name = t->names[index].at;
    out->name_len = t->names[index].len;
    out->parameters = parameters.json;
    out->field = t->fields[index];
    t->strict |= out->strict;
    return 0;
}

static bool same_name(const chat_slice *a, const char *name, size_t len) {
    return a->len == len && memcmp(a->at, name, len) == 0;
}

static int find_tool(const api_tools *t, int n, const char *name, size_t len) {
    for (int i = 0; i < n; i++)
        if (same_name(&t->names[i], name, len))
            return i;
    return -1;
}

static int check_name(const api_object *tool, const api_tools *t, int index) {
    const chat_slice *name = &t->names[index];
    int same = find_tool(t, index, name->at, name->len);
    if (same < 0)
        return 0;
    return api_field_fail(tool, 400, "function.name", "tools[%d] has the same name", same);
}

static int read_list(const api_object *body, api_tools *t) {
    int rc = api_field_list(body, "tools", &t->list);
    size_t n = json_array_size(t->list);
    if (rc || !t->list)
        return rc;
    if (n == 0)
        return api_field_fail(body, 400, "tools", "must not be empty; leave it out instead");
    if (n > MAX_TOOLS)
        return api_field_fail(body, 400, "tools", "must be at most %d, got %zu", MAX_TOOLS, n);
    t->n = (int)n;
    t->at = base_calloc(n, sizeof *t->at);
    t->names = base_calloc(n, sizeof *t->names);
    t->fields = base_calloc(n, sizeof *t->fields);
    for (int i = 0; i < t->n; i++) {
        api_object tool;
        if ((rc = api_item_object(body, "tools", (size_t)i, json_array_get(t->list, (size_t)i),
                                  &tool)) ||
            (rc = read_tool(&tool, t, i)) || (rc = check_name(&tool, t, i)))
            return rc;
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// How they are to be called

static int read_named(const api_object *body, api_tools *t) {
    api_object choice, function;
    const char *type = NULL, *name = NULL;
    size_t len = 0;
    int rc;
    if ((rc = api_field_object(body, "tool_choice", &choice)) ||
        (rc = api_field_string(&choice, "type", &type, &len)) ||
        (rc = api_field_object(&choice, "function", &function)))
        return rc;
    if (!type || strcmp(type, "function") != 0)
        return api_field_fail(&choice, 400, "type", "must be function");
    if (!function.json)
        return api_field_fail(&choice, 400, "function", "is missing");
    if ((rc = api_field_string(&function, "name", &name, &len)))
        return rc;
    if (!name)
        return api_field_fail(&function, 400, "name", "is missing");
    t->named = find_tool(t, t->n, name, len);
    if (t->list && t->named < 0)
        return api_field_fail(&function, 400, "name", "no tool has the name \"%.100s\"", name);
    t->choice = API_CHOICE_NAMED;
    return 0;
}

static int read_word(const api_object *body, const json_t *choice, api_tools *t) {
    static const char *const words[] = {"none", "auto", "required"};
    const char *word = json_string_value(choice);
    for (int i = 0; i < 3; i++) {
        if (!word || strcmp(word, words[i]) != 0)
            continue;
        t->choice = (api_choice_word)i;
        return 0;
    }
    return api_field_fail(body, 400, "tool_choice",
                          "must be none, auto, required or an object that names a function");
}

static int read_choice(const api_options *o, const api_object *body, api_tools *t) {
    const json_t *choice = api_field_get(body, "tool_choice");
    int rc = 0;
    t->choice = t->list ? API_CHOICE_AUTO : API_CHOICE_NONE;
    if (choice)
        rc = json_is_object(choice) ? read_named(body, t) : read_word(body, choice, t);
    if (rc)
        return rc;
    if (t->choice != API_CHOICE_NONE && !t->list)
        return api_field_fail(body, 400, "tool_choice", "needs tools");
    if (t->choice >= API_CHOICE_REQUIRED && !o->tool_parser)
        return api_field_fail(body, 400, "tool_choice",
                              "a call can be asked for only when calls are parsed: the server was "
                              "started with --tool-call-parser none");
    return 0;
}

int api_tools_read(const api_options *o, const api_object *body, api_tools *t) {
    bool parallel = true;
    int rc;
    *t = (api_tools){.named = -1};
    if ((rc = refuse_old_fields(body)) || (rc = read_list(body, t)) ||
        (rc = read_choice(o, body, t)) ||
        (rc = api_field_bool(body, "parallel_tool_calls", &parallel)))
        return rc;
    t->one_call = !parallel || t->choice == API_CHOICE_NAMED;
    t->shown = t->list && !(t->choice == API_CHOICE_NONE && o->exclude_tools);
    return 0;
}

void api_tools_free(api_tools *t) {
    base_free(t->at);
    base_free(t->names);
    base_free(t->fields);
    *t = (api_tools){0};
}
