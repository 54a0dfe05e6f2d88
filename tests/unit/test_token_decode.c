// Incremental decoding: the bytes of a text in any chunks give what the whole gives, and that is
// what Python's bytes.decode("utf-8", "replace") gives.
#include "token_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define BAD "\xef\xbf\xbd"

static void decode_whole(const char *bytes, size_t len, base_str *out) {
    token_decoder decoder = {0};
    token_decode_bytes(&decoder, bytes, len, out);
    token_decode_end(&decoder, out);
}

// The expected texts are Python's.
static const struct {
    const char *bytes, *text;
} cases[] = {
    {"plain", "plain"},
    {"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"},
    {"\x80", BAD},
    {"\xbf\xbf", BAD BAD},
    {"\xc3", BAD},
    {"\xe4\xb8", BAD},
    {"\xf0\x9f\x98", BAD},
    {"\xf0\x9f\x98!", BAD "!"},
    {"\xe4\xe4\xb8\xad", BAD "\xe4\xb8\xad"},
    {"\xc0\xaf", BAD BAD},            // overlong
    {"\xc1\xbf", BAD BAD},            //
    {"\xe0\x80\xaf", BAD BAD BAD},    //
    {"\xe0\x9f\xbf", BAD BAD BAD},    //
    {"\xe0\xa0\x80", "\xe0\xa0\x80"}, // the first of three bytes
    {"\xf0\x8f\xbf\xbf", BAD BAD BAD BAD},
    {"\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},
    {"\xed\xa0\x80", BAD BAD BAD}, // a surrogate
    {"\xed\x9f\xbf", "\xed\x9f\xbf"},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    {"\xf4\x90\x80\x80", BAD BAD BAD BAD}, // over U+10FFFF
    {"\xf5\x80", BAD BAD},
    {"\xff\xfe", BAD BAD},
    {"a\xf1\x80\x80\xe1\x80\xc2"
     "b\x80"
     "c\x80\xbf"
     "d", // Unicode, table 3-8
     "a" BAD BAD BAD "b" BAD "c" BAD BAD "d"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
     "A",
     BAD BAD BAD BAD "A"}, // table 3-11
};

static void as_python_does(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str out = {0};
        decode_whole(cases[i].bytes, strlen(cases[i].bytes), &out);
        assert_string_equal(out.data ? out.data : "", cases[i].text);
        base_str_free(&out);
    }
}

// Every cutting of the bytes into pieces (a bit for each place between two bytes).
static void in_any_chunks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].bytes);
        assert_true(len < 16);
        for (unsigned cut = 0; cut < 1u << (len - 1); cut++) {
            token_decoder decoder = {0};
            base_str out = {0};
            for (size_t from = 0, to = 1; to <= len; to++)
                if (to == len || (cut >> (to - 1) & 1)) {
                    token_decode_bytes(&decoder, cases[i].bytes + from, to - from, &out);
                    from = to;
                }
            token_decode_end(&decoder, &out);
            assert_string_equal(out.data, cases[i].text);
            base_str_free(&out);
        }
    }
}

// What can still become a character is held back, and nothing else.
static void held_back(void **state) {
    (void)state;
    token_decoder decoder = {0};
    base_str out = {0};
    token_decode_bytes(&decoder, "a\xf0\x9f", 3, &out);
    assert_string_equal(out.data, "a");
    token_decode_bytes(&decoder, "\x98", 1, &out);
    assert_string_equal(out.data, "a");
    token_decode_bytes(&decoder, "\x80", 1, &out);
    assert_string_equal(out.data, "a\xf0\x9f\x98\x80");
    token_decode_end(&decoder, &out);
    token_decode_end(&decoder, &out);
    assert_string_equal(out.data, "a\xf0\x9f\x98\x80");
    token_decode_bytes(&decoder, "\xed\xa0", 2, &out); // no character begins so
    assert_string_equal(out.data, "a\xf0\x9f\x98\x80" BAD BAD);
    base_str_free(&out);
}

static void ids_and_specials(void **state) {
    (void)state;
    base_err err = {0};
    token_vocab *vocab = fixture_vocab(&err);
    assert_non_null(vocab);
    const char *text = "the name \xe4\xb8\xad\xf0\x9f\x98\x81<|im_end|><think>x[BOS]";
    base_ids ids = {0};
    token_encode(vocab, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    base_str kept = {0}, dropped = {0};
    token_decoder a = {0}, b = {0};
    for (size_t i = 0; i < ids.len; i++) {
        token_decode(&a, vocab, ids.data[i], false, &kept);
        token_decode(&b, vocab, ids.data[i], true, &dropped);
    }
    // Ids out of range are nothing.
    token_decode(&a, vocab, -1, false, &kept);
    token_decode(&a, vocab, token_vocab_size(vocab), false, &kept);
    token_decode_end(&a, &kept);
    token_decode_end(&b, &dropped);
    assert_string_equal(kept.data, text);
    assert_string_equal(dropped.data, "the name \xe4\xb8\xad\xf0\x9f\x98\x81<think>x");
    base_str_free(&kept);
    base_str_free(&dropped);
    base_ids_free(&ids);
    token_vocab_free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_python_does),
        cmocka_unit_test(in_any_chunks),
        cmocka_unit_test(held_back),
        cmocka_unit_test(ids_and_specials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
