// Tool calls in outputs, case by case: REASONING|CONTENT|CALLS|DROPPED by hand.
#include "output_fixture.h"

#include "chat_bench.h"

#define SB "<|tool_calls_section_begin|>"
#define SE "<|tool_calls_section_end|>"
#define CB "<|tool_call_begin|>"
#define AB "<|tool_call_argument_begin|>"
#define CE "<|tool_call_end|>"
#define GENERATE "<|im_assistant|>assistant<|im_middle|>"
#define ANSWER GENERATE "<think></think>"

static const char several[] =
    "[{\"function\": {\"name\": \"get_weather\", \"parameters\": {\"properties\": {\"city\": {},"
    " \"unit\": {}}}}},"
    "{\"function\": {\"name\": \"search-docs\", \"parameters\": {\"properties\": {\"query\": {},"
    " \"unit\": {}}}}},"
    "{\"function\": {\"name\": \"mcp.x:1\", \"parameters\": {}}},"
    "{\"function\": {\"name\": \"functions.odd\"}},"
    "{\"function\": {\"name\": \"mcp\"}},"
    "{\"function\": {\"name\": \"7\"}}]";
static const char single[] = "[{\"function\": {\"name\": \"f\"}}]";

// `n_dropped`: how many calls are lost.
static void check_with(const char *prompt, const char *output, const char *tools,
                       const char **history, chat_output_options options, const char *expected,
                       int n_dropped) {
    fixture_context context = {.tools = tools, .history = history};
    fixture_context_init(&context);
    options.calls = context.calls;
    base_ids before = encode(prompt), ids = encode(output);
    fixture_output f;
    base_str printed = {0};
    assert_true(
        fixture_output_run(&f, format, &options, before.data, before.len, ids.data, ids.len));
    fixture_output_print(&f, &printed);
    assert_string_equal(printed.data, expected);
    assert_int_equal(f.n_dropped, n_dropped);
    base_str_free(&printed);
    fixture_output_free(&f);
    base_ids_free(&before);
    base_ids_free(&ids);
    fixture_context_free(&context);
}

static const chat_output_options on = {.reasoning = true, .skip_special = true};

static void check(const char *output, const char *expected, int n_dropped) {
    check_with(ANSWER, output, several, NULL, on, expected, n_dropped);
}

static void test_sections(void **state) {
    (void)state;
    check("Just text, a < b <", "|Just text, a < b <||", 0);
    check("I'll check. " SB CB "functions.get_weather:0 " AB "{\"city\": \"Beijing\"}" CE SE,
          "|I'll check. |functions.get_weather:0({\"city\": \"Beijing\"})|functions.get_weather:0 ",
          0);
    check(SB CB "functions.mcp:5" AB "1" CE CB "functions.mcp:6" AB "2" CE CB "functions.7:7" AB
                "3" CE SE,
          "||functions.mcp:5(1) functions.mcp:6(2) functions.7:7(3)|"
          "functions.mcp:5functions.mcp:6functions.7:7",
          0);
    check(SB " \n" CB "\n functions.mcp:0\n" AB "\n{}\n " CE "\n " CB " functions.mcp:1 " AB
             " {} " CE " " SE "\n",
          "|\n|functions.mcp:0({}) functions.mcp:1({})|"
          " \n\n functions.mcp:0\n\n\n \n  functions.mcp:1    ",
          0);
    check("a" SB CB "mcp:0" AB "1" CE SE "b" SB CB "mcp:1" AB "2" CE SE "c",
          "|abc|functions.mcp:0(1) functions.mcp:1(2)|mcp:0mcp:1", 0);
    check("a" SB "noise" SE "b", "|ab||noise", 0);
    check("a" SB SE "b" SB SB "x" SE SE "c", "|abc||x", 0);
    check("a" CB "mcp:0" AB "1" CE "b" CB "mcp:1" AB "2" CE CB "mcp:2" AB "3" CE "c",
          "|abc|functions.mcp:0(1) functions.mcp:1(2) functions.mcp:2(3)|mcp:0mcp:1mcp:2", 0);
    check("a" CB "mcp:0" AB "1" CE SE "b" SB CB "mcp:1" AB "2" SE "c",
          "|abc|functions.mcp:0(1) functions.mcp:1(2)|mcp:0mcp:1", 0);
    check("a" AB "b" CE "c" SE "d</think>e<think>f", "|abcdef||", 0);
    check(SB "<think>a</think>" AB "b" CE "c" SE "d", "|d||abc", 0);
    check(SB CB "mcp:0" AB "{}" CE SE "<|im_end|>", "||functions.mcp:0({})|mcp:0", 0);
}

