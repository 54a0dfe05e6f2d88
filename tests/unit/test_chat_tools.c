// Tools and their calls in prompts: how tools are declared, under which ids the model sees calls
// and results, and what the output will ask of them. tests/reference/test_chat_template.py compares
// with Python and Jinja.
#include "chat/calls.h"
#include "chat_bench.h"
#include <limits.h>
#include <stdio.h>
#include <time.h>

static chat_slice text(const char *s) {
    return fixture_slice(s);
}

static json_t *parse(const char *json) {
    base_err err;
    json_t *value = base_json_parse(json, strlen(json), "test", BASE_ERR_USAGE, &err);
    if (!value)
        fail_msg("%s", err.message);
    return value;
}

// ---------------------------------------------------------------------------------------------
// The declaration

static void check_printed(const char *json, const char *expected) {
    base_str out = {0};
    json_t *value = parse(json);
    chat_tools_print(value, &out);
    assert_string_equal(out.data, expected);
    base_str_free(&out);
    json_decref(value);
}

static void test_tools_are_printed_as_python_does(void **state) {
    (void)state;
    check_printed("[]", "[]");
    check_printed("[ { } , [ ] , null , true , false , \"\" ]", "[{},[],null,true,false,\"\"]");
    check_printed("[{\"type\":\"function\",\"function\":{\"parameters\":{\"b\":[{\"z\":1,\"y\":2}],"
                  "\"B\":0,\"a\":0},\"name\":\"f\"}}]",
                  "[{\"function\":{\"name\":\"f\",\"parameters\":{\"B\":0,\"a\":0,"
                  "\"b\":[{\"y\":2,\"z\":1}]}},\"type\":\"function\"}]");
    // Code points, not UTF-16: U+FFFF is before U+1F600; and a key before those it begins.
    check_printed(
        "{\"\\ud83d\\ude00\":1,\"\\uffff\":2,\"\\u00e9\":3,\"z\":4,\"zz\":5,\"\":6,\"10\":7,"
        "\"9\":8}",
        "{\"\":6,\"10\":7,\"9\":8,\"z\":4,\"zz\":5,\"\xc3\xa9\":3,\"\xef\xbf\xbf\":2,"
        "\"\xf0\x9f\x98\x80\":1}");
    check_printed(
        "[\"<a href='x'>&amp;</a>\\/\",\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\\\u007f\\u2028\"]",
        "[\"<a href='x'>&amp;</a>/\",\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\\x7f\xe2\x80\xa8\"]");
    check_printed(
        "[0,-0,9223372036854775807,-9223372036854775808,1e5,1e16,0.1,-0.0,1E-7,1.50]",
        "[0,0,9223372036854775807,-9223372036854775808,100000.0,1e+16,0.1,-0.0,1e-07,1.5]");
    check_printed("[18446744073709551615]", "[1.8446744073709552e+19]");
}

// As deep as JSON may be.
static void test_deep_tools(void **state) {
    (void)state;
    base_str deep = {0};
    for (int i = 0; i < 256; i++)
        base_str_adds(&deep, "{\"a\":[");
    for (int i = 0; i < 256; i++)
        base_str_adds(&deep, "]}");
    check_printed(deep.data, deep.data);
    base_str_free(&deep);
}

// ---------------------------------------------------------------------------------------------
// Ids

// Messages in short: "a" and ids is an assistant with those calls, all of function f; "t" and an id
// a result; "u" a user with a call, which does not count.
enum { MAX_TURNS = 8, MAX_CALLS = 4 };

typedef struct brief {
    chat_message messages[MAX_TURNS];
    chat_tool_call calls[MAX_TURNS][MAX_CALLS];
    chat_conversation c;
} brief;

