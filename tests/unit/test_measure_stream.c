// What a benchmark counts of a streamed reply: the same however the bytes are cut.
#include "measure/scan.h"
#include "measure/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Pushes `bytes` in pieces, the k-th at k ms (from 1), and ends with `status` and `error`.
static measure_reply read_pieces(const char *bytes, size_t piece, int status, const char *error) {
    measure_reply reply = {.start_ns = 500000, .prompt_tokens = -1, .output_tokens = -1};
    measure_stream stream = {.reply = &reply};
    int64_t ms = 0;
    for (size_t at = 0, len = strlen(bytes); at < len; at += piece)
        measure_stream_push(&stream, bytes + at, len - at < piece ? len - at : piece,
                            ++ms * 1000000);
    const measure_end end = {.status = status, .error = error, .at_ns = ++ms * 1000000};
    measure_stream_end(&stream, &end);
    return reply;
}

#define CHUNK(text) "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"text\":\"" text "\"}]}\n\n"
#define USAGE                                                                                      \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"total_tokens\":14,"                   \
    "\"completion_tokens\":3}}\n\n"

static void test_whole(void **state) {
    (void)state;
    static const char bytes[] = ": ping\n\n" CHUNK("a")
        CHUNK("") ": ping\n\n" CHUNK("\\u00e9\\ud83d\\ude00\\n") USAGE "data: [DONE]\n\n";
    for (size_t piece = 1; piece <= sizeof bytes; piece++) {
        measure_reply r = read_pieces(bytes, piece, 200, "");
        assert_true(r.success);
        assert_null(r.error);
        assert_int_equal(r.n_gaps, 2); // an empty text is a token, too
        assert_int_equal(r.prompt_tokens, 11);
        assert_int_equal(r.output_tokens, 3);
        assert_string_equal(r.text.data, "a\u00e9\U0001f600\n");
        measure_reply_free(&r);
    }
}

static void test_times(void **state) {
    (void)state;
    measure_reply r = {.start_ns = 1000000};
    measure_stream s = {.reply = &r};
    const char *first = CHUNK("a"), *two = CHUNK("b") CHUNK("c"), *last = CHUNK("d");
    measure_stream_push(&s, ": ping\n\n", 8, 2000000);
    measure_stream_push(&s, first, strlen(first), 5000000);
    measure_stream_push(&s, two, strlen(two), 9000000);
    measure_stream_push(&s, last, strlen(last) - 1, 10000000); // its line end comes later
    measure_stream_push(&s, "\n", 1, 12000000);
    measure_stream_push(&s, USAGE, strlen(USAGE), 20000000);
    measure_stream_push(&s, "data: [DONE]\n\n", 14, 30000000);
    measure_stream_end(&s, &(measure_end){.status = 200, .error = "", .at_ns = 31000000});
    assert_true(r.success);
    assert_int_equal(r.first_ns, 5000000);
    assert_int_equal(r.last_ns, 12000000); // neither usage nor [DONE] is a token
    assert_int_equal(r.n_gaps, 3);
    const double gaps[] = {0.004, 0, 0.003};
    for (int i = 0; i < 3; i++)
        assert_true(r.gaps[i] > gaps[i] - 1e-12 && r.gaps[i] < gaps[i] + 1e-12);
    measure_reply_free(&r);
}

static const char CHAT[] =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"reasoning\":\"th\",\"reasoning_content\":\"th\"}}]}\r\n"
    "\r\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\",\"reasoning\":null}},{\"delta\":{}}]}"
    "\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n"
    "data: "
    "{\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":[]},\"finish_reason\":\"stop\"}]}"
    "\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: [DONE]\r\n\r\n";

// Neither the chunk with nothing but the role nor those with nothing but the end are tokens; a
// token without a text is one.
static void test_chat(void **state) {
    (void)state;
    measure_reply r = read_pieces(CHAT, 7, 200, "");
    assert_true(r.success);
    assert_int_equal(r.n_gaps, 3);
    assert_int_equal(r.output_tokens, -1);
    assert_string_equal(r.text.data, "thHi");
    measure_reply_free(&r);
}

