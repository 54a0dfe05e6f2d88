// http: bytes <-> requests and event streams.
//
// Takes connections (TCP, TLS, a unix socket), gives complete, checked HTTP/1.1 requests, and sends
// replies or server-sent events back. It must never know JSON, models or what a request means.
//
// There are n_threads I/O threads, each with its own epoll loop. A connection, and with it an
// exchange (one request and its reply), lives on one of them: every function below that takes an
// http_exchange must be called on that thread, that is from inside a callback. Another thread makes
// itself heard with http_server_wake. Thread 0 accepts, and gives each connection to the thread
// that has the fewest. The threads block all signals but faults.
//
// A client that goes away is noticed at once, whether its request streams, waits or is silent. TCP
// cannot tell a client that closed from one that only said it will send no more (a half-close:
// shutdown(SHUT_WR), `nc -N`). The rule: a half-closed client gets every reply that on_head or
// on_request give before they return; a request that has to wait is treated as gone. (Clients of
// language models cancel by closing, and a cancelled request must not go on to compute.)
//
// A second request on a connection waits until the first reply is written. Memory of a connection:
// under 1 KiB when idle (plain TCP; TLS some 10 KiB more), max_head_bytes while a head is read,
// max_body_bytes with a body, 32 KiB of requests sent ahead, and for the write queue one and a half
// times max_write_bytes or, if that is more, the one reply or event that met an empty queue. Of all
// connections: bodies, until their exchange has ended, and write queues have max_shared_bytes
// together, not counting the first 64 KiB of each.
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct http_server http_server;
typedef struct http_exchange http_exchange;

// Bytes inside somebody else's memory; not NUL-terminated.
typedef struct http_slice {
    const char *at;
    size_t len;
} http_slice;

typedef struct http_handler {
    void *arg;
    // The head of a request is there. True: read the body, on_request will follow. False: a reply
    // has been given by http_respond; a body the client may still send is not waited for. No user
    // data may be set before on_request, and on_request may never come.
    bool (*on_head)(void *arg, http_exchange *x);
    // The whole request is there. The exchange must be ended, now or later, by http_respond or
    // http_stream_end.
    void (*on_request)(void *arg, http_exchange *x);
    // The client is gone, was too slow, or the server stops, before the exchange was ended. `x` is
    // invalid after return. Never called from inside another http_ function.
    void (*on_gone)(void *arg, http_exchange *x);
    // Somebody called http_server_wake for this thread; several calls may become one.
    void (*on_wake)(void *arg, int thread);
    // The server itself refuses a request: malformed, too large, too slow. Fills the body of the
    // reply, which is sent as application/json. NULL: text/plain with the reason. `path`: as
    // http_path, or empty when it is not known. Any I/O thread.
    void (*on_error)(void *arg, http_slice path, int status, const char *reason, base_str *body);
} http_handler;

typedef struct http_limits {
    int max_connections;     // beyond that the newest is closed at once; also bounded by the limit
                             // of file descriptors (raised to the hard one) less 64
    size_t max_head_bytes;   // request line (414 beyond) and headers (431)
    int max_headers;         // 431 beyond
    size_t max_body_bytes;   // 413 beyond
    size_t max_write_bytes;  // queued of a stream the client does not read; it is dropped beyond
    size_t max_shared_bytes; // of bodies and write queues beyond 64 KiB each, all together: 503 for
                             // a body beyond, and the end of the connection for a reply
    int head_timeout_ms;     // from the first byte of a request to the end of its head; 408
    int body_timeout_ms;     // between two reads of a body; 408
    int min_body_rate;       // bytes/s over a whole body; 408 below it after 10 s; 0: none
    int idle_timeout_ms;     // of a kept-alive connection, and before the first byte
    int write_timeout_ms;    // without progress while bytes are queued
    int ping_interval_ms;    // ": ping" in an event stream silent that long; 0: never
} http_limits;

typedef struct http_options {
    const char *host;               // numeric address or name (all its addresses); NULL: no TCP
    int port;                       // 0: any free one
    const char *uds;                // path of a unix socket, made with mode 0600; NULL: none
    const char *certfile, *keyfile; // PEM; both or none. TLS is for TCP only
    int n_threads;
    http_limits limits;
    http_handler handler;
} http_options;

void http_limits_init(http_limits *limits); // the defaults

// Binds, listens and starts the threads. BASE_ERR_RESOURCE names the address (in use, not ours, no
// permission), BASE_ERR_USAGE a bad certificate. Strings are copied. A stale unix socket is
// replaced, any other file is not.
int http_server_start(http_server **out, const http_options *options, base_err *err);
int http_server_port(const http_server *s); // of TCP; 0 when there is none
// From any thread, also from signal handlers; never blocks.
void http_server_wake(http_server *s, int thread);
// From now on every reply carries "Connection: close" and idle connections are closed (those that
// have not sent a request yet after one second). New ones are still served. Any thread.
void http_server_drain(http_server *s);
// Stops accepting, calls on_gone for what is left, joins the threads, removes the unix socket.
// Replies whose exchange has ended are first written out, for at most `flush_ms`. During this
// on_wake is not called any more; http_server_wake may be called until it returns.
void http_server_stop(http_server *s, int flush_ms); // NULL is fine
int http_server_connections(const http_server *s);   // open ones; any thread

// ---------------------------------------------------------------------------------------------
// The request. Slices stay valid until the exchange ends.

int http_thread(const http_exchange *x);
http_slice http_method(const http_exchange *x);
http_slice http_path(const http_exchange *x);  // as sent, without the query; begins with '/'
http_slice http_query(const http_exchange *x); // without '?'
// The value of a header (name in lower case), without blanks around it; at NULL when absent. For a
// header that came several times, the first.
http_slice http_header(const http_exchange *x, const char *name);
http_slice http_body(const http_exchange *x);  // from on_request on
base_str http_take_body(http_exchange *x);     // the same, given away; the caller frees it
const char *http_peer(const http_exchange *x); // "127.0.0.1:4711", "[::1]:4711" or "unix:"

void http_set_data(http_exchange *x, void *data);
void *http_data(const http_exchange *x);

// ---------------------------------------------------------------------------------------------
// The reply. After http_respond and http_stream_end `x` is invalid.

// `headers`: further header lines, each ending in "\r\n", or NULL. Content-Length is added, and
// Content-Type when not NULL. A reply to HEAD keeps the headers and drops the body. What a client
// sent may be part of neither text unless it was checked for control characters.
void http_respond(http_exchange *x, int status, const char *content_type, const char *headers,
                  const void *body, size_t len);
// 200, text/event-stream, chunked (for HTTP/1.0 clients: until the connection closes).
void http_stream_start(http_exchange *x, const char *headers);
// One call is one send: give it whole events. A client that leaves too much unread is dropped
// later, through on_gone; until then further calls are fine and do nothing.
void http_stream_send(http_exchange *x, const void *bytes, size_t len);
void http_stream_end(http_exchange *x);

const char *http_status_text(int status); // "Not Found"

#endif
