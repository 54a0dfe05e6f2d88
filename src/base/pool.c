#include "base/pool.h"

#include "base/mem.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#else
#define cpu_relax() atomic_signal_fence(memory_order_seq_cst)
#endif

// After so many turns (2 to 10 microseconds) a spinning thread also offers its core to others:
// several pools, or another program, may want it although this pool alone has no more threads than
// there are cores.
#define SPINS_BEFORE_YIELD 200

#define AWAKE 1u // bit 0 of `state`: keep spinning
#define STEP 2u  // the rest of `state` counts the regions started

typedef struct pool_worker {
    base_pool *pool;
    int number;
    pthread_t thread;
} pool_worker;

struct base_pool {
    int threads;
    bool may_spin;
    bool stop; // written before a new region is announced, as are the next three
    void (*fn)(void *arg, int item, int worker);
    void *arg;
    int items;
    pool_worker *workers;               // [threads], the first unused
    alignas(64) _Atomic uint32_t state; // futex: idle workers wait for it to change
    alignas(64) _Atomic int next;       // the next item to hand out
    alignas(64) _Atomic uint32_t busy;  // futex: workers that have not finished this region
};

int base_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    // More than 1024 CPUs do not fit a cpu_set_t.
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void spin(int *turns) {
    if (++*turns < SPINS_BEFORE_YIELD)
        cpu_relax();
    else
        sched_yield();
}

static void take_items(base_pool *pool, int worker) {
    for (;;) {
        int item = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (item >= pool->items)
            return;
        pool->fn(pool->arg, item, worker);
    }
}

// Returns when `state` has counted on from `seen`. The acquire makes fn, arg and items visible.
static uint32_t await_region(base_pool *pool, uint32_t seen) {
    for (int turns = 0;;) {
        uint32_t state = atomic_load_explicit(&pool->state, memory_order_acquire);
        if ((state & ~AWAKE) != (seen & ~AWAKE))
            return state;
        if (state & AWAKE) {
            spin(&turns);
        } else {
            futex_wait(&pool->state, state);
            turns = 0;
        }
    }
}

static void *worker_main(void *arg) {
    pool_worker *self = arg;
    base_pool *pool = self->pool;
    for (uint32_t seen = 0;;) {
        seen = await_region(pool, seen);
        if (pool->stop)
            return NULL;
        take_items(pool, self->number);
        // Release: what the items wrote is visible to whoever sees the count reach 0.
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1 && !pool->may_spin)
            futex_wake(&pool->busy);
    }
}

// Starts a region; `seen` of every worker is one behind, because each has checked out of the last.
static void announce(base_pool *pool) {
    uint32_t before = atomic_fetch_add_explicit(&pool->state, STEP, memory_order_acq_rel);
    if (!(before & AWAKE))
        futex_wake(&pool->state);
}

static void stop_workers(base_pool *pool, int started) {
    pool->stop = true;
    announce(pool);
    for (int i = 1; i < started; i++)
        pthread_join(pool->workers[i].thread, NULL);
}

static void pool_free(base_pool *pool) {
    base_free(pool->workers);
    free(pool);
}

base_pool *base_pool_create(int threads) {
    base_pool *pool = aligned_alloc(alignof(base_pool), sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (base_pool){.threads = threads, .may_spin = threads <= base_cpu_count()};
    pool->workers = base_calloc((size_t)threads, sizeof *pool->workers);

    // Signals belong to the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = 0, started = 1;
    for (; started < threads && failed == 0; started += failed == 0) {
        pool_worker *w = &pool->workers[started];
        *w = (pool_worker){.pool = pool, .number = started};
        failed = pthread_create(&w->thread, NULL, worker_main, w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        stop_workers(pool, started);
        pool_free(pool);
        errno = failed;
        return NULL;
    }
    return pool;
}

void base_pool_destroy(base_pool *pool) {
    if (pool == NULL)
        return;
    stop_workers(pool, pool->threads);
    pool_free(pool);
}

int base_pool_threads(const base_pool *pool) {
    return pool->threads;
}

void base_pool_wake(base_pool *pool) {
    if (!pool->may_spin || pool->threads == 1)
        return;
    uint32_t before = atomic_fetch_or_explicit(&pool->state, AWAKE, memory_order_acq_rel);
    if (!(before & AWAKE))
        futex_wake(&pool->state);
}

void base_pool_rest(base_pool *pool) {
    atomic_fetch_and_explicit(&pool->state, ~AWAKE, memory_order_acq_rel);
}

void base_pool_run(base_pool *pool, int items, void (*fn)(void *arg, int item, int worker),
                   void *arg) {
    if (pool->threads == 1 || items <= 1) {
        for (int i = 0; i < items; i++)
            fn(arg, i, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->items = items;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, (uint32_t)pool->threads - 1, memory_order_relaxed);
    announce(pool);
    take_items(pool, 0);
    int turns = 0;
    uint32_t busy;
    while ((busy = atomic_load_explicit(&pool->busy, memory_order_acquire)) != 0) {
        if (pool->may_spin)
            spin(&turns);
        else
            futex_wait(&pool->busy, busy);
    }
}
