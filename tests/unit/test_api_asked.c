// Tools, forms of answers and thinking in requests: what is made of them.
#include "api/tokenize.h"
#include "api_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
#define TOOL(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"
#define TOOLS "\"tools\":[" TOOL("f") "," TOOL("g") "]"
#define FORM                                                                                       \
    "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":"         \
    "\"boolean\"}}}"

static api_fixture fixture;
static api_options options; // of the next request
static api_error error;

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

static int reset(void **state) {
    (void)state;
    options = fixture.options;
    options.log_requests = true; // prompts have their texts
    return 0;
}

static api_call *parse(api_kind kind, const char *fields) {
    api_call *c;
    base_str body = {0};
    base_str_printf(&body, "{%s%s%s}", kind == API_CHAT ? MESSAGES : "\"prompt\":\"a\"",
                    *fields ? "," : "", fields);
    api_call_parse(&c, kind, &options, body.data, body.len, "1", &error);
    base_err err;
    if (c && api_fixture_admit(&options, c, &err))
        fail_msg("%s: %s", fields, err.message);
    base_str_free(&body);
    return c;
}

static api_call *accepted(const char *fields) {
    api_call *c = parse(API_CHAT, fields);
    if (!c)
        fail_msg("%s: %s", fields, error.message);
    return c;
}

static void refused(const char *fields, int status, const char *param) {
    api_call *c = parse(API_CHAT, fields);
    if (c || error.status != status || strcmp(error.param, param) != 0)
        fail_msg("%s: %d %s: %s", fields, error.status, error.param, error.message);
}

static bool shows(const api_call *c, const char *text) {
    return strstr(c->prompts->text.data, text) != NULL;
}

// Whether the ids that frame calls cannot be sampled.
static bool bans_calls(const api_call *c) {
    int n;
    const int32_t *markers = chat_tool_markers(fixture.chat, &n);
    for (int i = 0; i < c->params.n_bad_words; i++)
        if (c->params.bad_word_lens[i] == 1 && c->params.bad_words[i][0] == markers[0])
            return true;
    return false;
}

typedef enum { SHOWN = 1, PARSED = 2, BANNED = 4, HELD = 8, NAMED = 16, ONE = 32 } traits;

static unsigned traits_of(const char *fields) {
    api_call *c = accepted(fields);
    unsigned t = 0;
    t |= shows(c, "tool_declare") ? SHOWN : 0;
    t |= c->calls ? PARSED : 0;
    t |= bans_calls(c) ? BANNED : 0;
    t |= c->grammar ? HELD : 0;
    t |= c->named_tool ? NAMED : 0;
    t |= c->one_call ? ONE : 0;
    assert_ptr_equal(c->params.grammar, c->grammar);
    api_call_free(c);
    return t;
}

