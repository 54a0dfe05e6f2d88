// The file of a benchmark, with the keys vLLM gives it.
#include "measure/report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// ---------------------------------------------------------------------------------------------
// Its name

void measure_result_name(base_str *out, const measure_result *r) {
    const measure_load_options *load = r->options->load;
    const measure_arrivals *a = &load->arrivals;
    const char *slash = strrchr(r->model, '/');
    base_str_printf(out, "%s-", r->label != NULL ? r->label : r->backend);
    if (a->ramp != MEASURE_STEADY) {
        base_str_printf(out, "ramp-up-%s-%.10gqps-%.10gqps",
                        a->ramp == MEASURE_LINEAR ? "linear" : "exponential", a->ramp_start,
                        a->ramp_end);
    } else {
        measure_report_float(out, a->rate);
        base_str_adds(out, "qps");
    }
    if (load->max_concurrency > 0)
        base_str_printf(out, "-concurrency%d", load->max_concurrency);
    base_str_printf(out, "-%s-%s.json", slash != NULL ? slash + 1 : r->model, r->date);
}

// ---------------------------------------------------------------------------------------------
// Members

static void add_key(base_str *out, const char *key) {
    base_str_adds(out, out->len > 1 ? ", " : "");
    base_json_add_string(out, key, strlen(key));
    base_str_adds(out, ": ");
}

static void add_text(base_str *out, const char *key, const char *value) {
    add_key(out, key);
    if (value != NULL)
        base_json_add_string(out, value, strlen(value));
    else
        base_str_adds(out, "null");
}

static void add_integer(base_str *out, const char *key, int64_t value) {
    add_key(out, key);
    base_str_printf(out, "%lld", (long long)value);
}

static void add_double(base_str *out, const char *key, double value) {
    add_key(out, key);
    base_json_add_double(out, value);
}

// JSON knows no infinity: it is the word.
static void add_rate(base_str *out, const char *key, double value) {
    if (isinf(value))
        add_text(out, key, "inf");
    else
        add_double(out, key, value);
}

