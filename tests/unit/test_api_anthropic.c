// /v1/messages: its bodies become those of chats, its replies are made of the same pieces, and its
// errors name its own fields.
#include "answer_bench.h"
#include "api/anthropic.h"
#include "quoted_json.h"

#define HI "'messages':[{'role':'user','content':'hi'}]"
#define MAX "'max_tokens':9,"
#define SAID(content) "{'role':'user','content':" content "}"
#define TOLD(content) "{'role':'assistant','content':" content "}"

// ---------------------------------------------------------------------------------------------
// Bodies

static json_t *translate(const char *text, bool counting) {
    json_t *body = quoted_json(text), *chat;
    api_error error = {0};
    if (api_anthropic_translate(&chat, body, counting, &error))
        fail_msg("%s\n%s", text, error.message);
    json_decref(body);
    return chat;
}

static void expect_chat(const char *body, const char *expected) {
    expect_quoted_json(translate(body, false), expected, body);
}

static void expect_messages(const char *messages, const char *expected) {
    base_str body = {0}, want = {0};
    base_str_printf(&body, "{" MAX "'messages':[%s]}", messages);
    base_str_printf(&want, "{'max_tokens':9,'messages':[%s]}", expected);
    expect_chat(body.data, want.data);
    base_str_free(&body);
    base_str_free(&want);
}

static void fields_keep_their_meaning(void **state) {
    (void)state;
    expect_chat("{" MAX HI "}", "{'max_tokens':9,'messages':[" SAID("['hi']") "]}");
    expect_chat("{'model':'m',"
                "'stream':true,'temperature':0.5,'top_k':3,'top_p':0.5,'stop_sequences':['a','b'],"
                "'metadata':{'user_id':'u'},'service_tier':'auto','cache_control':{'type':"
                "'ephemeral'},'betas':['x'],'tools':[],'tool_choice':{'type':'auto'}," MAX HI "}",
                "{'model':'m','stream':true,'temperature':0.5,'top_k':3,'top_p':0.5,"
                "'stop':['a','b'],'max_tokens':9,'messages':[" SAID("['hi']") "]}");
    // What is null is absent.
    expect_chat("{'stop_sequences':null,'system':null,'tools':null,'tool_choice':null,"
                "'thinking':null,'output_config':null,'mcp_servers':null," MAX HI "}",
                "{'max_tokens':9,'messages':[" SAID("['hi']") "]}");
    json_decref(translate("{" HI "}", true));
}

static void system_texts_lose_their_nonces(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"'be brief'", "['be brief']"},
        {"[{'type':'text','text':'a','cache_control':{'type':'ephemeral'}},"
         "{'type':'text','text':'b'}]",
         "['a','b']"},
        {"[{'type':'text','text':'x-anthropic-billing-header: cc_version=2.1; cch=01234;'},"
         "{'type':'text','text':'You are Claude Code.'}]",
         "['You are Claude Code.']"},
        {"'X-Anthropic-Billing-Header: cch=5\\n\\nYou are.\\nx-anthropic-billing-header: no'",
         "['You are.\\nx-anthropic-billing-header: no']"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str body = {0}, want = {0};
        base_str_printf(&body, "{" MAX HI ",'system':%s}", cases[i][0]);
        base_str_printf(
            &want,
            "{'max_tokens':9,'messages':[{'role':'system','content':%s}," SAID("['hi']") "]}",
            cases[i][1]);
        expect_chat(body.data, want.data);
        base_str_free(&body);
        base_str_free(&want);
    }
    static const char *const nothing[] = {"''", "[]", "'x-anthropic-billing-header: cch=1'",
                                          "[{'type':'text','text':''}]"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        base_str body = {0};
        base_str_printf(&body, "{" MAX HI ",'system':%s}", nothing[i]);
        expect_chat(body.data, "{'max_tokens':9,'messages':[" SAID("['hi']") "]}");
        base_str_free(&body);
    }
    expect_messages(SAID("'a'") ",{'role':'system','content':'now b'}," SAID("'c'"),
                    SAID("['a']") ",{'role':'system','content':['now b']}," SAID("['c']"));
}

