// Replies of Anthropic's form: a list of content blocks, whole or as the events of a stream.
//
// What an input is must be an object, and the model may write anything when nothing constrains it.
// Arguments that are none are shown as {"arguments": TEXT}; a stream, which cannot know how they
// go on, decides by the first byte, and gives what begins as an object as it comes.
#include "api/anthropic.h"

#include <string.h>

static const char *request_id(const api_answer *a) {
    return a->call->id + strlen("msg_");
}

static void add_text(base_str *out, const char *text) {
    base_json_add_string(out, text, strlen(text));
}

// Nobody checks it, but clients drop thoughts that have none.
static void add_signature(const api_answer *a, base_str *out) {
    add_text(out, a->call->id);
}

// ---------------------------------------------------------------------------------------------
// What both kinds of replies say

static const char *stop_reason(const api_choice *c) {
    if (c->stop_string >= 0)
        return "stop_sequence";
    if (c->finish_reason && strcmp(c->finish_reason, "length") == 0)
        return "max_tokens";
    return c->n_calls > 0 ? "tool_use" : "end_turn";
}

static void add_stop(const api_answer *a, base_str *out) {
    const api_choice *c = &a->choices[0];
    base_str_adds(out, "\"stop_reason\":\"");
    base_str_adds(out, stop_reason(c));
    base_str_adds(out, "\",\"stop_sequence\":");
    if (c->stop_string >= 0)
        base_json_add_string(out, a->call->stops[c->stop_string],
                             a->call->stop_lens[c->stop_string]);
    else
        base_str_adds(out, "null");
}

static void add_miss(const api_source *s, base_str *out) {
    const char *reason = engine_miss_name(s->miss);
    if (reason)
        base_str_printf(out, ",\"cache_miss\":{\"token\":%d,\"reason\":\"%s\"}", s->miss_at,
                        reason);
}

// Ids read from the prefix cache are no part of input_tokens here.
static void add_usage(const api_answer *a, base_str *out) {
    api_answer_numbers n = api_answer_get_numbers(a);
    base_str_printf(out,
                    "\"usage\":{\"input_tokens\":%d,\"output_tokens\":%d,"
                    "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%d,"
                    "\"output_tokens_details\":{\"thinking_tokens\":%d}",
                    n.n_prompt_tokens - n.n_cached_tokens, n.n_output_tokens, n.n_cached_tokens,
                    chat_output_reasoning_tokens(a->choices[0].output));
    add_miss(&a->sources[0], out);
    base_str_adds(out, "}");
}

