// engine: ids + parameters -> ids.
//
// Takes requests made of token ids and sampling parameters, gives events made of token ids. Owns
// the scheduler, block tables, prefix cache and request states. It must never know text, HTTP or
// JSON.
//
// The object is single-threaded: engine_step does one step of everything. engine_thread (below)
// runs one in a thread of its own and moves requests and events over queues, so that I/O threads
// never wait for a step and the engine never waits for a client.
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "backend/backend.h"
#include "base/base.h"
#include "grammar/grammar.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct engine_options {
    int max_num_seqs;           // running sequences; a choice of a request is a sequence
    int max_num_batched_tokens; // token rows of a step, >= max_num_seqs
    int max_outputs;   // output rows of a step, >= max_num_seqs; 0: max_num_seqs. Rows beyond
                       // max_num_seqs are what prompt_logprobs can use to go faster
    int max_model_len; // prompt + output
    int max_queue; // waiting choices: with more than max_num_seqs + max_queue alive, ENGINE_BUSY
    int block_size;
    int64_t n_blocks;
    bool prefix_caching;
    int max_logprobs; // -1: the vocabulary
    int vocab_size;
    int n_eos;
    int32_t eos_ids[MODEL_MAX_EOS];
} engine_options;

// vLLM's repetition_detection: ends a choice when the tail of its output is one pattern of
// min_pattern..max_pattern ids, at least min_count times in a row. max_pattern 0: off.
typedef struct engine_repetition {
    int max_pattern; // at most 8192
    int min_pattern; // 0 is 1
    int min_count;   // >= 2
} engine_repetition;

typedef struct engine_params {
    int n;          // choices, >= 1
    int max_tokens; // >= 1; the engine also stops at max_model_len, and where the pool of blocks
                    // ends
    int min_tokens; // EOS and stop ids cannot be sampled before
    float temperature, top_p, min_p, presence, frequency, repetition;
    int top_k; // 0 or -1: off
    bool has_seed;
    uint64_t seed;
    bool ignore_eos;
    int n_logprobs;        // -1: none
    int n_prompt_logprobs; // -1: none
    int n_stop_ids;
    const int32_t *stop_ids;
    int n_bias;
    const int32_t *bias_ids;
    const float *bias_values; // clamped to [-100, 100] by the engine
    int n_allowed;
    const int32_t *allowed_ids; // 0: all
    int n_bad_words; // sequences of ids whose last id is blocked after the others, in the
                     // output (the prompt does not count)
    const int32_t *const *bad_words;
    const int *bad_word_lens;
    engine_repetition repetition_detection;
    int script;          // which script a replaying backend plays; others ignore it
    uint64_t cache_salt; // prefix-cache blocks are never shared across salts
    grammar *grammar;    // constrains each choice's output from its first id; NULL: nothing does.
                         // The engine takes a reference of its own
} engine_params;

// n = 1, max_tokens 16, temperature 1, top_p 1, repetition 1, no log-probabilities.
void engine_params_init(engine_params *p);

typedef enum { ENGINE_ACCEPTED = 0, ENGINE_BUSY = 1, ENGINE_INVALID = 2 } engine_submit_status;

typedef enum {
    ENGINE_EVENT_PROMPT, // prompt log-probabilities of one position
    ENGINE_EVENT_TOKEN,
    ENGINE_EVENT_FINISH, // last event of a choice
} engine_event_kind;

typedef enum {
    ENGINE_FINISH_STOP, // EOS or a stop id; the id itself was an event before
    ENGINE_FINISH_LENGTH,
    ENGINE_FINISH_REPETITION, // repetition_detection
    ENGINE_FINISH_ABORT,
    ENGINE_FINISH_ERROR, // NaN guard (ends all choices), or nothing left to sample; see `error`
} engine_finish;

typedef struct engine_logprob {
    int32_t id;
    float logprob;
} engine_logprob;

// Why a prompt's prefix was not found in the cache beyond n_cached, though more of it could have
// been. Only what has the same salt is ever compared: that a prompt is cached under another salt
// is not said, as salts exist so that nobody learns what others have asked.
typedef enum {
    ENGINE_MISS_NONE,     // all that could be found was (the last block is never whole), or nothing
                          // that begins so is remembered
    ENGINE_MISS_DIFFERS,  // an earlier prompt or output begins alike and differs at `miss_at`
    ENGINE_MISS_EVICTED,  // it had been cached, and made room for others
    ENGINE_MISS_NOT_READ, // prompt log-probabilities were asked for: the cache is not read
} engine_miss;
const char *engine_miss_name(engine_miss miss); // "differs", "evicted", ...; NULL for none

