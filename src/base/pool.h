// A thread pool for the inside of a step: workers spin between the parallel regions of a step and
// sleep between steps. The calling thread is worker 0. One caller at a time.
#ifndef BASE_POOL_H
#define BASE_POOL_H

typedef struct base_pool base_pool;

// The cores this process may run on (its affinity mask).
int base_cpu_count(void);

// `threads` >= 1 counts the caller. Workers spin only while there are no more of them than cores.
// NULL, with errno set, when the system refuses a thread.
base_pool *base_pool_create(int threads);
void base_pool_destroy(base_pool *pool); // NULL is fine
int base_pool_threads(const base_pool *pool);

// Wakes the workers and keeps them spinning until base_pool_rest. Optional, only about speed.
void base_pool_wake(base_pool *pool);
void base_pool_rest(base_pool *pool);

// Calls fn(arg, item, worker) once for each item in [0, items), items handed out in ascending order
// to whichever worker is free, and returns when all are done. What fn computes for an item must not
// depend on `worker`; that number, in [0, threads), is only for scratch memory.
void base_pool_run(base_pool *pool, int items, void (*fn)(void *arg, int item, int worker),
                   void *arg);

#endif
