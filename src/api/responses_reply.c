// Replies of /v1/responses: the pieces of a chat as items, in a stream of numbered events or as a
// whole.
//
// A thought, a text and a call each are an item; one is open at a time. Streams and whole replies
// collect the same items, because a stream's last event repeats them all.
#include "api/responses.h"

#include "api/reply.h"
#include <stdio.h>
#include <string.h>

typedef struct item {
    chat_field field; // CHAT_REASONING, CHAT_CONTENT, or CHAT_ARGUMENTS: a call
    int call;         // index of choice.calls; -1: none
    base_str text;
} item;

typedef struct writer {
    api_answer *a;
    base_str *out; // of a stream; NULL: whole
    item *items;
    int n, cap;
    bool open; // the last item is not done
    int sequence;
} writer;

static const api_choice *choice_of(const writer *w) {
    return &w->a->choices[0]; // a response has one
}

static writer *writer_of(api_answer *a) {
    if (!a->writer) {
        a->writer = base_calloc(1, sizeof(writer));
        ((writer *)a->writer)->a = a;
    }
    return a->writer;
}

void api_responses_free(api_answer *a) {
    writer *w = a->writer;
    if (!w)
        return;
    for (int i = 0; i < w->n; i++)
        base_str_free(&w->items[i].text);
    base_free(w->items);
    base_free(w);
    a->writer = NULL;
}

// ---------------------------------------------------------------------------------------------
// Items

static void add_id(const writer *w, int index, base_str *out) {
    static const char *const prefixes[] = {
        [CHAT_REASONING] = "rs", [CHAT_CONTENT] = "msg", [CHAT_ARGUMENTS] = "fc"};
    base_str_printf(out, "\"%s_%d_%s\"", prefixes[w->items[index].field], index, w->a->call->id);
}

static const char *part_type(const item *it) {
    return it->field == CHAT_REASONING ? "reasoning_text" : "output_text";
}

