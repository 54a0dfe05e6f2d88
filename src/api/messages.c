// The messages of a chat -> a conversation -> ids.
#include "api/read.h"

#include <string.h>

enum {
    MAX_MESSAGES = 1 << 16,
    MAX_PARTS = 1 << 20, // of all messages
    MAX_CALLS = 1 << 16, // of all messages
    MAX_NAME = 256,      // bytes of a role or a name
};

// The conversation's arrays, and what of it is not in the body's own memory.
typedef struct reader {
    const api_object *body;
    chat_message *messages;
    chat_slice *parts;
    chat_tool_call *calls;
    base_str *printed; // [n_calls] arguments that came as objects
    int n_messages, n_parts, n_calls;
} reader;

static void reader_free(reader *r) {
    for (int i = 0; i < r->n_calls; i++)
        base_str_free(&r->printed[i]);
    base_free(r->printed);
    base_free(r->calls);
    base_free(r->parts);
    base_free(r->messages);
}

static int read_slice(const api_object *o, const char *name, chat_slice *slice) {
    return api_field_string(o, name, &slice->at, &slice->len);
}

static int read_name(const api_object *o, const char *name, chat_slice *slice) {
    int rc = read_slice(o, name, slice);
    if (rc == 0 && slice->len > MAX_NAME)
        rc = api_field_fail(o, 400, name, "must have at most %d bytes, got %zu", MAX_NAME,
                            slice->len);
    return rc;
}

// ---------------------------------------------------------------------------------------------
// Content

