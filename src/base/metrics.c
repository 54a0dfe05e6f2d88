#include "base/metrics.h"

#include "base/json.h"
#include "base/mem.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

struct base_metric {
    base_metric_kind kind;
    char *name, *labels, *help;
    _Atomic uint64_t value; // the bits of a double; a histogram's sum
    int n_bounds;
    double *bounds;           // [n_bounds]
    _Atomic uint64_t *counts; // [n_bounds + 1] observations of each bucket alone, the last +Inf's
    base_metric *next;
};

struct base_metrics {
    base_metric *first, **last;
};

base_metrics *base_metrics_create(void) {
    base_metrics *m = base_calloc(1, sizeof *m);
    m->last = &m->first;
    return m;
}

void base_metrics_free(base_metrics *m) {
    if (m == NULL)
        return;
    while (m->first != NULL) {
        base_metric *metric = m->first;
        m->first = metric->next;
        base_free(metric->name);
        base_free(metric->labels);
        base_free(metric->help);
        base_free(metric->bounds);
        base_free((void *)metric->counts);
        base_free(metric);
    }
    base_free(m);
}

base_metric *base_metrics_add(base_metrics *m, base_metric_kind kind, const char *name,
                              const char *labels, const char *help) {
    base_metric *metric = base_calloc(1, sizeof *metric);
    metric->kind = kind;
    metric->name = base_strdup(name);
    metric->labels = base_strdup(labels);
    metric->help = base_strdup(help);
    *m->last = metric;
    m->last = &metric->next;
    return metric;
}

base_metric *base_metrics_add_histogram(base_metrics *m, const char *name, const char *labels,
                                        const char *help, const double *bounds, int n) {
    base_metric *metric = base_metrics_add(m, BASE_HISTOGRAM, name, labels, help);
    metric->n_bounds = n;
    metric->bounds = base_calloc((size_t)n + 1, sizeof *metric->bounds);
    memcpy(metric->bounds, bounds, (size_t)n * sizeof *bounds);
    metric->counts = base_calloc((size_t)n + 1, sizeof *metric->counts);
    return metric;
}

// ---------------------------------------------------------------------------------------------
// Values

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double value_of(const base_metric *metric) {
    uint64_t bits = atomic_load_explicit(&metric->value, memory_order_relaxed);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void base_metric_set(base_metric *metric, double value) {
    atomic_store_explicit(&metric->value, bits_of(value), memory_order_relaxed);
}

void base_metric_add(base_metric *metric, double value) {
    uint64_t old = atomic_load_explicit(&metric->value, memory_order_relaxed), sum;
    do {
        double now;
        memcpy(&now, &old, sizeof now);
        sum = bits_of(now + value);
    } while (!atomic_compare_exchange_weak_explicit(&metric->value, &old, sum, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void base_metric_observe(base_metric *histogram, double value) {
    if (isnan(value)) // it has no bucket and would spoil the sum for good
        return;
    int i = 0;
    while (i < histogram->n_bounds && value > histogram->bounds[i])
        i++;
    atomic_fetch_add_explicit(&histogram->counts[i], 1, memory_order_relaxed);
    base_metric_add(histogram, value);
}

// ---------------------------------------------------------------------------------------------
// Text

static void add_number(base_str *out, double value) {
    if (isnan(value))
        base_str_adds(out, "NaN");
    else if (isinf(value))
        base_str_adds(out, value > 0 ? "+Inf" : "-Inf");
    else
        base_json_add_double(out, value);
}

// Values may come from a command line: what is not UTF-8 must not spoil the whole page.
void base_metrics_label(base_str *out, const char *name, const char *value) {
    base_str_printf(out, "%s%s=\"", out->len > 0 ? "," : "", name);
    for (size_t len = strlen(value), step; len > 0; value += step, len -= step) {
        bool valid;
        step = base_utf8_next(value, len, &valid);
        if (!valid)
            base_str_adds(out, "\xef\xbf\xbd");
        else if (*value == '\n')
            base_str_adds(out, "\\n");
        else if (*value == '"' || *value == '\\')
            base_str_printf(out, "\\%c", *value);
        else
            base_str_add(out, value, step);
    }
    base_str_adds(out, "\"");
}

static void print_head(const base_metric *metric, base_str *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    base_str_printf(out, "# HELP %s ", metric->name);
    for (const char *p = metric->help; *p != '\0'; p++) {
        if (*p == '\n')
            base_str_adds(out, "\\n");
        else if (*p == '\\')
            base_str_adds(out, "\\\\");
        else
            base_str_add(out, p, 1);
    }
    base_str_printf(out, "\n# TYPE %s %s\n", metric->name, kinds[metric->kind]);
}

static void print_sample(const base_metric *metric, const char *suffix, double value,
                         base_str *out) {
    base_str_printf(out, "%s%s", metric->name, suffix);
    if (metric->labels[0] != '\0')
        base_str_printf(out, "{%s}", metric->labels);
    base_str_adds(out, " ");
    add_number(out, value);
    base_str_adds(out, "\n");
}

// The count is what the buckets add up to, so that the two always agree.
static void print_histogram(const base_metric *metric, base_str *out) {
    uint64_t count = 0;
    for (int i = 0; i <= metric->n_bounds; i++) {
        count += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
        base_str_printf(out, "%s_bucket{%s%sle=\"", metric->name, metric->labels,
                        metric->labels[0] != '\0' ? "," : "");
        add_number(out, i < metric->n_bounds ? metric->bounds[i] : HUGE_VAL);
        base_str_adds(out, "\"} ");
        add_number(out, (double)count);
        base_str_adds(out, "\n");
    }
    print_sample(metric, "_sum", value_of(metric), out);
    print_sample(metric, "_count", (double)count, out);
}

void base_metrics_print(base_metrics *m, base_str *out) {
    const char *last_name = "";
    for (const base_metric *metric = m->first; metric != NULL; metric = metric->next) {
        if (strcmp(metric->name, last_name) != 0)
            print_head(metric, out);
        last_name = metric->name;
        if (metric->kind == BASE_HISTOGRAM)
            print_histogram(metric, out);
        else
            print_sample(metric, "", value_of(metric), out);
    }
}
