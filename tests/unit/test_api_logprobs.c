// Log-probabilities in replies.
#include "answer_bench.h"

static engine_event *set_logprobs(engine_event *e, float logprob, int n,
                                  const engine_logprob *top) {
    base_free(e->top);
    e->logprob = logprob;
    e->n_top = n;
    e->top = n > 0 ? base_alloc((size_t)n * sizeof *e->top) : NULL;
    if (n > 0)
        memcpy(e->top, top, (size_t)n * sizeof *e->top);
    return e;
}

static engine_event *push_token(int32_t id) {
    engine_event *e = fixture_push(&b.script, 0, 0, ENGINE_EVENT_TOKEN);
    e->id = id;
    e->rank = 1;
    return e;
}

static engine_event *push_prompt(int position) {
    engine_event *e = fixture_push(&b.script, 0, 0, ENGINE_EVENT_PROMPT);
    e->position = position;
    e->id = b.prompts[0].ids.data[position];
    e->rank = 3;
    return e;
}

static void script_of_logprobs(void) {
    int32_t x = byte_id('x'), c3 = byte_id(0xc3), c4 = byte_id(0xc4), c5 = byte_id(0xc5);
    b.call.logprobs = true;
    b.call.params.n_logprobs = 2;
    // The id is among the most likely ones; it is not; and three have the same string.
    set_logprobs(push_token(x), -0.5f, 2, (engine_logprob[]){{x, -0.5f}, {c3, -INFINITY}});
    set_logprobs(push_token(byte_id('y')), -3, 2, (engine_logprob[]){{x, -0.25f}, {c3, -2}});
    set_logprobs(push_token(c3), NAN, 2, (engine_logprob[]){{c4, -1}, {c5, -1.5f}});
    finish(0, 0, ENGINE_FINISH_LENGTH);
}

static void test_completion_logprobs(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    script_of_logprobs();
    EXPECT_STREAM(FIXTURE_BY_STEP,
                  "{'index':0,'text':'x','logprobs':{'text_offset':[0],'token_logprobs':[-0.5],"
                  "'tokens':['x'],'top_logprobs':[{'x':-0.5,'" BAD "':-9999.0}]},"
                  "'finish_reason':null,'stop_reason':null}]}\n",
                  "{'index':0,'text':'y','logprobs':{'text_offset':[1],'token_logprobs':[-3.0],"
                  "'tokens':['y'],'top_logprobs':[{'y':-3.0,'x':-0.25,'" BAD "':-2.0}]},"
                  "'finish_reason':null,'stop_reason':null}]}\n",
                  "{'index':0,'text':'" BAD "','logprobs':{'text_offset':[2],"
                  "'token_logprobs':[-9999.0],'tokens':['" BAD "'],"
                  "'top_logprobs':[{'" BAD "':-9999.0}]},"
                  "'finish_reason':'length','stop_reason':null}]}\n");
    expect_same();
}

static void test_text_offset(void **state) {
    (void)state;
    int32_t ids[] = {b.think, byte_id('x'), b.think_end, byte_id(0xc3), byte_id('y')};
    char expected[128], lens[8] = {0};
    set_up(API_COMPLETION);
    b.call.logprobs = true;
    b.call.params.n_logprobs = 0;
    for (int i = 0; i < 5; i++)
        sample_id(0, 0, ids[i]);
    finish(0, 0, ENGINE_FINISH_LENGTH);
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, "\"text_offset\":[0,7,8,16,17]"));
    expect_same();
    b.call.tokens_as_ids = true; // the strings are what counts
    for (int i = 0; i < 5; i++)
        lens[i] = (char)snprintf(NULL, 0, "token_id:%d", ids[i]);
    snprintf(expected, sizeof expected, "\"text_offset\":[0,%d,%d,%d,%d]", lens[0],
             lens[0] + lens[1], lens[0] + lens[1] + lens[2], lens[0] + lens[1] + lens[2] + lens[3]);
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    assert_non_null(strstr(b.out.data, expected));
    expect_same();
}

static void test_echo(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    b.call.echo = b.call.prompt_logprobs = true;
    assert_int_equal(b.prompts[0].ids.len, 2);
    int32_t x = byte_id('x'), y = byte_id('y'), z = byte_id('z'), own = byte_id(':');
    set_logprobs(push_prompt(1), -4, 4, // of which two are shown, besides the token's own
                 (engine_logprob[]){{x, -0.125f}, {own, -4}, {y, -5}, {z, -6}});
    script_of_logprobs();
    expect_body("{'index':0,'text':'Q:xy" BAD "','logprobs':{'text_offset':[0,1,2,3,4],"
                "'token_logprobs':[null,-4.0,-0.5,-3.0,-9999.0],"
                "'tokens':['Q',':','x','y','" BAD "'],"
                "'top_logprobs':[null,{':':-4.0,'x':-0.125,'y':-5.0},{'x':-0.5,'" BAD "':-9999.0},"
                "{'y':-3.0,'x':-0.25,'" BAD "':-2.0},{'" BAD "':-9999.0}]},"
                "'finish_reason':'length','stop_reason':null,'token_ids':null,"
                "'prompt_logprobs':null,'prompt_token_ids':null}" COMPLETION_END(2, 3, 5));
    expect_same();
    b.call.tokens_as_ids = b.call.return_token_ids = true;
    expect_same();
}

