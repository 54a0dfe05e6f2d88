// For the tests of answers: scripted events in any grouping, and the pieces of a stream put
// together as a client does it.
#ifndef TESTS_ANSWER_FIXTURE_H
#define TESTS_ANSWER_FIXTURE_H

#include "api/answer.h"
#include "chat_fixture.h"
#include <math.h>

enum { FIXTURE_MAX_EVENTS = 4096 };

// ---------------------------------------------------------------------------------------------
// Events

typedef struct fixture_event {
    int prompt;
    engine_event event; // `top` points into memory of the script's maker
} fixture_event;

typedef struct fixture_script {
    fixture_event events[FIXTURE_MAX_EVENTS];
    int n;
} fixture_script;

static inline engine_event *fixture_push(fixture_script *s, int prompt, int choice,
                                         engine_event_kind kind) {
    fixture_event *e = &s->events[s->n++];
    *e = (fixture_event){prompt, {.choice = choice, .kind = kind, .stop_id = -1}};
    return &e->event;
}

// Log-probabilities that are a function of the id, so that whoever reads them can tell whose they
// are; every other list is without the id itself. Jansson reads no keys with NUL, so the byte's
// token, which is number 219, is in no list.
static inline void fixture_fill(engine_event *e, int32_t id, int n_top, int vocab_size) {
    int32_t first = id >= 220 ? id - 220 : id;
    e->id = id;
    e->logprob = -(float)(id % 50) / 4;
    e->rank = 1 + id % 7;
    e->n_top = n_top;
    e->top = n_top > 0 ? base_calloc((size_t)n_top, sizeof *e->top) : NULL;
    for (int i = 0; i < n_top; i++)
        e->top[i] = (engine_logprob){
            220 + (first + (i + id % 2) * (1 + id % 3)) % (vocab_size - 220), -(float)i - 0.5f};
}

static inline void fixture_script_cut(fixture_script *s, int n) {
    while (s->n > n)
        engine_event_free(&s->events[--s->n].event);
}

static inline engine_event fixture_copy(const engine_event *e) {
    engine_event copy = *e;
    if (e->n_top > 0) {
        copy.top = base_alloc((size_t)e->n_top * sizeof *copy.top);
        memcpy(copy.top, e->top, (size_t)e->n_top * sizeof *copy.top);
    }
    return copy;
}

typedef enum {
    FIXTURE_ALL_AT_ONCE,
    FIXTURE_ONE_BY_ONE,
    FIXTURE_BY_STEP,
    FIXTURE_RANDOM
} fixture_cut;

// Plays the events to an answer that is `a`'s. Returns how often the engine was to abort.
static inline int fixture_play(api_answer *a, const fixture_script *s, fixture_cut cut,
                               uint32_t seed, base_str *out) {
    int aborts = 0;
    for (int i = 0; i < s->n; i++) {
        const fixture_event *e = &s->events[i], *next = i + 1 < s->n ? e + 1 : NULL;
        engine_event copy = fixture_copy(&e->event);
        aborts += api_answer_take(a, e->prompt, &copy, out);
        seed = seed * 1664525 + 1013904223;
        bool ends = next && next->event.kind == ENGINE_EVENT_FINISH && next->prompt == e->prompt &&
                    next->event.choice == e->event.choice;
        if (cut == FIXTURE_ONE_BY_ONE || (cut == FIXTURE_BY_STEP && !ends) ||
            (cut == FIXTURE_RANDOM && seed >> 30 == 0))
            api_answer_flush(a, out);
    }
    api_answer_flush(a, out);
    return aborts;
}

// ---------------------------------------------------------------------------------------------
// Streams

static inline void fixture_append(json_t *to, const char *name, json_t *from) {
    json_t *list = json_object_get(to, name);
    if (json_is_array(from) && !json_is_array(list))
        json_object_set_new(to, name, list = json_array());
    if (json_is_array(from))
        json_array_extend(list, from);
}

static inline void fixture_concat(json_t *to, const char *name, json_t *from) {
    const char *old = json_string_value(json_object_get(to, name));
    base_str text = {0};
    base_str_adds(&text, old ? old : "");
    if (json_is_string(from))
        base_str_adds(&text, json_string_value(from));
    if (text.len > 0 || json_is_string(from))
        json_object_set_new(to, name, json_stringn(text.data, text.len));
    base_str_free(&text);
}

// Aborts unless it is one entry, as a client can take it: id and name first, once, then arguments.
static inline void fixture_join_calls(json_t *message, const json_t *entries) {
    json_t *calls = json_object_get(message, "tool_calls"), *entry = json_array_get(entries, 0);
    json_t *function = json_object_get(entry, "function");
    size_t index = (size_t)json_integer_value(json_object_get(entry, "index"));
    const char *arguments = json_string_value(json_object_get(function, "arguments"));
    if (json_array_size(entries) != 1 || !arguments || index > json_array_size(calls))
        abort();
    if (!calls)
        json_object_set_new(message, "tool_calls", calls = json_array());
    if (index == json_array_size(calls)) {
        if (*arguments || !json_object_get(entry, "id") || !json_object_get(function, "name"))
            abort();
        entry = json_deep_copy(entry);
        json_object_del(entry, "index");
        json_array_append_new(calls, entry);
        return;
    }
    if (!*arguments || json_object_get(entry, "id") || index + 1 != json_array_size(calls))
        abort();
    fixture_concat(json_object_get(json_array_get(calls, index), "function"), "arguments",
                   json_object_get(function, "arguments"));
}

