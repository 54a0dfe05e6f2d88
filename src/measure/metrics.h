// Replies -> the numbers of a benchmark, by vLLM's definitions.
#ifndef MEASURE_METRICS_H
#define MEASURE_METRICS_H

#include "measure/sample.h"
#include "measure/stream.h"

enum { MEASURE_MAX_PERCENTILES = 32 };

enum { MEASURE_TTFT, MEASURE_TPOT, MEASURE_ITL, MEASURE_E2EL, MEASURE_KINDS };

typedef struct measure_metrics_options {
    const token_vocab *vocab; // counts texts of servers that tell no usage
    double percentiles[MEASURE_MAX_PERCENTILES];
    int n_percentiles;
    double goodput_ms[MEASURE_KINDS]; // the most a good request may take; negative: no limit
    bool compat_2025; // prompt lengths as counted here; concurrency in buckets of a second
} measure_metrics_options;

// Of all values of a kind, in ms. Without values all are 0.
typedef struct measure_stat {
    double mean, median, std;
    double percentiles[MEASURE_MAX_PERCENTILES];
} measure_stat;

typedef struct measure_metrics {
    int completed, failed, unfinished; // the last: neither, after an interrupt
    double duration;                   // seconds
    int64_t total_input, total_output; // tokens
    double request_throughput, goodput, output_throughput, total_throughput; // a second
    double peak_output; // chunks in the second with the most of them
    int peak_concurrent;
    measure_stat stats[MEASURE_KINDS];
    int *input_lens, *output_lens; // [n] of each request; output 0 where it failed
} measure_metrics;

void measure_metrics_make(measure_metrics *out, const measure_samples *samples,
                          const measure_reply *replies, double duration,
                          const measure_metrics_options *options);
void measure_metrics_free(measure_metrics *m);

// numpy.percentile(values, p) with its linear interpolation; `sorted` [n], n > 0.
double measure_percentile(const double *sorted, size_t n, double p);

// "HTTP 429: ..." -> how often; by falling count. Texts that differ in numbers alone are one
// reason, shown by the first of them. They belong to the replies.
typedef struct measure_reason {
    const char *text;
    int count;
} measure_reason;

// Returns how many there are; the caller frees *out.
int measure_reasons_count(measure_reason **out, const measure_reply *replies, int n);

#endif