static void fill(brief *b, const char *const turns[][1 + MAX_CALLS]) {
    *b = (brief){0};
    int n = 0;
    for (; turns[n][0]; n++) {
        char kind = turns[n][0][0];
        chat_message *m = &b->messages[n];
        *m = (chat_message){.role = text(kind == 'a'   ? "assistant"
                                         : kind == 't' ? "tool"
                                                       : "user"),
                            .tool_calls = b->calls[n]};
        if (kind == 't') {
            m->tool_call_id = text(turns[n][1]);
            continue;
        }
        for (int i = 0; i < MAX_CALLS && turns[n][1 + i]; i++)
            b->calls[n][m->n_tool_calls++] =
                (chat_tool_call){text(turns[n][1 + i]), text("f"), text("{}")};
    }
    b->c = (chat_conversation){.messages = b->messages, .n_messages = n};
}

// The numbers of calls, and of the calls that results answer, in order; "-ID" is an unknown id.
static void check_ids(const char *const turns[][1 + MAX_CALLS], const char *expected) {
    brief b;
    base_ids ids = {0};
    base_str out = {0}, found = {0};
    base_err err;
    fill(&b, turns);
    assert_int_equal(chat_render(format, &b.c, 0, &ids, &out, &err), 0);
    static const char *const before[] = {"<|tool_call_begin|>", "## Return of "};
    static const char known[] = "functions.f:";
    for (const char *at = out.data; (at = strpbrk(at, "<#")); at++)
        for (int i = 0; i < 2; i++) {
            if (strncmp(at, before[i], strlen(before[i])) != 0)
                continue;
            const char *id = at + strlen(before[i]);
            if (strncmp(id, known, strlen(known)) == 0)
                id += strlen(known);
            else
                base_str_adds(&found, "-");
            base_str_add(&found, id, strcspn(id, "<\n"));
            base_str_adds(&found, " ");
        }
    assert_string_equal(found.data, expected);
    base_ids_free(&ids);
    base_str_free(&out);
    base_str_free(&found);
}

#define CHECK_IDS(expected, ...)                                                                   \
    check_ids((const char *const[][1 + MAX_CALLS]){__VA_ARGS__, {NULL}}, expected)

static void test_ids_are_the_models_own(void **state) {
    (void)state;
    CHECK_IDS("0 0 1 2 2 1 ", {"a", "call_x"}, {"t", "call_x"}, {"a", "y", "z"}, {"t", "z"},
              {"t", "y"});
    // Those that are canonical already but do not begin with 0, or are out of order.
    CHECK_IDS("0 0 1 1 ", {"a", "functions.f:7"}, {"t", "functions.f:7"}, {"a", "functions.f:0"},
              {"t", "functions.f:0"});
    // Unknown ones, results before their call among them, stay as they are.
    CHECK_IDS("-x 0 -y 0 - ", {"t", "x"}, {"a", "x"}, {"t", "y"}, {"t", "x"}, {"t", ""});
    CHECK_IDS("-functions.g:0 0 ", {"t", "functions.g:0"}, {"a", "functions.g:0"});
    // Nobody else's calls are shown.
    CHECK_IDS("0 -x 0 ", {"u", "x"}, {"a", "y"}, {"t", "x"}, {"t", "y"});
}

static void test_ids_that_occur_twice(void **state) {
    (void)state;
    // Each turn begins anew: the latest is meant.
    CHECK_IDS("0 1 0 1 2 3 3 2 ", {"a", "0", "1"}, {"t", "0"}, {"t", "1"}, {"a", "0", "1"},
              {"t", "1"}, {"t", "0"});
    // A turn that was never answered does not take the results of later ones.
    CHECK_IDS("0 1 1 ", {"a", "x"}, {"a", "x"}, {"t", "x"});
    // Within a turn in order; too many answer the last.
    CHECK_IDS("0 1 2 0 1 2 2 ", {"a", "x", "x", "x"}, {"t", "x"}, {"t", "x"}, {"t", "x"},
              {"t", "x"});
    CHECK_IDS("0 1 2 0 1 2 ", {"a", "", "x", ""}, {"t", ""}, {"t", "x"}, {"t", ""});
    // Ids one of which begins with the other.
    CHECK_IDS("0 1 2 1 2 0 ", {"a", "x1", "x", "x11"}, {"t", "x"}, {"t", "x11"}, {"t", "x1"});
}

