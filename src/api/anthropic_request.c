// The body of /v1/messages -> the body of the chat that means the same.
#include "api/anthropic.h"

#include "api/read.h"
#include <string.h>

static void copy_field(const api_object *o, const char *name, json_t *out, const char *as) {
    json_t *value = api_field_get(o, name);
    if (value)
        json_object_set(out, as, value);
}

// ---------------------------------------------------------------------------------------------
// Tools

static int read_tool(const api_object *tool, json_t *list) {
    const char *type = NULL, *name = NULL, *description = NULL;
    size_t len;
    bool strict;
    api_object schema;
    int rc;
    if ((rc = api_field_string(tool, "type", &type, &len)))
        return rc;
    if (type && strcmp(type, "custom") != 0)
        return api_field_fail(tool, 400, "type",
                              "\"%.60s\": tools that run on a server are not available, only "
                              "custom ones are",
                              type);
    if ((rc = api_field_need_string(tool, "name", &name)) ||
        (rc = api_field_string(tool, "description", &description, &len)) ||
        (rc = api_field_bool(tool, "strict", &strict)) ||
        (rc = api_field_need_object(tool, "input_schema", &schema)))
        return rc;
    json_t *function = json_object();
    copy_field(tool, "name", function, "name");
    copy_field(tool, "description", function, "description");
    copy_field(tool, "input_schema", function, "parameters");
    copy_field(tool, "strict", function, "strict");
    json_array_append_new(list, json_pack("{s:s, s:o}", "type", "function", "function", function));
    return 0;
}

static int read_tools(const api_object *body, json_t *chat) {
    const json_t *list = NULL, *item;
    size_t i;
    int rc = api_field_list(body, "tools", &list);
    if (rc || json_array_size(list) == 0)
        return rc;
    json_t *tools = json_array();
    json_object_set_new(chat, "tools", tools);
    json_array_foreach((json_t *)list, i, item) {
        api_object tool;
        if ((rc = api_item_object(body, "tools", i, item, &tool)) || (rc = read_tool(&tool, tools)))
            return rc;
    }
    return 0;
}

// Without tools auto and none say nothing.
static int read_tool_choice(const api_object *body, json_t *chat) {
    api_object choice;
    const char *type = NULL, *name = NULL;
    bool alone = false, any = json_object_get(chat, "tools") != NULL;
    int rc;
    if ((rc = api_field_object(body, "tool_choice", &choice)) || !choice.json)
        return rc;
    if ((rc = api_field_need_string(&choice, "type", &type)) ||
        (rc = api_field_bool(&choice, "disable_parallel_tool_use", &alone)))
        return rc;
    if (strcmp(type, "tool") == 0) {
        if ((rc = api_field_need_string(&choice, "name", &name)))
            return rc;
        json_object_set_new(chat, "tool_choice",
                            json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name",
                                      json_object_get(choice.json, "name")));
    } else if (strcmp(type, "any") == 0) {
        json_object_set_new(chat, "tool_choice", json_string("required"));
    } else if (strcmp(type, "auto") != 0 && strcmp(type, "none") != 0) {
        return api_field_fail(&choice, 400, "type", "must be auto, any, tool or none");
    } else if (any) {
        json_object_set_new(chat, "tool_choice", json_string(type));
    }
    if (alone && any)
        json_object_set_new(chat, "parallel_tool_calls", json_false());
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Thoughts and forms of the answer

static int read_thinking(const api_object *body, json_t *chat) {
    api_object thinking;
    const char *type = NULL, *display = NULL;
    size_t len;
    int64_t budget = 0;
    int rc;
    if ((rc = api_field_object(body, "thinking", &thinking)) || !thinking.json)
        return rc;
    if ((rc = api_field_need_string(&thinking, "type", &type)) ||
        (rc = api_field_string(&thinking, "display", &display, &len)))
        return rc;
    if (display && strcmp(display, "omitted") == 0)
        json_object_set_new(chat, "include_reasoning", json_false());
    else if (display && strcmp(display, "summarized") != 0)
        return api_field_fail(&thinking, 400, "display", "must be summarized or omitted");
    if (strcmp(type, "disabled") == 0) {
        json_object_set_new(chat, "thinking", json_false());
    } else if (strcmp(type, "enabled") == 0) {
        if ((rc = api_field_int(&thinking, "budget_tokens", 1, INT64_MAX, &budget)))
            return rc;
        if (budget == 0)
            return api_field_fail(&thinking, 400, "budget_tokens", "is missing");
        json_object_set_new(chat, "thinking_token_budget", json_integer(budget));
    } else if (strcmp(type, "adaptive") != 0 && strcmp(type, "between_tools") != 0) {
        return api_field_fail(&thinking, 400, "type", "must be enabled, disabled or adaptive");
    }
    return 0;
}

static int read_format(const api_object *parent, const char *name, json_t *chat) {
    api_object format, schema;
    const char *type = NULL;
    int rc;
    if ((rc = api_field_object(parent, name, &format)) || !format.json)
        return rc;
    if ((rc = api_field_need_string(&format, "type", &type)))
        return rc;
    if (strcmp(type, "json_schema") != 0)
        return api_field_fail(&format, 400, "type", "must be json_schema");
    if ((rc = api_field_need_object(&format, "schema", &schema)))
        return rc;
    json_object_set_new(chat, "response_format",
                        json_pack("{s:s, s:{s:s, s:O, s:b}}", "type", "json_schema", "json_schema",
                                  "name", "output", "schema", (json_t *)schema.json, "strict", 1));
    return 0;
}

