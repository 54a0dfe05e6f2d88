// The header rules of the safetensors format, the JSON scanner under them, and the shard index.
#include "model/internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct header_case {
    const char *json;
    uint64_t data_bytes;
    const char *reason; // in the message; NULL: accepted
} header_case;

#define A "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}"
#define B "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}"

static const header_case HEADERS[] = {
    // Legal.
    {"{}", 0, NULL},
    {"{" A "}", 12, NULL},
    {"{" A "," B "}", 20, NULL},
    {"{" B "," A "}", 20, NULL},
    {"{" A "}    ", 12, NULL},
    {"{ \"__metadata__\" : {\"format\":\"pt\"} , " A " }", 12, NULL},
    {"{\"__metadata__\":{}," A "}", 12, NULL},
    {"{" A ",\"z\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[12,12]}}", 12, NULL},
    {"{" A ",\"y\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 12, NULL},
    {"{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, NULL},
    {"{\"f\":{\"shape\":[4],\"data_offsets\":[0,2],\"dtype\":\"F4\"}}", 2, NULL},
    {"{\"\\u00e9\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     NULL},
    // Cover: holes, overlaps, ends.
    {"{" A "}", 13, "after the last"},
    {"{}", 1, "after the last"},
    {"{" A "}", 11, "truncated"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "hole"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[14,22]}}", 22, "hole"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", 16, "overlaps"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[12],\"data_offsets\":[0,12]}}", 12, "overlaps"},
    // Sizes.
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,16]}}", 16, "make 12 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1000,1000],\"data_offsets\":[0,4]}}", 4, "4000000"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4194305,4194305,211106198978564],"
     "\"data_offsets\":[0,16]}}",
     16, "overflows"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[288230376151711744],\"data_offsets\":[0,0]}}", 0,
     "overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]}}", 0,
     "2^63"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "whole number"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "dimensions"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[8,4]}}", 8, "before they begin"},
    // Numbers.
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[-1,8]}}", 8, "non-negative"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-8],\"data_offsets\":[0,8]}}", 8, "non-negative"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8.0],\"data_offsets\":[0,8]}}", 8, "integer"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8e0]}}", 8, "integer"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[08],\"data_offsets\":[0,8]}}", 8, "leading zero"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,18446744073709551624]}}", 8,
     "64 bits"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[\"8\"],\"data_offsets\":[0,8]}}", 8, "integer"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0]}}", 8, "','"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8,9]}}", 8, "']'"},
    // Fields.
    {"{\"a\":{\"dtype\":\"F7\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype \"F7\""},
    {"{\"a\":{\"dtype\":\"bf16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, "dtype"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1, "unknown field"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "twice"},
    {"{\"a\":[]}", 0, "'{'"},
    {"{\"a\":null}", 0, "'{'"},
    {"{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "without a name"},
    // Keys twice, also spelled differently.
    {"{" A "," A "}", 12, "\"a\" is there twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "'\"'"},
    {"{\"__metadata__\":[]}", 0, "'{'"},
    // JSON.
    {"", 0, "begin with"},
    {" {}", 0, "begin with"},
    {"[]", 0, "begin with"},
    {"{", 0, "cut off"},
    {"{}\n", 0, "after the header"},
    {"{}{}", 0, "after the header"},
    {"{,}", 0, "'\"'"},
    {"{" A ",}", 12, "'\"'"},
    {"{" A "]", 12, "'}'"},
    {"{'a':1}", 0, "'\"'"},
    {"{\"a\xff\":{}}", 0, "UTF-8"},
    {"{\"a\xed\xa0\x80\":{}}", 0, "UTF-8"},
    {"{\"a\\ud800\":{}}", 0, "surrogate"},
    {"{\"a\\udc00\":{}}", 0, "surrogate"},
    {"{\"a\\u0000\":{}}", 0, "NUL"},
    {"{\"a\\x\":{}}", 0, "escape"},
    {"{\"a\\u00g0\":{}}", 0, "escape"},
    {"{\"a\x01\":{}}", 0, "control"},
};

// A copy of exact size, so that a sanitizer sees a read past the end.
static int parse_header(const char *json, size_t len, uint64_t data_bytes, model_header *out,
                        base_err *err) {
    char *copy = base_alloc(len);
    memcpy(copy, json, len);
    int rc = model_header_parse(out, copy, len, data_bytes, "x.safetensors", err);
    base_free(copy);
    return rc;
}

static void test_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof HEADERS / sizeof *HEADERS; i++) {
        const header_case *c = &HEADERS[i];
        model_header h;
        base_err err = {0};
        int rc = parse_header(c->json, strlen(c->json), c->data_bytes, &h, &err);
        if (!c->reason ? rc != 0
                       : rc != BASE_ERR_MODEL || !strstr(err.message, c->reason) ||
                             !strstr(err.message, "x.safetensors"))
            fail_msg("%s (%llu bytes): %d \"%s\"", c->json, (unsigned long long)c->data_bytes, rc,
                     err.message);
        if (rc == 0)
            model_header_free(&h);
    }
}

