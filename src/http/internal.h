// What the files of the server share. parse.h is a world of its own.
//
//     accept.c -> conn.c: states of a connection -> parse.h -> handler -> reply.c -> write.c
//     loop.c drives it: one thread, one epoll, one heap of timers (timer.c)
//     transport.c, tls.c: bytes from and to a socket
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "http/http.h"
#include "http/parse.h"
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_READ_BYTES 32768 // of one read, and thereby of what a client may send ahead
#define HTTP_LINGER_MS 2000
#define HTTP_MAX_LISTENERS 16
#define HTTP_PEER_SIZE 56 // "[IPv6]:port"

#define http_container(pointer, type, member)                                                      \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

typedef struct http_accepted {
    int fd;
    bool tls;
    char peer[HTTP_PEER_SIZE];
} http_accepted;

typedef struct http_loop http_loop;
typedef struct http_conn http_conn;

// What epoll's data points to.
typedef struct http_source {
    void (*ready)(struct http_source *source, uint32_t events);
} http_source;

// ---------------------------------------------------------------------------------------------
// Timers: a heap, so that an idle loop knows how long it may sleep.

typedef struct http_timer {
    int64_t at_ms;
    size_t place; // in the heap, from 1; 0: not set
    void (*due)(struct http_timer *timer);
} http_timer;

typedef struct http_timers {
    http_timer **heap; // [len], the earliest first
    size_t len, cap;
} http_timers;

void http_timer_set(http_timers *t, http_timer *timer, int64_t at_ms); // also if it is set
void http_timer_unset(http_timers *t, http_timer *timer);
int64_t http_timers_next(const http_timers *t);         // INT64_MAX: none
void http_timers_run(http_timers *t, int64_t until_ms); // unsets, then calls due
void http_timers_free(http_timers *t);

// ---------------------------------------------------------------------------------------------
// Connections

typedef enum {
    HTTP_HANDSHAKE, // of TLS
    HTTP_IDLE,      // between requests
    HTTP_HEAD,
    HTTP_BODY,
    HTTP_OPEN,    // the handler has the request
    HTTP_WRITING, // the exchange has ended, its reply is being written
    HTTP_LINGER,  // all is said; what still comes is thrown away, so that no reset hits the reply
    HTTP_DEAD,    // closed; freed at the end of the loop's turn
} http_conn_state;

struct http_exchange {
    http_conn *conn;
    void *data;
};

typedef struct http_queue {
    char *data;
    size_t begin, len, cap; // the bytes are [begin, begin + len)
} http_queue;

struct http_conn {
    http_source source;
    http_timer timer; // never later than what is due next; may be earlier
    http_exchange x;
    http_loop *loop;
    http_conn *next, *prev; // of the loop
    http_conn *next_todo;
    int fd;
    SSL *tls;
    uint32_t interest; // what epoll watches
    http_conn_state state;

    bool in_todo, working;
    bool readable;      // a read may give something; else epoll will say so
    bool tls_wants_out; // before the next read
    bool peer_shut;     // EPOLLRDHUP was seen
    bool eof;           // and a read said so
    bool broken;        // of no use any more; to be closed by the loop
    bool parsing;       // `parser` is valid
    bool used;          // there has been a request
    bool blank;         // only line ends have come of this one
    bool answered;      // this exchange
    bool streaming, chunked;
    bool close_after, linger_after; // the reply

    int64_t read_deadline, write_deadline, sent_at, body_start; // ms
    size_t body_bytes;                                          // of the body, as they came
    size_t linger_bytes;                                        // thrown away
    http_parser parser;
    base_str ahead; // read, but for the next request
    http_queue queue;
    char peer[HTTP_PEER_SIZE];
};

void http_conn_create(http_loop *l, const http_accepted *a); // without memory it is closed
void http_conn_work(http_conn *c);                           // goes as far as it can
void http_conn_watch(http_conn *c);  // tells epoll and the timers what is waited for
void http_conn_kick(http_conn *c);   // http_conn_work soon, from the loop
void http_conn_break(http_conn *c);  // of no use any more: frees the queue, kicks
void http_conn_answer(http_conn *c); // the reply is in the queue, the exchange at its end
void http_conn_drain(http_conn *c);
void http_conn_stop(http_conn *c); // only what is queued keeps it open
void http_conn_lose(http_conn *c); // closes it now; the handler learns it if it has the request

