// The reader of server-sent events gives the same events however the bytes are cut.
#include "cli/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void collect(void *arg, const char *data, size_t len) {
    base_str *out = arg;
    base_str_adds(out, "[");
    base_str_add(out, data, len);
    base_str_adds(out, "]");
}

static void assert_events(const char *bytes, size_t piece, const char *want) {
    cli_sse_reader reader = {0};
    base_str out = {0};
    base_str_adds(&out, "");
    size_t len = strlen(bytes);
    for (size_t at = 0; at < len; at += piece)
        assert_true(
            cli_sse_push(&reader, bytes + at, len - at < piece ? len - at : piece, collect, &out));
    assert_string_equal(out.data, want);
    base_str_free(&out);
    cli_sse_free(&reader);
}

static void test_events(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"data: one\n\ndata: two\n\n", "[one][two]"},
        {"data: one\r\n\r\ndata:two\r\n\r\n", "[one][two]"},
        {": ping\n\ndata: x\n\n: ping\n\n", "[x]"},
        {"event: name\nid: 3\ndata: a\ndata: b\n\n", "[a\nb]"},
        {"data:  two blanks\n\n", "[ two blanks]"},
        {"data: not complete\n", ""},
        {"\n\n\n", ""},
        {"database: no\n\ndata\n\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].bytes); piece++)
            assert_events(cases[i].bytes, piece, cases[i].want);
}

static void test_length_is_bounded(void **state) {
    (void)state;
    cli_sse_reader reader = {0};
    base_str out = {0};
    size_t len = 1 << 20;
    char *bytes = malloc(len);
    assert_non_null(bytes);
    memset(bytes, 'x', len);
    int pieces = 0;
    while (pieces < 100 && cli_sse_push(&reader, bytes, len, collect, &out))
        pieces++;
    assert_int_equal(pieces, 64);
    assert_false(cli_sse_push(&reader, "\n\n", 2, collect, &out));
    free(bytes);
    cli_sse_free(&reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_length_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
