// The frame of an output: what may come after what, in each phase and for each choice of tools.
#include "grammar_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static grammar_fixture f;
static json_t *weather, *nothing;
static uint32_t *mask;

static int set_up(void **state) {
    (void)state;
    f = fixture_grammar();
    weather = json_loads("{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
                         "\"required\":[\"city\"],\"additionalProperties\":false}",
                         0, NULL);
    nothing = json_loads("{\"type\":\"object\",\"additionalProperties\":false}", 0, NULL);
    mask = base_calloc((size_t)f.words + 8, sizeof *mask);
    return weather && nothing ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    json_decref(weather);
    json_decref(nothing);
    base_free(mask);
    fixture_grammar_free(&f);
    return 0;
}

#define OPEN "<think>"
#define SHUT "</think>"
#define SB "<|tool_calls_section_begin|>"
#define SE "<|tool_calls_section_end|>"
#define CB "<|tool_call_begin|>"
#define CA "<|tool_call_argument_begin|>"
#define CE "<|tool_call_end|>"
#define END "<|im_end|>"
#define ENDS "[EOS]<|im_end|>"
#define OSLO "{\"city\":\"Oslo\"}"
#define CALL(name, index) CB "functions." name ":" index CA OSLO CE

static grammar_tool tool(const char *name, const json_t *parameters) {
    return (grammar_tool){.name = name,
                          .name_len = strlen(name),
                          .parameters = parameters,
                          .strict = true,
                          .field = "tools[0].function.parameters"};
}

static grammar *compile(const grammar_spec *spec) {
    grammar *g;
    base_err err = {0};
    if (grammar_compile(&g, f.vocab, spec, NULL, &err))
        fail_msg("%s", err.message);
    return g;
}

// Calls of get_weather (which wants a city) and of go (which wants nothing).
static grammar *compile_tools(grammar_tool_choice choice, bool one_call, int first_index) {
    grammar_tool tools[] = {tool("get_weather", weather), tool("go", nothing)};
    grammar_spec spec = {.thought = GRAMMAR_THOUGHT_TO_OPEN,
                         .thinking_budget = -1,
                         .tool_choice = choice,
                         .tools = tools,
                         .n_tools = 2,
                         .one_call = one_call,
                         .first_index = first_index};
    return compile(&spec);
}

