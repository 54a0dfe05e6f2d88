// Errors as clients of /v1/messages know them.
#include "api/anthropic.h"

#include <stdio.h>
#include <string.h>

bool api_anthropic_is_path(const char *path, size_t len) {
    static const char root[] = "/v1/messages";
    size_t n = sizeof root - 1;
    return len >= n && memcmp(path, root, n) == 0 && (len == n || path[n] == '/');
}

// ---------------------------------------------------------------------------------------------
// Names of fields

// What a field of the chat was made of. A name that ends in '*' stands for all that begin so, and
// what follows is dropped: messages of the two bodies are not counted alike.
static const char *const fields[][2] = {
    {"messages*", "messages"},
    {"continue_final_message", "messages"},
    {"add_generation_prompt", "messages"},
    {"stop*", "stop_sequences"},
    {"parallel_tool_calls", "tool_choice.disable_parallel_tool_use"},
    {"tool_choice.function.name", "tool_choice.name"},
    {"tool_choice.function", "tool_choice"},
    {"thinking_token_budget", "thinking.budget_tokens"},
    {"reasoning_effort", "output_config.effort"},
    {"response_format*", "output_config.format"},
};

static const char *find_name(const char *field) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *name = fields[i][0];
        size_t len = strcspn(name, "*");
        if (strncmp(field, name, len) == 0 && (name[len] == '*' || field[len] == '\0'))
            return fields[i][1];
    }
    return field;
}

// tools[2].function.parameters.x -> tools[2].input_schema.x
static void rename_tool(api_error *e) {
    static const char function[] = ".function", parameters[] = ".parameters";
    char text[sizeof e->param];
    const char *at = strstr(e->param, function);
    if (strncmp(e->param, "tools[", 6) != 0 || !at)
        return;
    const char *rest = at + sizeof function - 1;
    bool schema = strncmp(rest, parameters, sizeof parameters - 1) == 0;
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - e->param), e->param,
             schema ? ".input_schema" : "", schema ? rest + sizeof parameters - 1 : rest);
    memcpy(e->param, text, sizeof text);
}

// messages[2].content -> messages.2.content
static void write_dots(char *field) {
    char *to = field;
    for (const char *from = field; *from; from++) {
        if (*from == '[')
            *to++ = '.';
        else if (*from != ']')
            *to++ = *from;
    }
    *to = '\0';
}

// Messages begin with the field they are about; those on the length of the prompt with the words by
// which clients know that they have to shorten it.
void api_anthropic_rename(api_error *e, bool of_chat) {
    char old[sizeof e->param], message[sizeof e->message];
    if (!e->param[0])
        return;
    memcpy(old, e->param, sizeof old);
    memcpy(message, e->message, sizeof message);
    if (of_chat)
        snprintf(e->param, sizeof e->param, "%s", find_name(old));
    rename_tool(e);
    write_dots(e->param);
    size_t n = strlen(old);
    if (strncmp(message, old, n) == 0 && strchr(":.[", message[n])) // a long path is cut in `old`
        snprintf(e->message, sizeof e->message, "%s%s", e->param, message + n);
    else if (strncmp(message, "This model's maximum context length", 35) == 0)
        snprintf(e->message, sizeof e->message, "prompt is too long: %.900s", message);
    else
        snprintf(e->message, sizeof e->message, "%s: %.800s", e->param, message);
    base_text_clean(e->message);
}

// ---------------------------------------------------------------------------------------------
// Objects

static const char *type_of(int status) {
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
        {413, "request_too_large"},    {429, "rate_limit_error"}, {503, "overloaded_error"},
        {504, "timeout_error"},        {529, "overloaded_error"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 400 && status < 500 ? "invalid_request_error" : "api_error";
}

void api_anthropic_print_error(const api_error *e, const char *request_id, base_str *out) {
    base_str_adds(out, "{\"type\":\"error\",\"error\":{\"type\":\"");
    base_str_adds(out, type_of(e->status));
    base_str_adds(out, "\",\"message\":");
    base_json_add_string(out, e->message, strlen(e->message));
    base_str_adds(out, "},\"request_id\":");
    if (request_id)
        base_json_add_string(out, request_id, strlen(request_id));
    else
        base_str_adds(out, "null");
    base_str_adds(out, "}");
}
