// A request of /v1/responses -> an api_call, by way of the chat that means the same.
#include "api/responses.h"

#include "api/read.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What a chat calls a field -> what it is called here. "[]" stands for any index.
static const struct {
    const char *chat, *here;
} names[] = {
    {"max_completion_tokens", "max_output_tokens"},
    {"messages", "input"},
    {"reasoning_effort", "reasoning.effort"},
    {"response_format.json_schema", "text.format"},
    {"response_format", "text.format"},
    {"tool_choice.function", "tool_choice"},
    {"tools[].function", "tools[]"},
};

// How much of `path` the name covers, whole components only; 0: it does not. The index that stands
// for "[]" is written to `index`, with its brackets.
static size_t covers(const char *name, const char *path, char index[16]) {
    const char *p = path;
    index[0] = '\0';
    for (; *name; name++) {
        if (name[0] == '[' && p[0] == '[' && strchr(p, ']')) {
            size_t len = (size_t)(strchr(p, ']') - p) + 1;
            snprintf(index, 16, "%.*s", (int)len, p);
            p += len;
            name++;
        } else if (*name == *p) {
            p++;
        } else {
            return 0;
        }
    }
    return *p == '\0' || *p == '.' || *p == '[' ? (size_t)(p - path) : 0;
}

static void write_name(const char *here, const char *index, base_str *out) {
    const char *brackets = strstr(here, "[]");
    base_str_add(out, here, brackets ? (size_t)(brackets - here) : strlen(here));
    if (brackets) {
        base_str_adds(out, index);
        base_str_adds(out, brackets + 2);
    }
}

// The first `len` bytes of the field's path become `name`, in front of the message, too.
static void rename_to(api_error *error, size_t len, const char *name) {
    base_str param = {0};
    size_t old = strlen(error->param);
    base_str_printf(&param, "%s%s", name, error->param + len);
    if (strncmp(error->message, error->param, old) == 0) // as api_field_fail begins
        api_fail(error, error->status, param.data, "%s%s", param.data, error->message + old);
    else
        api_fail(error, error->status, param.data, "%s", error->message);
    base_str_free(&param);
}

// Messages of a chat are not counted like the items that they were made of.
static bool rename_content(const api_responses_turn *turn, api_error *error) {
    static const char messages[] = "messages[", content[] = "].content";
    char *end = error->param + sizeof messages - 1;
    if (strncmp(error->param, messages, sizeof messages - 1) != 0)
        return false;
    unsigned long index = strtoul(end, &end, 10);
    const char *origin = json_string_value(json_array_get(turn->origins, index));
    if (!origin || strncmp(end, content, sizeof content - 1) != 0)
        return false;
    rename_to(error, (size_t)(end - error->param) + sizeof content - 1, origin);
    return true;
}

// Some tools are left out.
static void recount_tool(const api_responses_turn *turn, char index[16]) {
    unsigned long i = strtoul(index + 1, NULL, 10);
    if (i < turn->tools.len)
        snprintf(index, 16, "[%d]", (int)turn->tools.data[i]);
}

static void rename_field(const api_responses_turn *turn, api_error *error) {
    char index[16];
    if (rename_content(turn, error))
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = covers(names[i].chat, error->param, index);
        if (len == 0)
            continue;
        if (index[0] == '[')
            recount_tool(turn, index);
        base_str name = {0};
        write_name(names[i].here, index, &name);
        rename_to(error, len, name.data);
        base_str_free(&name);
        return;
    }
}

static int parse(api_call **out, const api_options *o, const json_t *body, const char *request_id,
                 api_error *error) {
    json_t *chat;
    api_responses_turn *turn;
    int rc = api_responses_translate(o->responses, o, body, &chat, &turn, error);
    if (rc)
        return rc;
    rc = api_call_parse_json(out, API_CHAT, API_RESPONSES, o, chat, request_id, error);
    json_decref(chat);
    if (rc) {
        rename_field(turn, error);
        api_responses_turn_free(turn);
        return rc;
    }
    (*out)->turn = turn;
    return 0;
}

int api_responses_parse(api_call **out, const api_options *o, const char *body, size_t len,
                        const char *request_id, api_error *error) {
    json_t *json;
    *out = NULL;
    *error = (api_error){0};
    int rc = api_body_parse_chat(&json, body, len, error);
    if (rc)
        return rc;
    rc = parse(out, o, json, request_id, error);
    json_decref(json);
    return rc;
}
