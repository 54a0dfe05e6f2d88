// The request parser: what is taken, what is refused and why, its limits, and that how the bytes
// are cut changes nothing.
#include "http_requests.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

// All that a caller can see, as text.
static void show(base_str *out, const http_parser *p, size_t taken) {
    base_str_printf(out, "%d %d %s, took %zu\n", p->state, p->status, p->reason ? p->reason : "-",
                    taken);
    if (p->state == HTTP_PARSE_ERROR)
        return;
    base_str_printf(out, "%.*s %.*s %.*s\n1.0 %d, alive %d, body %d, expect %d\n",
                    (int)p->method.len, p->method.at, (int)p->path.len, p->path.at,
                    (int)p->query.len, p->query.at, p->http_1_0, p->keep_alive, p->has_body,
                    p->expect_continue);
    for (int i = 0; i < p->n_fields; i++)
        base_str_printf(out, "[%.*s][%.*s]\n", (int)p->fields[i].name.len, p->fields[i].name.at,
                        (int)p->fields[i].value.len, p->fields[i].value.at);
    base_str_printf(out, "body %zu: ", p->body.len);
    if (p->body.len > 0)
        base_str_add(out, p->body.data, p->body.len);
}

// One piece, copied to memory of just its size so that a sanitizer sees a read past it. Goes on
// after the stop at the end of the head.
static size_t push_piece(http_parser *p, const char *bytes, size_t len) {
    char *piece = base_alloc(len);
    memcpy(piece, bytes, len);
    bool in_head = p->state == HTTP_PARSE_HEAD;
    size_t taken = http_parser_push(p, piece, len);
    if (in_head && p->state == HTTP_PARSE_BODY) {
        assert_int_equal(p->body.len, 0);
        taken += http_parser_push(p, piece + taken, len - taken);
    }
    assert_true(taken <= len);
    if (taken < len)
        assert_true(p->state == HTTP_PARSE_DONE || p->state == HTTP_PARSE_ERROR);
    base_free(piece);
    return taken;
}

// Pieces of 1 to `longest` bytes; all at once if that is 0.
static size_t push(http_parser *p, const char *bytes, size_t len, size_t longest, uint32_t random) {
    size_t at = 0;
    while (at < len && p->state != HTTP_PARSE_DONE && p->state != HTTP_PARSE_ERROR) {
        random = random * 1664525 + 1013904223;
        size_t n = longest == 0 ? len : 1 + (random >> 8) % longest;
        at += push_piece(p, bytes + at, n < len - at ? n : len - at);
    }
    return at;
}

// Parses in many ways and requires one result, which is left in `p` from the last.
static size_t push_in_all_ways(http_parser *p, const char *bytes, size_t len) {
    static const size_t longest[] = {1, 2, 3, 7, 40, 300, 0};
    base_str first = {0}, again = {0};
    size_t taken = push(p, bytes, len, 0, 0);
    show(&first, p, taken);
    for (size_t i = 0; i < sizeof longest / sizeof *longest; i++)
        for (uint32_t seed = 0; seed < (longest[i] < 2 ? 1 : 8); seed++) {
            http_parser_reset(p);
            taken = push(p, bytes, len, longest[i], seed * 7919);
            base_str_clear(&again);
            show(&again, p, taken);
            assert_int_equal(again.len, first.len);
            assert_memory_equal(again.data, first.data, first.len);
        }
    base_str_free(&first);
    base_str_free(&again);
    return taken;
}

static void assert_slice(http_slice s, const char *text) {
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.at, text, s.len);
}

static void check_good(const http_parser *p, const good_request *g) {
    if (p->state != HTTP_PARSE_DONE)
        fail_msg("%s: state %d, %d %s", g->name, p->state, p->status, p->reason);
    assert_slice(p->path, g->path);
    assert_slice(p->query, g->query);
    assert_int_equal(p->n_fields, g->n_fields);
    assert_int_equal(p->keep_alive, !g->close);
    assert_int_equal(p->has_body, g->has_body);
    assert_int_equal(p->expect_continue, g->expect_continue);
    assert_int_equal(p->body.len, strlen(g->body));
    if (p->body.len > 0)
        assert_string_equal(p->body.data, g->body);
}

