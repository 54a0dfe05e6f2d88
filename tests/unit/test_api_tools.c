// Tool calls in streams and whole replies.
#include "answer_bench.h"

#define SECTION "<|tool_calls_section_begin|>"
#define SECTION_END "<|tool_calls_section_end|>"
#define CALL(id, arguments)                                                                        \
    "<|tool_call_begin|>" id "<|tool_call_argument_begin|>" arguments "<|tool_call_end|>"

#define FIRST(index, call, id, name)                                                               \
    DELTA(index, "'tool_calls':[{'index':" #call ",'id':'" id "','type':'function','function':"    \
                 "{'name':'" name "','arguments':''}}]")
#define ARGUMENTS(index, call, text)                                                               \
    DELTA(index, "'tool_calls':[{'index':" #call ",'function':{'arguments':'" text "'}}]")

// The only choice of a whole reply; the caller owns it.
static json_t *whole_choice(void) {
    base_err err;
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    json_t *body = base_json_parse(b.out.data, b.out.len, "body", 1, &err);
    json_t *choice = json_incref(json_array_get(json_object_get(body, "choices"), 0));
    json_decref(body);
    assert_non_null(choice);
    return choice;
}

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

// `want`: "id name arguments", one after the other with "|" between.
static void expect_calls(const char *want, const char *reason, const char *content) {
    base_str got = {0};
    json_t *choice = whole_choice(), *message = json_object_get(choice, "message"), *call;
    size_t i;
    base_str_adds(&got, "");
    json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
        const json_t *function = json_object_get(call, "function");
        base_str_printf(&got, "%s%s %s %s", i ? "|" : "", text_of(call, "id"),
                        text_of(function, "name"), text_of(function, "arguments"));
        assert_string_equal(text_of(call, "type"), "function");
    }
    assert_string_equal(got.data, want);
    assert_string_equal(text_of(choice, "finish_reason"), reason);
    if (content)
        assert_string_equal(text_of(message, "content"), content);
    else
        assert_true(json_is_null(json_object_get(message, "content")));
    // No calls, no list of them.
    assert_true((json_object_get(message, "tool_calls") != NULL) == (*want != '\0'));
    json_decref(choice);
    base_str_free(&got);
    expect_same();
}

static void test_stream(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(2);
    sample_text(0, 0,
                "<think>t</think>c" SECTION CALL("functions.g:2", "{}") CALL("f", "") SECTION_END);
    end_with_eos(0, 0);
    EXPECT_STREAM(FIXTURE_BY_STEP, ROLE(0), THOUGHT(0, "t"), CONTENT(0, "c"),
                  FIRST(0, 0, "functions.g:2", "g"), ARGUMENTS(0, 0, "{"), ARGUMENTS(0, 0, "}"),
                  FIRST(0, 1, "functions.f:3", "f"), ARGUMENTS(0, 1, "{}"),
                  DELTA_END(0, "tool_calls", "null"));
    expect_calls("functions.g:2 g {}|functions.f:3 f {}", "tool_calls", "c");
}

// Chunks that say more than one thing are several, and the last has the rest.
static void test_one_thing_a_chunk(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    b.call.return_token_ids = true;
    add_stop("xyz");
    sample_text(0, 0, "</think>xy" SECTION CALL("functions.f:0", "{\"a\":1}"));
    finish(0, 0, ENGINE_FINISH_LENGTH);
    expect_calls("functions.f:0 f {\"a\":1}", "length", "xy");
    play(true, FIXTURE_BY_STEP, 0);
    const char *text = strstr(b.out.data, "{\"content\":\"xy\"}"),
               *call = strstr(b.out.data, "\"name\":\"f\"");
    assert_true(text && call && text < call);
}