static void test_choices(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        unsigned traits;
    } cases[] = {
        {"", BANNED},
        {"\"tool_choice\":\"none\"", BANNED},
        {"\"tools\":null,\"tool_choice\":null", BANNED},
        {TOOLS, SHOWN | PARSED | HELD},
        {TOOLS ",\"tool_choice\":\"auto\"", SHOWN | PARSED | HELD},
        {TOOLS ",\"tool_choice\":\"none\"", SHOWN | BANNED},
        {TOOLS ",\"tool_choice\":\"required\"", SHOWN | PARSED | HELD},
        {TOOLS ",\"tool_choice\":" TOOL("g"), SHOWN | PARSED | HELD | NAMED | ONE},
        {TOOLS ",\"parallel_tool_calls\":false", SHOWN | PARSED | HELD | ONE},
        {TOOLS "," FORM, SHOWN | PARSED | HELD},
        {TOOLS ",\"tool_choice\":\"required\"," FORM, SHOWN | PARSED | HELD},
        {FORM, BANNED | HELD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (traits_of(cases[i].fields) != cases[i].traits)
            fail_msg("%s: %u", cases[i].fields, traits_of(cases[i].fields));
}

static void test_flags(void **state) {
    (void)state;
    static const char strict[] = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                                 "\"strict\":true}}]";
    options.exclude_tools = true;
    assert_int_equal(traits_of(TOOLS ",\"tool_choice\":\"none\""), BANNED);
    assert_int_equal(traits_of(TOOLS), SHOWN | PARSED | HELD);
    options.enforce_tools = false;
    assert_int_equal(traits_of(TOOLS), SHOWN | PARSED);
    assert_int_equal(traits_of(strict), SHOWN | PARSED | HELD);
    assert_int_equal(traits_of(TOOLS ",\"tool_choice\":\"required\""), SHOWN | PARSED | HELD);
    options.tool_parser = false;
    assert_int_equal(traits_of(TOOLS), SHOWN);
    refused(TOOLS ",\"tool_choice\":\"required\"", 400, "tool_choice");
    refused(TOOLS ",\"tool_choice\":" TOOL("f"), 400, "tool_choice");
    reset(NULL);
    options.grammar = NULL; // nothing can be constrained
    assert_int_equal(traits_of(TOOLS), SHOWN | PARSED);
    refused(strict, 501, "tools");
    refused(TOOLS ",\"tool_choice\":\"required\"", 501, "tool_choice");
    refused(FORM, 501, "response_format");
    refused("\"thinking_token_budget\":3", 501, "thinking_token_budget");
}

// The list as it came, compact and sorted; names and ids of the history as the model knows them.
static void test_prompt(void **state) {
    (void)state;
    api_call *c = accepted("\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":{\"b\":"
                           "1.0,\"a\":\"\\u00e9\"},\"name\":\"f\"}}],\"tool_choice\":\"none\"");
    assert_true(shows(c, "<|im_system|>tool_declare<|im_middle|>[{\"function\":{\"name\":\"f\","
                         "\"parameters\":{\"a\":\"\xc3\xa9\",\"b\":1.0}},\"type\":\"function\"}]"
                         "<|im_end|>"));
    api_call_free(c);
}

static bool starts_in_answer(const api_call *c) {
    return chat_output_begin(fixture.chat, c->prompts->ids.data, c->prompts->ids.len) ==
           CHAT_IN_ANSWER;
}

static void test_thinking(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        bool off;
    } cases[] = {
        {"\"thinking\":true", false},
        {"\"thinking\":false", true},
        {"\"thinking\":{\"type\":\"enabled\"}", false},
        {"\"thinking\":{\"type\":\"disabled\",\"budget_tokens\":5}", true},
        {"\"enable_thinking\":\"FALSE\"", true},
        {"\"enable_thinking\":1", false},
        {"\"enable_thinking\":0", true},
        {"\"chat_template_kwargs\":{\"thinking\":\"true\"}", false},
        {"\"chat_template_kwargs\":{\"thinking\":\"0\"}", true},
        {"\"chat_template_kwargs\":{\"enable_thinking\":false,\"thinking\":true}", true},
        {"\"chat_template_kwargs\":{\"thinking\":null,\"other\":[]}", false},
        {"\"reasoning_effort\":\"none\"", true},
        {"\"reasoning_effort\":\"max\"", false},
        {"\"reasoning_effort\":\"none\",\"thinking_token_budget\":-1", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        api_call *c = accepted(cases[i].fields);
        if (starts_in_answer(c) != cases[i].off)
            fail_msg("%s", cases[i].fields);
        assert_null(c->grammar); // no budget of a thought that will not be, or is not bounded
        api_call_free(c);
    }
}

static void test_budgets(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        bool held;
    } cases[] = {
        {"\"thinking_token_budget\":0", true},
        {"\"thinking_token_budget\":-1", false},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":7}", true},
        {"\"thinking\":{\"budget_tokens\":7},\"thinking_token_budget\":-1", false},
        {"\"reasoning_effort\":\"minimal\"", true},
        {"\"reasoning_effort\":\"medium\"", true},
        {"\"reasoning_effort\":\"high\"", false},
        {"\"reasoning_effort\":\"low\",\"thinking_token_budget\":-1", false},
        {"\"reasoning_effort\":\"low\",\"enable_thinking\":false", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if ((traits_of(cases[i].fields) & HELD) != (cases[i].held ? HELD : 0))
            fail_msg("%s", cases[i].fields);
    options.reasoning_parser = false; // a hint is no more than that, a number is
    assert_int_equal(traits_of("\"reasoning_effort\":\"low\""), BANNED);
    refused("\"thinking_token_budget\":3", 400, "thinking_token_budget");
}

static void test_forms(void **state) {
    (void)state;
    static const char *const forms[] = {
        FORM,
        "\"response_format\":{\"type\":\"json_object\"}",
        "\"structured_outputs\":{\"json\":{\"type\":\"null\"}}",
        "\"structured_outputs\":{\"json\":\"{\\\"type\\\":\\\"null\\\"}\"}",
        "\"structured_outputs\":{\"regex\":\"a+\"}",
        "\"structured_outputs\":{\"choice\":[\"a\",\"b\"],\"disable_any_whitespace\":true}",
        "\"structured_outputs\":{\"json_object\":true,\"json\":null}",
        "\"response_format\":{\"type\":\"text\"},\"structured_outputs\":{\"regex\":\"a\"}",
    };
    for (api_kind kind = API_COMPLETION; kind <= API_CHAT; kind++) {
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            api_call *c = parse(kind, forms[i]);
            if (!c || !c->grammar)
                fail_msg("%s: %s", forms[i], error.message);
            api_call_free(c);
        }
        api_call *c = parse(kind, "\"response_format\":{\"type\":\"text\"}");
        assert_true(c && !c->grammar);
        api_call_free(c);
    }
}

#define SCHEMA(schema)                                                                             \
    "\"tools\":[" TOOL(                                                                            \
        "a") ",{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":" schema "%s}}]"

