// --dataset-name agent: recorded conversations with tools, played again turn by turn. What the
// model answers now is not what was recorded, so each request carries the recorded turns before it:
// the prompts are those of the recording whatever the model says, and the cache sees an agent's
// pattern of ever longer prompts that begin alike.
#include "chat/chat.h"
#include "measure/random.h"
#include "measure/samples.h"
#include <string.h>

// Of all prompts together; each turn repeats the ones before, so they outgrow their file.
#define MAX_BYTES ((size_t)8 << 30)

typedef struct conversation {
    chat_message *messages; // [n]; texts belong to the JSON
    int n;
    chat_slice *parts;     // of all messages
    chat_tool_call *calls; // of all messages
    base_str tools;        // as the model reads them
    char *sent_tools;      // as they are sent; NULL: none
} conversation;

typedef struct reader {
    const token_vocab *vocab;
    const measure_file_options *options;
    chat_format *format;
    measure_samples *out;
    int *starts; // [n_starts] first sample of each conversation
    int n_starts;
    size_t bytes; // of all prompts
    base_ids ids;
} reader;

// ---------------------------------------------------------------------------------------------
// A line's JSON

static int wrong(const reader *r, const measure_line *line, size_t message, const char *what,
                 base_err *err) {
    return base_fail(err, BASE_ERR_USAGE, "%s:%d: messages[%zu].%s", r->options->path, line->number,
                     message, what);
}

static chat_slice text_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return (chat_slice){json_string_value(value), json_string_length(value)};
}

static bool is_absent(const json_t *value) {
    return value == NULL || json_is_null(value);
}

// Parts and calls of all messages; counted before anything is checked, so that they fit in any
// case.
static int make_room(conversation *c, const json_t *list, base_err *err) {
    size_t parts = 0, calls = 0, i;
    const json_t *message;
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        parts += json_is_array(content) ? json_array_size(content) : 1;
        calls += json_array_size(json_object_get(message, "tool_calls"));
    }
    c->messages = base_try_calloc(json_array_size(list) + 1, sizeof *c->messages);
    c->parts = base_try_calloc(parts + 1, sizeof *c->parts);
    c->calls = base_try_calloc(calls + 1, sizeof *c->calls);
    if (c->messages == NULL || c->parts == NULL || c->calls == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "out of memory for a conversation");
    return 0;
}

// Returns NULL or what is wrong.
static const char *read_content(const json_t *content, chat_message *m, chat_slice *parts) {
    m->parts = parts;
    if (is_absent(content))
        return NULL;
    if (json_is_string(content)) {
        parts[0] = (chat_slice){json_string_value(content), json_string_length(content)};
        m->n_parts = 1;
        return NULL;
    }
    if (!json_is_array(content))
        return "content: neither a string nor a list";
    size_t i;
    const json_t *part;
    json_array_foreach(content, i, part) {
        parts[i] = text_of(part, "text");
        if (parts[i].at == NULL)
            return "content: a part is no text, and the model reads text alone";
    }
    m->n_parts = (int)i;
    return NULL;
}

static const char *read_calls(const json_t *list, chat_message *m, chat_tool_call *calls) {
    m->tool_calls = calls;
    if (is_absent(list))
        return NULL;
    if (!json_is_array(list))
        return "tool_calls: not a list";
    size_t i;
    const json_t *call;
    json_array_foreach(list, i, call) {
        const json_t *function = json_object_get(call, "function");
        calls[i] = (chat_tool_call){.id = text_of(call, "id"),
                                    .name = text_of(function, "name"),
                                    .arguments = text_of(function, "arguments")};
        if (calls[i].name.at == NULL || calls[i].arguments.at == NULL)
            return "tool_calls: a call lacks function.name or function.arguments, as strings";
    }
    m->n_tool_calls = (int)i;
    return NULL;
}

static int read_messages(const reader *r, const measure_line *line, conversation *c,
                         base_err *err) {
    const json_t *list = json_object_get(line->value, "messages"), *message;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return base_fail(err, BASE_ERR_USAGE, "%s:%d: messages: %s", r->options->path, line->number,
                         list == NULL ? "missing" : "not a list of messages");
    int rc = make_room(c, list, err);
    if (rc != 0)
        return rc;
    chat_slice *parts = c->parts;
    chat_tool_call *calls = c->calls;
    size_t i;
    json_array_foreach(list, i, message) {
        chat_message *m = &c->messages[c->n++];
        *m = (chat_message){.role = text_of(message, "role"),
                            .name = text_of(message, "name"),
                            .reasoning = text_of(message, "reasoning_content"),
                            .tool_call_id = text_of(message, "tool_call_id")};
        if (m->reasoning.at == NULL)
            m->reasoning = text_of(message, "reasoning");
        const char *what = m->role.at == NULL ? "role: not a string" : NULL;
        if (what == NULL)
            what = read_content(json_object_get(message, "content"), m, parts);
        if (what == NULL)
            what = read_calls(json_object_get(message, "tool_calls"), m, calls);
        if (what != NULL)
            return wrong(r, line, i, what, err);
        parts += m->n_parts;
        calls += m->n_tool_calls;
    }
    return 0;
}