static void test_header_is_understood(void **state) {
    (void)state;
    static const char json[] = "{\"__metadata__\":{\"format\":\"pt\"}," B "," A "}";
    model_header h;
    assert_int_equal(parse_header(json, strlen(json), 20, &h, NULL), 0);
    assert_int_equal(h.n_tensors, 2);
    assert_string_equal(h.tensors[0].name, "a"); // by offset
    assert_string_equal(h.tensors[0].dtype_name, "BF16");
    assert_int_equal(h.tensors[0].n_dims, 2);
    assert_int_equal(h.tensors[0].shape[1], 3);
    assert_string_equal(h.tensors[1].name, "b");
    assert_int_equal(h.tensors[1].dtype, MODEL_F32);
    assert_int_equal(h.tensors[1].offset, 12);
    assert_int_equal(h.tensors[1].bytes, 8);
    model_header_free(&h);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    static const char json[] = "{\"__metadata__\":{\"k\":\"\\u00e9\"}," A "," B "}";
    for (size_t n = 0; n < strlen(json); n++) {
        model_header h;
        assert_int_equal(parse_header(json, n, 20, &h, NULL), BASE_ERR_MODEL);
    }
}

static void test_header_length(void **state) {
    (void)state;
    static const struct {
        unsigned char first[8];
        uint64_t file_bytes;
        bool good;
    } cases[] = {
        {{2}, 10, true},
        {{2}, 9, false},
        {{2}, 7, false},
        {{0}, 0, false},
        {{0}, 8, true},
        {{0, 0xe1, 0xf5, 0x05}, 200000000, true},  // 100,000,000
        {{1, 0xe1, 0xf5, 0x05}, 200000000, false}, // one more
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 100, false},
        {{0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 100, false}, // 8 + N wraps to 0
        {{0, 0, 0, 0, 0, 0, 0, 0x80}, INT64_MAX, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t len;
        int rc = model_header_length(cases[i].first, cases[i].file_bytes, &len, "x", NULL);
        assert_int_equal(rc, cases[i].good ? 0 : BASE_ERR_MODEL);
    }
}

static void test_many_tensors(void **state) {
    (void)state;
    enum { N = 5000 };
    base_str json = {0};
    model_header h;
    base_str_adds(&json, "{");
    for (int i = N - 1; i >= 0; i--) // against the order of offsets
        base_str_printf(&json,
                        "\"t.%d\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[%d,%d]}%s", i,
                        3 * i, 3 * i + 3, i ? "," : "}");
    assert_int_equal(parse_header(json.data, json.len, 3 * N, &h, NULL), 0);
    assert_int_equal(h.n_tensors, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(h.tensors[i].offset, 3 * i);
    model_header_free(&h);
    base_str_free(&json);
}

// ---------------------------------------------------------------------------------------------

typedef struct index_case {
    const char *json;
    const char *reason;
} index_case;

static const index_case INDEXES[] = {
    {"{\"weight_map\":{\"a\":\"m.safetensors\"}}", NULL},
    {"{\"metadata\":{\"total_size\":1.5e3,\"x\":[true,null,-1]},"
     "\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}\n",
     NULL},
    {"{\"weight_map\":{}}", "empty"},
    {"{\"metadata\":{}}", "missing"},
    {"{}", "missing"},
    {"[]", "'{'"},
    {"{\"weight_map\":[]}", "'{'"},
    {"{\"weight_map\":{\"a\":1}}", "'\"'"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}}", "twice"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\"},\"weight_map\":{}}", "twice"},
    {"{\"weight_map\":{\"a\":\"../m.safetensors\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"/etc/m.safetensors\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"sub/m.safetensors\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\".safetensors\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"m.bin\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\\u0000\"}}", "NUL"},
    {"{\"weight_map\":{\"\":\"m.safetensors\"}}", "without a name"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\"}} x", "after the last"},
    {"{\"x\":nul,\"weight_map\":{\"a\":\"m.safetensors\"}}", "value"},
    {"{\"x\":01,\"weight_map\":{\"a\":\"m.safetensors\"}}", "'}'"},
    {"{\"x\":[1,],\"weight_map\":{\"a\":\"m.safetensors\"}}", "value"},
    {"{\"x\":{\"a\" 1},\"weight_map\":{\"a\":\"m.safetensors\"}}", "':'"},
    {"{\"x\":1.,\"weight_map\":{\"a\":\"m.safetensors\"}}", "digit"},
    {"{\"x\":\"\\", "cut off"},
};

