// What the server knows of the work in hand, and the thread that watches it: it ends the process
// when the engine is stuck or computes only NaN, and writes the throughput line. While there is no
// work it sleeps without a timeout, so that an idle server uses no CPU.
#include "api/server.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    NAN_ROW = 8, // requests the NaN guard ended with none well in between: it is not the requests
    MAX_RETRY_S = 60,
    LATER_S = 10, // Retry-After of a server that shuts down or is in trouble
};

static const int64_t second_ns = 1000000000;

// ---------------------------------------------------------------------------------------------
// Counting

void api_watch_request(api_server *s, int change) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    w->n_requests += change;
    if (w->n_requests == 0)
        pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->lock);
}

int api_watch_requests(api_server *s) {
    pthread_mutex_lock(&s->watch.lock);
    int n = s->watch.n_requests;
    pthread_mutex_unlock(&s->watch.lock);
    return n;
}

void api_watch_submit(api_server *s, int n_choices) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    if (w->n_choices == 0) {
        w->busy_since_ns = base_now_ns();
        pthread_cond_signal(&w->changed);
    }
    w->n_choices += n_choices;
    pthread_mutex_unlock(&w->lock);
}

void api_watch_refused(api_server *s, int n_choices) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    w->n_choices -= n_choices;
    if (w->n_choices == 0)
        pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->lock);
}

void api_watch_finish(api_server *s, int n_choices, bool well, const engine_stats *stats,
                      int64_t now) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    w->n_choices -= n_choices;
    if (w->n_choices == 0)
        pthread_cond_broadcast(&w->idle);
    w->nan_row = well ? 0 : w->nan_row + (int)(stats->nan_guard - w->nan_seen);
    w->nan_seen = stats->nan_guard;
    int64_t since = w->last_finish_ns > w->busy_since_ns ? w->last_finish_ns : w->busy_since_ns;
    double each = (double)(now - since) / n_choices;
    w->finish_every_ns = w->finish_every_ns > 0 ? 0.9 * w->finish_every_ns + 0.1 * each : each;
    w->last_finish_ns = now;
    if (w->nan_row >= NAN_ROW)
        pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

int api_watch_retry_after(api_server *s, int n_choices) {
    pthread_mutex_lock(&s->watch.lock);
    double seconds = ceil(n_choices * s->watch.finish_every_ns / (double)second_ns);
    pthread_mutex_unlock(&s->watch.lock);
    return seconds < 1 ? 1 : seconds > MAX_RETRY_S ? MAX_RETRY_S : (int)seconds;
}

// ---------------------------------------------------------------------------------------------
// Judging

// How long there has been work and no progress.
static int64_t stuck_ns(api_server *s) {
    engine_stats stats;
    engine_thread_get_stats(s->engine, &stats);
    int64_t now = base_now_ns();
    return stats.running + stats.waiting > 0 && stats.last_progress_ns < now
               ? now - stats.last_progress_ns
               : 0;
}

static bool only_nan(api_server *s) {
    pthread_mutex_lock(&s->watch.lock);
    bool yes = s->watch.nan_row >= NAN_ROW;
    pthread_mutex_unlock(&s->watch.lock);
    return yes;
}

static bool longer_than(int64_t ns, double seconds) {
    return seconds > 0 && (double)ns > seconds * (double)second_ns;
}

const char *api_watch_trouble(api_server *s) {
    if (only_nan(s))
        return "The model computes only logits that are not finite.";
    if (longer_than(stuck_ns(s), s->options.stall_s))
        return "The engine makes no progress.";
    return NULL;
}

static int fail_later(api_error *error, const char *why) {
    api_fail(error, 503, "", "%s", why);
    error->retry_after_s = LATER_S;
    return error->status;
}

int api_check_open(const api_server *s, api_error *error) {
    return atomic_load(&s->draining) ? fail_later(error, "The server is shutting down.") : 0;
}

int api_check_ready(api_server *s, api_error *error) {
    if (api_check_open(s, error))
        return error->status;
    const char *trouble = api_watch_trouble(s);
    return trouble ? fail_later(error, trouble) : 0;
}

