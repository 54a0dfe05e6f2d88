// Two results side by side, in the form in which gains of a change are published.
#include "measure/report.h"
#include <math.h>
#include <string.h>

enum { MAX_BYTES = 1 << 30 };

typedef struct line {
    const char *metric, *key;
    double scale;
    int decimals;
    bool less_is_better;
} line;

// The first four are those of the published tables.
static const line lines[] = {
    {"Request Throughput(req/s)", "request_throughput", 1, 2, false},
    {"Output Token Throughput(tok/s)", "output_throughput", 1, 2, false},
    {"Mean TTFT (sec)", "mean_ttft_ms", 1e-3, 1, true},
    {"Median TTFT (sec)", "median_ttft_ms", 1e-3, 1, true},
    {"P99 TTFT (sec)", "p99_ttft_ms", 1e-3, 1, true},
    {"Mean TPOT (ms)", "mean_tpot_ms", 1, 2, true},
    {"Median TPOT (ms)", "median_tpot_ms", 1, 2, true},
    {"P99 TPOT (ms)", "p99_tpot_ms", 1, 2, true},
    {"Mean ITL (ms)", "mean_itl_ms", 1, 2, true},
    {"Median ITL (ms)", "median_itl_ms", 1, 2, true},
    {"P99 ITL (ms)", "p99_itl_ms", 1, 2, true},
    {"Mean E2EL (ms)", "mean_e2el_ms", 1, 2, true},
    {"Median E2EL (ms)", "median_e2el_ms", 1, 2, true},
    {"P99 E2EL (ms)", "p99_e2el_ms", 1, 2, true},
    {"Request Goodput(req/s)", "request_goodput", 1, 2, false},
    {"Total Token Throughput(tok/s)", "total_token_throughput", 1, 2, false},
    {"Peak Output Token Throughput(tok/s)", "max_output_tokens_per_s", 1, 2, false},
    {"Peak Concurrent Requests", "max_concurrent_requests", 1, 0, false},
    {"Successful Requests", "completed", 1, 0, false},
    {"Failed Requests", "failed", 1, 0, true},
};

static int read_result(json_t **out, const char *path, base_err *err) {
    base_str text = {0};
    int rc = base_file_read(path, MAX_BYTES, BASE_ERR_USAGE, &text, err);
    if (rc == 0) {
        *out = base_json_parse(text.data, text.len, path, BASE_ERR_USAGE, err);
        rc = *out == NULL ? BASE_ERR_USAGE : 0;
    }
    if (rc == 0 && !json_is_number(json_object_get(*out, "request_throughput")))
        rc = base_fail(err, BASE_ERR_USAGE, "%s: request_throughput: it is no benchmark's result",
                       path);
    base_str_free(&text);
    return rc;
}

// The label, else the file's name without ".json".
static void add_name(base_str *out, const json_t *result, const char *path) {
    const char *label = json_string_value(json_object_get(result, "label"));
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    size_t len = strlen(base);
    if (len > 5 && strcmp(base + len - 5, ".json") == 0)
        len -= 5;
    if (label != NULL)
        base_str_adds(out, label);
    else
        base_str_add(out, base, len);
}

// "-0.0" would look like a loss.
static double unsigned_zero(double x, int decimals) {
    return fabs(x) < 0.5 * pow(10, -decimals) ? 0 : x;
}

static void add_line(base_str *out, const line *l, const json_t *a, const json_t *b) {
    const json_t *x = json_object_get(a, l->key), *y = json_object_get(b, l->key);
    if (!json_is_number(x) || !json_is_number(y))
        return;
    double from = json_number_value(x) * l->scale, to = json_number_value(y) * l->scale;
    base_str_printf(out, "| %s | %.*f | %.*f | %+.*f | ", l->metric, l->decimals, from, l->decimals,
                    to, l->decimals, unsigned_zero(to - from, l->decimals));
    if (from == 0) {
        base_str_adds(out, to == 0 ? "+0.0% |\n" : "n/a |\n");
        return;
    }
    double gain = (l->less_is_better ? from - to : to - from) / fabs(from) * 100;
    base_str_printf(out, "%+.1f%% |\n", unsigned_zero(gain, 1));
}

int measure_compare(base_str *out, const char *path_a, const char *path_b, base_err *err) {
    json_t *a = NULL, *b = NULL;
    int rc = read_result(&a, path_a, err);
    if (rc == 0)
        rc = read_result(&b, path_b, err);
    if (rc == 0) {
        base_str_adds(out, "| Metric | ");
        add_name(out, a, path_a);
        base_str_adds(out, " | ");
        add_name(out, b, path_b);
        base_str_adds(out, " | Change | Improvement(%) |\n|---|---|---|---|---|\n");
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
            add_line(out, &lines[i], a, b);
    }
    json_decref(a);
    json_decref(b);
    return rc;
}
