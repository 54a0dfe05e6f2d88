// A registry of counters, gauges and histograms, written as Prometheus text. Any thread may change
// a metric at any time; names and labels are fixed when it is made.
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/str.h"
#include <stdint.h>

typedef enum { BASE_COUNTER, BASE_GAUGE, BASE_HISTOGRAM } base_metric_kind;

typedef struct base_metrics base_metrics;
typedef struct base_metric base_metric;

base_metrics *base_metrics_create(void);
void base_metrics_free(base_metrics *m); // and all its metrics; NULL is fine

// `labels`: "model_name=\"x\",engine=\"0\"" with values already escaped (base_metrics_label), or
// "". Metrics of one name must be added one after the other. Strings are copied. Counters' names
// end in _total.
base_metric *base_metrics_add(base_metrics *m, base_metric_kind kind, const char *name,
                              const char *labels, const char *help);
// `bounds` [n] ascending upper bounds, without +Inf.
base_metric *base_metrics_add_histogram(base_metrics *m, const char *name, const char *labels,
                                        const char *help, const double *bounds, int n);
// Appends NAME="VALUE", the value escaped, with a comma before it unless `out` is empty.
void base_metrics_label(base_str *out, const char *name, const char *value);

void base_metric_set(base_metric *metric, double value); // counters: to a total kept elsewhere
void base_metric_add(base_metric *metric, double value);
void base_metric_observe(base_metric *histogram, double value);

void base_metrics_print(base_metrics *m, base_str *out);

#endif
