// Automata against what they stand for: sets of texts, operations on them, and JSON spellings.
#include "dfa_check.h"
#include <jansson.h>
#include <stdlib.h>

// All texts of up to four letters.
static void each_text(void (*visit)(const char *text, size_t len, void *context), void *context) {
    static const char letters[] = "abc";
    for (int len = 0; len <= 4; len++)
        for (int i = 0, n = len == 0   ? 1
                            : len == 1 ? 3
                            : len == 2 ? 9
                            : len == 3 ? 27
                                       : 81;
             i < n; i++) {
            char text[8] = "";
            for (int at = 0, rest = i; at < len; at++, rest /= 3)
                text[at] = letters[rest % 3];
            visit(text, (size_t)len, context);
        }
}

typedef struct triple {
    const grammar_dfa *a, *b, *both, *one, *counted;
    int64_t min, max;
} triple;

static void compare_operations(const char *text, size_t len, void *context) {
    const triple *t = context;
    bool in_a = grammar_dfa_matches(t->a, text, len), in_b = grammar_dfa_matches(t->b, text, len);
    assert_int_equal(grammar_dfa_matches(t->both, text, len), in_a && in_b);
    assert_int_equal(grammar_dfa_matches(t->one, text, len), in_a || in_b);
    bool fits = (int64_t)len >= t->min && (t->max < 0 || (int64_t)len <= t->max);
    assert_int_equal(grammar_dfa_matches(t->counted, text, len), in_a && fits);
}

static void test_operations(void **state) {
    (void)state;
    static const char *const patterns[] = {"a*", "(a|b)*c", "[abc]{2,3}", "a(bc)*", "b^",
                                           "",   ".*b.*",   "(ab|ba|c)*", "(aa)*",  "[ab]*a[ab]"};
    int n = sizeof patterns / sizeof *patterns;
    for (int i = 0; i < n * n; i++) {
        grammar_dfa *a = dfa_of_regex(patterns[i / n], 0), *b = dfa_of_regex(patterns[i % n], 0);
        grammar_dfa *both, *one, *counted;
        int64_t min = i % 4, max = i % 5 == 4 ? -1 : i % 5;
        assert_int_equal(grammar_dfa_intersect(&both, a, b, NULL), 0);
        assert_int_equal(grammar_dfa_unite(&one, a, b, NULL), 0);
        assert_int_equal(grammar_dfa_limit(&counted, a, min, max, NULL), 0);
        dfa_check(both);
        dfa_check(one);
        dfa_check(counted);
        each_text(compare_operations, &(triple){a, b, both, one, counted, min, max});
        grammar_dfa_free(counted);
        grammar_dfa_free(one);
        grammar_dfa_free(both);
        grammar_dfa_free(b);
        grammar_dfa_free(a);
    }
    grammar_dfa_free(NULL);
}

static void test_limit_counts_characters(void **state) {
    (void)state;
    grammar_dfa *d = dfa_of_regex("(a|é|←|😀)*", 0), *three, *none, *large = NULL;
    base_err err = {0};
    assert_int_equal(grammar_dfa_limit(&three, d, 3, 3, NULL), 0);
    dfa_check(three);
    assert_true(dfa_has(three, "😀é←"));
    assert_true(dfa_has(three, "aaa"));
    assert_false(dfa_has(three, "😀"));
    assert_false(dfa_has(three, "éééé"));
    assert_int_equal(grammar_dfa_limit(&none, three, 4, -1, NULL), 0);
    assert_true(grammar_dfa_is_empty(none));
    assert_int_equal(grammar_dfa_limit(&large, d, 1000000000, -1, &err), BASE_ERR_USAGE);
    assert_null(large);
    assert_non_null(strstr(err.message, "too large"));
    assert_int_equal(grammar_dfa_limit(&large, three, 0, INT64_MAX, NULL), 0); // it ends by itself
    assert_int_equal(large->n_states, three->n_states);
    grammar_dfa_free(large);
    grammar_dfa_free(none);
    grammar_dfa_free(three);
    grammar_dfa_free(d);
}

// ---------------------------------------------------------------------------------------------

