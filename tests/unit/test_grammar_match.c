// Matchers on programs built by hand: what each kind of value allows, byte by byte, and what large
// counters, many properties, deep nesting, many readings and long outputs must not cost.
#include "grammar/language.h"
#include "match_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static token_vocab *vocab;
static grammar_trie *trie;

static int setup(void **state) {
    (void)state;
    vocab = match_nasty_vocab();
    trie = grammar_trie_create(vocab);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    grammar_trie_free(trie);
    token_vocab_free(vocab);
    return 0;
}

// ---------------------------------------------------------------------------------------------

static bool push(grammar_matcher *m, const char *text) {
    return grammar_matcher_push(m, text, strlen(text));
}

// Byte by byte and all at once must agree.
static bool takes(grammar_language *l, const char *text) {
    grammar_matcher *whole = grammar_matcher_create(l, "", 0);
    grammar_matcher *bytes = grammar_matcher_create(l, "", 0);
    bool can = push(whole, text), can_bytes = true;
    for (size_t i = 0; text[i] && can_bytes; i++)
        can_bytes = grammar_matcher_push(bytes, text + i, 1);
    assert_int_equal(can, can_bytes);
    bool ends = can && grammar_matcher_may_end(whole);
    assert_int_equal(ends, can && grammar_matcher_may_end(bytes));
    grammar_matcher_free(whole);
    grammar_matcher_free(bytes);
    return ends;
}

// Whether the text can be begun so.
static bool begins(grammar_language *l, const char *text) {
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    bool can = push(m, text);
    grammar_matcher_free(m);
    return can;
}

static grammar_language *language(grammar_program *p) {
    return grammar_language_create(trie, p);
}

static void assert_texts(grammar_language *l, const char *const *good, const char *const *bad) {
    for (; *good; good++) {
        if (!takes(l, *good))
            fail_msg("refused: %s", *good);
    }
    for (; *bad; bad++) {
        if (takes(l, *bad))
            fail_msg("taken: %s", *bad);
    }
}

// Arrays in each other, each on a line of its own; the innermost may have `more` spaces.
static bool takes_indented(grammar_language *l, int deep, int indent, int more) {
    base_str text = {0};
    for (int i = 0; i < deep; i++)
        base_str_printf(&text, "[\r\n%*s", (i + 1) * indent + (i + 1 == deep ? more : 0), "");
    for (int i = deep; i-- > 0;)
        base_str_printf(&text, "%s\r\n%*s]", i + 1 == deep ? "1" : "", i * indent, "");
    bool good = takes(l, text.data);
    base_str_free(&text);
    return good;
}

static void test_white_space_grows_with_the_depth(void **state) {
    (void)state;
    grammar_program *p = match_program(10);
    p->whitespace_of_level = 8;
    int32_t at[2] = {match_scalar(p, "1"), match_array(p, NULL, 0, 0, 0, -1)};
    int32_t root = at[1];
    p->nodes[root].u.array.items = match_union(p, at, 2);
    p->root = root;
    grammar_language *l = language(p);
    for (int deep = 1; deep < 60; deep += 7) {
        assert_true(takes_indented(l, deep, 8, 8));
        assert_false(takes_indented(l, deep, 8, 9));
    }
    grammar_language_free(l);
}

static void test_strings(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    match_string(p, 1, 2);
    grammar_language *l = language(p);
    static const char *const good[] = {"\"a\"",
                                       "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                                       "\"\\u00e9\\/\"",
                                       "\"\\ud83d\\uDE00\\n\"",
                                       "\"\x7f\"",
                                       "\"\\u0001\"",
                                       NULL};
    static const char *const bad[] = {"\"\"",
                                      "\"abc\"",
                                      "\"\\u0000\"",
                                      "\"\\ud83d\"",
                                      "\"\\ude00\"",
                                      "\"\\ud83d\\u0041\"",
                                      "\"\\x\"",
                                      "\"\\u12g4\"",
                                      "\"\n\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xe2\x82\"",
                                      " \"a\"",
                                      "\"a\" ",
                                      NULL};
    assert_texts(l, good, bad);
    assert_false(begins(l, "\"ab\xc3")); // a third character has no room, not even its beginning
    grammar_language_free(l);
}

