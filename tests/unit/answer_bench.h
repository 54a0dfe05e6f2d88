// What the tests of answers share: one call with scripted events, and how a reply is compared.
#ifndef TESTS_UNIT_ANSWER_BENCH_H
#define TESTS_UNIT_ANSWER_BENCH_H

#include "answer_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct bench {
    token_vocab *vocab;
    chat_format *format;
    int32_t im_end, think, think_end;
    api_options options;
    api_prompt prompts[4];
    char *stops[4];
    size_t stop_lens[4];
    int32_t stop_ids[4];
    api_call call;
    chat_calls *calls;
    fixture_script script;
    base_str out;
    int aborts;
    api_answer_numbers numbers;
} bench;

static bench b;

static inline int open_bench(void **state) {
    (void)state;
    b.vocab = fixture_chat_vocab(NULL);
    b.format = fixture_chat_format(b.vocab);
    b.im_end = token_control_id(b.vocab, "<|im_end|>");
    b.think = token_control_id(b.vocab, "<think>");
    b.think_end = token_control_id(b.vocab, "</think>");
    return 0;
}

static inline void reset(void) {
    fixture_script_cut(&b.script, 0);
    chat_calls_free(b.calls);
    b.calls = NULL;
    for (int i = 0; i < 4; i++) {
        base_ids_free(&b.prompts[i].ids);
        base_str_free(&b.prompts[i].text);
    }
}

static inline int close_bench(void **state) {
    (void)state;
    reset();
    chat_format_free(b.format);
    token_vocab_free(b.vocab);
    base_str_free(&b.out);
    return 0;
}

// A call without wishes, for one prompt.
static inline void set_up(api_kind kind) {
    reset();
    b.options = (api_options){.vocab = b.vocab, .chat = b.format, .reasoning_parser = true};
    b.options.n_eos = 1;
    b.options.eos_ids[0] = b.im_end;
    b.call = (api_call){.kind = kind,
                        .created = 1700000000,
                        .model = "kimi",
                        .prompts = b.prompts,
                        .n_prompts = 1,
                        .stops = b.stops,
                        .stop_lens = b.stop_lens,
                        .skip_special = true,
                        .include_reasoning = true};
    strcpy(b.call.id, kind == API_CHAT ? "chatcmpl-1" : "cmpl-1");
    engine_params_init(&b.call.params);
    b.call.params.stop_ids = b.stop_ids;
    token_encode(b.vocab, "Q:", 2, TOKEN_PLAIN, &b.prompts[0].ids);
    base_str_adds(&b.prompts[0].text, "Q:");
}

// Tools f and g are declared, and the conversation has `n_before` calls already.
static inline void set_tools(int n_before) {
    const chat_slice names[] = {fixture_slice("f"), fixture_slice("g")};
    chat_tool_call before[4];
    chat_message message = {.role = fixture_slice("assistant"), .tool_calls = before};
    const chat_conversation conversation = {.messages = &message, .n_messages = 1};
    for (; message.n_tool_calls < n_before; message.n_tool_calls++)
        before[message.n_tool_calls] =
            (chat_tool_call){fixture_slice("x"), names[0], fixture_slice("{}")};
    b.calls = chat_calls_create(&conversation, names, 2);
    b.call.calls = b.calls;
}

static inline void set_second_prompt(void) {
    b.call.n_prompts = 2;
    token_encode(b.vocab, "R: why", 6, TOKEN_PLAIN, &b.prompts[1].ids);
    base_str_adds(&b.prompts[1].text, "R: why");
}

static inline void add_stop(const char *text) {
    b.stops[b.call.n_stops] = (char *)(uintptr_t)text;
    b.stop_lens[b.call.n_stops++] = strlen(text);
}

static inline int32_t byte_id(int byte) {
    for (int32_t id = 0; id < 256; id++) {
        size_t len;
        if ((unsigned char)*token_bytes(b.vocab, id, &len) == byte)
            return id;
    }
    return -1;
}

