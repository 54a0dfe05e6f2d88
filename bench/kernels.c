// The CPU kernels beside the machine's peaks, measured in the same run: GB/s, GFLOP/s or GOP/s and
// their share of DRAM reading, float32 FMA or INT8 dot products (vpdpbusd; for the level avx2
// vpmaddubsw and an addition, and 256 bits for both). Shapes are Kimi K2's.
//
//     bench/kernels [LEVEL [SECONDS]]     LEVEL as in ABRUZZI_CPU, default the best; SECONDS a case
//
// One thread, on its own CPU clock, so that other processes count only by the memory bandwidth and
// cache they take; a case counts by the time a tenth of its tries stay below. Weights walk through
// memory larger than the caches, as a layer's weights do, so m = 1 reads from DRAM.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "base/mem.h"
#include "probe.h"

static const cpu_kernels *level;
static double seconds_per_case = 0.4;
static double peak_read, peak_fma, peak_int8;

static uint64_t random_state = 1;

static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static void *big(size_t bytes) {
    void *memory = base_big_alloc(bytes);
    if (!memory) {
        fprintf(stderr, "bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return memory;
}

static float *big_floats(size_t n) {
    float *values = big(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)random_bits() * 0x1p-31f - 1.0f;
    return values;
}

static double thread_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The time of fn(arg, round) that a tenth of the tries over seconds_per_case stay below: the best
// ones, but not the clock's own slips. The clock is read every millisecond or less often.
static double good_time(void (*fn)(void *arg, int round), void *arg) {
    enum { MAX_TRIES = 1000 };
    double times[MAX_TRIES], start = thread_now();
    int repeats = 1, round = 0, tries = 0;
    while (tries < MAX_TRIES && (tries < 3 || thread_now() - start < seconds_per_case)) {
        double before = thread_now();
        for (int i = 0; i < repeats; i++)
            fn(arg, round++);
        double took = thread_now() - before;
        if (took < 1e-3)
            repeats *= 2;
        else
            times[tries++] = took / repeats;
    }
    qsort(times, (size_t)tries, sizeof *times, compare_doubles);
    return times[tries / 10];
}

static void report(const char *what, double seconds, double bytes, double operations,
                   double peak_operations) {
    double gbs = bytes / seconds * 1e-9, gops = operations / seconds * 1e-9;
    printf("%-34s %10.1f us %7.2f GB/s %4.0f %%", what, seconds * 1e6, gbs, 100 * gbs / peak_read);
    if (operations > 0)
        printf(" %8.1f Gop/s %4.0f %%", gops, 100 * gops / peak_operations);
    printf("\n");
    fflush(stdout);
}

typedef struct gemm_case {
    int kernel; // 0 bf16, 1 int4 f32, 2 int4 int8
    int m, rows, cols, panels_per_item, copies;
    float *y, *x;
    cpu_int8_rows quantized;
    uint16_t *panels, *scales;
    uint8_t *codes;
} gemm_case;

// One whole matrix in work items of a few panels, as the backend hands them out.
static void gemm_round(void *arg, int round) {
    gemm_case *c = arg;
    size_t panels = (size_t)c->rows / CPU_LANES, base = (size_t)(round % c->copies) * panels;
    size_t stride = cpu_bf16_panel_elems(c->cols), codes_stride = cpu_int4_panel_bytes(c->cols);
    size_t scales_stride = cpu_int4_panel_scales(c->cols), ldy = (size_t)c->rows;
    for (size_t p = 0; p < panels; p += (size_t)c->panels_per_item) {
        int width = (int)(panels - p);
        if (width > c->panels_per_item)
            width = c->panels_per_item;
        float *y = c->y + p * CPU_LANES;
        size_t at = base + p;
        if (c->kernel == 0)
            level->gemm_bf16(y, ldy, c->x, (size_t)c->cols, c->m, c->panels + at * stride, stride,
                             width, 0, c->cols, 0);
        else if (c->kernel == 1)
            level->gemm_int4_f32(y, ldy, c->x, (size_t)c->cols, c->m, c->codes + at * codes_stride,
                                 codes_stride, c->scales + at * scales_stride, scales_stride, width,
                                 0, c->cols, 0);
        else
            level->gemm_int4_int8(y, ldy, &c->quantized, c->m, c->codes + at * codes_stride,
                                  codes_stride, c->scales + at * scales_stride, scales_stride,
                                  width, 0, c->cols, 0);
    }
}

static void gemm_weights(gemm_case *c, size_t *bytes) {
    size_t panels = (size_t)c->rows / CPU_LANES * (size_t)c->copies;
    if (c->kernel == 0) {
        size_t n = panels * cpu_bf16_panel_elems(c->cols);
        c->panels = big(*bytes = n * sizeof *c->panels);
        for (size_t i = 0; i < n; i++)
            c->panels[i] = (uint16_t)(0x3c00u | (random_bits() & 0x83ffu));
        return;
    }
    size_t n = panels * cpu_int4_panel_bytes(c->cols);
    size_t scales = panels * cpu_int4_panel_scales(c->cols);
    c->codes = big(n);
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t word = random_bits();
        memcpy(c->codes + i, &word, sizeof word);
    }
    c->scales = big(scales * sizeof *c->scales);
    for (size_t i = 0; i < scales; i++)
        c->scales[i] = (uint16_t)(0x3c00u | (random_bits() & 0xffu));
    *bytes = n + scales * sizeof *c->scales;
}

static void gemm_activations(gemm_case *c) {
    size_t m = (size_t)c->m, cols = (size_t)c->cols, groups = cols / CPU_GROUP;
    c->x = big_floats(m * cols);
    int8_t *codes = big(m * cols);
    float *scales = big(m * groups * sizeof *scales);
    int32_t *sums8 = big(m * groups * sizeof *sums8);
    for (size_t r = 0; r < m; r++)
        level->quantize_int8(codes + r * cols, scales + r * groups, sums8 + r * groups,
                             c->x + r * cols, c->cols);
    c->quantized = (cpu_int8_rows){codes, scales, sums8, cols, groups};
}

static void bench_gemm(int kernel, int m, int rows, int cols) {
    static const char *const names[] = {"bf16", "int4_f32", "int4_int8"};
    gemm_case c = {.kernel = kernel, .m = m, .rows = rows, .cols = cols, .panels_per_item = 8};
    size_t one = kernel == 0 ? (size_t)rows * (size_t)cols * 2
                             : (size_t)rows * (size_t)cols / CPU_GROUP * 18;
    c.copies = m >= 64 ? 1 : (int)(((size_t)160 << 20) / one) + 1;
    size_t bytes;
    gemm_weights(&c, &bytes);
    gemm_activations(&c);
    c.y = big_floats((size_t)m * (size_t)rows);
    char name[64];
    snprintf(name, sizeof name, "gemm_%s %dx%d m %d", names[kernel], rows, cols, m);
    report(name, good_time(gemm_round, &c), (double)one, 2.0 * m * rows * cols,
           kernel == 2 ? peak_int8 : peak_fma);
    size_t n = (size_t)m * (size_t)cols, groups = n / CPU_GROUP;
    base_big_free((void *)c.quantized.codes, n);
    base_big_free((void *)c.quantized.scales, groups * sizeof *c.quantized.scales);
    base_big_free((void *)c.quantized.sums8, groups * sizeof *c.quantized.sums8);
    base_big_free(c.x, n * sizeof *c.x);
    base_big_free(c.y, (size_t)m * (size_t)rows * sizeof *c.y);
    size_t scales = kernel ? bytes / 18 * 2 : 0;
    base_big_free(kernel ? (void *)c.codes : (void *)c.panels, bytes - scales);
    if (kernel)
        base_big_free(c.scales, scales);
}

enum { LATENT = 512, ROPE = 64, WIDTH = LATENT + ROPE };

typedef struct attn_case {
    int rows, bf16, tiles;
    float *kt, *v, *m, *l, *acc, *q;
    int *valid;
    const uint8_t *cache; // [tiles * 16][WIDTH] f32 or bf16
} attn_case;

static void attn_tile_round(void *arg, int round) {
    attn_case *c = arg;
    if (round % 64 == 0)
        for (int r = 0; r < c->rows; r++)
            c->m[r] = -INFINITY;
    level->attn_tile(c->m, c->l, c->acc, c->q, WIDTH, c->rows, c->kt, c->v, c->valid, LATENT, ROPE,
                     0.05f);
}

static void attn_load_round(void *arg, int round) {
    attn_case *c = arg;
    const void *keys[16];
    size_t row = (size_t)WIDTH * (c->bf16 ? 2 : 4);
    for (size_t j = 0; j < 16; j++)
        keys[j] = c->cache + ((size_t)(round % c->tiles) * 16 + j) * row;
    (c->bf16 ? level->attn_load_bf16 : level->attn_load_f32)(c->kt, c->v, keys, LATENT, ROPE);
}

static void bench_attention(void) {
    enum { ROWS = 512, TILES = 4096 };
    attn_case c = {.tiles = TILES};
    c.kt = big_floats(WIDTH * CPU_KEYS);
    c.v = big_floats(LATENT * CPU_KEYS);
    c.m = big_floats(ROWS);
    c.l = big_floats(ROWS);
    c.acc = big_floats((size_t)ROWS * LATENT);
    c.q = big_floats((size_t)ROWS * WIDTH);
    c.cache = (const uint8_t *)big_floats((size_t)TILES * CPU_KEYS * WIDTH);
    int valid[ROWS];
    c.valid = valid;
    for (c.bf16 = 0; c.bf16 < 2; c.bf16++)
        report(c.bf16 ? "attn_load_bf16" : "attn_load_f32", good_time(attn_load_round, &c),
               CPU_KEYS * WIDTH * (c.bf16 ? 2.0 : 4.0), 0, 1);
    static const int sizes[] = {1, 8, 64, 512};
    for (int mixed = 0; mixed < 2; mixed++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            c.rows = sizes[i];
            for (int r = 0; r < ROWS; r++)
                valid[r] = mixed ? CPU_KEYS - r % 2 : CPU_KEYS;
            char name[64];
            snprintf(name, sizeof name, "attn_tile rows %d%s", c.rows, mixed ? " mixed valid" : "");
            report(name, good_time(attn_tile_round, &c), 0,
                   2.0 * c.rows * CPU_KEYS * (WIDTH + LATENT), peak_fma);
        }
    base_big_free((void *)c.cache, (size_t)TILES * CPU_KEYS * WIDTH * sizeof(float));
}

typedef struct vector_case {
    float *a, *b, *c;
    int8_t *codes;
    float *scales;
    int32_t *sums8;
    int n;
} vector_case;

static void rmsnorm_round(void *arg, int round) {
    (void)round;
    vector_case *v = arg;
    level->rmsnorm(v->c, v->a, v->b, v->n, 1e-5f);
}
static void silu_round(void *arg, int round) {
    (void)round;
    vector_case *v = arg;
    level->silu_mul(v->c, v->a, v->b, v->n);
}
static void exp_round(void *arg, int round) {
    (void)round;
    vector_case *v = arg;
    level->exp_f32(v->c, v->a, v->n);
}
static void axpy_round(void *arg, int round) {
    (void)round;
    vector_case *v = arg;
    level->axpy(v->c, 1e-9f, v->a, v->n);
}
static void quantize_round(void *arg, int round) {
    (void)round;
    vector_case *v = arg;
    level->quantize_int8(v->codes, v->scales, v->sums8, v->a, v->n);
}

static void bench_vectors(void) {
    enum { N = 7168 };
    vector_case v = {
        big_floats(N), big_floats(N), big_floats(N), big(N), big_floats(N), (int32_t *)big(N), N};
    static const struct {
        const char *name;
        void (*round)(void *, int);
        double bytes;
    } cases[] = {{"rmsnorm 7168 (cached)", rmsnorm_round, 12},
                 {"silu_mul 7168 (cached)", silu_round, 12},
                 {"exp_f32 7168 (cached)", exp_round, 8},
                 {"axpy 7168 (cached)", axpy_round, 12},
                 {"quantize_int8 7168 (cached)", quantize_round, 5.25}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        report(cases[i].name, good_time(cases[i].round, &v), cases[i].bytes * N, 0, 1);
}

typedef struct pack_case {
    int kind; // 0 bf16, 1 bf16 transposed, 2 int4
    int rows, cols;
    uint16_t *out, *scales;
    const uint16_t *in, *scale;
} pack_case;

static void pack_round(void *arg, int round) {
    pack_case *c = arg;
    int row0 = round * CPU_LANES % ((c->kind == 1 ? c->cols : c->rows) - CPU_LANES + 1);
    row0 -= row0 % CPU_LANES;
    if (c->kind == 0)
        cpu_pack_bf16(c->out, c->in, c->rows, c->cols, row0);
    else if (c->kind == 1)
        cpu_pack_bf16_transposed(c->out, c->in, (size_t)c->cols, c->rows, c->cols, row0);
    else
        cpu_pack_int4((uint8_t *)c->out, c->scales, (const uint32_t *)(const void *)c->in, c->scale,
                      c->rows, c->cols, row0);
}

static void bench_packing(void) {
    static const struct {
        const char *name;
        int kind, rows, cols;
        double bits;
    } cases[] = {{"pack_bf16 2048x7168", 0, 2048, 7168, 16},
                 {"pack_bf16_transposed 128x512", 1, 128, 512, 16},
                 {"pack_int4 2048x7168", 2, 2048, 7168, 4.5},
                 {"pack_int4 7168x2048", 2, 7168, 2048, 4.5}};
    size_t bytes = (size_t)2048 * 7168 * 2;
    uint16_t *in = big(bytes), *scale = big(bytes / 16), *out = big(bytes / 16);
    uint16_t *scales = big(bytes / 16);
    memset(in, 0x3c, bytes);
    memset(scale, 0x3c, bytes / 16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pack_case c = {cases[i].kind, cases[i].rows, cases[i].cols, out, scales, in, scale};
        double length = cases[i].kind == 1 ? cases[i].rows : cases[i].cols;
        report(cases[i].name, good_time(pack_round, &c), CPU_LANES * length * cases[i].bits / 8, 0,
               1);
    }
}

int main(int argc, char **argv) {
    level = argc > 1 ? cpu_kernels_level(argv[1]) : cpu_kernels_get();
    if (!level) {
        fprintf(stderr, "bench: this CPU has no such level\n");
        return 1;
    }
    if (argc > 2)
        seconds_per_case = strtod(argv[2], NULL);
    peak_read = probe_read_gbs(1);
    int avx2 = !strcmp(level->name, "avx2");
    peak_fma = avx2 ? probe_fma_avx2_gflops(1) : probe_fma_gflops(1);
    peak_int8 = avx2 ? probe_int8_avx2_gops(1) : probe_int8_gops(1);
    printf("level %s; one thread: read %.1f GB/s, FMA %.1f GFLOP/s, INT8 %.1f GOP/s\n", level->name,
           peak_read, peak_fma, peak_int8);
    printf("two threads: read %.1f GB/s\n", probe_read_gbs(2));
    static const int sizes[] = {1, 4, 16, 64, 512};
    int scalar = !strcmp(level->name, "scalar");
    for (size_t i = 0; i < (scalar ? 2 : sizeof sizes / sizeof *sizes); i++) {
        bench_gemm(2, sizes[i], 2048, 7168);
        bench_gemm(2, sizes[i], 7168, 2048);
        bench_gemm(1, sizes[i], 2048, 7168);
        bench_gemm(0, sizes[i], 1536, 7168);
        bench_gemm(0, sizes[i], 7168, 2048);
    }
    bench_attention();
    bench_vectors();
    bench_packing();
    return 0;
}