static void test_objects(void **state) {
    (void)state;
    grammar_program *p = match_program(2);
    int32_t number = match_scalar(p, "-?(0|[1-9][0-9]*)"), word = match_scalar(p, "true|false");
    int32_t o = match_object(p, 0, 3);
    match_property(p, o, "a", number, true);
    match_property(p, o, "ab", word, false);
    match_property(p, o, "no", GRAMMAR_NO_NODE, false);
    p->nodes[o].u.object.additional = number;
    grammar_language *l = language(p);
    static const char *const good[] = {"{\"a\":1}",
                                       "{\"ab\":true,\"a\":-12}",
                                       "{ \"x\" :  1,\n\t\"a\":0}",
                                       "{\"\":1,\"a\":1,\"A\":1}",
                                       "{\"a\\\"\\n\\u0001\":1,\"a\":1}",
                                       NULL};
    static const char *const bad[] = {"{}",
                                      "{\"ab\":true}",
                                      "{\"a\":true}",
                                      "{\"ab\":1,\"a\":1}",
                                      "{\"a\":1,\"a\":1}",
                                      "{\"x\":1,\"a\":1,\"x\":1}",
                                      "{\"no\":1,\"a\":1}",
                                      "{\"a\":1,}",
                                      "{   \"a\":1}",
                                      "{\"\\u0061\":1,\"a\":1}",
                                      "{\"\\u001F\":1,\"a\":1}",
                                      "{\"\\/\":1,\"a\":1}",
                                      "{\"x\":1,\"y\":1,\"z\":1,\"a\":1}",
                                      NULL};
    assert_texts(l, good, bad);
    // Three at most, one of them "a": the third must be it.
    assert_false(begins(l, "{\"x\":1,\"y\":1,\"z"));
    assert_false(begins(l, "{\"x\":1,\"y\":1,\"ab"));
    assert_true(begins(l, "{\"x\":1,\"y\":1,\"a\""));
    assert_false(begins(l, "{\"x\":1,\"y\":1,\"a\":1,"));
    grammar_language_free(l);
}

// Of names with finitely many texts no beginning is allowed of which all texts are taken.
static void test_names_that_run_out(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), o = match_object(p, 4, -1);
    match_property(p, o, "ab", one, false);
    p->nodes[o].u.object.additional = one;
    p->nodes[o].u.object.names = match_regex(p, "a|ab|ac|b");
    grammar_language *l = language(p);
    assert_true(takes(l, "{\"b\":1,\"ac\":1,\"ab\":1,\"a\":1}"));
    assert_false(begins(l, "{\"b\":1,\"b"));
    assert_false(begins(l, "{\"ac\":1,\"ac"));
    assert_true(begins(l, "{\"a\":1,\"ac\":1,\"a"));
    assert_false(begins(l, "{\"a\":1,\"ac\":1,\"ab\":1,\"a"));
    assert_false(begins(l, "{\"a\":1,\"ac\":1,\"ab\":1,\"b\":1,"));
    assert_false(takes(l, "{\"a\":1,\"ac\":1,\"ab\":1}"));
    grammar_language_free(l);
}

static void test_arrays(void **state) {
    (void)state;
    grammar_program *p = match_program(1);
    int32_t number = match_scalar(p, "0|[1-9][0-9]*"), string = match_string(p, 0, -1);
    match_array(p, (int32_t[]){number, string}, 2, number, 1, 4);
    grammar_language *l = language(p);
    static const char *const good[] = {"[1]", "[10 ,\"\"]", "[1,\"]\",2, 3 ]", NULL};
    static const char *const bad[] = {"[]", "[1,2]", "[1,\"\",1,1,1]", "[1,]", "[,]", "[01]", NULL};
    assert_texts(l, good, bad);
    assert_false(begins(l, "[1,\"\",1,1,"));
    grammar_language_free(l);
}

