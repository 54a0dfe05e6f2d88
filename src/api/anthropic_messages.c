// Anthropic's messages, lists of content blocks -> the messages of a chat.
//
// A tool's result becomes a message of its own, where it stands; what else a user says stays one
// message. Assistant's messages that follow one another are one turn, as the model wrote it, until
// a thought comes after something else. Values of the body are shared, not copied.
#include "api/anthropic.h"

#include <string.h>
#include <strings.h>

typedef enum { USER, ASSISTANT, SYSTEM } role;

typedef struct translation {
    const api_object *body;
    json_t *messages;
    json_t *turn; // the message that grows; NULL: none
    bool has_thought;
    base_str thought; // of the turn, as far as it has come
} translation;

// ---------------------------------------------------------------------------------------------
// Turns

static void end_turn(translation *t) {
    if (t->turn && t->has_thought)
        json_object_set_new(t->turn, "reasoning_content",
                            json_stringn(t->thought.data ? t->thought.data : "", t->thought.len));
    base_str_clear(&t->thought);
    t->has_thought = false;
    t->turn = NULL;
}

static json_t *begin_turn(translation *t, const char *name) {
    end_turn(t);
    t->turn = json_pack("{s:s, s:[]}", "role", name, "content");
    json_array_append_new(t->messages, t->turn);
    return t->turn;
}

static json_t *parts_of(const json_t *message) {
    return json_object_get(message, "content");
}

static bool has_spoken(const json_t *message) {
    return json_array_size(parts_of(message)) > 0 || json_object_get(message, "tool_calls");
}

// ---------------------------------------------------------------------------------------------
// Blocks

static int refuse_block(const api_object *block, const char *type) {
    static const char *const kinds[][2] = {{"image", "images are not supported"},
                                           {"document", "documents are not supported"},
                                           {"thinking", "only an assistant's message has thoughts"},
                                           {"tool_use", "only an assistant's message has calls"},
                                           {"tool_result", "only a user's message has results"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i][0]) == 0)
            return api_field_fail(block, 400, "type", "\"%s\": %s", type, kinds[i][1]);
    return api_field_fail(block, 400, "type", "blocks of type \"%.60s\" are not supported", type);
}

static int begin_block(const api_object *parent, const char *name, size_t index,
                       const json_t *value, api_object *block, const char **type) {
    int rc = api_item_object(parent, name, index, value, block);
    *type = NULL;
    return rc ? rc : api_field_need_string(block, "type", type);
}

static int add_text(const api_object *block, json_t *parts) {
    const char *text = NULL;
    int rc = api_field_need_string(block, "text", &text);
    if (rc == 0)
        json_array_append(parts, (json_t *)block->json);
    return rc;
}

// What a search for tools has found. All declared tools are shown to the model from the start, so
// that it only has to be told which.
static int add_reference(const api_object *block, json_t *parts) {
    const char *name = NULL;
    int rc = api_field_need_string(block, "tool_name", &name);
    if (rc == 0)
        json_array_append_new(parts, json_pack("{s:s, s:o}", "type", "text", "text",
                                               json_sprintf("The tool %s is available.\n", name)));
    return rc;
}

static int add_call(const api_object *block, json_t *message) {
    const char *id = NULL, *name = NULL;
    api_object input;
    int rc;
    if ((rc = api_field_need_string(block, "id", &id)) ||
        (rc = api_field_need_string(block, "name", &name)) ||
        (rc = api_field_need_object(block, "input", &input)))
        return rc;
    json_t *calls = json_object_get(message, "tool_calls");
    if (!calls) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    json_array_append_new(calls, json_pack("{s:O, s:s, s:{s:O, s:O}}", "id",
                                           json_object_get(block->json, "id"), "type", "function",
                                           "function", "name", json_object_get(block->json, "name"),
                                           "arguments", (json_t *)input.json));
    return 0;
}

