// Replies and event streams.
#include "http/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// A body up to this size goes out with its head in one piece.
#define COPY_BYTES 65536

// ---------------------------------------------------------------------------------------------
// The head

// "Sun, 06 Nov 1994 08:49:37 GMT", whatever the locale says.
static const char *date(http_loop *l) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)base_wall_s();
    if (now == l->date_s)
        return l->date;
    struct tm t;
    gmtime_r(&now, &t);
    snprintf(l->date, sizeof l->date, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[t.tm_wday],
             t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    l->date_s = now;
    return l->date;
}

static bool is_line_free(const char *text) {
    return !strpbrk(text, "\r\n");
}

// Begins a reply in the loop's frame.
static base_str *begin(http_conn *c, int status, const char *content_type) {
    base_str *frame = &c->loop->frame;
    base_str_clear(frame);
    base_str_printf(frame, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: abruzzi\r\n", status,
                    http_status_text(status), date(c->loop));
    if (content_type) {
        assert(is_line_free(content_type));
        base_str_printf(frame, "Content-Type: %s\r\n", content_type);
    }
    return frame;
}

static void end_head(http_conn *c, base_str *frame, const char *headers) {
    if (headers)
        base_str_adds(frame, headers);
    if (c->close_after)
        base_str_adds(frame, "Connection: close\r\n");
    else if (c->parser.http_1_0)
        base_str_adds(frame, "Connection: keep-alive\r\n");
    base_str_adds(frame, "\r\n");
}

static void choose_end(http_conn *c) {
    // A body that was not waited for cannot be told from the next request.
    bool body_due = c->parser.state == HTTP_PARSE_BODY;
    c->linger_after = body_due;
    c->close_after = body_due || !c->parser.keep_alive || atomic_load(&c->loop->server->draining);
}

static bool is_head(const http_conn *c) {
    return c->parser.method.len == 4 && memcmp(c->parser.method.at, "HEAD", 4) == 0;
}

// The frame is as large as the largest reply but for bodies; streams may have made it larger.
static void release(http_loop *l) {
    if (l->frame.cap > 4 * COPY_BYTES)
        base_str_free(&l->frame);
}

// ---------------------------------------------------------------------------------------------
// Whole replies

static void reply(http_conn *c, int status, const char *content_type, const char *headers,
                  const void *body, size_t len) {
    base_str *frame = begin(c, status, content_type);
    bool bodyless = status == 204 || status == 304 || status < 200;
    if (!bodyless)
        base_str_printf(frame, "Content-Length: %zu\r\n", len);
    end_head(c, frame, headers);
    if (bodyless || is_head(c))
        len = 0;
    if (len <= COPY_BYTES)
        base_str_add(frame, body, len);
    http_write(c, frame->data, frame->len);
    if (len > COPY_BYTES)
        http_write(c, body, len);
    http_conn_answer(c);
}

void http_respond(http_exchange *x, int status, const char *content_type, const char *headers,
                  const void *body, size_t len) {
    assert(!x->conn->answered && !x->conn->streaming);
    choose_end(x->conn);
    reply(x->conn, status, content_type, headers, body, len);
}

void http_reply_error(http_conn *c, int status, const char *reason) {
    const http_handler *h = &c->loop->server->handler;
    base_str body = {0};
    if (h->on_error)
        h->on_error(h->arg, c->parser.path, status, reason, &body);
    else
        base_str_printf(&body, "%s\n", reason);
    c->close_after = c->linger_after = true;
    reply(c, status, h->on_error ? "application/json" : "text/plain; charset=utf-8",
          status == 503 ? "Retry-After: 1\r\n" : NULL, body.data, body.len);
    base_str_free(&body);
}

void http_reply_continue(http_conn *c) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    http_write(c, text, sizeof text - 1);
}

// ---------------------------------------------------------------------------------------------
// Event streams

void http_stream_start(http_exchange *x, const char *headers) {
    http_conn *c = x->conn;
    assert(!c->answered && !c->streaming);
    choose_end(c);
    c->streaming = true;
    c->chunked = !c->parser.http_1_0;
    if (!c->chunked)
        c->close_after = true;
    base_str *frame = begin(c, 200, "text/event-stream; charset=utf-8");
    // Caches and proxies are not to hold the events back.
    base_str_adds(frame, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    if (c->chunked)
        base_str_adds(frame, "Transfer-Encoding: chunked\r\n");
    end_head(c, frame, headers);
    http_write(c, frame->data, frame->len);
    c->sent_at = c->loop->now_ms;
    if (!c->broken)
        http_conn_watch(c); // for the pings
}

static void send_piece(http_conn *c, const void *bytes, size_t len) {
    c->sent_at = c->loop->now_ms;
    if (is_head(c))
        return;
    base_str *frame = &c->loop->frame;
    base_str_clear(frame);
    if (c->chunked)
        base_str_printf(frame, "%zx\r\n", len);
    base_str_add(frame, bytes, len);
    if (c->chunked)
        base_str_adds(frame, "\r\n");
    http_write(c, frame->data, frame->len);
    release(c->loop);
}

void http_stream_send(http_exchange *x, const void *bytes, size_t len) {
    http_conn *c = x->conn;
    assert(c->streaming);
    if (c->broken || len == 0) // an empty chunk would be the last
        return;
    size_t most = c->loop->server->limits.max_write_bytes;
    if (c->queue.len > 0 && (len > most || c->queue.len > most - len))
        http_conn_break(c);
    else
        send_piece(c, bytes, len);
}

void http_stream_end(http_exchange *x) {
    http_conn *c = x->conn;
    assert(c->streaming);
    // The server may have begun to drain since the head was sent.
    c->close_after |= atomic_load(&c->loop->server->draining);
    if (c->chunked && !is_head(c))
        http_write(c, "0\r\n\r\n", 5);
    http_conn_answer(c);
}

void http_reply_ping(http_conn *c) {
    static const char text[] = ": ping\n\n";
    send_piece(c, text, sizeof text - 1);
}