// The engine's thread hangs, perhaps with locks held: nothing can be ended in order any more.
static _Noreturn void quit(const char *why) {
    base_error("%s; the process ends with %d", why, BASE_ERR_RANK);
    _exit(BASE_ERR_RANK);
}

// ---------------------------------------------------------------------------------------------
// The thread

static int64_t tick_ns(const api_options *o) {
    double tick = (double)second_ns;
    if (o->watchdog_s > 0)
        tick = fmin(tick, o->watchdog_s * (double)second_ns / 4);
    return (int64_t)fmax(tick, 1e7);
}

static void wait_until(api_watch *w, int64_t ns) {
    struct timespec at = {.tv_sec = ns / second_ns, .tv_nsec = ns % second_ns};
    pthread_cond_timedwait(&w->changed, &w->lock, &at);
}

// With the lock held. Returns false when the server stops.
static bool wait_for_work(api_watch *w) {
    while (!w->stop && w->n_choices == 0 && w->nan_row < NAN_ROW)
        pthread_cond_wait(&w->changed, &w->lock);
    return !w->stop;
}

// One time of work, from its beginning until the last line about it has been written. With the
// lock held; it is released while something is looked at.
static void watch_work(api_server *s, api_interval *interval) {
    api_watch *w = &s->watch;
    const api_options *o = &s->options;
    bool lines = o->log_stats && o->stats_interval_s > 0, dying = false;
    int64_t tick = tick_ns(o), line_ns = lines ? (int64_t)(o->stats_interval_s * 1e9) : INT64_MAX;
    interval->begin_ns = base_now_ns();
    interval->was_idle = false;
    bool more = lines;
    while (!w->stop && (more || w->n_choices > 0 || w->nan_row >= NAN_ROW)) {
        int64_t now = base_now_ns(), left = line_ns - (now - interval->begin_ns);
        wait_until(w, now + (left < tick ? left : tick));
        pthread_mutex_unlock(&w->lock);
        now = base_now_ns();
        if (longer_than(stuck_ns(s), o->watchdog_s))
            quit("The engine has made no progress for too long");
        if (dying)
            quit("The model computed only logits that are not finite");
        // Those who wait are told first.
        dying = o->watchdog_s > 0 && only_nan(s);
        if (now - interval->begin_ns >= line_ns)
            more = api_stats_line(s, interval, now);
        pthread_mutex_lock(&w->lock);
    }
}

static void *watch(void *arg) {
    api_server *s = arg;
    api_interval interval = {0};
    pthread_mutex_lock(&s->watch.lock);
    while (wait_for_work(&s->watch))
        watch_work(s, &interval);
    pthread_mutex_unlock(&s->watch.lock);
    return NULL;
}

int api_watch_start(api_server *s, base_err *err) {
    api_watch *w = &s->watch;
    int failed = pthread_create(&w->thread, NULL, watch, s);
    if (failed)
        return base_fail(err, BASE_ERR_RESOURCE, "api: no watching thread: %s", strerror(failed));
    w->running = true;
    return 0;
}

void api_watch_stop(api_server *s) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        pthread_join(w->thread, NULL);
    w->running = false;
}

void api_watch_wait_engine(api_server *s) {
    api_watch *w = &s->watch;
    pthread_mutex_lock(&w->lock);
    while (w->n_choices > 0)
        pthread_cond_wait(&w->idle, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void api_watch_wait_idle(api_server *s, int64_t timeout_ms) {
    api_watch *w = &s->watch;
    int64_t until = base_now_ns() + timeout_ms * 1000000;
    struct timespec at = {.tv_sec = until / second_ns, .tv_nsec = until % second_ns};
    pthread_mutex_lock(&w->lock);
    while (w->n_requests > 0 && pthread_cond_timedwait(&w->idle, &w->lock, &at) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&w->lock);
}

void api_watch_init(api_watch *w) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_cond_init(&w->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void api_watch_destroy(api_watch *w) {
    pthread_cond_destroy(&w->idle);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}