// What is not understood is relaxed where the model chooses its calls, and refused elsewhere.
static void test_unknown_keywords(void **state) {
    (void)state;
    static const char fields[] = SCHEMA("{\"type\":\"object\",\"minContains\":1}");
    char plain[512], strict[512], all[600];
    snprintf(plain, sizeof plain, fields, "");
    snprintf(strict, sizeof strict, fields, ",\"strict\":true");
    api_call *c = accepted(plain);
    assert_non_null(c->grammar);
    assert_true(c->relaxed.len > 0 && strstr(c->relaxed.data, "minContains"));
    assert_int_equal(strncmp(c->relaxed.data, "tools[1].function.parameters", 28), 0);
    api_call_free(c);
    refused(strict, 400, "tools[1].function.parameters.minContains");
    snprintf(all, sizeof all, "%s,\"tool_choice\":\"required\"", plain);
    refused(all, 400, "tools[1].function.parameters.minContains");
    snprintf(all, sizeof all, "%s,\"tool_choice\":" TOOL("f"), plain);
    refused(all, 400, "tools[1].function.parameters.minContains");
    snprintf(all, sizeof all, "%s,\"tool_choice\":" TOOL("a"), plain); // it cannot be called
    api_call_free(accepted(all));
    refused("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{"
            "\"minContains\":1}}}",
            400, "response_format.json_schema.schema.minContains");
}

// The field of an error is a path through names that clients chose.
static void test_paths_of_errors(void **state) {
    (void)state;
    base_str fields = {0};
    refused("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{"
            "\"properties\":{\"a b\":{\"not\":{}}}}}}",
            400, "response_format.json_schema.schema.properties.a b.not");
    base_str_adds(&fields, "\"structured_outputs\":{\"json\":");
    for (int i = 0; i < 30; i++)
        base_str_adds(&fields, "{\"items\":");
    base_str_adds(&fields, "{\"not\":{}}");
    for (int i = 0; i < 30; i++)
        base_str_adds(&fields, "}");
    base_str_adds(&fields, "}");
    assert_null(parse(API_CHAT, fields.data));
    assert_int_equal(strncmp(error.param, "structured_outputs.json.items.items.", 36), 0);
    base_str_free(&fields);
}

// Whatever ids the history has, none is made again.
static void test_calls_count_on(void **state) {
    (void)state;
    api_call *c;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
        "\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{}\"}},{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":"
        "\"f\",\"arguments\":{\"b\":1}}}]},{\"role\":\"tool\",\"tool_call_id\":\"call_2\","
        "\"content\":\"x\"}]," TOOLS "}";
    api_call_parse(&c, API_CHAT, &options, body, strlen(body), "1", &error);
    assert_non_null(c);
    assert_int_equal(chat_calls_next_index(c->calls), 2);
    assert_true(shows(c, "<|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{\"b\": 1}"));
    assert_true(shows(c, "## Return of functions.f:1\nx"));
    api_call_free(c);
}

static void test_tokenize(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{" MESSAGES "," TOOLS "}",
        "{" MESSAGES ",\"chat_template_kwargs\":{\"thinking\":false}}",
    };
    static const char *const shown[] = {"tool_declare", "<think></think>"};
    for (int i = 0; i < 2; i++) {
        base_str reply = {0};
        assert_int_equal(api_tokenize(&options, bodies[i], strlen(bodies[i]), &reply, &error), 0);
        assert_non_null(strstr(reply.data, shown[i]));
        base_str_free(&reply);
    }
}

// A body that was translated from another dialect.
static void test_dialects(void **state) {
    (void)state;
    static const char *const ids[] = {"chatcmpl-7", "msg_7", "resp_7"};
    json_t *body = json_pack("{s:[{s:s,s:s}]}", "messages", "role", "user", "content", "a");
    for (api_dialect d = API_OPENAI; d <= API_RESPONSES; d++) {
        api_call *c;
        assert_int_equal(api_call_parse_json(&c, API_CHAT, d, &options, body, "7", &error), 0);
        assert_int_equal(c->dialect, d);
        assert_string_equal(c->id, ids[d]);
        api_call_free(c);
    }
    json_decref(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_choices, reset),
        cmocka_unit_test_setup(test_flags, reset),
        cmocka_unit_test_setup(test_prompt, reset),
        cmocka_unit_test_setup(test_thinking, reset),
        cmocka_unit_test_setup(test_budgets, reset),
        cmocka_unit_test_setup(test_forms, reset),
        cmocka_unit_test_setup(test_unknown_keywords, reset),
        cmocka_unit_test_setup(test_paths_of_errors, reset),
        cmocka_unit_test_setup(test_calls_count_on, reset),
        cmocka_unit_test_setup(test_tokenize, reset),
        cmocka_unit_test_setup(test_dialects, reset),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
