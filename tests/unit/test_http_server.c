// What the server promises about requests, replies and streams. Limits and the life of the server:
// test_http_limits.c.
#include "http_bench.h"

// ---------------------------------------------------------------------------------------------
// Requests and replies

static void test_a_connection_is_kept(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    for (int i = 0; i < 3; i++) {
        say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        heard h = hear(fd, false);
        assert_int_equal(h.status, 200);
        assert_string_equal(h.body.data, "POST hi");
        assert_non_null(strstr(h.head.data, "Server: abruzzi\r\n"));
        assert_non_null(strstr(h.head.data, " GMT\r\n"));
        assert_null(strstr(h.head.data, "Connection:"));
        heard_free(&h);
    }
    say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    heard h = hear(fd, false);
    assert_non_null(strstr(h.head.data, "Connection: close\r\n"));
    heard_free(&h);
    expect_end(fd);
    close(fd);
    bench_close(b);
}

static void test_requests_sent_ahead_are_answered_in_order(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    base_str all = {0};
    for (int i = 0; i < 500; i++)
        base_str_printf(&all, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d", i);
    say(fd, all.data);
    for (int i = 0; i < 500; i++) {
        char body[20];
        snprintf(body, sizeof body, "POST %03d", i);
        expect(fd, 200, body);
    }
    base_str_free(&all);
    close(fd);
    bench_close(b);
}

static void test_a_second_request_waits_for_the_first(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 1);
    expect_silence(fd, 50);
    assert_int_equal(count(b, &b->n_requests), 1);
    bench_do(b, job_respond, "first", 5);
    expect(fd, 200, "first");
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

// More than the server is ready to hold: it must stop reading, and go on afterwards.
static void test_a_flood_sent_ahead_is_bounded(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 1);
    static const char request[] = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t sent = 0, len = sizeof request - 1;
    const size_t enough = (size_t)64 << 20;
    int64_t quiet_since = now_ms();
    while (sent < enough && now_ms() - quiet_since < 300) {
        ssize_t n = send(fd, request + sent % len, len - sent % len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            quiet_since = now_ms();
        } else {
            usleep(1000);
        }
    }
    assert_true(sent < enough);
    bench_do(b, job_respond, "first", 5);
    expect(fd, 200, "first");
    for (int i = 0; i < 2000; i++)
        expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

static void test_bodies_come_in_any_pieces(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    expect_silence(fd, 20);
    say(fd, "2;x=y\r\nd");
    expect_silence(fd, 20);
    say(fd, "e\r\n0\r\n\r\n");
    expect(fd, 200, "POST abcde");
    for (const char *c = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz"; *c; c++)
        say(fd, (char[]){*c, '\0'});
    expect(fd, 200, "POST wxyz");
    close(fd);
    bench_close(b);
}

static void test_continue_is_said_when_it_is_waited_for(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    base_str text = {0};
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear_until(fd, &text, "\r\n\r\n");
    assert_string_equal(text.data, "HTTP/1.1 100 Continue\r\n\r\n");
    base_str_free(&text);
    say(fd, "hi");
    expect(fd, 200, "POST hi");
    // Not when the body is there already, nor when the request is refused.
    say(fd,
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
    expect(fd, 200, "POST hi");
    say(fd,
        "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, 401, "no\n");
    expect_end(fd);
    close(fd);
    bench_close(b);
}

static void test_a_refused_body_is_thrown_away(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n"); // no body: the connection stays
    expect(fd, 401, "no\n");
    say(fd, "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
    char *piece = calloc(1, 100001);
    memset(piece, 'x', 100000);
    for (int i = 0; i < 30; i++) // no reset while the client still sends
        say(fd, piece);
    free(piece);
    heard h = hear(fd, false);
    assert_int_equal(h.status, 401);
    assert_non_null(strstr(h.head.data, "WWW-Authenticate: Bearer\r\n"));
    assert_non_null(strstr(h.head.data, "Connection: close\r\n"));
    heard_free(&h);
    expect_end(fd);
    close(fd);
    assert_int_equal(count(b, &b->n_requests), 0);
    bench_await_connections(b, 0);
    bench_close(b);
}

static void test_errors_have_the_handlers_body(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        bench *b = bench_open();
        if (!own)
            b->options.handler.on_error = NULL;
        bench_start(b);
        int fd = bench_connect(b);
        say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\n folded\r\n\r\nGET /echo HTTP/1.1\r\n");
        heard h = hear(fd, false);
        assert_int_equal(h.status, 400);
        assert_non_null(strstr(h.head.data, "Connection: close\r\n"));
        assert_non_null(strstr(h.head.data, own ? "application/json" : "text/plain"));
        static const char said[] = "{\"status\": 400, \"path\": \"/echo\"";
        assert_int_equal(strncmp(h.body.data, said, strlen(said)) == 0, own);
        assert_true(h.body.len > 0);
        heard_free(&h);
        expect_end(fd);
        close(fd);
        assert_int_equal(count(b, &b->n_errors), own);
        assert_int_equal(count(b, &b->n_requests), 0);
        bench_close(b);
    }
}

static void test_head_gets_no_body(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "HEAD /big?100000 HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    heard h = hear(fd, true);
    assert_non_null(strstr(h.head.data, "Content-Length: 100000\r\n"));
    heard_free(&h);
    expect(fd, 200, "GET ");
    close(fd);
    fd = bench_connect(b);
    say(fd, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    h = hear(fd, true);
    assert_non_null(strstr(h.head.data, "text/event-stream"));
    heard_free(&h);
    bench_do(b, job_send, "data: 1\n\n", 9);
    bench_do(b, job_end, NULL, 0);
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

static void test_old_clients_are_understood(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    heard h = hear(fd, false);
    assert_non_null(strstr(h.head.data, "Connection: keep-alive\r\n"));
    heard_free(&h);
    say(fd, "GET /echo HTTP/1.0\r\n\r\n");
    expect(fd, 200, "GET ");
    expect_end(fd);
    close(fd);
    fd = bench_connect(b);
    base_str text = {0};
    say(fd, "GET /stream HTTP/1.0\r\n\r\n");
    hear_until(fd, &text, "\r\n\r\n");
    assert_null(strstr(text.data, "chunked"));
    assert_non_null(strstr(text.data, "Connection: close\r\n"));
    base_str_clear(&text);
    bench_do(b, job_send, "data: 1\n\n", 9);
    bench_do(b, job_end, NULL, 0);
    hear_until(fd, &text, "\n\n");
    assert_string_equal(text.data, "data: 1\n\n");
    expect_end(fd);
    base_str_free(&text);
    close(fd);
    bench_close(b);
}

static void test_large_replies_arrive_whole(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.max_write_bytes = 1000; // of streams; a reply has its own size
    bench_start(b);
    int fd = bench_connect(b);
    say(fd, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 1);
    usleep(50000);
    assert_int_equal(count(b, &b->n_requests), 1); // the second waits for the first to be read
    heard h = hear(fd, false);
    assert_int_equal(h.body.len, 20000000);
    assert_int_equal(strspn(h.body.data, "b"), 20000000);
    heard_free(&h);
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

static void test_peers_are_named(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    struct sockaddr_in self;
    socklen_t len = sizeof self;
    getsockname(fd, (struct sockaddr *)&self, &len);
    char expected[64];
    snprintf(expected, sizeof expected, "127.0.0.1:%d", ntohs(self.sin_port));
    say(fd, "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, 200, expected);
    close(fd);
    bench_close(b);
}

// ---------------------------------------------------------------------------------------------
// Streams

static void test_a_stream_arrives_event_by_event(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = open_stream(b);
    for (int i = 0; i < 20; i++) {
        char event[32];
        int n = snprintf(event, sizeof event, "data: %d\n\n", i);
        bench_do(b, job_send, event, (size_t)n);
        expect_chunk(fd, event);
    }
    bench_do(b, job_send, "", 0); // nothing, and not the end
    expect_silence(fd, 20);
    bench_do(b, job_end, NULL, 0);
    expect_chunk(fd, "");
    say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

static void job_start(bench *b, http_exchange *x) {
    (void)b;
    http_stream_start(x, NULL);
}

static void test_a_silent_stream_is_kept_alive(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.ping_interval_ms = 50;
    bench_start(b);
    int fd = open_stream(b);
    expect_chunk(fd, ": ping\n\n");
    expect_chunk(fd, ": ping\n\n");
    bench_do(b, job_send, "data: 1\n\n", 9);
    bench_do(b, job_end, NULL, 0);
    base_str text = {0};
    hear_until(fd, &text, "data: 1\n\n\r\n0\r\n\r\n");
    base_str_free(&text);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"); // no stream yet: no pings
    expect_silence(fd, 200);
    bench_do(b, job_start, NULL, 0);
    hear_until(fd, &text, ": ping\n\n\r\n");
    base_str_free(&text);
    close(fd);
    bench_await(b, &b->n_gone, 1);
    bench_close(b);
}

// The ways of leaving.
static void leave_by_close(int fd) {
    close(fd);
}

static void leave_by_reset(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

// The server may reset what it has no more use for, so this one stays open until the end.
static void leave_by_half_close(int fd) {
    shutdown(fd, SHUT_WR);
}

static void test_a_client_that_leaves_is_noticed(void **state) {
    (void)state;
    static void (*const leave[])(int) = {leave_by_close, leave_by_reset, leave_by_half_close};
    bench *b = bench_open();
    b->options.limits.ping_interval_ms = 0; // nothing is sent that could fail
    bench_start(b);
    int n_gone = 0, fd;
    for (int way = 0; way < 3; way++) {
        for (int ahead = 0; ahead < 2; ahead++) {
            const char *more = ahead ? "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n" : "";
            // Waiting for a reply.
            fd = bench_connect(b);
            say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
            say(fd, more);
            bench_await(b, &b->n_requests, n_gone + 1);
            leave[way](fd);
            bench_await(b, &b->n_gone, ++n_gone);
            if (way == 2)
                close(fd);
            // Streaming, and silent meanwhile.
            fd = open_stream(b);
            say(fd, more);
            leave[way](fd);
            bench_await(b, &b->n_gone, ++n_gone);
            if (way == 2)
                close(fd);
        }
    }
    bench_await_connections(b, 0);
    assert_int_equal(count(b, &b->n_requests), n_gone);
    bench_close(b);
}

static void test_a_client_that_left_meanwhile_is_noticed(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    // The request and the end come together, or the end is hidden behind 60 KB of requests.
    int fd = bench_connect(b);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    close(fd);
    bench_await(b, &b->n_gone, 1);
    fd = bench_connect(b);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 2000; i++)
        say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    close(fd);
    bench_await(b, &b->n_gone, 2);
    bench_close(b);
}

static void test_half_closed_clients_get_replies_given_at_once(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b);
    say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /big?5000000 HTTP/1.1\r\nHost: a\r\n\r\n"
            "GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n");
    shutdown(fd, SHUT_WR);
    usleep(20000); // the large reply fills the socket while the end is known already
    expect(fd, 200, "GET ");
    heard h = hear(fd, false);
    assert_int_equal(h.body.len, 5000000);
    heard_free(&h);
    expect(fd, 401, "no\n");
    expect_end(fd);
    close(fd);
    bench_await_connections(b, 0);
    assert_int_equal(count(b, &b->n_gone), 0);
    // Half a request is none.
    fd = bench_connect(b);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    shutdown(fd, SHUT_WR);
    expect_closed(fd);
    close(fd);
    assert_int_equal(count(b, &b->n_requests), 2);
    bench_close(b);
}

// One reads all, the other nothing: its queue is bounded, and the first must not notice.
static void test_a_slow_reader_is_dropped_alone(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.max_write_bytes = 300000;
    bench_start(b);
    int fast = open_stream(b), slow = open_stream(b);
    char *event = calloc(1, 60001);
    memset(event, 'e', 60000);
    int n = 0;
    for (; n < 2000 && count(b, &b->n_gone) == 0; n++) {
        bench_do(b, job_send, event, 60000);
        expect_chunk(fast, event);
    }
    assert_true(n < 2000);
    bench_await(b, &b->n_gone, 1);
    bench_do(b, job_send, event, 60000);
    expect_chunk(fast, event);
    bench_do(b, job_end, NULL, 0);
    expect_chunk(fast, "");
    free(event);
    close(fast);
    close(slow);
    assert_int_equal(count(b, &b->n_gone), 1);
    bench_close(b);
}

// What the queue holds comes out in order once the client reads again.
static void test_a_late_reader_gets_everything(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.max_write_bytes = (size_t)64 << 20;
    bench_start(b);
    int fd = open_stream(b);
    char event[20001] = "";
    int n_read = 0;
    for (int i = 0; i < 1000; i++) {
        memset(event, 'a' + i % 26, 20000);
        bench_do(b, job_send, event, 20000);
        if (i < 600 || i % 2 == 0) // what is in the queue moves
            continue;
        memset(event, 'a' + n_read++ % 26, 20000);
        expect_chunk(fd, event);
    }
    bench_do(b, job_end, NULL, 0);
    for (int i = n_read; i < 1000; i++) {
        memset(event, 'a' + i % 26, 20000);
        expect_chunk(fd, event);
    }
    expect_chunk(fd, "");
    say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_is_kept),
        cmocka_unit_test(test_requests_sent_ahead_are_answered_in_order),
        cmocka_unit_test(test_a_second_request_waits_for_the_first),
        cmocka_unit_test(test_a_flood_sent_ahead_is_bounded),
        cmocka_unit_test(test_bodies_come_in_any_pieces),
        cmocka_unit_test(test_continue_is_said_when_it_is_waited_for),
        cmocka_unit_test(test_a_refused_body_is_thrown_away),
        cmocka_unit_test(test_errors_have_the_handlers_body),
        cmocka_unit_test(test_head_gets_no_body),
        cmocka_unit_test(test_old_clients_are_understood),
        cmocka_unit_test(test_large_replies_arrive_whole),
        cmocka_unit_test(test_peers_are_named),
        cmocka_unit_test(test_a_stream_arrives_event_by_event),
        cmocka_unit_test(test_a_silent_stream_is_kept_alive),
        cmocka_unit_test(test_a_client_that_leaves_is_noticed),
        cmocka_unit_test(test_a_client_that_left_meanwhile_is_noticed),
        cmocka_unit_test(test_half_closed_clients_get_replies_given_at_once),
        cmocka_unit_test(test_a_slow_reader_is_dropped_alone),
        cmocka_unit_test(test_a_late_reader_gets_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