static void test_thoughts(void **state) {
    (void)state;
    check_with(GENERATE, "<think>Call" SB CB "mcp:0" AB "{}" CE SE "then</think>more", several,
               NULL, on, "Call|thenmore|functions.mcp:0({})|mcp:0", 0);
    check_with(GENERATE, "Call" CB "mcp:0" AB "{}" CE "then", several, NULL, on,
               "Call|then|functions.mcp:0({})|mcp:0", 0);
    check_with(GENERATE, "a" AB "b" CE "c" SE "d</think>e", several, NULL, on, "abcd|e||", 0);
    check_with(GENERATE "<think>", "a</think>b" SB "c" SE, several, NULL, on, "a|b||c", 0);
    check_with(GENERATE, "<think></think>" SB CB "mcp:0" AB "{}" CE SE, several, NULL, on,
               "||functions.mcp:0({})|mcp:0", 0);
    check_with(GENERATE, "a\xe4\xb8" CB "mcp:0" AB "{}\xe4\xb8" CE "\xad", several, NULL, on,
               "a\xef\xbf\xbd|\xef\xbf\xbd|functions.mcp:0({}\xef\xbf\xbd)|mcp:0", 0);
    // Where thoughts are not told apart their markers are text, but never in a call.
    chat_output_options raw = {.skip_special = true};
    check_with(GENERATE, "<think>a</think>b" SB CB "m<think>cp:0" AB "{</think>}" CE SE "c<think>",
               several, NULL, raw, "|<think>a</think>bc<think>|functions.mcp:0({})|mcp:0", 0);
    chat_output_options special = {.reasoning = true};
    check_with(ANSWER, SB CB "mcp:0" AB "{}" CE SE "<|im_end|>", several, NULL, special,
               "|<|im_end|>|functions.mcp:0({})|mcp:0", 0);
}

// One call with this id, and what becomes of it.
static void check_id(const char *tools, const char *id, const char *arguments,
                     const char *expected) {
    base_str output = {0}, wanted = {0};
    base_str_printf(&output, SB CB "%s" AB "%s" CE CB "ok:9" AB "1" CE SE "x", id, arguments);
    if (expected[0])
        base_str_printf(&wanted, "|x|functions.%s(%s) functions.ok:9(1)|%sok:9", expected,
                        arguments, id);
    else
        base_str_printf(&wanted, "|x|functions.ok:9(1)|%s%sok:9", id, arguments);
    // "ok:9" has no prefix, so it gets the next index.
    char *nine = strstr(wanted.data, "functions.ok:9") + sizeof "functions.ok:" - 1;
    const char *colon = strrchr(expected, ':');
    *nine = colon ? (char)(colon[1] + 1) : '0';
    check_with(ANSWER, output.data, tools, NULL, on, wanted.data, !expected[0]);
    base_str_free(&output);
    base_str_free(&wanted);
}

