// The life of a server: start, wake, drain, stop.
#include "http/internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// What connections may hold together is the least of a share of the machine's memory and this.
#define MOST_SHARED ((size_t)1 << 30)
#define SHARE 8
#define SPARE_FDS 64 // for logs, files of the model and whatever else the program opens

static size_t shared_bytes(size_t least) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t share = pages > 0 && page > 0 ? (size_t)pages / SHARE * (size_t)page : least;
    return share > MOST_SHARED ? MOST_SHARED : share < least ? least : share;
}

void http_limits_init(http_limits *limits) {
    *limits = (http_limits){
        .max_connections = 16384,
        .max_head_bytes = 16384,
        .max_headers = 100,
        .max_body_bytes = (size_t)64 << 20,
        .max_write_bytes = (size_t)1 << 20,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 30000,
        .min_body_rate = 1024,
        .idle_timeout_ms = 75000,
        .write_timeout_ms = 60000,
        .ping_interval_ms = 15000,
    };
    limits->max_shared_bytes = shared_bytes(limits->max_body_bytes);
}

static int check_options(const http_options *o, base_err *err) {
    if (!o->host && !o->uds)
        return base_fail(err, BASE_ERR_USAGE, "the server has neither a host nor a unix socket");
    if (!o->certfile != !o->keyfile)
        return base_fail(err, BASE_ERR_USAGE, "TLS takes a certificate and a key, not one alone");
    if (o->port < 0 || o->port > 65535)
        return base_fail(err, BASE_ERR_USAGE, "port: %d is not within 0 and 65535", o->port);
    if (o->n_threads < 1)
        return base_fail(err, BASE_ERR_USAGE, "the server needs a thread");
    return 0;
}

// As many connections as asked for, or as there can be descriptors.
static int fit_descriptors(http_server *s, base_err *err) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    if (r.rlim_cur < r.rlim_max) {
        rlim_t before = r.rlim_cur;
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            r.rlim_cur = before;
    }
    if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= (rlim_t)s->limits.max_connections + SPARE_FDS)
        return 0;
    if (r.rlim_cur <= SPARE_FDS)
        return base_fail(err, BASE_ERR_RESOURCE,
                         "the limit of %llu open files (ulimit -n) leaves none for connections",
                         (unsigned long long)r.rlim_cur);
    s->limits.max_connections = (int)(r.rlim_cur - SPARE_FDS);
    base_warn("http: the limit of %llu open files (ulimit -n) leaves %d connections",
              (unsigned long long)r.rlim_cur, s->limits.max_connections);
    return 0;
}

static void destroy(http_server *s) {
    for (int i = 0; i < s->n_loops; i++)
        http_loop_close(&s->loops[i]);
    http_unlisten(s);
    SSL_CTX_free(s->tls);
    base_free(s->loops);
    base_free(s);
}

static int open_all(http_server *s, const http_options *o, base_err *err) {
    int code = check_options(o, err);
    if (!code)
        code = fit_descriptors(s, err);
    if (!code && o->certfile)
        code = http_tls_open(&s->tls, o->certfile, o->keyfile, err);
    if (!code)
        code = http_listen(s, o, err);
    if (code)
        return code;
    s->loops = base_calloc((size_t)o->n_threads, sizeof *s->loops);
    while (!code && s->n_loops < o->n_threads) {
        http_loop *l = &s->loops[s->n_loops];
        code = http_loop_open(l, s, s->n_loops++, err);
    }
    return code ? code : http_accept_start(s, err);
}

int http_server_start(http_server **out, const http_options *options, base_err *err) {
    http_server *s = base_calloc(1, sizeof *s);
    s->limits = options->limits;
    s->handler = options->handler;
    atomic_init(&s->budget.left, s->limits.max_shared_bytes);
    s->reserve = -1;
    int code = open_all(s, options, err);
    // Loop 0 comes last: it gives connections to the others, whose threads it must know.
    for (int i = s->n_loops - 1; !code && i >= 0; i--)
        code = http_loop_start(&s->loops[i], err);
    if (code) {
        if (s->n_loops > 0)
            http_server_stop(s, 0);
        else
            destroy(s);
        return code;
    }
    *out = s;
    return 0;
}

int http_server_port(const http_server *s) {
    return s->port;
}

int http_server_connections(const http_server *s) {
    return atomic_load(&s->n_conns);
}

void http_server_wake(http_server *s, int thread) {
    http_loop *l = &s->loops[thread];
    if (!atomic_exchange(&l->woken, true))
        http_loop_notify(l);
}

void http_server_drain(http_server *s) {
    atomic_store(&s->draining, true);
    for (int i = 0; i < s->n_loops; i++)
        http_loop_notify(&s->loops[i]);
}

void http_server_stop(http_server *s, int flush_ms) {
    if (!s)
        return;
    atomic_store(&s->draining, true);
    atomic_store(&s->stop_at_ms, http_now_ms() + (flush_ms > 0 ? flush_ms : 0));
    for (int i = 0; i < s->n_loops; i++)
        http_loop_notify(&s->loops[i]);
    for (int i = 0; i < s->n_loops; i++)
        if (s->loops[i].started)
            pthread_join(s->loops[i].thread, NULL);
    if (s->n_loops > 0 && !s->loops[0].started)
        http_accept_stop(s);
    destroy(s);
}
