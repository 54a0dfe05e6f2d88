// Strings with a pattern whose code points are counted in matching: masks must be those of an
// automaton that has the limit in its states.
#include "grammar/grammar.h"
#include "match_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static token_vocab *vocabs[2];
static grammar_trie *tries[2];

static int setup(void **state) {
    (void)state;
    vocabs[0] = match_nasty_vocab();
    vocabs[1] = fixture_chat_vocab(NULL);
    for (int i = 0; i < 2; i++)
        tries[i] = grammar_trie_create(vocabs[i]);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        grammar_trie_free(tries[i]);
        token_vocab_free(vocabs[i]);
    }
    return 0;
}

// A list of such strings, or one.
static grammar_program *make(const char *pattern, int64_t most, bool counted, bool list) {
    grammar_program *p = match_program(1);
    grammar_dfa *text = NULL, *limited = NULL, *quoted = NULL;
    base_err err;
    if (grammar_dfa_regex(&text, pattern, strlen(pattern), GRAMMAR_REGEX_SEARCH, &err) ||
        grammar_dfa_limit(&limited, text, 0, most, &err) ||
        grammar_dfa_quote(&quoted, counted ? text : limited, &err))
        fail_msg("%s: %s", pattern, err.message);
    int64_t least = grammar_dfa_least_points(text);
    assert_true(least >= 0 && least <= most);
    grammar_dfa_free(text);
    grammar_dfa_free(limited);
    int32_t node = match_add(p, (grammar_node){.kind = GRAMMAR_SCALAR,
                                               .most = counted ? most : 0,
                                               .u.dfa = match_own(p, quoted)});
    if (list)
        match_array(p, NULL, 0, node, 0, -1);
    return p;
}

// One of the ids of the mask.
static int32_t choose(const uint32_t *mask, int n_ids, uint64_t *seed) {
    int32_t found = -1;
    uint32_t n = 0;
    for (int32_t id = 0; id < n_ids; id++)
        if (mask[id / 32] >> (id % 32) & 1 && match_random(seed, ++n) == 0)
            found = id;
    return found;
}

static void compare(const char *pattern, int64_t most, int vocab, bool list, uint64_t seed) {
    grammar_language *l[2];
    grammar_matcher *m[2];
    uint32_t *masks[2];
    int n_ids = token_vocab_size(vocabs[vocab]);
    size_t bytes = ((size_t)n_ids + 31) / 32 * sizeof **masks;
    for (int i = 0; i < 2; i++) {
        l[i] = grammar_language_create(tries[vocab], make(pattern, most, i == 0, list));
        m[i] = grammar_matcher_create(l[i], "", 0);
        masks[i] = base_alloc(bytes);
    }
    for (int steps = 0; steps < 60 && !grammar_matcher_must_end(m[1]); steps++) {
        for (int i = 0; i < 2; i++)
            grammar_matcher_mask(m[i], masks[i], n_ids);
        if (memcmp(masks[0], masks[1], bytes) != 0)
            fail_msg("%s, at most %d: after %d ids", pattern, (int)most, steps);
        size_t len;
        int32_t id = choose(masks[0], n_ids, &seed);
        assert_true(id >= 0);
        const char *at = token_bytes(vocabs[vocab], id, &len);
        for (int i = 0; i < 2; i++)
            assert_true(grammar_matcher_push(m[i], at, len));
        assert_int_equal(grammar_matcher_may_end(m[0]), grammar_matcher_may_end(m[1]));
    }
    assert_int_equal(grammar_matcher_must_end(m[0]), grammar_matcher_must_end(m[1]));
    for (int i = 0; i < 2; i++) {
        base_free(masks[i]);
        grammar_matcher_free(m[i]);
        grammar_language_free(l[i]);
    }
}

