// What connections may hold together: large bodies and replies nobody reads.
#include "http/budget.h"
#include "http_bench.h"

enum { KIB = 1 << 10, LARGE = 200 * KIB };

static bench *bench_with_room(size_t bytes) {
    bench *b = bench_open();
    b->options.limits.max_shared_bytes = bytes;
    return bench_start(b);
}

// A POST with a body of `len` bytes, of which `sent` are sent.
static void post(int fd, const char *path, size_t len, size_t sent) {
    base_str text = {0};
    base_str_printf(&text, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", path, len);
    base_str_reserve(&text, sent);
    memset(text.data + text.len, 'x', sent);
    text.len += sent;
    text.data[text.len] = '\0';
    say(fd, text.data);
    base_str_free(&text);
}

static void expect_refused(bench *b) {
    int fd = bench_connect(b);
    post(fd, "/echo", LARGE, LARGE);
    base_str head = {0};
    hear_until(fd, &head, "\r\n\r\n");
    assert_non_null(strstr(head.data, "HTTP/1.1 503 "));
    assert_non_null(strstr(head.data, "Retry-After: "));
    base_str_free(&head);
    close(fd);
}

static void expect_served(bench *b, size_t len) {
    int fd = bench_connect(b);
    base_str body = {0};
    base_str_adds(&body, "POST ");
    for (size_t i = 0; i < len; i++)
        base_str_adds(&body, "x");
    post(fd, "/echo", len, len);
    expect(fd, 200, body.data);
    base_str_free(&body);
    close(fd);
}

static void await_room(bench *b, size_t len) {
    bench_await_connections(b, 0);
    expect_served(b, len);
}

static void test_sums(void **state) {
    (void)state;
    http_budget b = {100};
    size_t free_bytes = HTTP_UNCOUNTED_BYTES;
    assert_true(http_budget_resize(&b, 0, free_bytes));
    assert_int_equal(b.left, 100);
    assert_true(http_budget_resize(&b, free_bytes, free_bytes + 60));
    assert_int_equal(b.left, 40);
    assert_false(http_budget_resize(&b, free_bytes + 60, free_bytes + 101));
    assert_int_equal(b.left, 40);
    assert_true(http_budget_resize(&b, free_bytes + 60, free_bytes + 100));
    assert_int_equal(b.left, 0);
    assert_true(http_budget_resize(&b, 10, free_bytes));
    assert_true(http_budget_resize(&b, free_bytes + 100, 10));
    assert_int_equal(b.left, 100);
    assert_false(http_budget_resize(&b, 0, SIZE_MAX));
    assert_true(http_budget_resize(NULL, 0, SIZE_MAX));
}

static void test_bodies_in_pieces_share_the_room(void **state) {
    (void)state;
    bench *b = bench_with_room(LARGE);
    int slow = bench_connect(b);
    post(slow, "/echo", LARGE, LARGE - 1);
    expect_silence(slow, 100);
    expect_refused(b);
    expect_served(b, 10 * KIB); // ordinary requests need none of it
    say(slow, "x");
    base_str head = {0};
    hear_until(slow, &head, "\r\n\r\n");
    assert_non_null(strstr(head.data, "HTTP/1.1 200 "));
    base_str_free(&head);
    close(slow);
    await_room(b, LARGE);
    int leaves = bench_connect(b);
    post(leaves, "/echo", LARGE, LARGE - 1);
    close(leaves);
    await_room(b, LARGE);
    bench_close(b);
}

// What a request becomes lives as long as its exchange.
static void test_a_body_counts_until_the_reply(void **state) {
    (void)state;
    bench *b = bench_with_room(LARGE);
    int fd = bench_connect(b);
    post(fd, "/wait", LARGE, LARGE);
    bench_await(b, &b->n_held, 1);
    expect_refused(b);
    bench_do(b, job_respond, "done", 4);
    expect(fd, 200, "done");
    expect_served(b, LARGE); // also while the connection is kept
    close(fd);
    bench_close(b);
}

static void ask_for_much(int fd) {
    say(fd, "GET /big?50000000 HTTP/1.1\r\nHost: a\r\n\r\n"); // far more than sockets hold
}

static void test_replies_nobody_reads_share_the_room(void **state) {
    (void)state;
    bench *b = bench_with_room(64 << 20);
    int first = bench_connect(b), second = bench_connect(b);
    ask_for_much(first);
    bench_await(b, &b->n_requests, 1);
    expect_served(b, 10 * KIB);
    bench_await_connections(b, 2);
    ask_for_much(second);
    bench_await_connections(b, 1); // the second has been closed
    close(second);
    heard h = hear(first, false); // and the first is none the worse
    assert_int_equal(h.body.len, 50000000);
    heard_free(&h);
    close(first);
    await_room(b, LARGE);
    int leaves = bench_connect(b);
    ask_for_much(leaves);
    bench_await(b, &b->n_requests, 5);
    close(leaves);
    bench_await_connections(b, 0);
    int last = bench_connect(b);
    ask_for_much(last);
    expect(last, 200, NULL);
    close(last);
    bench_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_bodies_in_pieces_share_the_room),
        cmocka_unit_test(test_a_body_counts_until_the_reply),
        cmocka_unit_test(test_replies_nobody_reads_share_the_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