#define CALL(id, input)                                                                            \
    "{'id':" id ",'type':'function','function':{'name':'f','arguments':" input "}}"
#define RESULT(id, content) "{'role':'tool','tool_call_id':" id ",'content':" content "}"
#define TEXT(text) "{'type':'text','text':" text "}"
#define USE(id, input) "{'type':'tool_use','id':" id ",'name':'f','input':" input "}"
#define THINK(text) "{'type':'thinking','thinking':" text ",'signature':'s'}"

static void blocks_become_messages(void **state) {
    (void)state;
    expect_messages(SAID("[" TEXT("'a'") "," TEXT("'b'") "]"),
                    SAID("[" TEXT("'a'") "," TEXT("'b'") "]"));
    expect_messages(SAID("[]") "," SAID("''") "," SAID("'c'"),
                    SAID("[]") "," SAID("['']") "," SAID("['c']"));
    // Results stand where they are among a user's texts.
    expect_messages(
        SAID("'go'") "," TOLD(
            "[" THINK("'hm'") "," TEXT("'ok'") "," USE("'1'", "{'x':[1,2]}") "," USE(
                "'2'", "{}") "]") "," SAID("[{'type':'tool_result','tool_use_id':'1','"
                                           "content':'r'},"
                                           "{'type':'tool_result','id':'2','content':"
                                           "[" TEXT("'s'") "," TEXT("'t'") "]}," TEXT(
                                               "'next'") "," TEXT("'?'") "]"),
        SAID("['go']") ",{'role':'assistant','content':[" TEXT(
            "'ok'") "],'reasoning_content':'hm',"
                    "'tool_calls':[" CALL("'1'", "{'x':[1,2]}") "," CALL("'2'", "{}") "]}," RESULT(
                        "'1'",
                        "['r']") "," RESULT("'2'",
                                            "[" TEXT("'s'") "," TEXT(
                                                "'t'") "]") "," SAID("[" TEXT("'next'") "," TEXT("'"
                                                                                                 "?"
                                                                                                 "'") "]"));
    // An assistant's messages in a row are one turn, until it thinks anew.
    expect_messages(
        SAID("'go'") "," TOLD("[" THINK("'a'") "]") "," TOLD("[" THINK("'b'") "]") "," TOLD("'c'") "," TOLD(
            "[" USE("'1'", "{}") "]") "," TOLD("[" THINK("''") "," TEXT("'d'") "]") "," SAID("'e'"),
        SAID("['go']") ",{'role':'assistant','content':['c'],'reasoning_content':'ab',"
                       "'tool_calls':[" CALL(
                           "'1'", "{}") "]},"
                                        "{'role':'assistant','content':[" TEXT(
                                            "'d'") "],'reasoning_content':''}," SAID("['e']"));
    expect_messages(
        SAID("'a'") "," TOLD("[{'type':'redacted_thinking','data':'x'}]") "," SAID("'b'"),
        SAID("['a']") "," TOLD("[]") "," SAID("['b']"));
}

static void results_say_what_became_of_calls(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "[]"},
        {",'content':''", "['']"},
        {",'is_error':true", "['Error']"},
        {",'content':'','is_error':true", "['','Error']"},
        {",'content':[],'is_error':true", "['Error']"},
        {",'content':'no such file','is_error':true", "['no such file']"},
        {",'content':[{'type':'tool_reference','tool_name':'grep'}]",
         "[{'type':'text','text':'The tool grep is available.\\n'}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str messages = {0}, want = {0};
        base_str_printf(&messages, SAID("[{'type':'tool_result','tool_use_id':'1'%s}]"),
                        cases[i][0]);
        base_str_printf(&want, RESULT("'1'", "%s"), cases[i][1]);
        expect_messages(messages.data, want.data);
        base_str_free(&messages);
        base_str_free(&want);
    }
}

static void a_last_turn_of_the_assistant_goes_on(void **state) {
    (void)state;
    expect_chat(
        "{" MAX "'messages':[" SAID("'a'") "," TOLD("'The answer is ('") "]}",
        "{'max_tokens':9,'messages':[" SAID("['a']") "," TOLD(
            "['The answer is (']") "],"
                                   "'add_generation_prompt':false,'continue_final_message':true}");
}

