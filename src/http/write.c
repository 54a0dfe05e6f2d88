// The write queue: what a client has not taken yet.
#include "http/internal.h"

#include <string.h>

void http_queue_free(http_conn *c) {
    base_free(c->queue.data);
    http_budget_resize(&c->loop->server->budget, c->queue.cap, 0);
    c->queue = (http_queue){0};
}

// Makes room behind the bytes for `more`, and for half of all: so the bytes are seldom moved, also
// when a slow client takes a few off the front each time; what met an empty queue is mostly a whole
// reply and gets no more than it needs. False: no memory.
static bool queue_reserve(http_conn *c, size_t more) {
    http_queue *q = &c->queue;
    http_budget *budget = &c->loop->server->budget;
    size_t need, cap;
    if (q->cap - q->begin - q->len >= more)
        return true;
    if (!base_add_size(q->len, more, &need) ||
        !base_add_size(need, q->len > 0 ? need / 2 : 0, &cap))
        return false;
    if (cap <= q->cap) {
        memmove(q->data, q->data + q->begin, q->len);
        q->begin = 0;
        return true;
    }
    if (!http_budget_resize(budget, q->cap, cap))
        return false;
    char *data = base_try_alloc(cap);
    if (!data) {
        http_budget_resize(budget, cap, q->cap);
        return false;
    }
    if (q->len > 0)
        memcpy(data, q->data + q->begin, q->len);
    base_free(q->data);
    *q = (http_queue){.data = data, .len = q->len, .cap = cap};
    return true;
}

static bool queue_add(http_conn *c, const char *bytes, size_t len) {
    http_queue *q = &c->queue;
    if (!queue_reserve(c, len))
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
    if (!queue_add(c, bytes, len))
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
        http_queue_free(c);
    return q->len == 0;
}
