// The write queue: what a client has not taken yet.
#include "http/internal.h"

#include <string.h>

void http_queue_free(http_queue *q) {
    base_free(q->data);
    *q = (http_queue){0};
}

// Makes room behind the bytes for `more`, and for half of all: so the bytes are seldom moved, also
// when a slow client takes a few off the front each time. False: no memory.
static bool queue_reserve(http_queue *q, size_t more) {
    size_t need, cap;
    if (q->cap - q->begin - q->len >= more)
        return true;
    if (!base_add_size(q->len, more, &need) || !base_add_size(need, need / 2, &cap))
        return false;
    if (cap <= q->cap) {
        memmove(q->data, q->data + q->begin, q->len);
        q->begin = 0;
        return true;
    }
    char *data = base_try_alloc(cap);
    if (!data)
        return false;
    if (q->len > 0)
        memcpy(data, q->data + q->begin, q->len);
    base_free(q->data);
    *q = (http_queue){.data = data, .len = q->len, .cap = cap};
    return true;
}

static bool queue_add(http_queue *q, const char *bytes, size_t len) {
    if (!queue_reserve(q, len))
        return false;
    memcpy(q->data + q->begin + q->len, bytes, len);
    q->len += len;
    return true;
}

// Sends until the socket is full. Returns how much it took; a failure breaks the connection.
static size_t send_now(http_conn *c, const char *bytes, size_t len) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = http_transport_write(c, bytes + done, len - done);
        if (n == HTTP_FAILED) {
            http_conn_break(c);
            return done;
        }
        if (n == HTTP_AGAIN)
            break;
        done += (size_t)n;
    }
    if (done > 0)
        c->write_deadline = c->loop->now_ms + c->loop->server->limits.write_timeout_ms;
    return done;
}

void http_write(http_conn *c, const void *bytes, size_t len) {
    if (c->broken)
        return;
    bool waiting = c->queue.len > 0;
    if (!waiting) {
        c->write_deadline = c->loop->now_ms + c->loop->server->limits.write_timeout_ms;
        size_t done = send_now(c, bytes, len);
        if (c->broken || done == len)
            return;
        bytes = (const char *)bytes + done;
        len -= done;
    }
    if (!queue_add(&c->queue, bytes, len))
        http_conn_break(c);
    else if (!waiting)
        http_conn_watch(c);
}

bool http_flush(http_conn *c) {
    http_queue *q = &c->queue;
    if (q->len == 0)
        return true;
    size_t done = send_now(c, q->data + q->begin, q->len);
    if (c->broken)
        return false;
    q->begin += done;
    q->len -= done;
    if (q->len == 0)
        http_queue_free(q);
    return q->len == 0;
}
