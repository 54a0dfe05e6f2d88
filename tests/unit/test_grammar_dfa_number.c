// Numbers between bounds against Python's reading of them: integers are exact, others are doubles.
#include "dfa_check.h"
#include <math.h>
#include <stdlib.h>

// A bound and a text, compared as a client does: exactly if both are integers (here of less than 38
// digits), else as the double of each (a long integer against a double: exactly, too).
static int compare_values(const char *a, const char *b) {
    bool real_a = strpbrk(a, ".eE") != NULL, real_b = strpbrk(b, ".eE") != NULL;
    double x = strtod(a, NULL), y = strtod(b, NULL);
    if ((real_a && real_b) || fabs(x) < 1e15 || fabs(y) < 1e15)
        return (x > y) - (x < y);
    __int128 exact[2];
    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? a : b;
        if (i == 0 ? real_a : real_b) {
            double value = i == 0 ? x : y;
            if (fabs(value) > 1e37)
                return (x > y) - (x < y);
            exact[i] = (__int128)value; // from 2^53 on without a fraction; below, both are doubles
            continue;
        }
        exact[i] = 0;
        for (const char *p = text + (*text == '-'); *p != '\0'; p++)
            exact[i] = exact[i] * 10 + (*p - '0');
        exact[i] = *text == '-' ? -exact[i] : exact[i];
    }
    return (exact[0] > exact[1]) - (exact[0] < exact[1]);
}

static bool is_allowed(const grammar_range *r, const char *text) {
    int low = r->min == NULL ? 1 : compare_values(text, r->min);
    int high = r->max == NULL ? -1 : compare_values(text, r->max);
    if (low < 0 || (low == 0 && r->min_open) || high > 0 || (high == 0 && r->max_open))
        return false;
    __int128 exact = 0;
    for (const char *p = text + (*text == '-'); r->integer && *p != '\0'; p++)
        exact = exact * 10 + (*p - '0');
    return r->multiple_of == 0 || exact % r->multiple_of == 0;
}

static grammar_dfa *numbers(const grammar_range *r) {
    grammar_dfa *d;
    base_err err = {0};
    if (grammar_dfa_number(&d, r, &err) != 0)
        fail_msg("[%s, %s]: %s", r->min, r->max, err.message);
    return d;
}

static void complain(const grammar_range *r, const char *text) {
    fail_msg("%s in %c%s, %s%c%s, multiple of %d", text, r->min_open ? '(' : '[', r->min, r->max,
             r->max_open ? ')' : ']', r->integer ? " integers" : "", (int)r->multiple_of);
}

// Every fourth text or so, of up to four digits before the point and up to three after it.
static void check_all(const grammar_range *r, const grammar_dfa *d) {
    char text[16];
    for (int places = 0; places <= (r->integer ? 0 : 3); places++)
        for (int v = -1050; v <= 1050; v += 1 + (int)dfa_random(4)) {
            int scale = places == 0 ? 1 : places == 1 ? 10 : places == 2 ? 100 : 1000;
            const char *sign = v < 0 || (v == 0 && places % 2 == 0) ? "-" : "";
            if (places == 0)
                snprintf(text, sizeof text, "%s%d", sign, abs(v));
            else
                snprintf(text, sizeof text, "%s%d.%0*d", sign, abs(v) / scale, places,
                         abs(v) % scale);
            if (dfa_has(d, text) != is_allowed(r, text))
                complain(r, text);
        }
}

static void check_walks(const grammar_range *r, const grammar_dfa *d) {
    base_str text = {0};
    for (int i = 0; i < 25 && d->n_states > 0; i++) {
        dfa_walk(d, dfa_random(25), &text);
        if (!is_allowed(r, text.data) || (r->integer && strchr(text.data, '.') != NULL))
            complain(r, text.data);
    }
    base_str_free(&text);
}

static void test_small_bounds(void **state) {
    (void)state;
    static const char *const bounds[] = {
        NULL,           "0",           "-0.0", "7",     "-12",  "1000", "0.5", "-2.125",
        "20.333333333", "-10.5111111", "1e2",  "25E-1", "0.001"};
    int n = sizeof bounds / sizeof *bounds;
    for (int i = 0; i < n * n * 8; i++) {
        grammar_range r = {.integer = i & 1, .min_open = i & 2, .max_open = i & 4};
        r.min = bounds[i / 8 / n];
        r.max = bounds[i / 8 % n];
        r.multiple_of = r.integer && i % 3 == 0 ? 1 + i % 11 : 0;
        if (r.min == NULL && r.max == NULL && !r.integer)
            continue;
        grammar_dfa *d = numbers(&r);
        if (i % 16 < 2)
            dfa_check(d);
        check_all(&r, d);
        check_walks(&r, d);
        grammar_dfa_free(d);
    }
}

