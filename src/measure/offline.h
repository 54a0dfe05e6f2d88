// Benchmarks without a server: requests straight into an engine of this process.
#ifndef MEASURE_OFFLINE_H
#define MEASURE_OFFLINE_H

#include "engine/engine.h"
#include "token/token.h"
#include <signal.h>

// Text or, with `text` NULL, ids.
typedef struct measure_offline_request {
    const char *text;
    size_t text_bytes;
    const int32_t *ids; // [n_ids]
    int n_ids;
    int output_len; // max_tokens
} measure_offline_request;

typedef struct measure_offline_options {
    engine *engine; // idle
    backend *backend;
    const token_vocab *vocab;
    int n; // choices of each request
    uint64_t seed;
    bool detokenize;                      // outputs are turned into text as well, which takes time
    const volatile sig_atomic_t *stop;    // other than 0: everything is aborted; may be NULL
    void (*on_done)(void *arg, int done); // as requests end; may be NULL
    void *arg;
} measure_offline_options;

typedef struct measure_offline_result {
    double seconds; // from the first request's tokenization to the last id
    int64_t prompt_tokens, output_tokens;
    uint64_t weight_bytes; // read by the steps
    double step_seconds;   // inside of steps
    bool stopped;
} measure_offline_result;

// All at once, sampled at temperature 1 beyond ends of sequence, as vLLM's offline benchmarks do.
// BASE_ERR_USAGE for a request that does not fit, BASE_ERR_RANK when the model broke.
int measure_offline_run(measure_offline_result *out, const measure_offline_request *requests, int n,
                        const measure_offline_options *options, base_err *err);

// What `threads` threads together read from memory, in GB/s (1e9), by a sum over memory far beyond
// the caches: the roofline of a step that reads weights. The best of many tries, as neighbours only
// slow down. 0 when there is no memory to try it on.
double measure_read_gbs(int threads);

#endif