static void test_echo_alone(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    b.call.echo = b.call.prompt_logprobs = b.call.discard_output = true;
    set_logprobs(push_prompt(1), -4, 0, NULL);
    b.call.logprobs = true;
    b.call.params.n_logprobs = 0;
    end_with_eos(0, 0);
    const char *whole = "{'index':0,'text':'Q:','logprobs':{'text_offset':[0,1],"
                        "'token_logprobs':[null,-4.0],'tokens':['Q',':'],"
                        "'top_logprobs':[null,{':':-4.0}]},'finish_reason':'length',"
                        "'stop_reason':null,'token_ids':null,'prompt_logprobs':null,"
                        "'prompt_token_ids':null}" COMPLETION_END(2, 0, 2);
    expect_body(whole);
    expect_same();
    json_t *stream = fixture_join_stream(&b.out, false);
    assert_int_equal(json_integer_value(json_object_get(stream, "chunks")), 2); // one, and usage
    json_decref(stream);
}

static void test_chat_logprobs(void **state) {
    (void)state;
    set_up(API_CHAT);
    b.options.reasoning_parser = false;
    script_of_logprobs();
    fixture_script_cut(&b.script, 1); // the first token, and an end
    finish(0, 0, ENGINE_FINISH_LENGTH);
    EXPECT_STREAM(FIXTURE_BY_STEP, ROLE(0),
                  "{'index':0,'delta':{'content':'x'},'logprobs':{'content':[{'token':'x',"
                  "'logprob':-0.5,'bytes':[120],'top_logprobs':[{'token':'x',"
                  "'logprob':-0.5,'bytes':[120]},{'token':'" BAD
                  "','logprob':-9999.0,'bytes':[195]}]}]},'finish_reason':'length',"
                  "'stop_reason':null,'token_ids':null}]}\n");
    b.call.tokens_as_ids = true;
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    base_str token = {0};
    base_str_printf(&token, "{\"token\":\"token_id:%d\",\"logprob\":-0.5,\"bytes\":[120],",
                    byte_id('x'));
    assert_non_null(strstr(b.out.data, token.data));
    base_str_free(&token);
}

static void test_prompt_logprobs(void **state) {
    (void)state;
    int32_t x = byte_id('x');
    for (api_kind kind = API_COMPLETION; kind <= API_CHAT; kind++) {
        set_up(kind);
        b.call.prompt_logprobs = b.call.show_prompt_logprobs = true;
        int32_t id = b.prompts[0].ids.data[1];
        set_logprobs(push_prompt(1), -4, 3, (engine_logprob[]){{x, -0.125f}, {5, -1}, {id, -4}});
        sample(0, 0, "x");
        finish(0, 0, ENGINE_FINISH_LENGTH);
        play(false, FIXTURE_ALL_AT_ONCE, 0);
        base_str expected = {0};
        base_str_printf(&expected,
                        "\"prompt_logprobs\":[null,{\"%d\":{\"logprob\":-4.0,\"rank\":3,"
                        "\"decoded_token\":\":\"},\"%d\":{\"logprob\":-0.125,\"rank\":1,"
                        "\"decoded_token\":\"x\"},\"5\":{\"logprob\":-1.0,\"rank\":2,",
                        id, x);
        if (!strstr(b.out.data, expected.data))
            fail_msg("%s has no %s", b.out.data, expected.data);
        base_str_free(&expected);
        json_t *body = fixture_strip_body(&b.out, kind == API_CHAT);
        assert_non_null(body); // no key is there twice
        json_decref(body);
    }
}

// A client may ask for the whole vocabulary, in which many tokens have the same string.
static void test_logprobs_of_the_vocabulary(void **state) {
    (void)state;
    set_up(API_COMPLETION);
    int n = 0, size = token_vocab_size(b.vocab);
    engine_logprob *top = base_alloc((size_t)size * sizeof *top);
    for (int i = 0; i < size; i++)
        if (i != byte_id(0)) // jansson has no keys with NUL
            top[n++] = (engine_logprob){i, -(float)i};
    b.call.logprobs = true;
    b.call.params.n_logprobs = n;
    for (int i = 0; i < 3; i++)
        set_logprobs(push_token(300 + i), -300, n, top);
    base_free(top);
    finish(0, 0, ENGINE_FINISH_LENGTH);
    expect_same(); // no key is there twice
    play(false, FIXTURE_ALL_AT_ONCE, 0);
    int first = -1;
    for (int id = 0; id < 256 && first < 0; id++) {
        size_t len;
        if ((unsigned char)*token_bytes(b.vocab, id, &len) >= 0x80)
            first = id;
    }
    base_str best = {0};
    base_str_printf(&best, "\"" BAD "\":-%d.0,", first);
    assert_non_null(strstr(b.out.data, best.data));
    base_str_free(&best);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completion_logprobs),
        cmocka_unit_test(test_text_offset),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_echo_alone),
        cmocka_unit_test(test_chat_logprobs),
        cmocka_unit_test(test_prompt_logprobs),
        cmocka_unit_test(test_logprobs_of_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
