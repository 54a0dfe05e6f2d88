// MT19937 (Matsumoto and Nishimura, 1998) and PCG XSL-RR 128/64 (O'Neill, 2014), with what numpy
// and Python make of their bits. Every draw has to come in their order: one number more or less,
// and each later one differs.
#include "measure/random.h"
#include "base/base.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { MT_WORDS = 624, MT_SHIFT = 397 };

static void mt_begin(measure_mt *m, uint32_t seed) {
    m->state[0] = seed;
    for (uint32_t i = 1; i < MT_WORDS; i++)
        m->state[i] = 1812433253u * (m->state[i - 1] ^ m->state[i - 1] >> 30) + i;
    m->at = MT_WORDS;
    m->spare = 0;
    m->has_spare = 0;
}

void measure_mt_seed_numpy(measure_mt *m, uint32_t seed) {
    mt_begin(m, seed);
}

// init_by_array of the seed's 32-bit words, of which there are as few as hold it, at least one.
void measure_mt_seed_python(measure_mt *m, uint64_t seed) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t words = key[1] != 0 ? 2 : 1;
    mt_begin(m, 19650218u);
    uint32_t *s = m->state, i = 1, j = 0;
    for (int step = 0; step < MT_WORDS; step++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key[j] + j;
        if (++i == MT_WORDS) {
            s[0] = s[MT_WORDS - 1];
            i = 1;
        }
        j = (j + 1) % words;
    }
    for (int step = 1; step < MT_WORDS; step++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i == MT_WORDS) {
            s[0] = s[MT_WORDS - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
}

static uint32_t mt_next(measure_mt *m) {
    if (m->at == MT_WORDS) {
        for (int i = 0; i < MT_WORDS; i++) {
            const uint32_t y =
                (m->state[i] & 0x80000000u) | (m->state[(i + 1) % MT_WORDS] & 0x7fffffffu);
            m->state[i] =
                m->state[(i + MT_SHIFT) % MT_WORDS] ^ y >> 1 ^ ((y & 1) != 0 ? 0x9908b0dfu : 0);
        }
        m->at = 0;
    }
    uint32_t y = m->state[m->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

double measure_mt_double(measure_mt *m) {
    const uint32_t high = mt_next(m) >> 5, low = mt_next(m) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

// The polar method; the second of the pair waits for the next call.
static double mt_gauss(measure_mt *m) {
    if (m->has_spare) {
        m->has_spare = 0;
        return m->spare;
    }
    double x, y, r;
    do {
        x = 2.0 * measure_mt_double(m) - 1.0;
        y = 2.0 * measure_mt_double(m) - 1.0;
        r = x * x + y * y;
    } while (r >= 1.0 || r == 0.0);
    const double f = sqrt(-2.0 * log(r) / r);
    m->spare = f * x;
    m->has_spare = 1;
    return f * y;
}

static double mt_exponential(measure_mt *m) {
    return -log(1.0 - measure_mt_double(m));
}

// Ahrens and Dieter's method for shapes below 1.
static double mt_gamma_small(measure_mt *m, double shape) {
    for (;;) {
        const double u = measure_mt_double(m), v = mt_exponential(m);
        if (u <= 1.0 - shape) {
            const double x = pow(u, 1.0 / shape);
            if (x <= v)
                return x;
        } else {
            const double y = -log((1.0 - u) / shape);
            const double x = pow(1.0 - shape + shape * y, 1.0 / shape);
            if (x <= v + y)
                return x;
        }
    }
}

// Marsaglia and Tsang's method for shapes above 1.
static double mt_gamma_large(measure_mt *m, double shape) {
    const double b = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * b);
    for (;;) {
        double x, v;
        do {
            x = mt_gauss(m);
            v = 1.0 + c * x;
        } while (v <= 0.0);
        v = v * v * v;
        const double u = measure_mt_double(m);
        if (u < 1.0 - 0.0331 * (x * x) * (x * x) || log(u) < 0.5 * x * x + b * (1.0 - v + log(v)))
            return b * v;
    }
}

double measure_mt_gamma(measure_mt *m, double shape, double scale) {
    if (shape == 0.0)
        return 0.0;
    if (shape == 1.0)
        return scale * mt_exponential(m);
    return scale * (shape < 1.0 ? mt_gamma_small(m, shape) : mt_gamma_large(m, shape));
}

// Python's getrandbits: the words come from the lowest on, and only the last one is cut.
static uint64_t mt_bits(measure_mt *m, int bits) {
    if (bits <= 32)
        return mt_next(m) >> (32 - bits);
    const uint64_t low = mt_next(m);
    return (uint64_t)(mt_next(m) >> (64 - bits)) << 32 | low;
}

uint64_t measure_mt_below(measure_mt *m, uint64_t n) {
    const int bits = 64 - __builtin_clzll(n);
    uint64_t r;
    do
        r = mt_bits(m, bits);
    while (r >= n);
    return r;
}

// Python copies the population while that takes less memory than a set of the k drawn would; both
// ways draw different numbers. 21 is its guess of a small set's size.
static bool pool_is_smaller(uint64_t n, uint64_t k) {
    uint64_t size = 21;
    if (k > 5) {
        uint64_t table = 4;
        while (table < k * 3)
            table *= 4;
        size += table;
    }
    return n <= size;
}

static void sample_pool(measure_mt *m, uint64_t n, uint64_t k, uint64_t *out) {
    uint64_t *pool = base_calloc(n > 0 ? n : 1, sizeof *pool);
    for (uint64_t i = 0; i < n; i++)
        pool[i] = i;
    for (uint64_t i = 0; i < k; i++) {
        const uint64_t j = measure_mt_below(m, n - i);
        out[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
    base_free(pool);
}

// Draws until it finds one that is not yet there. The table holds index + 1; 0 is free.
static void sample_set(measure_mt *m, uint64_t n, uint64_t k, uint64_t *out) {
    uint64_t slots = 16;
    while (slots < 2 * k)
        slots *= 2;
    uint64_t *seen = base_calloc(slots, sizeof *seen);
    for (uint64_t i = 0; i < k;) {
        const uint64_t j = measure_mt_below(m, n);
        uint64_t at = j * 0x9e3779b97f4a7c15u & (slots - 1);
        while (seen[at] != 0 && seen[at] != j + 1)
            at = (at + 1) & (slots - 1);
        if (seen[at] == 0) {
            seen[at] = j + 1;
            out[i++] = j;
        }
    }
    base_free(seen);
}

void measure_mt_sample(measure_mt *m, uint64_t n, uint64_t k, uint64_t *out) {
    (pool_is_smaller(n, k) ? sample_pool : sample_set)(m, n, k, out);
}

void measure_mt_shuffle(measure_mt *m, uint64_t *items, uint64_t n) {
    for (uint64_t i = n; i-- > 1;) {
        const uint64_t j = measure_mt_below(m, i + 1), held = items[i];
        items[i] = items[j];
        items[j] = held;
    }
}

// SeedSequence: four words stirred with a multiplier that itself advances.
enum { POOL = 4 };

static uint32_t seed_hash(uint32_t value, uint32_t *key, uint32_t multiplier) {
    value ^= *key;
    *key *= multiplier;
    value *= *key;
    return value ^ value >> 16;
}

static uint32_t seed_mix(uint32_t x, uint32_t y) {
    const uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ r >> 16;
}

static void seed_pool(uint32_t pool[POOL], uint64_t seed) {
    const uint32_t entropy[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t key = 0x43b0d7e5u;
    for (int i = 0; i < POOL; i++)
        pool[i] = seed_hash(entropy[i], &key, 0x931e8875u);
    for (int from = 0; from < POOL; from++)
        for (int to = 0; to < POOL; to++)
            if (from != to)
                pool[to] = seed_mix(pool[to], seed_hash(pool[from], &key, 0x931e8875u));
}

static void pcg_step(measure_pcg *p) {
    const unsigned __int128 multiplier =
        (unsigned __int128)2549297995355413924u << 64 | 4865540595714422341u;
    p->state = p->state * multiplier + p->increment;
}

void measure_pcg_seed(measure_pcg *p, uint64_t seed) {
    uint32_t pool[POOL], key = 0x8b51f9ddu;
    seed_pool(pool, seed);
    uint64_t words[4];
    for (int i = 0; i < 4; i++) {
        const uint64_t low = seed_hash(pool[2 * i % POOL], &key, 0x58f38dedu);
        words[i] = (uint64_t)seed_hash(pool[(2 * i + 1) % POOL], &key, 0x58f38dedu) << 32 | low;
    }
    p->increment = ((unsigned __int128)words[2] << 64 | words[3]) << 1 | 1;
    p->state = 0;
    pcg_step(p);
    p->state += (unsigned __int128)words[0] << 64 | words[1];
    pcg_step(p);
    p->spare = 0;
    p->has_spare = 0;
}

static uint64_t pcg_next64(measure_pcg *p) {
    pcg_step(p);
    const uint64_t folded = (uint64_t)(p->state >> 64) ^ (uint64_t)p->state;
    const int turn = (int)(p->state >> 122);
    return folded >> turn | folded << (-turn & 63);
}

// Half of 64 bits; the upper half waits for the next call, also across calls of integers().
static uint32_t pcg_next32(measure_pcg *p) {
    if (p->has_spare) {
        p->has_spare = 0;
        return p->spare;
    }
    const uint64_t bits = pcg_next64(p);
    p->spare = (uint32_t)(bits >> 32);
    p->has_spare = 1;
    return (uint32_t)bits;
}

// Lemire's unbiased multiplication ("Fast random integer generation in an interval", 2019), in
// [0, range].
static uint64_t pcg_below32(measure_pcg *p, uint32_t range) {
    if (range == UINT32_MAX)
        return pcg_next32(p);
    const uint32_t count = range + 1;
    uint64_t product = (uint64_t)pcg_next32(p) * count;
    if ((uint32_t)product < count) {
        const uint32_t least = (UINT32_MAX - range) % count;
        while ((uint32_t)product < least)
            product = (uint64_t)pcg_next32(p) * count;
    }
    return product >> 32;
}

static uint64_t pcg_below64(measure_pcg *p, uint64_t range) {
    if (range == UINT64_MAX)
        return pcg_next64(p);
    const uint64_t count = range + 1;
    unsigned __int128 product = (unsigned __int128)pcg_next64(p) * count;
    if ((uint64_t)product < count) {
        const uint64_t least = (UINT64_MAX - range) % count;
        while ((uint64_t)product < least)
            product = (unsigned __int128)pcg_next64(p) * count;
    }
    return (uint64_t)(product >> 64);
}

void measure_pcg_integers(measure_pcg *p, int64_t low, int64_t high, size_t n, int64_t *out) {
    const uint64_t range = (uint64_t)high - 1 - (uint64_t)low;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = 0;
        if (range > UINT32_MAX)
            r = pcg_below64(p, range);
        else if (range > 0)
            r = pcg_below32(p, (uint32_t)range);
        out[i] = (int64_t)((uint64_t)low + r);
    }
}
