// The exact text of streams and whole replies; how choices end.
#include "answer_bench.h"

static void test_completion(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    sample(0, 0, "a\n\"\xc3\xa9");
    end_with_eos(0, 0);
    // The first byte of a character has an empty chunk; the end is in the chunk of its token.
    EXPECT_STREAM(FIXTURE_BY_STEP, PIECE(0, "a"), PIECE(0, "\\n"), PIECE(0, "\\'"), PIECE(0, ""),
                  PIECE(0, "\xc3\xa9"), LAST(0, "", "stop", "null"));
    expect_body("{'index':0,'text':'a\\n\\'\xc3\xa9','logprobs':null,'finish_reason':'stop',"
                "'stop_reason':null,'token_ids':null,'prompt_logprobs':null,"
                "'prompt_token_ids':null}" COMPLETION_END(2, 6, 8));
}

static void test_end_that_comes_later_has_a_chunk_of_its_own(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    b.call.include_usage = true;
    sample(0, 0, "ab\xc3");
    finish(0, 0, ENGINE_FINISH_LENGTH);
    EXPECT_STREAM(FIXTURE_ONE_BY_ONE, PIECE(0, "a"), PIECE(0, "b"), PIECE(0, ""),
                  LAST(0, BAD, "length", "null"), "],", USAGE(2, 3, 5), "}}\n");
    EXPECT_STREAM(FIXTURE_ALL_AT_ONCE, PIECE(0, "a"), PIECE(0, "b"), LAST(0, BAD, "length", "null"),
                  "],", USAGE(2, 3, 5), "}}\n");
}

static void script_of_a_thought(void) {
    sample_id(0, 0, b.think);
    sample(0, 0, "h\xc3\xa9");
    sample_id(0, 0, b.think_end);
    sample(0, 0, "ok");
    end_with_eos(0, 0);
}

static void test_chat(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.call.include_usage = true;
    script_of_a_thought();
    EXPECT_STREAM(FIXTURE_BY_STEP, ROLE(0), THOUGHT(0, "h"), THOUGHT(0, "\xc3\xa9"),
                  CONTENT(0, "o"), CONTENT(0, "k"), DELTA_END(0, "stop", "null"), "],",
                  USAGE(2, 8, 10), ",'completion_tokens_details':{'reasoning_tokens':5}}}\n");
    expect_body(
        "{'index':0,'message':{'role':'assistant','content':'ok','refusal':null,"
        "'annotations':null,'audio':null,'function_call':null,"
        "'reasoning_content':'h\xc3\xa9','reasoning':'h\xc3\xa9'},'logprobs':null,"
        "'finish_reason':'stop','stop_reason':null,'token_ids':null}" NO_FINGERPRINT USAGE(
            2, 8, 10) ",'completion_tokens_details':{'reasoning_tokens':5}},'prompt_logprobs':null,"
                      "'prompt_token_ids':null,'kv_transfer_params':null}");
}

static void test_chat_without_parser_is_text(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.options.reasoning_parser = false;
    script_of_a_thought();
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, "\"content\":\"<think>h\xc3\xa9</think>ok\""));
    assert_non_null(strstr(b.out.data, "\"reasoning\":null"));
    assert_null(strstr(b.out.data, "completion_tokens_details"));
}

static void test_hidden_reasoning(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.call.include_reasoning = false;
    script_of_a_thought();
    EXPECT_STREAM(FIXTURE_BY_STEP, ROLE(0), CONTENT(0, "o"), CONTENT(0, "k"),
                  DELTA_END(0, "stop", "null"));
    b.call.logprobs = b.call.return_token_ids = true;
    b.call.params.n_logprobs = 0;
    expect_same();
    json_t *whole = fixture_join_stream(&b.out, true);
    json_t *choice = json_array_get(json_object_get(whole, "choices"), 0);
    json_t *content = json_object_get(json_object_get(choice, "logprobs"), "content");
    assert_int_equal(json_array_size(content), 3); // o, k and the end
    assert_int_equal(json_array_size(json_object_get(choice, "token_ids")), 3);
    assert_true(json_is_null(json_object_get(json_object_get(choice, "message"), "reasoning")));
    json_decref(whole);
}

