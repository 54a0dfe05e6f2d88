#include "base/rng.h"

static void round_once(uint32_t c[4], const uint32_t k[2]) {
    uint64_t a = (uint64_t)0xD2511F53u * c[0];
    uint64_t b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t c0 = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
    uint32_t c2 = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
    c[0] = c0;
    c[1] = (uint32_t)b;
    c[2] = c2;
    c[3] = (uint32_t)a;
}

base_rng_block base_rng_philox(const uint32_t key[2], const uint32_t counter[4]) {
    base_rng_block block = {{counter[0], counter[1], counter[2], counter[3]}};
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 10; i++) {
        round_once(block.v, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return block;
}

// 52 bits and a half: 53 bits and a half would need a 54th bit and round up to 1 at the top.
double base_rng_unit(uint32_t high, uint32_t low) {
    uint64_t bits = ((uint64_t)high << 32 | low) >> 12;
    return ((double)bits + 0.5) * 0x1p-52;
}