static inline void sample_id(int prompt, int choice, int32_t id) {
    fixture_fill(fixture_push(&b.script, prompt, choice, ENGINE_EVENT_TOKEN), id,
                 b.call.params.n_logprobs, token_vocab_size(b.vocab));
}

// A token for each byte.
static inline void sample(int prompt, int choice, const char *bytes) {
    for (; *bytes; bytes++)
        sample_id(prompt, choice, byte_id((unsigned char)*bytes));
}

static inline engine_event *finish(int prompt, int choice, engine_finish how) {
    engine_event *e = fixture_push(&b.script, prompt, choice, ENGINE_EVENT_FINISH);
    e->finish = how;
    e->n_cached = 1;
    if (how == ENGINE_FINISH_STOP)
        e->stop_id = b.im_end;
    if (how == ENGINE_FINISH_ERROR)
        e->error = "the model is \"tired\"";
    return e;
}

// Text in which control tokens stand by their names.
static inline void sample_text(int prompt, int choice, const char *text) {
    base_ids ids = {0};
    token_encode(b.vocab, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    for (size_t i = 0; i < ids.len; i++)
        sample_id(prompt, choice, ids.data[i]);
    base_ids_free(&ids);
}

static inline void end_with_eos(int prompt, int choice) {
    sample_id(prompt, choice, b.im_end);
    finish(prompt, choice, ENGINE_FINISH_STOP);
}

static inline const char *play(bool stream, fixture_cut cut, uint32_t seed) {
    b.call.stream = stream;
    base_str_clear(&b.out);
    api_answer *a = api_answer_create(&b.options, &b.call);
    assert_false(api_answer_done(a));
    b.aborts = fixture_play(a, &b.script, cut, seed, &b.out);
    if (!stream)
        assert_int_equal(b.out.len, 0);
    assert_true(api_answer_done(a));
    api_answer_finish(a, &b.out);
    b.numbers = api_answer_get_numbers(a);
    api_answer_free(a);
    return b.out.data;
}

// The stream of any grouping is the body.
static inline void expect_same(void) {
    bool chat = b.call.kind == API_CHAT, usage = b.call.include_usage;
    b.call.include_usage = true;
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    json_t *body = fixture_strip_body(&b.out, chat);
    int aborts = b.aborts;
    assert_non_null(body);
    for (uint32_t i = 0; i < 6; i++) {
        play(true, i < 3 ? (fixture_cut)i : FIXTURE_RANDOM, i);
        json_t *stream = fixture_join_stream(&b.out, chat);
        assert_non_null(stream);
        assert_int_equal(b.aborts, aborts);
        json_t *choices = json_object_get(body, "choices");
        if (!json_equal(choices, json_object_get(stream, "choices"))) {
            char *one = json_dumps(choices, JSON_COMPACT);
            char *other = json_dumps(json_object_get(stream, "choices"), JSON_COMPACT);
            fail_msg("\n%s\nbut streamed\n%s", one, other);
        }
        assert_true(json_equal(json_object_get(body, "usage"), json_object_get(stream, "usage")));
        if (chat && b.call.return_token_ids)
            assert_true(json_equal(json_object_get(body, "prompt_token_ids"),
                                   json_object_get(stream, "prompt_token_ids")));
        json_decref(stream);
    }
    json_decref(body);
    b.call.include_usage = usage;
}

// ---------------------------------------------------------------------------------------------
// Exact texts

// Goldens are written with ' for ", and without what begins every chunk. A chunk is a line.
static inline void drop_text(base_str *from, const char *text) {
    char *at = from->data ? strstr(from->data, text) : NULL;
    if (at)
        memmove(at, at + strlen(text), strlen(at + strlen(text)) + 1);
}

// Without the timings, which are 0 unless a test says otherwise.
static inline void expect_text(const char *actual, const char *expected, const char *head) {
    base_str plain = {0}, text = {0};
    base_str_adds(&plain, actual);
    drop_text(&plain, ",\"metrics\":{\"queued_ms\":0.000,\"prefill_ms\":0.000,"
                      "\"decode_ms\":0.000,\"time_to_first_token_ms\":0.000}");
    for (const char *p = plain.data, *at; *p; p = at) {
        at = strstr(p, head);
        base_str_add(&text, p, at ? (size_t)(at - p) : strlen(p));
        at = at ? at + strlen(head) : p + strlen(p);
    }
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != '\n' || i == 0 || text.data[i - 1] != '\n')
            text.data[n++] = text.data[i] == '"' ? '\'' : text.data[i];
    text.data[n] = '\0';
    if (strcmp(text.data, expected) != 0)
        fail_msg("\n%s\ninstead of\n%s", text.data, expected);
    base_str_free(&plain);
    base_str_free(&text);
}