static void expect_thought(const char *json) {
    base_str field = {0};
    base_str_printf(&field, "\"reasoning_content\":%s,\"reasoning\":%s}", json, json);
    play(false, FIXTURE_BY_STEP, 0);
    if (!strstr(b.out.data, field.data))
        fail_msg("no %s in %s", field.data, b.out.data);
    base_str_free(&field);
}

static void test_empty_thoughts(void **state) {
    (void)state;
    set_up(API_CHAT);
    end_with_eos(0, 0);
    expect_thought("null"); // it ended at once
    fixture_script_cut(&b.script, 0);
    sample_id(0, 0, b.think);
    sample_id(0, 0, b.think_end);
    sample(0, 0, "ok");
    end_with_eos(0, 0);
    expect_thought("\"\"");
    expect_same();
    b.call.include_reasoning = false;
    expect_thought("null");
    b.call.include_reasoning = true;
    b.options.reasoning_parser = false;
    expect_thought("null");
}

// ---------------------------------------------------------------------------------------------
// Ends

static void test_stop_strings(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    add_stop("\n\nQ");
    add_stop("END");
    sample(0, 0, "1\nEND2");
    finish(0, 0, ENGINE_FINISH_ABORT);
    // Text that may be part of a stop string waits; what follows the stop string is gone.
    EXPECT_STREAM(FIXTURE_BY_STEP, PIECE(0, ""), PIECE(0, ""), PIECE(0, "1"), PIECE(0, "\\n"),
                  LAST(0, "", "stop", "'END'"));
    assert_int_equal(b.aborts, 1);
    assert_int_equal(b.numbers.n_output_tokens, 5);
    expect_body("{'index':0,'text':'1\\n','logprobs':null,'finish_reason':'stop',"
                "'stop_reason':'END','token_ids':null,'prompt_logprobs':null,"
                "'prompt_token_ids':null}" COMPLETION_END(2, 5, 7));
    b.call.include_stop = true;
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, "\"text\":\"1\\nEND\""));
    b.call.params.min_tokens = 5; // the stop string is complete too early to count
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, "\"text\":\"1\\nEND2\""));
    assert_non_null(strstr(b.out.data, "\"finish_reason\":\"abort\""));
}

static void test_tokens_of_a_stop_string_are_all_there(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    add_stop("END");
    b.call.logprobs = b.call.return_token_ids = true;
    b.call.params.n_logprobs = 1;
    sample(0, 0, "1END2");
    finish(0, 0, ENGINE_FINISH_LENGTH);
    expect_same();
    json_t *whole = fixture_join_stream(&b.out, false);
    json_t *choice = json_array_get(json_object_get(whole, "choices"), 0);
    json_t *tokens = json_object_get(json_object_get(choice, "logprobs"), "tokens");
    assert_int_equal(json_array_size(tokens), 4);
    assert_int_equal(json_array_size(json_object_get(choice, "token_ids")), 4);
    assert_int_equal(json_integer_value(json_object_get(whole, "chunks")), 5);
    json_decref(whole);
}

static void test_stop_strings_of_fields(void **state) {
    (void)state;
    set_up(API_CHAT);
    add_stop("ab");
    sample(0, 0, "xa");
    sample_id(0, 0, b.think_end);
    sample(0, 0, "bab");
    finish(0, 0, ENGINE_FINISH_ABORT);
    EXPECT_STREAM(FIXTURE_BY_STEP, ROLE(0), THOUGHT(0, "x"), THOUGHT(0, "a"), CONTENT(0, "b"),
                  DELTA_END(0, "stop", "'ab'"));
    expect_same();
    fixture_script_cut(&b.script, 0);
    sample(0, 0, "xab");
    sample_id(0, 0, b.think_end);
    finish(0, 0, ENGINE_FINISH_ABORT);
    expect_same();
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, "\"content\":null"));
    assert_non_null(strstr(b.out.data, "\"reasoning\":\"x\""));
}