static void test_good(void **state) {
    (void)state;
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    for (int i = 0; i < N_GOOD; i++) {
        http_parser_reset(&p);
        assert_int_equal(push_in_all_ways(&p, GOOD[i].bytes, GOOD[i].len), GOOD[i].len);
        check_good(&p, &GOOD[i]);
        assert_int_equal(http_parser_push(&p, "GET", 3), 0); // it is the next request's
    }
    http_parser_free(&p);
}

// The first part of a good request is neither wrong nor complete.
static void test_prefixes(void **state) {
    (void)state;
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    for (int i = 0; i < N_GOOD; i++)
        for (size_t len = 0; len < GOOD[i].len; len++) {
            http_parser_reset(&p);
            assert_int_equal(push(&p, GOOD[i].bytes, len, 0, 0), len);
            assert_true(p.state == HTTP_PARSE_HEAD || p.state == HTTP_PARSE_BODY);
        }
    http_parser_free(&p);
}

static void test_bad(void **state) {
    (void)state;
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    for (int i = 0; i < N_BAD; i++) {
        http_parser_reset(&p);
        push_in_all_ways(&p, BAD[i].bytes, BAD[i].len);
        if (p.state != HTTP_PARSE_ERROR || p.status != BAD[i].status)
            fail_msg("%s: state %d, %d %s", BAD[i].name, p.state, p.status,
                     p.reason ? p.reason : "");
        assert_non_null(p.reason);
        assert_false(p.keep_alive);
        assert_int_equal(http_parser_push(&p, "GET", 3), 0);
    }
    http_parser_free(&p);
}

// No byte that may end a line or hide one can be put anywhere into a head, but for an LF before the
// last one, which is an LF after it.
static void test_bytes_inserted(void **state) {
    (void)state;
    static const char request[] = GET "Accept: */*\r\nX-Y:z\r\n\r\n";
    static const char bytes[] = {0, 1, '\b', '\n', '\v', '\f', '\r', 0x1b, 0x1f, 0x7f};
    char text[sizeof request];
    const size_t len = sizeof request - 1;
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    for (size_t at = 0; at < len - 1; at++)
        for (size_t k = 0; k < sizeof bytes; k++) {
            memcpy(text, request, at);
            text[at] = bytes[k];
            memcpy(text + at + 1, request + at, len - at);
            http_parser_reset(&p);
            push(&p, text, len + 1, 0, 0);
            assert_int_equal(p.state, HTTP_PARSE_ERROR);
            assert_int_equal(p.status, 400);
        }
    http_parser_free(&p);
}

static void test_pipeline(void **state) {
    (void)state;
    base_str all = {0};
    for (int i = 0; i < N_GOOD; i++)
        base_str_add(&all, GOOD[i].bytes, GOOD[i].len);
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    for (uint32_t seed = 0; seed < 20; seed++) {
        size_t at = 0;
        for (int i = 0; i < N_GOOD; i++) {
            http_parser_reset(&p);
            at += push(&p, all.data + at, all.len - at, seed < 2 ? seed : 50, seed);
            check_good(&p, &GOOD[i]);
        }
        assert_int_equal(at, all.len);
    }
    http_parser_free(&p);
    base_str_free(&all);
}

static void test_stop_at_head(void **state) {
    (void)state;
    static const char head[] = POST "X-A: 1\r\nx-a: 2\r\nContent-Length: 3" END;
    char text[sizeof head + 6];
    size_t len = sizeof head - 1;
    memcpy(text, head, len);
    memcpy(text + len, "abcGET", 7);
    http_parser p;
    http_parser_init(&p, &REQUEST_LIMITS);
    assert_int_equal(http_parser_push(&p, text, 0), 0);
    assert_int_equal(http_parser_push(&p, text, len + 6), len);
    assert_int_equal(p.state, HTTP_PARSE_BODY);
    assert_slice(p.method, "POST");
    assert_slice(http_parser_header(&p, "host"), "a");
    assert_slice(http_parser_header(&p, "x-a"), "1");
    assert_slice(http_parser_header(&p, "content-length"), "3");
    assert_null(http_parser_header(&p, "content-lengt").at);
    assert_int_equal(http_parser_push(&p, text + len, 6), 3);
    assert_int_equal(p.state, HTTP_PARSE_DONE);
    assert_int_equal(p.body.cap, 4); // and not more than was announced
    assert_slice(http_parser_header(&p, "host"), "a");
    base_str taken = p.body; // as http_take_body does
    p.body = (base_str){0};
    http_parser_reset(&p);
    assert_int_equal(p.state, HTTP_PARSE_HEAD);
    assert_string_equal(taken.data, "abc");
    base_str_free(&taken);
    http_parser_free(&p);
    http_parser_free(&p);
}

