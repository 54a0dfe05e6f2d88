// A server whose handler does what the path says, and clients on raw sockets: what the tests of the
// http room's server begin with.
#ifndef TESTS_HTTP_BENCH_H
#define TESTS_HTTP_BENCH_H

#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <assert.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, MAX_HELD = 64, MAX_THREADS = 4 };

typedef struct bench bench;

// Done on thread 0 to each exchange that is held.
typedef void bench_job(bench *b, http_exchange *x);

// /echo answers with method and body; /big?N with N bytes; /wait is held; /stream begins a stream
// and is held; /refuse gets 401 from on_head; /peer answers with the client's address.
struct bench {
    http_server *server;
    http_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    http_exchange *held[MAX_HELD]; // changed by thread 0 only
    int n_held;
    int n_requests, n_gone, n_errors, n_jobs;
    int by_thread[MAX_THREADS]; // requests
    bench_job *job;
    const char *text; // for jobs
    size_t len;
};

static inline bool slice_is(http_slice s, const char *text) {
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

// ---------------------------------------------------------------------------------------------
// The handler

static inline bool bench_on_head(void *arg, http_exchange *x) {
    (void)arg;
    if (!slice_is(http_path(x), "/refuse"))
        return true;
    http_respond(x, 401, "text/plain", "WWW-Authenticate: Bearer\r\n", "no\n", 3);
    return false;
}

static inline void bench_respond(http_exchange *x) {
    base_str body = {0};
    http_slice path = http_path(x), method = http_method(x);
    if (slice_is(path, "/big")) {
        char digits[16] = "";
        http_slice query = http_query(x);
        memcpy(digits, query.at, query.len < 15 ? query.len : 15);
        size_t n = (size_t)strtoul(digits, NULL, 10);
        base_str_reserve(&body, n);
        memset(body.data, 'b', n);
        body.len = n;
    } else if (slice_is(path, "/peer")) {
        base_str_adds(&body, http_peer(x));
    } else {
        base_str taken = http_take_body(x);
        base_str_add(&body, method.at, method.len);
        base_str_adds(&body, " ");
        base_str_add(&body, taken.data, taken.len);
        base_str_free(&taken);
    }
    http_respond(x, 200, "text/plain", NULL, body.data, body.len);
    base_str_free(&body);
}

static inline void bench_on_request(void *arg, http_exchange *x) {
    bench *b = arg;
    bool stream = slice_is(http_path(x), "/stream");
    bool hold = stream || slice_is(http_path(x), "/wait");
    pthread_mutex_lock(&b->lock);
    b->n_requests++;
    b->by_thread[http_thread(x)]++;
    if (hold && b->n_held < MAX_HELD)
        b->held[b->n_held++] = x;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    http_set_data(x, b);
    if (stream)
        http_stream_start(x, "X-Kind: stream\r\n");
    else if (!hold)
        bench_respond(x);
}

static inline void bench_forget(bench *b, http_exchange *x) {
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < b->n_held; i++)
        if (b->held[i] == x)
            b->held[i--] = b->held[--b->n_held];
    pthread_mutex_unlock(&b->lock);
}