static void test_literals(void **state) {
    (void)state;
    static const char *const words[] = {"true", "false", "", "tru", "blue", "true", "\"é\"", "due"};
    size_t lens[8], n = sizeof words / sizeof *words;
    for (size_t i = 0; i < n; i++)
        lens[i] = strlen(words[i]);
    for (size_t count = 0; count <= n; count++) {
        grammar_dfa *d;
        assert_int_equal(grammar_dfa_literals(&d, words, lens, count, NULL), 0);
        dfa_check(d);
        assert_int_equal(grammar_dfa_is_empty(d), count == 0);
        for (size_t i = 0; i < n; i++) {
            bool expected = false;
            for (size_t j = 0; j < count; j++)
                expected |= strcmp(words[i], words[j]) == 0;
            assert_int_equal(dfa_has(d, words[i]), expected);
        }
        assert_false(dfa_has(d, "t"));
        assert_false(dfa_has(d, "truee"));
        grammar_dfa_free(d);
    }
}

static void test_literal_bytes(void **state) {
    (void)state;
    const char *any[] = {"\0a", "\xff\x80", "\0"};
    size_t lens[] = {2, 2, 1};
    grammar_dfa *d;
    assert_int_equal(grammar_dfa_literals(&d, any, lens, 3, NULL), 0);
    dfa_check(d);
    for (int i = 0; i < 3; i++)
        assert_true(grammar_dfa_matches(d, any[i], lens[i]));
    assert_false(grammar_dfa_matches(d, "\xff", 1));
    grammar_dfa_free(d);
}

// Many words, of which a share has long ends in common.
static void test_many_literals(void **state) {
    (void)state;
    enum { COUNT = 10000, LEN = 100 };
    char *text = base_alloc((size_t)COUNT * (LEN + 1));
    const char **at = base_alloc(COUNT * sizeof *at);
    size_t *lens = base_alloc(COUNT * sizeof *lens);
    grammar_dfa *d = NULL;
    base_err err = {0};
    for (size_t i = 0; i < COUNT; i++) {
        at[i] = text + i * (LEN + 1);
        lens[i] = LEN;
        snprintf(text + i * (LEN + 1), LEN + 1, "item-%05zu%*s", i * 7919 % 100000, LEN - 10, "");
    }
    assert_int_equal(grammar_dfa_literals(&d, at, lens, COUNT, &err), 0);
    assert_true(d->n_states < 40000);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(grammar_dfa_matches(d, at[i], lens[i]));
    assert_false(grammar_dfa_matches(d, at[0], LEN - 1));
    grammar_dfa_free(d);
    for (size_t i = 0; i < (size_t)COUNT * (LEN + 1); i++)
        text[i] = (char)('a' + dfa_random(26)); // nothing in common: more states than there may be
    assert_int_equal(grammar_dfa_literals(&d, at, lens, COUNT, &err), BASE_ERR_USAGE);
    assert_null(d);
    assert_non_null(strstr(err.message, "too large"));
    lens[0] = SIZE_MAX; // not even looked at
    assert_int_equal(grammar_dfa_literals(&d, at, lens, COUNT, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "bytes together"));
    base_free(lens);
    base_free(at);
    base_free(text);
}

// ---------------------------------------------------------------------------------------------

static void check_quoted(const grammar_dfa *d, const grammar_dfa *quoted) {
    base_str text = {0};
    for (int i = 0; i < 60; i++) {
        dfa_walk(quoted, dfa_random(30), &text);
        json_error_t error;
        json_t *value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!json_is_string(value))
            fail_msg("not a JSON string: %.*s", (int)text.len, text.data);
        assert_true(grammar_dfa_matches(d, json_string_value(value), json_string_length(value)));
        json_decref(value);
    }
    for (int i = 0; i < 60; i++) { // the other way: jansson's own spelling, but for two habits
        dfa_walk(d, dfa_random(30), &text);
        const char *at = text.data == NULL ? "" : text.data;
        json_t *value = json_stringn(at, text.len);
        if (value == NULL)
            continue; // no UTF-8: it has no spelling
        char *spelled = json_dumps(value, JSON_ENCODE_ANY);
        for (char *p = spelled; (p = strstr(p, "\\u00")) != NULL; p++)
            p[5] = (char)(p[5] >= 'A' && p[5] <= 'F' ? p[5] + 32 : p[5]);
        if (!dfa_has(quoted, spelled))
            fail_msg("not allowed: %s", spelled);
        free(spelled);
        json_decref(value);
    }
    base_str_free(&text);
}

static void test_quote(void **state) {
    (void)state;
    static const char *const patterns[] = {
        "[\\s\\S]*",      "a*",      "[\"\\\\/]+", "[\\0-\\x20]{1,5}", "(\\n|\\t|\\x1f|x)*",
        "[é←😀\"]{0,3}",   "a|b|\\f", "",           "\\x7f+",           "\\n",
        "[\\x08-\\x0d]*", "n\"u0"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        grammar_dfa *d = dfa_of_regex(patterns[i], 0), *quoted;
        assert_int_equal(grammar_dfa_quote(&quoted, d, NULL), 0);
        dfa_check(quoted);
        check_quoted(d, quoted);
        grammar_dfa_free(quoted);
        grammar_dfa_free(d);
    }
}

