// A connection: what it does next.
//
//     HANDSHAKE -> IDLE -> HEAD -> BODY -> OPEN -> WRITING -> IDLE, or LINGER -> closed
//
// Handlers run inside of take(), and what they call (reply.c) only changes the state and fills the
// queue. Closing, and with it on_gone, is done by the loop alone, through http_conn_work.
#include "http/internal.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TURNS 32 // of one connection before the others have theirs
#define RATE_GRACE_MS 10000
#define DRAIN_MS 1000

static const http_limits *limits(const http_conn *c) {
    return &c->loop->server->limits;
}

// ---------------------------------------------------------------------------------------------
// Beginning and end

static void uncount(http_loop *l) {
    atomic_fetch_sub(&l->n_conns, 1);
    atomic_fetch_sub(&l->server->n_conns, 1);
}

static void close_now(http_conn *c) {
    http_loop *l = c->loop;
    if (c->parsing)
        http_parser_free(&c->parser);
    if (c->tls && c->state == HTTP_IDLE)
        http_transport_shut(c);
    SSL_free(c->tls);
    close(c->fd);
    http_queue_free(c);
    base_str_free(&c->ahead);
    http_timer_unset(&l->timers, &c->timer);
    *(c->prev ? &c->prev->next : &l->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->state = HTTP_DEAD;
    c->next = l->dead;
    l->dead = c;
    uncount(l);
}

void http_conn_lose(http_conn *c) {
    if (c->state == HTTP_DEAD)
        return;
    if (c->state == HTTP_OPEN) {
        c->broken = true; // what the handler may still send goes nowhere
        c->loop->server->handler.on_gone(c->loop->server->handler.arg, &c->x);
    }
    close_now(c);
}

void http_conn_break(http_conn *c) {
    c->broken = true;
    http_queue_free(c);
    http_conn_kick(c);
}

void http_conn_kick(http_conn *c) {
    if (c->in_todo || c->working)
        return;
    c->in_todo = true;
    c->next_todo = c->loop->todo;
    c->loop->todo = c;
}

// Whether there are bytes the loop has not come to yet.
static bool has_unread(const http_conn *c) {
    int n = 0;
    return c->ahead.len > 0 || (ioctl(c->fd, FIONREAD, &n) == 0 && n > 0);
}

// All that is to be written is written. Closing a socket with unread bytes resets it, and a reset
// takes away the reply before the client has read it.
static void hang_up(http_conn *c) {
    bool linger = c->linger_after || has_unread(c);
    http_transport_shut(c);
    if (!linger || c->eof) {
        close_now(c);
        return;
    }
    base_str_free(&c->ahead);
    c->state = HTTP_LINGER;
    c->readable = true;
    c->read_deadline = c->loop->now_ms + HTTP_LINGER_MS;
}

static void become_idle(http_conn *c) {
    c->state = HTTP_IDLE;
    c->read_deadline = c->loop->now_ms + limits(c)->idle_timeout_ms;
}

void http_conn_answer(http_conn *c) {
    c->answered = true;
    c->streaming = false;
    http_parser_free(&c->parser);
    c->parsing = false;
    // What is still queued must go before the next request is looked at.
    if (c->queue.len == 0 && !c->close_after && !c->broken)
        become_idle(c);
    else
        c->state = HTTP_WRITING;
    http_conn_kick(c);
}

// ---------------------------------------------------------------------------------------------
// Reading a request

// The time by which more of the body must be there.
static void expect_body(http_conn *c) {
    int64_t now = c->loop->now_ms;
    c->read_deadline = now + limits(c)->body_timeout_ms;
    if (limits(c)->min_body_rate <= 0)
        return;
    int64_t earned = (int64_t)(c->body_bytes / (size_t)limits(c)->min_body_rate) * 1000;
    int64_t slow = c->body_start + (earned > RATE_GRACE_MS ? earned : RATE_GRACE_MS);
    if (slow < c->read_deadline)
        c->read_deadline = slow;
}

// False: the exchange has had its reply.
static bool ask_head(http_conn *c, bool more) {
    const http_handler *h = &c->loop->server->handler;
    bool wanted = h->on_head(h->arg, &c->x);
    if (c->answered)
        return false;
    if (!wanted) {
        base_error("http: a request was refused without a reply");
        http_reply_error(c, 500, "no reply");
        return false;
    }
    c->state = HTTP_BODY;
    c->body_start = c->loop->now_ms;
    c->body_bytes = 0;
    expect_body(c);
    if (c->parser.state == HTTP_PARSE_BODY && c->parser.expect_continue && !more)
        http_reply_continue(c);
    return true;
}

static void look_at_parser(http_conn *c, bool more) {
    const http_handler *h = &c->loop->server->handler;
    if (c->parser.state == HTTP_PARSE_ERROR) {
        http_reply_error(c, c->parser.status, c->parser.reason);
        return;
    }
    if (c->parser.state == HTTP_PARSE_HEAD)
        return;
    if (c->state == HTTP_HEAD && !ask_head(c, more))
        return;
    if (c->parser.state == HTTP_PARSE_DONE) {
        c->state = HTTP_OPEN;
        h->on_request(h->arg, &c->x);
    }
}

static void begin_request(http_conn *c) {
    http_parser_init(&c->parser, limits(c));
    c->parser.budget = &c->loop->server->budget;
    c->parsing = c->blank = true;
    c->answered = c->close_after = c->linger_after = false;
    c->x.data = NULL;
    c->state = HTTP_HEAD;
    c->read_deadline = c->loop->now_ms + limits(c)->head_timeout_ms;
}

static bool is_reading(const http_conn *c) {
    return !c->broken && (c->state == HTTP_IDLE || c->state == HTTP_HEAD || c->state == HTTP_BODY);
}

// Gives bytes to the parser until a request has to wait. Returns how many were taken.
static size_t take(http_conn *c, const char *bytes, size_t len) {
    size_t taken = 0;
    while (taken < len && is_reading(c)) {
        if (c->state == HTTP_IDLE)
            begin_request(c);
        size_t n = http_parser_push(&c->parser, bytes + taken, len - taken);
        for (size_t i = 0; i < n && c->blank; i++)
            c->blank = bytes[taken + i] == '\r' || bytes[taken + i] == '\n';
        c->used = c->used || !c->blank;
        taken += n;
        if (c->state == HTTP_BODY)
            c->body_bytes += n;
        look_at_parser(c, taken < len);
    }
    if (c->state == HTTP_BODY)
        expect_body(c);
    return taken;
}

// ---------------------------------------------------------------------------------------------
// Reading

// At most HTTP_READ_BYTES into the loop's scratch; 0: nothing now. At the end of what the client
// sends `eof` is set, or the connection is broken.
static size_t read_some(http_conn *c) {
    if (!c->readable || c->eof)
        return 0;
    ssize_t n = http_transport_read(c, c->loop->scratch, HTTP_READ_BYTES);
    if (n > 0) {
        // A short read has emptied the socket. TLS has records, and only HTTP_AGAIN tells.
        if (!c->tls && n < HTTP_READ_BYTES)
            c->readable = false;
        return (size_t)n;
    }
    c->readable = false;
    if (n == 0)
        c->eof = true;
    else if (n == HTTP_FAILED)
        c->broken = true;
    return 0;
}

static void keep_ahead(http_conn *c, const char *bytes, size_t len) {
    if (len > 0)
        base_str_add(&c->ahead, bytes, len);
}

// Between requests and in them. False: wait for epoll.
static bool read_request(http_conn *c) {
    if (c->ahead.len > 0) {
        base_str ahead = c->ahead;
        c->ahead = (base_str){0};
        size_t taken = take(c, ahead.data, ahead.len);
        keep_ahead(c, ahead.data + taken, ahead.len - taken);
        base_str_free(&ahead);
        return true;
    }
    size_t n = read_some(c);
    if (n > 0) {
        size_t taken = take(c, c->loop->scratch, n);
        keep_ahead(c, c->loop->scratch + taken, n - taken);
        return true;
    }
    if (c->eof)
        http_conn_lose(c);
    return c->broken;
}

// While the handler has the request: one buffer of the next.
static bool read_ahead(http_conn *c) {
    if (c->peer_shut || c->eof) {
        http_conn_lose(c);
        return false;
    }
    if (c->ahead.len > 0)
        return false;
    size_t n = read_some(c);
    keep_ahead(c, c->loop->scratch, n);
    return n == 0 && (c->eof || c->broken);
}

static bool discard(http_conn *c) {
    size_t n = read_some(c);
    c->linger_bytes += n;
    if (n == 0 && !c->eof && !c->broken)
        return false;
    if (n > 0 && c->linger_bytes <= limits(c)->max_body_bytes)
        return true;
    close_now(c);
    return false;
}

static bool shake_hands(http_conn *c) {
    int code = http_tls_handshake(c);
    if (code == HTTP_AGAIN)
        return false;
    c->broken = code != 0;
    if (code == 0)
        become_idle(c);
    return true;
}

// ---------------------------------------------------------------------------------------------
// Going on

// False: nothing more to do for now.
static bool step(http_conn *c) {
    if (c->broken) {
        http_conn_lose(c);
        return false;
    }
    switch (c->state) {
    case HTTP_HANDSHAKE:
        return shake_hands(c);
    case HTTP_IDLE:
    case HTTP_HEAD:
    case HTTP_BODY:
        return read_request(c);
    case HTTP_OPEN:
        return read_ahead(c);
    case HTTP_WRITING:
        if (c->queue.len > 0)
            return false;
        if (c->close_after)
            hang_up(c);
        else
            become_idle(c);
        return true;
    case HTTP_LINGER:
        return discard(c);
    case HTTP_DEAD:
        break;
    }
    return false;
}

void http_conn_work(http_conn *c) {
    int turns = TURNS;
    c->working = true;
    while (turns > 0 && step(c))
        turns--;
    c->working = false;
    if (c->state == HTTP_DEAD)
        return;
    http_conn_watch(c);
    if (turns == 0)
        http_conn_kick(c);
}

static void ready(http_source *source, uint32_t events) {
    http_conn *c = http_container(source, http_conn, source);
    if (c->state == HTTP_DEAD)
        return;
    if (events & (EPOLLERR | EPOLLHUP))
        c->broken = true; // reset, or closed in both directions: nobody reads a reply
    if (events & EPOLLRDHUP)
        c->peer_shut = true;
    c->readable = true;
    if (events & EPOLLOUT && !c->broken)
        http_flush(c);
    http_conn_work(c);
}

// ---------------------------------------------------------------------------------------------
// Waiting

static bool wants_in(const http_conn *c) {
    if (c->eof || c->tls_wants_out)
        return false;
    if (c->state == HTTP_OPEN)
        return c->ahead.len == 0;
    return c->state != HTTP_WRITING;
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t deadline(const http_conn *c) {
    int64_t at = c->queue.len > 0 ? c->write_deadline : INT64_MAX;
    if (c->state == HTTP_OPEN) {
        bool pings = c->streaming && limits(c)->ping_interval_ms > 0 && c->queue.len == 0;
        return pings ? earlier(at, c->sent_at + limits(c)->ping_interval_ms) : at;
    }
    return c->state == HTTP_WRITING ? at : earlier(at, c->read_deadline);
}

void http_conn_watch(http_conn *c) {
    uint32_t want = 0;
    if (wants_in(c))
        want |= EPOLLIN;
    if (!c->peer_shut) // it stays true, and epoll would say so again and again
        want |= EPOLLRDHUP;
    if (c->queue.len > 0 || c->tls_wants_out)
        want |= EPOLLOUT;
    if (want != c->interest) {
        struct epoll_event e = {.events = want, .data.ptr = &c->source};
        epoll_ctl(c->loop->epoll, EPOLL_CTL_MOD, c->fd, &e);
        c->interest = want;
    }
    int64_t at = deadline(c);
    if (at != INT64_MAX && (c->timer.place == 0 || at < c->timer.at_ms))
        http_timer_set(&c->loop->timers, &c->timer, at);
}

static void due(http_timer *timer) {
    http_conn *c = http_container(timer, http_conn, timer);
    int64_t now = c->loop->now_ms;
    if (now < deadline(c)) {
        http_conn_watch(c);
        return;
    }
    if (c->queue.len > 0 && now >= c->write_deadline)
        c->broken = true;
    else if (c->state == HTTP_BODY || (c->state == HTTP_HEAD && !c->blank))
        http_reply_error(c, 408,
                         c->state == HTTP_HEAD ? "The head of the request took too long"
                                               : "The body of the request took too long");
    else if (c->state == HTTP_OPEN)
        http_reply_ping(c);
    else {
        http_conn_lose(c);
        return;
    }
    http_conn_work(c);
}

// ---------------------------------------------------------------------------------------------
// From outside

void http_conn_create(http_loop *l, const http_accepted *a) {
    http_conn *c = base_try_calloc(1, sizeof *c);
    SSL *tls = c && a->tls ? http_tls_accept(l->server->tls, a->fd) : NULL;
    if (c)
        c->source.ready = ready;
    uint32_t interest = EPOLLIN | EPOLLRDHUP;
    if (!c || (a->tls && !tls) || !http_loop_watch(l, a->fd, interest, &c->source)) {
        SSL_free(tls);
        base_free(c);
        close(a->fd);
        uncount(l);
        return;
    }
    c->timer.due = due;
    c->x.conn = c;
    c->loop = l;
    c->fd = a->fd;
    c->tls = tls;
    c->interest = interest;
    memcpy(c->peer, a->peer, sizeof c->peer);
    c->next = l->conns;
    if (c->next)
        c->next->prev = c;
    l->conns = c;
    become_idle(c);
    if (tls) {
        c->state = HTTP_HANDSHAKE;
        c->read_deadline = l->now_ms + limits(c)->head_timeout_ms;
    }
    if (atomic_load(&l->server->draining))
        http_conn_drain(c);
    http_conn_watch(c);
}

void http_conn_drain(http_conn *c) {
    if (c->state != HTTP_IDLE)
        return;
    if (c->used && !has_unread(c)) { // else it may be a request sent before the drain
        http_conn_lose(c);
        return;
    }
    c->read_deadline = earlier(c->read_deadline, c->loop->now_ms + DRAIN_MS);
    http_conn_watch(c);
}

void http_conn_stop(http_conn *c) {
    if (c->state != HTTP_WRITING && c->state != HTTP_LINGER) {
        http_conn_lose(c);
        return;
    }
    c->close_after = true;
    http_conn_kick(c);
}
