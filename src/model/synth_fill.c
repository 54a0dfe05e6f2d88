// The values of a tensor, from counter-based random bits: key = seed, counter = (block, hash of the
// name). A block is BLOCK bytes of the tensor, so any thread can make any range of bytes. The bits
// Philox gives for a block start a SplitMix64 sequence, which is several times cheaper a byte, and
// random bits choose from tables of equally likely levels: no arithmetic per element.
#include "model/synth.h"
#include <math.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 256 };

// Deviation of codes before rounding; 64 levels reach +-7. Quantisation by max|w| / 7 never gives
// -8, but readers must support it, so a few are put in.
static const double code_size = 3.0;
enum { CODE_LEVELS = 64 };
static const double norm_spread = 0.1, scale_spread = 0.25;

// ---------------------------------------------------------------------------------------------
// Tables

// x with P(N(0, 1) < x) = p, by bisection.
static double normal_quantile(double p) {
    double low = -8, high = 8;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

// Pairs of independent codes, each from 64 equally likely levels. One pair in SYNTH_LEVELS has the
// code -8 below, one above.
static void init_codes(synth_tables *tables) {
    double square = 0;
    int code[CODE_LEVELS];
    for (int i = 0; i < CODE_LEVELS; i++)
        code[i] = (int)round(code_size * normal_quantile((i + 0.5) / CODE_LEVELS));
    for (int i = 0; i < SYNTH_LEVELS; i++) {
        int low = code[i % CODE_LEVELS], high = code[i / CODE_LEVELS];
        low = i == 0 ? -8 : low;
        high = i == CODE_LEVELS - 1 ? -8 : high;
        tables->codes[i] = (uint8_t)((low + 8) | (high + 8) << 4);
        square += low * low + high * high;
    }
    tables->code_rms = sqrt(square / (2 * SYNTH_LEVELS));
}

void synth_tables_init(synth_tables *tables) {
    double square = 0;
    for (int i = 0; i < SYNTH_LEVELS; i++) {
        // Mirrored, so that the mean is exactly zero.
        int from_end = i < SYNTH_LEVELS / 2 ? i : SYNTH_LEVELS - 1 - i;
        double x = normal_quantile((from_end + 0.5) / SYNTH_LEVELS);
        tables->normal[i] = i < SYNTH_LEVELS / 2 ? x : -x;
        tables->spread[i] = exp(scale_spread * tables->normal[i]);
        square += tables->spread[i] * tables->spread[i];
    }
    for (int i = 0; i < SYNTH_LEVELS; i++)
        tables->spread[i] /= sqrt(square / SYNTH_LEVELS);

    init_codes(tables);
}

// ---------------------------------------------------------------------------------------------
// Blocks

typedef struct filler {
    uint32_t key[2], name[2];
    uint16_t bf16[SYNTH_LEVELS];
    float f32[SYNTH_LEVELS];
    const uint8_t *codes; // [SYNTH_LEVELS] pairs
} filler;

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
typedef struct bits64 {
    uint64_t state, step;
} bits64;

static inline bits64 bits_of_block(const filler *f, uint64_t block) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), f->name[0], f->name[1]};
    base_rng_block r = base_rng_philox(f->key, counter);
    return (bits64){(uint64_t)r.v[0] << 32 | r.v[1], ((uint64_t)r.v[2] << 32 | r.v[3]) | 1};
}