static void test_quote_spelling(void **state) {
    (void)state;
    static const char *const yes[] = {"\"\"",     "\"\\n\"",   "\"\\u0000\"", "\"\\u001f\"",
                                      "\"\\\"\"", "\"\\\\/\"", "\"\x7f\"",    "\"\\u000b\"",
                                      "\"é😀\"",   "\"\\b\\f\""};
    static const char *const no[] = {"\"",
                                     "\"\n\"",
                                     "\"\\u000a\"",
                                     "\"\\u001F\"",
                                     "\"\\/\"",
                                     "\"\\u0022\"",
                                     "\"\\u0041\"",
                                     "\"\\u00e9\"",
                                     "\"\\\"",
                                     "\"a\"b",
                                     "\"\\a\"",
                                     "\"\\u0020\"",
                                     "\"\xc0\x80\"",
                                     "\"\xed\xa0\x80\"",
                                     "\"\xf4\x90\x80\x80\"",
                                     "\"\x80\"",
                                     "\"\xe2\x82\"",
                                     "\"\\U0000\"",
                                     "a",
                                     ""};
    grammar_dfa *d = dfa_of_regex("[\\s\\S]*", 0), *quoted;
    assert_int_equal(grammar_dfa_quote(&quoted, d, NULL), 0);
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(dfa_has(quoted, yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(dfa_has(quoted, no[i]));
    grammar_dfa_free(quoted);
    grammar_dfa_free(d);
}

// Texts that are no UTF-8 have no spelling.
static void test_quote_bytes(void **state) {
    (void)state;
    static const char *const bytes[] = {
        "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82",
        "é",    "\x80",     "ok",           "\xf0\x8f\xbf\xbf"};
    size_t lens[9], n = sizeof bytes / sizeof *bytes;
    for (size_t i = 0; i < n; i++)
        lens[i] = strlen(bytes[i]);
    grammar_dfa *d, *quoted, *expected;
    assert_int_equal(grammar_dfa_literals(&d, bytes, lens, n, NULL), 0);
    assert_int_equal(grammar_dfa_quote(&quoted, d, NULL), 0);
    dfa_check(quoted);
    assert_int_equal(grammar_dfa_literals(&expected, (const char *[]){"\"é\"", "\"ok\""},
                                          (size_t[]){4, 4}, 2, NULL),
                     0);
    assert_int_equal(quoted->n_states, expected->n_states);
    assert_true(dfa_has(quoted, "\"é\""));
    assert_true(dfa_has(quoted, "\"ok\""));
    grammar_dfa_free(expected);
    grammar_dfa_free(quoted);
    grammar_dfa_free(d);
    assert_int_equal(grammar_dfa_literals(&d, bytes, lens, 1, NULL), 0);
    assert_int_equal(grammar_dfa_quote(&quoted, d, NULL), 0);
    assert_true(grammar_dfa_is_empty(quoted));
    grammar_dfa_free(quoted);
    grammar_dfa_free(d);
}

static void test_too_large(void **state) {
    (void)state;
    base_err err = {0};
    grammar_dfa *a = dfa_of_regex("(a{997}|b)*", 0), *b = dfa_of_regex("(a{991}|c)*", 0);
    grammar_dfa *out = (grammar_dfa *)&err;
    assert_int_equal(grammar_dfa_unite(&out, a, b, &err), BASE_ERR_USAGE);
    assert_null(out);
    assert_non_null(strstr(err.message, "too large"));
    assert_int_equal(grammar_dfa_intersect(&out, a, b, &err), BASE_ERR_USAGE);
    assert_null(out);
    grammar_dfa_free(b);
    grammar_dfa_free(a);
    a = dfa_of_regex("^.{0,5000}$", 0);
    assert_int_equal(grammar_dfa_quote(&out, a, &err), BASE_ERR_USAGE);
    assert_null(out);
    grammar_dfa_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),     cmocka_unit_test(test_limit_counts_characters),
        cmocka_unit_test(test_literals),       cmocka_unit_test(test_literal_bytes),
        cmocka_unit_test(test_many_literals),  cmocka_unit_test(test_quote),
        cmocka_unit_test(test_quote_spelling), cmocka_unit_test(test_quote_bytes),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
