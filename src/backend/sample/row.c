// Sums, maxima and counts over a row of the vocabulary. Lanes are written out so that compilers
// vectorise them without being allowed to reorder a sum.
#include "backend/sample/parts.h"
#include <math.h>

enum { LANES = 16 };

double sample_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp+0) { // sqrt(2)
        m *= 0.5;
        exponent++;
    }
    // log(m) = 2 atanh(s); s^2 <= 0.0295, so the series' next term is below 1e-17.
    double s = (m - 1.0) / (m + 1.0), z = s * s, sum = 0.0;
    for (int n = 21; n >= 1; n -= 2)
        sum = sum * z + 1.0 / n;
    return exponent * 0x1.62e42fefa39efp-1 + 2.0 * s * sum;
}

float sample_max(const float *logits, int n, bool *finite) {
    float lane[LANES];
    uint32_t bad[LANES] = {0};
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float x = logits[i + j];
            uint32_t u;
            memcpy(&u, &x, sizeof u);
            bad[j] |= (u & 0x7f800000u) == 0x7f800000u;
            lane[j] = x > lane[j] ? x : lane[j];
        }
    }
    float max = -INFINITY;
    uint32_t any = 0;
    for (int j = 0; j < LANES; j++) {
        max = lane[j] > max ? lane[j] : max;
        any |= bad[j];
    }
    for (; i < n; i++) {
        max = logits[i] > max ? logits[i] : max;
        any |= !isfinite(logits[i]);
    }
    if (finite != NULL)
        *finite = any == 0;
    return max;
}

int32_t sample_find(const float *logits, int n, float value) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        uint32_t hit = 0;
        for (int j = 0; j < LANES; j++)
            hit |= logits[i + j] == value;
        if (hit)
            break;
    }
    for (; i < n; i++) {
        if (logits[i] == value)
            return i;
    }
    return -1;
}

int sample_count_above(const float *logits, int n, float value) {
    int count = 0;
    for (int i = 0; i < n; i++)
        count += logits[i] > value;
    return count;
}

void sample_weights(double *weights, const float *logits, int n, double max,
                    double inverse_temperature, double least) {
    if (least < SAMPLE_LEAST)
        least = SAMPLE_LEAST;
    for (int i = 0; i < n; i++) {
        double w = sample_exp(((double)logits[i] - max) * inverse_temperature);
        weights[i] = w >= least ? w : 0.0;
    }
}

double sample_block_sum(const double *weights, int n) {
    double lane[8] = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++)
            lane[j] += weights[i + j];
    }
    for (int j = 0; i < n; i++, j++)
        lane[j] += weights[i];
    for (int width = 4; width > 0; width /= 2) {
        for (int j = 0; j < width; j++)
            lane[j] += lane[j + width];
    }
    return lane[0];
}

double sample_sum(const double *weights, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i += SAMPLE_BLOCK)
        sum += sample_block_sum(weights + i, n - i < SAMPLE_BLOCK ? n - i : SAMPLE_BLOCK);
    return sum;
}
