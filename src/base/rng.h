// Counter-based random bits: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", 2011). A value depends on key and counter alone, so any thread can draw any of them in
// any order and nothing has state.
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

typedef struct base_rng_block {
    uint32_t v[4];
} base_rng_block;

base_rng_block base_rng_philox(const uint32_t key[2], const uint32_t counter[4]);

// Uniform double in (0, 1) from 64 random bits: never 0, never 1.
double base_rng_unit(uint32_t high, uint32_t low);

#endif