static void expect_end(const char *text, const char *reason, const char *stop_reason) {
    expect_same();
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    base_str ends = {0};
    base_str_printf(&ends,
                    "\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":\"%s\","
                    "\"stop_reason\":%s,",
                    text, reason, stop_reason);
    if (!strstr(b.out.data, ends.data))
        fail_msg("%s has no %s", b.out.data, ends.data);
    base_str_free(&ends);
}

static void test_stop_ids(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    char stop_id[16];
    int32_t z = byte_id('z');
    snprintf(stop_id, sizeof stop_id, "%d", z);
    b.call.params.n_stop_ids = 1;
    b.stop_ids[0] = z;
    sample(0, 0, "az");
    finish(0, 0, ENGINE_FINISH_STOP)->stop_id = z;
    expect_end("a", "stop", stop_id);
    assert_int_equal(b.numbers.n_output_tokens, 2);
    b.call.include_stop = true;
    expect_end("az", "stop", stop_id);

    fixture_script_cut(&b.script, 0);
    sample(0, 0, "a");
    end_with_eos(0, 0);
    expect_end("a", "stop", "null"); // special, so it is not shown
    b.stop_ids[0] = b.im_end;        // that it was asked for changes nothing
    expect_end("a", "stop", "null");
    b.call.skip_special = false;
    expect_end("a<|im_end|>", "stop", "null");
    b.call.include_stop = false;
    expect_end("a", "stop", "null");

    b.call.params.ignore_eos = true; // now it is that
    snprintf(stop_id, sizeof stop_id, "%d", b.im_end);
    expect_end("a", "stop", stop_id);
    b.call.params.n_stop_ids = 0; // and now an id as any other
    fixture_script_cut(&b.script, 0);
    sample_id(0, 0, b.im_end);
    sample(0, 0, "a");
    finish(0, 0, ENGINE_FINISH_LENGTH);
    expect_end("<|im_end|>a", "length", "null");
    b.call.skip_special = true;
    expect_end("a", "length", "null");
}

static void test_other_ends(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    sample(0, 0, "aa");
    engine_event *end = finish(0, 0, ENGINE_FINISH_REPETITION);
    expect_end("aa", "repetition", "null");
    end->finish = ENGINE_FINISH_ABORT;
    expect_end("aa", "abort", "null");
    assert_int_equal(b.aborts, 0);
    fixture_script_cut(&b.script, 0); // aborted before anything came
    finish(0, 0, ENGINE_FINISH_ABORT);
    expect_end("", "abort", "null");
}

static void test_errors(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    b.call.params.n = 2;
    b.call.include_usage = true;
    sample(0, 0, "ab");
    finish(0, 0, ENGINE_FINISH_ERROR);
    sample(0, 1, "c");
    finish(0, 1, ENGINE_FINISH_ABORT);
    static const char error[] = "{'error':{'message':'the model is \\'tired\\'','type':"
                                "'InternalServerError','param':null,'code':500}}";
    EXPECT_STREAM(FIXTURE_ALL_AT_ONCE, PIECE(0, "a"), PIECE(0, "b"), "data: ", error, "\n");
    assert_int_equal(b.aborts, 1);
    expect_body(error);
}

// ---------------------------------------------------------------------------------------------
// Several prompts and choices, usage

