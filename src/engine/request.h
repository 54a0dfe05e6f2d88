// Requests and their sequences, one per choice: what they own and the states they go through.
//
//   NEW -> WAITING -> RUNNING -> FINISHED        abort and errors: from any state to FINISHED
//            ^           |
//            +-----------+  preempted
//
// Only a RUNNING sequence holds blocks. Choice 0 waits from the start; a later choice is NEW until
// the prompt is computed and the choice before it has been admitted, so that the prompt's full
// blocks can be shared and n choices take one place of the waiting list at a time.
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H

#include "engine/engine.h"

enum {
    ENGINE_MAX_N = 16384,
    ENGINE_MAX_STOP_IDS = 4096,
    ENGINE_MAX_PATTERN = 8192,
    ENGINE_MAX_BAD_WORD_IDS = 16384, // over all bad words
};

// Below the first a temperature is 0, greedy; below the second it is raised to it, as dividing by
// less would take logits out of float's range.
#define ENGINE_GREEDY_BELOW 1e-5f
#define ENGINE_MIN_TEMPERATURE 0.01f

// The options with defaults filled in, and what follows from them.
typedef struct engine_limits {
    engine_options options;
    int max_ids;      // prompt + output: max_model_len, or where a sequence would fill the pool
    int max_logprobs; // never negative
    int64_t capacity; // live choices
} engine_limits;

void engine_limits_init(engine_limits *l, const engine_options *options);

typedef enum {
    ENGINE_SEQ_NEW,
    ENGINE_SEQ_WAITING,
    ENGINE_SEQ_RUNNING,
    ENGINE_SEQ_FINISHED
} engine_seq_state;

typedef struct engine_request engine_request;

// 0 <= n_computed < n_ids, but while a step's result is handled; n_table * block_size >=
// n_computed.
typedef struct engine_seq {
    engine_request *request;
    int choice;
    engine_seq_state state;
    int32_t *ids; // [request->max_ids] prompt then output; filled when first admitted
    int n_ids;
    int n_computed; // ids whose cache entries are in the blocks
    int64_t due_ns; // not planned before: the end of the last hold. 0: never held
    int32_t *table; // [blocks for request->max_ids] block of positions [i * block_size, ...)
    int n_table;
    int n_hashed;              // table[0, n_hashed) has been offered to the prefix cache
    bool unhashable;           // the chain cannot be cached further
    int owed;                  // next prompt position whose log-probability is owed; n_prompt: none
    int planned;               // rows in the step being planned
    int32_t *banned;           // [request->max_banned]
    grammar_state *constraint; // of the output so far; NULL: there is none
    uint32_t *mask;            // [request->n_mask_words] scratch: what the constraint allows next
    int *runs; // [request->repetition.max_pattern] of pattern size i + 1: how many of the
               // last ids in a row equal the id that stands a pattern before them
    backend_sampling sampling;
    int64_t admitted_ns, first_token_ns; // 0: not yet
    struct engine_seq *prev, *next;      // in the waiting list
} engine_seq;

struct engine_request {
    uint64_t id, arrival;
    int64_t submitted_ns;
    int n_prompt, n_choices, n_live;
    int max_ids, min_output;
    int n_logprobs, n_prompt_logprobs;
    bool ignore_eos;
    bool prompt_done; // later choices may start
    uint64_t salt;
    int n_cached; // -1: not admitted yet
    engine_miss miss;
    int miss_at;
    int n_stop_ids;
    int32_t *stop_ids; // [n_stop_ids] ascending
    int n_bad_words;
    int32_t *bad_ids;   // all bad words, one after the other
    int *bad_ends;      // [n_bad_words] end of each in bad_ids
    int32_t *bias_ids;  // [n_bias]
    float *bias_values; // [n_bias]
    int n_mask_words;   // vocab / 32 rounded up
    uint32_t *mask;     // [n_mask_words] bitset of the ids allowed at all, or NULL
    int max_banned;
    engine_seq *seqs; // [n_choices]
    engine_repetition repetition;
    int *runs;
    int32_t *ids, *tables, *banned; // what the sequences' arrays are parts of
    uint32_t *masks;
    engine_request *next; // in its bucket, or in a list of commands or of the dead
};

// 0, or BASE_ERR_USAGE with "FIELD: reason".
int engine_params_check(const engine_limits *l, const int32_t *prompt, int n_prompt,
                        const engine_params *p, base_err *err);
// Copies everything, from parameters that have been checked. NULL when memory is out. Reads nothing
// of an engine but its limits, so any thread may call it.
engine_request *engine_request_create(const engine_limits *l, uint64_t id, const int32_t *prompt,
                                      int n_prompt, const engine_params *p);
void engine_request_free(engine_request *r); // NULL is fine

bool engine_request_stops_at(const engine_request *r, const engine_options *o, int32_t id);
// Appends an id to the output. Whether the output may end with it: there are min_tokens ids, or
// nothing else was allowed.
bool engine_seq_append(engine_seq *s, int32_t id);
// To be called once for each id sampled: whether the output now ends in a pattern that the request
// calls a repetition.
bool engine_seq_repeats(engine_seq *s);
// Brings `sampling` up to date: the history, and the ids that cannot come next.
void engine_seq_prepare(engine_seq *s, const engine_options *o);

#endif
