// Accepting: in loop 0, which shares the connections out.
#include "http/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS 64 // of one turn, so that those who are connected wait for no flood
#define PAUSE_MS 100
#define COMPLAIN_MS 10000

static void watch_listeners(http_server *s, bool on) {
    for (int i = 0; i < s->n_listeners; i++) {
        struct epoll_event e = {.events = on ? EPOLLIN : 0, .data.ptr = &s->listeners[i].source};
        epoll_ctl(s->loops[0].epoll, EPOLL_CTL_MOD, s->listeners[i].fd, &e);
    }
}

static void pause_over(http_timer *timer) {
    http_server *s = http_container(timer, http_server, accept_timer);
    if (s->reserve < 0)
        s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    watch_listeners(s, true);
}

// What is wrong will not be right at once, and the listener stays ready: without a pause the loop
// would spin.
static void pause_accepting(http_server *s) {
    watch_listeners(s, false);
    http_timer_set(&s->loops[0].timers, &s->accept_timer, s->loops[0].now_ms + PAUSE_MS);
}

static void complain(http_server *s, const char *what) {
    int64_t now = s->loops[0].now_ms;
    if (s->complained_ms != 0 && now - s->complained_ms < COMPLAIN_MS)
        return;
    s->complained_ms = now;
    base_warn("http: %s; new connections are closed", what);
}

// The one waiting longest is taken with the descriptor kept for this, and closed: it learns at once
// that it cannot be served. 0, or errno: EAGAIN when nobody waits (accept wants a descriptor first,
// and so cannot tell).
static int turn_away(http_server *s, int listener) {
    if (s->reserve < 0)
        return EMFILE;
    close(s->reserve);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int code = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return s->reserve < 0 ? EMFILE : code;
}

static http_loop *emptiest(http_server *s) {
    s->next_loop = (s->next_loop + 1) % s->n_loops; // among equals each in turn
    http_loop *best = &s->loops[s->next_loop];
    for (int i = 1; i < s->n_loops; i++) {
        http_loop *l = &s->loops[(s->next_loop + i) % s->n_loops];
        if (atomic_load(&l->n_conns) < atomic_load(&best->n_conns))
            best = l;
    }
    return best;
}

static void welcome(http_server *s, const http_listener *listener, int fd,
                    const struct sockaddr *address) {
    if (atomic_load(&s->n_conns) >= s->limits.max_connections) {
        close(fd);
        complain(s, "as many connections as allowed are open");
        return;
    }
    http_accepted a = {.fd = fd, .tls = listener->tls};
    http_peer_print(a.peer, address);
    atomic_fetch_add(&s->n_conns, 1);
    http_loop_give(emptiest(s), &a);
}

// False: no more for now.
static bool accept_one(http_server *s, const http_listener *listener) {
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    socklen_t len = sizeof address;
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        welcome(s, listener, fd, (struct sockaddr *)&address);
        return true;
    }
    int code = errno;
    if (code == EMFILE || code == ENFILE) {
        int refused = turn_away(s, listener->fd);
        if (refused != EAGAIN)
            complain(s, strerror(code));
        code = refused;
    }
    switch (code) {
    case 0:
        return true;
    case EAGAIN:
        return false;
    case EINTR:
    case ECONNABORTED: // these are about the one that was accepted (accept(2))
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case ETIMEDOUT:
        return true;
    default:
        complain(s, strerror(code));
    }
    pause_accepting(s);
    return false;
}

static void accept_ready(http_source *source, uint32_t events) {
    (void)events;
    http_listener *listener = http_container(source, http_listener, source);
    for (int i = 0; i < ACCEPTS && listener->fd >= 0; i++)
        if (!accept_one(listener->server, listener))
            return;
}

int http_accept_start(http_server *s, base_err *err) {
    s->accept_timer.due = pause_over;
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->reserve < 0)
        return base_fail(err, BASE_ERR_RESOURCE, "/dev/null: %s", strerror(errno));
    for (int i = 0; i < s->n_listeners; i++) {
        http_listener *l = &s->listeners[i];
        l->source.ready = accept_ready;
        if (!http_loop_watch(&s->loops[0], l->fd, EPOLLIN, &l->source))
            return base_fail(err, BASE_ERR_RESOURCE, "epoll: %s", strerror(errno));
    }
    return 0;
}

void http_accept_stop(http_server *s) {
    http_timer_unset(&s->loops[0].timers, &s->accept_timer);
    http_unlisten(s);
    if (s->reserve >= 0)
        close(s->reserve);
    s->reserve = -1;
}
