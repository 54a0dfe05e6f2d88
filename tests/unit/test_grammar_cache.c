// Compiled languages are found again, forgotten in order and never while in use; what cannot be
// compiled is refused with the field's name.
#include "grammar/constraint.h"
#include "grammar_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static grammar_fixture f;

static int set_up(void **state) {
    (void)state;
    f = fixture_grammar();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_grammar_free(&f);
    return 0;
}

static json_t *load(const char *text) {
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static grammar_spec spec_of(const json_t *schema) {
    return (grammar_spec){.thinking_budget = -1,
                          .answer = GRAMMAR_ANSWER_SCHEMA,
                          .schema = schema,
                          .answer_field = "field"};
}

static grammar *compile(const grammar_spec *spec, base_str *relaxed) {
    grammar *g;
    base_err err = {0};
    if (grammar_compile(&g, f.vocab, spec, relaxed, &err))
        fail_msg("%s", err.message);
    return g;
}

// Compiles the schema and forgets the constraint; whether its language was found.
static bool found(const char *text) {
    grammar_stats before, after;
    json_t *schema = load(text);
    grammar_spec spec = spec_of(schema);
    grammar_get_stats(f.vocab, &before);
    grammar_unref(compile(&spec, NULL));
    grammar_get_stats(f.vocab, &after);
    json_decref(schema);
    assert_int_equal(after.languages, before.languages + 1);
    return after.languages_found > before.languages_found;
}

static void test_found(void **state) {
    (void)state;
    assert_false(found("{\"enum\":[1,2]}"));
    assert_true(found("{\"enum\" : [1, 2]}"));
    assert_false(found("{\"enum\":[2,1]}"));
    assert_false(found("{\"enum\":[1,2.0]}"));
    assert_true(found("{\"enum\":[1,2.0]}"));

    json_t *schema = load("{\"enum\":[1,2]}");
    for (int flags = 1; flags < 8; flags++) { // each option makes a language of its own
        grammar_stats before, after;
        grammar_spec spec = spec_of(schema);
        spec.strict = flags & 1;
        spec.no_whitespace = flags & 2;
        spec.no_additional = flags & 4;
        grammar_get_stats(f.vocab, &before);
        grammar_unref(compile(&spec, NULL));
        grammar_get_stats(f.vocab, &after);
        assert_int_equal(after.languages_found, before.languages_found);
        grammar_unref(compile(&spec, NULL));
        grammar_get_stats(f.vocab, &after);
        assert_int_equal(after.languages_found, before.languages_found + 1);
    }
    json_decref(schema);
}

// The same text as a schema, a regular expression, a choice and a tool's name.
static void test_kinds(void **state) {
    (void)state;
    static const char text[] = "1";
    const char *choice = text;
    size_t len = 1;
    grammar_stats before, after;
    grammar_tool tool = {
        .name = text, .name_len = 1, .field = "tools[0].function.parameters", .strict = true};
    grammar_spec regex = {.thinking_budget = -1,
                          .answer = GRAMMAR_ANSWER_REGEX,
                          .regex = text,
                          .regex_len = 1,
                          .answer_field = "field"};
    grammar_spec choices = {.thinking_budget = -1,
                            .answer = GRAMMAR_ANSWER_CHOICE,
                            .choices = &choice,
                            .choice_lens = &len,
                            .n_choices = 1,
                            .answer_field = "field"};
    grammar_spec tools = {
        .thinking_budget = -1, .tool_choice = GRAMMAR_TOOLS_AUTO, .tools = &tool, .n_tools = 1};
    grammar_get_stats(f.vocab, &before);
    for (int i = 0; i < 2; i++) {
        grammar_unref(compile(&regex, NULL));
        grammar_unref(compile(&choices, NULL));
        grammar_unref(compile(&tools, NULL));
    }
    grammar_get_stats(f.vocab, &after);
    assert_int_equal(after.languages, before.languages + 8);
    assert_int_equal(after.languages_found, before.languages_found + 4);
}

// Keywords that were relaxed are reported alike when the language is found, under the field it is
// compiled for then.
static void test_relaxed(void **state) {
    (void)state;
    json_t *schema = load("{\"type\":\"object\",\"frobnicate\":1,\"properties\":{\"a\":{"
                          "\"type\":\"string\",\"twiddle\":2}}}");
    base_str first = {0}, second = {0}, other = {0};
    grammar_spec spec = spec_of(schema);
    grammar_unref(compile(&spec, &first));
    grammar_unref(compile(&spec, &second));
    assert_non_null(strstr(first.data, "field"));
    assert_non_null(strstr(first.data, "frobnicate"));
    assert_non_null(strstr(first.data, "twiddle"));
    assert_string_equal(first.data, second.data);
    spec.answer_field = "tools[7].x";
    grammar_unref(compile(&spec, &other));
    assert_memory_equal(other.data, "tools[7].x", 10);
    assert_null(strstr(other.data, "field"));
    assert_non_null(strstr(other.data, "twiddle"));
    size_t len = other.len; // another report is appended
    grammar_unref(compile(&spec, &other));
    assert_int_equal(other.len, 2 * len + 2);
    assert_memory_equal(other.data + len, ", tools[7].x", 12);

    base_err err = {0};
    grammar *g;
    spec.strict = true;
    assert_int_equal(grammar_compile(&g, f.vocab, &spec, NULL, &err), BASE_ERR_USAGE);
    assert_null(g);
    assert_memory_equal(err.message, "tools[7].x", 10);
    json_decref(schema);
    base_str_free(&first);
    base_str_free(&second);
    base_str_free(&other);
}

// The least recently used is forgotten first.
static void test_order(void **state) {
    (void)state;
    grammar_fixture small = fixture_grammar(), kept = f;
    f = small;
    assert_false(found("{\"enum\":[\"a\"]}"));
    assert_false(found("{\"enum\":[\"b\"]}"));
    assert_true(found("{\"enum\":[\"a\"]}"));
    grammar_stats stats;
    grammar_get_stats(f.vocab, &stats);
    f.vocab->cache.limit = stats.bytes + stats.bytes / 4; // room for two
    assert_false(found("{\"enum\":[\"c\"]}"));
    assert_true(found("{\"enum\":[\"a\"]}"));
    assert_false(found("{\"enum\":[\"b\"]}"));
    assert_true(found("{\"enum\":[\"a\"]}"));
    assert_false(found("{\"enum\":[\"c\"]}"));
    for (int i = 0; i < 300; i++) { // many, so that the table grows
        char text[32];
        f.vocab->cache.limit = SIZE_MAX;
        snprintf(text, sizeof text, "{\"enum\":[%d]}", i);
        assert_false(found(text));
    }
    for (int i = 0; i < 300; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"enum\":[%d]}", i);
        assert_true(found(text));
    }
    fixture_grammar_free(&f);
    f = kept;
}

