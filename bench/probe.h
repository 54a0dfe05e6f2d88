// What the machine can do, measured beside what is benchmarked: DRAM reading, float32 FMA and INT8
// dot-product rates. The best of several tries counts: on a shared machine the others only slow
// down.
//
//     double probe_read_gbs(int threads);      GB/s (1e9), a sum over memory far beyond the caches
//     double probe_fma_gflops(int threads);    GFLOP/s, two per multiply-add
//     double probe_int8_gops(int threads);     GOP/s of vpdpbusd, two per multiply-add; 0 without
//     double probe_fma_avx2_gflops(int threads), probe_int8_avx2_gops(int threads);
//                                              with 256 bits, INT8 by vpmaddubsw and vpaddw; 0
//                                              without
//
// Header only, so that each bench stays one source file. Vectors are as wide as the CPU has them,
// by target attributes: the file itself needs no flags.
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifdef __clang__
#define PROBE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PROBE_UNROLL _Pragma("GCC unroll 16")
#endif
#define PROBE_UNUSED __attribute__((unused))
#define PROBE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), unused))

enum { PROBE_TRIES = 48, PROBE_CHAINS = 12, PROBE_MAX_THREADS = 256 };
// Every try reads the next slice of a thread's share, so that no slice is still in a cache.
#define PROBE_SHARE_BYTES ((size_t)256 << 20)
#define PROBE_SLICE_BYTES ((size_t)16 << 20)

typedef struct probe_job {
    const uint8_t *memory; // a thread's share
    size_t slice;          // in it, advances with each try
    long rounds;
    pthread_barrier_t *start;
    double began, ended;
    uint64_t result; // so that the work is not optimised away
    void (*work)(struct probe_job *job);
} probe_job;

PROBE_UNUSED static double probe_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

PROBE_UNUSED static int probe_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

PROBE_UNUSED static void *probe_thread(void *argument) {
    probe_job *job = argument;
    pthread_barrier_wait(job->start);
    job->began = probe_now();
    job->work(job);
    job->ended = probe_now();
    return NULL;
}

// Runs the jobs side by side; seconds from the first beginning to the last end, best of all tries.
PROBE_UNUSED static double probe_run(probe_job *jobs, int threads) {
    double best = 1e30;
    for (int attempt = 0; attempt < PROBE_TRIES; attempt++) {
        pthread_t ids[PROBE_MAX_THREADS];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, (unsigned)threads);
        for (int i = 0; i < threads; i++) {
            jobs[i].start = &start;
            if (i && pthread_create(&ids[i], NULL, probe_thread, &jobs[i])) {
                fprintf(stderr, "probe: cannot start %d threads\n", threads);
                exit(1);
            }
        }
        probe_thread(&jobs[0]);
        double began = jobs[0].began, ended = jobs[0].ended;
        for (int i = 1; i < threads; i++) {
            pthread_join(ids[i], NULL);
            began = jobs[i].began < began ? jobs[i].began : began;
            ended = jobs[i].ended > ended ? jobs[i].ended : ended;
        }
        pthread_barrier_destroy(&start);
        best = ended - began < best ? ended - began : best;
    }
    return best;
}

PROBE_UNUSED static int probe_threads(int threads) {
    return threads < 1 ? 1 : threads > PROBE_MAX_THREADS ? PROBE_MAX_THREADS : threads;
}

PROBE_UNUSED static const uint8_t *probe_slice(probe_job *job) {
    size_t slices = PROBE_SHARE_BYTES / PROBE_SLICE_BYTES;
    return job->memory + job->slice++ % slices * PROBE_SLICE_BYTES;
}

PROBE_AVX512 static void probe_read_avx512(probe_job *job) {
    // Four streams far apart: one stream alone stops its prefetcher at each page end.
    const uint8_t *memory = probe_slice(job);
    const size_t part = PROBE_SLICE_BYTES / 4;
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                      _mm512_setzero_si512()};
    for (size_t at = 0; at < part; at += 64) {
        PROBE_UNROLL
        for (size_t s = 0; s < 4; s++) {
            const uint8_t *from = memory + s * part + at;
            _mm_prefetch((const char *)from + 2048, _MM_HINT_T0);
            sum[s] = _mm512_add_epi64(sum[s], _mm512_load_si512(from));
        }
    }
    sum[0] = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
    job->result = (uint64_t)_mm512_reduce_add_epi64(sum[0]);
}

PROBE_UNUSED static void probe_read_plain(probe_job *job) {
    const uint64_t *words = (const uint64_t *)(const void *)probe_slice(job);
    uint64_t sum[4] = {0};
    for (size_t i = 0; i < PROBE_SLICE_BYTES / 8; i += 4)
        for (size_t s = 0; s < 4; s++)
            sum[s] += words[i + s];
    job->result = sum[0] + sum[1] + sum[2] + sum[3];
}