static inline void fixture_join_logprobs(json_t *choice, json_t *logprobs) {
    json_t *joined = json_object_get(choice, "logprobs"), *list;
    const char *name;
    if (!json_is_object(logprobs))
        return;
    if (!json_is_object(joined))
        json_object_set_new(choice, "logprobs", joined = json_object());
    json_object_foreach(logprobs, name, list) fixture_append(joined, name, list);
}

static inline void fixture_join_choice(json_t *choices, json_t *piece, bool chat) {
    json_int_t index = json_integer_value(json_object_get(piece, "index"));
    while ((json_int_t)json_array_size(choices) <= index)
        json_array_append_new(choices, chat ? json_pack("{s:i,s:{s:n,s:n,s:n,s:n},s:n,s:n,s:n,s:n}",
                                                        "index", (int)json_array_size(choices),
                                                        "message", "role", "content", "reasoning",
                                                        "reasoning_content", "logprobs",
                                                        "finish_reason", "stop_reason", "token_ids")
                                            : json_pack("{s:i,s:n,s:n,s:n,s:n,s:n,s:n}", "index",
                                                        (int)json_array_size(choices), "text",
                                                        "logprobs", "finish_reason", "stop_reason",
                                                        "token_ids", "prompt_token_ids"));
    json_t *choice = json_array_get(choices, (size_t)index), *value;
    json_t *message = json_object_get(choice, "message"), *delta = json_object_get(piece, "delta");
    if (json_is_string(json_object_get(choice, "finish_reason")))
        json_object_set_new(choice, "late", json_true()); // nothing may follow
    const char *name;
    json_object_foreach(delta, name, value) {
        if (strcmp(name, "tool_calls") == 0)
            fixture_join_calls(message, value);
        else
            fixture_concat(message, name, value);
    }
    if (!chat)
        fixture_concat(choice, "text", json_object_get(piece, "text"));
    fixture_join_logprobs(choice, json_object_get(piece, "logprobs"));
    fixture_append(choice, "token_ids", json_object_get(piece, "token_ids"));
    fixture_append(choice, "prompt_token_ids", json_object_get(piece, "prompt_token_ids"));
    if (json_is_string(value = json_object_get(piece, "finish_reason")))
        json_object_set(choice, "finish_reason", value);
    if (!json_is_null(value = json_object_get(piece, "stop_reason")) && value)
        json_object_set(choice, "stop_reason", value);
}

// Puts a stream together: {"choices", "usage", "chunks": their number, "prompt_token_ids"?}. NULL
// when it is no stream that ends as it should.
static inline json_t *fixture_join_stream(const base_str *stream, bool chat) {
    json_t *whole = json_pack("{s:[],s:n,s:i}", "choices", "usage", "chunks", 0);
    const char *at = stream->data ? stream->data : "", *end;
    json_int_t chunks = 0;
    for (; (end = strstr(at, "\n\n")) != NULL; at = end + 2) {
        base_err err;
        if (strncmp(at, "data: ", 6) != 0)
            break;
        if (strcmp(at, "data: [DONE]\n\n") == 0) {
            json_object_set_new(whole, "chunks", json_integer(chunks));
            return whole;
        }
        json_t *chunk = base_json_parse(at + 6, (size_t)(end - at - 6), "chunk", 1, &err), *piece;
        size_t i;
        if (!chunk)
            break;
        chunks++;
        json_array_foreach(json_object_get(chunk, "choices"), i, piece)
            fixture_join_choice(json_object_get(whole, "choices"), piece, chat);
        if (json_object_get(chunk, "usage"))
            json_object_set(whole, "usage", json_object_get(chunk, "usage"));
        if (json_object_get(chunk, "prompt_token_ids"))
            json_object_set(whole, "prompt_token_ids", json_object_get(chunk, "prompt_token_ids"));
        json_decref(chunk);
    }
    json_decref(whole);
    return NULL;
}

// What is left of a body when what a stream cannot say is taken away; "" and null are one.
static inline json_t *fixture_strip_body(const base_str *body, bool chat) {
    base_err err;
    json_t *whole = base_json_parse(body->data, body->len, "body", 1, &err), *choice;
    size_t i;
    json_array_foreach(json_object_get(whole, "choices"), i, choice) {
        json_t *message = json_object_get(choice, "message");
        json_object_del(choice, "prompt_logprobs");
        json_object_del(message, "refusal");
        json_object_del(message, "annotations");
        json_object_del(message, "audio");
        json_object_del(message, "function_call");
        static const char *const thoughts[] = {"reasoning", "reasoning_content"};
        for (int k = 0; k < 2; k++) { // a stream does not tell an empty one from none
            const json_t *thought = json_object_get(message, thoughts[k]);
            if (json_is_string(thought) && json_string_length(thought) == 0)
                json_object_set_new(message, thoughts[k], json_null());
        }
        if (chat && json_is_null(json_object_get(message, "content")))
            json_object_set_new(message, "content", json_string(""));
    }
    return whole;
}

#endif