// What is in use stays, also when there is no room at all.
static void test_in_use(void **state) {
    (void)state;
    grammar_fixture small = fixture_grammar(), kept = f;
    f = small;
    f.vocab->cache.limit = 0;
    json_t *schema = load("{\"enum\":[\"a\",\"bc\"]}");
    grammar_spec spec = spec_of(schema);
    grammar *g = compile(&spec, NULL), *same = compile(&spec, NULL);
    json_decref(schema);
    grammar_state *s = grammar_state_create(g);
    grammar_unref(g);
    grammar_unref(same);
    assert_false(found("{\"enum\":[\"c\"]}"));
    assert_false(found("{\"enum\":[\"c\"]}")); // nobody uses it
    assert_true(found("{\"enum\":[\"a\",\"bc\"]}"));
    base_ids ids = {0};
    token_encode(f.tokens, "\"bc\"", 4, TOKEN_PLAIN, &ids);
    uint32_t *mask = base_calloc((size_t)f.words, sizeof *mask);
    for (size_t i = 0; i < ids.len; i++) {
        assert_true(grammar_state_mask(s, mask, f.size));
        assert_true(fixture_bit(mask, ids.data[i]));
        assert_true(grammar_state_advance(s, ids.data[i]));
    }
    grammar_stats stats;
    grammar_get_stats(f.vocab, &stats);
    assert_int_equal(stats.masks, ids.len);
    assert_true(stats.bytes > 0);
    grammar_state_free(s);
    grammar_get_stats(f.vocab, &stats);
    assert_int_equal(stats.bytes, 0);

    base_err err = {0}; // of those in use there is a limit, too
    schema = load("{\"enum\":[\"a\",\"bc\"]}");
    spec.schema = schema;
    f.vocab->cache.limit_used = 10;
    assert_int_equal(grammar_compile(&g, f.vocab, &spec, NULL, &err), BASE_ERR_RESOURCE);
    assert_null(g);
    json_decref(schema);
    base_ids_free(&ids);
    base_free(mask);
    fixture_grammar_free(&f);
    f = kept;
}

// ---------------------------------------------------------------------------------------------

static void check_refused(const grammar_spec *spec, const char *message) {
    grammar *g = (grammar *)&f;
    base_err err = {0};
    assert_int_equal(grammar_compile(&g, f.vocab, spec, NULL, &err), BASE_ERR_USAGE);
    assert_null(g);
    if (strncmp(err.message, message, strlen(message)) != 0)
        fail_msg("%s, not %s", err.message, message);
}

