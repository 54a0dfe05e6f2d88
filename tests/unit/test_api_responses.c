// /v1/responses: its bodies become those of chats, errors name its own fields, and conversations
// are remembered within bounds.
#include "api/responses.h"
#include "api_fixture.h"
#include "quoted_json.h"

static api_fixture fixture;

static int make_fixture(void **state) {
    (void)state;
    api_fixture_make(&fixture);
    return 0;
}

static int free_fixture(void **state) {
    (void)state;
    api_fixture_free(&fixture);
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Bodies

static json_t *translate(api_responses_store *store, const char *text, api_responses_turn **turn) {
    json_t *body = quoted_json(text), *chat;
    api_error error = {0};
    if (api_responses_translate(store, &fixture.options, body, &chat, turn, &error))
        fail_msg("%s\n%s", text, error.message);
    json_decref(body);
    return chat;
}

static void expect_chat(const char *body, const char *expected) {
    api_responses_turn *turn;
    expect_quoted_json(translate(NULL, body, &turn), expected, body);
    assert_null(turn->messages); // there is nothing to remember them in
    api_responses_turn_free(turn);
}

static void expect_messages(const char *items, const char *expected) {
    base_str body = {0}, want = {0};
    base_str_printf(&body, "{'input':%s}", items);
    base_str_printf(&want, "{'messages':[%s]}", expected);
    expect_chat(body.data, want.data);
    base_str_free(&body);
    base_str_free(&want);
}

#define SAID(text) "{'role':'user','content':" text "}"
#define THOUGHT(text)                                                                              \
    "{'type':'reasoning','summary':[],'content':[{'type':'reasoning_text','text':" text "}]}"
#define CALLED(id) "{'type':'function_call','call_id':" id ",'name':'f','arguments':'{}'}"
#define CALL(id) "{'id':" id ",'type':'function','function':{'name':'f','arguments':'{}'}}"

static void items_become_messages(void **state) {
    (void)state;
    expect_messages("'hi'", SAID("'hi'"));
    expect_messages("[{'role':'user','content':'a'},{'type':'message','role':'developer',"
                    "'content':[{'type':'input_text','text':'b'}]}]",
                    SAID("'a'") ",{'role':'system','content':[{'type':'input_text','text':'b'}]}");
    expect_messages("[{'type':'function_call_output','call_id':'c','output':'d'}]",
                    "{'role':'tool','tool_call_id':'c','content':'d'}");
}

static void what_the_model_wrote_is_one_turn(void **state) {
    (void)state;
    expect_messages("[" THOUGHT("'t'") ",{'role':'assistant','content':'a'}," CALLED(
                        "'1'") "," CALLED("'2'") "]",
                    "{'role':'assistant','reasoning_content':'t','content':'a','tool_calls':[" CALL(
                        "'1'") "," CALL("'2'") "]}");
    // A text after a text, and a thought after anything, are another turn.
    expect_messages(
        "[{'role':'assistant','content':'a'},{'role':'assistant','content':'b'}," THOUGHT(
            "'t'") "," CALLED("'1'") "," THOUGHT("'u'") "]",
        "{'role':'assistant','content':'a'},{'role':'assistant','content':'b'},"
        "{'role':'assistant','reasoning_content':'t','tool_calls':[" CALL(
            "'1'") "]},{'role':'assistant','reasoning_content':'u'}");
    expect_messages("[" THOUGHT("'t'") "," SAID("'a'") "," CALLED("'1'") "]",
                    "{'role':'assistant','reasoning_content':'t'}," SAID(
                        "'a'") ",{'role':'assistant','tool_calls':[" CALL("'1'") "]}");
    // Of a thought that was summarised there is nothing else.
    expect_messages("[{'type':'reasoning','summary':[{'type':'summary_text','text':'s'},"
                    "{'type':'summary_text','text':'u'}]}]",
                    "{'role':'assistant','reasoning_content':'su'}");
}

static void fields_keep_their_meaning(void **state) {
    (void)state;
    expect_chat("{'input':'a','model':'kimi','instructions':'b','max_output_tokens':7,'top_p':0.5,"
                "'reasoning':{'effort':'low'},'text':{'format':{'type':'json_object'}},"
                "'include':['reasoning.encrypted_content'],'stream':true,'metadata':{'k':'v'},"
                "'store':false,'user':'u'}",
                "{'model':'kimi','max_completion_tokens':7,'top_p':0.5,'reasoning_effort':'low',"
                "'response_format':{'type':'json_object'},'stream':true,"
                "'messages':[{'role':'system','content':'b'}," SAID("'a'") "]}");
    expect_chat(
        "{'input':'a','text':{'format':{'type':'json_schema','name':'n','schema':{},'strict':"
        "true}},'tools':[{'type':'function','name':'f','parameters':{},'strict':null}],"
        "'tool_choice':{'type':'function','name':'f'}}",
        "{'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':{},"
        "'strict':true}},'tools':[{'type':'function','function':{'name':'f','parameters':{}}}],"
        "'tool_choice':{'type':'function','function':{'name':'f'}},'messages':[" SAID("'a'") "]}");
    // What says nothing, or is null, is left out.
    expect_chat("{'input':'a','tools':[],'tool_choice':'auto','text':{'format':{'type':'text'}},"
                "'previous_response_id':null,'truncation':'disabled','background':false}",
                "{'messages':[" SAID("'a'") "]}");
}

static void errors_name_the_fields_of_the_request(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{'input':'a','max_output_tokens':0}", "max_output_tokens"},
        {"{'input':'a','reasoning':{'effort':'huge'}}", "reasoning.effort"},
        {"{'input':'a','text':{'format':{'type':'json_schema','schema':{'not':{}}}}}",
         "text.format.schema.not"},
        {"{'input':'a','tools':[{'type':'function','name':'f'},{'type':'function','name':'g',"
         "'parameters':{'type':5}}],'tool_choice':'required'}",
         "tools[1].parameters.type"},
        {"{'input':'a','tools':[{'type':'function','name':'f'}],'tool_choice':{'type':'function',"
         "'name':'g'}}",
         "tool_choice.name"},
        // Items are not counted like the messages made of them.
        {"{'instructions':'b','input':[" THOUGHT("'t'") "," CALLED(
             "'1'") ",{'type':'function_call_output','call_id':'1','output':[{'type':'image'}]}]}",
         "input[2].output[0]"},
        {"{'instructions':'b','input':[" THOUGHT("'t'") ",{'role':'assistant','content':[{'type':"
                                                        "'output_text'}]}]}",
         "input[1].content[0].text"},
        {"{'input':[" SAID("'a'") "," SAID("[{'type':'input_image'}]") "]}", "input[1].content[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *body = quoted_json(cases[i][0]);
        char *text = json_dumps(body, JSON_COMPACT);
        api_call *call;
        api_error error;
        assert_int_equal(
            api_responses_parse(&call, &fixture.options, text, strlen(text), "1", &error), 400);
        assert_null(call);
        assert_string_equal(error.param, cases[i][1]);
        assert_null(strstr(error.message, "messages["));
        free(text);
        json_decref(body);
    }
}

// ---------------------------------------------------------------------------------------------
// What is remembered

// Puts a conversation of one message of `n` characters, and the assistant's.
static void put(api_responses_store *store, const char *id, int n) {
    json_t *messages = json_pack("[{s:o}]", "content", json_sprintf("%*s", n, id));
    json_t *turn = json_pack("{s:s}", "role", "assistant");
    base_str items = {0};
    base_str_adds(&items, "[]");
    api_responses_store_put(store, id, messages, turn, &items);
    base_str_free(&items);
    assert_int_equal(json_array_size(messages), 1); // it is the caller's
    json_decref(messages);
    json_decref(turn);
}

static bool has(api_responses_store *store, const char *id) {
    json_t *messages = api_responses_store_get(store, id);
    bool found = messages != NULL;
    if (found) {
        const char *text =
            json_string_value(json_object_get(json_array_get(messages, 0), "content"));
        assert_non_null(strstr(text, id));
        assert_int_equal(json_array_size(messages), 2);
        json_array_clear(messages); // it is a copy
    }
    json_decref(messages);
    return found;
}

static void the_least_recently_used_is_forgotten(void **state) {
    (void)state;
    enum { TEXT = 100 << 10 };
    api_responses_store *store = api_responses_store_create((size_t)(3.5 * TEXT));
    assert_false(has(store, "a"));
    put(store, "a", TEXT);
    put(store, "b", TEXT);
    put(store, "c", TEXT);
    assert_true(has(store, "a") && has(store, "c"));
    put(store, "d", TEXT); // "b" has not been asked for
    assert_false(has(store, "b"));
    assert_true(has(store, "a") && has(store, "c") && has(store, "d"));
    put(store, "e", 3 * TEXT); // in the place of all others
    assert_false(has(store, "a") || has(store, "c") || has(store, "d"));
    assert_true(has(store, "e"));
    put(store, "f", 4 * TEXT); // more than there is room for at all
    assert_true(has(store, "e"));
    assert_false(has(store, "f"));
    api_responses_store_free(store);
    api_responses_store_free(NULL);
}

// Even empty conversations take memory, and time to look through.
static void the_number_of_the_small_ones_is_bounded(void **state) {
    (void)state;
    enum { N = 2000, BYTES = 1 << 20 };
    api_responses_store *store = api_responses_store_create(BYTES);
    char id[16];
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "r%d", i);
        put(store, id, 1);
    }
    int kept = 0;
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "r%d", i);
        kept += has(store, id);
    }
    assert_in_range(kept, 1, 1000);
    assert_true(has(store, "r1999"));
    assert_false(has(store, "r0"));
    api_responses_store_free(store);
}