// `lines`: up to NULL; what ends every stream comes after them.
static inline void expect_stream(fixture_cut cut, const char *const *lines) {
    base_str head = {0}, expected = {0};
    bool chat = b.call.kind == API_CHAT;
    base_str_printf(&head,
                    "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":1700000000,"
                    "\"model\":\"kimi\",\"choices\":[",
                    b.call.id, chat ? "chat.completion.chunk" : "text_completion");
    for (; *lines; lines++)
        base_str_adds(&expected, *lines);
    base_str_adds(&expected, "data: [DONE]\n");
    expect_text(play(true, cut, 1), expected.data, head.data);
    base_str_free(&head);
    base_str_free(&expected);
}

#define EXPECT_STREAM(cut, ...) expect_stream(cut, (const char *const[]){__VA_ARGS__, NULL})

static inline void expect_body(const char *expected) {
    base_str head = {0};
    bool chat = b.call.kind == API_CHAT;
    base_str_printf(&head,
                    "{\"id\":\"%s\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"kimi\","
                    "\"choices\":[",
                    b.call.id, chat ? "chat.completion" : "text_completion");
    expect_text(play(false, FIXTURE_ALL_AT_ONCE, 1), expected, head.data);
    base_str_free(&head);
}

#define USAGE(prompt, output, total)                                                               \
    "'usage':{'prompt_tokens':" #prompt ",'total_tokens':" #total ",'completion_tokens':" #output  \
    ",'prompt_tokens_details':null"
#define NO_FINGERPRINT "],'service_tier':null,'system_fingerprint':null,"
#define COMPLETION_END(prompt, output, total)                                                      \
    NO_FINGERPRINT USAGE(prompt, output, total) "},'kv_transfer_params':null}"
#define PIECE(index, text)                                                                         \
    "{'index':" #index ",'text':'" text "','logprobs':null,'finish_reason':null,"                  \
    "'stop_reason':null}]}\n"
#define LAST(index, text, reason, stop)                                                            \
    "{'index':" #index ",'text':'" text "','logprobs':null,'finish_reason':'" reason "',"          \
    "'stop_reason':" stop "}]}\n"
#define ROLE(index)                                                                                \
    "{'index':" #index ",'delta':{'role':'assistant','content':''},'logprobs':null,"               \
    "'finish_reason':null}]}\n"
#define DELTA(index, delta)                                                                        \
    "{'index':" #index ",'delta':{" delta "},'logprobs':null,'finish_reason':null,"                \
    "'token_ids':null}]}\n"
#define THOUGHT(index, text) DELTA(index, "'reasoning_content':'" text "','reasoning':'" text "'")
#define CONTENT(index, text) DELTA(index, "'content':'" text "'")
#define DELTA_END(index, reason, stop)                                                             \
    "{'index':" #index ",'delta':{},'logprobs':null,'finish_reason':'" reason "',"                 \
    "'stop_reason':" stop ",'token_ids':null}]}\n"
#define BAD "\xef\xbf\xbd"

#endif
