// Schemas made to take for ever: compiled or refused, in time and memory that are bounded.
#include "grammar/constraint.h"
#include "grammar_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static grammar_fixture f;
static double unit; // seconds that some work takes

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// What the machine and the build (sanitizers) take for work of a known size; about 25 ms when
// optimised.
static double slowness(void) {
    double begin = cpu_seconds();
    base_str text = {0};
    uint64_t seed = 1;
    for (int i = 0; i < 3000000; i++) {
        char c = (char)('a' + fixture_random(&seed, 26));
        base_str_add(&text, &c, 1);
    }
    base_str_free(&text);
    double seconds = cpu_seconds() - begin;
    return seconds > 0.02 ? seconds : 0.02;
}

static int set_up(void **state) {
    (void)state;
    f = fixture_grammar();
    unit = slowness();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_grammar_free(&f);
    return 0;
}

// May be refused, as the client's fault, with the field's name; never slow.
static void check_bomb(const char *name, const grammar_spec *spec, bool must_fail) {
    grammar *g;
    base_err err = {0};
    base_str relaxed = {0};
    double begin = cpu_seconds();
    int rc = grammar_compile(&g, f.vocab, spec, &relaxed, &err);
    double seconds = cpu_seconds() - begin;
    if (rc == 0) { // the first masks are what a bomb may cost as well
        fixture_walk w = fixture_walk_begin(&f, g, 1);
        assert_int_not_equal(fixture_walk_on(&w, 20, 60), FIXTURE_WALK_BROKEN);
        fixture_walk_end(&w);
    }
    printf("# %-28s %6.1f ms, with a walk %6.1f ms: %.90s\n", name, 1e3 * seconds,
           1e3 * (cpu_seconds() - begin), rc ? err.message : "compiled");
    assert_true(rc == 0 || rc == BASE_ERR_USAGE);
    if (must_fail)
        assert_int_equal(rc, BASE_ERR_USAGE);
    if (rc)
        assert_non_null(strstr(err.message, "field"));
    assert_true(seconds < 100 * unit); // about two seconds
    grammar_unref(g);
    base_str_free(&relaxed);
}

static void check_schema(const char *name, const char *text, size_t len, bool must_fail) {
    base_err err = {0};
    json_t *schema = base_json_parse(text, len, "schema", BASE_ERR_USAGE, &err);
    if (!schema)
        fail_msg("%s", err.message);
    for (int strict = 0; strict < 2; strict++) {
        grammar_spec spec = {.thinking_budget = -1,
                             .answer = GRAMMAR_ANSWER_SCHEMA,
                             .schema = schema,
                             .strict = strict,
                             .answer_field = "field"};
        check_bomb(name, &spec, must_fail);
    }
    json_decref(schema);
}

static void check_text(const char *name, const char *text, bool must_fail) {
    check_schema(name, text, strlen(text), must_fail);
}

static void check_regex(const char *name, const char *pattern) {
    grammar_spec spec = {.thinking_budget = -1,
                         .answer = GRAMMAR_ANSWER_REGEX,
                         .regex = pattern,
                         .regex_len = strlen(pattern),
                         .answer_field = "field"};
    check_bomb(name, &spec, false);
    json_t *schema = json_pack("{s:s,s:s}", "type", "string", "pattern", pattern);
    spec = (grammar_spec){.thinking_budget = -1,
                          .answer = GRAMMAR_ANSWER_SCHEMA,
                          .schema = schema,
                          .answer_field = "field"};
    check_bomb(name, &spec, false);
    json_decref(schema);
}

// ---------------------------------------------------------------------------------------------

static void test_large(void **state) {
    (void)state;
    base_str text = {0};
    base_str_adds(&text, "{\"enum\":[");
    for (int i = 0; i < 100000; i++)
        base_str_printf(&text, "%s\"value %d of many\"", i ? "," : "", i);
    base_str_adds(&text, "]}");
    check_schema("100,000 values", text.data, text.len, false);

    base_str_clear(&text);
    base_str_adds(&text, "{\"enum\":[");
    uint64_t seed = 1;
    for (int i = 0; i < 100000; i++)
        base_str_printf(&text, "%s\"%08x%08x\"", i ? "," : "", fixture_random(&seed, 1u << 31),
                        fixture_random(&seed, 1u << 31));
    base_str_adds(&text, "]}");
    check_schema("100,000 random values", text.data, text.len, true);

    base_str_clear(&text);
    base_str_adds(&text, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < 50000; i++)
        base_str_printf(&text, "%s\"p%d\":{\"type\":\"string\"}", i ? "," : "", i);
    base_str_adds(&text, "}}");
    check_schema("50,000 properties", text.data, text.len, false);

    base_str_clear(&text);
    base_str_adds(&text, "{\"anyOf\":[");
    for (int i = 0; i < 20000; i++)
        base_str_printf(&text, "%s{\"type\":\"object\",\"properties\":{\"p%d\":{}}}", i ? "," : "",
                        i);
    base_str_adds(&text, "]}");
    check_schema("20,000 branches", text.data, text.len, false);
    base_str_free(&text);
}