static base_ids encode(const char *text) {
    base_ids ids = {0};
    token_encode(f.tokens, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    return ids;
}

static bool in_mask(grammar_state *s, int32_t id) {
    return !grammar_state_mask(s, mask, f.size) || fixture_bit(mask, id);
}

// Takes all of the text, each id being in the mask.
static void take(grammar_state *s, const char *text) {
    base_ids ids = encode(text);
    for (size_t i = 0; i < ids.len; i++) {
        size_t len;
        const char *bytes = token_bytes(f.tokens, ids.data[i], &len);
        bool masked = !in_mask(s, ids.data[i]);
        if (!grammar_state_advance(s, ids.data[i]) || masked)
            fail_msg("%s: id %zu (%.*s) is %s", text, i, (int)len, bytes,
                     masked ? "masked" : "refused");
    }
    base_ids_free(&ids);
}

static grammar_state *after(grammar *g, const char *text) {
    grammar_state *s = grammar_state_create(g);
    take(s, text);
    return s;
}

static void check_accepts(grammar *g, const char *text) {
    grammar_state_free(after(g, text));
}

// After `text` the first id of each of the others (they end with NULL) may not come.
static void check_refuses(grammar *g, const char *text, ...) {
    va_list next;
    va_start(next, text);
    for (const char *one; (one = va_arg(next, const char *)) != NULL;) {
        grammar_state *s = after(g, text);
        base_ids ids = encode(one);
        if (in_mask(s, ids.data[0]) || grammar_state_advance(s, ids.data[0]))
            fail_msg("after %s: %s is allowed", text, one);
        base_ids_free(&ids);
        grammar_state_free(s);
    }
    va_end(next);
}

// After `text` just these ids may come.
static void check_only(grammar *g, const char *text, const char *expected) {
    grammar_state *s = after(g, text);
    base_ids ids = encode(expected);
    assert_true(grammar_state_mask(s, mask, f.size));
    size_t n = 0;
    for (int32_t id = 0; id < f.size; id++)
        n += fixture_bit(mask, id);
    if (n != ids.len)
        fail_msg("after %s: %zu ids, not %zu", text, n, ids.len);
    for (size_t i = 0; i < ids.len; i++)
        assert_true(fixture_bit(mask, ids.data[i]));
    base_ids_free(&ids);
    grammar_state_free(s);
}

static void check_must_end(grammar *g, const char *text, bool must) {
    grammar_state *s = after(g, text);
    if (grammar_state_must_end(s) != must)
        fail_msg("after %s: must%s end", text, must ? "" : " not");
    grammar_state_free(s);
}

// ---------------------------------------------------------------------------------------------

static void test_nothing(void **state) {
    (void)state;
    grammar_tool one = tool("go", nothing);
    grammar_spec spec = {.thought = GRAMMAR_THOUGHT_TO_OPEN, .thinking_budget = -1};
    assert_null(compile(&spec));
    spec.tool_choice = GRAMMAR_TOOLS_AUTO; // of no tools
    assert_null(compile(&spec));
    spec.tools = &one;
    spec.n_tools = 1;
    spec.tool_choice = GRAMMAR_TOOLS_NONE;
    assert_null(compile(&spec));
    spec.tool_choice = GRAMMAR_TOOLS_FREE;
    assert_null(compile(&spec));
    spec.thought = GRAMMAR_THOUGHT_NONE;
    spec.thinking_budget = 5; // of no thought
    assert_null(compile(&spec));
    grammar_unref(NULL);
    assert_null(grammar_ref(NULL));
    grammar_state_free(NULL);
    grammar_vocab_free(NULL);
}

static void test_auto(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_AUTO, false, 0);
    check_only(g, "", OPEN);
    check_accepts(g, OPEN "I see.\n" SHUT "Yes, 1 < 2." END);
    check_accepts(g, OPEN "I see." END);
    check_refuses(g, OPEN "a", OPEN, CA, CE, SE, NULL);
    check_refuses(g, OPEN SHUT "a", OPEN, SHUT, CA, CE, SE, NULL);
    check_accepts(g, OPEN SHUT "Let me look." SB CALL("get_weather", "0") SE END);
    check_accepts(g, OPEN SHUT SB CALL("get_weather", "0") CB
                  "functions.go:1" CA "{}" CE SE "And now?" SB CALL("get_weather", "2") SE
                  "Done" END);
    check_only(g, OPEN SHUT "a" SB, CB);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0") SE SB, CB);
    check_only(g, OPEN SHUT "a" SB CB "functions.go:0", CA);
    check_only(g, OPEN SHUT "a" SB CALL("get_weather", "0"), CB SE);
    check_refuses(g, OPEN SHUT SB CB, "get_weather", CA, SE, END, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.g", "x", "go", CA, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.go:", "1", "a", CA, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.get_weather:0" CA, "}", "[", "12", CE, END, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.get_weather:0" CA "{", "}", CE, SE, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.get_weather:0" CA OSLO, ",", SE, END, CB, NULL);
    check_refuses(g, OPEN SHUT SB CB "functions.go:0" CA "{", "\"", NULL);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0") SE END, ENDS);
    // A thought need not be closed for a call.
    check_accepts(g, OPEN "I call" SB CALL("get_weather", "0") SE "text" END);
    check_accepts(g, OPEN "I call" CALL("get_weather", "0") END);
    check_refuses(g, OPEN "I call" SB CALL("get_weather", "0") SE "text", SHUT, OPEN, NULL);
    check_must_end(g, OPEN SHUT SB CALL("get_weather", "0") SE, false);
    check_must_end(g, OPEN SHUT "a" END, true);
    grammar_unref(g);
}

static void test_bare_calls(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_AUTO, false, 0);
    check_accepts(g, OPEN SHUT CALL("get_weather", "0") CALL("get_weather", "1") END);
    check_accepts(g, OPEN SHUT CALL("get_weather", "0") "text" SB CALL("get_weather", "1") SE END);
    check_refuses(g, OPEN SHUT CALL("get_weather", "0"), SE, SB, CE, CA, OPEN, SHUT, NULL);
    grammar_unref(g);
    g = compile_tools(GRAMMAR_TOOLS_AUTO, true, 0);
    check_accepts(g, OPEN SHUT CALL("get_weather", "0") "text" END);
    check_refuses(g, OPEN SHUT CALL("get_weather", "0"), SE, SB, CB, NULL);
    check_refuses(g, OPEN SHUT CALL("get_weather", "0") "text", SB, CB, NULL);
    grammar_unref(g);
}

