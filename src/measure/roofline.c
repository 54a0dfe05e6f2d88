// How fast memory can be read, with the widest vectors the CPU has.
#include "measure/offline.h"
#include <string.h>

// Each try reads the next slice of a thread's share, so that none is still in a cache. With many
// threads the shares are smaller: together they are beyond any cache all the same.
enum { TRIES = 48, STREAMS = 4 };
#define SHARE_BYTES ((size_t)256 << 20)
#define ALL_BYTES ((size_t)4 << 30)
#define SLICE_BYTES ((size_t)16 << 20)

typedef struct reading {
    char *memory;
    size_t share;
    int attempt;
    uint64_t sum; // so that the reads are not optimised away
} reading;

// Four streams far apart: one alone stops its prefetcher at each page's end.
#define READ_SLICE(NAME, WORD, TARGET)                                                             \
    TARGET static uint64_t NAME(const char *slice) {                                               \
        const size_t part = SLICE_BYTES / STREAMS;                                                 \
        WORD sums[STREAMS] = {0};                                                                  \
        for (size_t at = 0; at < part; at += sizeof(WORD)) {                                       \
            for (size_t s = 0; s < STREAMS; s++) {                                                 \
                const char *from = slice + s * part + at;                                          \
                __builtin_prefetch(from + 2048);                                                   \
                sums[s] += *(const WORD *)(const void *)from;                                      \
            }                                                                                      \
        }                                                                                          \
        WORD sum = sums[0] + sums[1] + (sums[2] + sums[3]);                                        \
        uint64_t first;                                                                            \
        memcpy(&first, &sum, sizeof first);                                                        \
        return first;                                                                              \
    }

typedef uint64_t plain_word __attribute__((vector_size(16), may_alias));
READ_SLICE(read_plain, plain_word, )

#if defined(__x86_64__)
typedef uint64_t avx2_word __attribute__((vector_size(32), may_alias));
typedef uint64_t avx512_word __attribute__((vector_size(64), may_alias));
READ_SLICE(read_avx2, avx2_word, __attribute__((target("avx2"))))
READ_SLICE(read_avx512, avx512_word, __attribute__((target("avx512f"))))
#endif

static uint64_t read_slice(const char *slice) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return read_avx512(slice);
    if (__builtin_cpu_supports("avx2"))
        return read_avx2(slice);
#endif
    return read_plain(slice);
}

static void touch_share(void *arg, int item, int worker) {
    (void)worker;
    const reading *r = arg;
    memset(r->memory + (size_t)item * r->share, 1, r->share);
}

static void read_share(void *arg, int item, int worker) {
    (void)worker;
    reading *r = arg;
    const size_t slice = (size_t)r->attempt % (r->share / SLICE_BYTES);
    const uint64_t sum = read_slice(r->memory + (size_t)item * r->share + slice * SLICE_BYTES);
    __atomic_store_n(&r->sum, sum, __ATOMIC_RELAXED);
}

double measure_read_gbs(int threads) {
    size_t share = ALL_BYTES / (size_t)threads / SLICE_BYTES * SLICE_BYTES;
    share = share > SHARE_BYTES ? SHARE_BYTES : share < SLICE_BYTES ? SLICE_BYTES : share;
    reading r = {.memory = base_big_alloc((size_t)threads * share), .share = share};
    base_pool *pool = r.memory != NULL ? base_pool_create(threads) : NULL;
    double best = 0;
    if (pool != NULL) {
        base_pool_run(pool, threads, touch_share, &r);
        base_pool_wake(pool);
        for (; r.attempt < TRIES; r.attempt++) {
            const double start = base_now_s();
            base_pool_run(pool, threads, read_share, &r);
            const double gbs =
                (double)threads * (double)SLICE_BYTES * 1e-9 / (base_now_s() - start);
            best = gbs > best ? gbs : best;
        }
        base_pool_rest(pool);
        base_pool_destroy(pool);
    }
    base_big_free(r.memory, (size_t)threads * share);
    return best;
}