static void tools_are_functions(void **state) {
    (void)state;
#define TOOL                                                                                       \
    "{'name':'f','description':'d','input_schema':{'type':'object'},'strict':true,"                \
    "'cache_control':{'type':'ephemeral'},'defer_loading':true}"
#define FUNCTION                                                                                   \
    "{'type':'function','function':{'name':'f','description':'d',"                                 \
    "'parameters':{'type':'object'},'strict':true}}"
    static const char *const choices[][2] = {
        {"{'type':'auto'}", "'tool_choice':'auto'"},
        {"{'type':'any'}", "'tool_choice':'required'"},
        {"{'type':'none'}", "'tool_choice':'none'"},
        {"{'type':'tool','name':'f'}", "'tool_choice':{'type':'function','function':{'name':'f'}}"},
        {"{'type':'auto','disable_parallel_tool_use':true}",
         "'tool_choice':'auto','parallel_tool_calls':false"},
        {"{'type':'any','disable_parallel_tool_use':false}", "'tool_choice':'required'"},
    };
    expect_chat("{" MAX HI ",'tools':[" TOOL ",{'type':'custom','name':'g','input_schema':{}}]}",
                "{'max_tokens':9,'messages':[" SAID(
                    "['hi']") "],'tools':[" FUNCTION
                              ",{'type':'function','function':{'name':'g','parameters':{}}}]}");
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        base_str body = {0}, want = {0};
        base_str_printf(&body, "{" MAX HI ",'tools':[" TOOL "],'tool_choice':%s}", choices[i][0]);
        base_str_printf(
            &want, "{'max_tokens':9,'messages':[" SAID("['hi']") "],'tools':[" FUNCTION "],%s}",
            choices[i][1]);
        expect_chat(body.data, want.data);
        base_str_free(&body);
        base_str_free(&want);
    }
}

