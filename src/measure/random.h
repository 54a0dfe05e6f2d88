// The random numbers of numpy and of Python, number for number, because datasets, arrivals and
// few-shot examples are drawn with them.
#ifndef MEASURE_RANDOM_H
#define MEASURE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

// MT19937, as numpy.random.seed(n) (init_genrand) or random.seed(n) (init_by_array) set it.
typedef struct measure_mt {
    uint32_t state[624];
    int at;
    double spare; // numpy's legacy Gaussian gives two
    int has_spare;
} measure_mt;

void measure_mt_seed_numpy(measure_mt *m, uint32_t seed);
void measure_mt_seed_python(measure_mt *m, uint64_t seed);
double measure_mt_double(measure_mt *m); // [0, 1) with 53 bits: random() of both
double measure_mt_gamma(measure_mt *m, double shape, double scale); // numpy.random.gamma
uint64_t measure_mt_below(measure_mt *m, uint64_t n); // Python's choice of an index; n > 0
// random.Random.sample(range(n), k), k <= n: writes k indices.
void measure_mt_sample(measure_mt *m, uint64_t n, uint64_t k, uint64_t *out);
void measure_mt_shuffle(measure_mt *m, uint64_t *items, uint64_t n); // random.Random.shuffle

// numpy.random.default_rng(seed): PCG64 seeded by SeedSequence.
typedef struct measure_pcg {
    unsigned __int128 state, increment;
    uint32_t spare;
    int has_spare;
} measure_pcg;

void measure_pcg_seed(measure_pcg *p, uint64_t seed);
// Generator.integers(low, high, size=n): int64, high excluded; low < high.
void measure_pcg_integers(measure_pcg *p, int64_t low, int64_t high, size_t n, int64_t *out);

#endif