static int parse_index(const char *json, size_t len, model_index *out, base_err *err) {
    char *copy = base_alloc(len);
    memcpy(copy, json, len);
    int rc = model_index_parse(out, copy, len, "index.json", err);
    base_free(copy);
    return rc;
}

static void test_indexes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof INDEXES / sizeof *INDEXES; i++) {
        const index_case *c = &INDEXES[i];
        model_index x;
        base_err err = {0};
        int rc = parse_index(c->json, strlen(c->json), &x, &err);
        if (!c->reason ? rc != 0 : rc != BASE_ERR_MODEL || !strstr(err.message, c->reason))
            fail_msg("%s: %d \"%s\"", c->json, rc, err.message);
        if (rc == 0)
            model_index_free(&x);
    }
    for (size_t n = 0; n < strlen(INDEXES[1].json) - 1; n++) {
        model_index x;
        assert_int_equal(parse_index(INDEXES[1].json, n, &x, NULL), BASE_ERR_MODEL);
    }
}

static void test_index_files_are_ascending(void **state) {
    (void)state;
    model_index x;
    assert_int_equal(parse_index(INDEXES[1].json, strlen(INDEXES[1].json), &x, NULL), 0);
    assert_int_equal(x.n_files, 2);
    assert_string_equal(x.file_names[0], "1.safetensors");
    assert_string_equal(x.names[0], "b");
    assert_int_equal(x.files[0], 1);
    assert_int_equal(x.files[1], 0);
    model_index_free(&x);
}

static void test_deep_nesting_is_refused(void **state) {
    (void)state;
    base_str json = {0};
    model_index x;
    base_str_adds(&json, "{\"metadata\":");
    for (int i = 0; i < 100000; i++)
        base_str_adds(&json, "[");
    assert_int_equal(parse_index(json.data, json.len, &x, NULL), BASE_ERR_MODEL);
    base_str_free(&json);
}

// ---------------------------------------------------------------------------------------------

static void test_non_finite_is_found(void **state) {
    (void)state;
    enum { N = 20000 };
    static uint16_t h[N + 1];
    static const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0, 0xff81, 0x7fff};
    static const int places[] = {0, 1, 8191, 8192, 8193, N - 1};
    char *data = (char *)h + 1; // unaligned, as tensors may be
    for (int i = 0; i < N; i++) {
        uint16_t big = i % 2 ? 0x7f7f : 0xff7f; // the largest finite ones
        memcpy(data + 2 * i, &big, 2);
    }
    assert_int_equal(model_find_non_finite(MODEL_BF16, data, 2 * N), -1);
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            uint16_t keep;
            memcpy(&keep, data + 2 * places[p], 2);
            memcpy(data + 2 * places[p], &bad[b], 2);
            assert_int_equal(model_find_non_finite(MODEL_BF16, data, 2 * N), places[p]);
            memcpy(data + 2 * places[p], &keep, 2);
        }
    static float f[N];
    for (int i = 0; i < N; i++)
        f[i] = 3.4e38f;
    assert_int_equal(model_find_non_finite(MODEL_F32, f, sizeof f), -1);
    f[N - 1] = __builtin_inff();
    assert_int_equal(model_find_non_finite(MODEL_F32, f, sizeof f), N - 1);
    f[9000] = -__builtin_nanf("");
    assert_int_equal(model_find_non_finite(MODEL_F32, f, sizeof f), 9000);
    assert_int_equal(model_find_non_finite(MODEL_I32, f, sizeof f), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_header_is_understood),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_many_tensors),
        cmocka_unit_test(test_indexes),
        cmocka_unit_test(test_index_files_are_ascending),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_non_finite_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