// ---------------------------------------------------------------------------------------------
// Limits

static int status_of(const http_limits *limits, const base_str *request) {
    http_parser p;
    http_parser_init(&p, limits);
    push_in_all_ways(&p, request->data, request->len);
    int status = p.state == HTTP_PARSE_DONE ? 200 : p.status;
    http_parser_free(&p);
    return status;
}

static void repeat(base_str *s, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        base_str_adds(s, text);
}

// Each limit admits what is just as large.
static void test_limits_exact(void **state) {
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        http_limits limits = REQUEST_LIMITS;
        base_str s = {0};
        repeat(&s, "\r\n", 2); // not counted
        base_str_adds(&s, GET "\r\n");
        limits.max_head_bytes = s.len - 4 - over;
        assert_int_equal(status_of(&limits, &s), over ? 431 : 200);

        base_str_clear(&s);
        base_str_adds(&s, "GET / HTTP/1.0\r\n");
        limits.max_head_bytes = s.len - over; // of which the request line alone uses all
        assert_int_equal(status_of(&limits, &s), over ? 414 : 0);

        base_str_clear(&s);
        base_str_adds(&s, GET "b:c" END);
        limits = REQUEST_LIMITS;
        limits.max_headers = 2 - (int)over;
        assert_int_equal(status_of(&limits, &s), over ? 431 : 200);

        base_str_clear(&s);
        limits = REQUEST_LIMITS;
        base_str_printf(&s, POST "Content-Length: %zu" END, limits.max_body_bytes + over);
        repeat(&s, "x", limits.max_body_bytes + over);
        assert_int_equal(status_of(&limits, &s), over ? 413 : 200);

        base_str_clear(&s);
        base_str_adds(&s, CHUNKED);
        repeat(&s, "8\r\n12345678\r\n", limits.max_body_bytes / 8 - 1);
        base_str_adds(&s, over ? "9\r\n123456789\r\n0" END : "8\r\n12345678\r\n0" END);
        assert_int_equal(status_of(&limits, &s), over ? 413 : 200);
        base_str_free(&s);
    }
}

// Sizes and ends of chunks are free, even where the head has used up its limit; what decorates
// them is not.
static void test_limit_of_extras(void **state) {
    (void)state;
    http_limits limits = REQUEST_LIMITS;
    limits.max_head_bytes = sizeof CHUNKED - 1;
    base_str s = {0};
    base_str_adds(&s, CHUNKED "0000000000000001\r\nx\r\n0" END);
    assert_int_equal(status_of(&limits, &s), 200);
    for (size_t over = 0; over < 2; over++) {
        limits.max_head_bytes = sizeof CHUNKED - 1 + 4 + 6 - over;
        base_str_clear(&s);
        base_str_adds(&s, CHUNKED "1;a\r\nx\r\n0;b\r\na: b" END);
        assert_int_equal(status_of(&limits, &s), over ? 431 : 200);
    }
    base_str_free(&s);
}

static void test_no_limits_at_all(void **state) {
    (void)state;
    const http_limits nothing = {0};
    base_str s = {0};
    base_str_adds(&s, GET "\r\n");
    assert_int_equal(status_of(&nothing, &s), 414);
    base_str_free(&s);
}

