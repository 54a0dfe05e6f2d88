// Formats: texts their standards name or forbid, and all dates of some years against the C library.
#include "dfa_check.h"
#include <arpa/inet.h>
#include <time.h>

static grammar_dfa *dfa_of_format(const char *name) {
    grammar_dfa *d;
    base_err err = {0};
    if (grammar_dfa_format(&d, name, &err) != 0 || d == NULL)
        fail_msg("%s: %s", name, err.message);
    return d;
}

static const struct {
    const char *format, *yes[6], *no[8];
} cases[] = {
    {"time",
     {"12:00:00Z", "23:59:59.999999999-23:59", "00:00:00+00:00"},
     {"24:00:00Z", "12:60:00Z", "12:00:60Z", "12:00Z", "12:00:00", "12:00:00.Z", "1:00:00Z"}},
    {"date-time",
     {"2024-02-29T12:30:45Z", "1999-12-31T23:59:59.5+05:30"},
     {"2023-02-29T12:30:45Z", "2024-01-01 12:30:45Z", "2024-01-01", "2024-01-01T12:30:45"}},
    {"duration",
     {"P1Y2M3DT4H5M6S", "PT5M", "P2W", "P1D", "PT1H", "P1YT1S"},
     {"P", "PT", "P1YT", "1D", "P1H", "P1W1D", "P1D2M", "PT1H1S"}},
    {"uuid",
     {"123e4567-e89b-12d3-a456-426614174000", "ABCDEF00-0000-0000-0000-000000000000"},
     {"123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"}},
    {"ipv4",
     {"0.0.0.0", "255.255.255.255", "1.20.199.249"},
     {"256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.4 "}},
    {"ipv6",
     {"::", "::1", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1",
      "1:2:3:4:5:6:7::"},
     {"1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", ":", "1:2:3:4:5:6:7", "fe80::1%eth0",
      "::256.1.1.1"}},
    {"hostname",
     {"localhost", "a.b", "example.com", "3com.net", "a-b.c-d", "x.y.z.w.v.u.t.s"},
     {"", "-a", "a-", "a..b", ".a", "a.", "a_b", "xn--a"}},
    {"email",
     {"a@b", "first.last+tag@example.co.uk", "!#$%&'*+/=?^_`{|}~-@x"},
     {"a", "@b", "a@", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b@c"}},
    {"uri",
     {"http://a.b/c?d=e#f", "mailto:a@b.c", "urn:isbn:0451450523", "file:///etc/hosts",
      "https://user:pw@h:8080/%7Ex", "a:"},
     {"//a/b", "http://a b", "1http://a", "http://[::1", "http://a/%zz", "a", ":a", "http://é"}},
    {"uri-reference",
     {"", "a/b", "../c?d", "#e", "//h/p", "http://x"},
     {"\\\\x", "a b", "%", "<a>", "#a#b", "1:2"}},
    {"uri-template",
     {"http://x/{id}", "{?a,b*}", "{+path:3}/c", "plain"},
     {"{", "{a", "}", "{}", "{a,}", "{a:0}", "a b", "{!a}"}},
    {"json-pointer", {"", "/a/b", "/~0~1", "/é", "/"}, {"a", "/~", "/~2", "a/b"}},
    {"relative-json-pointer", {"0", "1/a", "12#", "0/"}, {"/a", "01", "-1/a", "1a", ""}},
};

static void test_examples(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar_dfa *d = dfa_of_format(cases[i].format);
        dfa_check(d);
        for (int j = 0; j < 6 && cases[i].yes[j] != NULL; j++)
            if (!dfa_has(d, cases[i].yes[j]))
                fail_msg("%s: %s", cases[i].format, cases[i].yes[j]);
        for (int j = 0; j < 8 && cases[i].no[j] != NULL; j++)
            if (dfa_has(d, cases[i].no[j]))
                fail_msg("%s: not %s", cases[i].format, cases[i].no[j]);
        grammar_dfa_free(d);
    }
}

static bool is_date(int year, int month, int day) {
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = 12};
    return month >= 1 && month <= 12 && day >= 1 && timegm(&tm) != -1 && tm.tm_mday == day &&
           tm.tm_mon == month - 1;
}

static void test_dates(void **state) {
    (void)state;
    static const int years[] = {1,    4,    96,   100,  400,  999,  1582, 1900, 1970,
                                1999, 2000, 2023, 2024, 2100, 2400, 9996, 9999};
    grammar_dfa *d = dfa_of_format("date");
    char text[40];
    dfa_check(d);
    for (size_t i = 0; i < sizeof years / sizeof *years; i++)
        for (int month = 0; month <= 13; month++)
            for (int day = 0; day <= 32; day++) {
                snprintf(text, sizeof text, "%04d-%02d-%02d", years[i], month, day);
                if (dfa_has(d, text) != is_date(years[i], month, day))
                    fail_msg("%s", text);
            }
    for (int year = 1; year <= 9999; year++) {
        snprintf(text, sizeof text, "%04d-02-29", year);
        if (dfa_has(d, text) != (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)))
            fail_msg("%s", text);
    }
    assert_false(dfa_has(d, "0000-01-01"));
    assert_false(dfa_has(d, "24-01-01"));
    grammar_dfa_free(d);
}

// Whatever is allowed the C library reads.
static void test_addresses(void **state) {
    (void)state;
    static const struct {
        const char *format;
        int family;
    } kinds[] = {{"ipv4", AF_INET}, {"ipv6", AF_INET6}};
    base_str text = {0};
    for (int i = 0; i < 2; i++) {
        grammar_dfa *d = dfa_of_format(kinds[i].format);
        for (int n = 0; n < 3000; n++) {
            unsigned char address[16];
            dfa_walk(d, dfa_random(45), &text);
            if (inet_pton(kinds[i].family, text.data, address) != 1)
                fail_msg("%s", text.data);
        }
        grammar_dfa_free(d);
    }
    base_str_free(&text);
}

static void test_host_lengths(void **state) {
    (void)state;
    grammar_dfa *host = dfa_of_format("hostname"), *mail = dfa_of_format("email");
    base_str text = {0};
    size_t longest = 0;
    for (int n = 0; n < 3000; n++) {
        dfa_walk(host, dfa_random(300), &text);
        assert_true(text.len <= 253 && strstr(text.data, "--") == NULL);
        longest = text.len > longest ? text.len : longest;
        for (const char *label = text.data; label != NULL; label = strchr(label + 1, '.')) {
            size_t len = strcspn(label + (*label == '.'), ".");
            assert_true(len >= 1 && len <= 63);
        }
        dfa_walk(mail, dfa_random(300), &text);
        const char *at = strchr(text.data, '@');
        assert_true(at - text.data <= 64 && dfa_has(host, at + 1));
    }
    assert_true(longest > 100);
    base_str_free(&text);
    grammar_dfa_free(mail);
    grammar_dfa_free(host);
}

static void test_unknown(void **state) {
    (void)state;
    static const char *const names[] = {"", "regex", "Date", "date ", "color", "binary"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        grammar_dfa *d = (grammar_dfa *)&d;
        assert_int_equal(grammar_dfa_format(&d, names[i], NULL), 0);
        assert_null(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),  cmocka_unit_test(test_dates),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_host_lengths),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
