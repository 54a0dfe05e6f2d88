// Renders conversations for the tests that compare with the model's own template.
//     render DIR
// DIR has a tokenizer. Each line of standard input is an object: `messages` as clients send them
// (`arguments` of tool calls a string), and where wanted `tools`, `add_generation_prompt`,
// `continue_final_message`, `no_thinking` and `allow_special`. For each a line comes out:
// {"ids": [...], "text": "..."} or {"error": "..."}.
#include "chat/chat.h"
#include <stdio.h>
#include <stdlib.h>

// Everything a conversation points to but its texts, which the JSON owns.
typedef struct memory {
    void **blocks;
    size_t n;
} memory;

static void *take(memory *m, size_t count, size_t size) {
    m->blocks = base_realloc(m->blocks, (m->n + 1) * sizeof *m->blocks);
    return m->blocks[m->n++] = base_calloc(count + 1, size);
}

static void drop(memory *m) {
    while (m->n > 0)
        base_free(m->blocks[--m->n]);
    base_free(m->blocks);
    *m = (memory){0};
}

static chat_slice text_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return (chat_slice){json_string_value(value), json_string_length(value)};
}

static void read_content(chat_message *out, json_t *message, memory *m) {
    json_t *content = json_object_get(message, "content");
    out->n_parts = json_is_string(content) ? 1 : (int)json_array_size(content);
    chat_slice *parts = take(m, (size_t)out->n_parts, sizeof *parts);
    if (json_is_string(content))
        parts[0] = text_of(message, "content");
    for (size_t i = 0; i < json_array_size(content); i++)
        parts[i] = text_of(json_array_get(content, i), "text");
    out->parts = parts;
}

static void read_calls(chat_message *out, json_t *message, memory *m) {
    json_t *list = json_object_get(message, "tool_calls");
    out->n_tool_calls = (int)json_array_size(list);
    chat_tool_call *calls = take(m, (size_t)out->n_tool_calls, sizeof *calls);
    for (int i = 0; i < out->n_tool_calls; i++) {
        json_t *call = json_array_get(list, i), *function = json_object_get(call, "function");
        calls[i] = (chat_tool_call){.id = text_of(call, "id"),
                                    .name = text_of(function, "name"),
                                    .arguments = text_of(function, "arguments")};
    }
    out->tool_calls = calls;
}

static bool flag(const json_t *root, const char *key) {
    return json_is_true(json_object_get(root, key));
}

static chat_conversation read_conversation(json_t *root, base_str *tools, memory *m) {
    json_t *list = json_object_get(root, "messages");
    chat_message *messages = take(m, json_array_size(list), sizeof *messages);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *message = json_array_get(list, i);
        messages[i] = (chat_message){.role = text_of(message, "role"),
                                     .name = text_of(message, "name"),
                                     .reasoning = text_of(message, "reasoning_content"),
                                     .tool_call_id = text_of(message, "tool_call_id")};
        read_content(&messages[i], message, m);
        read_calls(&messages[i], message, m);
    }
    if (json_array_size(json_object_get(root, "tools")) > 0)
        chat_tools_print(json_object_get(root, "tools"), tools);
    return (chat_conversation){.messages = messages,
                               .n_messages = (int)json_array_size(list),
                               .tools = {tools->data, tools->len},
                               .add_generation_prompt = flag(root, "add_generation_prompt"),
                               .continue_final_message = flag(root, "continue_final_message"),
                               .no_thinking = flag(root, "no_thinking")};
}

static void print(const base_ids *ids, const base_str *text) {
    base_str out = {0};
    base_str_adds(&out, "{\"ids\": [");
    for (size_t i = 0; i < ids->len; i++)
        base_str_printf(&out, "%s%d", i ? ", " : "", ids->data[i]);
    base_str_adds(&out, "], \"text\": ");
    base_json_add_string(&out, text->data, text->len);
    base_str_adds(&out, "}\n");
    fwrite(out.data, 1, out.len, stdout);
    base_str_free(&out);
}

static void render(const chat_format *format, json_t *root) {
    memory m = {0};
    base_ids ids = {0};
    base_str text = {0}, tools = {0};
    base_err err;
    chat_conversation c = read_conversation(root, &tools, &m);
    unsigned flags = flag(root, "allow_special") ? CHAT_ALLOW_SPECIAL : 0;
    if (chat_render(format, &c, flags, &ids, &text, &err))
        printf("{\"error\": \"%s\"}\n", err.message);
    else
        print(&ids, &text);
    base_ids_free(&ids);
    base_str_free(&text);
    base_str_free(&tools);
    drop(&m);
}

int main(int argc, char **argv) {
    base_err err;
    token_vocab *vocab;
    chat_format *format;
    if (argc != 2) {
        fprintf(stderr, "usage: render DIR\n");
        return BASE_ERR_USAGE;
    }
    if (token_vocab_load(&vocab, argv[1], &err) || chat_format_create(&format, vocab, &err)) {
        fprintf(stderr, "render: %s\n", err.message);
        return err.code;
    }
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        json_t *root = base_json_parse(line, (size_t)len, "stdin", BASE_ERR_USAGE, &err);
        if (!root) {
            fprintf(stderr, "render: %s\n", err.message);
            return err.code;
        }
        render(format, root);
        json_decref(root);
    }
    free(line);
    chat_format_free(format);
    token_vocab_free(vocab);
    return fflush(stdout) ? 1 : 0;
}