// A client that announces much and sends little costs little.
static void test_memory_follows_bytes(void **state) {
    (void)state;
    static const char *const heads[] = {POST "Content-Length: 1073741824" END,
                                        CHUNKED "40000000\r\n"};
    http_limits limits = REQUEST_LIMITS;
    limits.max_body_bytes = (size_t)1 << 30;
    char block[1000];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 2; i++) {
        http_parser p;
        http_parser_init(&p, &limits);
        push(&p, heads[i], strlen(heads[i]), 0, 0);
        for (size_t n = 1; n <= 1000; n++) {
            assert_int_equal(p.state, HTTP_PARSE_BODY);
            assert_int_equal(http_parser_push(&p, block, sizeof block), sizeof block);
            assert_int_equal(p.body.len, n * sizeof block);
            assert_true(p.body.cap <= 16384 || p.body.cap <= 2 * p.body.len);
        }
        http_parser_free(&p);
    }
}

static void many_headers_and_a_body(base_str *s) {
    base_str_adds(s, POST);
    repeat(s, "a: b\r\n", 20);
    base_str_adds(s, "Content-Length: 40000" END);
    repeat(s, "x", 40000);
}

// Of the allocations for one request each in turn fails: a 503, and nothing leaks or aborts. In a
// child, because the variables are read once.
static void test_out_of_memory(void **state) {
    (void)state;
    for (int n = 1; n <= 7; n++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char number[16];
            snprintf(number, sizeof number, "%d", n);
            setenv("ABRUZZI_FAULTS", "1", 1);
            setenv("FAIL_ALLOC", number, 1);
            http_limits limits = REQUEST_LIMITS;
            limits.max_headers = 100;
            limits.max_body_bytes = 1 << 20;
            base_str s = {0};
            many_headers_and_a_body(&s);
            http_parser p;
            http_parser_init(&p, &limits);
            push(&p, s.data, s.len, 1000, 1);
            bool ok = n <= 6 ? p.state == HTTP_PARSE_ERROR && p.status == 503
                             : p.state == HTTP_PARSE_DONE && p.body.len == 40000;
            http_parser_free(&p);
            base_str_free(&s);
            _exit(ok ? 0 : 1);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

// ---------------------------------------------------------------------------------------------
// Time

static double seconds_byte_by_byte(const base_str *s) {
    http_limits limits = {
        .max_head_bytes = 8 << 20, .max_headers = 1 << 20, .max_body_bytes = 8 << 20};
    double best = 1e9;
    for (int run = 0; run < 3; run++) {
        struct timespec from, to;
        http_parser p;
        http_parser_init(&p, &limits);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        for (size_t at = 0; at < s->len && p.state != HTTP_PARSE_ERROR; at++)
            http_parser_push(&p, s->data + at, 1);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        assert_int_equal(p.state, HTTP_PARSE_DONE);
        http_parser_free(&p);
        double seconds =
            (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void write_large(base_str *s, int kind, size_t n) {
    base_str_adds(s, kind == 2 ? POST "Transfer-Encoding: chunked\r\n" : POST);
    if (kind == 1)
        base_str_printf(s, "Content-Length: %zu\r\n", 8 * n);
    if (kind == 0)
        repeat(s, "abc: d\r\n", n);
    base_str_adds(s, "\r\n");
    if (kind == 1)
        repeat(s, "12345678", n);
    if (kind == 2) {
        repeat(s, "3\r\nabc\r\n", n);
        base_str_adds(s, "0" END);
    }
}

// Sixteen times the bytes take about sixteen times as long: 256 times would be a rescan.
static void test_time_is_linear(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        base_str small = {0}, large = {0};
        write_large(&small, kind, 4000);
        write_large(&large, kind, 64000);
        assert_true(seconds_byte_by_byte(&large) < 80 * seconds_byte_by_byte(&small));
        base_str_free(&small);
        base_str_free(&large);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory), // first: later the environment has been read
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bytes_inserted),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_stop_at_head),
        cmocka_unit_test(test_limits_exact),
        cmocka_unit_test(test_limit_of_extras),
        cmocka_unit_test(test_no_limits_at_all),
        cmocka_unit_test(test_memory_follows_bytes),
        cmocka_unit_test(test_time_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
