// Lanes: what the engine's thread and the workers have for an I/O thread, on its way there.
//
// An id in the engine is COUNT << 8 | THREAD, so the engine's thread knows whose an event is
// without a table, and the I/O thread finds its request in a table of its own, without a lock.
#include "api/server.h"

#include <string.h>

enum {
    THREAD_BITS = 8,
    TABLE_SIZE = 4096, // buckets of a lane's tickets
};

_Static_assert(1 << THREAD_BITS == API_MAX_LANES, "the id has bits for as many threads");

static void push(api_events *list, const api_event *event) {
    if (list->len == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 64;
        list->at = base_realloc(list->at, list->cap * sizeof *list->at);
    }
    list->at[list->len++] = *event;
}

static void drop(api_events *list) {
    for (size_t i = 0; i < list->len; i++)
        engine_event_free(&list->at[i].event);
    list->len = 0;
}

// ---------------------------------------------------------------------------------------------
// Lanes and their tickets

void api_lanes_create(api_server *s) {
    s->n_lanes = s->options.http.n_threads;
    s->lanes = base_calloc((size_t)s->n_lanes, sizeof *s->lanes);
    for (int i = 0; i < s->n_lanes; i++) {
        api_lane *l = &s->lanes[i];
        l->server = s;
        l->thread = i;
        pthread_mutex_init(&l->lock, NULL);
        l->table = base_calloc(TABLE_SIZE, sizeof *l->table);
    }
}

void api_lanes_close(api_server *s) {
    for (int i = 0; i < s->n_lanes; i++) {
        pthread_mutex_lock(&s->lanes[i].lock);
        s->lanes[i].closed = true;
        pthread_mutex_unlock(&s->lanes[i].lock);
    }
}

void api_lanes_free(api_server *s) {
    for (int i = 0; i < s->n_lanes; i++) {
        api_lane *l = &s->lanes[i];
        while (l->jobs) {
            api_job *job = l->jobs;
            l->jobs = job->next;
            api_job_free(job);
        }
        drop(&l->inbox);
        base_free(l->inbox.at);
        base_free(l->gathered.at);
        base_free(l->taken.at);
        base_free(l->table);
        pthread_mutex_destroy(&l->lock);
    }
    base_free(s->lanes);
}

static api_ticket **bucket(api_lane *l, uint64_t id) {
    return &l->table[(id >> THREAD_BITS) % TABLE_SIZE];
}

void api_lane_add(api_lane *l, api_ticket *ticket) {
    uint64_t count = atomic_fetch_add_explicit(&l->server->last_id, 1, memory_order_relaxed) + 1;
    ticket->id = count << THREAD_BITS | (uint64_t)l->thread;
    api_ticket **head = bucket(l, ticket->id);
    ticket->next = *head;
    *head = ticket;
}

void api_lane_remove(api_lane *l, api_ticket *ticket) {
    api_ticket **link = bucket(l, ticket->id);
    while (*link && *link != ticket)
        link = &(*link)->next;
    if (*link)
        *link = ticket->next;
}

static api_ticket *find(api_lane *l, uint64_t id) {
    api_ticket *ticket = *bucket(l, id);
    while (ticket && ticket->id != id)
        ticket = ticket->next;
    return ticket;
}

// ---------------------------------------------------------------------------------------------
// Into the inbox

// With the lane's lock held, which makes sure that the HTTP server is still there.
static void wake(api_lane *l, bool was_empty) {
    if (was_empty && !l->closed)
        http_server_wake(l->server->http, l->thread);
}

void api_lane_job_done(void *arg, api_job *job) {
    api_lane *l = arg;
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->inbox.len == 0 && !l->jobs;
    job->next = l->jobs;
    l->jobs = job;
    wake(l, was_empty);
    pthread_mutex_unlock(&l->lock);
}

static void deliver(api_lane *l) {
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->inbox.len == 0 && !l->jobs;
    for (size_t i = 0; i < l->gathered.len; i++)
        push(&l->inbox, &l->gathered.at[i]);
    wake(l, was_empty);
    pthread_mutex_unlock(&l->lock);
    l->gathered.len = 0;
}

static bool ended_well(const engine_event *e) {
    return e->finish == ENGINE_FINISH_STOP || e->finish == ENGINE_FINISH_LENGTH ||
           e->finish == ENGINE_FINISH_REPETITION;
}

void api_engine_wake(void *arg) {
    api_server *s = arg;
    int n_finished = 0;
    bool well = false;
    api_event e = {.at_ns = base_now_ns()};
    while (engine_thread_next_event(s->engine, &e.event)) {
        if (e.event.kind == ENGINE_EVENT_FINISH) {
            n_finished++;
            well |= ended_well(&e.event);
        }
        push(&s->lanes[e.event.request % API_MAX_LANES].gathered, &e);
    }
    engine_stats stats;
    engine_thread_get_stats(s->engine, &stats);
    api_metrics_step(s, &stats);
    if (n_finished > 0)
        api_watch_finish(s, n_finished, well, &stats, e.at_ns);
    for (int i = 0; i < s->n_lanes; i++)
        if (s->lanes[i].gathered.len > 0)
            deliver(&s->lanes[i]);
}

// ---------------------------------------------------------------------------------------------
// Out of it, on the lane's I/O thread

static void take_event(api_lane *l, api_event *e) {
    api_ticket *ticket = find(l, e->event.request);
    if (ticket) {
        api_serve_take(ticket, e);
        return;
    }
    // Its client is gone.
    if (e->event.kind == ENGINE_EVENT_FINISH)
        base_metric_add(l->server->metrics.finished[e->event.finish], 1);
    engine_event_free(&e->event);
}

void api_on_wake(void *arg, int thread) {
    api_server *s = arg;
    api_lane *l = &s->lanes[thread];
    pthread_mutex_lock(&l->lock);
    api_events taken = l->inbox;
    l->inbox = l->taken;
    l->taken = taken;
    api_job *jobs = l->jobs;
    l->jobs = NULL;
    pthread_mutex_unlock(&l->lock);
    while (jobs) {
        api_job *job = jobs;
        jobs = job->next;
        if (job->live)
            api_serve_continue(job->live, job);
        else
            api_job_free(job);
    }
    for (size_t i = 0; i < l->taken.len; i++)
        take_event(l, &l->taken.at[i]);
    l->taken.len = 0;
    api_serve_flush(l);
    if (atomic_load(&s->ending))
        api_serve_end_all(l);
}