static void add_head(const api_answer *a, base_str *out) {
    base_str_adds(out, "{\"id\":");
    add_text(out, a->call->id);
    base_str_adds(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    add_text(out, a->call->model);
    base_str_adds(out, ",\"content\":[");
}

static void begin_tool_use(const api_known_call *call, base_str *out) {
    base_str_adds(out, "{\"type\":\"tool_use\",\"id\":");
    api_reply_string(out, &call->id);
    base_str_adds(out, ",\"name\":");
    api_reply_string(out, &call->name);
    base_str_adds(out, ",\"input\":");
}

// ---------------------------------------------------------------------------------------------
// Whole

static bool is_object(const base_str *text) {
    base_err err;
    json_t *value = base_json_parse(text->data, text->len, "", BASE_ERR_USAGE, &err);
    bool yes = json_is_object(value);
    json_decref(value);
    return yes;
}

static void add_input(const base_str *text, base_str *out) {
    if (text->len == 0) {
        base_str_adds(out, "{}");
    } else if (is_object(text)) {
        base_str_add(out, text->data, text->len);
    } else {
        base_str_adds(out, "{\"arguments\":");
        api_reply_string(out, text);
        base_str_adds(out, "}");
    }
}

static void add_block(const api_answer *a, const api_piece *piece, base_str *out) {
    switch (piece->field) {
    case CHAT_REASONING:
        base_str_adds(out, "{\"type\":\"thinking\",\"thinking\":");
        api_reply_string(out, &piece->text);
        base_str_adds(out, ",\"signature\":");
        add_signature(a, out);
        break;
    case CHAT_ARGUMENTS:
        begin_tool_use(&a->choices[0].calls[piece->call], out);
        add_input(&piece->text, out);
        break;
    default:
        base_str_adds(out, "{\"type\":\"text\",\"text\":");
        api_reply_string(out, &piece->text);
    }
    base_str_adds(out, "}");
}

static void print_whole(api_answer *a, base_str *out) {
    const api_pieces *pieces = &a->choices[0].pieces;
    add_head(a, out);
    for (int i = 0; i < pieces->len; i++) {
        base_str_adds(out, i > 0 ? "," : "");
        add_block(a, &pieces->at[i], out);
    }
    base_str_adds(out, "],");
    add_stop(a, out);
    base_str_adds(out, ",");
    add_usage(a, out);
    base_str_adds(out, "}");
}

// ---------------------------------------------------------------------------------------------
// Streams

// The block that is being written.
typedef struct writer {
    int index;
    bool open;
    chat_field field;
    int call;            // of CHAT_ARGUMENTS
    bool begun, wrapped; // its arguments: there have been some; they are no object
} writer;

static void free_writer(api_answer *a) {
    base_free(a->writer);
}

static void begin_event(base_str *out, const char *name) {
    base_str_adds(out, "event: ");
    base_str_adds(out, name);
    base_str_adds(out, "\ndata: {\"type\":\"");
    base_str_adds(out, name);
    base_str_adds(out, "\"");
}

static void begin_block_event(const api_answer *a, const char *name, base_str *out) {
    begin_event(out, name);
    base_str_adds(out, ",\"index\":");
    api_reply_int(out, ((const writer *)a->writer)->index);
}

static void end_event(base_str *out) {
    base_str_adds(out, "}\n\n");
}

static void print_start(api_answer *a, int prompt, base_str *out) {
    a->writer = base_calloc(1, sizeof(writer));
    begin_event(out, "message_start");
    base_str_adds(out, ",\"message\":");
    add_head(a, out);
    base_str_printf(out,
                    "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%zu,"
                    "\"output_tokens\":0,\"cache_creation_input_tokens\":0,"
                    "\"cache_read_input_tokens\":0}}",
                    a->call->prompts[prompt].ids.len);
    end_event(out);
    begin_event(out, "ping");
    end_event(out);
}

static void print_delta(const api_answer *a, const char *type, const char *field,
                        const base_str *text, base_str *out) {
    begin_block_event(a, "content_block_delta", out);
    base_str_adds(out, ",\"delta\":{\"type\":\"");
    base_str_adds(out, type);
    base_str_adds(out, "\",\"");
    base_str_adds(out, field);
    base_str_adds(out, "\":");
    api_reply_string(out, text);
    base_str_adds(out, "}");
    end_event(out);
}

static void print_input(const api_answer *a, const char *json, base_str *out) {
    const base_str text = {.data = (char *)json, .len = strlen(json)};
    print_delta(a, "input_json_delta", "partial_json", &text, out);
}

static void open_block(api_answer *a, const api_piece *piece, base_str *out) {
    writer *w = a->writer;
    *w = (writer){.index = w->index, .open = true, .field = piece->field, .call = piece->call};
    begin_block_event(a, "content_block_start", out);
    base_str_adds(out, ",\"content_block\":");
    if (piece->field == CHAT_ARGUMENTS) {
        begin_tool_use(&a->choices[0].calls[piece->call], out);
        base_str_adds(out, "{}}");
    } else if (piece->field == CHAT_REASONING) {
        base_str_adds(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else {
        base_str_adds(out, "{\"type\":\"text\",\"text\":\"\"}");
    }
    end_event(out);
}

static void close_block(api_answer *a, base_str *out) {
    writer *w = a->writer;
    if (!w->open)
        return;
    if (w->wrapped)
        print_input(a, "\"}", out);
    if (w->field == CHAT_REASONING) {
        const base_str signature = {.data = (char *)a->call->id, .len = strlen(a->call->id)};
        print_delta(a, "signature_delta", "signature", &signature, out);
    }
    begin_block_event(a, "content_block_stop", out);
    end_event(out);
    w->open = false;
    w->index++;
}

static void print_arguments(api_answer *a, const base_str *text, base_str *out) {
    writer *w = a->writer;
    if (!w->begun && text->data[0] != '{') {
        w->wrapped = true;
        print_input(a, "{\"arguments\":\"", out);
    }
    w->begun = true;
    if (!w->wrapped) {
        print_delta(a, "input_json_delta", "partial_json", text, out);
        return;
    }
    base_str quoted = {0};
    api_reply_string(&quoted, text);
    const base_str inner = {.data = quoted.data + 1, .len = quoted.len - 2};
    print_delta(a, "input_json_delta", "partial_json", &inner, out);
    base_str_free(&quoted);
}

static void print_piece(api_answer *a, const api_piece *piece, base_str *out) {
    const writer *w = a->writer;
    if (w->open && (w->field != piece->field || w->call != piece->call))
        close_block(a, out);
    if (!w->open)
        open_block(a, piece, out);
    if (piece->text.len == 0) // a call that has become known
        return;
    if (piece->field == CHAT_ARGUMENTS)
        print_arguments(a, &piece->text, out);
    else if (piece->field == CHAT_REASONING)
        print_delta(a, "thinking_delta", "thinking", &piece->text, out);
    else
        print_delta(a, "text_delta", "text", &piece->text, out);
}

static void print_pieces(api_answer *a, int index, base_str *out) {
    const api_pieces *pieces = &a->choices[index].pieces;
    for (int i = 0; i < pieces->len; i++)
        print_piece(a, &pieces->at[i], out);
}

static void print_end(api_answer *a, base_str *out) {
    if (a->error.status) {
        base_str_adds(out, "event: error\ndata: ");
        api_anthropic_print_error(&a->error, request_id(a), out);
        base_str_adds(out, "\n\n");
        return;
    }
    close_block(a, out);
    begin_event(out, "message_delta");
    base_str_adds(out, ",\"delta\":{");
    add_stop(a, out);
    base_str_adds(out, "},");
    add_usage(a, out);
    end_event(out);
    begin_event(out, "message_stop");
    end_event(out);
}

const api_form api_anthropic_form = {.begin = print_start,
                                     .add = print_pieces,
                                     .end = print_end,
                                     .body = print_whole,
                                     .free = free_writer};
