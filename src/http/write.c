// The write queue: what a client has not taken yet.
#include "http/internal.h"

#include <string.h>

void http_queue_free(http_queue *q) {
    base_free(q->data);
    *q = (http_queue){0};
}

// False: no memory.
static bool queue_add(http_queue *q, const char *bytes, size_t len) {
    if (q->begin > 0 && q->cap - q->begin - q->len < len) {
        memmove(q->data, q->data + q->begin, q->len);
        q->begin = 0;
    }
    if (q->cap - q->begin - q->len < len) {
        size_t need, cap = q->cap + q->cap / 2;
        if (!base_add_size(q->len, len, &need))
            return false;
        if (cap < need)
            cap = need;
        char *data = base_try_realloc(q->data, cap);
        if (!data)
            return false;
        q->data = data;
        q->cap = cap;
    }
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
