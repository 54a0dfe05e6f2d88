// The base room but for the pool: errors, strings, numbers, JSON, files, random bits, faults, logs.
#include "base/base.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_base.XXXXXX";

static char *in_folder(const char *name) {
    return base_path_join(folder, name);
}

// --- errors ---

static void fail_fills_code_and_message(void **state) {
    (void)state;
    base_err err = {0};
    assert_int_equal(base_fail(&err, BASE_ERR_MODEL, "%s: %d", "w", 7), BASE_ERR_MODEL);
    assert_int_equal(err.code, BASE_ERR_MODEL);
    assert_string_equal(err.message, "w: 7");
    assert_int_equal(base_fail_prefix(&err, "file %d", 3), BASE_ERR_MODEL);
    assert_string_equal(err.message, "file 3: w: 7");
    // The old message may be an argument of the new one.
    base_fail(&err, BASE_ERR_USAGE, "again %s", err.message);
    assert_string_equal(err.message, "again file 3: w: 7");
    assert_int_equal(base_fail(NULL, BASE_ERR_RANK, "x"), BASE_ERR_RANK);
}

static void fail_cuts_on_a_character_boundary(void **state) {
    (void)state;
    char text[3001];
    for (int shift = 0; shift < 4; shift++) {
        base_err err = {0};
        memset(text, 'a', (size_t)shift);
        size_t len = (size_t)shift;
        while (len + 3 <= 3000) {
            memcpy(text + len, "\xe5\xb1\xb1", 3); // one Han character
            len += 3;
        }
        text[len] = '\0';
        base_fail(&err, BASE_ERR_MODEL, "%s", text);
        size_t whole = ((sizeof err.message - 1 - (size_t)shift) / 3) * 3 + (size_t)shift;
        assert_int_equal(strlen(err.message), whole);
        assert_memory_equal(err.message, text, whole);
        base_fail_prefix(&err, "p");
        assert_true(strlen(err.message) > sizeof err.message - 4);
        assert_int_equal((unsigned char)err.message[strlen(err.message) - 1], 0xb1);
    }
}

static void fail_replaces_control_bytes(void **state) {
    (void)state;
    base_err err = {0};
    base_fail(&err, BASE_ERR_MODEL, "%s", "a\x1b[31m\n\r\x7f\xc2\x9b\xff\xc3\xa9z");
    assert_string_equal(err.message, "a?[31m??????\xc3\xa9z");
}

// --- strings and ids ---

static void str_grows_and_stays_terminated(void **state) {
    (void)state;
    base_str s = {0};
    base_str_clear(&s);
    assert_null(s.data);
    for (int i = 0; i < 5000; i++) {
        base_str_add(&s, "a\0b", 3);
        assert_int_equal(s.data[s.len], '\0');
    }
    assert_int_equal(s.len, 15000);
    assert_memory_equal(s.data + 14997, "a\0b", 3);
    size_t cap = s.cap;
    base_str_clear(&s);
    assert_int_equal(s.cap, cap);
    assert_string_equal(s.data, "");
    base_str_printf(&s, "%s-%d", "x", 12);
    base_str_printf(&s, "%s", "");
    base_str_adds(&s, "!");
    assert_string_equal(s.data, "x-12!");
    base_str_free(&s);
    assert_null(s.data);
    assert_int_equal(s.len + s.cap, 0);
}

static void str_printf_takes_long_texts(void **state) {
    (void)state;
    char *text = base_alloc(100001);
    memset(text, 'q', 100000);
    text[100000] = '\0';
    base_str s = {0};
    base_str_printf(&s, "<%s>", text);
    assert_int_equal(s.len, 100002);
    assert_int_equal(s.data[100001], '>');
    base_str_free(&s);
    base_free(text);
}