// `value` as compact JSON; NULL when memory is out.
static char *print_json(const json_t *value, size_t *len) {
    *len = json_dumpb(value, NULL, 0, JSON_COMPACT);
    char *text = base_try_alloc(*len + 1);
    if (text != NULL) {
        json_dumpb(value, text, *len, JSON_COMPACT);
        text[*len] = '\0';
    }
    return text;
}

static int read_tools(const reader *r, const measure_line *line, conversation *c, base_err *err) {
    const json_t *tools = json_object_get(line->value, "tools"), *tool;
    if (is_absent(tools))
        return 0;
    if (!json_is_array(tools))
        return base_fail(err, BASE_ERR_USAGE, "%s:%d: tools: not a list", r->options->path,
                         line->number);
    size_t i;
    json_array_foreach(tools, i, tool) {
        if (!json_is_object(tool))
            return base_fail(err, BASE_ERR_USAGE, "%s:%d: tools[%zu]: not an object",
                             r->options->path, line->number, i);
    }
    if (i == 0)
        return 0;
    chat_tools_print(tools, &c->tools);
    size_t len;
    c->sent_tools = print_json(tools, &len);
    if (c->sent_tools == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "out of memory for a conversation");
    return 0;
}

static void free_conversation(conversation *c) {
    base_free(c->messages);
    base_free(c->parts);
    base_free(c->calls);
    base_str_free(&c->tools);
    base_free(c->sent_tools);
}

// ---------------------------------------------------------------------------------------------
// Lengths

static bool has_role(const chat_message *m, const char *role) {
    return m->role.len == strlen(role) && memcmp(m->role.at, role, m->role.len) == 0;
}

static void count(reader *r, chat_slice text) {
    token_encode(r->vocab, text.at != NULL ? text.at : "", text.len, TOKEN_PLAIN, &r->ids);
}

// The ids the model would have sampled to say `m`: its texts and the control tokens around them.
static int reply_len(reader *r, const chat_message *m) {
    enum { THOUGHT = 2, SECTION = 2, CALL = 3, END = 1 };
    r->ids.len = 0;
    count(r, m->reasoning);
    for (int i = 0; i < m->n_parts; i++)
        count(r, m->parts[i]);
    int n = THOUGHT + END + (m->n_tool_calls > 0 ? SECTION : 0);
    for (int i = 0; i < m->n_tool_calls; i++) {
        base_str id = {0};
        base_str_printf(&id, "functions.%.*s:%d", base_min_int(256, (int)m->tool_calls[i].name.len),
                        m->tool_calls[i].name.at, i);
        count(r, (chat_slice){id.data, id.len});
        base_str_free(&id);
        count(r, m->tool_calls[i].arguments);
        n += CALL;
    }
    return n + (int)r->ids.len;
}

static int prompt_len(reader *r, const conversation *c, int n_messages, int *out, base_err *err) {
    const chat_conversation shown = {.messages = c->messages,
                                     .n_messages = n_messages,
                                     .tools = {c->tools.data, c->tools.len},
                                     .add_generation_prompt = true};
    r->ids.len = 0;
    int rc = chat_render(r->format, &shown, 0, &r->ids, NULL, err);
    *out = (int)r->ids.len;
    return rc;
}

// ---------------------------------------------------------------------------------------------
// Requests

// Whether the assistant speaks after message i: the last one of a turn.
static bool ends_turn(const conversation *c, int i) {
    const chat_message *m = &c->messages[i];
    return (has_role(m, "user") || has_role(m, "tool")) &&
           (i + 1 == c->n || has_role(&c->messages[i + 1], "assistant"));
}

static int output_len(reader *r, const measure_line *line, const conversation *c, int i, int *out,
                      base_err *err) {
    if (r->options->output_len > 0)
        *out = r->options->output_len;
    else if (i + 1 < c->n)
        *out = reply_len(r, &c->messages[i + 1]);
    else
        return wrong(r, line, (size_t)i, "role: no answer follows, and no length was given", err);
    return 0;
}