typedef struct engine_event {
    uint64_t request;
    int choice;
    engine_event_kind kind;
    int32_t id;    // TOKEN: sampled id; PROMPT: the prompt's id
    int position;  // of `id` in prompt + output
    float logprob; // when log-probabilities were asked for
    int rank;
    int n_top;
    engine_logprob *top; // owned by the event; freed by engine_event_free
    engine_finish finish;
    int32_t stop_id;   // FINISH_STOP: which id, else -1
    const char *error; // static text
    bool by_request;   // FINISH_ERROR: the request's own lists are the cause, not the server: they
                       // left no id to sample
    // FINISH: usage. n_cached: prompt ids found in the prefix cache when the request was first
    // admitted; what recomputation after a preemption finds is not counted.
    int n_prompt, n_output, n_cached;
    engine_miss miss;
    int miss_at; // position in the prompt of the first id that differs, or that is not cached
    int64_t queued_ns, prefill_ns, decode_ns; // of the choice; a phase not reached is 0
} engine_event;

void engine_event_free(engine_event *e); // what it owns, not the struct

typedef struct engine_stats {
    int running, waiting;              // choices
    int64_t blocks_total, blocks_free; // free: not referenced (cached ones count as free)
    uint64_t steps, tokens_computed, prompt_tokens, generation_tokens;
    uint64_t prefix_queries, prefix_hits; // tokens
    uint64_t preemptions, nan_guard;
    // base_now_ns when a step last ended, work last began after idleness, or the engine last waited
    // for a hold to end. Means something only while running + waiting > 0.
    int64_t last_progress_ns;
    uint64_t finished_stop, finished_length, finished_repetition, finished_abort, finished_error;
} engine_stats;

typedef struct engine engine;

// 0, or BASE_ERR_USAGE with the option's name in `err`.
int engine_options_check(const engine_options *options, base_err *err);
// `b` must outlive the engine. Options must match the backend's, and have passed the check above.
// ABRUZZI_FAULTS=1 with NAN_AT_STEP=k makes the outputs of step k count as NaN (steps count from
// 1), with SLOW_STEP_MS=t each step takes at least t ms, with STALL_RANK=0 no step ever ends.
engine *engine_create(backend *b, const engine_options *options);
void engine_destroy(engine *e); // NULL is fine; unfinished requests vanish without events

// Copies the prompt and all parameters. Ids are the caller's and must be unique among live
// requests. On ENGINE_INVALID `err` (BASE_ERR_USAGE) is "FIELD: reason", FIELD being the
// parameter's name in the API (top_p, logit_bias, ...) or "prompt". ENGINE_BUSY fills it too
// (BASE_ERR_RESOURCE).
engine_submit_status engine_submit(engine *e, uint64_t id, const int32_t *prompt, int n_prompt,
                                   const engine_params *params, base_err *err);
// Ends a request in any state; its choices get ENGINE_FINISH_ABORT. Unknown ids are ignored.
void engine_abort(engine *e, uint64_t id);

// Runs one step if there is work, and returns false when there was none. While the backend holds
// every sequence (backend_output_result.hold_ns) it sleeps first; a signal ends that sleep, and the
// call returns true without a step.
bool engine_step(engine *e);
// Takes the next event; false when there is none. The caller frees it.
bool engine_next_event(engine *e, engine_event *out);
void engine_get_stats(const engine *e, engine_stats *out);

// ---------------------------------------------------------------------------------------------
// The engine in a thread of its own.

typedef struct engine_thread engine_thread;

// Starts a thread that owns `e` from now on (destroyed by engine_thread_stop). `wake` is called
// from the engine's thread when events become available and must not block. BASE_ERR_RESOURCE when
// the system gives no thread: `e` is destroyed then too.
int engine_thread_start(engine_thread **out, engine *e, void (*wake)(void *arg), void *arg,
                        base_err *err);
// Waits for the end of the step; a stalled engine cannot be stopped. NULL is fine.
void engine_thread_stop(engine_thread *t);

// Callable from any thread; never waits for a step. A full or invalid request is answered at once.
engine_submit_status engine_thread_submit(engine_thread *t, uint64_t id, const int32_t *prompt,
                                          int n_prompt, const engine_params *params, base_err *err);
void engine_thread_abort(engine_thread *t, uint64_t id);
bool engine_thread_next_event(engine_thread *t, engine_event *out);
// As of the last step, but for `waiting` and last_progress_ns, which are never stale: whoever
// watches for a stuck step needs nothing else.
void engine_thread_get_stats(engine_thread *t, engine_stats *out);

#endif