static void test_one_call(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_AUTO, true, 3);
    check_only(g, OPEN SHUT "a" SB CALL("get_weather", "3"), SE);
    check_accepts(g, OPEN SHUT "a" SB CALL("get_weather", "3") SE "text" END);
    check_refuses(g, OPEN SHUT SB CALL("get_weather", "3") SE, SB, CB, NULL);
    check_refuses(g, OPEN SHUT SB CALL("get_weather", "3") SE "a", SB, CB, NULL);
    grammar_unref(g);
    g = compile_tools(GRAMMAR_TOOLS_REQUIRED, true, 3);
    check_only(g, OPEN "a" SB CALL("get_weather", "3"), SE);
    check_only(g, OPEN "a" SB CALL("get_weather", "3") SE, ENDS);
    grammar_unref(g);
}

static void test_required(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_REQUIRED, false, 0);
    check_only(g, "", OPEN);
    check_refuses(g, OPEN "hm", "[EOS]", END, CB, SE, CA, CE, OPEN, NULL);
    check_accepts(g, OPEN "hm" SB CALL("get_weather", "0") SE END);
    check_only(g, OPEN "hm" SHUT, SB);
    check_only(g, OPEN "hm" SHUT SB, CB);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0"), CB SE);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0") CALL("get_weather", "1") SE, ENDS);
    check_must_end(g, OPEN SHUT SB CALL("get_weather", "0"), false);
    check_must_end(g, OPEN SHUT SB CALL("get_weather", "0") SE, true);
    grammar_unref(g);
}

static void test_indices(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_AUTO, false, 8);
    check_accepts(g, OPEN SHUT SB CALL("get_weather", "8") CALL("get_weather", "9")
                         CALL("get_weather", "10") CALL("get_weather", "11") SE
                  "a" SB CALL("get_weather", "12") SE END);
    check_refuses(g, OPEN SHUT SB CB "functions.go:", "7", "9", "0", NULL);
    check_refuses(g, OPEN SHUT SB CALL("get_weather", "8") CB "functions.go:", "8", "1", NULL);
    check_refuses(
        g, OPEN SHUT SB CALL("get_weather", "8") CALL("get_weather", "9") CB "functions.go:1", "1",
        CA, NULL);
    grammar_unref(g);
}

// More calls than matchers are kept for, and back from each.
static void test_many_calls(void **state) {
    (void)state;
    grammar *g = compile_tools(GRAMMAR_TOOLS_REQUIRED, false, 0);
    grammar_state *s = after(g, OPEN SHUT SB);
    for (int i = 0; i < 300; i++) {
        char call[160];
        bool go = i % 3 == 0;
        snprintf(call, sizeof call, CB "functions.%s:%d" CA "%s" CE, go ? "go" : "get_weather", i,
                 go ? "{}" : OSLO);
        base_ids ids = encode(call);
        take(s, call);
        grammar_state_rollback(s, (int)ids.len);
        take(s, call);
        base_ids_free(&ids);
    }
    take(s, SE END);
    grammar_state_free(s);
    grammar_unref(g);
}

// The arguments belong to the tool that was named, whatever is in its name.
static void test_names(void **state) {
    (void)state;
    json_t *list = json_loads("{\"type\":\"object\",\"properties\":{\"list\":{\"type\":\"array\"}},"
                              "\"required\":[\"list\"],\"additionalProperties\":false}",
                              0, NULL);
    grammar_tool tools[] = {tool("a", weather), tool("a:0", nothing), tool("mcp__x.y-z", list),
                            tool("s\xc3\xa4ge", nothing)};
    grammar_spec spec = {
        .thinking_budget = -1, .tool_choice = GRAMMAR_TOOLS_AUTO, .tools = tools, .n_tools = 4};
    grammar *g = compile(&spec);
    check_accepts(g, CB "functions.a:0" CA OSLO CE);
    check_accepts(g, CB "functions.a:0:0" CA "{}" CE);
    check_refuses(g, CB "functions.a:0" CA "{", "}", NULL);
    check_refuses(g, CB "functions.a:0:0" CA "{", "\"", NULL);
    check_accepts(g,
                  CB "functions.mcp__x.y-z:0" CA "{\"list\":[]}" CE CB "functions.s\xc3\xa4ge:1" CA
                     "{}" CE CB "functions.a:0:2" CA "{}" CE CB "functions.a:3" CA OSLO CE);
    check_refuses(g, CALL("a", "0") CB "functions.a:0", CA, NULL);
    grammar_unref(g);
    json_decref(list);
}

// ---------------------------------------------------------------------------------------------

