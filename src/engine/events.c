#include "engine/events.h"

static void grow(engine_events *q) {
    size_t cap = q->cap ? 2 * q->cap : 64;
    engine_event *at = base_calloc(cap, sizeof *at);
    for (size_t i = 0; i < q->len; i++)
        at[i] = q->at[(q->head + i) & (q->cap - 1)];
    base_free(q->at);
    q->at = at;
    q->head = 0;
    q->cap = cap;
}

engine_event *engine_events_push(engine_events *q) {
    if (q->len == q->cap)
        grow(q);
    engine_event *e = &q->at[(q->head + q->len++) & (q->cap - 1)];
    *e = (engine_event){.stop_id = -1};
    return e;
}

bool engine_events_pop(engine_events *q, engine_event *out) {
    if (q->len == 0)
        return false;
    *out = q->at[q->head];
    q->head = (q->head + 1) & (q->cap - 1);
    q->len--;
    return true;
}

void engine_events_free(engine_events *q) {
    engine_event e;
    while (engine_events_pop(q, &e))
        engine_event_free(&e);
    base_free(q->at);
    *q = (engine_events){0};
}

const char *engine_miss_name(engine_miss miss) {
    switch (miss) {
    case ENGINE_MISS_NONE:
        return NULL;
    case ENGINE_MISS_DIFFERS:
        return "differs";
    case ENGINE_MISS_EVICTED:
        return "evicted";
    case ENGINE_MISS_NOT_READ:
        return "not_read";
    }
    return NULL;
}

void engine_event_free(engine_event *e) {
    base_free(e->top);
    e->top = NULL;
    e->n_top = 0;
}