static void add_part(const item *it, const base_str *text, base_str *out) {
    base_str_printf(out, "{\"type\":\"%s\",\"text\":", part_type(it));
    api_reply_string(out, text);
    base_str_adds(out, it->field == CHAT_CONTENT ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

// An item as it is, or as it was before anything was in it.
static void add_item(const writer *w, int index, bool begun, const char *status, base_str *out) {
    static const char *const types[] = {[CHAT_REASONING] = "reasoning",
                                        [CHAT_CONTENT] = "message",
                                        [CHAT_ARGUMENTS] = "function_call"};
    static const base_str nothing = {0};
    const item *it = &w->items[index];
    base_str_adds(out, "{\"id\":");
    add_id(w, index, out);
    base_str_printf(out, ",\"type\":\"%s\",\"status\":\"%s\",", types[it->field], status);
    if (it->field == CHAT_ARGUMENTS) {
        const api_known_call *call = &choice_of(w)->calls[it->call];
        base_str_adds(out, "\"call_id\":");
        api_reply_string(out, &call->id);
        base_str_adds(out, ",\"name\":");
        api_reply_string(out, &call->name);
        base_str_adds(out, ",\"arguments\":");
        api_reply_string(out, begun ? &it->text : &nothing);
        base_str_adds(out, "}");
        return;
    }
    base_str_adds(out, it->field == CHAT_REASONING ? "\"summary\":[],\"encrypted_content\":null,"
                                                   : "\"role\":\"assistant\",");
    base_str_adds(out, "\"content\":[");
    if (begun)
        add_part(it, &it->text, out);
    base_str_adds(out, "]}");
}

// ---------------------------------------------------------------------------------------------
// Events

static void begin_event(writer *w, const char *type) {
    base_str_printf(w->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d", type, type,
                    w->sequence++);
}

static void end_event(writer *w) {
    base_str_adds(w->out, "}\n\n");
}

// An event about the last item.
static void begin_item_event(writer *w, const char *type) {
    begin_event(w, type);
    base_str_printf(w->out, ",\"output_index\":%d", w->n - 1);
}

// An event about the only part of the last item.
static void begin_part_event(writer *w, const char *type) {
    begin_item_event(w, type);
    base_str_adds(w->out, ",\"item_id\":");
    add_id(w, w->n - 1, w->out);
    if (w->items[w->n - 1].field != CHAT_ARGUMENTS)
        base_str_adds(w->out, ",\"content_index\":0");
}

static void send_part(writer *w, const char *type, const base_str *text) {
    begin_part_event(w, type);
    base_str_adds(w->out, ",\"part\":");
    add_part(&w->items[w->n - 1], text, w->out);
    end_event(w);
}

static void send_text(writer *w, const char *what, const char *name, const base_str *text) {
    const item *it = &w->items[w->n - 1];
    char type[64];
    snprintf(type, sizeof type, "response.%s.%s",
             it->field == CHAT_ARGUMENTS ? "function_call_arguments" : part_type(it), what);
    begin_part_event(w, type);
    base_str_printf(w->out, ",\"%s\":", name);
    api_reply_string(w->out, text);
    if (it->field == CHAT_CONTENT)
        base_str_adds(w->out, ",\"logprobs\":[]");
    end_event(w);
}

static void send_item(writer *w, const char *type, bool begun, const char *status) {
    begin_item_event(w, type);
    base_str_adds(w->out, ",\"item\":");
    add_item(w, w->n - 1, begun, status, w->out);
    end_event(w);
}

// ---------------------------------------------------------------------------------------------
// What comes in

static bool cut_short(const writer *w) {
    const char *reason = choice_of(w)->finish_reason;
    return reason && (strcmp(reason, "length") == 0 || strcmp(reason, "repetition") == 0);
}

// Only the last item can have been cut off.
static const char *status_of(const writer *w, int index) {
    bool cut = w->a->error.status != 0 || cut_short(w);
    return cut && index == w->n - 1 ? "incomplete" : "completed";
}

static void grow(writer *w, const char *text, size_t len) {
    base_str_add(&w->items[w->n - 1].text, text, len);
    if (w->out && len > 0) {
        base_str delta = {.data = (char *)text, .len = len};
        send_text(w, "delta", "delta", &delta);
    }
}

static void close_item(writer *w, const char *status) {
    if (!w->open)
        return;
    item *it = &w->items[w->n - 1];
    if (it->field == CHAT_ARGUMENTS && it->text.len == 0 && strcmp(status, "completed") == 0)
        grow(w, "{}", 2); // a call without arguments; clients parse them as JSON
    w->open = false;
    if (!w->out)
        return;
    send_text(w, "done", it->field == CHAT_ARGUMENTS ? "arguments" : "text", &it->text);
    if (it->field != CHAT_ARGUMENTS)
        send_part(w, "response.content_part.done", &it->text);
    send_item(w, "response.output_item.done", true, status);
}

static void open_item(writer *w, const api_piece *piece) {
    static const base_str nothing = {0};
    close_item(w, "completed");
    if (w->n == w->cap) {
        w->cap = w->cap > 0 ? 2 * w->cap : 4;
        w->items = base_realloc(w->items, (size_t)w->cap * sizeof *w->items);
    }
    w->items[w->n++] = (item){.field = piece->field, .call = piece->call};
    w->open = true;
    if (!w->out)
        return;
    send_item(w, "response.output_item.added", false, "in_progress");
    if (piece->field != CHAT_ARGUMENTS)
        send_part(w, "response.content_part.added", &nothing);
}

static bool goes_on(const writer *w, const api_piece *piece) {
    if (!w->open)
        return false;
    const item *last = &w->items[w->n - 1];
    return last->field == piece->field && last->call == piece->call;
}

static void take_pieces(writer *w) {
    const api_pieces *pieces = &choice_of(w)->pieces;
    for (int i = 0; i < pieces->len; i++) {
        const api_piece *piece = &pieces->at[i];
        if (!goes_on(w, piece))
            open_item(w, piece);
        grow(w, piece->text.data, piece->text.len);
    }
}

// ---------------------------------------------------------------------------------------------
// The response

static void add_usage(const api_answer *a, base_str *out) {
    api_answer_numbers n = api_answer_get_numbers(a);
    base_str_printf(out,
                    "{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":%d,"
                    "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":{"
                    "\"reasoning_tokens\":%d},\"total_tokens\":%d}",
                    n.n_prompt_tokens, n.n_cached_tokens, n.n_output_tokens,
                    chat_output_reasoning_tokens(a->choices[0].output),
                    n.n_prompt_tokens + n.n_output_tokens);
}

static void add_error(const api_error *error, base_str *out) {
    base_str_printf(out, "{\"code\":\"%s\",\"message\":",
                    error->status < 500 ? "invalid_prompt" : "server_error");
    base_json_add_string(out, error->message, strlen(error->message));
    base_str_adds(out, "}");
}

static void add_items(const writer *w, base_str *out) {
    base_str_adds(out, "[");
    for (int i = 0; i < w->n; i++) {
        base_str_adds(out, i > 0 ? "," : "");
        add_item(w, i, true, status_of(w, i), out);
    }
    base_str_adds(out, "]");
}

static void add_response(const writer *w, const char *status, base_str *out) {
    const api_answer *a = w->a;
    const api_call *call = a->call;
    bool over = strcmp(status, "in_progress") != 0;
    base_str_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,", call->id,
                    (long long)call->created);
    base_str_printf(out, "\"status\":\"%s\",\"model\":", status);
    base_json_add_string(out, call->model, strlen(call->model));
    base_str_adds(out, ",\"error\":");
    if (a->error.status)
        add_error(&a->error, out);
    else
        base_str_adds(out, "null");
    base_str_adds(out, ",\"incomplete_details\":");
    base_str_adds(out, strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}"
                                                         : "null");
    base_str_adds(out, ",\"output\":");
    if (over)
        add_items(w, out);
    else
        base_str_adds(out, "[]");
    base_str_adds(out, ",\"usage\":");
    if (over)
        add_usage(a, out);
    else
        base_str_adds(out, "null");
    base_str_adds(out, ",\"service_tier\":null,");
    base_str_add(out, call->turn->echo.data, call->turn->echo.len);
    base_str_adds(out, "}");
}

static void send_response(writer *w, const char *type, const char *status) {
    begin_event(w, type);
    base_str_adds(w->out, ",\"response\":");
    add_response(w, status, w->out);
    end_event(w);
}

// What the assistant said, as the message of a chat.
static json_t *message_of(const writer *w) {
    json_t *message = json_pack("{s:s}", "role", "assistant"), *calls = NULL;
    static const char *const names[] = {
        [CHAT_REASONING] = "reasoning_content", [CHAT_CONTENT] = "content"};
    for (int field = CHAT_REASONING; field <= CHAT_CONTENT; field++) {
        base_str text = {0};
        for (int i = 0; i < w->n; i++)
            if ((int)w->items[i].field == field)
                base_str_add(&text, w->items[i].text.data, w->items[i].text.len);
        json_object_set_new(message, names[field],
                            json_stringn(text.data ? text.data : "", text.len));
        base_str_free(&text);
    }
    for (int i = 0; i < w->n; i++) {
        if (w->items[i].field != CHAT_ARGUMENTS)
            continue;
        const api_known_call *call = &choice_of(w)->calls[w->items[i].call];
        const base_str *text = &w->items[i].text;
        calls = calls ? calls : json_array();
        json_array_append_new(calls, json_pack("{s:s%, s:s, s:{s:s%, s:s%}}", "id", call->id.data,
                                               call->id.len, "type", "function", "function", "name",
                                               call->name.data, call->name.len, "arguments",
                                               text->data ? text->data : "", text->len));
    }
    if (calls)
        json_object_set_new(message, "tool_calls", calls);
    return message;
}

static const char *finish(writer *w) {
    const api_answer *a = w->a;
    const char *status = a->error.status ? "failed" : cut_short(w) ? "incomplete" : "completed";
    if (w->n > 0)
        close_item(w, status_of(w, w->n - 1));
    if (a->call->turn->messages && a->error.status == 0) {
        json_t *message = message_of(w);
        base_str items = {0};
        add_items(w, &items);
        api_responses_store_put(a->options->responses, a->call->id, a->call->turn->messages,
                                message, &items);
        base_str_free(&items);
        json_decref(message);
    }
    return status;
}

void api_responses_begin(api_answer *a, int prompt, base_str *out) {
    (void)prompt;
    writer *w = writer_of(a);
    w->out = out;
    send_response(w, "response.created", "in_progress");
    send_response(w, "response.in_progress", "in_progress");
}

void api_responses_add(api_answer *a, int index, base_str *out) {
    (void)index;
    writer *w = writer_of(a);
    w->out = out;
    take_pieces(w);
}

void api_responses_end(api_answer *a, base_str *out) {
    writer *w = writer_of(a);
    w->out = out;
    if (w->sequence == 0) // it failed before anything came
        api_responses_begin(a, 0, out);
    const char *status = finish(w);
    char type[32];
    snprintf(type, sizeof type, "response.%s", status);
    send_response(w, type, status);
}

void api_responses_body(api_answer *a, base_str *out) {
    writer *w = writer_of(a);
    take_pieces(w);
    add_response(w, finish(w), out);
}
