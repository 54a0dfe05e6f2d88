// The engine in a thread of its own.
//
// Two queues, each with its lock: commands in, events out. Requests are checked and built in the
// thread that submits them; a lock is held only to move entries, never during a step.
#include "engine/state.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

typedef struct command {
    engine_request *request; // to submit; NULL: abort `id`
    uint64_t id;
} command;

typedef struct commands {
    command *at;
    size_t len, cap;
} commands;

struct engine_thread {
    engine *engine; // the thread's own, but for its limits, which never change
    pthread_t thread;
    void (*wake)(void *arg);
    void *wake_arg;

    pthread_mutex_t in_lock;
    pthread_cond_t in_changed;
    commands in;
    bool stop;

    pthread_mutex_t out_lock;
    engine_events out;
    engine_stats stats;    // as of the last step
    int64_t n_live;        // choices submitted whose end is not in `out` yet
    int64_t held_until_ns; // the engine waits until then, which counts as progress; 0: it does not
    commands taken;        // the engine thread's half of the pair of command lists
};

// How long the engine's thread waits for commands.
#define NOT_AT_ALL 0
#define FOR_EVER INT64_MAX

static void commands_add(commands *c, command item) {
    if (c->len == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->at = base_realloc(c->at, c->cap * sizeof *c->at);
    }
    c->at[c->len++] = item;
}

static void commands_free(commands *c) {
    for (size_t i = 0; i < c->len; i++)
        engine_request_free(c->at[i].request);
    base_free(c->at);
}

// ---------------------------------------------------------------------------------------------
// The engine's thread

// Waits for commands until the time comes. False: stop.
static bool take_commands(engine_thread *t, int64_t until_ns) {
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};
    pthread_mutex_lock(&t->in_lock);
    int error = until_ns == NOT_AT_ALL ? ETIMEDOUT : 0;
    while (error != ETIMEDOUT && t->in.len == 0 && !t->stop)
        error = until_ns == FOR_EVER ? pthread_cond_wait(&t->in_changed, &t->in_lock)
                                     : pthread_cond_timedwait(&t->in_changed, &t->in_lock, &until);
    commands taken = t->in;
    t->in = t->taken;
    t->taken = taken;
    bool stop = t->stop;
    pthread_mutex_unlock(&t->in_lock);
    return !stop;
}

// The caller promised unique ids. If it did not keep that, the newcomer ends at once.
static void refuse(engine *e, engine_request *r) {
    for (int i = 0; i < r->n_choices; i++) {
        engine_event *event = engine_events_push(&e->events);
        event->request = r->id;
        event->choice = i;
        event->kind = ENGINE_EVENT_FINISH;
        event->finish = ENGINE_FINISH_ERROR;
        event->error = "the request's id is in use";
        event->n_prompt = r->n_prompt;
    }
    e->stats.finished_error += (uint64_t)r->n_choices;
    engine_request_free(r);
}

static void run_commands(engine_thread *t) {
    for (size_t i = 0; i < t->taken.len; i++) {
        command *c = &t->taken.at[i];
        if (!c->request)
            engine_abort(t->engine, c->id);
        else if (!engine_enqueue(t->engine, c->request))
            refuse(t->engine, c->request);
    }
    t->taken.len = 0;
}

static int64_t latest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void end_wait(engine_thread *t) {
    pthread_mutex_lock(&t->out_lock);
    t->held_until_ns = 0;
    t->stats.last_progress_ns = base_now_ns();
    pthread_mutex_unlock(&t->out_lock);
}

static void publish(engine_thread *t, engine_outcome outcome) {
    engine_event event;
    bool any = false;
    pthread_mutex_lock(&t->out_lock);
    while (engine_next_event(t->engine, &event)) {
        any = true;
        t->n_live -= event.kind == ENGINE_EVENT_FINISH;
        *engine_events_push(&t->out) = event;
    }
    int64_t progress_ns = t->stats.last_progress_ns; // a submission's, perhaps, and newer
    engine_get_stats(t->engine, &t->stats);
    t->stats.last_progress_ns = latest(t->stats.last_progress_ns, progress_ns);
    t->held_until_ns = outcome == ENGINE_HELD ? t->engine->due_ns : 0;
    pthread_mutex_unlock(&t->out_lock);
    if (any)
        t->wake(t->wake_arg);
}