static inline void bench_on_gone(void *arg, http_exchange *x) {
    bench *b = arg;
    assert(http_data(x) == b);
    bench_forget(b, x);
    pthread_mutex_lock(&b->lock);
    b->n_gone++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static inline void bench_on_wake(void *arg, int thread) {
    bench *b = arg;
    if (thread != 0 || !b->job)
        return;
    bench_job *job = b->job;
    for (int i = b->n_held - 1; i >= 0; i--)
        job(b, b->held[i]);
    pthread_mutex_lock(&b->lock);
    b->job = NULL;
    b->n_jobs++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static inline void bench_on_error(void *arg, http_slice path, int status, const char *reason,
                                  base_str *body) {
    bench *b = arg;
    pthread_mutex_lock(&b->lock);
    b->n_errors++;
    pthread_mutex_unlock(&b->lock);
    base_str_printf(body, "{\"status\": %d, \"path\": \"%.*s\", \"reason\": \"%s\"}", status,
                    (int)path.len, path.len > 0 ? path.at : "", reason);
}

// ---------------------------------------------------------------------------------------------
// The server

static inline bench *bench_open(void) {
    bench *b = base_calloc(1, sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->options.host = "127.0.0.1";
    b->options.n_threads = 1;
    http_limits_init(&b->options.limits);
    b->options.handler = (http_handler){.arg = b,
                                        .on_head = bench_on_head,
                                        .on_request = bench_on_request,
                                        .on_gone = bench_on_gone,
                                        .on_wake = bench_on_wake,
                                        .on_error = bench_on_error};
    return b;
}

static inline bench *bench_start(bench *b) {
    base_err err = {0};
    if (http_server_start(&b->server, &b->options, &err) != 0)
        fail_msg("the server does not start: %s", err.message);
    return b;
}

static inline void bench_close(bench *b) {
    http_server_stop(b->server, 0);
    assert_int_equal(b->n_held, 0);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    base_free(b);
}

static inline int64_t now_ms(void) {
    return base_now_ns() / 1000000;
}

// Waits until *counter (of the bench) is at least `n`.
static inline void bench_await(bench *b, const int *counter, int n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    int code = 0;
    pthread_mutex_lock(&b->lock);
    while (*counter < n && code == 0)
        code = pthread_cond_timedwait(&b->changed, &b->lock, &until);
    int reached = *counter;
    pthread_mutex_unlock(&b->lock);
    if (reached < n)
        fail_msg("waited for %d of something, there are %d", n, reached);
}

static inline int count(bench *b, const int *counter) {
    pthread_mutex_lock(&b->lock);
    int n = *counter;
    pthread_mutex_unlock(&b->lock);
    return n;
}

// Has thread 0 do `job` to each held exchange, and waits for that.
static inline void bench_do(bench *b, bench_job *job, const char *text, size_t len) {
    pthread_mutex_lock(&b->lock);
    int before = b->n_jobs;
    b->job = job;
    b->text = text;
    b->len = len;
    pthread_mutex_unlock(&b->lock);
    http_server_wake(b->server, 0);
    bench_await(b, &b->n_jobs, before + 1);
}

static inline void job_send(bench *b, http_exchange *x) {
    http_stream_send(x, b->text, b->len);
}

static inline void job_end(bench *b, http_exchange *x) {
    bench_forget(b, x);
    http_stream_end(x);
}

static inline void job_respond(bench *b, http_exchange *x) {
    bench_forget(b, x);
    http_respond(x, 200, "text/plain", NULL, b->text, b->len);
}

// Waits until so many connections are open.
static inline void bench_await_connections(bench *b, int n) {
    int64_t until = now_ms() + PATIENCE_MS;
    while (http_server_connections(b->server) != n && now_ms() < until)
        usleep(1000);
    assert_int_equal(http_server_connections(b->server), n);
}

// ---------------------------------------------------------------------------------------------
// The clients

static inline int connect_port(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static inline int bench_connect(bench *b) {
    return connect_port(http_server_port(b->server));
}

static inline int connect_unix(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static inline void say(int fd, const char *text) {
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        text += n;
        len -= (size_t)n;
    }
}

// Bytes that have come, -1 for a reset, 0 for the end.
static inline ssize_t hear_some(int fd, void *out, size_t len) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE_MS) != 1)
        fail_msg("nothing came from the server");
    return recv(fd, out, len, 0);
}

// Reads until the text ends in `end`; fails if the connection ends before.
static inline void hear_until(int fd, base_str *text, const char *end) {
    size_t n = strlen(end);
    while (text->len < n || memcmp(text->data + text->len - n, end, n) != 0) {
        char c;
        if (hear_some(fd, &c, 1) != 1)
            fail_msg("the connection ended after \"%s\"", text->data ? text->data : "");
        base_str_add(text, &c, 1);
    }
}

static inline void expect_silence(int fd, int ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, ms) == 0)
        return;
    char text[200] = "";
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    fail_msg("something came (%zd): %s", n, text);
}

static inline void expect_end(int fd) {
    char c;
    ssize_t n = hear_some(fd, &c, 1);
    if (n != 0)
        fail_msg("the connection goes on (%zd)", n);
}

// Closed in any way.
static inline void expect_closed(int fd) {
    char c;
    assert_true(hear_some(fd, &c, 1) <= 0);
}

typedef struct heard {
    int status;
    base_str head, body;
} heard;

static inline void heard_free(heard *h) {
    base_str_free(&h->head);
    base_str_free(&h->body);
}

// A reply with a Content-Length. `bodyless`: the reply to a HEAD.
static inline heard hear(int fd, bool bodyless) {
    heard h = {0};
    hear_until(fd, &h.head, "\r\n\r\n");
    assert_int_equal(sscanf(h.head.data, "HTTP/1.1 %d ", &h.status), 1);
    char *length = strstr(h.head.data, "Content-Length: ");
    size_t len = length && !bodyless ? strtoul(length + 16, NULL, 10) : 0;
    base_str_reserve(&h.body, len);
    while (h.body.len < len) {
        ssize_t n = hear_some(fd, h.body.data + h.body.len, len - h.body.len);
        if (n <= 0)
            fail_msg("the body ended after %zu of %zu bytes", h.body.len, len);
        h.body.len += (size_t)n;
    }
    h.body.data[len] = '\0';
    return h;
}

// A reply with that status and, if not NULL, that body.
static inline void expect(int fd, int status, const char *body) {
    heard h = hear(fd, false);
    if (h.status != status)
        fail_msg("status %d, not %d: %s%s", h.status, status, h.head.data, h.body.data);
    if (body)
        assert_string_equal(h.body.data, body);
    heard_free(&h);
}

// The next chunk of a stream.
static inline void expect_chunk(int fd, const char *text) {
    base_str line = {0}, data = {0};
    hear_until(fd, &line, "\r\n");
    size_t len = strtoul(line.data, NULL, 16);
    while (data.len < len + 2) {
        char bytes[4096];
        size_t left = len + 2 - data.len;
        ssize_t n = hear_some(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        assert_true(n > 0);
        base_str_add(&data, bytes, (size_t)n);
    }
    data.data[len] = '\0';
    assert_string_equal(data.data, text);
    base_str_free(&line);
    base_str_free(&data);
}

// Begins a stream and reads its head.
static inline int open_stream(bench *b) {
    int fd = bench_connect(b);
    base_str head = {0};
    say(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    hear_until(fd, &head, "\r\n\r\n");
    assert_non_null(strstr(head.data, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(head.data, "Content-Type: text/event-stream"));
    assert_non_null(strstr(head.data, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(head.data, "X-Kind: stream\r\n"));
    assert_null(strstr(head.data, "Content-Length"));
    base_str_free(&head);
    return fd;
}

#endif