static int refuse_part(const api_object *part, const char *type) {
    static const char *const kinds[][2] = {{"image", "images are not supported"},
                                           {"audio", "audio is not supported"},
                                           {"video", "video is not supported"},
                                           {"file", "files are not supported"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(type, kinds[i][0]))
            return api_field_fail(part, 400, "", "%s", kinds[i][1]);
    return api_field_fail(part, 400, "type", "must be text, got \"%.40s\"", type);
}

static int read_part(const api_object *message, size_t index, const json_t *value,
                     chat_slice *out) {
    if (json_is_string(value)) {
        *out = (chat_slice){json_string_value(value), json_string_length(value)};
        return 0;
    }
    api_object part;
    const char *type = NULL;
    int rc;
    if ((rc = api_item_object(message, "content", index, value, &part)) ||
        (rc = api_field_need_string(&part, "type", &type)))
        return rc;
    bool refusal = strcmp(type, "refusal") == 0;
    if (!refusal && strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 &&
        strcmp(type, "output_text") != 0)
        return refuse_part(&part, type);
    const char *field = refusal ? "refusal" : "text";
    if ((rc = read_slice(&part, field, out)))
        return rc;
    return out->at ? 0 : api_field_fail(&part, 400, field, "is missing");
}

static int read_content(reader *r, const api_object *o, chat_message *m) {
    const json_t *content = api_field_get(o, "content");
    if (!content)
        return 0;
    if (!json_is_array(content) && !json_is_string(content))
        return api_field_fail_type(o, "content", "a string or a list of parts", content);
    m->parts = &r->parts[r->n_parts];
    m->n_parts = json_is_array(content) ? (int)json_array_size(content) : 1;
    for (int i = 0; i < m->n_parts; i++) {
        const json_t *part = json_is_array(content) ? json_array_get(content, (size_t)i) : content;
        int rc = read_part(o, (size_t)i, part, &r->parts[r->n_parts++]);
        if (rc)
            return rc;
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Tool calls of earlier turns

static int read_call(reader *r, const api_object *o) {
    chat_tool_call *call = &r->calls[r->n_calls];
    base_str *printed = &r->printed[r->n_calls++];
    api_object function;
    int rc;
    if ((rc = read_slice(o, "id", &call->id)) || (rc = api_field_object(o, "function", &function)))
        return rc;
    if (!call->id.at)
        return api_field_fail(o, 400, "id", "is missing");
    if (!function.json)
        return api_field_fail(o, 400, "function", "is missing");
    if ((rc = read_slice(&function, "name", &call->name)))
        return rc;
    if (!call->name.at)
        return api_field_fail(&function, 400, "name", "is missing");
    const json_t *arguments = api_field_get(&function, "arguments");
    if (json_is_object(arguments)) {
        // As Python's json.dumps, by which the template shows arguments that are not a string.
        base_json_add(printed, arguments, ", ", ": ", false);
        call->arguments = (chat_slice){printed->data, printed->len};
        return 0;
    }
    if ((rc = read_slice(&function, "arguments", &call->arguments)))
        return rc;
    if (!call->arguments.at) // agents leave out what a function without parameters was given
        call->arguments = (chat_slice){"{}", 2};
    return 0;
}

static int read_calls(reader *r, const api_object *message, chat_message *m) {
    const json_t *list = NULL;
    int rc = api_field_list(message, "tool_calls", &list);
    m->tool_calls = &r->calls[r->n_calls];
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        api_object call;
        rc = api_item_object(message, "tool_calls", i, json_array_get(list, i), &call);
        if (rc == 0)
            rc = read_call(r, &call);
        m->n_tool_calls++;
    }
    return rc;
}

// ---------------------------------------------------------------------------------------------

static int read_message(reader *r, const api_object *o, chat_message *m) {
    chat_slice reasoning = {0};
    int rc;
    if ((rc = read_name(o, "role", &m->role)) || (rc = read_name(o, "name", &m->name)) ||
        (rc = read_slice(o, "reasoning_content", &reasoning)) ||
        (rc = read_slice(o, "reasoning", &m->reasoning)) ||
        (rc = read_slice(o, "tool_call_id", &m->tool_call_id)))
        return rc;
    if (m->role.len == 0)
        return api_field_fail(o, 400, "role", m->role.at ? "must not be empty" : "is missing");
    if (m->name.len == 0)
        m->name = (chat_slice){0};
    if (m->reasoning.len == 0)
        m->reasoning = reasoning;
    if ((rc = read_content(r, o, m)))
        return rc;
    if (strcmp(m->role.at, "tool") == 0 && !m->tool_call_id.at)
        return api_field_fail(o, 400, "tool_call_id", "is missing: it says whose result this is");
    return strcmp(m->role.at, "assistant") == 0 ? read_calls(r, o, m) : 0;
}

// Room for everything before anything is read, so that nothing moves.
static int reader_reserve(reader *r, const json_t *list) {
    size_t n = json_array_size(list), n_parts = 0, n_calls = 0, i;
    const json_t *message;
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        n_parts += json_is_array(content) ? json_array_size(content) : 1;
        n_calls += json_array_size(json_object_get(message, "tool_calls"));
    }
    if (n > MAX_MESSAGES || n_parts > MAX_PARTS || n_calls > MAX_CALLS)
        return api_field_fail(r->body, 400, "messages",
                              "must have at most %d messages, %d parts and %d tool calls",
                              MAX_MESSAGES, MAX_PARTS, MAX_CALLS);
    r->messages = base_calloc(n, sizeof *r->messages);
    r->parts = base_calloc(n_parts, sizeof *r->parts);
    r->calls = base_calloc(n_calls, sizeof *r->calls);
    r->printed = base_calloc(n_calls, sizeof *r->printed);
    r->n_messages = (int)n;
    return 0;
}

static int read_messages(reader *r) {
    const json_t *list = NULL;
    int rc = api_field_list(r->body, "messages", &list);
    if (rc)
        return rc;
    if (json_array_size(list) == 0)
        return api_field_fail(r->body, 400, "messages", list ? "must not be empty" : "is missing");
    if ((rc = reader_reserve(r, list)))
        return rc;
    for (int i = 0; i < r->n_messages && !rc; i++) {
        api_object message;
        rc = api_item_object(r->body, "messages", (size_t)i, json_array_get(list, (size_t)i),
                             &message);
        if (rc == 0)
            rc = read_message(r, &message, &r->messages[i]);
    }
    return rc;
}

static size_t text_bytes(const reader *r) {
    size_t bytes = 0;
    for (int i = 0; i < r->n_parts; i++)
        bytes += r->parts[i].len;
    for (int i = 0; i < r->n_calls; i++)
        bytes += r->calls[i].arguments.len;
    return bytes;
}

// ---------------------------------------------------------------------------------------------
// What clients may ask of the template

static int check_template(const api_object *body) {
    const json_t *documents = NULL;
    int rc;
    if (api_field_get(body, "chat_template"))
        return api_field_fail(body, 400, "chat_template",
                              "templates of clients are not run: prompts are built from token ids "
                              "by the model's own");
    if ((rc = api_field_list(body, "documents", &documents)))
        return rc;
    if (json_array_size(documents) > 0)
        return api_field_fail(body, 400, "documents", "are not supported by this model");
    return 0;
}

static int read_conversation(reader *r, chat_conversation *c) {
    int rc;
    c->add_generation_prompt = true;
    if ((rc = api_field_bool(r->body, "add_generation_prompt", &c->add_generation_prompt)) ||
        (rc = api_field_bool(r->body, "continue_final_message", &c->continue_final_message)))
        return rc;
    if (c->add_generation_prompt && c->continue_final_message)
        return api_field_fail(r->body, 400, "continue_final_message",
                              "needs add_generation_prompt to be false");
    if ((rc = check_template(r->body)) || (rc = read_messages(r)))
        return rc;
    c->messages = r->messages;
    c->n_messages = r->n_messages;
    return 0;
}

int api_chat_check(const api_options *o, api_error *error) {
    if (o->chat)
        return 0;
    return api_fail(error, 400, "messages", "This model's tokenizer has no tokens for chats.");
}

static int render(const reader *r, const api_options *o, const chat_conversation *c, base_ids *ids,
                  base_str *text) {
    base_err err;
    if (chat_render(o->chat, c, o->allow_special ? CHAT_ALLOW_SPECIAL : 0, ids, text, &err) == 0)
        return 0;
    return api_fail_field(r->body->error, &err);
}

int api_chat_read(const api_options *o, const api_object *body, const api_tools *tools,
                  const api_thinking *thinking, size_t max_bytes, base_ids *ids, base_str *text,
                  chat_calls **calls) {
    reader r = {.body = body};
    chat_conversation c = {.no_thinking = thinking->off};
    base_str shown = {0};
    int rc = read_conversation(&r, &c);
    if (tools->shown) {
        chat_tools_print(tools->list, &shown);
        c.tools = (chat_slice){shown.data, shown.len};
    }
    if (rc == 0 && text_bytes(&r) + shown.len > max_bytes)
        rc = api_fail_context(o, body->error, "messages", text_bytes(&r) + shown.len, "bytes");
    if (rc == 0)
        rc = render(&r, o, &c, ids, text);
    if (rc == 0 && calls && tools->list) {
        *calls = chat_calls_create(&c, tools->names, tools->n);
        chat_calls_set_tools(*calls, tools->list);
    }
    base_str_free(&shown);
    reader_free(&r);
    return rc;
}
