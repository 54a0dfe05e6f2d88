#include "measure/report.h"
#include <math.h>
#include <string.h>

enum { WIDTH = 50, MOST_REASONS = 20 };

void measure_report_float(base_str *out, double value) {
    if (isinf(value))
        base_str_adds(out, value < 0 ? "-inf" : "inf");
    else
        base_json_add_double(out, value);
}

// ---------------------------------------------------------------------------------------------
// Before the run

// Rates of a ramp are integers in vLLM.
static void add_rate(base_str *out, double rate) {
    if (rate == floor(rate) && fabs(rate) < 1e15)
        base_str_printf(out, "%.0f", rate);
    else
        measure_report_float(out, rate);
}

void measure_report_traffic(base_str *out, const measure_load_options *load) {
    const measure_arrivals *a = &load->arrivals;
    if (a->ramp != MEASURE_STEADY) {
        base_str_printf(out, "Traffic ramp-up strategy: %s.\nWill increase RPS from ",
                        a->ramp == MEASURE_LINEAR ? "linear" : "exponential");
        add_rate(out, a->ramp_start);
        base_str_adds(out, " to ");
        add_rate(out, a->ramp_end);
        base_str_adds(out, " RPS over the duration of the benchmark.\n");
    } else {
        base_str_adds(out, "Traffic request rate: ");
        measure_report_float(out, a->rate);
        base_str_adds(out, "\n");
    }
    base_str_adds(out, "Burstiness factor: ");
    measure_report_float(out, a->burstiness);
    base_str_printf(out, " (%s)\n", a->burstiness == 1 ? "Poisson process" : "Gamma distribution");
    if (load->max_concurrency > 0)
        base_str_printf(out, "Maximum request concurrency: %d\n", load->max_concurrency);
    else
        base_str_adds(out, "Maximum request concurrency: None\n");
}

// ---------------------------------------------------------------------------------------------
// The table

static void add_count(base_str *out, const char *label, int64_t value) {
    base_str_printf(out, "%-40s %-10lld\n", label, (long long)value);
}

static void add_number(base_str *out, const char *label, double value) {
    base_str_printf(out, "%-40s %-10.2f\n", label, value);
}

// `text` in the middle of WIDTH times `fill`; of an odd rest more stands behind it.
static void add_headline(base_str *out, const char *text, char fill) {
    char line[WIDTH + 1];
    size_t len = strlen(text);
    memset(line, fill, WIDTH);
    memcpy(line + (WIDTH - len) / 2, text, len);
    line[WIDTH] = '\0';
    base_str_printf(out, "%s\n", line);
}

static void add_statistic(base_str *out, const char *kind, const char *name, double value) {
    char label[64];
    snprintf(label, sizeof label, "%s %s (ms):", kind, name);
    add_number(out, label, value);
}

// "99", "99.9"
static void percentile_name(char out[40], double p) {
    base_str text = {0};
    add_rate(&text, p);
    snprintf(out, 40, "%s", text.data);
    base_str_free(&text);
}

static void add_section(base_str *out, int kind, const measure_metrics *m,
                        const measure_metrics_options *o) {
    static const char *const names[] = {"TTFT", "TPOT", "ITL", "E2EL"};
    static const char *const headlines[] = {
        "Time to First Token",
        "Time per Output Token (excl. 1st token)",
        "Inter-token Latency",
        "End-to-end Latency",
    };
    const measure_stat *s = &m->stats[kind];
    add_headline(out, headlines[kind], '-');
    add_statistic(out, "Mean", names[kind], s->mean);
    add_statistic(out, "Median", names[kind], s->median);
    for (int i = 0; i < o->n_percentiles; i++) {
        char word[48] = "P", number[40];
        percentile_name(number, o->percentiles[i]);
        strncat(word, number, sizeof word - 2);
        add_statistic(out, word, names[kind], s->percentiles[i]);
    }
}

void measure_report_table(base_str *out, const measure_metrics *m,
                          const measure_report_options *options) {
    const measure_load_options *load = options->load;
    bool compat = options->metrics->compat_2025;
    add_headline(out, " Serving Benchmark Result ", '=');
    add_count(out, "Successful requests:", m->completed);
    add_count(out, "Failed requests:", m->failed);
    if (load->max_concurrency > 0)
        add_count(out, "Maximum request concurrency:", load->max_concurrency);
    if (!isinf(load->arrivals.rate) && load->arrivals.ramp == MEASURE_STEADY)
        add_number(out, "Request rate configured (RPS):", load->arrivals.rate);
    add_number(out, "Benchmark duration (s):", m->duration);
    add_count(out, "Total input tokens:", m->total_input);
    add_count(out, "Total generated tokens:", m->total_output);
    add_number(out, "Request throughput (req/s):", m->request_throughput);
    if (options->goodput)
        add_number(out, "Request goodput (req/s):", m->goodput);
    add_number(out, "Output token throughput (tok/s):", m->output_throughput);
    add_number(out, "Peak output token throughput (tok/s):", m->peak_output);
    add_number(out, "Peak concurrent requests:", m->peak_concurrent);
    add_number(out, compat ? "Total Token throughput (tok/s):" : "Total token throughput (tok/s):",
               m->total_throughput);
    for (int k = 0; k < MEASURE_KINDS; k++) {
        if (options->shown[k])
            add_section(out, k, m, options->metrics);
    }
    add_headline(out, "", '=');
}

void measure_report_failures(base_str *out, const measure_reply *replies, int n) {
    measure_reason *reasons;
    int kinds = measure_reasons_count(&reasons, replies, n);
    if (kinds > 0)
        base_str_adds(out, "Failed requests by reason:\n");
    for (int i = 0; i < kinds && i < MOST_REASONS; i++)
        base_str_printf(out, "%8d  %s\n", reasons[i].count, reasons[i].text);
    if (kinds > MOST_REASONS)
        base_str_printf(out, "          and %d other reasons\n", kinds - MOST_REASONS);
    base_free(reasons);
}