PROBE_UNUSED static double probe_read_gbs(int threads) {
    threads = probe_threads(threads);
    size_t bytes = PROBE_SHARE_BYTES * (size_t)threads;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("probe: mmap");
        exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    probe_job jobs[PROBE_MAX_THREADS];
    for (int i = 0; i < threads; i++)
        jobs[i] = (probe_job){.memory = memory + (size_t)i * PROBE_SHARE_BYTES,
                              .work = probe_has_avx512() ? probe_read_avx512 : probe_read_plain};
    double seconds = probe_run(jobs, threads);
    munmap(memory, bytes);
    return (double)PROBE_SLICE_BYTES * threads / seconds * 1e-9;
}

// Chains enough to hide the latency of two units; the factor keeps the values in range. In
// assembly, because compilers copy registers around the intrinsics or do without some of them.
PROBE_AVX512 static void probe_fma_avx512(probe_job *job) {
    __m512 acc[PROBE_CHAINS], factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
    PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < job->rounds; r++)
        PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm512_fmadd_ps(acc[i], factor, term);
    PROBE_UNROLL
    for (int i = 1; i < PROBE_CHAINS; i++)
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    job->result = (uint64_t)_mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"), unused)) static void probe_fma_avx2(probe_job *job) {
    __m256 acc[PROBE_CHAINS], factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
    PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (long r = 0; r < job->rounds; r++)
        PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm256_fmadd_ps(acc[i], factor, term);
    PROBE_UNROLL
    for (int i = 1; i < PROBE_CHAINS; i++)
        acc[0] = _mm256_add_ps(acc[0], acc[i]);
    job->result = (uint64_t)_mm256_cvtss_f32(acc[0]);
}

PROBE_AVX512 static void probe_int8_avx512(probe_job *job) {
    __m512i acc[PROBE_CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(1);
    PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm512_set1_epi32(i);
    for (long r = 0; r < job->rounds; r++)
        PROBE_UNROLL
    for (int i = 0; i < PROBE_CHAINS; i++)
        // The intrinsic makes gcc copy registers.
        __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[i]) : "v"(a), "v"(b));
    PROBE_UNROLL
    for (int i = 1; i < PROBE_CHAINS; i++)
        acc[0] = _mm512_add_epi32(acc[0], acc[i]);
    job->result = (uint64_t)_mm512_reduce_add_epi32(acc[0]);
}

__attribute__((target("avx2"), unused)) static void probe_int8_avx2(probe_job *job) {
    __m256i acc[PROBE_CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(1), pairs;
#pragma GCC unroll 16
    for (int i = 0; i < PROBE_CHAINS; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (long r = 0; r < job->rounds; r++)
#pragma GCC unroll 16
        for (int i = 0; i < PROBE_CHAINS; i++)
            __asm__ volatile("vpmaddubsw %2, %3, %1\n\tvpaddw %1, %0, %0"
                             : "+x"(acc[i]), "=&x"(pairs)
                             : "x"(a), "x"(b));
#pragma GCC unroll 16
    for (int i = 1; i < PROBE_CHAINS; i++)
        acc[0] = _mm256_add_epi16(acc[0], acc[i]);
    job->result = (uint64_t)_mm256_extract_epi64(acc[0], 0);
}

// Operations per second of `work`, which does `operations` in a round.
PROBE_UNUSED static double probe_rate(int threads, void (*work)(probe_job *), double operations) {
    threads = probe_threads(threads);
    const long rounds = 300000;
    probe_job jobs[PROBE_MAX_THREADS];
    for (int i = 0; i < threads; i++)
        jobs[i] = (probe_job){.rounds = rounds, .work = work};
    return operations * (double)rounds * threads / probe_run(jobs, threads);
}

PROBE_UNUSED static double probe_fma_avx2_gflops(int threads) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    return probe_rate(threads, probe_fma_avx2, PROBE_CHAINS * 8 * 2) * 1e-9;
}

PROBE_UNUSED static double probe_int8_avx2_gops(int threads) {
    if (!__builtin_cpu_supports("avx2"))
        return 0;
    return probe_rate(threads, probe_int8_avx2, PROBE_CHAINS * 32 * 2) * 1e-9;
}

PROBE_UNUSED static double probe_fma_gflops(int threads) {
    if (probe_has_avx512())
        return probe_rate(threads, probe_fma_avx512, PROBE_CHAINS * 16 * 2) * 1e-9;
    return probe_fma_avx2_gflops(threads);
}

PROBE_UNUSED static double probe_int8_gops(int threads) {
    if (!probe_has_avx512())
        return 0;
    return probe_rate(threads, probe_int8_avx512, PROBE_CHAINS * 64 * 2) * 1e-9;
}

#endif