static grammar *compile_budget(grammar_thought thought, int64_t budget,
                               grammar_tool_choice choice) {
    grammar_tool tools[] = {tool("get_weather", weather)};
    grammar_spec spec = {.thought = thought,
                         .thinking_budget = budget,
                         .tool_choice = choice,
                         .tools = tools,
                         .n_tools = 1};
    return compile(&spec);
}

static void test_budget(void **state) {
    (void)state;
    grammar *g = compile_budget(GRAMMAR_THOUGHT_TO_OPEN, 0, GRAMMAR_TOOLS_NONE);
    check_only(g, "", OPEN);
    check_only(g, OPEN, SHUT);
    check_accepts(g, OPEN SHUT "An answer" END);
    check_refuses(g, OPEN SHUT "a", SB, CB, CA, CE, SE, OPEN, SHUT, NULL);
    check_only(g, OPEN SHUT END, ENDS);
    grammar_unref(g);

    g = compile_budget(GRAMMAR_THOUGHT_TO_OPEN, 3, GRAMMAR_TOOLS_NONE);
    check_accepts(g, OPEN "~~" SHUT "An answer of more than three" END);
    check_refuses(g, OPEN "~~", SB, CB, CA, CE, SE, OPEN, NULL);
    check_only(g, OPEN "~~~", SHUT);
    grammar_unref(g);

    g = compile_budget(GRAMMAR_THOUGHT_OPEN, 2, GRAMMAR_TOOLS_REQUIRED);
    check_accepts(g, "~" SB CALL("get_weather", "0") SE END);
    check_only(g, "~~", SHUT);
    check_only(g, "~~" SHUT, SB);
    grammar_unref(g);

    g = compile_budget(GRAMMAR_THOUGHT_OPEN, 2, GRAMMAR_TOOLS_AUTO);
    check_only(g, "~~", SHUT);
    check_accepts(g, "~" SB CALL("get_weather", "0") SE "text" END);
    grammar_unref(g);
}

static int32_t byte_id(unsigned char byte) {
    for (int32_t id = 0; id < f.size; id++) {
        size_t len;
        const char *bytes = token_bytes(f.tokens, id, &len);
        if (len == 1 && (unsigned char)*bytes == byte)
            return id;
    }
    fail_msg("no token of byte %02x", byte);
    return -1;
}

// A budget that ends within a character waits for the rest of it, which is all that may come.
static void test_budget_of_characters(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        unsigned char low, high; // of the byte after
        int n;                   // bytes that are missing
    } cases[] = {
        {"\xc3", 0x80, 0xbf, 1},
        {"\xe0", 0xa0, 0xbf, 2},
        {"\xe4", 0x80, 0xbf, 2},
        {"\xed", 0x80, 0x9f, 2},
        {"\xe4\xb8", 0x80, 0xbf, 1},
        {"\xf0", 0x90, 0xbf, 3},
        {"\xf4", 0x80, 0x8f, 3},
        {"\xf1\x80", 0x80, 0xbf, 2},
        {"\xf0\x9f\x98", 0x80, 0xbf, 1},
        {"\xc3\xe4", 0x80, 0xbf, 2},
        {"a", 1, 0, 0},
        {"\xc3\xa4", 1, 0, 0},
        {"\xe0\x80", 1, 0, 0},
        {"\xc1", 1, 0, 0},
        {"\xf5", 1, 0, 0},
        {"\xf0\x9f\x98\x80", 1, 0, 0},
        {"\x80", 1, 0, 0},
        {"\xe4\xb8"
         "a",
         1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].bytes);
        grammar *g = compile_budget(GRAMMAR_THOUGHT_OPEN, (int64_t)n, GRAMMAR_TOOLS_AUTO);
        grammar_state *s = grammar_state_create(g);
        for (size_t j = 0; j < n; j++)
            assert_true(grammar_state_advance(s, byte_id((unsigned char)cases[i].bytes[j])));
        assert_true(grammar_state_mask(s, mask, f.size));
        for (int byte = 0; byte < 256; byte++)
            assert_int_equal(fixture_bit(mask, byte_id((unsigned char)byte)),
                             byte >= cases[i].low && byte <= cases[i].high);
        assert_int_equal(fixture_bit(mask, f.control.think_end), cases[i].n == 0);
        for (int left = cases[i].n; left > 0; left--) {
            assert_false(in_mask(s, f.control.think_end));
            assert_true(
                grammar_state_advance(s, byte_id(left == cases[i].n ? cases[i].low : 0x80)));
        }
        assert_true(grammar_state_advance(s, f.control.think_end));
        grammar_state_free(s);
        grammar_unref(g);
    }
}