static void test_cut(void **state) {
    (void)state;
    static const char text[] =
        "t" SECTION CALL("functions.f:0", "{\"a\": \"\xc3\xa9\"}") SECTION_END "more";
    base_ids ids = {0};
    set_up(API_CHAT);
    set_tools(0);
    token_encode(b.vocab, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    for (size_t n = 0; n <= ids.len; n++) {
        fixture_script_cut(&b.script, 0);
        for (size_t i = 0; i < n; i++)
            sample_id(0, 0, ids.data[i]);
        finish(0, 0, ENGINE_FINISH_LENGTH);
        json_t *choice = whole_choice();
        assert_string_equal(text_of(choice, "finish_reason"), "length");
        assert_null(strstr(b.out.data, "tool_call_"));
        json_decref(choice);
        expect_same();
    }
    base_ids_free(&ids);
}

static void test_finish_reasons(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    sample_text(0, 0, SECTION CALL("functions.f:0", "{}") SECTION_END "a stop b");
    end_with_eos(0, 0);
    expect_calls("functions.f:0 f {}", "tool_calls", "a stop b");
    add_stop("stop");
    expect_calls("functions.f:0 f {}", "tool_calls", "a ");
    b.call.n_stops = 0;
    b.call.named_tool = true;
    expect_calls("functions.f:0 f {}", "stop", "a stop b");
    fixture_script_cut(&b.script, 0);
    b.call.named_tool = false;
    sample_text(0, 0, "</think>none");
    end_with_eos(0, 0);
    expect_calls("", "stop", "none");
}

// Half a call helps nobody.
static void test_stop_strings_spare_arguments(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    add_stop("stop");
    sample_text(0, 0, "</think>st" SECTION CALL("functions.f:0", "{\"a\":\"stop\"}"));
    sample_text(0, 0, SECTION_END);
    end_with_eos(0, 0);
    expect_calls("functions.f:0 f {\"a\":\"stop\"}", "tool_calls", "st");
}

static void test_one_call(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    b.call.one_call = true;
    sample_text(0, 0,
                SECTION CALL("functions.f:0", "") CALL("functions.g:1", "{\"a\":1}")
                    CALL("functions.g:2", "") SECTION_END "c");
    end_with_eos(0, 0);
    expect_calls("functions.f:0 f {}", "tool_calls", "c");
}

static void test_calls_without_a_name_are_dropped(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    sample_text(0, 0, SECTION "noise" CALL("weird@id", "{\"a\":1}") SECTION_END);
    end_with_eos(0, 0);
    expect_calls("", "stop", NULL);
}

static void test_hidden_thoughts(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    b.call.include_reasoning = false;
    b.call.logprobs = true;
    b.call.params.n_logprobs = 0;
    sample_text(0, 0, "<think>t" SECTION CALL("functions.f:0", "{}") SECTION_END);
    end_with_eos(0, 0);
    expect_calls("functions.f:0 f {}", "tool_calls", NULL);
    assert_null(strstr(b.out.data, "\"reasoning\":\"t\""));
}

static void test_logprobs_are_of_all_ids(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    b.call.logprobs = true;
    b.call.params.n_logprobs = 1;
    sample_text(0, 0, "<think>t" SECTION CALL("functions.f:0", "{}") SECTION_END);
    end_with_eos(0, 0);
    json_t *choice = whole_choice();
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(choice, "logprobs"), "content")),
        b.numbers.n_output_tokens);
    json_decref(choice);
    expect_same();
}

static void test_choices(void **state) {
    (void)state;
    set_up(API_CHAT);
    set_tools(0);
    b.call.params.n = 2;
    sample_text(0, 1, "</think>only text");
    sample_text(0, 0, SECTION CALL("functions.f:0", "{\"a\":1}"));
    end_with_eos(0, 1);
    sample_text(0, 0, CALL("functions.g:1", "[]"));
    end_with_eos(0, 0);
    expect_same();
}

static void test_timings_and_misses(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.call.include_usage = true;
    sample_text(0, 0, "a");
    engine_event *e = finish(0, 0, ENGINE_FINISH_LENGTH);
    e->queued_ns = 1500000;
    e->prefill_ns = 2000000;
    e->decode_ns = 1000;
    e->miss = ENGINE_MISS_DIFFERS;
    e->miss_at = 17;
    static const char metrics[] = "\"metrics\":{\"queued_ms\":1.500,\"prefill_ms\":2.000,"
                                  "\"decode_ms\":0.001,\"time_to_first_token_ms\":3.500}";
    static const char details[] = "\"prompt_tokens_details\":{\"cached_tokens\":1,\"miss\":"
                                  "{\"token\":17,\"reason\":\"differs\"}}";
    for (int stream = 0; stream < 2; stream++) {
        b.options.prompt_tokens_details = false;
        play(stream, FIXTURE_BY_STEP, 0);
        assert_non_null(strstr(b.out.data, metrics));
        assert_non_null(strstr(b.out.data, "\"prompt_tokens_details\":null"));
        b.options.prompt_tokens_details = true;
        play(stream, FIXTURE_BY_STEP, 0);
        assert_non_null(strstr(b.out.data, details));
    }
}

// What the request itself made impossible is its own fault.
static void test_whose_fault_an_error_is(void **state) {
    (void)state;
    set_up(API_CHAT);
    finish(0, 0, ENGINE_FINISH_ERROR)->by_request = true;
    assert_non_null(strstr(play(false, FIXTURE_BY_STEP, 0), "\"code\":400"));
    assert_non_null(strstr(play(true, FIXTURE_BY_STEP, 0), "\"code\":400"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_one_thing_a_chunk),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_finish_reasons),
        cmocka_unit_test(test_stop_strings_spare_arguments),
        cmocka_unit_test(test_one_call),
        cmocka_unit_test(test_calls_without_a_name_are_dropped),
        cmocka_unit_test(test_hidden_thoughts),
        cmocka_unit_test(test_logprobs_are_of_all_ids),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_timings_and_misses),
        cmocka_unit_test(test_whose_fault_an_error_is),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
