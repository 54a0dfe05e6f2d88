#include "base/progress.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REDRAW_S 0.1

struct base_progress {
    char title[128];
    uint64_t total;
    double started;
    bool terminal;
    _Atomic uint64_t done;
    pthread_mutex_t lock; // guards what follows, and the drawing
    double drawn;
    int tenths;
};

base_progress *base_progress_start(const char *title, uint64_t total_bytes) {
    base_progress *p = base_calloc(1, sizeof *p);
    snprintf(p->title, sizeof p->title, "%s", title);
    base_text_clean(p->title);
    p->total = total_bytes;
    p->started = base_now_s();
    p->terminal = isatty(STDERR_FILENO) == 1;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

double base_progress_seconds(const base_progress *p) {
    return base_now_s() - p->started;
}

static void describe(const base_progress *p, uint64_t done, char *out, size_t size) {
    double seconds = base_progress_seconds(p), gigabytes = (double)done * 1e-9;
    double rate = seconds > 0 ? gigabytes / seconds : 0;
    double percent = p->total > 0 ? 100.0 * (double)done / (double)p->total : 100.0;
    int n = snprintf(out, size, "%s: %3.0f %% of %.2f GB, %.2f GB/s", p->title, percent,
                     (double)p->total * 1e-9, rate);
    if (n < 0 || (size_t)n >= size)
        return;
    if (done >= p->total)
        snprintf(out + n, size - (size_t)n, ", took %.1f s", seconds);
    else if (rate > 0)
        snprintf(out + n, size - (size_t)n, ", ETA %.0f s",
                 (double)(p->total - done) * 1e-9 / rate);
}

static void draw(base_progress *p, uint64_t done, const char *end) {
    char text[256], line[300];
    describe(p, done, text, sizeof text);
    int len = snprintf(line, sizeof line, "\r%s\033[K%s", text, end);
    // Progress that cannot be shown is no reason to stop the work.
    ssize_t written = write(STDERR_FILENO, line, (size_t)len);
    (void)written;
    p->drawn = base_now_s();
}

static void log_tenth(base_progress *p, uint64_t done) {
    int tenths = p->total > 0 ? (int)((double)done / (double)p->total * 10.0) : 10;
    if (tenths <= p->tenths || tenths >= 10) // the last line is base_progress_end's
        return;
    p->tenths = tenths;
    char text[256];
    describe(p, done, text, sizeof text);
    base_info("%s", text);
}

void base_progress_add(base_progress *p, uint64_t bytes) {
    if (p == NULL)
        return;
    atomic_fetch_add_explicit(&p->done, bytes, memory_order_relaxed);
    // Readers never wait for one another's drawing.
    if (pthread_mutex_trylock(&p->lock) != 0)
        return;
    uint64_t done = atomic_load_explicit(&p->done, memory_order_relaxed);
    if (!p->terminal)
        log_tenth(p, done);
    else if (base_now_s() - p->drawn >= REDRAW_S)
        draw(p, done, "");
    pthread_mutex_unlock(&p->lock);
}

void base_progress_end(base_progress *p) {
    if (p == NULL)
        return;
    uint64_t done = atomic_load_explicit(&p->done, memory_order_relaxed);
    char text[256];
    describe(p, done, text, sizeof text);
    if (p->terminal)
        draw(p, done, "\n");
    else
        base_info("%s", text);
    pthread_mutex_destroy(&p->lock);
    base_free(p);
}