static void test_deep(void **state) {
    (void)state;
    base_str text = {0};
    for (int i = 0; i < 60000; i++)
        base_str_adds(&text, "{\"items\":");
    base_str_adds(&text, "{}");
    for (int i = 0; i < 60000; i++)
        base_str_adds(&text, "}");
    base_err err = {0};
    double begin = cpu_seconds();
    assert_null(base_json_parse(text.data, text.len, "schema", BASE_ERR_USAGE, &err));
    assert_true(cpu_seconds() - begin < 10 * unit);

    static const char *const levels[] = {"{\"items\":", "{\"not\":", "{\"allOf\":[",
                                         "{\"anyOf\":[{\"type\":\"null\"},",
                                         "{\"type\":\"object\",\"properties\":{\"a\":"};
    static const char *const ends[] = {"}", "}", "]}", "]}", "}}"};
    for (size_t k = 0; k < 5; k++) {
        int depth = k == 4 || k == 2 || k == 3 ? 250 : 500;
        base_str_clear(&text);
        for (int i = 0; i < depth; i++)
            base_str_adds(&text, levels[k]);
        base_str_adds(&text, "{}");
        for (int i = 0; i < depth; i++)
            base_str_adds(&text, ends[k]);
        check_schema(levels[k], text.data, text.len, false);
    }
    base_str_free(&text);
}

