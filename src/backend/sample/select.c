// Selection and sorting by logit: radix methods on the ordered bits of the floats, so that time is
// linear whatever the values are, ties (which are common in degenerate models) included.
#include "backend/sample/parts.h"

enum { LEVELS = 3 };
static const int level_shift[LEVELS] = {21, 10, 0};
static const int level_bits[LEVELS] = {11, 11, 10};

static int32_t id_at(const int32_t *ids, int i) {
    return ids != NULL ? ids[i] : i;
}

// Weights by the digit at `level` of keys that agree with `key` above it.
static void digit_weights(double *sums, int level, uint32_t key, const float *logits,
                          const int32_t *ids, const double *weights, int n) {
    int shift = level_shift[level], bits = level_bits[level];
    memset(sums, 0, sizeof *sums << bits);
    uint64_t above = (uint64_t)key >> (shift + bits);
    for (int i = 0; i < n; i++) {
        int32_t id = id_at(ids, i);
        uint64_t k = sample_key(logits[id]);
        if (k >> (shift + bits) == above)
            sums[(k >> shift) & ((1u << bits) - 1)] += weights != NULL ? weights[id] : 1.0;
    }
}

sample_cut sample_select(const float *logits, const int32_t *ids, const double *weights, int n,
                         double target) {
    double sums[1 << 11];
    double before = 0.0; // of the keys above those still in question
    uint32_t key = 0;
    for (int level = 0; level < LEVELS; level++) {
        digit_weights(sums, level, key, logits, ids, weights, n);
        // Grouped otherwise, the same weights may add up to a little less than one level higher:
        // then the last digit that has any is meant.
        int chosen = -1;
        double before_chosen = before, sum = before;
        for (int digit = (1 << level_bits[level]) - 1; digit >= 0; digit--) {
            if (sums[digit] <= 0.0)
                continue;
            chosen = digit;
            before_chosen = sum;
            sum += sums[digit];
            if (sum >= target)
                break;
        }
        if (chosen < 0 || (level == 0 && sum < target))
            return (sample_cut){0, INT32_MAX};
        before = before_chosen;
        key |= (uint32_t)chosen << level_shift[level];
    }
    sample_cut cut = {key, -1};
    double sum = before;
    for (int i = 0; i < n; i++) {
        int32_t id = id_at(ids, i);
        if (sample_key(logits[id]) != key)
            continue;
        cut.id = id;
        sum += weights != NULL ? weights[id] : 1.0;
        if (sum >= target)
            break;
    }
    return cut;
}

void sample_sort(sample_pair *pairs, sample_pair *spare, int n) {
    sample_pair *from = pairs, *to = spare;
    for (int shift = 0; shift < 32; shift += 8) { // an even number of passes: ends in `pairs`
        int start[256] = {0};
        for (int i = 0; i < n; i++)
            start[~from[i].key >> shift & 0xff]++; // complement: descending keys
        int sum = 0;
        for (int digit = 0; digit < 256; digit++) {
            int count = start[digit];
            start[digit] = sum;
            sum += count;
        }
        for (int i = 0; i < n; i++)
            to[start[~from[i].key >> shift & 0xff]++] = from[i];
        sample_pair *swap = from;
        from = to;
        to = swap;
    }
}
