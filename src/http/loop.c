// One I/O thread: epoll, timers, the connections that live here. It sleeps until the next event or
// timer and never polls.
#include "http/internal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 256

int64_t http_now_ms(void) {
    return base_now_ns() / 1000000;
}

bool http_loop_watch(http_loop *l, int fd, uint32_t events, http_source *source) {
    struct epoll_event e = {.events = events, .data.ptr = source};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

void http_loop_notify(http_loop *l) {
    int saved = errno; // of the code a signal handler interrupts
    uint64_t one = 1;
    // Fails only when the counter is full, and then the loop is awake.
    ssize_t n = write(l->event, &one, sizeof one);
    (void)n;
    errno = saved;
}

// ---------------------------------------------------------------------------------------------
// What other threads want

void http_loop_give(http_loop *l, const http_accepted *a) {
    atomic_fetch_add(&l->n_conns, 1);
    if (l->number == 0) {
        http_conn_create(l, a);
        return;
    }
    pthread_mutex_lock(&l->inbox_lock);
    if (l->n_inbox == l->inbox_cap) {
        l->inbox_cap = l->inbox_cap ? 2 * l->inbox_cap : 16;
        l->inbox = base_realloc(l->inbox, l->inbox_cap * sizeof *l->inbox);
    }
    l->inbox[l->n_inbox++] = *a;
    pthread_mutex_unlock(&l->inbox_lock);
    http_loop_notify(l);
}

static void take_inbox(http_loop *l) {
    pthread_mutex_lock(&l->inbox_lock);
    http_accepted *accepted = l->inbox;
    size_t n = l->n_inbox;
    l->inbox = NULL;
    l->n_inbox = l->inbox_cap = 0;
    pthread_mutex_unlock(&l->inbox_lock);
    for (size_t i = 0; i < n; i++)
        http_conn_create(l, &accepted[i]);
    base_free(accepted);
}

static void begin_drain(http_loop *l) {
    l->drained = true;
    for (http_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        http_conn_drain(c);
    }
}

// Again for those that came out of the inbox since.
static void stop(http_loop *l) {
    l->stopping = true;
    if (l->number == 0)
        http_accept_stop(l->server);
    for (http_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        http_conn_stop(c);
    }
}

static void woken(http_source *source, uint32_t events) {
    (void)events;
    http_loop *l = http_container(source, http_loop, wakeup);
    http_server *s = l->server;
    uint64_t count;
    ssize_t n = read(l->event, &count, sizeof count);
    (void)n;
    take_inbox(l);
    if (atomic_load(&s->draining) && !l->drained)
        begin_drain(l);
    if (atomic_load(&s->stop_at_ms) != 0)
        stop(l);
    // Cleared before the call: who comes after that is heard again.
    if (atomic_exchange(&l->woken, false) && !l->stopping && s->handler.on_wake)
        s->handler.on_wake(s->handler.arg, l->number);
}

// ---------------------------------------------------------------------------------------------
// The loop

// Those that are kicked meanwhile have their turn after the next look at epoll, so that no
// connection keeps the others waiting.
static void work(http_loop *l) {
    http_conn *todo = l->todo;
    l->todo = NULL;
    while (todo) {
        http_conn *c = todo;
        todo = c->next_todo;
        c->in_todo = false;
        http_conn_work(c);
    }
}

static void bury(http_loop *l) {
    http_conn **link = &l->dead;
    while (*link) {
        http_conn *c = *link;
        if (c->in_todo) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        base_free(c);
    }
}

static int timeout_ms(http_loop *l, int64_t stop_at_ms) {
    if (l->todo)
        return 0;
    int64_t at = http_timers_next(&l->timers);
    if (l->stopping && stop_at_ms < at)
        at = stop_at_ms;
    if (at == INT64_MAX)
        return -1;
    int64_t wait = at - http_now_ms();
    return wait <= 0 ? 0 : wait > INT_MAX ? INT_MAX : (int)wait;
}

static void *run(void *arg) {
    http_loop *l = arg;
    struct epoll_event events[EVENTS];
    for (;;) {
        int64_t stop_at = atomic_load(&l->server->stop_at_ms);
        if (l->stopping && (!l->conns || http_now_ms() >= stop_at))
            break;
        int n = epoll_wait(l->epoll, events, EVENTS, timeout_ms(l, stop_at));
        l->now_ms = http_now_ms();
        for (int i = 0; i < n; i++) {
            http_source *source = events[i].data.ptr;
            source->ready(source, events[i].events);
        }
        http_timers_run(&l->timers, l->now_ms);
        work(l);
        bury(l);
    }
    while (l->conns)
        http_conn_lose(l->conns);
    work(l);
    bury(l);
    return NULL;
}

int http_loop_open(http_loop *l, http_server *s, int number, base_err *err) {
    l->server = s;
    l->number = number;
    l->wakeup.ready = woken;
    pthread_mutex_init(&l->inbox_lock, NULL);
    l->now_ms = http_now_ms();
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->event < 0 || !http_loop_watch(l, l->event, EPOLLIN, &l->wakeup))
        return base_fail(err, BASE_ERR_RESOURCE, "no epoll for the server: %s", strerror(errno));
    return 0;
}

int http_loop_start(http_loop *l, base_err *err) {
    // Signals belong to the program's own threads, SIGPIPE to nobody; faults stay where they are.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code)
        return base_fail(err, BASE_ERR_RESOURCE, "no thread for the server: %s", strerror(code));
    char name[16];
    snprintf(name, sizeof name, "http-%d", l->number);
    pthread_setname_np(l->thread, name);
    l->started = true;
    return 0;
}

void http_loop_close(http_loop *l) {
    for (size_t i = 0; i < l->n_inbox; i++) {
        close(l->inbox[i].fd);
        atomic_fetch_sub(&l->server->n_conns, 1);
    }
    base_free(l->inbox);
    http_timers_free(&l->timers);
    base_str_free(&l->frame);
    if (l->epoll >= 0)
        close(l->epoll);
    if (l->event >= 0)
        close(l->event);
    pthread_mutex_destroy(&l->inbox_lock);
}