static void test_tool_names(void **state) {
    (void)state;
    static char long_name[258];
    memset(long_name, 'x', 257);
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"", "tools[1].function.name: \"\" "},
        {"a\nb", "tools[1].function.name: \"a?b\" has a control"},
        {"\x7f", "tools[1].function.name: "},
        {"\xff", "tools[1].function.name: "},
        {"\xed\xa0\x80", "tools[1].function.name: "},
        {"go", "tools[1].function.name: \"go\" is declared twice"},
        {long_name, "tools[1].function.name: \"xxx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        grammar_tool tools[] = {
            {.name = "go", .name_len = 2, .field = "tools[0].function.parameters"},
            {.name = cases[i].name,
             .name_len = strlen(cases[i].name),
             .field = "tools[1].function.parameters"},
        };
        grammar_spec spec = {
            .thinking_budget = -1, .tool_choice = GRAMMAR_TOOLS_AUTO, .tools = tools, .n_tools = 2};
        check_refused(&spec, cases[i].message);
    }
    long_name[256] = '\0';
    grammar_tool longest = {.name = long_name, .name_len = 256, .field = "x"};
    grammar_spec spec = {.thinking_budget = -1,
                         .tool_choice = GRAMMAR_TOOLS_REQUIRED,
                         .tools = &longest,
                         .n_tools = 1};
    grammar_unref(compile(&spec, NULL));
    spec.n_tools = 0;
    check_refused(&spec, "tools: ");
}

static void test_errors(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "3",
        "{\"type\":\"strange\"}",
        "{\"$ref\":\"#/$defs/none\"}",
        "{\"$ref\":\"#\"}",
        "{\"enum\":[]}",
        "false",
        "{\"type\":\"string\",\"pattern\":\"(\"}",
        "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
        "{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        json_t *schema = load(schemas[i]);
        grammar_spec spec = spec_of(schema);
        spec.strict = true; // else what is wrong with a keyword may be relaxed
        check_refused(&spec, "field");
        grammar_tool tools[] = {{.name = "a", .name_len = 1, .field = "tools[0].p"},
                                {.name = "b", .name_len = 1, .field = "tools[1].p"}};
        tools[1].parameters = schema;
        tools[1].strict = true;
        grammar_spec calls = {
            .thinking_budget = -1, .tool_choice = GRAMMAR_TOOLS_AUTO, .tools = tools, .n_tools = 2};
        check_refused(&calls, "tools[1].p");
        json_decref(schema);
    }
    grammar_spec regex = {.thinking_budget = -1,
                          .answer = GRAMMAR_ANSWER_REGEX,
                          .regex = "(",
                          .regex_len = 1,
                          .answer_field = "structured_outputs.regex"};
    check_refused(&regex, "structured_outputs.regex: ");
    regex.regex = "(?=a)b";
    regex.regex_len = 6;
    check_refused(&regex, "structured_outputs.regex: ");
}

// Without control tokens only answers can be constrained; without an end, nothing.
static void test_poor_vocabularies(void **state) {
    (void)state;
    grammar_tokens none = {-1, -1, -1, -1, -1, -1, -1, 1, {f.control.ends[0]}};
    grammar_fixture poor = f, kept = f;
    poor.vocab = grammar_vocab_create(f.tokens, &none);
    f = poor;
    grammar_tool tool = {.name = "a", .name_len = 1, .field = "tools[0].p"};
    grammar_spec spec = {
        .thinking_budget = -1, .tool_choice = GRAMMAR_TOOLS_AUTO, .tools = &tool, .n_tools = 1};
    check_refused(&spec, "tools: ");
    json_t *schema = load("{\"const\":1}");
    spec = spec_of(schema);
    grammar *g = compile(&spec, NULL);
    grammar_state *s = grammar_state_create(g);
    base_ids ids = {0};
    token_encode(f.tokens, "1", 1, TOKEN_PLAIN, &ids);
    assert_true(grammar_state_advance(s, ids.data[0]));
    assert_true(grammar_state_must_end(s));
    base_ids_free(&ids);
    grammar_state_free(s);
    grammar_unref(g);
    spec.thought = GRAMMAR_THOUGHT_OPEN;
    check_refused(&spec, "the vocabulary has no tokens for thoughts");
    grammar_vocab_free(f.vocab);
    none.ends[0] = 1 << 30; // no id of the vocabulary
    f.vocab = grammar_vocab_create(f.tokens, &none);
    spec.thought = GRAMMAR_THOUGHT_NONE;
    check_refused(&spec, "the model has no id");
    json_decref(schema);
    grammar_vocab_free(f.vocab);
    f = kept;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),   cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_relaxed), cmocka_unit_test(test_order),
        cmocka_unit_test(test_in_use),  cmocka_unit_test(test_tool_names),
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_poor_vocabularies),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
