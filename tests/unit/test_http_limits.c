// Timeouts, limits, descriptors, addresses, and the life of the server.
#include "http_bench.h"

#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ECHO "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
#define WAIT "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"

// ---------------------------------------------------------------------------------------------
// Time

static void test_slow_heads_end_with_408(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.head_timeout_ms = 300;
    bench_start(b);
    int fd = bench_connect(b);
    expect_silence(fd, 500); // before the first byte there is no hurry
    const char *slow =
        "GET /echo HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int sent = 0;
    for (; slow[sent] && poll(&p, 1, 20) == 0; sent++)
        say(fd, (char[]){slow[sent], '\0'});
    assert_int_not_equal(slow[sent], 0); // each byte came in time, all together did not
    expect(fd, 408, NULL);
    expect_end(fd);
    close(fd);
    assert_int_equal(count(b, &b->n_errors), 1);
    assert_int_equal(count(b, &b->n_requests), 0);
    bench_close(b);
}

// Some clients end a body with a line end too many.
static void test_stray_line_ends_are_no_request(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.head_timeout_ms = 200;
    bench_start(b);
    int fd = bench_connect(b);
    say(fd, ECHO);
    expect(fd, 200, "GET ");
    say(fd, "\r\n");
    expect_end(fd); // and no 408 that would pass for the reply to a request sent meanwhile
    close(fd);
    fd = bench_connect(b);
    say(fd, "\r\n" ECHO);
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(b);
}

static void test_stalled_bodies_end_with_408(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.body_timeout_ms = 200;
    bench_start(b);
    int fd = bench_connect(b);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for (int i = 0; i < 9; i++) { // slower than the timeout altogether, but it moves
        say(fd, "x");
        expect_silence(fd, 50);
    }
    expect(fd, 408, NULL);
    expect_end(fd);
    close(fd);
    assert_int_equal(count(b, &b->n_requests), 0);
    bench_close(b);
}