static void *run(void *arg) {
    engine_thread *t = arg;
    engine_outcome outcome = ENGINE_IDLE;
    int64_t until_ns = NOT_AT_ALL;
    while (take_commands(t, until_ns)) {
        if (outcome == ENGINE_HELD)
            end_wait(t);
        run_commands(t);
        outcome = engine_try_step(t->engine);
        publish(t, outcome);
        until_ns = outcome == ENGINE_STEPPED ? NOT_AT_ALL
                   : outcome == ENGINE_HELD  ? t->engine->due_ns
                                             : FOR_EVER;
    }
    return NULL;
}

// ---------------------------------------------------------------------------------------------
// The other threads' side

static void destroy(engine_thread *t) {
    commands_free(&t->in);
    commands_free(&t->taken);
    engine_events_free(&t->out);
    engine_destroy(t->engine);
    pthread_cond_destroy(&t->in_changed);
    pthread_mutex_destroy(&t->out_lock);
    pthread_mutex_destroy(&t->in_lock);
    base_free(t);
}

int engine_thread_start(engine_thread **out, engine *e, void (*wake)(void *arg), void *arg,
                        base_err *err) {
    engine_thread *t = base_calloc(1, sizeof *t);
    *out = NULL;
    t->engine = e;
    t->wake = wake;
    t->wake_arg = arg;
    pthread_mutex_init(&t->in_lock, NULL);
    pthread_mutex_init(&t->out_lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&t->in_changed, &clock);
    pthread_condattr_destroy(&clock);
    engine_get_stats(e, &t->stats);
    t->n_live = e->n_live;
    int error = pthread_create(&t->thread, NULL, run, t);
    if (error != 0) {
        destroy(t);
        return base_fail(err, BASE_ERR_RESOURCE, "the engine's thread cannot be started: %s",
                         strerror(error));
    }
    pthread_setname_np(t->thread, "engine");
    *out = t;
    return 0;
}

void engine_thread_stop(engine_thread *t) {
    if (!t)
        return;
    pthread_mutex_lock(&t->in_lock);
    t->stop = true;
    pthread_cond_signal(&t->in_changed);
    pthread_mutex_unlock(&t->in_lock);
    pthread_join(t->thread, NULL);
    destroy(t);
}

static void send_command(engine_thread *t, command c) {
    pthread_mutex_lock(&t->in_lock);
    commands_add(&t->in, c);
    pthread_cond_signal(&t->in_changed);
    pthread_mutex_unlock(&t->in_lock);
}

// Adds `n` choices to the live ones if there is room.
static bool claim(engine_thread *t, int n) {
    pthread_mutex_lock(&t->out_lock);
    bool room = t->n_live + n <= t->engine->limits.capacity;
    if (room && t->n_live == 0)
        t->stats.last_progress_ns = base_now_ns();
    if (room)
        t->n_live += n;
    pthread_mutex_unlock(&t->out_lock);
    return room;
}

engine_submit_status engine_thread_submit(engine_thread *t, uint64_t id, const int32_t *prompt,
                                          int n_prompt, const engine_params *params,
                                          base_err *err) {
    const engine_limits *l = &t->engine->limits;
    if (engine_params_check(l, prompt, n_prompt, params, err))
        return ENGINE_INVALID;
    if (!claim(t, params->n)) {
        base_fail(err, BASE_ERR_RESOURCE, "the queue is full");
        return ENGINE_BUSY;
    }
    engine_request *r = engine_request_create(l, id, prompt, n_prompt, params);
    if (!r) {
        claim(t, -params->n);
        base_fail(err, BASE_ERR_RESOURCE, "out of memory for the request");
        return ENGINE_BUSY;
    }
    send_command(t, (command){.request = r});
    return ENGINE_ACCEPTED;
}

void engine_thread_abort(engine_thread *t, uint64_t id) {
    send_command(t, (command){.id = id});
}

bool engine_thread_next_event(engine_thread *t, engine_event *out) {
    pthread_mutex_lock(&t->out_lock);
    bool any = engine_events_pop(&t->out, out);
    pthread_mutex_unlock(&t->out_lock);
    return any;
}

void engine_thread_get_stats(engine_thread *t, engine_stats *out) {
    pthread_mutex_lock(&t->out_lock);
    *out = t->stats;
    out->waiting = (int)(t->n_live - out->running);
    int64_t now = base_now_ns(), held_until = t->held_until_ns;
    out->last_progress_ns = latest(out->last_progress_ns, held_until < now ? held_until : now);
    pthread_mutex_unlock(&t->out_lock);
}
