// Requests that are short and whose replies would be too long.
#include "api/tokenize.h"
#include "api_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CONTEXT = 1 << 18 };

static api_fixture fixture;

static int load(void **state) {
    (void)state;
    api_fixture_make(&fixture);
    fixture.options.max_model_len = CONTEXT;
    fixture.options.max_num_seqs = 2048;
    fixture.options.n_blocks = CONTEXT;
    return 0;
}

static int release(void **state) {
    (void)state;
    api_fixture_free(&fixture);
    return 0;
}

// A request whose prompt has n tokens, and a few more in a chat; `param` NULL: it is fine.
static void ask(api_kind kind, size_t n, const char *fields, const char *param) {
    bool chat = kind == API_CHAT;
    base_str body = {0};
    api_call *c;
    api_error error;
    base_str_adds(&body,
                  chat ? "{\"messages\":[{\"role\":\"user\",\"content\":\"" : "{\"prompt\":[");
    for (size_t i = 0; i < n; i++)
        base_str_adds(&body, chat ? (i % 2 ? "\\u0001" : "\\u0002") : i > 0 ? ",65" : "65");
    base_str_adds(&body, chat ? "\"}]," : "],");
    base_str_adds(&body, fields);
    base_str_adds(&body, "}");
    int rc = api_call_parse(&c, kind, &fixture.options, body.data, body.len, "id", &error);
    if ((rc != 0) != (param != NULL))
        print_error("%s: %d %s\n", fields, rc, error.message);
    assert_int_equal(rc, param ? 400 : 0);
    if (param)
        assert_string_equal(error.param, param);
    api_call_free(c);
    base_str_free(&body);
}

static void what_a_long_prompt_may_ask_for(void **state) {
    (void)state;
    const size_t most = CONTEXT - 1;
    fixture.options.max_logprobs = 20;
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"echo\":true,\"logprobs\":20", NULL);
    ask(API_COMPLETION, most / 2, "\"max_tokens\":1,\"prompt_logprobs\":20", NULL);
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":50,\"echo\":true", NULL);
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":50,\"return_token_ids\":true", NULL);
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":2000", NULL);
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":2000,\"logprobs\":20", NULL);
    ask(API_CHAT, 10000, "\"n\":2000,\"prompt_logprobs\":20", NULL);
}

static void what_it_may_not(void **state) {
    (void)state;
    const size_t most = CONTEXT - 1;
    fixture.options.max_logprobs = -1;
    ask(API_COMPLETION, 4000, "\"max_tokens\":1,\"n\":500,\"echo\":true,\"logprobs\":20", "n");
    ask(API_COMPLETION, 4000, "\"max_tokens\":1,\"n\":500,\"prompt_logprobs\":20", "n");
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":2000,\"echo\":true", "n");
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"n\":2000,\"return_token_ids\":true", "n");
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"prompt_logprobs\":-1", "prompt");
    ask(API_COMPLETION, most, "\"max_tokens\":1,\"echo\":true,\"logprobs\":300", "prompt");
    ask(API_CHAT, 100000, "\"prompt_logprobs\":-1", "messages");
    ask(API_CHAT, 100000, "\"n\":2000,\"stream\":true,\"return_token_ids\":true", "n");
}

// The text of n ids that stand for many bytes each.
static void detokenize(size_t n, int status) {
    base_str body = {0}, reply = {0};
    api_error error;
    char item[16];
    snprintf(item, sizeof item, "%d,",
             token_control_id(fixture.vocab, "<|tool_calls_section_begin|>"));
    base_str_adds(&body, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++)
        base_str_adds(&body, item);
    base_str_adds(&body, "1]}");
    assert_int_equal(api_detokenize(&fixture.options, body.data, body.len, &reply, &error), status);
    if (status)
        assert_string_equal(error.param, "tokens");
    else
        assert_true(reply.len > n * strlen("<|tool_calls_section_begin|>"));
    base_str_free(&body);
    base_str_free(&reply);
}

static void texts_of_ids_are_bounded(void **state) {
    (void)state;
    detokenize(100000, 0);
    detokenize(5000000, 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_long_prompt_may_ask_for),
        cmocka_unit_test(what_it_may_not),
        cmocka_unit_test(texts_of_ids_are_bounded),
    };
    return cmocka_run_group_tests(tests, load, release);
}