static void test_suffixes(void **state) {
    (void)state;
    grammar_program *p = match_program(4);
    match_scalar(p, "[0-9]+");
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "0;", 2);
    assert_true(push(m, "12"));
    assert_false(grammar_matcher_may_end(m));
    assert_true(push(m, "0"));
    assert_false(grammar_matcher_may_end(m));
    assert_false(push(m, " "));
    assert_true(push(m, ";"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_rollback(m, 2);
    assert_false(push(m, ";")); // the suffix's nought is missing
    assert_true(push(m, "00;"));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

static void test_texts_that_are_no_json(void **state) {
    (void)state;
    grammar_dfa *dfa;
    base_err err;
    assert_int_equal(grammar_dfa_regex(&dfa, "(ab)*", 5, 0, &err), 0);
    grammar_language *l = language(grammar_program_scalar(dfa));
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    assert_true(grammar_matcher_may_end(m));
    assert_false(grammar_matcher_must_end(m));
    assert_false(push(m, " "));
    assert_true(push(m, "aba"));
    assert_false(grammar_matcher_may_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
    assert_int_equal(grammar_dfa_literals(&dfa, (const char *const[]){"x"}, (size_t[]){1}, 1, &err),
                     0);
    l = language(grammar_program_scalar(dfa));
    m = grammar_matcher_create(l, "", 0);
    assert_true(push(m, "x"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// ---------------------------------------------------------------------------------------------
// Large counters and long outputs

static size_t mask_size(void) {
    return ((size_t)token_vocab_size(vocab) + 31) / 32 * sizeof(uint32_t);
}

static bool in_mask(grammar_matcher *m, const char *token) {
    uint32_t *mask = base_calloc(1, mask_size());
    grammar_matcher_mask(m, mask, token_vocab_size(vocab));
    bool found = false;
    for (int32_t id = 0; id < token_vocab_size(vocab); id++) {
        size_t len;
        const char *bytes = token_bytes(vocab, id, &len);
        if (len == strlen(token) && memcmp(bytes, token, len) == 0)
            found = found || mask[id / 32] >> (id % 32) & 1;
    }
    base_free(mask);
    return found;
}

static void test_counters_may_be_huge(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    int32_t string = match_string(p, 999999999999, -1);
    match_array(p, NULL, 0, string, 999999999999, INT64_MAX);
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    assert_true(push(m, "[\""));
    for (int i = 0; i < 20000; i++) {
        assert_true(push(m, "aaaaaaaaaaaaaaaa"));
        assert_true(match_bytes(m) < 1 << 17);
    }
    assert_false(push(m, "\""));
    assert_false(in_mask(m, "\""));
    assert_true(in_mask(m, "ab"));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// The counter is felt exactly where it begins to matter, with masks of other places known.
static void test_counters_near_their_bounds(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    match_string(p, 90, 100);
    grammar_language *l = language(p);
    for (int round = 0; round < 2; round++) {
        grammar_matcher *m = grammar_matcher_create(l, "", 0);
        assert_true(push(m, "\""));
        for (int i = 0; i <= 100; i++) {
            assert_int_equal(in_mask(m, "\""), i >= 90);
            assert_int_equal(in_mask(m, "b\""), i >= 89 && i < 100);
            assert_int_equal(in_mask(m, "aaaaaaaaaaaaaaaa"), i <= 84);
            assert_int_equal(in_mask(m, "\xe4\xb8"), i <= 99);
            assert_int_equal(push(m, "x"), i < 100);
        }
        grammar_matcher_free(m);
    }
    grammar_language_free(l);
}

static void test_long_arrays_take_no_memory(void **state) {
    (void)state;
    grammar_program *p = match_program(1);
    int32_t number = match_scalar(p, "[0-9]");
    int32_t o = match_object(p, 0, -1);
    match_property(p, o, "a", number, true);
    match_array(p, NULL, 0, o, 0, -1);
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    assert_true(push(m, "["));
    for (int i = 0; i < 20000; i++) {
        assert_true(push(m, "{\"a\":1"));
        assert_true(push(m, "},"));
        assert_true(match_bytes(m) < 1 << 17);
    }
    grammar_matcher_rollback(m, 64);
    assert_true(push(m, "{\"a\":1}]"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// Thousands of other keys: each is known, after many compactions and in masks, too.
static void test_many_other_keys(void **state) {
    (void)state;
    enum { N = 5000 };
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), o = match_object(p, 0, -1);
    p->nodes[o].u.object.additional = one;
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    char text[64];
    assert_true(push(m, "{"));
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "\"k%d\":1,", i);
        assert_true(push(m, text));
    }
    assert_true(match_bytes(m) < 4 << 20);
    for (int i = 0; i < N; i += 7) {
        snprintf(text, sizeof text, "\"k%d", i);
        assert_true(push(m, text));
        assert_false(push(m, "\""));
        if (i % 49 == 0) {
            assert_false(in_mask(m, "\":"));
            assert_true(in_mask(m, "ab"));
        }
        grammar_matcher_rollback(m, 1);
    }
    snprintf(text, sizeof text, "\"k%d\":1", N);
    assert_true(push(m, text));
    grammar_matcher_rollback(m, 2); // the last of the keys is free again
    snprintf(text, sizeof text, "\"k%d\":1}", N - 1);
    assert_true(push(m, text));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

static void test_thousands_of_properties(void **state) {
    (void)state;
    enum { N = 4096 };
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), o = match_object(p, 0, 10);
    char text[64];
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "property_%04d", i);
        match_property(p, o, text, one, i % 1000 == 999);
    }
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    assert_true(push(m, "{"));
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "\"property_%04d\":1,", 63 + i);
        assert_true(push(m, text));
        assert_false(push(m, text));
    }
    assert_false(push(m, "\"property_0070")); // four are required and four have room
    assert_false(push(m, "\"property_11"));
    for (int i = 999; i < N; i += 1000) {
        assert_false(push(m, "}"));
        snprintf(text, sizeof text, "\"property_%04d\":1%s", i, i < 3999 ? "," : "}");
        assert_true(push(m, text));
    }
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// Places that differ in nothing but the keys seen, one after the other on one language: no mask may
// be taken for the other's.
static void assert_masks(grammar_language *l, const char *const *texts) {
    int n_ids = token_vocab_size(vocab);
    uint32_t *mask = base_calloc(1, mask_size());
    for (; *texts; texts++) {
        grammar_matcher *m = grammar_matcher_create(l, "", 0);
        assert_true(push(m, *texts));
        grammar_matcher_mask(m, mask, n_ids);
        for (int32_t id = 0; id < n_ids; id++) {
            size_t len;
            const char *bytes = token_bytes(vocab, id, &len);
            bool can = !token_is_control(vocab, id) && grammar_matcher_push(m, bytes, len);
            if (can)
                grammar_matcher_rollback(m, 1);
            if (can != (mask[id / 32] >> (id % 32) & 1))
                fail_msg("'%s' with '%.*s': %d", *texts, (int)len, bytes, can);
        }
        grammar_matcher_free(m);
    }
    base_free(mask);
}

static grammar_language *other_keys(const char *names, const char *declared) {
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), o = match_object(p, 0, -1);
    p->nodes[o].u.object.additional = one;
    if (names)
        p->nodes[o].u.object.names = match_regex(p, names);
    if (declared)
        match_property(p, o, declared, one, false);
    return language(p);
}

static void test_masks_know_the_keys_seen(void **state) {
    (void)state;
    // A whole key, and the beginning of one, in a token.
    grammar_language *l = other_keys(NULL, NULL);
    assert_masks(l,
                 (const char *const[]){"{\"c\":1,", "{\"a\":1,", "{\"a\":1,\"c\":1,", "{\"x",
                                       "{\"a", "{\"c\":1,\"a", "{\"a\":1,\"a", "{\"a\":1", NULL});
    grammar_language_free(l);
    l = other_keys("ab|abc|b|c|x-1", NULL);
    assert_masks(l, (const char *const[]){"{\"c\":1,", "{\"x-1\":1,", "{\"b\":1,",
                                          "{\"ab\":1,\"abc\":1,", "{\"ab\":1,\"b\":1,",
                                          "{\"c\":1,\"a", "{\"ab\":1,\"a", NULL});
    grammar_language_free(l);
    // The key that is being written is one seen, too, as soon as the token goes on to another.
    l = other_keys("x-1|qq", NULL);
    assert_masks(l, (const char *const[]){"{\"qq", "{\"x-1", NULL});
    grammar_language_free(l);
    l = other_keys("x-1|b", "q");
    assert_masks(l, (const char *const[]){"{\"x-1", "{\"b", "{\"", "{\"q\":1,\"", NULL});
    grammar_language_free(l);
}

// Nearly endless names: of what fits exactly the one that is there must not come again.
static void test_masks_at_the_end_of_names(void **state) {
    (void)state;
    const char key[] = "xxxxxxxxxxxxxxxxxxxxxxxxaaaaaaaaaaaaaaaa"; // 40
    char text[200];
    grammar_language *l = other_keys("[^\"\\\\\\x00-\\x1f]{1,40}", NULL);
    snprintf(text, sizeof text, "{\"%s\":1,\"%.24s", key, key);
    assert_masks(l, (const char *const[]){"{\"xxxxxxxxxxxxxxxxxxxxxxxx", text, NULL});
    snprintf(text, sizeof text, "{\"%s\":1,\"%.39s", key, key);
    assert_masks(l, (const char *const[]){text, NULL});
    grammar_language_free(l);
    l = other_keys("[^\"\\\\\\x00-\\x1f]{1,40}", key);
    snprintf(text, sizeof text, "{\"%s\":1,\"%.24s", key, key);
    assert_masks(l, (const char *const[]){"{\"xxxxxxxxxxxxxxxxxxxxxxxx", text, NULL});
    grammar_language_free(l);
}

// ---------------------------------------------------------------------------------------------
// Depth and readings

static void test_depth_is_bounded(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), o = match_object(p, 0, -1);
    int32_t a = match_array(p, &one, 1, 0, 0, -1), any = match_union(p, (int32_t[]){one, o, a}, 3);
    p->nodes[o].u.object.additional = any;
    p->nodes[a].u.array.n_prefix = 0;
    p->nodes[a].u.array.items = any;
    p->root = any;
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    for (int i = 0; i < MATCH_MAX_DEPTH; i++)
        assert_true(push(m, i % 2 ? "{\"\":" : "["));
    assert_false(push(m, "["));
    assert_false(push(m, "{"));
    assert_false(in_mask(m, "["));
    assert_true(push(m, "1"));
    for (int i = MATCH_MAX_DEPTH; i-- > 0;)
        assert_true(push(m, i % 2 ? "}" : "]"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// What needs more depth than is left may not be begun: neither the key nor the comma before it.
static void test_depth_leaves_a_way_out(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    int32_t one = match_scalar(p, "1"), chain = one;
    for (int i = 0; i < 10; i++) {
        int32_t up = match_object(p, 0, -1);
        match_property(p, up, "c", chain, true);
        chain = up;
    }
    int32_t node = match_object(p, 1, -1);
    match_property(p, node, "deep", chain, false);
    match_property(p, node, "flat", one, false);
    match_property(p, node, "more", node, false);
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    for (int i = 0; i < MATCH_MAX_DEPTH - 10; i++)
        assert_true(push(m, "{\"more\":"));
    assert_true(push(m, "{\"flat\":1"));
    assert_false(push(m, ",\"d"));
    assert_true(push(m, ",\"more\":"));
    for (int i = 0; i < 8; i++)
        assert_true(push(m, "{\"more\":"));
    assert_true(push(m, "{"));
    assert_false(push(m, "\"m"));
    assert_true(push(m, "\"flat\":1"));
    assert_false(push(m, ","));
    for (int i = 0; i < MATCH_MAX_DEPTH; i++)
        assert_true(push(m, "}"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// Languages whose values are all empty, or nothing but containers.
static void test_languages_without_scalars(void **state) {
    (void)state;
    grammar_program *p = match_program(0);
    int32_t empty = match_object(p, 0, 0), inner = match_array(p, NULL, 0, empty, 2, 2);
    match_array(p, &inner, 1, GRAMMAR_NO_NODE, 1, 1);
    grammar_language *l = language(p);
    assert_true(takes(l, "[[{},{}]]"));
    assert_false(takes(l, "[[{}]]"));
    grammar_language_free(l);
}

// A schema that asks for more than the usual depth gets it.
static void test_depth_that_is_asked_for(void **state) {
    (void)state;
    enum { N = 400 };
    grammar_program *p = match_program(0);
    int32_t node = match_scalar(p, "1");
    for (int i = 0; i < N; i++)
        node = match_array(p, &node, 1, GRAMMAR_NO_NODE, 1, 1);
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    for (int i = 0; i < N; i++)
        assert_true(push(m, "["));
    assert_true(push(m, "1"));
    for (int i = 0; i < N; i++)
        assert_true(push(m, "]"));
    assert_true(grammar_matcher_must_end(m));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// More readings than are kept: some texts are lost, but what goes on can end.
static void test_many_readings(void **state) {
    (void)state;
    enum { N = 300 };
    grammar_program *p = match_program(0);
    int32_t at[N], one = match_scalar(p, "1");
    char key[16];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%03d", i);
        at[i] = match_object(p, 0, -1);
        match_property(p, at[i], "a", one, true);
        match_property(p, at[i], key, one, true);
    }
    int32_t root = match_union(p, at, N);
    p->root = root;
    grammar_language *l = language(p);
    assert_true(takes(l, "{\"a\":1,\"k000\":1}"));
    assert_true(takes(l, "{\"a\":1,\"k127\":1}"));
    assert_false(begins(l, "{\"a\":1,\"k299"));
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    assert_true(push(m, "{"));
    assert_true(push(m, "\"a\":1"));
    assert_true(in_mask(m, ","));
    assert_false(in_mask(m, "}"));
    grammar_matcher_free(m);
    grammar_language_free(l);
}

// Unions of unions that double at each level are read once each.
static void test_unions_of_unions(void **state) {
    (void)state;
    enum { N = 20000 };
    grammar_program *p = match_program(0);
    int32_t node = match_scalar(p, "1");
    for (int i = 0; i < N; i++)
        node = match_union(p, (int32_t[]){node, node}, 2);
    grammar_language *l = language(p);
    assert_true(takes(l, "1"));
    grammar_language_free(l);
    p = match_program(0);
    int32_t string = match_string(p, 0, -1);
    node = match_scalar(p, "1");
    for (int i = 0; i < N; i++)
        node = match_union(p, (int32_t[]){string, node}, 2);
    l = language(p);
    assert_true(takes(l, "\"a\""));
    assert_true(begins(l, "\"a"));
    grammar_language_free(l);
}

// ---------------------------------------------------------------------------------------------

// A vocabulary whose ids may have the same bytes; files with such are refused, tries need not be.
static void test_ids_with_the_same_bytes(void **state) {
    (void)state;
    char bytes[] = "1\"1\"a\"a1a";
    uint32_t offset[] = {0, 1, 2, 3, 5, 7, 8, 9}; // 1 " 1 "a "a 1 a
    token_vocab v = {.ordinary = 7, .size = 7, .bytes = bytes, .offset = offset, .max_bytes = 2};
    grammar_trie *t = grammar_trie_create(&v);
    grammar_program *p = match_program(0);
    int32_t number = match_scalar(p, "1");
    match_union(p, (int32_t[]){number, match_string(p, 0, -1)}, 2);
    grammar_language *l = grammar_language_create(t, p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    uint32_t mask[1];
    grammar_matcher_mask(m, mask, 7);
    assert_int_equal(mask[0], 1 | 2 | 4 | 8 | 16 | 32);
    assert_true(push(m, "\""));
    grammar_matcher_mask(m, mask, 7);
    assert_int_equal(mask[0], 127 & ~(8 | 16));
    grammar_matcher_free(m);
    grammar_language_free(l);
    grammar_trie_free(t);
}

// What automata are known to take, from their start.
static void test_automata_are_known_beforehand(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        int64_t plain, texts;
    } cases[] = {
        {".*", LANGUAGE_FREE, LANGUAGE_MANY},
        {"[ -~]*", 0, LANGUAGE_MANY},
        {".{0,20}", 20, LANGUAGE_MANY},
        {"[ -\\x7f]*[^ -\\x7f]?", 1, LANGUAGE_MANY}, // a wide character is one, too
        {"ab|abc|b", 0, 3},
        {"[ab]{1,2}", 0, 6},
        {"[a-z]{1,60}", 0, LANGUAGE_MANY},
        {"(ab)?", 0, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar_dfa *dfa;
        base_err err;
        int64_t budget = 1 << 20;
        const char *pattern = cases[i].pattern;
        assert_int_equal(grammar_dfa_regex(&dfa, pattern, strlen(pattern), 0, &err), 0);
        language_dfa *d = language_dfa_create(dfa, LANGUAGE_NAMES, trie, &budget);
        assert_non_null(d->plain);
        assert_int_equal(d->plain[0], cases[i].plain);
        assert_true(language_texts(d, 0) == cases[i].texts);
        language_dfa_free(d);
        grammar_dfa_free(dfa);
    }
}

static void test_masks_are_counted_and_bounded(void **state) {
    (void)state;
    grammar_program *p = match_program(3);
    int32_t string = match_string(p, 0, 100000), o = match_object(p, 0, -1);
    p->nodes[o].u.object.additional = string;
    grammar_language *l = language(p);
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    uint32_t *mask = base_calloc(1, mask_size());
    uint64_t masks, found;
    char key[16];
    assert_true(push(m, "{\""));
    for (int i = 0; i < 6000; i++) { // each key makes masks of its own
        grammar_matcher_mask(m, mask, token_vocab_size(vocab));
        snprintf(key, sizeof key, "%d", i);
        assert_true(push(m, key));
        grammar_matcher_mask(m, mask, token_vocab_size(vocab));
        assert_true(push(m, "\":\"x\",\""));
    }
    grammar_language_counts(l, &masks, &found);
    assert_int_equal(masks, 12000);
    assert_true(found < masks);
    assert_true(grammar_language_bytes(l) < 10 << 20);
    assert_true(grammar_language_bytes(l) > sizeof *l);
    grammar_matcher_mask(m, mask, token_vocab_size(vocab));
    grammar_matcher_mask(m, mask, token_vocab_size(vocab));
    uint64_t again;
    grammar_language_counts(l, &masks, &again);
    assert_true(again > found);
    base_free(mask);
    grammar_matcher_free(m);
    grammar_language_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_white_space_grows_with_the_depth),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_names_that_run_out),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_suffixes),
        cmocka_unit_test(test_texts_that_are_no_json),
        cmocka_unit_test(test_counters_may_be_huge),
        cmocka_unit_test(test_counters_near_their_bounds),
        cmocka_unit_test(test_long_arrays_take_no_memory),
        cmocka_unit_test(test_many_other_keys),
        cmocka_unit_test(test_thousands_of_properties),
        cmocka_unit_test(test_masks_know_the_keys_seen),
        cmocka_unit_test(test_masks_at_the_end_of_names),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_depth_leaves_a_way_out),
        cmocka_unit_test(test_languages_without_scalars),
        cmocka_unit_test(test_depth_that_is_asked_for),
        cmocka_unit_test(test_many_readings),
        cmocka_unit_test(test_unions_of_unions),
        cmocka_unit_test(test_ids_with_the_same_bytes),
        cmocka_unit_test(test_automata_are_known_beforehand),
        cmocka_unit_test(test_masks_are_counted_and_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