static void ids_grow(void **state) {
    (void)state;
    base_ids v = {0};
    for (int32_t i = 0; i < 10000; i++)
        base_ids_add(&v, i * 3 - 7);
    assert_int_equal(v.len, 10000);
    for (int32_t i = 0; i < 10000; i++)
        assert_int_equal(v.data[i], i * 3 - 7);
    base_ids_free(&v);
    assert_null(v.data);
    assert_int_equal(v.len, 0);
}

static void utf8_steps(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len, step;
        bool valid;
    } cases[] = {
        {"a", 1, 1, true},
        {"\0", 1, 1, true},
        {"\xc3\xa9", 2, 2, true},
        {"\xe2\x82\xac", 3, 3, true},
        {"\xf0\x9f\x8f\x94", 4, 4, true},
        {"\xf4\x8f\xbf\xbf", 4, 4, true},
        {"", 0, 0, false},
        {"\x80", 1, 1, false},
        {"\xc0\xaf", 2, 1, false},         // overlong
        {"\xe0\x9f\xbf", 3, 1, false},     // overlong
        {"\xed\xa0\x80", 3, 1, false},     // surrogate
        {"\xf4\x90\x80\x80", 4, 1, false}, // past U+10FFFF
        {"\xf5\x80\x80\x80", 4, 1, false},
        {"\xe2\x82", 2, 2, false}, // cut short: one piece
        {"\xf0\x9f\x8f"
         "a",
         4, 3, false}, // one piece, then 'a'
        {"\xe2"
         "a",
         2, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool valid;
        assert_int_equal(base_utf8_next(cases[i].bytes, cases[i].len, &valid), cases[i].step);
        assert_int_equal(valid, cases[i].valid);
    }
}

// --- memory ---

static void memory_is_usable_and_checked(void **state) {
    (void)state;
    volatile size_t huge = SIZE_MAX; // volatile: the compiler would warn of what is tested here
    assert_null(base_try_alloc(huge / 2));
    assert_null(base_try_calloc(huge / 4, 8));
    assert_null(base_big_alloc(huge - 4096));
    int *zeros = base_calloc(1000, sizeof *zeros);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(zeros[i], 0);
    zeros = base_realloc(zeros, 2000 * sizeof *zeros);
    zeros[1999] = 1;
    base_free(zeros);
    base_free(NULL);
    char *copy = base_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    base_free(copy);
    static const size_t sizes[] = {0, 1, 4096, 2u << 20, (2u << 20) + 1, 33u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *p = base_big_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (2u << 20), 0);
        for (size_t at = 0; at < sizes[i]; at += 4096)
            assert_int_equal(p[at], 0);
        if (sizes[i] > 0)
            p[sizes[i] - 1] = 1;
        base_big_free(p, sizes[i]);
    }
}

// --- numbers ---