static void thoughts_and_forms_are_asked_for(void **state) {
    (void)state;
#define SCHEMA "{'type':'json_schema','schema':{'type':'object'}}"
#define FORMAT                                                                                     \
    "'response_format':{'type':'json_schema','json_schema':{'name':'output',"                      \
    "'schema':{'type':'object'},'strict':true}}"
    static const char *const cases[][2] = {
        {"'thinking':{'type':'enabled','budget_tokens':1024}", ",'thinking_token_budget':1024"},
        {"'thinking':{'type':'enabled','budget_tokens':1,'display':'summarized'}",
         ",'thinking_token_budget':1"},
        {"'thinking':{'type':'disabled'}", ",'thinking':false"},
        {"'thinking':{'type':'adaptive'}", ""},
        {"'thinking':{'type':'adaptive','display':'omitted'}", ",'include_reasoning':false"},
        {"'output_config':{'effort':'low'}", ",'reasoning_effort':'low'"},
        {"'output_config':{'format':" SCHEMA "}", "," FORMAT},
        {"'output_format':" SCHEMA, "," FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str body = {0}, want = {0};
        base_str_printf(&body, "{" MAX HI ",%s}", cases[i][0]);
        base_str_printf(&want, "{'max_tokens':9,'messages':[" SAID("['hi']") "]%s}", cases[i][1]);
        expect_chat(body.data, want.data);
        base_str_free(&body);
        base_str_free(&want);
    }
}

// ---------------------------------------------------------------------------------------------
// Errors

static void fields_of_the_chat_are_renamed(void **state) {
    (void)state;
    static const struct {
        const char *param, *message, *want_param, *want_message;
    } cases[] = {
        {"stop[2]", "stop[2]: must not be empty", "stop_sequences",
         "stop_sequences: must not be empty"},
        {"tools[3].function.parameters.properties.x", "tools[3].function.parameters: bad",
         "tools.3.input_schema.properties.x",
         "tools.3.input_schema.properties.x: tools[3].function.parameters: bad"},
        // Long paths are cut where they are a field's name, but not in the message.
        {"tools[3].function.parameters.items", "tools[3].function.parameters.items.type: bad",
         "tools.3.input_schema.items", "tools.3.input_schema.items.type: bad"},
        {"tools[0].function.name", "tools[0].function.name: must be short", "tools.0.name",
         "tools.0.name: must be short"},
        {"tool_choice.function.name", "tool_choice.function.name: is no tool", "tool_choice.name",
         "tool_choice.name: is no tool"},
        {"tool_choice", "tool_choice: needs tools", "tool_choice", "tool_choice: needs tools"},
        {"thinking_token_budget", "thinking_token_budget: too much", "thinking.budget_tokens",
         "thinking.budget_tokens: too much"},
        {"messages[7].tool_calls[0].id", "messages[7].tool_calls[0].id: is missing", "messages",
         "messages: is missing"},
        {"response_format.json_schema.schema", "response_format.json_schema.schema: cyclic",
         "output_config.format", "output_config.format: cyclic"},
        {"", "The body is not valid JSON", "", "The body is not valid JSON"},
        {"model", "The model `x` does not exist.", "model", "model: The model `x` does not exist."},
        {"messages", "This model's maximum context length is 9 tokens", "messages",
         "prompt is too long: This model's maximum context length is 9 tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        api_error e;
        api_fail(&e, 400, cases[i].param, "%s", cases[i].message);
        api_anthropic_rename(&e, true);
        assert_string_equal(e.param, cases[i].want_param);
        assert_string_equal(e.message, cases[i].want_message);
    }
    api_error e;
    api_fail(&e, 400, "messages[7].content[1].text", "messages[7].content[1].text: is missing");
    api_anthropic_rename(&e, false);
    assert_string_equal(e.message, "messages.7.content.1.text: is missing");
    assert_string_equal(e.param, "messages.7.content.1.text");
}

static void errors_have_types(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *type;
    } cases[] = {{400, "invalid_request_error"},
                 {401, "authentication_error"},
                 {404, "not_found_error"},
                 {405, "invalid_request_error"},
                 {413, "request_too_large"},
                 {415, "invalid_request_error"},
                 {429, "rate_limit_error"},
                 {500, "api_error"},
                 {501, "api_error"},
                 {503, "overloaded_error"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        api_error e;
        base_str out = {0}, want = {0};
        api_fail(&e, cases[i].status, "x", "say \"why\"");
        api_anthropic_print_error(&e, i == 0 ? NULL : "r1", &out);
        base_str_printf(&want,
                        "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"say "
                        "\\\"why\\\"\"},\"request_id\":%s}",
                        cases[i].type, i == 0 ? "null" : "\"r1\"");
        assert_string_equal(out.data, want.data);
        base_str_free(&out);
        base_str_free(&want);
    }
}

static void paths_are_told_apart(void **state) {
    (void)state;
    static const char *const good[] = {"/v1/messages", "/v1/messages/count_tokens",
                                       "/v1/messages/"};
    static const char *const bad[] = {"/v1/message", "/v1/messagesx", "/v1/chat/completions", ""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(api_anthropic_is_path(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(api_anthropic_is_path(bad[i], strlen(bad[i])));
}

// ---------------------------------------------------------------------------------------------
// Replies

static void set_up_messages(void) {
    set_up(API_CHAT);
    b.call.dialect = API_ANTHROPIC;
    strcpy(b.call.id, "msg_1");
}

#define HEAD "{'id':'msg_1','type':'message','role':'assistant','model':'kimi','content':["
#define MESSAGE_USAGE(output, thinking)                                                            \
    "'usage':{'input_tokens':1,'output_tokens':" #output ",'cache_creation_input_tokens':0,"       \
    "'cache_read_input_tokens':1,'output_tokens_details':{'thinking_tokens':" #thinking "}}"
#define TOOL_USE(index, input)                                                                     \
    "{'type':'tool_use','id':'functions.f:" #index "','name':'f','input':" input "}"
#define SECTION(calls) "<|tool_calls_section_begin|>" calls "<|tool_calls_section_end|>"
#define WRITTEN(id, arguments)                                                                     \
    "<|tool_call_begin|>" id "<|tool_call_argument_begin|>" arguments "<|tool_call_end|>"

static void expect_whole(const char *expected) {
    expect_text(play(false, FIXTURE_ALL_AT_ONCE, 1), expected, "\x01");
}

// `events`: up to NULL, between those that begin and end every stream.
static void expect_events(const char *const *events) {
    base_str want = {0};
    base_str_adds(&want, "event: message_start\ndata: {'type':'message_start','message':" HEAD
                         "],'stop_reason':null,'stop_sequence':null,'usage':{'input_tokens':2,"
                         "'output_tokens':0,'cache_creation_input_tokens':0,"
                         "'cache_read_input_tokens':0}}}\n"
                         "event: ping\ndata: {'type':'ping'}\n");
    for (; *events; events++)
        base_str_adds(&want, *events);
    base_str_adds(&want, "event: message_stop\ndata: {'type':'message_stop'}\n");
    expect_text(play(true, FIXTURE_ALL_AT_ONCE, 1), want.data, "\x01");
    base_str_free(&want);
}

#define EXPECT_EVENTS(...) expect_events((const char *const[]){__VA_ARGS__, NULL})
#define EVENT(name, rest) "event: " name "\ndata: {'type':'" name "'" rest "}\n"
#define START(index, block)                                                                        \
    EVENT("content_block_start", ",'index':" #index ",'content_block':" block)
#define CHANGE(index, type, field, text)                                                           \
    EVENT("content_block_delta",                                                                   \
          ",'index':" #index ",'delta':{'type':'" type "','" field "':'" text "'}")
#define STOP(index) EVENT("content_block_stop", ",'index':" #index)
#define END_TURN(reason, sequence, output, thinking)                                               \
    EVENT("message_delta", ",'delta':{'stop_reason':'" reason "','stop_sequence':" sequence        \
                           "}," MESSAGE_USAGE(output, thinking))

static void answers_are_lists_of_blocks(void **state) {
    (void)state;
    set_up_messages();
    sample_text(0, 0, "<think>h</think>\"H");
    end_with_eos(0, 0);
    expect_whole(HEAD "{'type':'thinking','thinking':'h','signature':'msg_1'},"
                      "{'type':'text','text':'\\'H'}],'stop_reason':'end_turn',"
                      "'stop_sequence':null," MESSAGE_USAGE(6, 3) "}");
    EXPECT_EVENTS(START(0, "{'type':'thinking','thinking':'','signature':''}"),
                  CHANGE(0, "thinking_delta", "thinking", "h"),
                  CHANGE(0, "signature_delta", "signature", "msg_1"), STOP(0),
                  START(1, "{'type':'text','text':''}"), CHANGE(1, "text_delta", "text", "\\'"),
                  CHANGE(1, "text_delta", "text", "H"), STOP(1),
                  END_TURN("end_turn", "null", 6, 3));
    set_up_messages();
    end_with_eos(0, 0);
    expect_whole(HEAD "],'stop_reason':'end_turn','stop_sequence':null," MESSAGE_USAGE(1, 0) "}");
    EXPECT_EVENTS(END_TURN("end_turn", "null", 1, 0));
}

#define INPUT(index, json) CHANGE(index, "input_json_delta", "partial_json", json)

static void calls_are_blocks(void **state) {
    (void)state;
    set_up_messages();
    set_tools(0);
    sample_text(0, 0, "<think></think>L<|tool_calls_section_begin|>");
    sample_text(0, 0, WRITTEN("functions.f:0", "{\""));
    sample_text(0, 0, WRITTEN("functions.f:1", "7"));
    sample_text(0, 0, WRITTEN("functions.f:2", ""));
    end_with_eos(0, 0);
    static const char content[] = "{'type':'text','text':'L'}," TOOL_USE(
        0, "{'arguments':'{\\''}") "," TOOL_USE(1, "{'arguments':'7'}") "," TOOL_USE(2, "{}");
    base_str want = {0};
    base_str_printf(&want, HEAD "%s],'stop_reason':'tool_use','stop_sequence':null,%s}", content,
                    MESSAGE_USAGE(31, 2));
    expect_whole(want.data);
    base_str_free(&want);
    EXPECT_EVENTS(START(0, "{'type':'text','text':''}"), CHANGE(0, "text_delta", "text", "L"),
                  STOP(0), START(1, TOOL_USE(0, "{}")), INPUT(1, "{\\'"), STOP(1),
                  START(2, TOOL_USE(1, "{}")), INPUT(2, "{\\'arguments\\':\\'"), INPUT(2, "7"),
                  INPUT(2, "\\'}"), STOP(2), START(3, TOOL_USE(2, "{}")), INPUT(3, "{}"), STOP(3),
                  END_TURN("tool_use", "null", 31, 2));
}

// Inputs must be objects, whatever the model wrote.
static void inputs_are_objects(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "{}"},
        {"{\"a\":1.50}", "{'a':1.50}"},
        {"[1]", "{'arguments':'[1]'}"},
        {"\"x\"", "{'arguments':'\\'x\\''}"},
        {"ls \"-l\" \\", "{'arguments':'ls \\'-l\\' \\\\'}"},
        {"{\"a\":1", "{'arguments':'{\\'a\\':1'}"},
        {"{\"a\":1,\"a\":2}", "{'arguments':'{\\'a\\':1,\\'a\\':2}'}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str output = {0}, want = {0};
        set_up_messages();
        set_tools(0);
        base_str_printf(&output, "<think></think>" SECTION(WRITTEN("functions.f:0", "%s")),
                        cases[i][0]);
        sample_text(0, 0, output.data);
        finish(0, 0, ENGINE_FINISH_LENGTH);
        base_str_printf(&want, HEAD TOOL_USE(0, "%s") "],'stop_reason':'max_tokens'", cases[i][1]);
        const char *text = play(false, FIXTURE_ALL_AT_ONCE, 1);
        base_str got = {0};
        base_str_adds(&got, text);
        for (size_t k = 0; k < got.len; k++)
            got.data[k] = got.data[k] == '"' ? '\'' : got.data[k];
        if (strncmp(got.data, want.data, want.len) != 0)
            fail_msg("\n%s\ninstead of\n%s", got.data, want.data);
        base_str_free(&got);
        base_str_free(&output);
        base_str_free(&want);
    }
}

static void ends_have_reasons(void **state) {
    (void)state;
    set_up_messages();
    add_stop("XX");
    sample_text(0, 0, "<think></think>aXXb");
    finish(0, 0, ENGINE_FINISH_ABORT);
    expect_whole(HEAD "{'type':'text','text':'a'}],'stop_reason':'stop_sequence',"
                      "'stop_sequence':'XX'," MESSAGE_USAGE(5, 2) "}");
    set_up_messages();
    sample_text(0, 0, "<think>a");
    finish(0, 0, ENGINE_FINISH_LENGTH);
    expect_whole(HEAD "{'type':'thinking','thinking':'a','signature':'msg_1'}],"
                      "'stop_reason':'max_tokens','stop_sequence':null," MESSAGE_USAGE(2, 2) "}");
}

static void errors_end_streams(void **state) {
    (void)state;
    set_up_messages();
    sample_text(0, 0, "<think>a");
    finish(0, 0, ENGINE_FINISH_ERROR);
    play(true, FIXTURE_ALL_AT_ONCE, 1);
    assert_non_null(strstr(b.out.data, "event: message_start\n"));
    const char *end = strstr(b.out.data, "event: error\n");
    assert_non_null(end);
    assert_string_equal(end, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                             "\"api_error\",\"message\":\"the model is \\\"tired\\\"\"},"
                             "\"request_id\":\"1\"}\n\n");
    set_up_messages();
    finish(0, 0, ENGINE_FINISH_ERROR);
    assert_int_equal(strncmp(play(true, FIXTURE_ALL_AT_ONCE, 1), "event: error\n", 13), 0);
}

// ---------------------------------------------------------------------------------------------
// The stream of any grouping is the whole reply

// Puts the events of a stream together as clients do.
static json_t *join(const char *events) {
    json_t *message = NULL;
    base_str texts[8] = {0};
    for (const char *at = events; (at = strstr(at, "data: ")) != NULL;) {
        const char *end = strstr(at, "\n\n");
        json_t *e = json_loadb(at + 6, (size_t)(end - at) - 6, JSON_ALLOW_NUL, NULL);
        assert_non_null(e);
        const char *type = json_string_value(json_object_get(e, "type"));
        json_t *delta = json_object_get(e, "delta"), *content = json_object_get(message, "content");
        size_t index = (size_t)json_integer_value(json_object_get(e, "index"));
        if (strcmp(type, "message_start") == 0) {
            message = json_incref(json_object_get(e, "message"));
        } else if (strcmp(type, "content_block_start") == 0) {
            assert_int_equal(index, json_array_size(content));
            json_array_append(content, json_object_get(e, "content_block"));
        } else if (strcmp(type, "content_block_delta") == 0) {
            assert_int_equal(index, json_array_size(content) - 1);
            static const char *const fields[] = {"text", "thinking", "signature", "partial_json"};
            json_t *block = json_array_get(content, index);
            for (int i = 0; i < 4; i++) {
                const char *piece = json_string_value(json_object_get(delta, fields[i]));
                if (piece && i == 2)
                    json_object_set(block, "signature", json_object_get(delta, "signature"));
                else if (piece)
                    base_str_adds(&texts[index], piece);
            }
        } else if (strcmp(type, "content_block_stop") == 0) {
            json_t *block = json_array_get(content, index);
            const char *kind = json_string_value(json_object_get(block, "type"));
            if (strcmp(kind, "tool_use") != 0)
                json_object_set_new(block, kind, json_string(texts[index].data));
            else if (texts[index].len > 0)
                json_object_set_new(block, "input", json_loads(texts[index].data, 0, NULL));
            base_str_free(&texts[index]);
        } else if (strcmp(type, "message_delta") == 0) {
            json_object_update(message, delta);
            json_object_set(message, "usage", json_object_get(e, "usage"));
        }
        json_decref(e);
        at = end;
    }
    return message;
}

static void streams_are_whole_replies(void **state) {
    (void)state;
    static const char *const outputs[] = {
        "<think>Hm \xe2\x82\xac</think>Hello, \xf0\x9f\x8e\x89 world",
        "no thought at all",
        "<think>one<|tool_calls_section_begin|>" WRITTEN("functions.g:0", "{\"k\":\"v\\n\"}"),
        "<think>a</think>b" SECTION(WRITTEN("functions.f:0", "{}") WRITTEN(
            "functions.g:1", "[1, 2]")) "c" SECTION(WRITTEN("functions.f:2", "")
                                                        WRITTEN("functions.f:3", "a \"b\" \\ c")),
        "<think></think>" SECTION(WRITTEN("functions.f:0", "\xe2\x82\xac")),
    };
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        set_up_messages();
        set_tools(0);
        sample_text(0, 0, outputs[i]);
        end_with_eos(0, 0);
        json_t *whole = json_loads(play(false, FIXTURE_ALL_AT_ONCE, 0), 0, NULL);
        assert_non_null(whole);
        for (uint32_t seed = 0; seed < 12; seed++) {
            json_t *joined = join(play(true, seed < 3 ? (fixture_cut)seed : FIXTURE_RANDOM, seed));
            if (!json_equal(whole, joined))
                fail_msg("\n%s\nbut streamed\n%s", json_dumps(whole, JSON_COMPACT),
                         json_dumps(joined, JSON_COMPACT));
            json_decref(joined);
        }
        json_decref(whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_keep_their_meaning),
        cmocka_unit_test(system_texts_lose_their_nonces),
        cmocka_unit_test(blocks_become_messages),
        cmocka_unit_test(results_say_what_became_of_calls),
        cmocka_unit_test(a_last_turn_of_the_assistant_goes_on),
        cmocka_unit_test(tools_are_functions),
        cmocka_unit_test(thoughts_and_forms_are_asked_for),
        cmocka_unit_test(fields_of_the_chat_are_renamed),
        cmocka_unit_test(errors_have_types),
        cmocka_unit_test(paths_are_told_apart),
        cmocka_unit_test(answers_are_lists_of_blocks),
        cmocka_unit_test(calls_are_blocks),
        cmocka_unit_test(inputs_are_objects),
        cmocka_unit_test(ends_have_reasons),
        cmocka_unit_test(errors_end_streams),
        cmocka_unit_test(streams_are_whole_replies),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
