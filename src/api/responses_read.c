// The body of /v1/responses -> the body of the chat that means the same.
//
// Items become messages: a reasoning item, an assistant's message and function calls that follow
// one another are one turn of the assistant, as the model wrote them.
#include "api/responses.h"

#include "api/read.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REFERRED = 32 << 20 }; // bytes of the items that the references of a request name

typedef struct translation {
    const api_options *options;
    api_object body;
    json_t *chat;
    json_t *messages;           // of the chat, borrowed
    json_t *origins;            // of the messages, borrowed
    json_t *turn;               // the assistant's message that grows, borrowed; NULL: none
    api_responses_store *store; // NULL: nothing is remembered
    size_t budget;              // bytes of remembered items that may still be read
    base_ids *tools;            // indices in the request of those of the chat
} translation;

// ---------------------------------------------------------------------------------------------
// Items of the input

static json_t *add_message(translation *t, const char *role) {
    json_t *message = json_pack("{s:s}", "role", role);
    json_array_append_new(t->messages, message);
    json_array_append_new(t->origins, json_null());
    t->turn = strcmp(role, "assistant") == 0 ? message : NULL;
    return message;
}

static json_t *assistant(translation *t) {
    return t->turn ? t->turn : add_message(t, "assistant");
}

static bool has_spoken(const translation *t) {
    return json_object_get(t->turn, "content") || json_object_get(t->turn, "tool_calls");
}

// Of the last message. Its parts are checked where chats are read.
static int read_content(translation *t, const api_object *item, const char *name) {
    size_t last = json_array_size(t->messages) - 1;
    json_t *content = api_field_get(item, name);
    if (!content)
        return api_field_fail(item, 400, name, "is missing");
    if (!json_is_string(content) && !json_is_array(content))
        return api_field_fail_type(item, name, "a string or a list of parts", content);
    json_object_set(json_array_get(t->messages, last), "content", content);
    json_array_set_new(t->origins, last, json_sprintf("%s.%s", item->path, name));
    return 0;
}

static int read_role_item(translation *t, const api_object *item) {
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    const char *role = NULL;
    size_t i = 0;
    int rc = api_field_need_string(item, "role", &role);
    if (rc)
        return rc;
    while (i < 4 && strcmp(role, roles[i]) != 0)
        i++;
    if (i == 4)
        return api_field_fail(item, 400, "role", "must be user, assistant, system or developer");
    if (i != 1 || !t->turn || has_spoken(t)) // it may have thought
        add_message(t, i == 3 ? "system" : role);
    return read_content(t, item, "content");
}

static int read_call_item(translation *t, const api_object *item) {
    const char *id = NULL, *name = NULL, *arguments = NULL;
    int rc;
    if ((rc = api_field_need_string(item, "call_id", &id)) ||
        (rc = api_field_need_string(item, "name", &name)) ||
        (rc = api_field_need_string(item, "arguments", &arguments)))
        return rc;
    json_t *message = assistant(t), *calls = json_object_get(message, "tool_calls");
    if (!calls) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:O, s:O}}", "id", id, "type", "function",
                                           "function", "name", json_object_get(item->json, "name"),
                                           "arguments", json_object_get(item->json, "arguments")));
    return 0;
}

static int read_output_item(translation *t, const api_object *item) {
    const char *id = NULL;
    int rc = api_field_need_string(item, "call_id", &id);
    if (rc)
        return rc;
    json_t *message = add_message(t, "tool");
    json_object_set_new(message, "tool_call_id", json_string(id));
    return read_content(t, item, "output");
}

// The texts of a reasoning item: its own ones, or else what summarises them.
static int read_reasoning_item(translation *t, const api_object *item) {
    const json_t *content = NULL, *summary = NULL, *part;
    base_str text = {0};
    size_t i;
    int rc;
    if ((rc = api_field_list(item, "content", &content)) ||
        (rc = api_field_list(item, "summary", &summary)))
        return rc;
    const char *name = json_array_size(content) > 0 ? "content" : "summary";
    json_array_foreach((json_t *)(json_array_size(content) > 0 ? content : summary), i, part) {
        api_object o;
        const char *piece = NULL;
        if ((rc = api_item_object(item, name, i, part, &o)) ||
            (rc = api_field_need_string(&o, "text", &piece)))
            break;
        base_str_adds(&text, piece);
    }
    if (rc == 0) {
        if (has_spoken(t))
            t->turn = NULL; // it belongs to what comes
        json_object_set_new(assistant(t), "reasoning_content",
                            json_stringn(text.data ? text.data : "", text.len));
    }
    base_str_free(&text);
    return rc;
}

