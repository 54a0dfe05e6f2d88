// Requests at given times, and what became of them.
#ifndef MEASURE_LOAD_H
#define MEASURE_LOAD_H

#include "base/base.h"
#include "measure/client.h"
#include "measure/sample.h"
#include "measure/stream.h"
#include <signal.h>
#include <stdbool.h>

typedef enum { MEASURE_STEADY, MEASURE_LINEAR, MEASURE_EXPONENTIAL } measure_ramp;

typedef struct measure_arrivals {
    double rate;       // requests/s; INFINITY: all at once
    double burstiness; // shape of the gamma distribution; 1: Poisson; INFINITY: constant gaps
    measure_ramp ramp; // other than steady: from `ramp_start` to `ramp_end` instead of `rate`
    double ramp_start, ramp_end;
    uint32_t seed; // numpy's global generator
} measure_arrivals;

// Seconds after the start at which each of `n` requests is due.
void measure_arrivals_draw(const measure_arrivals *a, int n, double *due);
// The rate at request `i` of `n`.
double measure_arrivals_rate(const measure_arrivals *a, int i, int n);

// How late this process itself was, by a beat every 10 ms: what is measured is too long by as much.
typedef struct measure_lateness {
    int n;
    double mean_ms, most_ms;
} measure_lateness;

typedef enum { MEASURE_COMPLETIONS, MEASURE_CHAT } measure_api;

typedef struct measure_load_options {
    measure_api api;
    const char *endpoint; // "/v1/completions"
    const char *model;    // the name that is sent
    const char *id_prefix;
    int logprobs;        // -1: none
    const json_t *extra; // an object put over each body; NULL: none
    bool compat_2025;    // of measure_stream
    bool keep_texts;     // else texts are dropped where the server counted their tokens
    measure_arrivals arrivals;
    int max_concurrency;                      // 0: as many as there are
    const volatile sig_atomic_t *interrupted; // may be NULL
    void (*progress)(void *arg, int done);    // called while requests end; may be NULL
    void *progress_arg;
    measure_lateness *late; // filled; may be NULL
} measure_load_options;

// The body of a request.
void measure_body_make(base_str *out, const measure_sample *sample,
                       const measure_load_options *options);

// Sends every sample and fills `replies` [samples->n], zeroed. Turns of a conversation follow each
// other. Returns the seconds from the start to the last end. Interrupted: requests that run keep
// end_ns 0, those not sent start_ns 0, and the client must not be run again.
double measure_load_run(measure_client *client, const measure_samples *samples,
                        const measure_load_options *options, measure_reply *replies);

#endif
