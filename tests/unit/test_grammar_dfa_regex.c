// Patterns against PCRE2, which backtracks through the pattern itself: random patterns on random
// texts, and texts that an automaton allows.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "dfa_check.h"
#include <pcre2.h>

static pcre2_code *oracle(const char *pattern, bool search) {
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    uint32_t whole = search ? 0 : PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX | whole,
                                     &error, &at, context);
    pcre2_compile_context_free(context);
    if (code == NULL)
        fail_msg("PCRE2 refuses %s at %zu", pattern, at);
    return code;
}

// 1, 0, or -1 where backtracking takes too long to know.
static int oracle_matches(const pcre2_code *code, const char *text, size_t len) {
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    int rc = pcre2_match(code, (PCRE2_SPTR)text, len, 0, 0, match, NULL);
    pcre2_match_data_free(match);
    return rc > 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

static const char *pick(const char *const *from, size_t n) {
    return from[dfa_random((uint32_t)n)];
}

#define PICK(list) pick(list, sizeof(list) / sizeof *(list))

static const char *const atoms[] = {
    "a",       "b",      "A",        "0",      "_",      " ",      "-",      "😀",        "←",
    ".",       "\\d",    "\\w",      "\\s",    "\\D",    "\\S",    "\\W",    "\\n",      "\\x41",
    "\\u2190", "\\.",    "[ab]",     "[^a]",   "[a-c0]", "[^\\w]", "[\\w-]", "[\\s\\S]", "[^\\d_]",
    "[-a]",    "[\\]a]", "[\\b\\t]", "[^\\W]", "[\\W0]", "[^←]",   "[☀-➿]",  "}",        "{a}",
    "]",       "/",      "\\/",      "\\\\",   "[a-]",   "a{",     "(?:)",   "[^\\s0]",
};
static const char *const counts[] = {"*",   "+",     "?",     "*?",    "+?",     "??",    "{2}",
                                     "{0}", "{1,2}", "{0,1}", "{2,}?", "{1,3}?", "{2,4}", "{0,}"};
// Of which all dialects and PCRE2 say the same: letters that are words everywhere, and no others.
static const char *const texts[] = {"a",
                                    "b",
                                    "A",
                                    "0",
                                    "_",
                                    " ",
                                    "-",
                                    "😀",
                                    "←",
                                    "c",
                                    "x",
                                    "/",
                                    "]",
                                    "\n",
                                    "\r",
                                    "\t",
                                    "\xe2\x98\x83",
                                    "\\",
                                    "}",
                                    "{"};

static void make_pattern(base_str *out, int depth) {
    uint32_t what = dfa_random(depth > 3 ? 3 : 12);
    if (what < 4) {
        base_str_adds(out, PICK(atoms));
    } else if (what < 7) {
        make_pattern(out, depth + 1);
        make_pattern(out, depth + 1);
    } else if (what < 9) {
        base_str_adds(out, what == 7 ? "(" : "(?:");
        make_pattern(out, depth + 1);
        base_str_adds(out, "|");
        make_pattern(out, depth + 1);
        base_str_adds(out, ")");
    } else if (what < 11) {
        base_str_adds(out, what == 9 ? "(?:" : "(");
        make_pattern(out, depth + 1);
        base_str_printf(out, ")%s", PICK(counts));
    } else {
        base_str_adds(out, dfa_random(2) ? "(?:^|a)" : "(?:$|b)");
        make_pattern(out, depth + 1);
    }
}

static void compare(const char *pattern, bool search, const grammar_dfa *d, int *matched) {
    pcre2_code *code = oracle(pattern, search);
    base_str text = {0};
    for (int i = 0; i < 24; i++) {
        if (i < 16 || d->n_states == 0) {
            base_str_clear(&text);
            for (uint32_t n = dfa_random(8); n > 0; n--)
                base_str_adds(&text, PICK(texts));
        } else {
            dfa_walk(d, dfa_random(20), &text);
        }
        const char *at = text.data == NULL ? "" : text.data;
        bool ours = grammar_dfa_matches(d, at, text.len);
        int theirs = oracle_matches(code, at, text.len);
        if (theirs >= 0 && ours != (theirs == 1))
            fail_msg("/%s/ on '%.*s': %d", pattern, (int)text.len, at, ours);
        *matched += ours;
    }
    base_str_free(&text);
    pcre2_code_free(code);
}

static void test_random_patterns(void **state) {
    (void)state;
    base_str pattern = {0};
    int matched = 0, total = 2500;
    dfa_random_state = 7;
    for (int i = 0; i < total; i++) {
        base_str_clear(&pattern);
        base_str_adds(&pattern, dfa_random(3) == 0 ? "^" : "");
        make_pattern(&pattern, 0);
        base_str_adds(&pattern, dfa_random(3) == 0 ? "$" : "");
        bool search = dfa_random(3) > 0;
        grammar_dfa *d = dfa_of_regex(pattern.data, search ? GRAMMAR_REGEX_SEARCH : 0);
        if (i % 10 == 0)
            dfa_check(d);
        compare(pattern.data, search, d, &matched);
        grammar_dfa_free(d);
    }
    base_str_free(&pattern);
    assert_true(matched > total * 4); // the comparison has seen both answers
}

// Where dialects differ: what a negated class leaves out in any of them is left out.
static void test_dialects(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {
        {"^\\d$", "7", "٣"},          {"^\\D$", "é", "٣"},
        {"^[^\\d]$", "x", "٣"},       {"^\\w$", "z", "é"},
        {"^\\W$", "←", "é"},          {"^[^\\w]$", "!", "漢"},
        {"^\\s$", "\f", "\u00a0"},    {"^\\S$", "é", "\u00a0"},
        {"^[^\\s]$", "_", "\u3000"},  {"^.$", "\x01", "\u2028"},
        {"^.$", "😀", "\r"},           {"^a$", "a", "a\n"},
        {"^[^\\W]$", "q", "é"},       {"^[\\w-.]$", "-", "+"},
        {"^[\\w-.]$", ".", ","},      {"^\\u{1F600}$", "😀", "😁"},
        {"^é+?$", "éé", "é\xcc\x81"}, {"^(?<n>a)(?P<m_1>b)$", "ab", "a"},
        {"^x{,$", "x{,", "x"},        {"^a{1$", "a{1", "a"},
        {"^[^é]$", "e", "é"},         {"^[\\s\\S]$", "\u00a0", ""},
        {"^[\\W\\w]$", "é", ""},      {"^[\\d\\D]$", "٣", ""},
        {"^a|b$", "ax", "xa"},        {"^$", "", "a"},
        {"(^a)?b", "xb", "xa"},

    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar_dfa *d = dfa_of_regex(cases[i].pattern, GRAMMAR_REGEX_SEARCH);
        dfa_check(d);
        if (!dfa_has(d, cases[i].yes) || dfa_has(d, cases[i].no))
            fail_msg("%s", cases[i].pattern);
        grammar_dfa_free(d);
    }
    grammar_dfa *d = dfa_of_regex("^\\0$", GRAMMAR_REGEX_SEARCH);
    assert_true(grammar_dfa_matches(d, "\0", 1));
    assert_false(dfa_has(d, ""));
    grammar_dfa_free(d);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *reason;
    } cases[] = {
        {"a(?=b)", "look-ahead (?="},
        {"a(?!b)", "negative look-ahead"},
        {"(?<=a)b", "look-behind"},
        {"(?<!a)b", "negative look-behind"},
        {"(a)\\1", "back reference"},
        {"(?<n>a)\\k<n>", "back reference"},
        {"(?P=n)", "back reference"},
        {"\\bfoo", "word boundary"},
        {"foo\\B", "word boundary"},
        {"\\p{L}", "Unicode property"},
        {"(?i)a", "inline flags"},
        {"(?i:a)", "inline flags"},
        {"(?>a)", "atomic"},
        {"a*+", "possessive"},
        {"a{2}+", "possessive"},
        {"a**", "two quantifiers"},
        {"a{2}{3}", "two quantifiers"},
        {"a*??", "two quantifiers"},
        {"*a", "nothing to repeat"},
        {"a|*", "nothing to repeat"},
        {"(+)", "nothing to repeat"},
        {"{2}", "nothing to repeat"},
        {"^*", "repeated anchor"},
        {"a{,3}", "different things"},
        {"[]", "different things"},
        {"[^]a]", "different things"},
        {"a{3,2}", "wrong order"},
        {"[b-a]", "wrong order"},
        {"[a-\\d]", "ends in a class"},
        {"[a", "does not end"},
        {"[a\\]", "does not end"},
        {"(a", "does not end"},
        {"a)", "a ) too many"},
        {"a\\", "backslash at its end"},
        {"\\xg0", "incomplete"},
        {"\\u12", "incomplete"},
        {"\\u{110000}", "U+10FFFF"},
        {"\\ud83d", "surrogate"},
        {"\\A", "the escape \\A"},
        {"\\01", "octal"},
        {"(?#x)a", "comment"},
        {"(?(1)a|b)", "conditional"},
        {"(?<1>a)", "name"},
        {"\xff", "not UTF-8"},
        {"(((x{99}){99}){99})", "too much"},
        {"(?:(?:){1000}){1000}", "too much"},
        {"^[ab]*a[ab]{20}$", "too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar_dfa *d = (grammar_dfa *)&d;
        base_err err = {0};
        int rc = grammar_dfa_regex(&d, cases[i].pattern, strlen(cases[i].pattern), 0, &err);
        if (rc != BASE_ERR_USAGE || strstr(err.message, cases[i].reason) == NULL)
            fail_msg("%s: %d %s", cases[i].pattern, rc, err.message);
        assert_null(d);
    }
}

static void repeat(base_str *out, const char *text, int n) {
    for (int i = 0; i < n; i++)
        base_str_adds(out, text);
}

static void test_sizes(void **state) {
    (void)state;
    base_str pattern = {0};
    grammar_dfa *d;
    base_err err = {0};
    repeat(&pattern, "(", 64);
    base_str_adds(&pattern, "a");
    repeat(&pattern, ")*", 64);
    d = dfa_of_regex(pattern.data, 0);
    assert_int_equal(d->n_states, 1);
    grammar_dfa_free(d);
    base_str_clear(&pattern);
    repeat(&pattern, "(", 65);
    repeat(&pattern, ")", 65);
    assert_int_equal(grammar_dfa_regex(&d, pattern.data, pattern.len, 0, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "too deep"));
    base_str_clear(&pattern);
    repeat(&pattern, "a", 4096);
    d = dfa_of_regex(pattern.data, 0);
    assert_int_equal(d->distance[0], 4096);
    grammar_dfa_free(d);
    base_str_adds(&pattern, "a");
    assert_int_equal(grammar_dfa_regex(&d, pattern.data, pattern.len, 0, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "4096"));
    d = dfa_of_regex("^.{0,3000}$", 0);
    assert_int_equal(d->n_states, 30001); // each character: 9 ways to be inside one
    grammar_dfa_free(d);
    base_str_free(&pattern);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_patterns),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