// Bounds beyond what doubles hold exactly, and next to which a number could be rounded to them.
static void test_far_bounds(void **state) {
    (void)state;
    static const char *const bounds[] = {NULL,
                                         "1e16",
                                         "9007199254740993",
                                         "-9007199254740993",
                                         "9007199254740992.0",
                                         "9.223372036854776e+18",
                                         "-9.223372036854776e+18",
                                         "18446744073709551615",
                                         "999999999999",
                                         "123456789012345678901234567",
                                         "1e23",
                                         "-1e22",
                                         "0.1",
                                         "0.12345678901234567890123",
                                         "1.00000000000000000001",
                                         "-0.99999999999999999999",
                                         "1e-12",
                                         "1",
                                         "999999999999999.9",
                                         "1.7976931348623157e+308"};
    int n = sizeof bounds / sizeof *bounds;
    for (int i = 0; i < n * n * 8; i++) {
        grammar_range r = {.integer = i & 1, .min_open = i & 2, .max_open = i & 4};
        r.min = bounds[i / 8 / n];
        r.max = bounds[i / 8 % n];
        base_err err = {0};
        grammar_dfa *d;
        if (grammar_dfa_number(&d, &r, &err) != 0) { // at least so many digits: nobody writes them
            assert_string_equal(r.min, "1.7976931348623157e+308");
            continue;
        }
        check_walks(&r, d);
        bool room = r.min == NULL || r.max == NULL || strtod(r.min, NULL) < strtod(r.max, NULL);
        if (room && !r.integer && r.min != NULL && r.max != NULL &&
            strtod(r.max, NULL) - strtod(r.min, NULL) > 1e-9)
            assert_false(grammar_dfa_is_empty(d));
        grammar_dfa_free(d);
    }
}

static void test_texts(void **state) {
    (void)state;
    static const struct {
        grammar_range range;
        const char *yes[4], *no[4];
    } cases[] = {
        {{0},
         {"-0", "12.5e-10", "1E+99", "12345678901234567890.12345678901234567"},
         {"01", "1.", "1e100", "+1"}},
        {{0}, {"0", "0.0", "-1", "0e0"}, {".5", "-", "1e", "123456789012345678901"}},
        {{.integer = true}, {"0", "-0", "12345678901234567890", "-7"}, {"1.0", "1e2", "", "007"}},
        {{.min = "-10.5111111", .max = "20.333333333"},
         {"-10.5111111", "20.333333333", "-0.0", "20.3333333329999"},
         {"-10.5111112", "20.3333333331", "1e1", "-00"}},
        {{.min = "0", .max = "0"}, {"0", "-0", "0.0", "-0.00000"}, {"0.1", "-0.1", "1", "00"}},
        {{.min = "0.1234567890123456789", .max = "0.1234567890123456789"},
         {"0.1234567890123456789"},
         {"0.12345678901234567", "0.123456789012346"}},
        {{.min = "1e-30", .max = "2e-30"}, {"0.000000000000000000000000000001"}, {"0", "1e-30"}},
        {{.min = "1", .min_open = true, .max = "2"},
         {"1.00000000000001", "2.0"},
         {"1.000000000000001", "1", "1.0"}},
        {{.integer = true, .min = "100000000000000000000000"},
         {"100000000000000000000000"},
         {"99999999999999999999999", "-100000000000000000000001"}},
        {{.integer = true, .multiple_of = 4093}, {"0", "4093", "-8186", "409300"}, {"4094", "1"}},
        {{.integer = true, .multiple_of = 4096, .min = "4097", .max = "8192"},
         {"8192"},
         {"4096", "0"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar_dfa *d = numbers(&cases[i].range);
        dfa_check(d);
        for (int j = 0; j < 4; j++) {
            if (cases[i].yes[j] != NULL && !dfa_has(d, cases[i].yes[j]))
                complain(&cases[i].range, cases[i].yes[j]);
            if (cases[i].no[j] != NULL && dfa_has(d, cases[i].no[j]))
                complain(&cases[i].range, cases[i].no[j]);
        }
        grammar_dfa_free(d);
    }
}

static void test_empty(void **state) {
    (void)state;
    static const grammar_range empty[] = {
        {.min = "2", .max = "1"},
        {.min = "1", .max = "1", .max_open = true},
        {.min = "0", .max = "-0.0", .min_open = true},
        {.integer = true, .min = "0.1", .max = "0.9"},
        {.integer = true, .min = "4", .max = "6", .multiple_of = 7},
    };
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        grammar_dfa *d = numbers(&empty[i]);
        assert_true(grammar_dfa_is_empty(d));
        grammar_dfa_free(d);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const grammar_range refused[] = {
        {.min = "abc"},
        {.max = ""},
        {.min = "1."},
        {.min = "01"},
        {.max = "1e"},
        {.max = "-"},
        {.min = "1e-999"},
        {.max = "1e99999999999999999999"},
        {.min = "0x10"},
        {.min = "1 "},
        {.max = "Infinity"},
        {.min = "1e-400", .max = "2e-400"},
        {.multiple_of = 3},
        {.integer = true, .multiple_of = 4097},
        {.integer = true, .multiple_of = -1},
        {.min = "1e300"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        grammar_dfa *d = (grammar_dfa *)&refused;
        base_err err = {0};
        if (grammar_dfa_number(&d, &refused[i], &err) != BASE_ERR_USAGE)
            fail_msg("case %zu is not refused", i);
        assert_null(d);
        assert_true(err.message[0] != '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_bounds), cmocka_unit_test(test_far_bounds),
        cmocka_unit_test(test_texts),        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
