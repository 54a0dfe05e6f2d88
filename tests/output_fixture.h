// For the tests of the chat output with tool calls: what comes out of the automaton, and what
// should, found over the whole list of ids.
#ifndef TESTS_OUTPUT_FIXTURE_H
#define TESTS_OUTPUT_FIXTURE_H

#include "chat_fixture.h"
#include <stdio.h>
#include <stdlib.h>

// What the output is to know of its conversation. Lists end with NULL.
typedef struct fixture_context {
    const char *tools;    // [{"function": {"name", "parameters"}}]
    const char **history; // ids of the calls before
    json_t *parsed;
    const char *names[16];
    int n_names;
    chat_calls *calls;
} fixture_context;

static inline void fixture_context_init(fixture_context *x) {
    chat_slice slices[16];
    chat_tool_call made[16];
    int n = 0;
    x->parsed = json_loads(x->tools, 0, NULL);
    if (!x->parsed)
        abort();
    x->n_names = (int)json_array_size(x->parsed);
    for (int i = 0; i < x->n_names; i++) {
        json_t *function = json_object_get(json_array_get(x->parsed, i), "function");
        x->names[i] = json_string_value(json_object_get(function, "name"));
        slices[i] = fixture_slice(x->names[i]);
    }
    for (; x->history && x->history[n]; n++)
        made[n] = (chat_tool_call){.id = fixture_slice(x->history[n]),
                                   .name = fixture_slice("old"),
                                   .arguments = fixture_slice("{}")};
    chat_message message = {
        .role = fixture_slice("assistant"), .tool_calls = made, .n_tool_calls = n};
    chat_conversation conversation = {.messages = &message, .n_messages = 1};
    x->calls = chat_calls_create(&conversation, slices, x->n_names);
    chat_calls_set_tools(x->calls, x->parsed);
}

static inline void fixture_context_free(fixture_context *x) {
    chat_calls_free(x->calls);
    json_decref(x->parsed);
}

// ---------------------------------------------------------------------------------------------
// Fields and calls of an output

enum { FIXTURE_MAX_CALLS = 256 };

typedef struct fixture_call {
    base_str id, arguments;
    size_t name_len; // behind "functions."
    bool ended;
} fixture_call;

typedef struct fixture_output {
    base_str field[CHAT_N_FIELDS]; // CHAT_ARGUMENTS: of all calls
    fixture_call calls[FIXTURE_MAX_CALLS];
    int n_calls, n_dropped, n_reasoning;
    bool thinking; // at the end
} fixture_output;

static inline void fixture_output_free(fixture_output *f) {
    for (int i = 0; i < CHAT_N_FIELDS; i++)
        base_str_free(&f->field[i]);
    for (int i = 0; i < f->n_calls; i++) {
        base_str_free(&f->calls[i].id);
        base_str_free(&f->calls[i].arguments);
    }
}

static inline bool fixture_same(const base_str *a, const base_str *b) {
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static inline bool fixture_output_equal(const fixture_output *a, const fixture_output *b) {
    bool same = a->n_calls == b->n_calls && a->n_dropped == b->n_dropped &&
                a->n_reasoning == b->n_reasoning && a->thinking == b->thinking;
    for (int i = 0; i < CHAT_N_FIELDS; i++)
        same = same && fixture_same(&a->field[i], &b->field[i]);
    for (int i = 0; same && i < a->n_calls; i++) {
        const fixture_call *x = &a->calls[i], *y = &b->calls[i];
        same = x->ended == y->ended && x->name_len == y->name_len && fixture_same(&x->id, &y->id) &&
               fixture_same(&x->arguments, &y->arguments);
    }
    return same;
}

// REASONING|CONTENT|ID(ARGUMENTS) ID(ARGUMENTS... |DROPPED
static inline void fixture_output_print(const fixture_output *f, base_str *out) {
    base_str_add(out, f->field[CHAT_REASONING].data, f->field[CHAT_REASONING].len);
    base_str_adds(out, "|");
    base_str_add(out, f->field[CHAT_CONTENT].data, f->field[CHAT_CONTENT].len);
    base_str_adds(out, "|");
    for (int i = 0; i < f->n_calls; i++) {
        const fixture_call *call = &f->calls[i];
        base_str_adds(out, i > 0 ? " " : "");
        base_str_add(out, call->id.data, call->id.len);
        base_str_adds(out, "(");
        base_str_add(out, call->arguments.data, call->arguments.len);
        base_str_adds(out, call->ended ? ")" : "...");
    }
    base_str_adds(out, "|");
    base_str_add(out, f->field[CHAT_DROPPED].data, f->field[CHAT_DROPPED].len);
}

// ---------------------------------------------------------------------------------------------
// Through the automaton

// A call's id and name must not change, nor may it end twice; new ones come behind.
static inline void fixture_note_calls(fixture_output *f, const chat_output *o) {
    if (chat_output_n_calls(o) < f->n_calls || chat_output_n_calls(o) > FIXTURE_MAX_CALLS)
        abort();
    for (int i = 0; i < chat_output_n_calls(o); i++) {
        chat_output_call call = chat_output_get_call(o, i);
        fixture_call *noted = &f->calls[i];
        if (i == f->n_calls) {
            f->n_calls++;
            noted->name_len = call.name.len;
            base_str_add(&noted->id, call.id.at, call.id.len);
        }
        if (noted->id.len != call.id.len || memcmp(noted->id.data, call.id.at, call.id.len) != 0 ||
            memcmp(call.id.at, "functions.", 10) != 0 || (noted->ended && !call.ended) ||
            memcmp(call.id.at + 10, call.name.at, call.name.len) != 0)
            abort();
        noted->ended = call.ended;
    }
}

// Returns false if a piece was not valid UTF-8, which would be a character cut in two.
static inline bool fixture_output_run(fixture_output *f, const chat_format *format,
                                      const chat_output_options *options, const int32_t *prompt,
                                      size_t n_prompt, const int32_t *ids, size_t n) {
    chat_output *o = chat_output_create(format, options, prompt, n_prompt);
    base_str piece = {0};
    bool good = true;
    *f = (fixture_output){0};
    for (size_t i = 0; i < n + 2; i++) {
        base_str_clear(&piece);
        chat_field field = i < n ? chat_output_push(o, ids[i], &piece) : chat_output_end(o, &piece);
        fixture_note_calls(f, o);
        base_str_add(&f->field[field], piece.data, piece.len);
        if (field == CHAT_ARGUMENTS && piece.len > 0)
            base_str_add(&f->calls[f->n_calls - 1].arguments, piece.data, piece.len);
        for (size_t at = 0, len; good && at < piece.len; at += len)
            len = base_utf8_next(piece.data + at, piece.len - at, &good);
    }
    f->n_reasoning = chat_output_reasoning_tokens(o);
    f->n_dropped = chat_output_n_dropped(o);
    f->thinking = chat_output_is_thinking(o);
    chat_output_free(o);
    base_str_free(&piece);
    return good;
}

#endif
