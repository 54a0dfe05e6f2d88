// A binary heap of timers that know their place in it.
#include "http/internal.h"

static void put(http_timers *t, size_t i, http_timer *timer) {
    t->heap[i] = timer;
    timer->place = i + 1;
}

static void rise(http_timers *t, size_t i, http_timer *timer) {
    for (; i > 0 && t->heap[(i - 1) / 2]->at_ms > timer->at_ms; i = (i - 1) / 2)
        put(t, i, t->heap[(i - 1) / 2]);
    put(t, i, timer);
}

static void sink(http_timers *t, size_t i, http_timer *timer) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->len)
            break;
        if (child + 1 < t->len && t->heap[child + 1]->at_ms < t->heap[child]->at_ms)
            child++;
        if (t->heap[child]->at_ms >= timer->at_ms)
            break;
        put(t, i, t->heap[child]);
        i = child;
    }
    put(t, i, timer);
}

void http_timer_set(http_timers *t, http_timer *timer, int64_t at_ms) {
    int64_t before = timer->at_ms;
    timer->at_ms = at_ms;
    if (timer->place != 0) {
        if (at_ms < before)
            rise(t, timer->place - 1, timer);
        else
            sink(t, timer->place - 1, timer);
        return;
    }
    if (t->len == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->heap = base_realloc(t->heap, t->cap * sizeof(http_timer *));
    }
    rise(t, t->len++, timer);
}

void http_timer_unset(http_timers *t, http_timer *timer) {
    if (timer->place == 0)
        return;
    size_t i = timer->place - 1;
    timer->place = 0;
    http_timer *last = t->heap[--t->len];
    if (last == timer)
        return;
    if (i > 0 && t->heap[(i - 1) / 2]->at_ms > last->at_ms)
        rise(t, i, last);
    else
        sink(t, i, last);
}

int64_t http_timers_next(const http_timers *t) {
    return t->len > 0 ? t->heap[0]->at_ms : INT64_MAX;
}

void http_timers_run(http_timers *t, int64_t until_ms) {
    while (t->len > 0 && t->heap[0]->at_ms <= until_ms) {
        http_timer *timer = t->heap[0];
        http_timer_unset(t, timer);
        timer->due(timer);
    }
}

void http_timers_free(http_timers *t) {
    base_free(t->heap);
    *t = (http_timers){0};
}