static void test_ids(void **state) {
    (void)state;
    check_id(several, "functions.get_weather:3", "{}", "get_weather:3");
    check_id(several, "get_weather:3", "{}", "get_weather:0");
    check_id(several, "functions.get_weather", "{}", "get_weather:0");
    check_id(several, "get_weather", "{}", "get_weather:0");
    check_id(several, "search-docs:2", "{}", "search-docs:0");
    check_id(several, "functions.search-docs:2", "{}", "search-docs:2");
    // A name with a colon, and with the prefix.
    check_id(several, "functions.mcp.x:1:4", "{}", "mcp.x:1:4");
    check_id(several, "functions.mcp.x:1", "{}", "mcp.x:1:0");
    check_id(several, "mcp.x:1", "{}", "mcp.x:1:0");
    check_id(several, "functions.functions.odd:2", "{}", "functions.odd:2");
    check_id(several, "functions.odd:2", "{}", "functions.odd:0");
    check_id(several, "functions.odd", "{}", "functions.odd:0");
    check_id(several, "functions.7:1", "{}", "7:1");
    check_id(several, "7", "{}", "7:0");
    // Names nobody declared.
    check_id(several, "functions.other:1", "{}", "other:1");
    check_id(several, "mcp__portal__search-docs:2", "{}", "mcp__portal__search-docs:0");
    check_id(several, "functions.a.b:c:2", "{}", "a.b:c:2");
    check_id(several, "two words:0", "{}", "two words:0");
    // No index as it would be printed.
    check_id(several, "functions.mcp:03", "{}", "mcp:0");
    check_id(several, "functions.mcp:1234567890", "{}", "mcp:0");
    check_id(several, "functions.mcp:1234567890123456789012", "{}", "mcp:0");
    check_id(several, "functions.other:00", "{}", "other:0");
    check_id(several, "functions.mcp:", "{}", "");
    // No name.
    static const char *const bad[] = {"",      ":",        ":0",           "functions.",
                                      "x",     "weird@id", "functions.:0", "functions.invalid.0",
                                      "other", "mcp:x",    "mcp:-1",       "functions.mcp : 0x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_id(several, bad[i], "{\"city\": 1}", "");
}

static void test_names_from_arguments(void **state) {
    (void)state;
    check_id(single, "0", "{\"a\": 1}", "f:0");
    check_id(single, "3", "not JSON", "f:0");
    check_id(several, "0", "{\"city\": 1}", "get_weather:0");
    check_id(several, "12", "{\"query\": 1, \"unit\": [{}]}", "search-docs:0");
    check_id(several, "0", "{\"unit\": 1}", "");
    check_id(several, "0", "{\"other\": 1}", "");
    check_id(several, "0", "{}", "");
    check_id(several, "0", "{\"city\": ", "");
    check_id(several, "0", "", "");
    check_id(several, "0x", "{\"city\": 1}", "");
    check(SB CB " 0 " AB " {\"query\":\n1} " SE "x",
          "|x|functions.search-docs:0({\"query\":\n1})| 0   ", 0);
    check(CB "0" AB "{\"city\":1}" CB "1" AB "{\"query\":1}" SB,
          "||functions.get_weather:0({\"city\":1}) functions.search-docs:1({\"query\":1})|01", 0);
    check(CB "0" AB "{\"city\":1}", "|||0{\"city\":1}", 0); // cut off: more keys might follow
    check(CB "0" CE "x", "|x||0", 1);
    check_with(ANSWER, CB "0" CE "x", single, NULL, on, "|x|functions.f:0()|0", 0);
}

static void test_arguments(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"html\": \"<div>a</div>\", \"b\": \"{[`}]\"}",
        "{\n    \"a\":\t1\n}",
        "{\"a\": \"\\u00e9\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\"}",
        "{\"a\": \"<|tool_call_end| >\", \"b\": \"</think >\"}",
        "{malformed, 'a': 1",
        "no JSON at all\r\n.",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        base_str output = {0}, wanted = {0};
        base_str_printf(&output, SB CB "mcp:0" AB "%s" CE SE, texts[i]);
        base_str_printf(&wanted, "||functions.mcp:0(%s)|mcp:0", texts[i]);
        check(output.data, wanted.data, 0);
        base_str_free(&output);
        base_str_free(&wanted);
    }
    check(CB "mcp:0" AB CE, "||functions.mcp:0()|mcp:0", 0);
    check(CB "mcp:0" AB " \n" CE, "||functions.mcp:0()|mcp:0 \n", 0);
    check(CB "mcp:0" AB "{" AB "}" AB CE, "||functions.mcp:0({})|mcp:0", 0);
    check(CB "mcp:0" AB "{<think> </think>}" CE, "||functions.mcp:0({ })|mcp:0", 0);
    check(CB "mcp:0" CE "x", "|x|functions.mcp:0()|mcp:0", 0);
    check(SB CB "bad" CE CB "mcp:0" CE SE, "||functions.mcp:0()|badmcp:0", 1);
}

