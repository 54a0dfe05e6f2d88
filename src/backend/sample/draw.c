// Temperature, min-p, top-k, top-p and the draw.
//
// The draw inverts the cumulative distribution in id order with one uniform number keyed by (seed,
// choice, position): a function of the row and its parameters alone, exact to float64, and one
// random number and one exp per id, where noise on every logit would cost a logarithm more each.
#include "backend/sample/parts.h"
#include "base/base.h"

static double uniform(const backend_sampling *p, int position) {
    const uint32_t key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, p->choice, 0, SAMPLE_STREAM};
    base_rng_block block = base_rng_philox(key, counter);
    return base_rng_unit(block.v[0], block.v[1]);
}

static void drop(double *weights, const float *logits, int n, sample_cut cut) {
    for (int i = 0; i < n; i++)
        weights[i] = sample_keeps(cut, logits[i], i) ? weights[i] : 0.0;
}

// The shortest prefix, by descending logit, that holds top_p of what is left.
static void apply_top_p(double *weights, const float *logits, int n, double top_p, int32_t *ids) {
    double total = sample_sum(weights, n);
    // All ids below this weight together hold less than 1 - top_p: the cut lies above them.
    double least = (1.0 - top_p) * total / n * (1.0 - 1e-6);
    int n_ids = 0;
    for (int i = 0; i < n; i++) {
        ids[n_ids] = i;
        n_ids += (weights[i] > 0.0) & (weights[i] >= least);
    }
    drop(weights, logits, n, sample_select(logits, ids, weights, n_ids, top_p * total));
}

// The first id at which the running sum exceeds `target`; the last one with any weight if rounding
// keeps the sum from getting there.
static int32_t invert(const double *weights, int n, double target) {
    double sum = 0.0;
    int last = 0;
    for (int i = 0; i < n; i += SAMPLE_BLOCK) {
        double block = sample_block_sum(weights + i, n - i < SAMPLE_BLOCK ? n - i : SAMPLE_BLOCK);
        if (block <= 0.0)
            continue;
        last = i;
        if (sum + block > target)
            break;
        sum += block;
    }
    int end = n - last < SAMPLE_BLOCK ? n : last + SAMPLE_BLOCK;
    int32_t id = last;
    for (int i = last; i < end; i++) {
        if (weights[i] <= 0.0)
            continue;
        id = i;
        sum += weights[i];
        if (sum > target)
            break;
    }
    return id;
}

int32_t sample_draw(const float *logits, int vocab_size, float max, const backend_sampling *p,
                    int position, double *weights, int32_t *ids) {
    sample_weights(weights, logits, vocab_size, (double)max, 1.0 / (double)p->temperature,
                   (double)p->min_p);
    if (p->top_k > 0 && p->top_k < vocab_size)
        drop(weights, logits, vocab_size,
             sample_select(logits, NULL, NULL, vocab_size, (double)p->top_k));
    if (p->top_p < 1.0f)
        apply_top_p(weights, logits, vocab_size, (double)p->top_p, ids);
    double total = sample_sum(weights, vocab_size);
    return invert(weights, vocab_size, uniform(p, position) * total);
}