// The time of 65,536 calls with their results must not grow with the square, whatever the ids are.
static double seconds_of_calls(int n, bool same_ids) {
    chat_message *messages = base_calloc((size_t)n + 1, sizeof *messages);
    chat_tool_call *calls = base_calloc((size_t)n, sizeof *calls);
    char(*ids)[16] = base_calloc((size_t)n, sizeof *ids);
    messages[0] = (chat_message){.role = text("assistant"), .tool_calls = calls, .n_tool_calls = n};
    for (int i = 0; i < n; i++) {
        snprintf(ids[i], sizeof *ids, "call_%d", same_ids ? 0 : n - i);
        calls[i] = (chat_tool_call){text(ids[i]), text("f"), text("")};
        messages[n - i] = (chat_message){.role = text("tool"), .tool_call_id = text(ids[i])};
    }
    chat_conversation c = {.messages = messages, .n_messages = n + 1};
    base_ids out = {0};
    base_err err;
    clock_t begin = clock();
    assert_int_equal(chat_render(format, &c, 0, &out, NULL, &err), 0);
    chat_calls *known = chat_calls_create(&c, NULL, 0);
    for (int i = 0; i < n; i++)
        assert_true(chat_calls_has_id(known, text(ids[i])));
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    chat_calls_free(known);
    base_ids_free(&out);
    base_free(ids);
    base_free(calls);
    base_free(messages);
    return seconds;
}

static void test_many_calls(void **state) {
    (void)state;
    for (int same = 0; same < 2; same++) {
        double few = 1e9, many = 1e9;
        for (int round = 0; round < 3; round++) {
            double a = seconds_of_calls(1 << 12, same), b = seconds_of_calls(1 << 16, same);
            few = a < few ? a : few;
            many = b < many ? b : many;
        }
        // 16 times the calls; with the square it would be 256 times the time.
        assert_true(many < 64 * few);
    }
}

// ---------------------------------------------------------------------------------------------
// What the output asks

static void test_ids_in_use(void **state) {
    (void)state;
    static const char *const turns[][1 + MAX_CALLS] = {{"a", "functions.f:0", "call_x"},
                                                       {"t", "call_y"},
                                                       {"a", "functions.f:2", "functions.g:3"},
                                                       {"u", "functions.f:4"},
                                                       {NULL}};
    brief b;
    fill(&b, turns);
    chat_calls *calls = chat_calls_create(&b.c, NULL, 0);
    memset(&b, 0, sizeof b); // nothing of it is needed
    assert_int_equal(chat_calls_next_index(calls), 4);
    static const char *const seen[] = {"functions.f:0", "call_x",        "call_y",
                                       "functions.f:2", "functions.g:3", "functions.f:4"};
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
        assert_true(chat_calls_has_id(calls, text(seen[i])));
    static const char *const unseen[] = {"", "functions.f:1", "functions.f:3",
                                         "functions.f:", "call_"};
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
        assert_false(chat_calls_has_id(calls, text(unseen[i])));
    static const int free_of_f[] = {1, 1, 3, 3, 5, 5, 6};
    for (int i = 0; i < 7; i++)
        assert_int_equal(chat_calls_free_index(calls, text("f"), i), free_of_f[i]);
    assert_int_equal(chat_calls_free_index(calls, text("g"), 3), 4);
    assert_int_equal(chat_calls_free_index(calls, text("h"), 3), 3);
    assert_int_equal(chat_calls_free_index(calls, text("h"), INT_MAX), INT_MAX);
    assert_int_equal(chat_calls_n_tools(calls), 0);
    assert_int_equal(chat_calls_find_tool(calls, text("f")), -1);
    assert_int_equal(chat_calls_infer_tool(calls, text("{}")), -1);
    chat_calls_free(calls);
    calls = chat_calls_create(&(chat_conversation){0}, NULL, 0);
    assert_int_equal(chat_calls_next_index(calls), 0);
    assert_false(chat_calls_has_id(calls, text("x")));
    chat_calls_free(calls);
    chat_calls_free(NULL);
}

