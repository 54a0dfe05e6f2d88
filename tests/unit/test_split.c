// The hand-written splitter against the pattern itself, run by PCRE2. Its Unicode is older (14), so
// the characters here are ones that have long been assigned, and White_Space is spelt out.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/base.h"
#include "token/split.h"
#include "token/unicode.h"
#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SPACES                                                                                     \
    "\\t-\\r "                                                                                     \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
// [A&&[^B]] is not intersection in PCRE2, and \p{Han} is Script_Extensions there.
#define UPPERS "(?:(?!\\p{sc:Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
#define LOWERS "(?:(?!\\p{sc:Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

static const char pattern[] =
    "\\p{sc:Han}+"
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPERS "*" LOWERS "+" CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?" UPPERS
    "+" LOWERS "*" CONTRACTION "|\\p{N}{1,3}"
    "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n]*"
    "|[" SPACES "]*[\\r\\n]+"
    "|[" SPACES "]+(?![^" SPACES "])"
    "|[" SPACES "]+";

static pcre2_code *code;
static pcre2_match_data *match;

static int compile(void **state) {
    (void)state;
    int error;
    PCRE2_SIZE at;
    code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_POSSESS, &error, &at, NULL);
    if (code == NULL)
        return -1;
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // faster where it is there
    match = pcre2_match_data_create_from_pattern(code, NULL);
    return 0;
}

static int release(void **state) {
    (void)state;
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return 0;
}