static void test_unfinished(void **state) {
    (void)state;
    check(SB CB "mcp:0" AB "{\"a\"" CB "mcp:1" AB "{}" CE SE,
          "||functions.mcp:0({\"a\") functions.mcp:1({})|mcp:0mcp:1", 0);
    check(SB CB "mcp:0" CB "mcp:1" AB "{}" CE SE, "||functions.mcp:0({})|mcp:0mcp:1", 1);
    check(SB CB "mcp:0" SE "x", "|x||mcp:0", 1);
    check(SB CB "mcp:0" SB "x" CB "mcp:0" AB "{" SB "y" SE "z",
          "|z|functions.mcp:0({)|mcp:0xmcp:0y", 1);
    check(SB CB "bad" AB "{" CB "mcp:0" AB "}" SE "z", "|z|functions.mcp:0(})|bad{mcp:0", 1);
    // Cut off.
    check(SB, "|||", 0);
    check(SB " x", "||| x", 0);
    check(SB CB, "|||", 0);
    check(SB CB "functions.mcp:0", "|||functions.mcp:0", 0);
    check(SB CB "functions.mcp:0" AB, "||functions.mcp:0(...|functions.mcp:0", 0);
    check(SB CB "functions.mcp:0" AB " {\"a\": ", "||functions.mcp:0({\"a\":...|functions.mcp:0  ",
          0);
    check(SB CB "mcp:0" AB "{\xe4\xb8", "||functions.mcp:0({\xef\xbf\xbd...|mcp:0", 0);
    check(SB CB "mcp:0" AB "{ \xe4", "||functions.mcp:0({ \xef\xbf\xbd...|mcp:0", 0);
    check(SB CB "mcp:0\xe4", "|||mcp:0\xef\xbf\xbd", 0);
    check(SB CB "bad" AB "{", "|||bad{", 1);
    check(SB CB "mcp:0" AB "{}" CE, "||functions.mcp:0({})|mcp:0", 0);
    check(SB CB "mcp:0" AB "{}" CE " \n", "||functions.mcp:0({})|mcp:0 \n", 0);
}

// Ids are unique over the client's history and the output.
static void test_unique_ids(void **state) {
    (void)state;
    const char *history[] = {"functions.f:0", "call_1", "functions.f:3", "functions.f:5", NULL};
#define CALL(id) CB id AB "1" CE
    check_with(ANSWER,
               SB CALL("functions.f:0") CALL("functions.f:4") CALL("functions.f:7")
                   CALL("functions.f:7") CALL("f") CALL("functions.g:3") CALL("g:1"),
               single, history, on,
               "||functions.f:4(1) functions.f:6(1) functions.f:7(1) functions.f:8(1) "
               "functions.f:9(1) functions.g:3(1) functions.g:10(1)|"
               "functions.f:0functions.f:4functions.f:7functions.f:7ffunctions.g:3g:1",
               0);
    check_with(ANSWER, SB CALL("f:3") CALL("g:4") CALL("0") CALL("functions.f:999999999") CALL("0"),
               single, history, on,
               "||functions.f:4(1) functions.g:5(1) functions.f:6(1) functions.f:999999999(1) "
               "functions.f:1000000000(1)|f:3g:40functions.f:9999999990",
               0);
}

