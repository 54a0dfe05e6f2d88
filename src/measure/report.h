// The numbers of a benchmark as vLLM prints and stores them, and two of them side by side.
#ifndef MEASURE_REPORT_H
#define MEASURE_REPORT_H

#include "measure/load.h"
#include "measure/metrics.h"

typedef struct measure_report_options {
    const measure_load_options *load;
    const measure_metrics_options *metrics;
    bool shown[MEASURE_KINDS]; // --percentile-metrics
    bool goodput;              // --goodput was given
} measure_report_options;

// The lines before the run.
void measure_report_traffic(base_str *out, const measure_load_options *load);
// The table.
void measure_report_table(base_str *out, const measure_metrics *m,
                          const measure_report_options *options);
// How often requests failed for which reason; nothing when none did.
void measure_report_failures(base_str *out, const measure_reply *replies, int n);

// A number as Python prints a float: "100.0", "inf".
void measure_report_float(base_str *out, double value);

typedef struct measure_result {
    const char *backend, *label; // label may be NULL
    const char *model, *tokenizer;
    const char *date;            // "20251106-153458"
    const char *const *metadata; // [n_metadata] "key=value"
    int n_metadata;
    bool detailed;
    int64_t wall_start_s; // when the load began
    const measure_samples *samples;
    const measure_reply *replies; // [samples->n]
    const measure_metrics *metrics;
    const measure_report_options *options;
} measure_result;

// "openai-infqps-concurrency8-Kimi-K2-Thinking-20251106-153458.json"
void measure_result_name(base_str *out, const measure_result *r);
// One line of JSON. Metadata without '=' are BASE_ERR_USAGE.
int measure_result_make(base_str *out, const measure_result *r, base_err *err);

// Two files made from results -> a table of metric, A, B, change, improvement.
int measure_compare(base_str *out, const char *path_a, const char *path_b, base_err *err);

#endif