// Calls that are not constrained leave a budget, and after the thought nothing.
static void test_free_calls(void **state) {
    (void)state;
    grammar *g = compile_budget(GRAMMAR_THOUGHT_TO_OPEN, 4, GRAMMAR_TOOLS_FREE);
    check_only(g, "", OPEN);
    check_only(g, OPEN "~~~~", SHUT);
    check_only(g, OPEN "~" CE OPEN "~", SHUT);
    check_accepts(g, OPEN "~~~" END);
    grammar_state *s = after(g, OPEN "~~~~" SHUT "text" CE SE "text" OPEN CA CB "noise" END "a");
    assert_false(grammar_state_mask(s, mask, f.size));
    grammar_state_free(s);
    s = after(g, OPEN "~" SB);
    assert_false(grammar_state_mask(s, mask, f.size));
    assert_false(grammar_state_must_end(s));
    grammar_state_free(s);
    s = after(g, OPEN "~"); // nothing is forbidden within the budget
    assert_false(grammar_state_mask(s, mask, f.size));
    grammar_state_free(s);
    grammar_unref(g);
}

// ---------------------------------------------------------------------------------------------

static grammar *compile_answer(grammar_answer answer, const char *text, grammar_thought thought,
                               grammar_tool_choice choice) {
    static const char *const choices[] = {"yes", "no", "yesterday"};
    static const size_t lens[] = {3, 2, 9};
    grammar_tool tools[] = {tool("get_weather", weather)};
    grammar_spec spec = {.thought = thought,
                         .thinking_budget = -1,
                         .tool_choice = choice,
                         .tools = tools,
                         .n_tools = choice != GRAMMAR_TOOLS_NONE,
                         .answer = answer,
                         .schema = weather,
                         .strict = true,
                         .regex = text,
                         .regex_len = text ? strlen(text) : 0,
                         .choices = choices,
                         .choice_lens = lens,
                         .n_choices = 3,
                         .answer_field = "response_format.json_schema.schema"};
    return compile(&spec);
}

static void test_answers(void **state) {
    (void)state;
    grammar *g = compile_answer(GRAMMAR_ANSWER_SCHEMA, NULL, GRAMMAR_THOUGHT_TO_OPEN, 0);
    check_only(g, "", OPEN);
    check_accepts(g, OPEN "hm" SHUT OSLO END);
    check_refuses(g, OPEN "hm", OPEN, SB, CB, CA, CE, SE, END, "[EOS]", NULL);
    check_refuses(g, OPEN SHUT, OPEN, SHUT, SB, CB, END, "a", "<|im_user|>", NULL);
    check_refuses(g, OPEN SHUT "{", SHUT, SB, CB, END, "}", NULL);
    check_only(g, OPEN SHUT OSLO END, ENDS);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_OBJECT, NULL, GRAMMAR_THOUGHT_NONE, 0);
    check_accepts(g, "{\"a\":[1,2,{\"b\":null}]}" END);
    check_refuses(g, "", "[", "a", "1", "\"", END, OPEN, NULL);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_REGEX, "[ab]+c?", GRAMMAR_THOUGHT_NONE, 0);
    check_accepts(g, "abba" END);
    check_only(g, "abc", ENDS);
    check_must_end(g, "ab", false);
    check_must_end(g, "abc", true);
    check_refuses(g, "", "c", END, NULL);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_REGEX, "", GRAMMAR_THOUGHT_NONE, 0);
    check_only(g, "", ENDS);
    check_must_end(g, "", true);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_CHOICE, NULL, GRAMMAR_THOUGHT_OPEN, 0);
    check_accepts(g, "hm" SHUT "yes" END);
    check_accepts(g, SHUT "yesterday" END);
    check_only(g, SHUT "no", ENDS);
    check_must_end(g, SHUT "no", true);
    check_must_end(g, SHUT "yes", false);
    check_refuses(g, SHUT, "maybe", END, NULL);
    grammar_unref(g);
}