// `before` holds the messages up to and with i.
static int add_turn(reader *r, const measure_line *line, const conversation *c, int i,
                    const json_t *before, base_err *err) {
    measure_sample sample = {.is_messages = true, .conversation = r->n_starts - 1};
    int rc = output_len(r, line, c, i, &sample.output_len, err);
    if (rc == 0 && prompt_len(r, c, i + 1, &sample.prompt_len, err) != 0)
        rc = base_fail_prefix(err, "%s:%d", r->options->path, line->number);
    if (rc != 0)
        return rc;
    sample.prompt = print_json(before, &sample.prompt_bytes);
    sample.tools = c->sent_tools != NULL ? base_strdup(c->sent_tools) : NULL;
    r->bytes += sample.prompt_bytes;
    if (sample.prompt == NULL || r->bytes > MAX_BYTES) {
        base_free(sample.prompt);
        base_free(sample.tools);
        return base_fail(err, BASE_ERR_RESOURCE, "%s:%d: the prompts are too many for memory",
                         r->options->path, line->number);
    }
    return measure_samples_add(r->out, sample, err);
}

static bool is_full(const reader *r) {
    return r->options->n > 0 && r->out->n >= r->options->n;
}

static int add_turns(reader *r, const measure_line *line, const conversation *c, base_err *err) {
    const json_t *list = json_object_get(line->value, "messages");
    json_t *before = json_array();
    int rc = 0;
    r->starts[r->n_starts++] = r->out->n;
    for (int i = 0; rc == 0 && i < c->n && !is_full(r); i++) {
        json_array_append(before, json_array_get(list, (size_t)i));
        if (ends_turn(c, i))
            rc = add_turn(r, line, c, i, before, err);
    }
    json_decref(before);
    if (rc == 0 && r->out->n == r->starts[r->n_starts - 1])
        rc = base_fail(err, BASE_ERR_USAGE, "%s:%d: messages: no turn of a user or a tool",
                       r->options->path, line->number);
    return rc;
}

static int add_line(reader *r, const measure_line *line, base_err *err) {
    conversation c = {0};
    int rc = read_messages(r, line, &c, err);
    if (rc == 0)
        rc = read_tools(r, line, &c, err);
    if (rc == 0)
        rc = add_turns(r, line, &c, err);
    free_conversation(&c);
    return rc;
}

// A copy of a sample, as turn of another conversation.
static int repeat_turn(reader *r, int i, int number, base_err *err) {
    measure_sample sample = r->out->at[i];
    sample.conversation = number;
    sample.prompt = base_try_alloc(sample.prompt_bytes + 1);
    r->bytes += sample.prompt_bytes;
    if (sample.prompt == NULL || r->bytes > MAX_BYTES) {
        base_free(sample.prompt);
        return base_fail(err, BASE_ERR_RESOURCE, "%s: the prompts are too many for memory",
                         r->options->path);
    }
    memcpy(sample.prompt, r->out->at[i].prompt, sample.prompt_bytes + 1);
    if (sample.tools != NULL)
        sample.tools = base_strdup(sample.tools);
    return measure_samples_add(r->out, sample, err);
}

static int repeat_conversations(reader *r, base_err *err) {
    if (r->options->n <= 0 || r->options->no_oversample)
        return 0;
    measure_mt m;
    measure_mt_seed_python(&m, r->options->seed);
    r->starts[r->n_starts] = r->out->n;
    int rc = 0;
    for (int number = r->n_starts; rc == 0 && !is_full(r); number++) {
        const uint64_t from = measure_mt_below(&m, (uint64_t)r->n_starts);
        for (int i = r->starts[from]; rc == 0 && i < r->starts[from + 1] && !is_full(r); i++)
            rc = repeat_turn(r, i, number, err);
    }
    return rc;
}

static int add_in_order(reader *r, const measure_lines *lines, const uint64_t *order,
                        base_err *err) {
    r->starts = base_try_calloc(lines->n + 1, sizeof *r->starts);
    if (r->starts == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: out of memory", r->options->path);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < lines->n && !is_full(r); i++)
        rc = add_line(r, &lines->at[order[i]], err);
    if (rc == 0)
        rc = repeat_conversations(r, err);
    base_free(r->starts);
    return rc;
}

static int add_all(reader *r, const measure_lines *lines, base_err *err) {
    uint64_t *order = measure_samples_order(lines->n, r->options, err);
    if (order == NULL)
        return err->code;
    int rc = add_in_order(r, lines, order, err);
    base_free(order);
    return rc;
}

int measure_samples_agent(measure_samples *out, const token_vocab *vocab,
                          const measure_file_options *options, base_err *err) {
    *out = (measure_samples){0};
    reader r = {.vocab = vocab, .options = options, .out = out};
    measure_lines lines;
    int rc = measure_lines_read(&lines, options->path, err);
    if (rc != 0)
        return rc;
    rc = chat_format_create(&r.format, vocab, err);
    if (rc == 0)
        rc = add_all(&r, &lines, err);
    chat_format_free(r.format);
    base_ids_free(&r.ids);
    measure_lines_free(&lines);
    if (rc != 0)
        measure_samples_free(out);
    return rc;
}
