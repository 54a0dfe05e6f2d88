#include "backend/sample/sample.h"
#include "backend/sample/parts.h"
#include "base/base.h"
#include <math.h>

// As vLLM: below this a temperature means greedy.
#define GREEDY_TEMPERATURE 1e-5f

struct sample_scratch {
    int vocab_size;
    int32_t *counts; // [vocab] zero between rows
    float *raw;      // [vocab] the logits before anything was done to them
    // Uses that never overlap share memory: weights with sorted pairs, candidate ids with the
    // sort's second half.
    union {
        double *weights; // [vocab]
        sample_pair *pairs;
    } first;
    union {
        int32_t *ids; // [vocab]
        sample_pair *pairs;
    } second;
};

sample_scratch *sample_scratch_create(int vocab_size) {
    size_t n = (size_t)vocab_size;
    sample_scratch *s = base_alloc(sizeof *s);
    s->vocab_size = vocab_size;
    s->counts = base_calloc(n, sizeof *s->counts);
    s->raw = base_alloc(n * sizeof *s->raw);
    s->first.weights = base_alloc(n * sizeof *s->first.weights);
    s->second.pairs = base_alloc(n * sizeof *s->second.pairs);
    return s;
}

void sample_scratch_free(sample_scratch *s) {
    if (s == NULL)
        return;
    base_free(s->counts);
    base_free(s->raw);
    base_free(s->first.weights);
    base_free(s->second.pairs);
    base_free(s);
}

// log(sum(exp(logits))) in float64.
static double log_sum_exp(sample_scratch *s, const float *logits, int n, float max) {
    sample_weights(s->first.weights, logits, n, (double)max, 1.0, 0.0);
    return (double)max + sample_log(sample_sum(s->first.weights, n));
}

// The k most likely ids in order, k > 0.
static int top_list(sample_scratch *s, const float *logits, int n, int k, double lse,
                    int32_t *top_ids, float *top_logprobs) {
    sample_cut cut = {0, INT32_MAX};
    if (k < n)
        cut = sample_select(logits, NULL, NULL, n, (double)k);
    int n_top = 0;
    for (int i = 0; i < n; i++) {
        if (sample_keeps(cut, logits[i], i))
            s->first.pairs[n_top++] = (sample_pair){sample_key(logits[i]), i};
    }
    sample_sort(s->first.pairs, s->second.pairs, n_top);
    for (int i = 0; i < n_top; i++) {
        int32_t id = s->first.pairs[i].id;
        top_ids[i] = id;
        top_logprobs[i] = (float)((double)logits[id] - lse);
    }
    return n_top;
}

// Chooses an id; the logits are changed. -1: nothing is left.
static int32_t choose(sample_scratch *s, float *logits, int n, float max, const backend_sampling *p,
                      int position) {
    bool changed = p->mask != NULL || p->n_banned > 0 || p->n_bias > 0 || p->repetition != 1.0f ||
                   p->presence != 0.0f || p->frequency != 0.0f;
    if (changed) {
        sample_adjust(logits, n, p, s->counts);
        max = sample_max(logits, n, NULL);
    }
    if (max == -INFINITY)
        return -1;
    if (p->temperature < GREEDY_TEMPERATURE)
        return sample_find(logits, n, max);
    return sample_draw(logits, n, max, p, position, s->first.weights, s->second.ids);
}

void sample_row(sample_scratch *s, float *logits, int vocab_size, const backend_output *output,
                int position, int32_t *top_ids, float *top_logprobs,
                backend_output_result *result) {
    *result = (backend_output_result){
        .status = BACKEND_OUTPUT_OK, .id = -1, .top_ids = top_ids, .top_logprobs = top_logprobs};
    bool finite;
    float max = sample_max(logits, vocab_size, &finite);
    if (!finite) {
        result->status = BACKEND_OUTPUT_NAN;
        return;
    }
    bool want_logprobs = output->sample == NULL || output->n_logprobs >= 0;
    const float *raw = logits;
    double lse = 0.0;
    if (want_logprobs) {
        lse = log_sum_exp(s, logits, vocab_size, max);
        int k = output->n_logprobs < vocab_size ? output->n_logprobs : vocab_size;
        if (k > 0)
            result->n_top = top_list(s, logits, vocab_size, k, lse, top_ids, top_logprobs);
    }
    if (output->sample == NULL) {
        result->id = output->target;
    } else {
        if (want_logprobs) {
            memcpy(s->raw, logits, (size_t)vocab_size * sizeof *logits);
            raw = s->raw;
        }
        result->id = choose(s, logits, vocab_size, max, output->sample, position);
    }
    if (result->id < 0 || result->id >= vocab_size) {
        result->status = BACKEND_OUTPUT_EMPTY;
        result->id = -1;
        result->n_top = 0;
        return;
    }
    if (want_logprobs) {
        result->logprob = (float)((double)raw[result->id] - lse);
        result->rank = 1 + sample_count_above(raw, vocab_size, raw[result->id]);
    }
}
