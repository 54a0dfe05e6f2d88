// What a request does to its logits before temperature: mask, bans, bias, penalties, in this order.
// An id that may not be sampled has the logit -inf from here on.
#include "backend/sample/parts.h"
#include <float.h>
#include <math.h>

static bool in_vocabulary(int32_t id, int vocab_size) {
    return id >= 0 && id < vocab_size;
}

// Finite logits stay finite, whatever the penalty: -inf must go on meaning "banned".
static float clamp(double x) {
    if (x > FLT_MAX)
        return FLT_MAX;
    if (x < -FLT_MAX)
        return -FLT_MAX;
    return (float)x;
}

static void apply_mask(float *logits, int vocab_size, const uint32_t *mask) {
    for (int i = 0; i < vocab_size; i += 32) {
        uint32_t word = mask[i / 32];
        if (word == 0xffffffffu)
            continue;
        int n = vocab_size - i < 32 ? vocab_size - i : 32;
        for (int j = 0; j < n; j++)
            logits[i + j] = word >> j & 1 ? logits[i + j] : -INFINITY;
    }
}

// Over prompt and output: positive logits are divided, others multiplied, once for each id.
static void apply_repetition(float *logits, int vocab_size, const backend_sampling *p,
                             int32_t *counts) {
    double penalty = (double)p->repetition;
    for (int i = 0; i < p->n_history; i++) {
        int32_t id = p->history[i];
        if (!in_vocabulary(id, vocab_size) || counts[id] != 0)
            continue;
        counts[id] = 1;
        double x = (double)logits[id];
        if (logits[id] != -INFINITY)
            logits[id] = clamp(x > 0.0 ? x / penalty : x * penalty);
    }
    for (int i = 0; i < p->n_history; i++) {
        if (in_vocabulary(p->history[i], vocab_size))
            counts[p->history[i]] = 0;
    }
}

// Over the output only.
static void apply_presence_frequency(float *logits, int vocab_size, const backend_sampling *p,
                                     int32_t *counts) {
    for (int i = p->n_prompt; i < p->n_history; i++) {
        if (in_vocabulary(p->history[i], vocab_size))
            counts[p->history[i]]++;
    }
    for (int i = p->n_prompt; i < p->n_history; i++) {
        int32_t id = p->history[i];
        if (!in_vocabulary(id, vocab_size) || counts[id] == 0)
            continue;
        double x = (double)logits[id] - (double)p->frequency * counts[id] - (double)p->presence;
        if (logits[id] != -INFINITY)
            logits[id] = clamp(x);
        counts[id] = 0;
    }
}

void sample_adjust(float *logits, int vocab_size, const backend_sampling *p, int32_t *counts) {
    if (p->mask != NULL)
        apply_mask(logits, vocab_size, p->mask);
    for (int i = 0; i < p->n_banned; i++) {
        if (in_vocabulary(p->banned[i], vocab_size))
            logits[p->banned[i]] = -INFINITY;
    }
    for (int i = 0; i < p->n_bias; i++) {
        int32_t id = p->bias_ids[i];
        if (in_vocabulary(id, vocab_size) && logits[id] != -INFINITY)
            logits[id] = clamp((double)logits[id] + (double)p->bias_values[i]);
    }
    if (p->repetition != 1.0f)
        apply_repetition(logits, vocab_size, p, counts);
    if (p->presence != 0.0f || p->frequency != 0.0f)
        apply_presence_frequency(logits, vocab_size, p, counts);
}