static int add_thought(translation *t, const api_object *block) {
    const char *text = NULL;
    size_t len = 0;
    int rc = api_field_need_string(block, "thinking", &text);
    if (rc == 0)
        rc = api_field_string(block, "thinking", &text, &len);
    if (rc)
        return rc;
    if (has_spoken(t->turn))
        begin_turn(t, "assistant");
    base_str_add(&t->thought, text, len);
    t->has_thought = true;
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Results of tools

static int read_result_block(const api_object *result, size_t index, const json_t *value,
                             json_t *parts) {
    api_object block;
    const char *type;
    int rc = begin_block(result, "content", index, value, &block, &type);
    if (rc)
        return rc;
    if (strcmp(type, "text") == 0)
        return add_text(&block, parts);
    if (strcmp(type, "tool_reference") == 0)
        return add_reference(&block, parts);
    return refuse_block(&block, type);
}

static int read_result_content(const api_object *result, json_t *parts) {
    json_t *content = api_field_get(result, "content"), *item;
    size_t i;
    int rc = 0;
    if (json_is_string(content))
        json_array_append(parts, content);
    else if (content && !json_is_array(content))
        return api_field_fail_type(result, "content", "a string or a list of blocks", content);
    if (!json_is_array(content))
        return 0;
    json_array_foreach(content, i, item) {
        if ((rc = read_result_block(result, i, item, parts)))
            return rc;
    }
    return 0;
}

static bool is_silent(const json_t *parts) {
    const json_t *part;
    size_t i;
    json_array_foreach((json_t *)parts, i, part) {
        const json_t *text = json_is_string(part) ? part : json_object_get(part, "text");
        if (json_string_length(text) > 0)
            return false;
    }
    return true;
}

static int add_result(translation *t, const api_object *block) {
    // Both spellings are about.
    const char *field = api_field_get(block, "tool_use_id") ? "tool_use_id" : "id", *id = NULL;
    bool is_error = false;
    int rc;
    if (!api_field_get(block, field))
        return api_field_fail(block, 400, "tool_use_id", "is missing");
    if ((rc = api_field_need_string(block, field, &id)) ||
        (rc = api_field_bool(block, "is_error", &is_error)))
        return rc;
    json_t *message = begin_turn(t, "tool"), *parts = parts_of(message);
    json_object_set(message, "tool_call_id", json_object_get(block->json, field));
    if ((rc = read_result_content(block, parts)))
        return rc;
    if (is_error && is_silent(parts)) // a failure that does not say so would be read as success
        json_array_append_new(parts, json_string("Error"));
    t->turn = NULL;
    return 0;
}

// ---------------------------------------------------------------------------------------------
// System texts

// Claude Code begins its system texts with a line that is another one in each request, which would
// end what the prefix cache has in common with the last one at its first ids.
static size_t nonce_length(const char *text) {
    static const char nonce[] = "x-anthropic-billing-header:";
    if (strncasecmp(text, nonce, sizeof nonce - 1) != 0)
        return 0;
    size_t len = strcspn(text, "\n");
    return len + strspn(text + len, "\r\n");
}

static void add_system_text(json_t *parts, const json_t *value) {
    const char *text = json_string_value(value);
    size_t skip = nonce_length(text), len = json_string_length(value);
    if (len > skip)
        json_array_append_new(parts, json_stringn(text + skip, len - skip));
}

static int read_system(const api_object *o, const char *name, json_t *parts) {
    json_t *content = api_field_get(o, name), *item;
    size_t i;
    if (json_is_string(content))
        add_system_text(parts, content);
    else if (content && !json_is_array(content))
        return api_field_fail_type(o, name, "a string or a list of text blocks", content);
    if (!json_is_array(content))
        return 0;
    json_array_foreach(content, i, item) {
        api_object block;
        const char *type, *text = NULL;
        int rc = begin_block(o, name, i, item, &block, &type);
        if (rc == 0 && strcmp(type, "text") != 0)
            rc = refuse_block(&block, type);
        if (rc || (rc = api_field_need_string(&block, "text", &text)))
            return rc;
        add_system_text(parts, json_object_get(item, "text"));
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Messages

static int read_user_block(translation *t, const api_object *block, const char *type) {
    if (strcmp(type, "tool_result") == 0)
        return add_result(t, block);
    bool reference = strcmp(type, "tool_reference") == 0;
    if (!reference && strcmp(type, "text") != 0)
        return refuse_block(block, type);
    json_t *parts = parts_of(t->turn ? t->turn : begin_turn(t, "user"));
    return reference ? add_reference(block, parts) : add_text(block, parts);
}

static int read_assistant_block(translation *t, const api_object *block, const char *type) {
    if (strcmp(type, "text") == 0)
        return add_text(block, parts_of(t->turn));
    if (strcmp(type, "thinking") == 0)
        return add_thought(t, block);
    if (strcmp(type, "redacted_thinking") == 0)
        return 0; // nobody here can read it
    if (strcmp(type, "tool_use") == 0)
        return add_call(block, t->turn);
    return refuse_block(block, type);
}

static int read_blocks(translation *t, const api_object *message, role who, const json_t *list) {
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)list, i, item) {
        api_object block;
        const char *type;
        int rc = begin_block(message, "content", i, item, &block, &type);
        if (rc == 0)
            rc = who == USER ? read_user_block(t, &block, type)
                             : read_assistant_block(t, &block, type);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_role(const api_object *message, role *who) {
    static const char *const names[] = {
        [USER] = "user", [ASSISTANT] = "assistant", [SYSTEM] = "system"};
    const char *name = NULL;
    int rc = api_field_need_string(message, "role", &name);
    for (role i = USER; i <= SYSTEM && rc == 0; i++)
        if (strcmp(name, names[i]) == 0) {
            *who = i;
            return 0;
        }
    return rc ? rc : api_field_fail(message, 400, "role", "must be user or assistant");
}

static int read_message(translation *t, const api_object *message, bool *assistant) {
    role who = USER;
    int rc = read_role(message, &who);
    if (rc)
        return rc;
    json_t *content = api_field_get(message, "content");
    if (!content)
        return api_field_fail(message, 400, "content", "is missing");
    if (!json_is_string(content) && !json_is_array(content))
        return api_field_fail_type(message, "content", "a string or a list of blocks", content);
    bool goes_on = *assistant && who == ASSISTANT;
    *assistant = who == ASSISTANT;
    if (who == SYSTEM)
        return read_system(message, "content", parts_of(begin_turn(t, "system")));
    if (who == ASSISTANT && !goes_on)
        begin_turn(t, "assistant");
    if (who == USER)
        end_turn(t);
    if (who == USER && (json_is_string(content) || json_array_size(content) == 0))
        begin_turn(t, "user");
    if (json_is_string(content))
        return json_array_append(parts_of(t->turn), content);
    return read_blocks(t, message, who, content);
}

static int read_messages(translation *t) {
    const json_t *list = NULL, *item;
    size_t i;
    bool assistant = false; // the message before was one's
    int rc = api_field_list(t->body, "messages", &list);
    if (rc)
        return rc;
    if (json_array_size(list) == 0)
        return api_field_fail(t->body, 400, "messages", list ? "must not be empty" : "is missing");
    json_array_foreach((json_t *)list, i, item) {
        api_object message;
        if ((rc = api_item_object(t->body, "messages", i, item, &message)) ||
            (rc = read_message(t, &message, &assistant)))
            return rc;
    }
    if (t->turn && json_object_get(t->turn, "tool_calls"))
        return api_field_fail(t->body, 400, "messages",
                              "the last one has tool_use blocks, whose results must follow");
    return 0;
}

int api_anthropic_add_messages(const api_object *body, json_t *messages) {
    translation t = {.body = body, .messages = messages};
    json_t *system = parts_of(begin_turn(&t, "system"));
    int rc = read_system(body, "system", system);
    if (json_array_size(system) == 0)
        json_array_clear(messages);
    t.turn = NULL;
    if (rc == 0)
        rc = read_messages(&t);
    end_turn(&t);
    base_str_free(&t.thought);
    return rc;
}