static int read_kind(translation *t, const api_object *item) {
    const char *type = "message";
    size_t len;
    int rc = api_field_string(item, "type", &type, &len);
    if (rc)
        return rc;
    if (strcmp(type, "message") == 0)
        return read_role_item(t, item);
    if (strcmp(type, "function_call") == 0)
        return read_call_item(t, item);
    if (strcmp(type, "function_call_output") == 0)
        return read_output_item(t, item);
    if (strcmp(type, "reasoning") == 0)
        return read_reasoning_item(t, item);
    return api_field_fail(item, 400, "type",
                          "must be message, reasoning, function_call, function_call_output or "
                          "item_reference, got \"%.40s\"",
                          type);
}

// An item of an earlier reply, whose id ends in that of its response: KIND_INDEX_RESPONSE.
static int read_reference(translation *t, const api_object *item) {
    const char *id = NULL, *response;
    json_t *items = NULL, *found;
    size_t i;
    int rc = api_field_need_string(item, "id", &id);
    if (rc)
        return rc;
    response = strchr(id, '_');
    response = response ? strchr(response + 1, '_') : NULL;
    if (response && t->store)
        items = api_responses_store_items(t->store, response + 1, &t->budget);
    rc = -1;
    json_array_foreach(items, i, found) {
        const char *its_id = json_string_value(json_object_get(found, "id"));
        if (rc < 0 && its_id && strcmp(its_id, id) == 0) {
            api_object known = *item;
            known.json = found;
            rc = read_kind(t, &known);
        }
    }
    json_decref(items);
    if (rc < 0)
        rc = api_field_fail(item, 404, "id", "there is no item `%.100s` in memory", id);
    return rc;
}

static int read_item(translation *t, size_t index, const json_t *value) {
    api_object item;
    int rc = api_item_object(&t->body, "input", index, value, &item);
    if (rc)
        return rc;
    // Some clients leave the type of a reference out; nothing else is only an id.
    const char *type = json_string_value(api_field_get(&item, "type"));
    bool only_id = !type && json_object_size(value) == 1 && api_field_get(&item, "id");
    if (only_id || (type && strcmp(type, "item_reference") == 0))
        return read_reference(t, &item);
    return read_kind(t, &item);
}

