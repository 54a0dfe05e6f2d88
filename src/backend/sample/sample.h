// One row of logits -> an id and log-probabilities, as vLLM's V1 sampler orders it (vllm.md 5):
// log-probabilities from raw logits; then masks, bans and bias; penalties; temperature; min-p;
// top-k; top-p; draw. A row's result depends on that row and its parameters alone.
#ifndef BACKEND_SAMPLE_SAMPLE_H
#define BACKEND_SAMPLE_SAMPLE_H

#include "backend/backend.h"

// Scratch of one worker for a given vocabulary; nothing is allocated while sampling.
typedef struct sample_scratch sample_scratch;
sample_scratch *sample_scratch_create(int vocab_size);
void sample_scratch_free(sample_scratch *s);

// logits [vocab] f32, changed in place. `position` is that of the row; the drawn id stands at
// position + 1. top_ids and top_logprobs have room for max(output->n_logprobs, 0) and are filled as
// result->top_ids, top_logprobs.
void sample_row(sample_scratch *s, float *logits, int vocab_size, const backend_output *output,
                int position, int32_t *top_ids, float *top_logprobs, backend_output_result *result);

#endif