// References that lead nowhere, or to more and more.
static void test_references(void **state) {
    (void)state;
    check_text("itself", "{\"$ref\":\"#\"}", true);
    check_text("a circle",
               "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},"
               "\"b\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}",
               true);
    check_text("always one more",
               "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},"
               "\"required\":[\"a\"]}",
               true);
    base_str text = {0};
    base_str_adds(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 100; i++)
        base_str_printf(&text,
                        "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},"
                        "{\"$ref\":\"#/$defs/d%d\"}]},",
                        i, i + 1, i + 1);
    base_str_adds(&text, "\"d100\":{\"type\":\"null\"}}}");
    check_schema("2^100 branches", text.data, text.len, false);

    base_str_clear(&text);
    base_str_adds(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 100; i++)
        base_str_printf(&text,
                        "\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},"
                        "{\"$ref\":\"#/$defs/d%d\"}]},",
                        i, i + 1, i + 1);
    base_str_adds(&text, "\"d100\":{\"type\":\"string\",\"pattern\":\"a\"}}}");
    check_schema("2^100 conjunctions", text.data, text.len, false);

    base_str_clear(&text);
    base_str_adds(&text, "{\"allOf\":[");
    for (int i = 0; i < 60; i++) // a product of choices
        base_str_printf(&text,
                        "%s{\"anyOf\":[{\"properties\":{\"a%d\":{\"type\":\"null\"}}},"
                        "{\"properties\":{\"b%d\":{\"type\":\"null\"}}}]}",
                        i ? "," : "", i, i);
    base_str_adds(&text, "]}");
    check_schema("2^60 products", text.data, text.len, false);

    base_str_clear(&text); // a long chain
    base_str_adds(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 20000; i++)
        base_str_printf(&text, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
    base_str_adds(&text, "\"d20000\":{\"type\":\"null\"}}}");
    check_schema("20,000 references", text.data, text.len, false);

    base_str_clear(&text); // objects that hold each other
    base_str_adds(&text, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 2000; i++)
        base_str_printf(&text,
                        "%s\"d%d\":{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":"
                        "\"#/$defs/d%d\"}},\"required\":[\"a\"]}",
                        i ? "," : "", i, (i + 1) % 2000);
    base_str_adds(&text, "}}");
    check_schema("2,000 objects in a circle", text.data, text.len, true);
    base_str_free(&text);
}

static void test_counters(void **state) {
    (void)state;
    check_text("long strings", "{\"type\":\"string\",\"minLength\":1000000000}", false);
    check_text("at most long strings", "{\"type\":\"string\",\"maxLength\":1000000000}", false);
    check_text("long pattern", "{\"type\":\"string\",\"pattern\":\"^a+$\",\"minLength\":1000000}",
               false);
    check_text("many items",
               "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":1000000000}", false);
    check_text("nested items",
               "{\"type\":\"array\",\"minItems\":100000,\"items\":{\"type\":\"array\","
               "\"minItems\":100000,\"items\":{\"type\":\"array\",\"minItems\":100000,\"items\":{"
               "\"type\":\"array\",\"minItems\":1000000,\"items\":{\"type\":\"null\"}}}}}",
               false);
    check_text("many properties", "{\"type\":\"object\",\"minProperties\":1000000000}", false);
    check_text("a fine multiple", "{\"type\":\"integer\",\"multipleOf\":1000003}", false);
    check_text("large bounds", "{\"type\":\"integer\",\"minimum\":-1e300,\"maximum\":1e300}",
               false);
}

static void test_regexes(void **state) {
    (void)state;
    check_regex("nested stars", "(((((a*)*)*)*)*)*b");
    check_regex("counted counts", "((a{1,1000}){1,1000}){1,1000}");
    check_regex("a look back", "(a|b)*a(a|b){40}");
    check_regex("a large count", "^.{1,1000000}$");
    check_regex("a count of classes", "[^a]{60000}");
    check_regex("branches with counts", "(a?){200}a{200}");
    check_regex("searches", ".*a.*b.*c.*d.*e.*f.*g.*h.*i.*j.*k.*l.*m.*n.*o.*");
    base_str pattern = {0};
    for (int i = 0; i < 20000; i++)
        base_str_adds(&pattern, "(");
    check_regex("open groups", pattern.data);
    base_str_adds(&pattern, "a");
    for (int i = 0; i < 20000; i++)
        base_str_adds(&pattern, ")");
    check_regex("deep groups", pattern.data);
    base_str_clear(&pattern);
    for (int i = 0; i < 20000; i++)
        base_str_printf(&pattern, "%s(%d.*)", i ? "|" : "", i);
    check_regex("many branches", pattern.data);
    base_str_free(&pattern);

    json_t *schema = json_pack("{s:s,s:[{s:s},{s:s},{s:s}]}", "type", "string", "allOf", "pattern",
                               "(a|b)*a(a|b){11}$", "pattern", "^(a|b)*b(a|b){12}$", "pattern",
                               "^((a|b){17})*$");
    grammar_spec spec = {.thinking_budget = -1,
                         .answer = GRAMMAR_ANSWER_SCHEMA,
                         .schema = schema,
                         .answer_field = "field"};
    check_bomb("intersections", &spec, false);
    json_decref(schema);
}

enum { N_TOOLS = 1000 };

static void check_tools(const char *name, const char *pattern, int n_properties) {
    static char names[N_TOOLS][24];
    grammar_tool *tools = base_calloc(N_TOOLS, sizeof *tools);
    json_t *schemas[N_TOOLS];
    for (int i = 0; i < N_TOOLS; i++) {
        json_t *properties = json_object();
        for (int j = 0; j < n_properties; j++) {
            char key[48];
            snprintf(key, sizeof key, "property %d of %d", j, i);
            json_object_set_new(properties, key,
                                json_pack("{s:s,s:s}", "type", "string", "pattern", pattern));
        }
        schemas[i] = json_pack("{s:s,s:o}", "type", "object", "properties", properties);
        snprintf(names[i], sizeof names[i], "tool_%d", i);
        tools[i] = (grammar_tool){.name = names[i],
                                  .name_len = strlen(names[i]),
                                  .parameters = schemas[i],
                                  .field = "field"};
    }
    grammar_spec spec = {.thinking_budget = -1,
                         .tool_choice = GRAMMAR_TOOLS_REQUIRED,
                         .tools = tools,
                         .n_tools = N_TOOLS};
    check_bomb(name, &spec, false);
    for (int i = 0; i < N_TOOLS; i++)
        json_decref(schemas[i]);
    base_free(tools);
}

static void test_tools(void **state) {
    (void)state;
    check_tools("1,000 tools", "^[a-z]+$", 10);
    check_tools("1,000 hard tools", "(a|b)*a(a|b){9}", 20);
    grammar_stats stats;
    grammar_get_stats(f.vocab, &stats);
    printf("# %zu MiB of languages at the end\n", stats.bytes >> 20);
    assert_true(stats.bytes <= f.vocab->cache.limit); // nothing is in use
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large),      cmocka_unit_test(test_deep),
        cmocka_unit_test(test_references), cmocka_unit_test(test_counters),
        cmocka_unit_test(test_regexes),    cmocka_unit_test(test_tools),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
