// backend: a step -> sampled ids and the log-probabilities asked for.
//
// Takes a plan of fixed arrays (rows of tokens, positions, block tables, what to sample), gives ids
// and log-probabilities, never whole logits. It must never know about requests or text.
//
// backend/reference is the formula in float64, backend/cpu the fast one; backend/sample turns a row
// of logits into an id for both; backend/replay plays scripts. A folder never includes another
// one's headers, but for sample.
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "base/base.h"
#include "model/model.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum { BACKEND_EXACT, BACKEND_FAST } backend_numerics;

typedef struct backend_options {
    backend_numerics numerics;
    int threads;       // >= 1
    int block_size;    // tokens of a cache block; a multiple of 8
    int64_t n_blocks;  // cache blocks; ids in block tables are [0, n_blocks)
    int interleave;    // attention class of position t: (t / interleave) % 8; >= 1
    int max_rows;      // token rows of a step
    int max_seqs;      // sequences of a step
    int max_outputs;   // output rows of a step
    int max_logprobs;  // log-probabilities per output row, at most the vocabulary
    int max_model_len; // positions are [0, max_model_len)
    bool progress;     // show loading progress
} backend_options;

// How one output row is sampled; vLLM's parameters and order (vllm.md section 5). Pointers are
// owned by the engine and stay valid until the step's result has been read.
typedef struct backend_sampling {
    float temperature;         // 0: greedy
    float top_p;               // (0, 1]; 1: off
    float min_p;               // [0, 1]; 0: off
    int top_k;                 // 0: off
    float presence, frequency; // over output ids
    float repetition;          // over prompt and output ids; 1: off
    uint64_t seed;             // key of the generator, with `choice` and the position
    uint32_t choice;           // index among the request's n
    const int32_t *history; // [n_history] prompt then output ids; may be NULL if no penalty is on
    int n_history, n_prompt;
    int n_bias;
    const int32_t *bias_ids; // [n_bias] added to the raw logits
    const float *bias_values;
    int n_banned;
    const int32_t *banned; // [n_banned] ids that cannot be sampled (bad words, min_tokens)
    int script;            // of backend_open_replay; other backends ignore it
    int n_later;           // how many times in a row the sequence's output has been LATER
    const uint32_t *mask;  // bitset over the vocabulary, 1 = allowed; NULL: all (constraints,
                           // allowed_token_ids)
} backend_sampling;

// A row of the step whose logits are wanted.
typedef struct backend_output {
    int row;                        // index into the step's token rows
    const backend_sampling *sample; // NULL: only the log-probability of `target` (prompt_logprobs)
    int32_t target;                 // used when sample is NULL
    int n_logprobs; // -1: none; 0: of the chosen id; k: also of the k most likely ids
} backend_output;

// A sequence's rows in the step: contiguous, ascending positions.
typedef struct backend_seq {
    int first_row, n_rows;
    int position;               // of its first row; all earlier positions are in the cache
    const int32_t *block_table; // [n_blocks] cache block of positions [i * block_size, ...)
    int n_blocks;
} backend_seq;

// A row's id may be "what output i of the previous step sampled".
#define BACKEND_ID_FROM_OUTPUT(i) (-1 - (int32_t)(i))

typedef struct backend_plan {
    int n_rows;
    const int32_t *ids; // [n_rows] token ids or BACKEND_ID_FROM_OUTPUT(i)
    int n_seqs;
    const backend_seq *seqs;
    int n_outputs;
    const backend_output *outputs; // rows never descend; several outputs may share one
} backend_plan;

typedef enum {
    BACKEND_OUTPUT_OK,
    BACKEND_OUTPUT_NAN,   // logits were not finite: the sequence must end with an error
    BACKEND_OUTPUT_EMPTY, // masks and bans left no id that can be sampled
    BACKEND_OUTPUT_LATER, // no id yet: the row must be planned again, after hold_ns; not of a
                          // prompt's row, whose `sample` is NULL
    BACKEND_OUTPUT_END,   // there is no further id: the sequence ends as at its length
} backend_status;

