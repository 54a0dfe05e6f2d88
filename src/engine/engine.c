#include "engine/state.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void engine_bug(const char *what) {
    base_error("engine: %s", what);
    abort();
}

static uint64_t random_bits(void) {
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        engine_bug("the system gives no random bits");
    return bits;
}

engine *engine_create(backend *b, const engine_options *options) {
    base_err err;
    if (engine_options_check(options, &err))
        engine_bug(err.message);
    engine *e = base_calloc(1, sizeof *e);
    e->backend = b;
    engine_limits_init(&e->limits, options);
    const engine_options *o = &e->limits.options;
    engine_blocks_init(&e->blocks, (int32_t)o->n_blocks);
    engine_prefix_init(&e->prefix, (int32_t)o->n_blocks, o->block_size, random_bits());
    size_t max_seqs = (size_t)o->max_num_seqs;
    e->running = base_calloc(max_seqs, sizeof *e->running);
    e->open = base_calloc(max_seqs, sizeof *e->open);
    e->row_ids = base_calloc((size_t)o->max_num_batched_tokens, sizeof *e->row_ids);
    e->plan_seqs = base_calloc(max_seqs, sizeof *e->plan_seqs);
    e->planned = base_calloc(max_seqs, sizeof *e->planned);
    e->outputs = base_calloc((size_t)o->max_outputs, sizeof *e->outputs);
    e->n_buckets = 1;
    while (e->n_buckets < e->limits.capacity && e->n_buckets < 1 << 16)
        e->n_buckets *= 2;
    e->buckets = base_calloc(e->n_buckets, sizeof *e->buckets);
    e->nan_at_step = base_fault_number("NAN_AT_STEP");
    e->slow_step_ms = base_fault_number("SLOW_STEP_MS");
    e->stalled = base_fault_number("STALL_RANK") == 0;
    return e;
}

void engine_bury_dead(engine *e) {
    while (e->dead) {
        engine_request *r = e->dead;
        e->dead = r->next;
        engine_request_free(r);
    }
}

void engine_destroy(engine *e) {
    if (!e)
        return;
    for (uint32_t i = 0; i < e->n_buckets; i++)
        while (e->buckets[i]) {
            engine_request *r = e->buckets[i];
            e->buckets[i] = r->next;
            engine_request_free(r);
        }
    engine_events_free(&e->events);
    engine_blocks_free(&e->blocks);
    engine_prefix_free(&e->prefix);
    base_free(e->running);
    base_free(e->open);
    base_free(e->row_ids);
    base_free(e->plan_seqs);
    base_free(e->planned);
    base_free(e->outputs);
    base_free(e->buckets);
    base_free(e);
}

// ---------------------------------------------------------------------------------------------
// Requests

static engine_request *find_request(const engine *e, uint64_t id) {
    engine_request *r = e->buckets[id & (e->n_buckets - 1)];
    while (r && r->id != id)
        r = r->next;
    return r;
}

bool engine_enqueue(engine *e, engine_request *r) {
    if (find_request(e, r->id))
        return false;
    engine_request **bucket = &e->buckets[r->id & (e->n_buckets - 1)];
    r->next = *bucket;
    *bucket = r;
    r->arrival = e->n_arrivals++;
    if (e->n_live == 0)
        e->stats.last_progress_ns = base_now_ns();
    e->n_live += r->n_choices;
    engine_choice_start(e, r, 0);
    return true;
}

engine_submit_status engine_submit(engine *e, uint64_t id, const int32_t *prompt, int n_prompt,
                                   const engine_params *params, base_err *err) {
    if (engine_params_check(&e->limits, prompt, n_prompt, params, err))
        return ENGINE_INVALID;
    if (find_request(e, id)) {
        base_fail(err, BASE_ERR_USAGE, "id: %llu is in use", (unsigned long long)id);
        return ENGINE_INVALID;
    }
    if (e->n_live + params->n > e->limits.capacity) {
        base_fail(err, BASE_ERR_RESOURCE, "the queue is full");
        return ENGINE_BUSY;
    }
    engine_request *r = engine_request_create(&e->limits, id, prompt, n_prompt, params);
    if (!r) {
        base_fail(err, BASE_ERR_RESOURCE, "out of memory for the request");
        return ENGINE_BUSY;
    }
    engine_enqueue(e, r);
    return ENGINE_ACCEPTED;
}

void engine_abort(engine *e, uint64_t id) {
    engine_request *r = find_request(e, id);
    if (!r)
        return;
    engine_request_finish(e, r, ENGINE_FINISH_ABORT, NULL);
    engine_bury_dead(e);
}

// ---------------------------------------------------------------------------------------------
// Steps

static void sleep_ms(int64_t ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

// False: a signal came before.
static bool sleep_until(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == 0;
}

engine_outcome engine_try_step(engine *e) {
    if (e->n_live == 0)
        return ENGINE_IDLE;
    while (e->stalled)
        pause();
    do // after a preemption nobody was admitted, but each time fewer run
        engine_plan_build(e);
    while (e->plan.n_rows == 0 && e->preempted);
    if (e->plan.n_rows == 0 && e->due_ns == INT64_MAX)
        engine_bug("there are requests, but none of them can go on");
    if (e->plan.n_rows == 0)
        return ENGINE_HELD;
    if (e->slow_step_ms > 0)
        sleep_ms(e->slow_step_ms);
    backend_result result;
    backend_submit(e->backend, &e->plan);
    backend_wait(e->backend, &result);
    engine_plan_handle(e, &result);
    e->stats.last_progress_ns = base_now_ns();
    return ENGINE_STEPPED;
}

bool engine_step(engine *e) {
    engine_outcome outcome;
    while ((outcome = engine_try_step(e)) == ENGINE_HELD)
        if (!sleep_until(e->due_ns))
            return true;
    return outcome == ENGINE_STEPPED;
}

bool engine_next_event(engine *e, engine_event *out) {
    return engine_events_pop(&e->events, out);
}

void engine_get_stats(const engine *e, engine_stats *out) {
    *out = e->stats;
    out->running = e->n_running;
    out->waiting = (int)(e->n_live - e->n_running);
    out->blocks_total = e->blocks.n_blocks;
    out->blocks_free = e->blocks.n_free;
}