static inline uint64_t next_bits(bits64 *bits) {
    uint64_t z = bits->state += bits->step;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// [128] bf16
static inline void block_bf16(const filler *f, uint64_t block, unsigned char *out) {
    bits64 bits = bits_of_block(f, block);
    for (int i = 0; i < BLOCK; i += 8) {
        uint64_t r = next_bits(&bits);
        const uint16_t v[4] = {f->bf16[r % SYNTH_LEVELS], f->bf16[(r >> 16) % SYNTH_LEVELS],
                               f->bf16[(r >> 32) % SYNTH_LEVELS],
                               f->bf16[(r >> 48) % SYNTH_LEVELS]};
        memcpy(out + i, v, sizeof v);
    }
}

// [64] f32
static inline void block_f32(const filler *f, uint64_t block, unsigned char *out) {
    bits64 bits = bits_of_block(f, block);
    for (int i = 0; i < BLOCK; i += 8) {
        uint64_t r = next_bits(&bits);
        const float v[2] = {f->f32[r % SYNTH_LEVELS], f->f32[(r >> 32) % SYNTH_LEVELS]};
        memcpy(out + i, v, sizeof v);
    }
}

// [512] nibbles, 6 random bits each
static inline void block_codes(const filler *f, uint64_t block, unsigned char *out) {
    bits64 bits = bits_of_block(f, block);
    for (int i = 0; i < BLOCK; i += 4) {
        uint64_t r = next_bits(&bits);
        const uint8_t v[4] = {f->codes[r % SYNTH_LEVELS], f->codes[(r >> 16) % SYNTH_LEVELS],
                              f->codes[(r >> 32) % SYNTH_LEVELS],
                              f->codes[(r >> 48) % SYNTH_LEVELS]};
        memcpy(out + i, v, sizeof v);
    }
}

// Whole blocks go straight to `out`; those that stick out of [begin, end) are cut.
#define DEFINE_RANGE(name, block_function)                                                         \
    static void name(const filler *f, uint64_t begin, uint64_t end, unsigned char *out) {          \
        for (uint64_t at = begin; at < end;) {                                                     \
            uint64_t block = at / BLOCK, skip = at % BLOCK;                                        \
            if (skip == 0 && end - at >= BLOCK) {                                                  \
                block_function(f, block, out + (at - begin));                                      \
                at += BLOCK;                                                                       \
                continue;                                                                          \
            }                                                                                      \
            unsigned char whole[BLOCK];                                                            \
            uint64_t n = end - at < BLOCK - skip ? end - at : BLOCK - skip;                        \
            block_function(f, block, whole);                                                       \
            memcpy(out + (at - begin), whole + skip, n);                                           \
            at += n;                                                                               \
        }                                                                                          \
    }
DEFINE_RANGE(range_bf16, block_bf16)
DEFINE_RANGE(range_f32, block_f32)
DEFINE_RANGE(range_codes, block_codes)

// ---------------------------------------------------------------------------------------------

static void set_bf16(filler *f, const double *levels, double offset, double factor) {
    for (int i = 0; i < SYNTH_LEVELS; i++)
        f->bf16[i] = base_f32_to_bf16((float)(offset + factor * levels[i]));
}

static void fill_normal(filler *f, const synth_tables *tables, const synth_tensor *t,
                        uint64_t begin, uint64_t end, unsigned char *out) {
    uint64_t loud_end = end < t->quiet_from ? end : t->quiet_from;
    if (begin < loud_end) {
        set_bf16(f, tables->normal, 0, t->size);
        range_bf16(f, begin, loud_end, out);
        out += loud_end - begin;
        begin = loud_end;
    }
    if (begin < end) {
        set_bf16(f, tables->normal, 0, t->size / 4);
        range_bf16(f, begin, end, out);
    }
}

static void fill_shape(const synth_tensor *t, uint64_t begin, uint64_t end, unsigned char *out) {
    const int32_t shape[2] = {t->rows, t->cols};
    memcpy(out, (const unsigned char *)shape + begin, end - begin);
}

void synth_fill(const synth_tables *tables, const synth_tensor *t, uint64_t seed, uint64_t begin,
                uint64_t end, unsigned char *out) {
    uint64_t name = XXH3_64bits(t->name, strlen(t->name));
    filler f;
    f.key[0] = (uint32_t)seed, f.key[1] = (uint32_t)(seed >> 32);
    f.name[0] = (uint32_t)name, f.name[1] = (uint32_t)(name >> 32);
    switch (t->kind) {
    case SYNTH_NORMAL:
        fill_normal(&f, tables, t, begin, end, out);
        break;
    case SYNTH_NORM:
        set_bf16(&f, tables->normal, 1, norm_spread);
        range_bf16(&f, begin, end, out);
        break;
    case SYNTH_BIAS:
        for (int i = 0; i < SYNTH_LEVELS; i++)
            f.f32[i] = (float)(t->size * tables->normal[i]);
        range_f32(&f, begin, end, out);
        break;
    case SYNTH_CODES:
        f.codes = tables->codes;
        range_codes(&f, begin, end, out);
        break;
    case SYNTH_SCALES:
        set_bf16(&f, tables->spread, 0, t->size / tables->code_rms);
        range_bf16(&f, begin, end, out);
        break;
    case SYNTH_SHAPE:
        fill_shape(t, begin, end, out);
        break;
    }
}