typedef struct backend_output_result {
    backend_status status;
    int32_t id;             // sampled, or the target
    float logprob;          // of `id`, from raw logits (before penalties and temperature)
    int rank;               // 1 + the number of ids that are strictly more likely
    int n_top;              // most likely ids, descending, ties by lower id
    const int32_t *top_ids; // [n_top]; valid until the next submit
    const float *top_logprobs;
    // The sequence is not to be planned again before this long after the moment for which this step
    // was due: the end of the last hold, or now if there was none.
    int64_t hold_ns;
    // Further ids of this step, in order, as results with status OK of which only id, logprob, rank
    // and top ones count. The engine takes no more top ids than were asked for.
    int n_more;
    const struct backend_output_result *more; // [n_more]; valid until the next submit
} backend_output_result;

typedef struct backend_result {
    int n_outputs;
    const backend_output_result *outputs; // [n_outputs]; valid until the next submit
} backend_result;

typedef struct backend_stats {
    uint64_t weight_bytes_resident, cache_bytes;
    uint64_t weight_bytes_read; // by all steps so far: what a roofline compares with
    double seconds;             // inside steps
    uint64_t near_ties; // expert selections whose margin was below 1e-6 of the last chosen score
} backend_stats;

typedef struct backend backend;

// Reads the weights of `m` and allocates the cache. `name` is "cpu" or "reference". `m` must
// outlive the backend.
int backend_open(backend **out, const char *name, const model *m, const backend_options *options,
                 base_err *err);
void backend_close(backend *b); // NULL is fine

// What a sequence is to say instead of what a model would. Ids beyond the last chunk's count come
// in chunks of that size. The first chunk is due prefill_ns + step_ns after its prompt has been
// computed, each other one step_ns after the one before was due; the end comes with the last one.
// Choices but the first find the prompt computed: their first chunk is due after step_ns.
typedef struct backend_script {
    const int32_t *ids; // [n_ids] the output
    int n_ids;
    const int *chunks; // [n_chunks] ids of step 1, of step 2, ...; each >= 1. None: one a step
    int n_chunks;
    int64_t prefill_ns; // before the first step
    int64_t step_ns;    // of each step
} backend_script;

// A backend that computes nothing and plays scripts: output i of a sequence is id i of the script
// that its backend_sampling names, with probability 1: log-probability 0, rank 1, and never more
// than itself among the most likely. The same goes for the ids of prompts. Temperature, masks, bans
// and all else of the sampling are ignored. Scripts are copied; their ids must be of the
// vocabulary, chunks at least 1, times in [0, 10^15]. Of the options only the limits matter;
// nothing is allocated for weights or cache. An error is BASE_ERR_USAGE.
int backend_open_replay(backend **out, const backend_script *scripts, int n_scripts,
                        const model_config *config, const backend_options *options, base_err *err);

// One step: submit fixes the plan (its arrays must stay unchanged until wait returns), wait returns
// the result. Plans the backend cannot run (limits, ids, positions) are bugs of the engine: abort.
void backend_submit(backend *b, const backend_plan *plan);
void backend_wait(backend *b, backend_result *result);

void backend_get_stats(const backend *b, backend_stats *out);

// Which kernels run, e.g. "avx512"; for the log.
const char *backend_describe(const backend *b);

// ---------------------------------------------------------------------------------------------
// For implementers: a backend begins with its operations.

typedef struct backend_ops {
    void (*close)(backend *b);
    void (*submit)(backend *b, const backend_plan *plan);
    void (*wait)(backend *b, backend_result *result);
    void (*get_stats)(const backend *b, backend_stats *out);
    const char *(*describe)(const backend *b);
} backend_ops;

struct backend {
    const backend_ops *ops;
    // What plans are checked against: filled and used by backend.c alone.
    const model_config *config;
    backend_options options;
    int last_outputs; // of the last step submitted
    bool in_flight;
};

#endif