static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } cases[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, // tie to even: down
        {0x3f818000, 0x3f82},                       // tie to even: up
        {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80}, {0x80000000, 0x8000},
        {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
        {0x00008000, 0x0000}, {0x00008001, 0x0001}, {0x00018000, 0x0002},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float f;
        memcpy(&f, &cases[i].f32, sizeof f);
        assert_int_equal(base_f32_to_bf16(f), cases[i].bf16);
    }
    uint32_t quiet = 0x7f800001; // a NaN whose upper half alone would read as infinity
    float nan_value;
    memcpy(&nan_value, &quiet, sizeof nan_value);
    assert_true(isnan(base_bf16_to_f32(base_f32_to_bf16(nan_value))));
    for (uint32_t h = 0; h < 65536; h++) {
        float f = base_bf16_to_f32((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(base_f32_to_bf16(f), h);
    }
}

static void parse_i64_is_strict(void **state) {
    (void)state;
    int64_t v = 42;
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      " 1",
                                      "1 ",
                                      "1a",
                                      "0x10",
                                      "1.0",
                                      "1e3",
                                      "--1",
                                      "+-1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(base_parse_i64(bad[i], INT64_MIN, INT64_MAX, &v));
    assert_int_equal(v, 42);
    assert_true(base_parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MIN);
    assert_true(base_parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MAX);
    assert_true(base_parse_i64("007", 0, 7, &v) && v == 7);
    assert_true(base_parse_i64("-0", 0, 7, &v) && v == 0);
    assert_true(base_parse_i64("+5", 0, 7, &v) && v == 5);
    assert_false(base_parse_i64("8", 0, 7, &v));
    assert_false(base_parse_i64("-1", 0, 7, &v));
}

static void parse_f64_is_strict(void **state) {
    (void)state;
    double v = 42;
    static const char *const bad[] = {"",   ".",   "-",   "e5",  "1e",  "1e+",   " 1",     "1 ",
                                      "1f", "inf", "nan", "NAN", "0x1", "1e400", "-1e400", "1,5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(base_parse_f64(bad[i], -INFINITY, INFINITY, &v));
    assert_true(v == 42);
    assert_true(base_parse_f64("0.6", 0, 2, &v) && v == 0.6);
    assert_true(base_parse_f64("-.5", -1, 2, &v) && v == -0.5);
    assert_true(base_parse_f64("5.", 0, 5, &v) && v == 5);
    assert_true(base_parse_f64("1E-3", 0, 5, &v) && v == 0.001);
    assert_false(base_parse_f64("2.0001", 0, 2, &v));
}

static void sizes_are_checked(void **state) {
    (void)state;
    size_t out;
    assert_true(base_mul_size((size_t)1 << 32, ((size_t)1 << 32) - 1, &out));
    assert_false(base_mul_size((size_t)1 << 32, (size_t)1 << 32, &out));
    assert_true(base_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(base_add_size(SIZE_MAX, 1, &out));
    assert_int_equal(base_round_up(0, 32), 0);
    assert_int_equal(base_round_up(33, 32), 64);
}

static void thousands_are_separated(void **state) {
    (void)state;
    char out[32];
    assert_string_equal(base_thousands(out, 0), "0");
    assert_string_equal(base_thousands(out, 999), "999");
    assert_string_equal(base_thousands(out, 1000), "1,000");
    assert_string_equal(base_thousands(out, 715072), "715,072");
    assert_string_equal(base_thousands(out, -1234567), "-1,234,567");
    assert_string_equal(base_thousands(out, INT64_MIN), "-9,223,372,036,854,775,808");
}

// --- JSON ---

static void json_accepts(const char *text, size_t len) {
    base_err err = {0};
    json_t *value = base_json_parse(text, len, "body", BASE_ERR_USAGE, &err);
    if (value == NULL)
        fail_msg("refused %s: %s", text, err.message);
    json_decref(value);
}

static void json_refuses(const char *text, size_t len, const char *reason) {
    base_err err = {0};
    json_t *value = base_json_parse(text, len, "body", BASE_ERR_USAGE, &err);
    if (value != NULL)
        fail_msg("accepted %s", text);
    assert_int_equal(err.code, BASE_ERR_USAGE);
    assert_memory_equal(err.message, "body: line ", 11);
    if (strstr(err.message, reason) == NULL)
        fail_msg("'%s' says nothing of '%s'", err.message, reason);
}

#define ACCEPTS(text) json_accepts(text, sizeof(text) - 1)
#define REFUSES(text, reason) json_refuses(text, sizeof(text) - 1, reason)

static void json_is_strict(void **state) {
    (void)state;
    ACCEPTS("{\"a\":[1,-2.5e3,true,null,\"\\u00e9\\ud83c\\udfd4\"]}");
    ACCEPTS(" 3 ");
    ACCEPTS("9223372036854775807");
    ACCEPTS("-9223372036854775808");
    ACCEPTS("{\"a\":{\"a\":1}}");
    REFUSES("", "");
    REFUSES("{\"a\":1,\"a\":2}", "duplicate");
    REFUSES("{\"a\":1,\"\\u0061\":2}", "duplicate");
    REFUSES("{\"a\":\"x\\u0000y\"}", "");
    REFUSES("{\"a\\u0000b\":1}", "");
    REFUSES("\"x\0y\"", "");
    REFUSES("{} x", "");
    REFUSES("{}{}", "");
    REFUSES("{}\0", "");
    REFUSES("[1e400]", "overflow");
    REFUSES("[-1e400]", "overflow");
    REFUSES("[NaN]", "");
    REFUSES("[Infinity]", "");
    REFUSES("[01]", "");
    REFUSES("[1,]", "");
    REFUSES("{'a':1}", "");
    REFUSES("[\"\xff\"]", "");
    REFUSES("[\"\\ud800\"]", "");
    REFUSES("[\"a\nb\"]", "");
    REFUSES("\xef\xbb\xbf{}", "");
    REFUSES("// c\n{}", "");
}

static void json_big_integers_are_reals(void **state) {
    (void)state;
    static const char text[] =
        "{\"9223372036854775808\": [9223372036854775807, 9223372036854775808,"
        "-9223372036854775808,-9223372036854775809, 18446744073709551615 ,"
        "-0, 0.5, 1e5, 99999999999999999999.5, 99999999999999999999e1,"
        "\"\\\"99999999999999999999\", 99999999999999999999]}";
    base_err err = {0};
    json_t *root = base_json_parse(text, sizeof text - 1, "body", BASE_ERR_USAGE, &err);
    const json_t *list = json_object_get(root, "9223372036854775808");
    assert_int_equal(json_array_size(list), 12);
    static const double reals[] = {[1] = 0x1p63,
                                   [3] = -0x1p63,
                                   [4] = 0x1p64,
                                   [6] = 0.5,
                                   [7] = 1e5,
                                   [8] = 99999999999999999999.5,
                                   [9] = 9.9999999999999999999e20,
                                   [11] = 99999999999999999999.0};
    for (size_t i = 0; i < 12; i++) {
        const json_t *value = json_array_get(list, i);
        assert_int_equal(json_is_real(value), reals[i] != 0);
        assert_true(!json_is_real(value) || json_real_value(value) == reals[i]);
    }
    assert_true(json_integer_value(json_array_get(list, 0)) == INT64_MAX);
    assert_true(json_integer_value(json_array_get(list, 2)) == INT64_MIN);
    assert_string_equal(json_string_value(json_array_get(list, 10)), "\"99999999999999999999");
    json_decref(root);
    ACCEPTS("9223372036854775808");
    // An error behind one is told where it is in the text as it came.
    assert_null(base_json_parse("[99999999999999999999, x]", 25, "body", BASE_ERR_USAGE, &err));
    assert_memory_equal(err.message, "body: line 1 column 24: ", 24);
    assert_null(base_json_parse("[99999999999999999999, 1e400]", 29, "body", BASE_ERR_USAGE, &err));
    assert_non_null(strstr(err.message, "overflow"));
    char huge[402];
    memset(huge, '9', sizeof huge);
    huge[0] = '[';
    huge[401] = ']';
    json_refuses(huge, sizeof huge, "overflow");
}

static void json_error_tells_the_place(void **state) {
    (void)state;
    base_err err = {0};
    assert_null(base_json_parse("{\n  \"a\": }", 10, "config.json", BASE_ERR_MODEL, &err));
    assert_memory_equal(err.message, "config.json: line 2 column ", 27);
}

static void json_depth_is_bounded(void **state) {
    (void)state;
    static const int depths[] = {512, 513, 100000};
    for (size_t i = 0; i < 3; i++) {
        size_t depth = (size_t)depths[i];
        char *text = base_alloc(2 * depth + 1);
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        if (depth <= 512)
            json_accepts(text, 2 * depth);
        else
            json_refuses(text, 2 * depth, "line 1 column 513: nested");
        base_free(text);
    }
    // Brackets inside strings, and behind escaped quotes, do not count.
    base_str s = {0};
    base_str_adds(&s, "[\"\\\"");
    for (int i = 0; i < 2000; i++)
        base_str_adds(&s, "[");
    base_str_adds(&s, "\\\\\"]");
    json_accepts(s.data, s.len);
    base_str_free(&s);
    // Brackets that close do not add up.
    base_str_adds(&s, "[");
    for (int i = 0; i < 2000; i++)
        base_str_adds(&s, "{},");
    base_str_adds(&s, "[]]");
    json_accepts(s.data, s.len);
    base_str_free(&s);
}

static void doubles_are_spelled_as_python_does(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.6, "0.6"},
        {1e-05, "1e-05"},
        {3.0, "3.0"},
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {0.1, "0.1"},
        {-1.5, "-1.5"},
        {1e16, "1e+16"},
        {1e15, "1000000000000000.0"},
        {9007199254740993.0, "9007199254740992.0"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {0.0001, "0.0001"},
        {0.00001234, "1.234e-05"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {0.1 + 0.2, "0.30000000000000004"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {1e100, "1e+100"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {0x1p-44, "5.684341886080802e-14"},
        {0x1p-1074 * 3, "1.5e-323"},
        {9.5367431640625e-07, "9.5367431640625e-07"},
        {100.0, "100.0"},
        {120.25, "120.25"},
        {8192.0, "8192.0"},
        {-13.815510749816895, "-13.815510749816895"},
        {0x1p-1019, "1.7800590868057611e-307"},
        {0x1p-24, "5.960464477539063e-08"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        base_str s = {0};
        base_json_add_double(&s, cases[i].value);
        assert_string_equal(s.data, cases[i].text);
        base_str_free(&s);
    }
}

static void doubles_round_trip(void **state) {
    (void)state;
    base_str s = {0};
    static const uint32_t key[2] = {11, 22};
    for (uint32_t i = 0; i < 200000; i++) {
        const uint32_t counter[4] = {i};
        base_rng_block block = base_rng_philox(key, counter);
        double value, back;
        memcpy(&value, block.v, sizeof value);
        if (i % 4 == 1) // the float32 values that log-probabilities are
            value = (float)-base_rng_unit(block.v[0], block.v[1]) * 20;
        if (i % 4 == 2) // powers of two, where the neighbours are unequally far
            value = ldexp(1.0, (int)(block.v[2] % 2098) - 1074);
        if (!isfinite(value))
            continue;
        base_str_clear(&s);
        base_json_add_double(&s, value);
        assert_true(s.len <= 24);
        back = strtod(s.data, NULL);
        assert_memory_equal(&back, &value, sizeof value);
        json_t *parsed = json_loadb(s.data, s.len, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(parsed));
        json_decref(parsed);
    }
    base_str_free(&s);
}

static void strings_are_escaped(void **state) {
    (void)state;
    base_str s = {0};
    static const char raw[] = "q\"b\\\b\f\n\r\t\x01\x1f\x7f/\0\xc3\xa9\xf0\x9f\x8f\x94";
    base_json_add_string(&s, raw, sizeof raw - 1);
    assert_string_equal(s.data, "\"q\\\"b\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/\\u0000"
                                "\xc3\xa9\xf0\x9f\x8f\x94\"");
    base_str_clear(&s);
    base_json_add_string(&s, "", 0);
    assert_string_equal(s.data, "\"\"");
    base_str_clear(&s);
    base_json_add_string(&s,
                         "a\xff"
                         "b\xed\xa0\x80\xe2\x82",
                         8);
    assert_string_equal(s.data, "\"a\xef\xbf\xbd"
                                "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    base_str_free(&s);
}

static void random_strings_come_back(void **state) {
    (void)state;
    static const uint32_t key[2] = {5, 6};
    for (uint32_t i = 0; i < 20000; i++) {
        const uint32_t counter[4] = {i};
        base_rng_block block = base_rng_philox(key, counter);
        char bytes[16];
        memcpy(bytes, block.v, sizeof bytes);
        size_t len = block.v[3] % 16;
        base_str s = {0};
        base_json_add_string(&s, bytes, len);
        json_t *value = json_loadb(s.data, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        bool valid = true;
        for (size_t at = 0; at < len && valid;)
            at += base_utf8_next(bytes + at, len - at, &valid);
        if (valid) {
            assert_int_equal(json_string_length(value), len);
            assert_memory_equal(json_string_value(value), bytes, len);
        }
        json_decref(value);
        base_str_free(&s);
    }
}

// --- files ---

static void files_are_written_and_read(void **state) {
    (void)state;
    base_err err = {0};
    base_str out = {0};
    char *path = in_folder("a.bin");
    static char bytes[300000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 % 251);
    assert_int_equal(base_file_write(path, "old", 3, &err), 0);
    assert_int_equal(base_file_write(path, bytes, sizeof bytes, &err), 0);
    base_str_adds(&out, "gone");
    assert_int_equal(base_file_read(path, sizeof bytes, BASE_ERR_MODEL, &out, &err), 0);
    assert_int_equal(out.len, sizeof bytes);
    assert_memory_equal(out.data, bytes, sizeof bytes);
    assert_int_equal(out.data[out.len], '\0');
    assert_int_equal(base_file_read(path, sizeof bytes - 1, BASE_ERR_MODEL, &out, &err),
                     BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, path));
    base_str_free(&out);
    unlink(path);
    base_free(path);
}

static void files_that_are_none_are_refused(void **state) {
    (void)state;
    base_err err = {0};
    base_str out = {0};
    uint64_t size;
    char *missing = in_folder("missing"), *fifo = in_folder("fifo"), *deep = in_folder("no/where");
    assert_int_equal(base_file_read(missing, 10, BASE_ERR_USAGE, &out, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, missing));
    assert_non_null(strstr(err.message, strerror(ENOENT)));
    assert_int_equal(base_file_open(folder, BASE_ERR_MODEL, &size, &err), -1);
    assert_int_equal(err.code, BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(base_file_open(fifo, BASE_ERR_MODEL, &size, &err), -1);
    unlink(fifo);
    assert_int_equal(base_file_write(deep, "x", 1, &err), BASE_ERR_RESOURCE);
    assert_non_null(strstr(err.message, deep));
    base_str_free(&out);
    base_free(missing);
    base_free(fifo);
    base_free(deep);
}

static void pread_is_exact(void **state) {
    (void)state;
    base_err err = {0};
    char *path = in_folder("b.bin"), got[8] = {0};
    assert_int_equal(base_file_write(path, "0123456789", 10, &err), 0);
    uint64_t size = 0;
    int fd = base_file_open(path, BASE_ERR_MODEL, &size, &err);
    assert_true(fd >= 0);
    assert_int_equal(size, 10);
    assert_int_equal(base_file_pread(fd, got, 4, 6, path, &err), 0);
    assert_memory_equal(got, "6789", 4);
    assert_int_equal(base_file_pread(fd, got, 0, 10, path, &err), 0);
    assert_int_equal(base_file_pread(fd, got, 5, 6, path, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(base_file_pread(fd, got, 4, UINT64_MAX, path, &err), BASE_ERR_MODEL);
    assert_int_equal(base_file_pread(fd, got, 4, INT64_MAX, path, &err), BASE_ERR_MODEL);
    close(fd);
    unlink(path);
    base_free(path);
}

static void paths_join(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *path = base_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        base_free(path);
    }
}

// --- random bits ---

// The known answers of Random123 (kat_vectors, philox4x32 10): counter, key, result.
static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const uint32_t cases[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        base_rng_block block = base_rng_philox(cases[i] + 4, cases[i]);
        assert_memory_equal(block.v, cases[i] + 6, sizeof block.v);
    }
}

static void unit_is_open_at_both_ends(void **state) {
    (void)state;
    assert_true(base_rng_unit(0, 0) > 0);
    assert_true(base_rng_unit(UINT32_MAX, UINT32_MAX) < 1);
    assert_true(base_rng_unit(0x80000000u, 0) > 0.5 && base_rng_unit(0x80000000u, 0) < 0.5 + 1e-15);
    double sum = 0;
    static const uint32_t key[2] = {1, 2};
    for (uint32_t i = 0; i < 100000; i++) {
        const uint32_t counter[4] = {i};
        base_rng_block block = base_rng_philox(key, counter);
        sum += base_rng_unit(block.v[0], block.v[1]);
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005); // over five standard deviations
}

// --- faults, logs and progress: each in a child, whose environment and stderr are its own ---

// Runs fn in a child and returns what it wrote on stderr; the child must exit with 0.
static base_str child_output(void (*fn)(void)) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        fn();
        _exit(0);
    }
    close(ends[1]);
    base_str out = {0};
    char buffer[4096];
    ssize_t n;
    while ((n = read(ends[0], buffer, sizeof buffer)) > 0)
        base_str_add(&out, buffer, (size_t)n);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    base_str_add(&out, "", 0);
    if (status != 0)
        fail_msg("child ended with status %d: %s", status, out.data);
    return out;
}

#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void third_allocation_fails(void) {
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("FAIL_ALLOC", "3", 1);
    void *a = base_try_alloc(1), *b = base_try_calloc(1, 1);
    CHILD_CHECK(a != NULL && b != NULL);
    CHILD_CHECK(base_big_alloc(1) == NULL);
    base_free(base_alloc(1)); // not one of those that may fail
    void *c = base_try_realloc(a, 2);
    CHILD_CHECK(c != NULL);
    base_free(b);
    base_free(c);
}

static void second_read_fails(void) {
    setenv("ABRUZZI_FAULTS", "1", 1);
    setenv("FAIL_IO", "2", 1);
    base_err err = {0};
    char byte, *path = in_folder("io");
    CHILD_CHECK(base_file_write(path, "x", 1, &err) == 0);
    uint64_t size;
    int fd = base_file_open(path, BASE_ERR_MODEL, &size, &err);
    CHILD_CHECK(base_file_pread(fd, &byte, 1, 0, path, &err) == 0);
    CHILD_CHECK(base_file_pread(fd, &byte, 1, 0, path, &err) == BASE_ERR_RESOURCE);
    CHILD_CHECK(strstr(err.message, path) != NULL);
    CHILD_CHECK(base_file_pread(fd, &byte, 1, 0, path, &err) == 0);
    close(fd);
    unlink(path);
    base_free(path);
}

static void faults_off_do_nothing(void) {
    unsetenv("ABRUZZI_FAULTS");
    setenv("FAIL_ALLOC", "1", 1);
    setenv("NAN_AT_STEP", "4", 1);
    void *p = base_try_alloc(1);
    CHILD_CHECK(p != NULL);
    base_free(p);
    CHILD_CHECK(base_fault_number("NAN_AT_STEP") == -1);
    setenv("ABRUZZI_FAULTS", "1", 1);
    CHILD_CHECK(base_fault_number("NAN_AT_STEP") == 4);
    setenv("NAN_AT_STEP", "many", 1);
    CHILD_CHECK(base_fault_number("NAN_AT_STEP") == -1);
}

static void faults_come_when_asked_for(void **state) {
    (void)state;
    void (*const children[])(void) = {third_allocation_fails, second_read_fails,
                                      faults_off_do_nothing};
    for (int i = 0; i < 3; i++) {
        base_str out = child_output(children[i]);
        assert_string_equal(out.data, "");
        base_str_free(&out);
    }
}

static void write_logs(void) {
    base_debug("hidden");
    base_info("one %d", 1);
    base_warn("two\nthree\x1b");
    base_log_set_level(BASE_LOG_ERROR);
    base_warn("hidden");
    base_log_at(BASE_LOG_ERROR, "src/deep/plan.c", 42, "%s", "bad");
    static char big[10000];
    memset(big, 'x', sizeof big - 1);
    base_error("%s", big);
}

static void logs_have_the_form_of_vllm(void **state) {
    (void)state;
    base_str out = child_output(write_logs);
    char kind[16], file[32], text[32];
    int month, day, hour, minute, second, used;
    assert_int_equal(sscanf(out.data, "%15s %2d-%2d %2d:%2d:%2d [%31[^]]] %n", kind, &month, &day,
                            &hour, &minute, &second, file, &used),
                     7);
    assert_string_equal(kind, "INFO");
    assert_memory_equal(file, "test_base.c:", 12);
    assert_int_equal(sscanf(out.data + used, "%31[^\n]", text), 1);
    assert_string_equal(text, "one 1");
    assert_non_null(strstr(out.data, "\nWARNING "));
    assert_non_null(strstr(out.data, "] two?three?\n"));
    assert_non_null(strstr(out.data, " [plan.c:42] bad\n"));
    assert_null(strstr(out.data, "hidden"));
    size_t lines = 0;
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, 4);
    assert_int_equal(out.data[out.len - 1], '\n');
    base_str_free(&out);
}

static void read_with_progress(void) {
    base_progress_add(NULL, 1);
    base_progress *p = base_progress_start("Loading", 1000);
    for (int i = 0; i < 1000; i++)
        base_progress_add(p, 1);
    CHILD_CHECK(base_progress_seconds(p) >= 0);
    base_progress_end(p);
    base_progress_end(base_progress_start("Nothing", 0));
}

static void progress_logs_each_tenth(void **state) {
    (void)state;
    base_str out = child_output(read_with_progress);
    int lines = 0;
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, 11); // 10 % to 100 %, and the one with nothing to do
    assert_non_null(strstr(out.data, "Loading:  10 % of"));
    assert_non_null(strstr(out.data, "ETA"));
    assert_non_null(strstr(out.data, "Loading: 100 % of"));
    assert_non_null(strstr(out.data, "took"));
    base_str_free(&out);
}

static void clocks_run_forward(void **state) {
    (void)state;
    int64_t before = base_now_ns();
    assert_true(base_now_ns() >= before);
    assert_true(base_now_s() >= (double)before * 1e-9);
    assert_true(base_wall_s() > 1700000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        // First: the faults are read from the environment once, here only in the children.
        cmocka_unit_test(faults_come_when_asked_for),
        cmocka_unit_test(fail_fills_code_and_message),
        cmocka_unit_test(fail_cuts_on_a_character_boundary),
        cmocka_unit_test(fail_replaces_control_bytes),
        cmocka_unit_test(str_grows_and_stays_terminated),
        cmocka_unit_test(str_printf_takes_long_texts),
        cmocka_unit_test(ids_grow),
        cmocka_unit_test(utf8_steps),
        cmocka_unit_test(memory_is_usable_and_checked),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(parse_i64_is_strict),
        cmocka_unit_test(parse_f64_is_strict),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(thousands_are_separated),
        cmocka_unit_test(json_is_strict),
        cmocka_unit_test(json_big_integers_are_reals),
        cmocka_unit_test(json_error_tells_the_place),
        cmocka_unit_test(json_depth_is_bounded),
        cmocka_unit_test(doubles_are_spelled_as_python_does),
        cmocka_unit_test(doubles_round_trip),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(random_strings_come_back),
        cmocka_unit_test(files_are_written_and_read),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(pread_is_exact),
        cmocka_unit_test(paths_join),
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(unit_is_open_at_both_ends),
        cmocka_unit_test(logs_have_the_form_of_vllm),
        cmocka_unit_test(progress_logs_each_tenth),
        cmocka_unit_test(clocks_run_forward),
    };
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