// ---------------------------------------------------------------------------------------------
// Bytes out and in

// Sends now what the socket takes and queues the rest. A failure breaks the connection.
void http_write(http_conn *c, const void *bytes, size_t len);
bool http_flush(http_conn *c); // true: the queue is empty
void http_queue_free(http_conn *c);

void http_reply_error(http_conn *c, int status, const char *reason); // "Connection: close"
void http_reply_continue(http_conn *c);
void http_reply_ping(http_conn *c);

#define HTTP_AGAIN (-1)
#define HTTP_FAILED (-2)
// The number of bytes, 0 at the end of what the client sends, or one of the above.
ssize_t http_transport_read(http_conn *c, void *bytes, size_t len);
ssize_t http_transport_write(http_conn *c, const void *bytes, size_t len);
void http_transport_shut(http_conn *c); // nothing more will be written

int http_tls_open(SSL_CTX **out, const char *certfile, const char *keyfile, base_err *err);
SSL *http_tls_accept(SSL_CTX *context, int fd); // NULL: no memory
int http_tls_handshake(http_conn *c);           // 0: done, or HTTP_AGAIN, HTTP_FAILED
ssize_t http_tls_read(http_conn *c, void *bytes, size_t len);
ssize_t http_tls_write(http_conn *c, const void *bytes, size_t len);

// ---------------------------------------------------------------------------------------------
// Listening

typedef struct http_listener {
    http_source source;
    http_server *server;
    int fd;
    bool tls, uds;
} http_listener;

// Fills s->listeners, s->port, s->uds.
int http_listen(http_server *s, const http_options *o, base_err *err);
void http_unlisten(http_server *s); // closes them and removes the unix socket
// As "127.0.0.1:4711", "[::1]:4711" or "unix:".
struct sockaddr;
void http_peer_print(char out[HTTP_PEER_SIZE], const struct sockaddr *address);

int http_accept_start(http_server *s, base_err *err); // loop 0 watches the listeners
void http_accept_stop(http_server *s);

// ---------------------------------------------------------------------------------------------
// Threads

struct http_loop {
    http_source wakeup;
    http_server *server;
    int number;
    pthread_t thread;
    bool started;
    int epoll, event;
    int64_t now_ms;
    http_timers timers;
    http_conn *conns, *todo, *dead;
    atomic_int n_conns; // with those in the inbox
    atomic_bool woken;
    bool drained, stopping;
    pthread_mutex_t inbox_lock;
    http_accepted *inbox; // [n_inbox] accepted by loop 0, for this one
    size_t n_inbox, inbox_cap;
    base_str frame; // where replies are put together
    int64_t date_s;
    char date[32];
    char scratch[HTTP_READ_BYTES];
};

int http_loop_open(http_loop *l, http_server *s, int number, base_err *err);
int http_loop_start(http_loop *l, base_err *err);
void http_loop_close(http_loop *l); // after its thread has ended; fine if never opened
void http_loop_notify(http_loop *l);
bool http_loop_watch(http_loop *l, int fd, uint32_t events, http_source *source);
// From loop 0's thread: the connection is to live on `l`. Takes the fd over.
void http_loop_give(http_loop *l, const http_accepted *a);

struct http_server {
    http_limits limits;
    http_budget budget;
    http_handler handler;
    int n_loops;
    http_loop *loops;
    SSL_CTX *tls;
    int n_listeners, port;
    http_listener listeners[HTTP_MAX_LISTENERS];
    char *uds;
    dev_t uds_dev;
    ino_t uds_ino;
    atomic_int n_conns;
    atomic_bool draining;
    _Atomic int64_t stop_at_ms; // 0: runs

    // Of loop 0:
    http_timer accept_timer; // set: accepting pauses
    int reserve;             // a descriptor to give up when there are none left
    int next_loop;
    int64_t complained_ms;
};

int64_t http_now_ms(void);

#endif