// Beside tools, an answer of some language or calls.
static void test_answer_or_calls(void **state) {
    (void)state;
    grammar *g =
        compile_answer(GRAMMAR_ANSWER_SCHEMA, NULL, GRAMMAR_THOUGHT_TO_OPEN, GRAMMAR_TOOLS_AUTO);
    check_accepts(g, OPEN "hm" SHUT OSLO END);
    check_refuses(g, OPEN "hm", END, CE, CA, SE, NULL);
    check_refuses(g, OPEN SHUT "{", SB, CB, NULL);
    check_refuses(g, OPEN SHUT OSLO, SB, CB, NULL);
    check_accepts(g, OPEN SHUT SB CALL("get_weather", "0") SE END);
    check_accepts(g, OPEN "hm" SB CALL("get_weather", "0") SE SB CALL("get_weather", "1") SE END);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0") SE, SB ENDS);
    check_only(g, OPEN SHUT CALL("get_weather", "0"), CB ENDS);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_SCHEMA, NULL, GRAMMAR_THOUGHT_TO_OPEN,
                       GRAMMAR_TOOLS_REQUIRED);
    check_only(g, OPEN SHUT, SB);
    check_only(g, OPEN SHUT SB CALL("get_weather", "0") SE, ENDS);
    grammar_unref(g);

    g = compile_answer(GRAMMAR_ANSWER_SCHEMA, NULL, GRAMMAR_THOUGHT_TO_OPEN, GRAMMAR_TOOLS_FREE);
    check_accepts(g, OPEN SHUT OSLO END);
    check_refuses(g, OPEN SHUT "{", SB, CB, NULL);
    check_accepts(g, OPEN SHUT SB "noise" CE "more" END);
    grammar_unref(g);
}

// ---------------------------------------------------------------------------------------------

// Masks of more ids than there are have zeros there; ids out of range are not allowed.
static void test_ranges(void **state) {
    (void)state;
    static const struct {
        grammar_tool_choice choice;
        const char *text;
    } cases[] = {{GRAMMAR_TOOLS_AUTO, OPEN SHUT "a"},
                 {GRAMMAR_TOOLS_AUTO, OPEN SHUT SB CB},
                 {GRAMMAR_TOOLS_REQUIRED, OPEN SHUT}};
    for (size_t i = 0; i < 3; i++) {
        grammar *g = compile_tools(cases[i].choice, false, 0);
        grammar_state *s = after(g, cases[i].text);
        memset(mask, 0xff, ((size_t)f.words + 8) * sizeof *mask);
        assert_true(grammar_state_mask(s, mask, f.size + 200));
        for (int32_t id = f.size; id < f.size + 200; id++)
            assert_false(fixture_bit(mask, id));
        static const int32_t bad[] = {-1, -2147483647, 2147483647};
        for (size_t j = 0; j < 3; j++) {
            assert_false(grammar_state_advance(s, bad[j]));
            grammar_state_rollback(s, 1);
        }
        assert_false(grammar_state_advance(s, f.size));
        assert_false(grammar_state_mask(s, mask, f.size)); // from then on nothing is constrained
        assert_true(grammar_state_advance(s, 0));
        assert_true(grammar_state_advance(s, -1));
        assert_false(grammar_state_must_end(s));
        grammar_state_rollback(s, 3);
        assert_true(grammar_state_mask(s, mask, f.size));
        grammar_state_free(s);
        grammar_unref(g);
    }
}

// A call is undone as a whole, and another one made in its place.
static void test_rollback(void **state) {
    (void)state;
    static const char call[] = SB CB "functions.go:0" CA "{}" CE CB "functions.get_weather:1" CA;
    grammar *g = compile_tools(GRAMMAR_TOOLS_AUTO, false, 0);
    grammar_state *s = after(g, OPEN SHUT);
    base_ids ids = encode(call);
    assert_true(ids.len < GRAMMAR_MAX_ROLLBACK);
    for (size_t n = 0; n <= ids.len; n++) {
        take(s, call);
        grammar_state_rollback(s, (int)n);
        for (size_t i = ids.len - n; i < ids.len; i++)
            assert_true(grammar_state_advance(s, ids.data[i]));
        take(s, OSLO CE);
        base_ids tail = encode(OSLO CE);
        grammar_state_rollback(s, (int)(ids.len + tail.len));
        base_ids_free(&tail);
    }
    grammar_state_rollback(s, 1000); // no further than to the beginning
    grammar_state_rollback(s, 1);
    take(s, OPEN SHUT "a" END);
    base_ids_free(&ids);
    grammar_state_free(s);
    grammar_unref(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),         cmocka_unit_test(test_auto),
        cmocka_unit_test(test_bare_calls),      cmocka_unit_test(test_one_call),
        cmocka_unit_test(test_required),        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_many_calls),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_budget),          cmocka_unit_test(test_budget_of_characters),
        cmocka_unit_test(test_free_calls),      cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answer_or_calls), cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_rollback),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