static void conversations_are_gone_on_with(void **state) {
    (void)state;
    api_responses_store *store = api_responses_store_create(1 << 20);
    api_responses_turn *turn;
    json_t *chat = translate(
        store, "{'input':'a','instructions':'for this turn','metadata':{'k':'v'}}", &turn);
    assert_non_null(strstr(turn->echo.data, "\"store\":true"));
    assert_non_null(strstr(turn->echo.data, "\"metadata\":{\"k\":\"v\"}"));
    json_t *answer = quoted_json("{'role':'assistant','content':'b'}");
    base_str items = {0};
    base_str_adds(&items, "[]");
    api_responses_store_put(store, "resp_1", turn->messages, answer, &items);
    base_str_free(&items);
    json_decref(answer);
    json_decref(chat);
    api_responses_turn_free(turn);

    static const char second[] =
        "{'input':[{'role':'user','content':'c'}],'previous_response_id':'resp_1','store':false}";
    chat = translate(store, second, &turn);
    expect_quoted_json(
        chat, "{'messages':[" SAID("'a'") ",{'role':'assistant','content':'b'}," SAID("'c'") "]}",
        second);
    assert_null(turn->messages);
    assert_non_null(strstr(turn->echo.data, "\"previous_response_id\":\"resp_1\""));
    api_responses_turn_free(turn);

    json_t *body = quoted_json("{'input':'c','previous_response_id':'resp_2'}");
    api_error error;
    assert_int_equal(api_responses_translate(store, &fixture.options, body, &chat, &turn, &error),
                     404);
    assert_string_equal(error.param, "previous_response_id");
    assert_true(!chat && !turn);
    json_decref(body);
    api_responses_store_free(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_become_messages),
        cmocka_unit_test(what_the_model_wrote_is_one_turn),
        cmocka_unit_test(fields_keep_their_meaning),
        cmocka_unit_test(errors_name_the_fields_of_the_request),
        cmocka_unit_test(the_least_recently_used_is_forgotten),
        cmocka_unit_test(the_number_of_the_small_ones_is_bounded),
        cmocka_unit_test(conversations_are_gone_on_with),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