static void test_declared_tools(void **state) {
    (void)state;
    char weather[] = "get_weather";
    chat_slice names[] = {text("search"), text(weather), text("a-b.c:d"),
                          text("search"), text("get"),   text("\xe6\x9f\xa5")};
    chat_calls *calls = chat_calls_create(&(chat_conversation){0}, names, 6);
    memset(weather, 'x', sizeof weather - 1);
    assert_int_equal(chat_calls_n_tools(calls), 6);
    assert_int_equal(chat_calls_tool_name(calls, 1).len, 11);
    assert_memory_equal(chat_calls_tool_name(calls, 1).at, "get_weather", 11);
    assert_int_equal(chat_calls_find_tool(calls, text("search")), 0); // the first of the two
    assert_int_equal(chat_calls_find_tool(calls, text("get_weather")), 1);
    assert_int_equal(chat_calls_find_tool(calls, text("a-b.c:d")), 2);
    assert_int_equal(chat_calls_find_tool(calls, text("get")), 4);
    assert_int_equal(chat_calls_find_tool(calls, text("\xe6\x9f\xa5")), 5);
    static const char *const none[] = {"", "ge", "get_", "zzz", "Search", "functions.search"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(chat_calls_find_tool(calls, text(none[i])), -1);
    chat_calls_free(calls);
}

static int infer(const chat_calls *calls, const char *arguments) {
    return chat_calls_infer_tool(calls, text(arguments));
}

static void test_tools_are_inferred_by_their_keys(void **state) {
    (void)state;
    chat_slice names[] = {text("weather"), text("search"), text("time"), text("odd"), text("none")};
    chat_calls *calls = chat_calls_create(&(chat_conversation){0}, names, 5);
    assert_int_equal(infer(calls, "{\"city\":1}"), -1); // nobody has told what they look like
    json_t *tools =
        parse("[{\"function\":{\"parameters\":{\"properties\":{\"city\":{},\"days\":{}}}}},"
              "{\"function\":{\"parameters\":{\"properties\":{\"query\":{},\"days\":{},\"\":{}}}}},"
              "{\"function\":{}}, {\"function\":{\"parameters\":{\"properties\":[\"city\"]}}}]");
    chat_calls_set_tools(calls, tools);
    json_decref(tools);
    assert_int_equal(infer(calls, "{\"city\":1}"), 0);
    assert_int_equal(infer(calls, " {\"days\":{\"x\":[]},\"city\":\"Oslo\"}\n"), 0);
    assert_int_equal(infer(calls, "{\"query\":1,\"days\":2}"), 1);
    assert_int_equal(infer(calls, "{\"\":1}"), 1);
    assert_int_equal(infer(calls, "{\"days\":1}"), -1);             // two
    assert_int_equal(infer(calls, "{}"), -1);                       // any
    assert_int_equal(infer(calls, "{\"city\":1,\"query\":2}"), -1); // none
    static const char *const bad[] = {"", "[]", "1", "\"city\"", "{\"city\":", "{\"city\":1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(infer(calls, bad[i]), -1);
    tools = parse("[{\"function\":{\"parameters\":{\"properties\":{\"query\":{}}}}}]");
    chat_calls_set_tools(calls, tools); // the last ones count
    json_decref(tools);
    assert_int_equal(infer(calls, "{\"city\":1}"), -1);
    assert_int_equal(infer(calls, "{\"query\":1}"), 0);
    chat_calls_free(calls);
    // Where there is one, whatever it wrote.
    calls = chat_calls_create(&(chat_conversation){0}, names, 1);
    assert_int_equal(infer(calls, "{\"city\":"), 0);
    chat_calls_free(calls);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tools_are_printed_as_python_does),
        cmocka_unit_test(test_deep_tools),
        cmocka_unit_test(test_ids_are_the_models_own),
        cmocka_unit_test(test_ids_that_occur_twice),
        cmocka_unit_test(test_many_calls),
        cmocka_unit_test(test_ids_in_use),
        cmocka_unit_test(test_declared_tools),
        cmocka_unit_test(test_tools_are_inferred_by_their_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
