// Stop strings against a search of the whole text, for every way of cutting the text into pieces.
#include "token/token.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_STOPS = 4 };

// The plain rule: walk the text, at each end look which stop strings end there.
static int search(const char *text, const char *const *stops, int n, size_t *start, size_t *end) {
    for (size_t e = 1; e <= strlen(text); e++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            size_t len = strlen(stops[i]);
            if (len <= e && memcmp(text + e - len, stops[i], len) == 0 &&
                (best < 0 || len > strlen(stops[best])))
                best = i;
        }
        if (best >= 0) {
            *end = e;
            *start = e - strlen(stops[best]);
            return best;
        }
    }
    return -1;
}

static void check(const char *text, const char *const *stops, int n, unsigned cuts, bool include) {
    size_t lens[MAX_STOPS] = {0}, len = strlen(text), longest = 1, start = len, end = len;
    for (int i = 0; i < n; i++) {
        lens[i] = strlen(stops[i]);
        longest = lens[i] > longest ? lens[i] : longest;
    }
    int expected = search(text, stops, n, &start, &end), found = -1;
    token_stop *stop = token_stop_create(stops, lens, n, include);
    base_str out = {0};
    size_t from = 0;
    for (size_t i = 1; i <= len && found < 0; i++) {
        if (i < len && !(cuts >> (i - 1) & 1))
            continue;
        found = token_stop_push(stop, text + from, i - from, &out);
        from = i;
        if (found < 0) { // only complete characters, and nothing that may yet have to be cut
            assert_true(out.len <= i && i - out.len <= longest - 1 + 3);
            assert_true(out.len <= start);
            assert_true(out.len == len || ((unsigned char)text[out.len] & 0xc0) != 0x80);
        }
    }
    if (found < 0)
        token_stop_end(stop, &out);
    assert_int_equal(found, expected);
    size_t shown = include ? end : start;
    assert_int_equal(out.len, shown);
    if (shown > 0)
        assert_memory_equal(out.data, text, shown);
    base_str_free(&out);
    token_stop_free(stop);
}

static void check_all(const char *text, const char *const *stops, int n) {
    for (unsigned cuts = 0; cuts < 1u << (strlen(text) - 1); cuts++) {
        check(text, stops, n, cuts, false);
        check(text, stops, n, cuts, true);
    }
}

static void test_ascii(void **unused) {
    (void)unused;
    check_all("hello", (const char *[]){"x"}, 0);
    check_all("aabaabaaab", (const char *[]){"aaa"}, 1);
    check_all("abcabcabd", (const char *[]){"abd"}, 1);
    check_all("xyz-stop-q", (const char *[]){"stop", "-s", "top-", "z-stop"}, 4);
    check_all("ababababac", (const char *[]){"babac", "abac", "c"}, 3);
    check_all("nothing", (const char *[]){"thingy", "hinge"}, 2);
}

static void test_characters_are_not_cut(void **unused) {
    (void)unused;
    check_all("\xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x99\x82", (const char *[]){"abcd"}, 1);
    check_all("a\xe4\xb8\xad\xe6\x96\x87"
              "b\xe4\xb8\xad",
              (const char *[]){"\xe6\x96\x87"
                               "b"},
              1);
}

// Pushes a text in pieces of the size of tokens and returns how long that takes.
static double push_all(const char *text, size_t len, const char *const *stops, const size_t *lens,
                       int n) {
    token_stop *stop = token_stop_create(stops, lens, n, false);
    base_str out = {0};
    double begin = base_now_s();
    for (size_t at = 0; at < len; at += 4)
        assert_int_equal(token_stop_push(stop, text + at, 4, &out), -1);
    double seconds = base_now_s() - begin;
    token_stop_end(stop, &out);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, text, len);
    base_str_free(&out);
    token_stop_free(stop);
    return seconds;
}

// As many and as long as the API takes.
static void test_long_stop_strings_cost_little(void **unused) {
    (void)unused;
    enum { N = 64, LEN = 1024, TEXT = 400000 };
    static char text[TEXT], strings[N][LEN];
    const char *stops[N], *short_stops[N];
    size_t lens[N], short_lens[N];
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (char)('a' + i % 20);
    for (int i = 0; i < N; i++) {
        memcpy(strings[i], text, LEN);
        strings[i][LEN - 2] = '-'; // everywhere it almost matches
        stops[i] = strings[i];
        lens[i] = LEN;
        short_stops[i] = &strings[i][LEN - 2];
        short_lens[i] = 2;
    }
    double quick = 1e9, slow = 1e9; // the best of some, as the machine may be busy
    for (int i = 0; i < 5; i++) {
        quick = fmin(quick, push_all(text, TEXT, short_stops, short_lens, N));
        slow = fmin(slow, push_all(text, TEXT, stops, lens, N));
    }
    print_message("strings of 2 bytes: %.4f s, of %d bytes: %.4f s\n", quick, LEN, slow);
    assert_true(slow < 10 * quick);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii),
        cmocka_unit_test(test_characters_are_not_cut),
        cmocka_unit_test(test_long_stop_strings_cost_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