static int read_input(translation *t) {
    const json_t *input = api_field_get(&t->body, "input"), *item;
    size_t i;
    if (!input)
        return api_field_fail(&t->body, 400, "input", "is missing");
    if (json_is_string(input)) {
        json_object_set(add_message(t, "user"), "content", (json_t *)input);
        return 0;
    }
    if (!json_is_array(input))
        return api_field_fail_type(&t->body, "input", "a string or a list of items", input);
    if (json_array_size(input) == 0)
        return api_field_fail(&t->body, 400, "input", "must not be empty");
    json_array_foreach((json_t *)input, i, item) {
        int rc = read_item(t, i, item);
        if (rc)
            return rc;
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Tools and formats

// Agents declare tools of other kinds with every request: such that the provider of a hosted model
// runs, and such whose calls have a form of their own. Nobody could run or make those here, so that
// the model is not told of them.
static void leave_out(const char *type) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char shown[41];
    if (atomic_flag_test_and_set(&said))
        return;
    snprintf(shown, sizeof shown, "%s", type);
    base_text_clean(shown);
    base_warn("A response's tool of type \"%s\" is left out, as all are that are not functions",
              shown);
}

static int read_tool(translation *t, size_t index, const json_t *value, json_t *tools) {
    static const char *const fields[] = {"name", "description", "parameters", "strict"};
    api_object tool;
    const char *type = NULL, *name = NULL;
    int rc;
    if ((rc = api_item_object(&t->body, "tools", index, value, &tool)) ||
        (rc = api_field_need_string(&tool, "type", &type)))
        return rc;
    if (strcmp(type, "function") != 0) {
        leave_out(type);
        return 0;
    }
    if ((rc = api_field_need_string(&tool, "name", &name)))
        return rc;
    json_t *function = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (api_field_get(&tool, fields[i]))
            json_object_set(function, fields[i], api_field_get(&tool, fields[i]));
    json_array_append_new(tools, json_pack("{s:s, s:o}", "type", "function", "function", function));
    base_ids_add(t->tools, (int32_t)index);
    return 0;
}

static int read_tools(translation *t) {
    const json_t *list = NULL, *tool;
    size_t i;
    int rc = api_field_list(&t->body, "tools", &list);
    if (rc || json_array_size(list) == 0) // SDKs say [] for none
        return rc;
    json_t *tools = json_array();
    json_array_foreach((json_t *)list, i, tool) {
        if ((rc = read_tool(t, i, tool, tools)))
            break;
    }
    if (json_array_size(tools) > 0)
        json_object_set(t->chat, "tools", tools);
    json_decref(tools);
    return rc;
}

static int read_tool_choice(translation *t) {
    json_t *choice = api_field_get(&t->body, "tool_choice");
    api_object o;
    const char *type = NULL, *name = NULL;
    int rc;
    if (!choice || (json_is_string(choice) && !json_object_get(t->chat, "tools") &&
                    strcmp(json_string_value(choice), "required") != 0))
        return 0; // "auto" and "none" without tools are what SDKs say unasked
    if (!json_is_object(choice)) {
        json_object_set(t->chat, "tool_choice", choice);
        return 0;
    }
    if ((rc = api_field_object(&t->body, "tool_choice", &o)) ||
        (rc = api_field_need_string(&o, "type", &type)))
        return rc;
    if (strcmp(type, "function") != 0)
        return api_field_fail(&o, 400, "type", "must be function");
    if ((rc = api_field_need_string(&o, "name", &name)))
        return rc;
    json_object_set_new(t->chat, "tool_choice",
                        json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", name));
    return 0;
}

static int read_format(translation *t) {
    api_object text, format;
    const char *type = NULL;
    int rc;
    if ((rc = api_field_object(&t->body, "text", &text)) || !text.json ||
        (rc = api_field_object(&text, "format", &format)) || !format.json ||
        (rc = api_field_need_string(&format, "type", &type)))
        return rc;
    if (strcmp(type, "text") == 0)
        return 0;
    json_t *out = json_pack("{s:s}", "type", type);
    json_object_set_new(t->chat, "response_format", out);
    if (strcmp(type, "json_object") == 0)
        return 0;
    if (strcmp(type, "json_schema") != 0)
        return api_field_fail(&format, 400, "type", "must be text, json_object or json_schema");
    if (!api_field_get(&format, "schema"))
        return api_field_fail(&format, 400, "schema", "is missing");
    json_t *schema = json_copy((json_t *)format.json);
    json_object_del(schema, "type");
    json_object_set_new(out, "json_schema", schema);
    return 0;
}

// ---------------------------------------------------------------------------------------------
// The rest

// What this server cannot do is refused, rather than left out silently.
static int refuse_fields(const translation *t) {
    static const char *const fields[] = {"conversation", "prompt", "context_management"};
    const api_object *body = &t->body;
    const char *truncation = NULL;
    bool background = false;
    size_t len;
    int rc;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (api_field_get(body, fields[i]))
            return api_field_fail(body, 400, fields[i], "is not supported");
    if ((rc = api_field_bool(body, "background", &background)) ||
        (rc = api_field_string(body, "truncation", &truncation, &len)))
        return rc;
    if (background)
        return api_field_fail(body, 400, "background", "is not supported");
    if (truncation && strcmp(truncation, "disabled") != 0)
        return api_field_fail(body, 400, "truncation", "must be disabled");
    return 0;
}

// Thoughts are in every reply as they are, and of tools that are left out there is nothing to say,
// so that asking for more of either changes nothing.
static int check_include(const translation *t) {
    const json_t *list = NULL, *item;
    size_t i;
    int rc = api_field_list(&t->body, "include", &list);
    if (rc)
        return rc;
    json_array_foreach((json_t *)list, i, item) {
        char name[40];
        const char *word = json_string_value(item);
        snprintf(name, sizeof name, "include[%zu]", i);
        if (!word)
            return api_field_fail_type(&t->body, name, "a string", item);
        if (strcmp(word, "message.output_text.logprobs") == 0)
            return api_field_fail(&t->body, 400, name, "is not supported");
    }
    return 0;
}

static int read_reasoning(translation *t) {
    api_object reasoning;
    int rc = api_field_object(&t->body, "reasoning", &reasoning);
    if (rc == 0 && reasoning.json && api_field_get(&reasoning, "effort"))
        json_object_set(t->chat, "reasoning_effort", api_field_get(&reasoning, "effort"));
    return rc;
}

// Fields that mean the same in a chat, and are checked there.
static void copy_fields(translation *t) {
    static const struct {
        const char *name, *chat;
    } fields[] = {
        {"model", "model"},
        {"max_output_tokens", "max_completion_tokens"},
        {"temperature", "temperature"},
        {"top_p", "top_p"},
        {"top_k", "top_k"},
        {"min_p", "min_p"},
        {"seed", "seed"},
        {"stop", "stop"},
        {"top_logprobs", "top_logprobs"}, // refused but for 0
        {"presence_penalty", "presence_penalty"},
        {"frequency_penalty", "frequency_penalty"},
        {"repetition_penalty", "repetition_penalty"},
        {"logit_bias", "logit_bias"},
        {"ignore_eos", "ignore_eos"},
        {"cache_salt", "cache_salt"},
        {"priority", "priority"},
        {"thinking_token_budget", "thinking_token_budget"},
        {"chat_template_kwargs", "chat_template_kwargs"},
        {"parallel_tool_calls", "parallel_tool_calls"},
        {"stream", "stream"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (api_field_get(&t->body, fields[i].name))
            json_object_set(t->chat, fields[i].chat, api_field_get(&t->body, fields[i].name));
}

static int read_previous(translation *t) {
    const char *id = NULL;
    size_t len;
    int rc = api_field_string(&t->body, "previous_response_id", &id, &len);
    if (rc || !id)
        return rc;
    json_t *messages = t->store ? api_responses_store_get(t->store, id) : NULL;
    if (!messages)
        return api_fail(t->body.error, 404, "previous_response_id",
                        "previous_response_id: there is no response `%.100s` in memory", id);
    json_array_extend(t->messages, messages);
    for (size_t i = 0; i < json_array_size(messages); i++)
        json_array_append_new(t->origins, json_null());
    json_decref(messages);
    return 0;
}

static void echo_number(const translation *t, const char *name, float unsaid, base_str *out) {
    const json_t *value = api_field_get(&t->body, name);
    base_str_printf(out, "\"%s\":", name);
    if (json_is_number(value))
        base_json_add_double(out, json_number_value(value));
    else
        base_str_printf(out, "%g", (double)unsaid);
    base_str_adds(out, ",");
}

// What clients read of their own request in the reply.
static void echo(const translation *t, bool store, base_str *out) {
    static const struct {
        const char *name, *unsaid;
    } fields[] = {
        {"instructions", "null"},        {"max_output_tokens", "null"},
        {"max_tool_calls", "null"},      {"metadata", "{}"},
        {"parallel_tool_calls", "true"}, {"previous_response_id", "null"},
        {"prompt_cache_key", "null"},    {"reasoning", "{\"effort\":null,\"summary\":null}"},
        {"safety_identifier", "null"},   {"text", "{\"format\":{\"type\":\"text\"}}"},
        {"tool_choice", "\"auto\""},     {"tools", "[]"},
        {"top_logprobs", "0"},           {"user", "null"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = api_field_get(&t->body, fields[i].name);
        char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        base_str_printf(out, "\"%s\":", fields[i].name);
        base_str_adds(out, text ? text : fields[i].unsaid);
        base_str_adds(out, ",");
        free(text); // jansson's
    }
    echo_number(t, "temperature", t->options->defaults.temperature, out);
    echo_number(t, "top_p", t->options->defaults.top_p, out);
    base_str_printf(out, "\"store\":%s,\"background\":false,\"truncation\":\"disabled\"",
                    store ? "true" : "false");
}

static int translate(translation *t, api_responses_turn *turn) {
    const char *instructions = NULL;
    size_t len;
    bool store = true;
    api_object ignored;
    int rc;
    if ((rc = refuse_fields(t)) || (rc = api_field_bool(&t->body, "store", &store)) ||
        (rc = api_field_object(&t->body, "metadata", &ignored)) ||
        (rc = api_field_string(&t->body, "instructions", &instructions, &len)) ||
        (rc = check_include(t)) || (rc = read_reasoning(t)) || (rc = read_previous(t)) ||
        (rc = read_input(t)) || (rc = read_tools(t)) || (rc = read_tool_choice(t)) ||
        (rc = read_format(t)))
        return rc;
    copy_fields(t);
    if (store && t->store)
        turn->messages = json_deep_copy(t->messages);
    if (instructions) {
        json_array_insert_new(t->messages, 0,
                              json_pack("{s:s, s:O}", "role", "system", "content",
                                        json_object_get(t->body.json, "instructions")));
        json_array_insert_new(t->origins, 0, json_null());
    }
    echo(t, turn->messages != NULL, &turn->echo);
    return 0;
}

int api_responses_translate(api_responses_store *store, const api_options *o, const json_t *body,
                            json_t **chat, api_responses_turn **turn, api_error *error) {
    translation t = {.options = o,
                     .body = {.json = body, .error = error},
                     .chat = json_object(),
                     .store = store,
                     .budget = MAX_REFERRED};
    t.messages = json_array();
    json_object_set_new(t.chat, "messages", t.messages);
    *turn = base_calloc(1, sizeof **turn);
    t.origins = (*turn)->origins = json_array();
    t.tools = &(*turn)->tools;
    int rc = translate(&t, *turn);
    *chat = t.chat;
    if (rc) {
        json_decref(t.chat);
        api_responses_turn_free(*turn);
        *chat = NULL;
        *turn = NULL;
    }
    return rc;
}

void api_responses_turn_free(api_responses_turn *t) {
    if (!t)
        return;
    base_str_free(&t->echo);
    json_decref(t->messages);
    json_decref(t->origins);
    base_ids_free(&t->tools);
    base_free(t);
}