static int add_metadata(base_str *out, const measure_result *r, base_err *err) {
    for (int i = 0; i < r->n_metadata; i++) {
        const char *equals = strchr(r->metadata[i], '=');
        if (equals == NULL)
            return base_fail(err, BASE_ERR_USAGE, "--metadata: '%s' is not KEY=VALUE",
                             r->metadata[i]);
        char *key = base_strndup(r->metadata[i], (size_t)(equals - r->metadata[i]));
        add_text(out, key, equals + 1);
        base_free(key);
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Lists with a member for each request.

typedef void (*add_one)(base_str *out, const measure_result *r, int i);

static double seconds(int64_t from_ns, int64_t to_ns) {
    return from_ns != 0 && to_ns != 0 ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

static void one_input(base_str *out, const measure_result *r, int i) {
    base_str_printf(out, "%d", r->metrics->input_lens[i]);
}

static void one_output(base_str *out, const measure_result *r, int i) {
    base_str_printf(out, "%d", r->metrics->output_lens[i]);
}

static void one_ttft(base_str *out, const measure_result *r, int i) {
    base_json_add_double(out, seconds(r->replies[i].start_ns, r->replies[i].first_ns));
}

static void one_itl(base_str *out, const measure_result *r, int i) {
    base_str_adds(out, "[");
    for (size_t j = 0; j < r->replies[i].n_gaps; j++) {
        base_str_adds(out, j > 0 ? ", " : "");
        base_json_add_double(out, r->replies[i].gaps[j]);
    }
    base_str_adds(out, "]");
}

static void one_start(base_str *out, const measure_result *r, int i) {
    base_json_add_double(out, (double)r->replies[i].start_ns * 1e-9);
}

static void one_latency(base_str *out, const measure_result *r, int i) {
    base_json_add_double(out, seconds(r->replies[i].start_ns, r->replies[i].last_ns));
}

static void one_queue_time(base_str *out, const measure_result *r, int i) {
    base_json_add_double(out, seconds(r->replies[i].due_ns, r->replies[i].start_ns));
}

static void one_text(base_str *out, const measure_result *r, int i) {
    const base_str *text = &r->replies[i].text;
    base_json_add_string(out, text->data != NULL ? text->data : "", text->len);
}

static void one_error(base_str *out, const measure_result *r, int i) {
    const char *error = r->replies[i].error;
    if (error == NULL)
        error = r->replies[i].success ? "" : "interrupted";
    base_json_add_string(out, error, strlen(error));
}

// The keys in vLLM's order, and which of them are there without details, too.
static void add_lists(base_str *out, const measure_result *r) {
    static const struct {
        const char *key;
        add_one add;
        bool always;
    } lists[] = {
        {"input_lens", one_input, false},
        {"output_lens", one_output, false},
        {"ttfts", one_ttft, false},
        {"itls", one_itl, false},
        {"latencies", one_latency, true},
        {"start_times", one_start, false},
        {"queue_times", one_queue_time, true},
        {"generated_texts", one_text, false},
        {"errors", one_error, false},
    };
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        if (!lists[k].always && !r->detailed)
            continue;
        add_key(out, lists[k].key);
        base_str_adds(out, "[");
        for (int i = 0; i < r->samples->n; i++) {
            base_str_adds(out, i > 0 ? ", " : "");
            lists[k].add(out, r, i);
        }
        base_str_adds(out, "]");
    }
}

// ---------------------------------------------------------------------------------------------
// Ramps: when each whole rate was reached.

static void add_rate_event(base_str *out, int rps, int64_t wall_s, double after) {
    time_t at = (time_t)(wall_s + (int64_t)after);
    struct tm tm;
    char text[40];
    localtime_r(&at, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    base_str_printf(out, "%s{\"rps\": %d, \"timestamp\": \"%s\"}",
                    out->data[out->len - 1] == '[' ? "" : ", ", rps, text);
}

static void add_rate_events(base_str *out, const measure_result *r) {
    const measure_arrivals *a = &r->options->load->arrivals;
    int n = r->samples->n, last = (int)a->ramp_start;
    add_key(out, "rps_change_events");
    base_str_adds(out, "[");
    add_rate_event(out, last, r->wall_start_s, 0);
    for (int i = 0; i < n && r->replies[i].due_ns != 0; i++) {
        double after = seconds(r->replies[0].due_ns, r->replies[i].due_ns);
        for (int rate = (int)measure_arrivals_rate(a, i, n); last < rate;)
            add_rate_event(out, ++last, r->wall_start_s, after);
    }
    base_str_adds(out, "]");
}

// ---------------------------------------------------------------------------------------------
// The whole

static void add_statistics(base_str *out, const measure_result *r, int kind) {
    static const char *const names[] = {"ttft", "tpot", "itl", "e2el"};
    const measure_stat *s = &r->metrics->stats[kind];
    const measure_metrics_options *o = r->options->metrics;
    char key[64];
    snprintf(key, sizeof key, "mean_%s_ms", names[kind]);
    add_double(out, key, s->mean);
    snprintf(key, sizeof key, "median_%s_ms", names[kind]);
    add_double(out, key, s->median);
    snprintf(key, sizeof key, "std_%s_ms", names[kind]);
    add_double(out, key, s->std);
    for (int i = 0; i < o->n_percentiles; i++) {
        snprintf(key, sizeof key, "p%.10g_%s_ms", o->percentiles[i], names[kind]);
        add_double(out, key, s->percentiles[i]);
    }
}

static void add_numbers(base_str *out, const measure_result *r) {
    const measure_metrics *m = r->metrics;
    add_double(out, "duration", m->duration);
    add_integer(out, "completed", m->completed);
    add_integer(out, "failed", m->failed);
    add_integer(out, "total_input_tokens", m->total_input);
    add_integer(out, "total_output_tokens", m->total_output);
    add_double(out, "request_throughput", m->request_throughput);
    if (r->options->goodput)
        add_double(out, "request_goodput", m->goodput);
    else
        add_text(out, "request_goodput", NULL);
    add_double(out, "output_throughput", m->output_throughput);
    add_double(out, "total_token_throughput", m->total_throughput);
    add_lists(out, r);
    add_double(out, "max_output_tokens_per_s", m->peak_output);
    add_integer(out, "max_concurrent_requests", m->peak_concurrent);
    add_double(out, "rtfx", 0);
}

int measure_result_make(base_str *out, const measure_result *r, base_err *err) {
    const measure_load_options *load = r->options->load;
    base_str_adds(out, "{");
    add_text(out, "date", r->date);
    add_text(out, "endpoint_type", r->backend);
    add_text(out, "backend", r->backend);
    add_text(out, "label", r->label);
    add_text(out, "model_id", r->model);
    add_text(out, "tokenizer_id", r->tokenizer);
    add_integer(out, "num_prompts", r->samples->n);
    int rc = add_metadata(out, r, err);
    if (rc != 0)
        return rc;
    add_rate(out, "request_rate", load->arrivals.rate);
    add_rate(out, "burstiness", load->arrivals.burstiness);
    if (load->max_concurrency > 0)
        add_integer(out, "max_concurrency", load->max_concurrency);
    else
        add_text(out, "max_concurrency", NULL);
    if (load->arrivals.ramp != MEASURE_STEADY) {
        add_text(out, "ramp_up_strategy",
                 load->arrivals.ramp == MEASURE_LINEAR ? "linear" : "exponential");
        add_integer(out, "ramp_up_start_rps", (int64_t)load->arrivals.ramp_start);
        add_integer(out, "ramp_up_end_rps", (int64_t)load->arrivals.ramp_end);
    }
    add_numbers(out, r);
    if (load->arrivals.ramp != MEASURE_STEADY)
        add_rate_events(out, r);
    for (int k = 0; k < MEASURE_KINDS; k++) {
        if (r->options->shown[k])
            add_statistics(out, r, k);
    }
    base_str_adds(out, "}");
    return 0;
}