static void test_counting_is_as_unrolling(void **state) {
    (void)state;
    static const char *const patterns[] = {
        "^[a-c]*$",
        "^(ab|cde)*$",
        "x",
        "^.*$",
        "^(\\n|xn)*$", // a state that is in an escape and between characters
        "^(\\\\|\\\\n|n)*$",
        "^(aa)*\xc3\xa9$",
        "^(\xc3\xa9|ab|\xf0\x9f\x98\x80\xf0\x9f\x98\x80)+$",
        "^[\\x00-\\x1f\"]*$",
        "^[\\s\\S]*b$",
        "^a*(bbb)?$",
        "^\"[a-z\\\\]*\"$",
    };
    for (uint64_t i = 0; i < 40 * sizeof patterns / sizeof *patterns; i++) {
        const char *pattern = patterns[i % (sizeof patterns / sizeof *patterns)];
        int64_t most = 3 + (int64_t)(i * 7 % 41); // no pattern needs more than three
        compare(pattern, most, (int)(i % 2), i % 3 == 0, i);
    }
}

static bool takes(grammar_language *l, const char *text, size_t len) {
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    bool good = true;
    for (size_t i = 0; good && i < len; i++)
        good = grammar_matcher_push(m, text + i, 1);
    good = good && grammar_matcher_may_end(m);
    grammar_matcher_free(m);
    return good;
}

// What many descriptions of APIs have: they are strict, and quick to compile.
static void test_formats_with_lengths(void **state) {
    (void)state;
    static const struct {
        const char *schema, *prefix, *suffix;
        int most;
    } cases[] = {
        {"{\"type\":\"string\",\"format\":\"email\",\"maxLength\":100}",
         "a@bbbbbbbbbbbbbbbbbbbbbbbbbbbbb.cccccccccccccccccccccccccccccc.", ".org", 100},
        {"{\"type\":\"string\",\"format\":\"uri\",\"minLength\":1,\"maxLength\":2083}", "https://",
         "", 2083},
        {"{\"type\":\"string\",\"format\":\"uri\",\"minLength\":100,\"maxLength\":2083}",
         "https://", "", 2083},
        {"{\"type\":\"string\",\"pattern\":\"^\\\\w+$\",\"maxLength\":4000}", "", "", 4000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_err err;
        grammar_program *p = NULL;
        grammar_schema_options options = {.field = "schema", .strict = true};
        json_t *schema = json_loads(cases[i].schema, 0, NULL);
        if (grammar_program_schema(&p, schema, &options, NULL, &err))
            fail_msg("%s: %s", cases[i].schema, err.message);
        json_decref(schema);
        assert_int_equal(p->nodes[p->root].most, cases[i].most);
        grammar_language *l = grammar_language_create(tries[0], p);
        for (int over = -1; over <= 1; over++) {
            base_str text = {0};
            base_str_printf(&text, "\"%s", cases[i].prefix);
            while ((int)(text.len + strlen(cases[i].suffix)) < cases[i].most + 1 + over)
                base_str_adds(&text, "d");
            base_str_printf(&text, "%s\"", cases[i].suffix);
            if (takes(l, text.data, text.len) != (over <= 0))
                fail_msg("%s: %d more than at most", cases[i].schema, over);
            base_str_free(&text);
        }
        grammar_language_free(l);
    }
}

static void test_limits_without_texts(void **state) {
    (void)state;
    base_err err;
    grammar_program *p = NULL;
    grammar_schema_options options = {.field = "schema", .strict = true};
    json_t *schema = json_loads("{\"type\":\"string\",\"pattern\":\"^(?:[a-z]{700})+$\","
                                "\"maxLength\":699}",
                                0, NULL);
    assert_int_not_equal(grammar_program_schema(&p, schema, &options, NULL, &err), 0);
    assert_non_null(strstr(err.message, "no finite instance"));
    json_decref(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counting_is_as_unrolling),
        cmocka_unit_test(test_formats_with_lengths),
        cmocka_unit_test(test_limits_without_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
