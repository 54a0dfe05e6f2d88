#include "measure/metrics.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct values {
    double *at; // [n]
    size_t n, cap;
} values;

static void add(values *v, double value) {
    if (v->n == v->cap) {
        v->cap = v->cap > 0 ? 2 * v->cap : 1024;
        v->at = base_realloc(v->at, v->cap * sizeof *v->at);
    }
    v->at[v->n++] = value;
}

static double seconds(int64_t from_ns, int64_t to_ns) {
    return (double)(to_ns - from_ns) * 1e-9;
}

static double latency_of(const measure_reply *r) {
    return seconds(r->start_ns, r->last_ns);
}

// ---------------------------------------------------------------------------------------------
// Distributions

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_percentile(const double *sorted, size_t n, double p) {
    double rank = p / 100 * (double)(n - 1);
    size_t low = (size_t)rank;
    if (low >= n - 1)
        return sorted[n - 1];
    double t = rank - (double)low, gap = sorted[low + 1] - sorted[low];
    // From the nearer end, as numpy does it, so that rounding is the same.
    return t >= 0.5 ? sorted[low + 1] - gap * (1 - t) : sorted[low] + gap * t;
}

static void make_stat(measure_stat *out, values *v, const measure_metrics_options *o) {
    *out = (measure_stat){0};
    if (v->n == 0)
        return;
    qsort(v->at, v->n, sizeof *v->at, compare_doubles);
    long double sum = 0, squares = 0;
    for (size_t i = 0; i < v->n; i++)
        sum += v->at[i];
    double mean = (double)(sum / (long double)v->n);
    for (size_t i = 0; i < v->n; i++)
        squares += (long double)(v->at[i] - mean) * (v->at[i] - mean);
    out->mean = mean * 1000;
    out->std = sqrt((double)(squares / (long double)v->n)) * 1000;
    out->median = measure_percentile(v->at, v->n, 50) * 1000;
    for (int i = 0; i < o->n_percentiles; i++)
        out->percentiles[i] = measure_percentile(v->at, v->n, o->percentiles[i]) * 1000;
}

// ---------------------------------------------------------------------------------------------
// Peaks

typedef struct span {
    int64_t first_ns, last_ns; // first start and last end of requests that succeeded
    size_t n_buckets;
} span;

static span find_span(const measure_reply *replies, int n) {
    span s = {.first_ns = INT64_MAX, .last_ns = INT64_MIN};
    for (int i = 0; i < n; i++) {
        if (!replies[i].success)
            continue;
        s.first_ns = replies[i].start_ns < s.first_ns ? replies[i].start_ns : s.first_ns;
        s.last_ns = replies[i].last_ns > s.last_ns ? replies[i].last_ns : s.last_ns;
    }
    if (s.first_ns <= s.last_ns)
        s.n_buckets = (size_t)ceil(seconds(s.first_ns, s.last_ns)) + 1;
    return s;
}

static double largest(const double *at, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = at[i] > most ? at[i] : most;
    return most;
}

static size_t bucket_of(const span *s, double at) {
    size_t bucket = at > 0 ? (size_t)at : 0;
    return bucket < s->n_buckets ? bucket : s->n_buckets - 1;
}

static double peak_output(const measure_reply *replies, int n, const span *s) {
    double *counts = base_calloc(s->n_buckets + 1, sizeof *counts);
    for (int i = 0; i < n; i++) {
        if (!replies[i].success)
            continue;
        double at = seconds(s->first_ns, replies[i].first_ns);
        counts[bucket_of(s, at)]++;
        for (size_t j = 0; j < replies[i].n_gaps; j++) {
            at += replies[i].gaps[j];
            counts[bucket_of(s, at)]++;
        }
    }
    double most = largest(counts, s->n_buckets);
    base_free(counts);
    return most;
}

// As in vLLM 0.11 (and 0.33): requests that touch a second, though they may not overlap.
static int peak_in_buckets(const measure_reply *replies, int n, const span *s) {
    double *counts = base_calloc(s->n_buckets + 1, sizeof *counts);
    for (int i = 0; i < n; i++) {
        if (!replies[i].success)
            continue;
        size_t last = bucket_of(s, seconds(s->first_ns, replies[i].last_ns));
        for (size_t b = bucket_of(s, seconds(s->first_ns, replies[i].start_ns)); b <= last; b++)
            counts[b]++;
    }
    int most = (int)largest(counts, s->n_buckets);
    base_free(counts);
    return most;
}

typedef struct change {
    int64_t at_ns;
    int by;
} change;

// Of two at one time the end comes first: requests run in [start, end).
static int compare_changes(const void *a, const void *b) {
    const change *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->by - y->by;
}

static int peak_exact(const measure_reply *replies, int n) {
    change *changes = base_calloc((size_t)n * 2 + 1, sizeof *changes);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        if (!replies[i].success)
            continue;
        changes[count++] = (change){replies[i].start_ns, 1};
        changes[count++] = (change){replies[i].last_ns, -1};
    }
    qsort(changes, count, sizeof *changes, compare_changes);
    int running = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        running += changes[i].by;
        most = base_max_int(most, running);
    }
    base_free(changes);
    return most;
}

// ---------------------------------------------------------------------------------------------
// Lengths and limits

static int output_length(const measure_reply *r, const token_vocab *vocab) {
    if (r->output_tokens > 0)
        return (int)r->output_tokens;
    if (vocab == NULL || r->text.len == 0)
        return 0;
    base_ids ids = {0};
    token_encode(vocab, r->text.data, r->text.len, TOKEN_ALLOW_SPECIAL, &ids);
    int n = (int)ids.len;
    base_ids_free(&ids);
    return n;
}