static void test_begin(void **state) {
    (void)state;
    static const struct {
        const char *prompt;
        chat_begin begin;
    } cases[] = {
        {"", CHAT_BEGINS_THOUGHT},
        {"raw text", CHAT_BEGINS_THOUGHT},
        {GENERATE, CHAT_BEGINS_THOUGHT},
        {GENERATE "<think>", CHAT_IN_THOUGHT},
        {GENERATE "<think>So far", CHAT_IN_THOUGHT},
        {ANSWER, CHAT_IN_ANSWER},
        {ANSWER "Once upon", CHAT_IN_ANSWER},
        {ANSWER "old<|im_end|>" GENERATE, CHAT_BEGINS_THOUGHT},
        {"<|im_user|>user<|im_middle|>hi", CHAT_IN_ANSWER},
        {GENERATE "<think>a" SB, CHAT_IN_ANSWER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_ids ids = encode(cases[i].prompt);
        assert_int_equal(chat_output_begin(format, ids.data, ids.len), cases[i].begin);
        chat_output *o = chat_output_create(format, &on, ids.data, ids.len);
        assert_int_equal(chat_output_is_thinking(o), cases[i].begin != CHAT_IN_ANSWER);
        chat_output_free(o);
        base_ids_free(&ids);
    }
    chat_output_free(NULL);
}

static void test_control_ids(void **state) {
    (void)state;
    int32_t think[2], calls[5];
    chat_control_ids(format, think, calls);
    static const char *const names[] = {"<think>", "</think>", SB, SE, CB, AB, CE};
    for (int i = 0; i < 7; i++)
        assert_int_equal(token_control_id(vocab, names[i]), i < 2 ? think[i] : calls[i - 2]);
}

// A call is known as soon as its arguments begin, and text comes as soon as it can be told.
static void test_at_once(void **state) {
    (void)state;
    fixture_context context = {.tools = single};
    fixture_context_init(&context);
    chat_output_options options = {.reasoning = true, .calls = context.calls};
    base_ids prompt = encode(ANSWER), ids = encode(SB CB "f:0" AB "{ }" CE);
    chat_output *o = chat_output_create(format, &options, prompt.data, prompt.len);
    base_str text = {0};
    int32_t argument = token_control_id(vocab, AB);
    size_t i = 0;
    for (bool begun = false; !begun; i++) {
        assert_int_equal(chat_output_n_calls(o), 0);
        chat_output_push(o, ids.data[i], &text);
        begun = ids.data[i] == argument;
    }
    assert_int_equal(chat_output_n_calls(o), 1);
    assert_false(chat_output_get_call(o, 0).ended);
    assert_string_equal(text.data, "f:0");
    base_ids pieces = encode("{ }");
    static const char *const given[] = {"{", "{", "{ }"};
    base_str_clear(&text);
    assert_int_equal(pieces.len, 3);
    for (int j = 0; j < 3; j++) {
        assert_int_equal(chat_output_push(o, pieces.data[j], &text), CHAT_ARGUMENTS);
        assert_string_equal(text.data, given[j]);
    }
    base_ids_free(&pieces);
    chat_output_push(o, ids.data[ids.len - 1], &text);
    assert_true(chat_output_get_call(o, 0).ended);
    base_str_free(&text);
    chat_output_free(o);
    base_ids_free(&ids);
    base_ids_free(&prompt);
    fixture_context_free(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections),    cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_ids),         cmocka_unit_test(test_names_from_arguments),
        cmocka_unit_test(test_arguments),   cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_unique_ids),  cmocka_unit_test(test_begin),
        cmocka_unit_test(test_control_ids), cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