// The rate counts after ten seconds: for full runs.
static void test_trickling_bodies_end_with_408(void **state) {
    (void)state;
    if (!getenv("ABRUZZI_TEST_FULL")) {
        print_message("# takes ten seconds: only with ABRUZZI_TEST_FULL\n");
        skip();
    }
    bench *b = bench_open();
    b->options.limits.min_body_rate = 100;
    bench_start(b);
    int slow = bench_connect(b), quick = bench_connect(b);
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
    char piece[41] = "";
    memset(piece, 'x', 40);
    say(slow, head);
    say(quick, head);
    struct pollfd p = {.fd = slow, .events = POLLIN};
    int turns = 0;
    for (; turns < 75 && poll(&p, 1, 200) == 0; turns++) { // at most 50 and 200 bytes/s
        say(slow, (char[]){'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 0});
        say(quick, piece);
    }
    assert_in_range(turns, 20, 74);
    expect(slow, 408, NULL);
    for (; turns < 75; turns++)
        say(quick, piece);
    expect(quick, 200, NULL);
    close(slow);
    close(quick);
    bench_close(b);
}

static void test_idle_connections_are_closed(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.idle_timeout_ms = 200;
    bench_start(b);
    int fresh = bench_connect(b), used = bench_connect(b), waits = bench_connect(b);
    say(used, ECHO);
    expect(used, 200, "GET ");
    say(waits, WAIT);
    expect_end(fresh);
    expect_end(used);
    expect_silence(waits, 400); // a request may take its time
    bench_do(b, job_respond, "late", 4);
    expect(waits, 200, "late");
    expect_end(waits);
    close(fresh);
    close(used);
    close(waits);
    bench_await_connections(b, 0);
    bench_close(b);
}

// To the first held alone.
static void job_flood(bench *b, http_exchange *x) {
    if (x == b->held[0])
        http_stream_send(x, b->text, b->len);
}

static void test_clients_that_never_read_are_dropped(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.write_timeout_ms = 300;
    b->options.limits.max_write_bytes = (size_t)64 << 20;
    bench_start(b);
    int ended = bench_connect(b), stream = open_stream(b), other = open_stream(b);
    say(ended, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    char *event = calloc(1, 20000001);
    memset(event, 'e', 20000000);
    bench_do(b, job_flood, event, 20000000);
    bench_await(b, &b->n_gone, 1);
    bench_await_connections(b, 1);
    bench_do(b, job_send, "last", 4);
    expect_chunk(other, "last");
    assert_int_equal(count(b, &b->n_gone), 1);
    free(event);
    close(ended);
    close(stream);
    close(other);
    bench_await(b, &b->n_gone, 2);
    bench_close(b);
}

// Slower altogether than the timeout, but never that long without progress.
static void test_slow_readers_are_served(void **state) {
    (void)state;
    enum { N = 30000000, STEPS = 30 };
    bench *b = bench_open();
    b->options.limits.write_timeout_ms = 1000;
    bench_start(b);
    int fd = bench_connect(b);
    char request[64];
    snprintf(request, sizeof request, "GET /big?%d HTTP/1.1\r\nHost: a\r\n\r\n", N);
    say(fd, request);
    base_str head = {0};
    hear_until(fd, &head, "\r\n\r\n");
    base_str_free(&head);
    static char bytes[N / STEPS];
    for (int i = 0; i < STEPS; i++) {
        usleep(80000);
        for (size_t n = 0; n < sizeof bytes;) {
            ssize_t more = hear_some(fd, bytes + n, sizeof bytes - n);
            if (more <= 0)
                fail_msg("cut off in step %d", i);
            n += (size_t)more;
        }
    }
    close(fd);
    bench_close(b);
}

static int64_t cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * INT64_C(1000000) + r.ru_utime.tv_usec +
           r.ru_stime.tv_usec;
}

// Waits until 0.4 s go by with hardly any work: what was begun may take its time, but it ends.
static void expect_quiet(void) {
    int64_t until = now_ms() + PATIENCE_MS, us;
    do {
        us = cpu_us();
        usleep(400000);
        us = cpu_us() - us;
    } while (us > 400000 / 50 && now_ms() < until);
    if (us > 400000 / 50)
        fail_msg("0.4 s of waiting took %lld us of CPU", (long long)us);
}

// All sorts of open connections, and nothing to do.
static void test_waiting_takes_no_cpu(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.n_threads = 2;
    bench_start(b);
    int idle = bench_connect(b), head = bench_connect(b), waits = bench_connect(b);
    int ahead = bench_connect(b), shut = bench_connect(b), full = bench_connect(b);
    int stream = bench_connect(b), flood = bench_connect(b);
    say(head, "GET / HT");
    say(waits, WAIT);
    say(ahead, WAIT ECHO);
    say(flood, WAIT);
    for (int i = 0; i < 2000; i++) // more than the server reads
        say(flood, ECHO);
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    // The server knows that no more will come, but has much to write that nobody reads.
    say(shut, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n" ECHO);
    shutdown(shut, SHUT_WR);
    say(full, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n" ECHO);
    bench_await(b, &b->n_requests, 6);
    expect_quiet();
    const int all[] = {idle, head, waits, ahead, shut, full, stream, flood};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        close(all[i]);
    bench_await(b, &b->n_gone, 4);
    bench_await_connections(b, 0);
    bench_close(b);
}

// ---------------------------------------------------------------------------------------------
// Numbers

static void test_one_too_many_is_closed(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.limits.max_connections = 3;
    bench_start(b);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = bench_connect(b);
        say(fds[i], ECHO);
        expect(fds[i], 200, "GET ");
    }
    int extra = bench_connect(b);
    expect_closed(extra);
    close(extra);
    close(fds[0]);
    bench_await_connections(b, 2);
    fds[0] = bench_connect(b);
    for (int i = 0; i < 3; i++) {
        say(fds[i], ECHO);
        expect(fds[i], 200, "GET ");
        close(fds[i]);
    }
    bench_close(b);
}

static void test_threads_share_the_connections(void **state) {
    (void)state;
    bench *b = bench_open();
    b->options.n_threads = 3;
    bench_start(b);
    int fds[30];
    for (int i = 0; i < 30; i++) {
        fds[i] = bench_connect(b);
        say(fds[i], ECHO);
        expect(fds[i], 200, "GET ");
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(count(b, &b->by_thread[i]), 10);
    for (int i = 0; i < 30; i += 3) // whoever lost most gets the next ones
        close(fds[i]);
    bench_await_connections(b, 20);
    for (int i = 0; i < 30; i += 3)
        fds[i] = bench_connect(b);
    for (int i = 0; i < 30; i++) {
        say(fds[i], ECHO);
        expect(fds[i], 200, "GET ");
        close(fds[i]);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(count(b, &b->by_thread[i]), 20);
    bench_close(b);
}

// A server in a process of its own that has few descriptors. `before` it starts, the limit is
// `most`; else it shrinks to five more than are in use afterwards.
typedef struct poor {
    pid_t pid;
    int port, end; // write to `end` to stop it
} poor;

static poor poor_start(rlim_t most) {
    int port_pipe[2], end_pipe[2];
    assert_int_equal(pipe(port_pipe), 0);
    assert_int_equal(pipe(end_pipe), 0);
    poor p = {.pid = fork()};
    if (p.pid == 0) {
        close(end_pipe[1]); // else the end could never be seen
        if (most > 0)
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, most});
        bench *b = bench_open();
        base_err err = {0};
        if (http_server_start(&b->server, &b->options, &err) != 0)
            _exit(1);
        if (most == 0) {
            int next = dup(0);
            close(next);
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 5, (rlim_t)next + 5});
        }
        p.port = http_server_port(b->server);
        if (write(port_pipe[1], &p.port, sizeof p.port) != sizeof p.port)
            _exit(2);
        char c;
        ssize_t n = read(end_pipe[0], &c, 1);
        (void)n;
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        http_server_stop(b->server, 0);
        _exit(used.ru_utime.tv_sec + used.ru_stime.tv_sec >= 1 ? 3 : 0);
    }
    close(port_pipe[1]);
    close(end_pipe[0]);
    p.end = end_pipe[1];
    assert_int_equal(read(port_pipe[0], &p.port, sizeof p.port), sizeof p.port);
    close(port_pipe[0]);
    return p;
}

static void poor_stop(poor p) {
    close(p.end);
    int status;
    assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

// Of `n` clients, those served first stay served, the others are closed.
static int poor_crowd(poor p, int n, int *fds) {
    int served = 0;
    for (int i = 0; i < n; i++) {
        fds[i] = connect_port(p.port);
        char c;
        struct pollfd poll_fd = {.fd = fds[i], .events = POLLIN};
        ssize_t sent = send(fds[i], ECHO, sizeof ECHO - 1, MSG_NOSIGNAL);
        if (sent > 0 && poll(&poll_fd, 1, PATIENCE_MS) == 1 && recv(fds[i], &c, 1, MSG_PEEK) == 1) {
            expect(fds[i], 200, "GET ");
            assert_int_equal(served, i);
            served++;
        }
    }
    for (int i = 0; i < served; i++) {
        say(fds[i], ECHO);
        expect(fds[i], 200, "GET ");
    }
    return served;
}

static void test_running_out_of_descriptors_is_survived(void **state) {
    (void)state;
    poor p = poor_start(0);
    int fds[40];
    assert_int_equal(poor_crowd(p, 40, fds), 5);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    // The five are free again, sooner or later.
    int64_t until = now_ms() + PATIENCE_MS;
    int served = 0;
    while (served < 5 && now_ms() < until) {
        served = poor_crowd(p, 5, fds);
        for (int i = 0; i < 5; i++)
            close(fds[i]);
    }
    assert_int_equal(served, 5);
    poor_stop(p);
}

static void test_connections_fit_the_descriptors(void **state) {
    (void)state;
    poor p = poor_start(128);
    int fds[100];
    assert_int_equal(poor_crowd(p, 100, fds), 64);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    poor_stop(p);
}

static void test_many_idle_connections_are_cheap(void **state) {
    (void)state;
    enum { N = 500 };
    bench *b = bench_start(bench_open());
    int fds[N], first = bench_connect(b); // who pays for what is made once
    say(first, ECHO);
    expect(first, 200, "GET ");
    size_t before = mallinfo2().uordblks; // 0 under sanitizers
    for (int i = 0; i < N; i++) {
        fds[i] = bench_connect(b);
        say(fds[i], "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    }
    for (int i = 0; i < N; i++)
        expect(fds[i], 200, "POST hi");
    bench_await_connections(b, N + 1);
    size_t each = (mallinfo2().uordblks - before) / N;
    if (each > 1024)
        fail_msg("%zu bytes for an idle connection", each);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    close(first);
    bench_await_connections(b, 0);
    bench_close(b);
}

// ---------------------------------------------------------------------------------------------
// Addresses

static void expect_no_start(bench *b, int code, const char *part) {
    http_server *s = NULL;
    base_err err = {0};
    assert_int_equal(http_server_start(&s, &b->options, &err), code);
    assert_null(s);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_a_port_in_use_is_refused(void **state) {
    (void)state;
    bench *b = bench_start(bench_open()), *second = bench_open();
    second->options.port = http_server_port(b->server);
    char part[64];
    snprintf(part, sizeof part, "127.0.0.1 port %d: Address already in use", second->options.port);
    expect_no_start(second, BASE_ERR_RESOURCE, part);
    second->options.port = 0;
    second->options.host = "192.0.2.1"; // of no machine
    expect_no_start(second, BASE_ERR_RESOURCE, "192.0.2.1 port 0: ");
    second->options.host = "no such host";
    expect_no_start(second, BASE_ERR_RESOURCE, "no such host: ");
    second->options.host = NULL;
    expect_no_start(second, BASE_ERR_USAGE, "neither");
    bench_close(second);
    bench_close(b);
}

static void test_names_and_ipv6_are_listened_to(void **state) {
    (void)state;
    bench *b;
    int fd;
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) == 0) { // no /etc/hosts, no name
        b = bench_open();
        b->options.host = "localhost";
        bench_start(b);
        fd = bench_connect(b);
        say(fd, ECHO);
        expect(fd, 200, "GET ");
        close(fd);
        bench_close(b);
        freeaddrinfo(found);
    }

    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    bool has_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&to, sizeof to) == 0;
    if (probe >= 0)
        close(probe);
    if (!has_ipv6) {
        print_message("no IPv6 here: not tried\n");
        return;
    }
    b = bench_open();
    b->options.host = "::1";
    bench_start(b);
    to.sin6_port = htons((uint16_t)http_server_port(b->server));
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    say(fd, "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n");
    heard h = hear(fd, false);
    assert_int_equal(strncmp(h.body.data, "[::1]:", 6), 0);
    heard_free(&h);
    close(fd);
    bench_close(b);
}

static void test_unix_sockets_are_ours_alone(void **state) {
    (void)state;
    char folder[] = "/tmp/http-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    bench *b = bench_open(), *second = bench_open();
    b->options.host = second->options.host = NULL;
    b->options.uds = second->options.uds = path;
    bench_start(b);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(http_server_port(b->server), 0);
    int fd = connect_unix(path);
    say(fd, "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, 200, "unix:");
    expect_no_start(second, BASE_ERR_RESOURCE, "in use");
    say(fd, WAIT);
    bench_await(b, &b->n_requests, 2);
    close(fd);
    bench_await(b, &b->n_gone, 1);
    bench_close(b);
    assert_int_equal(stat(path, &st), -1);

    // A stale socket is replaced, another file is not.
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
    close(stale);
    bench_start(second);
    fd = connect_unix(path);
    say(fd, ECHO);
    expect(fd, 200, "GET ");
    close(fd);
    bench_close(second);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    b = bench_open();
    b->options.host = NULL;
    b->options.uds = path;
    expect_no_start(b, BASE_ERR_RESOURCE, "not a socket");
    bench_close(b);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

// ---------------------------------------------------------------------------------------------
// The end

static void job_say(bench *b, http_exchange *x) {
    if (slice_is(http_path(x), "/stream"))
        job_send(b, x);
    else
        job_respond(b, x);
}

static void test_draining_lets_go_politely(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fresh = bench_connect(b), used = bench_connect(b), waits = bench_connect(b);
    int stream = open_stream(b);
    say(used, ECHO);
    expect(used, 200, "GET ");
    say(waits, WAIT);
    bench_await(b, &b->n_requests, 3);
    http_server_drain(b->server);
    expect_end(used);
    int late = bench_connect(b), mute = bench_connect(b);
    say(late, ECHO);
    heard h = hear(late, false);
    assert_int_equal(h.status, 200);
    assert_non_null(strstr(h.head.data, "Connection: close\r\n"));
    heard_free(&h);
    expect_end(late);
    expect_end(fresh);
    expect_end(mute);
    close(mute);
    bench_do(b, job_say, "data: 1\n\n", 9);
    expect(waits, 200, "data: 1\n\n");
    expect_end(waits);
    expect_chunk(stream, "data: 1\n\n");
    bench_do(b, job_end, NULL, 0);
    expect_chunk(stream, "");
    expect_end(stream);
    close(stream);
    close(fresh);
    close(used);
    close(waits);
    close(late);
    bench_await_connections(b, 0);
    bench_close(b);
}

static int ready_fd;

static void job_drain(bench *b, http_exchange *x) {
    say(ready_fd, ECHO); // is there before the loop comes to look
    http_server_drain(b->server);
    job_respond(b, x);
}

static void test_draining_answers_what_was_sent_before(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int waits = bench_connect(b);
    ready_fd = bench_connect(b);
    say(ready_fd, ECHO);
    expect(ready_fd, 200, "GET ");
    say(waits, WAIT);
    bench_await(b, &b->n_requests, 2);
    bench_do(b, job_drain, "x", 1);
    expect(ready_fd, 200, "GET ");
    expect_end(ready_fd);
    expect(waits, 200, "x");
    close(waits);
    close(ready_fd);
    bench_close(b);
}

static void test_stopping_ends_what_is_open(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        bench *b = bench_open();
        b->options.n_threads = threads;
        bench_start(b);
        int idle = bench_connect(b), head = bench_connect(b), waits = bench_connect(b);
        int stream = bench_connect(b);
        say(head, "GET");
        say(waits, WAIT);
        say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        bench_await(b, &b->n_requests, 2);
        http_server_stop(b->server, 10000);
        b->server = NULL;
        assert_int_equal(b->n_gone, 2);
        expect_closed(idle);
        expect_closed(head);
        expect_closed(waits);
        close(idle);
        close(head);
        close(waits);
        close(stream);
        bench_close(b);
    }
}

static void *read_slowly(void *arg) {
    int fd = *(int *)arg;
    usleep(100000);
    heard h = hear(fd, false);
    size_t len = h.body.len;
    heard_free(&h);
    return (void *)(uintptr_t)len;
}

static void test_stopping_writes_out_what_is_said(void **state) {
    (void)state;
    bench *b = bench_start(bench_open());
    int fd = bench_connect(b), never = bench_connect(b);
    say(fd, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 1);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_slowly, &fd), 0);
    http_server_stop(b->server, PATIENCE_MS);
    void *len;
    pthread_join(reader, &len);
    assert_int_equal((uintptr_t)len, 20000000);
    b->server = NULL;
    close(fd);
    close(never);
    bench_close(b);

    // Who does not read is waited for no longer than said.
    b = bench_start(bench_open());
    fd = bench_connect(b);
    say(fd, "GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 1);
    int64_t before = now_ms();
    http_server_stop(b->server, 200);
    assert_in_range(now_ms() - before, 150, PATIENCE_MS);
    b->server = NULL;
    close(fd);
    bench_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_heads_end_with_408),
        cmocka_unit_test(test_stray_line_ends_are_no_request),
        cmocka_unit_test(test_stalled_bodies_end_with_408),
        cmocka_unit_test(test_trickling_bodies_end_with_408),
        cmocka_unit_test(test_idle_connections_are_closed),
        cmocka_unit_test(test_clients_that_never_read_are_dropped),
        cmocka_unit_test(test_slow_readers_are_served),
        cmocka_unit_test(test_waiting_takes_no_cpu),
        cmocka_unit_test(test_one_too_many_is_closed),
        cmocka_unit_test(test_threads_share_the_connections),
        cmocka_unit_test(test_running_out_of_descriptors_is_survived),
        cmocka_unit_test(test_connections_fit_the_descriptors),
        cmocka_unit_test(test_many_idle_connections_are_cheap),
        cmocka_unit_test(test_a_port_in_use_is_refused),
        cmocka_unit_test(test_names_and_ipv6_are_listened_to),
        cmocka_unit_test(test_unix_sockets_are_ours_alone),
        cmocka_unit_test(test_draining_lets_go_politely),
        cmocka_unit_test(test_draining_answers_what_was_sent_before),
        cmocka_unit_test(test_stopping_ends_what_is_open),
        cmocka_unit_test(test_stopping_writes_out_what_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