static int read_output_config(const api_object *body, json_t *chat) {
    api_object config;
    const char *effort = NULL;
    size_t len;
    int rc;
    if ((rc = api_field_object(body, "output_config", &config)) ||
        (rc = api_field_string(&config, "effort", &effort, &len)) ||
        (rc = read_format(&config, "format", chat)))
        return rc;
    copy_field(&config, "effort", chat, "reasoning_effort");
    return read_format(body, "output_format", chat); // as it was called before
}

// ---------------------------------------------------------------------------------------------

static int read_max_tokens(const api_object *body, bool counting, json_t *chat) {
    int64_t max_tokens = 0;
    int rc = api_field_int(body, "max_tokens", 1, INT32_MAX, &max_tokens);
    if (rc == 0 && max_tokens == 0 && !counting)
        rc = api_field_fail(body, 400, "max_tokens", "is missing");
    if (max_tokens > 0)
        json_object_set_new(chat, "max_tokens", json_integer(max_tokens));
    return rc;
}

static int refuse_fields(const api_object *body) {
    const json_t *servers = NULL;
    int rc = api_field_list(body, "mcp_servers", &servers);
    if (rc == 0 && json_array_size(servers) > 0)
        rc = api_field_fail(body, 400, "mcp_servers", "are not supported");
    if (rc == 0 && api_field_get(body, "container"))
        rc = api_field_fail(body, 400, "container", "is not supported");
    return rc;
}

static int read_messages(const api_object *body, json_t *chat) {
    json_t *messages = json_array();
    json_object_set_new(chat, "messages", messages);
    int rc = api_anthropic_add_messages(body, messages);
    if (rc)
        return rc;
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    if (strcmp(json_string_value(json_object_get(last, "role")), "assistant") == 0) {
        json_object_set_new(chat, "add_generation_prompt", json_false());
        json_object_set_new(chat, "continue_final_message", json_true());
    }
    return 0;
}

int api_anthropic_translate(json_t **chat, const json_t *json, bool counting, api_error *error) {
    static const char *const same[] = {"model", "stream", "temperature", "top_k", "top_p"};
    const api_object body = {.json = json, .error = error};
    json_t *out = json_object();
    int rc;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        copy_field(&body, same[i], out, same[i]);
    copy_field(&body, "stop_sequences", out, "stop");
    *chat = NULL;
    if ((rc = read_max_tokens(&body, counting, out)) || (rc = refuse_fields(&body)) ||
        (rc = read_messages(&body, out)) || (rc = read_tools(&body, out)) ||
        (rc = read_tool_choice(&body, out)) || (rc = read_thinking(&body, out)) ||
        (rc = read_output_config(&body, out))) {
        json_decref(out);
        return rc;
    }
    *chat = out;
    return 0;
}

static int parse(json_t **chat, const char *body, size_t len, bool counting, api_error *error) {
    json_t *json;
    *chat = NULL;
    *error = (api_error){0};
    int rc = api_body_parse_chat(&json, body, len, error);
    if (rc)
        return rc;
    rc = api_anthropic_translate(chat, json, counting, error);
    if (rc)
        api_anthropic_rename(error, false);
    json_decref(json);
    return rc;
}

int api_anthropic_parse(api_call **out, const api_options *o, const char *body, size_t len,
                        const char *request_id, api_error *error) {
    json_t *chat;
    *out = NULL;
    int rc = parse(&chat, body, len, false, error);
    if (rc)
        return rc;
    rc = api_call_parse_json(out, API_CHAT, API_ANTHROPIC, o, chat, request_id, error);
    if (rc)
        api_anthropic_rename(error, true);
    json_decref(chat);
    return rc;
}

static int read_ids(const api_options *o, const api_object *body, base_ids *ids) {
    api_tools tools = {0};
    api_thinking thinking;
    int rc;
    if ((rc = api_chat_check(o, body->error)) == 0 && (rc = api_model_check(o, body)) == 0 &&
        (rc = api_thinking_read(body, &thinking)) == 0 &&
        (rc = api_tools_read(o, body, &tools)) == 0)
        rc = api_chat_read(o, body, &tools, &thinking, SIZE_MAX, ids, NULL, NULL);
    api_tools_free(&tools);
    return rc;
}

int api_anthropic_count(const api_options *o, const char *body, size_t len, base_str *reply,
                        api_error *error) {
    json_t *chat;
    int rc = parse(&chat, body, len, true, error);
    if (rc)
        return rc;
    const api_object chat_body = {.json = chat, .error = error};
    base_ids ids = {0};
    rc = read_ids(o, &chat_body, &ids);
    if (rc)
        api_anthropic_rename(error, true);
    else
        base_str_printf(reply, "{\"input_tokens\":%zu}", ids.len);
    base_ids_free(&ids);
    json_decref(chat);
    return rc;
}