static void check(const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    for (size_t at = 0; at < len;) {
        int rc = pcre2_match(code, (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK, match, NULL);
        assert_true(rc > 0);
        PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
        size_t ours = (size_t)(token_split(p + at, end) - p);
        if (found[0] != at || found[1] != ours) {
            for (size_t i = 0; i < len; i++)
                fprintf(stderr, "\\x%02x", p[i]);
            fail_msg(": from %zu the pattern ends at %zu, the splitter at %zu", at, found[1], ours);
        }
        at = ours;
    }
}

// One or more characters of every way the alternatives can tell characters apart: letters of each
// kind, marks, numbers, Han of each category, whitespace, newlines, punctuation, contractions.
static const char *const kinds[] = {"A",
                                    "a",
                                    "\xc2\xaa" /* Lo */,
                                    "\xcc\x81" /* Mn */,
                                    "1",
                                    "\xe4\xb8\xad" /* Han Lo */,
                                    "\xe2\xba\x80" /* Han So */,
                                    "\xe3\x80\x87" /* Han Nl */,
                                    " ",
                                    "\t",
                                    "\n",
                                    "!",
                                    "'",
                                    "s"};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static void every_short_string(void **state) {
    (void)state;
    for (int length = 1, count = N_KINDS; length <= 5; length++, count *= N_KINDS)
        for (int number = 0; number < count; number++) {
            char text[32] = "";
            for (int i = 0, rest = number; i < length; i++, rest /= N_KINDS)
                strcat(text, kinds[rest % N_KINDS]);
            check(text, strlen(text));
        }
}

static const char *const pieces[] = {
    "A",
    "Bc",
    "d",
    "xyz",
    "\xc3\x89",
    "\xc3\xa9",
    "\xc7\x85" /* Lt */,
    "\xca\xb0" /* Lm */,
    "\xd7\x90",
    "\xd0\x9f",
    "\xd1\x80",
    "\xe0\xa4\xa8",
    "\xe0\xa5\x8d" /* Mn */,
    "\xe0\xa4\xbf" /* Mc */,
    "\xe2\x83\x9d" /* Me */,
    "\xe3\x81\x82",
    "\xe3\x82\xa2",
    "\xed\x95\x9c",
    "\xe4\xb8\xad",
    "\xe6\x96\x87",
    "\xe3\x80\x85" /* Han Lm */,
    "\xe3\x80\x87",
    "\xe3\x80\xa1" /* Han Nl */,
    "\xe2\xba\x80",
    "\xe2\xbc\x80" /* Han So */,
    "\xe3\x80\x81" /* Common, in Han's Script_Extensions */,
    "\xf0\xa0\x80\x80",
    "0",
    "12",
    "345",
    "\xc2\xb2" /* No */,
    "\xd9\xa3",
    "\xef\xbc\x91",
    " ",
    "  ",
    "\t",
    "\xc2\xa0",
    "\xe3\x80\x80",
    "\xe2\x80\xa8",
    "\xc2\x85",
    "\x1c",
    "\xe1\xa0\x8e",
    "\xe2\x80\x8b",
    "\n",
    "\r",
    "\r\n",
    ".",
    "--",
    "_",
    "\xe2\x86\x92",
    "\xf0\x9f\x98\x80",
    "\xef\xb8\x8f",
    "\xe2\x80\x8d",
    "'s",
    "'S",
    "'\xc5\xbf",
    "'t",
    "'Re",
    "'rE",
    "'vE",
    "'m",
    "'lL",
    "'l",
    "'d",
    "'re",
    "'",
    "\x01",
    "\x7f",
    "\xc5\xbf",
    "\xe2\x84\xaa" /* the Kelvin sign */,
};
enum { N_PIECES = sizeof pieces / sizeof *pieces };

static void random_strings(void **state) {
    (void)state;
    const uint32_t key[2] = {2, 7};
    for (uint32_t number = 0; number < 60000; number++) {
        base_str text = {0};
        uint32_t length = 1 + number % 40;
        for (uint32_t i = 0; i < length; i++) {
            const uint32_t counter[4] = {number, i};
            base_str_adds(&text, pieces[base_rng_philox(key, counter).v[0] % N_PIECES]);
        }
        check(text.data, text.len);
        base_str_free(&text);
    }
}

// All characters that PCRE2 knows too, one at a time between others, so that a wrong class shows.
static void every_character(void **state) {
    (void)state;
    for (uint32_t c = 1; c < 0x3000; c++) {
        char text[16];
        int n = c < 0x80    ? snprintf(text, sizeof text, "a%cb 1", (int)c)
                : c < 0x800 ? snprintf(text, sizeof text, "a%c%cb 1", (int)(0xc0 | c >> 6),
                                       (int)(0x80 | (c & 63)))
                            : snprintf(text, sizeof text, "a%c%c%cb 1", (int)(0xe0 | c >> 12),
                                       (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
        // Assigned after Unicode 14, or with another \s.
        if (c == 0x897 || c == 0xcf3 || c == 0xece || c == 0x1c89 || c == 0x1c8a)
            continue;
        check(text, (size_t)n);
    }
}

// Bytes that are not UTF-8 are characters of their own, like punctuation.
static void bad_bytes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int end;
    } cases[] = {
        {"\xff\xfe!\n1", 4}, // with punctuation and its newlines
        {"\x80"
         "ab c",
         3},                // as the one character before a word
        {" \xe4\xb8 x", 3}, // a cut-off sequence behind a space
        {"ab\xc3", 2},
        {"\xed\xa0\x80"
         "1",
         3}, // a surrogate
        {"\xc0\xaf"
         "1",
         2}, // an overlong form
        {"\xf4\x90\x80\x80"
         "1",
         4}, // over U+10FFFF
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const unsigned char *p = (const unsigned char *)cases[i].text;
        assert_int_equal(token_split(p, p + strlen(cases[i].text)) - p, cases[i].end);
    }
}

static size_t cut_length(const char *text, size_t len, token_encoder *encoder) {
    const unsigned char *p = (const unsigned char *)text;
    return (size_t)(token_cut(encoder, p, p + len) - p);
}

static void cuts(void **state) {
    (void)state;
    size_t n = 400100;
    token_encoder left = {0};
    char *text = base_alloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 100 ? 'a' : ' ';
    assert_int_equal(cut_length(text, n, &left), 400000);
    assert_int_equal(cut_length(text + 400000, 100, &left), 100);
    // A run of 25,000 is allowed, and the count goes on inside the same 400,000.
    left = (token_encoder){0};
    memset(text + 1, 'b', 60000);
    text[25001] = ' ';
    assert_int_equal(cut_length(text, n, &left), 25002 + 25000);
    assert_int_equal(cut_length(text + 50002, n - 50002, &left), 400000 - 50002);
    // U+001C is whitespace for the cut though not for the pattern.
    left = (token_encoder){0};
    memset(text, '\x1c', 30000);
    memset(text + 20000, ' ', 10000);
    assert_int_equal(cut_length(text, 30000, &left), 25000);
    base_free(text);
}

// Where a text is given in pieces changes nothing about its cuts.
static void cuts_in_found(void **state) {
    (void)state;
    size_t n = 900000, n_whole = 0, n_found = 0, whole[64], found[64];
    char *text = base_alloc(n);
    uint32_t random = 1;
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525 + 1013904223;
        text[i] = i / 150000 % 2 ? 'a' : (random >> 20) % 3 ? ' ' : '.';
    }
    token_encoder encoder = {0};
    for (size_t at = 0; at < n; whole[n_whole++] = at)
        at += cut_length(text + at, n - at, &encoder);
    assert_true(n_whole >= 3 * 6);
    encoder = (token_encoder){0};
    for (size_t at = 0, end = 0; at < n;) {
        random = random * 1664525 + 1013904223;
        size_t len = (random >> 8) % 30000 + 1;
        end = at + len < n ? at + len : n;
        for (bool first = true; at < end; first = false) {
            if (!first)
                found[n_found++] = at;
            at += cut_length(text + at, end - at, &encoder);
        }
    }
    found[n_found++] = n;
    // A cut where a piece begins is no cut inside one: those are skipped in the list of the whole.
    for (size_t i = 0, j = 0; i < n_found; i++, j++) {
        while (j < n_whole && whole[j] < found[i])
            j++;
        assert_true(j < n_whole && whole[j] == found[i]);
    }
    assert_true(n_found + 2 >= n_whole);
    base_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_short_string),
        cmocka_unit_test(random_strings),
        cmocka_unit_test(every_character),
        cmocka_unit_test(bad_bytes),
        cmocka_unit_test(cuts),
        cmocka_unit_test(cuts_in_found),
    };
    return cmocka_run_group_tests(tests, compile, release);
}