// In 2025 every chunk with choices was one.
static void test_chat_2025(void **state) {
    (void)state;
    measure_reply r = {.start_ns = 1000};
    measure_stream s = {.reply = &r, .compat_2025 = true};
    measure_stream_push(&s, CHAT, strlen(CHAT), 5);
    measure_stream_end(&s, &(measure_end){.status = 200, .error = "", .at_ns = 9});
    assert_true(r.success);
    assert_int_equal(r.n_gaps, 6);
    assert_string_equal(r.text.data, "thHi");
    measure_reply_free(&r);
}

static void test_failures(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *error, *want;
        int status;
    } cases[] = {
        {"", "timed out", "timed out", 0},
        {CHUNK("a"), "the connection broke", "the connection broke", 200},
        {CHUNK("a") "data: {\"cho", "the connection broke", "the connection broke", 200},
        {CHUNK("a"), "", "the stream ended without [DONE]", 200},
        {"data: [DONE]\n\n", "", "Never received a valid chunk to calculate TTFT.", 200},
        {USAGE "data: [DONE]\n\n", "", "Never received a valid chunk to calculate TTFT.", 200},
        {CHUNK("a") "data: {\"choices\":[{]}\n\n" CHUNK("b") "data: [DONE]\n\n", "",
         "malformed chunk", 200},
        {"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: [DONE]\n\n", "",
         "Never received a valid chunk to calculate TTFT.", 200},
        {"data: nonsense\n\ndata: [DONE]\n\n", "", "malformed chunk", 200},
        {"data: {\"choices\":[1]} x\n\n", "", "malformed chunk", 200},
        {CHUNK("a") "data: {\"error\":{\"message\":\"no \\u001b more\",\"code\":500}}\n\n", "",
         "the stream reported an error: no ? more", 200},
        {"{\"error\":{\"message\":\"Too many\",\"code\":429}}", "", "HTTP 429: Too many", 429},
        {"{\"error\":\"Unauthorized\"}", "", "HTTP 401: Unauthorized", 401},
        {"<html>", "", "HTTP 502", 502},
        {"", "", "HTTP 404", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece < 200; piece += 33) {
            measure_reply r = read_pieces(cases[i].bytes, piece, cases[i].status, cases[i].error);
            assert_false(r.success);
            assert_string_equal(r.error, cases[i].want);
            measure_reply_free(&r);
        }
    }
}

static void test_dropped(void **state) {
    (void)state;
    measure_reply r = {0};
    measure_stream s = {.reply = &r};
    measure_stream_push(&s, "data: {\"error\":\"x\"}\n\ndata: abc", 31, 1);
    measure_stream_drop(&s);
    assert_null(s.line.data);
    assert_null(r.error);
    measure_reply_free(&r);
}

// What is JSON and what is not.
static void test_scan(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}",
        "[]",
        "[1, -0.5e+3, true, false, null, \"x\"]",
        "{\"a\": {\"b\": [[], {}]}}",
        " 0 ",
        "\"\\u00e9\\\\\\/\"",
        "[[[[[[[[]]]]]]]]",
        "{\"a\":1,\"b\":2}",
    };
    static const char *const bad[] = {
        "",      "{",          "[1,]", "{\"a\"}", "{\"a\":}", "{,}",    "01",
        "1.",    "-",          "+1",   "nul",     "\"\\x\"",  "\"\n\"", "\"\\u12\"",
        "[1 2]", "{\"a\":1,}", "]",    "[}",      "\"a",      "1e",     "tru e",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        measure_scan s = {.at = good[i], .end = good[i] + strlen(good[i])};
        measure_scan_peek(&s, ' ');
        measure_scan_skip(&s);
        assert_true(measure_scan_done(&s));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        measure_scan s = {.at = bad[i], .end = bad[i] + strlen(bad[i])};
        measure_scan_peek(&s, ' ');
        measure_scan_skip(&s);
        assert_false(measure_scan_done(&s));
    }
    char deep[2000];
    memset(deep, '[', sizeof deep);
    measure_scan s = {.at = deep, .end = deep + sizeof deep};
    measure_scan_skip(&s);
    assert_true(s.bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),    cmocka_unit_test(test_times),
        cmocka_unit_test(test_chat),     cmocka_unit_test(test_chat_2025),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