static bool is_good(const double *kinds, const measure_metrics_options *o) {
    for (int k = 0; k < MEASURE_KINDS; k++) {
        if (o->goodput_ms[k] >= 0 && kinds[k] > o->goodput_ms[k] / 1000)
            return false;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------

typedef struct collected {
    values kinds[MEASURE_KINDS];
    int n_good;
} collected;

static void collect(collected *c, measure_metrics *m, const measure_samples *samples,
                    const measure_reply *replies, int i, const measure_metrics_options *o) {
    const measure_reply *r = &replies[i];
    int n_out = output_length(r, o->vocab);
    bool server_counts = r->prompt_tokens >= 0 && !o->compat_2025;
    m->input_lens[i] = server_counts ? (int)r->prompt_tokens : samples->at[i].prompt_len;
    m->output_lens[i] = n_out;
    m->total_input += m->input_lens[i];
    m->total_output += n_out;
    double kinds[MEASURE_KINDS] = {
        [MEASURE_TTFT] = seconds(r->start_ns, r->first_ns), [MEASURE_E2EL] = latency_of(r)};
    add(&c->kinds[MEASURE_TTFT], kinds[MEASURE_TTFT]);
    add(&c->kinds[MEASURE_E2EL], kinds[MEASURE_E2EL]);
    if (n_out > 1) {
        kinds[MEASURE_TPOT] = (kinds[MEASURE_E2EL] - kinds[MEASURE_TTFT]) / (n_out - 1);
        add(&c->kinds[MEASURE_TPOT], kinds[MEASURE_TPOT]);
    }
    for (size_t j = 0; j < r->n_gaps; j++)
        add(&c->kinds[MEASURE_ITL], r->gaps[j]);
    c->n_good += is_good(kinds, o);
}

void measure_metrics_make(measure_metrics *out, const measure_samples *samples,
                          const measure_reply *replies, double duration,
                          const measure_metrics_options *options) {
    int n = samples->n;
    collected c = {0};
    *out = (measure_metrics){.duration = duration};
    out->input_lens = base_calloc((size_t)n + 1, sizeof *out->input_lens);
    out->output_lens = base_calloc((size_t)n + 1, sizeof *out->output_lens);
    for (int i = 0; i < n; i++) {
        out->input_lens[i] = samples->at[i].prompt_len;
        out->completed += replies[i].success;
        out->failed += replies[i].error != NULL;
        if (replies[i].success)
            collect(&c, out, samples, replies, i, options);
    }
    out->unfinished = n - out->completed - out->failed;
    if (duration > 0) {
        out->request_throughput = out->completed / duration;
        out->goodput = c.n_good / duration;
        out->output_throughput = (double)out->total_output / duration;
        out->total_throughput = (double)(out->total_input + out->total_output) / duration;
    }
    if (out->completed > 0) {
        span s = find_span(replies, n);
        out->peak_output = peak_output(replies, n, &s);
        out->peak_concurrent =
            options->compat_2025 ? peak_in_buckets(replies, n, &s) : peak_exact(replies, n);
    }
    for (int k = 0; k < MEASURE_KINDS; k++) {
        make_stat(&out->stats[k], &c.kinds[k], options);
        base_free(c.kinds[k].at);
    }
}

void measure_metrics_free(measure_metrics *m) {
    base_free(m->input_lens);
    base_free(m->output_lens);
    *m = (measure_metrics){0};
}

// ---------------------------------------------------------------------------------------------
// Failures

// Reasons that differ in nothing but numbers behind the first colon ("line 1 column 200") are one.
static int compare_reasons(const char *a, const char *b) {
    for (bool behind = false;; a++, b++) {
        while (behind && isdigit((unsigned char)a[0]) && isdigit((unsigned char)a[1]))
            a++;
        while (behind && isdigit((unsigned char)b[0]) && isdigit((unsigned char)b[1]))
            b++;
        bool same = behind && isdigit((unsigned char)*a) && isdigit((unsigned char)*b);
        if (*a != *b && !same)
            return (unsigned char)*a - (unsigned char)*b;
        if (*a == '\0')
            return 0;
        behind = behind || *a == ':';
    }
}

static int compare_texts(const void *a, const void *b) {
    return compare_reasons(((const measure_reason *)a)->text, ((const measure_reason *)b)->text);
}

static int compare_counts(const void *a, const void *b) {
    const measure_reason *x = a, *y = b;
    return x->count != y->count ? y->count - x->count : strcmp(x->text, y->text);
}

int measure_reasons_count(measure_reason **out, const measure_reply *replies, int n) {
    measure_reason *reasons = base_calloc((size_t)n + 1, sizeof *reasons);
    int failed = 0, kinds = 0;
    for (int i = 0; i < n; i++) {
        if (replies[i].error != NULL)
            reasons[failed++] = (measure_reason){replies[i].error, 1};
    }
    qsort(reasons, (size_t)failed, sizeof *reasons, compare_texts);
    for (int i = 0; i < failed; i++) {
        if (kinds > 0 && compare_reasons(reasons[kinds - 1].text, reasons[i].text) == 0)
            reasons[kinds - 1].count++;
        else
            reasons[kinds++] = reasons[i];
    }
    qsort(reasons, (size_t)kinds, sizeof *reasons, compare_counts);
    *out = reasons;
    return kinds;
}
