// The pieces of the sampler, for its own files only.
//
// Everything is plain C whose sums have a fixed order (explicit lanes, then a fixed tree), and exp
// and log are the ones below: libm picks variants by CPU, which would make ids depend on the
// machine.
#ifndef BACKEND_SAMPLE_PARTS_H
#define BACKEND_SAMPLE_PARTS_H

#include "backend/backend.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// Weights below this count as zero.
#define SAMPLE_LEAST 0x1p-1020

// exp(x) for x <= 0, relative error below 1e-14, exactly 1 at 0. Everything below -708 gives
// exp(-708), which is below SAMPLE_LEAST.
static inline double sample_exp(double x) {
    const double log2e = 0x1.71547652b82fep+0;
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    const double magic = 0x1.8p+52; // adding it rounds to an integer, kept in the low bits
    double clamped = x > -708.0 ? x : -708.0;
    double shifted = clamped * log2e + magic;
    double k = shifted - magic;
    double r = (clamped - k * ln2_high) - k * ln2_low; // |r| <= ln(2) / 2
    double p = 1.0 / 39916800.0;                       // Taylor, degree 11
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t exponent, bits;
    memcpy(&exponent, &shifted, sizeof exponent);
    memcpy(&bits, &p, sizeof bits);
    bits += exponent << 52;
    double y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

// log(x) for finite normal x >= 1, relative error below 1e-14.
double sample_log(double x);

// Orders floats as unsigned integers; -0 equals 0. Not for NaN.
static inline uint32_t sample_key(float x) {
    float y = x + 0.0f;
    uint32_t u;
    memcpy(&u, &y, sizeof u);
    return u ^ ((uint32_t)((int32_t)u >> 31) | 0x80000000u);
}

// ---------------------------------------------------------------------------------------------
// Over a row

// The largest of n > 0 logits; `finite` (may be NULL) is cleared by NaN or infinity.
float sample_max(const float *logits, int n, bool *finite);
// The lowest id whose logit equals `value`, or -1.
int32_t sample_find(const float *logits, int n, float value);
int sample_count_above(const float *logits, int n, float value);

// weights[i] = exp((logits[i] - max) * inverse_temperature), 0 for logits of -inf and where the
// weight is below `least`.
void sample_weights(double *weights, const float *logits, int n, double max,
                    double inverse_temperature, double least);

enum { SAMPLE_BLOCK = 512 };
// The sum of a block of weights, n <= SAMPLE_BLOCK, in 8 lanes and their stride tree.
double sample_block_sum(const double *weights, int n);
// The sum of all, blocks ascending.
double sample_sum(const double *weights, int n);

// ---------------------------------------------------------------------------------------------
// Selection. Ids are ordered by logit descending, then id ascending.

// Kept are ids with a larger key, and those with this key up to `id`.
typedef struct sample_cut {
    uint32_t key;
    int32_t id;
} sample_cut;

static inline bool sample_keeps(sample_cut cut, float logit, int32_t id) {
    uint32_t key = sample_key(logit);
    return (key > cut.key) | ((key == cut.key) & (id <= cut.id));
}

// The shortest prefix of that order whose weights sum to at least `target`, or everything. `ids`
// [n] ascending, NULL: 0 .. n - 1; `weights` is indexed by id, NULL: each 1. Linear time.
sample_cut sample_select(const float *logits, const int32_t *ids, const double *weights, int n,
                         double target);

typedef struct sample_pair {
    uint32_t key;
    int32_t id;
} sample_pair;

// Sorts pairs whose ids ascend into that order; `spare` has the same room. Linear time.
void sample_sort(sample_pair *pairs, sample_pair *spare, int n);

// ---------------------------------------------------------------------------------------------
// Masks, bans, bias and penalties, in place. `counts` [vocab] is all zero before and after.
void sample_adjust(float *logits, int vocab_size, const backend_sampling *p, int32_t *counts);

// The draw's uniform number is Philox with key (seed low, seed high) and counter (position, choice,
// 0, SAMPLE_STREAM); the last word names the use, so that other draws never share a stream.
enum { SAMPLE_STREAM = 0x5a3d1e };

// Draws among logits whose largest is `max`. `weights` [vocab] and `ids` [vocab] are scratch.
int32_t sample_draw(const float *logits, int vocab_size, float max, const backend_sampling *p,
                    int position, double *weights, int32_t *ids);

#endif