static void test_choices_of_prompts(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    set_second_prompt();
    b.call.params.n = 2;
    b.call.echo = b.call.include_usage = true;
    b.options.prompt_tokens_details = true;
    sample(1, 1, "d");
    sample(0, 0, "a");
    sample(1, 0, "c");
    finish(1, 1, ENGINE_FINISH_LENGTH);
    sample(0, 1, "b");
    for (int i = 0; i < 3; i++)
        finish(i / 2, i % 2, ENGINE_FINISH_LENGTH);
    EXPECT_STREAM(FIXTURE_ALL_AT_ONCE, LAST(3, "R: whyd", "length", "null"),
                  LAST(0, "Q:a", "length", "null"), LAST(1, "Q:b", "length", "null"),
                  LAST(2, "R: whyc", "length", "null"),
                  "],'usage':{'prompt_tokens':6,'total_tokens':10,'completion_tokens':4,"
                  "'prompt_tokens_details':{'cached_tokens':2}}}\n");
    expect_same();
    assert_int_equal(b.numbers.n_prompt_tokens, 6);
    assert_int_equal(b.numbers.n_cached_tokens, 2);
    assert_int_equal(b.numbers.n_output_tokens, 4);
}

static void test_abort_when_no_choice_goes_on(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    set_second_prompt();
    b.call.params.n = 2;
    add_stop(".");
    sample(0, 0, "a.b");
    sample(0, 1, "c");
    finish(0, 1, ENGINE_FINISH_LENGTH); // now nothing of prompt 0 is needed any more
    finish(0, 0, ENGINE_FINISH_ABORT);
    sample(1, 0, "d");
    sample(1, 1, "e.");
    finish(1, 1, ENGINE_FINISH_LENGTH);
    finish(1, 0, ENGINE_FINISH_LENGTH); // here the engine was done by itself
    expect_same();
    assert_int_equal(b.aborts, 1);
}

static void test_usage_on_every_chunk(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.call.include_usage = b.call.continuous_usage = true;
    sample_id(0, 0, b.think_end);
    sample(0, 0, "a");
    finish(0, 0, ENGINE_FINISH_LENGTH);
    EXPECT_STREAM(FIXTURE_BY_STEP,
                  "{'index':0,'delta':{'role':'assistant','content':''},'logprobs':null,"
                  "'finish_reason':null}],'usage':{'prompt_tokens':2,'total_tokens':2,"
                  "'completion_tokens':0}}\n",
                  "{'index':0,'delta':{'content':'a'},'logprobs':null,'finish_reason':'length',"
                  "'stop_reason':null,'token_ids':null}],'usage':{'prompt_tokens':2,"
                  "'total_tokens':4,'completion_tokens':2}}\n",
                  "],", USAGE(2, 2, 4), ",'completion_tokens_details':{'reasoning_tokens':1}}}\n");
}

static void test_token_ids(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.call.return_token_ids = true;
    script_of_a_thought();
    expect_same();
    play(true, FIXTURE_BY_STEP, 0);
    json_t *whole = fixture_join_stream(&b.out, true);
    json_t *choice = json_array_get(json_object_get(whole, "choices"), 0);
    assert_int_equal(json_array_size(json_object_get(choice, "token_ids")), 8);
    assert_int_equal(json_array_size(json_object_get(whole, "prompt_token_ids")), 2);
    assert_int_equal(json_integer_value(json_object_get(whole, "chunks")), 9); // and the role
    json_decref(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_end_that_comes_later_has_a_chunk_of_its_own),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_chat_without_parser_is_text),
        cmocka_unit_test(test_hidden_reasoning),
        cmocka_unit_test(test_empty_thoughts),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_tokens_of_a_stop_string_are_all_there),
        cmocka_unit_test(test_stop_strings_of_fields),
        cmocka_unit_test(test_stop_ids),
        cmocka_unit_test(test_other_ends),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_choices_of_prompts),
        cmocka_unit_test(test_abort_when_no_choice_goes_on),
        cmocka_unit_test(test_usage_on_every_chunk),
        cmocka_unit_test(test_token_ids),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
