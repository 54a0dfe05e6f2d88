// The numbers of a benchmark, computed by hand and by numpy.
#include "measure/load.h"
#include "measure/metrics.h"
#include "measure/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_near(double is, double want) {
    if (!(fabs(is - want) <= 1e-12 * fmax(1, fabs(want))))
        fail_msg("%.17g is not %.17g", is, want);
}

// Values of numpy.percentile.
static void test_percentiles(void **state) {
    (void)state;
    static const double sorted[] = {0.05, 0.1, 0.25, 0.3, 0.4, 0.7, 0.9};
    static const double want[][2] = {
        {0, 0.05},
        {1, 0.053000000000000005},
        {25, 0.175},
        {50, 0.3},
        {73.5, 0.523},
        {90, 0.78},
        {99, 0.8879999999999999},
        {99.9, 0.8988000000000002},
        {100, 0.9},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_near(measure_percentile(sorted, 7, want[i][0]), want[i][1]);
    assert_near(measure_percentile(sorted, 1, 99), 0.05);
}

// Values of numpy.random.gamma, cumulated and rescaled as vLLM does it.
static void test_arrivals(void **state) {
    (void)state;
    static const struct {
        measure_arrivals a;
        int n;
        double want[6];
    } cases[] = {
        {{.rate = 10, .burstiness = 1},
         6,
         {0.08923298044886528, 0.23004719684526587, 0.33355843143627334, 0.421818960343244,
          0.4836021921567499, 0.6}},
        {{.rate = 4, .burstiness = 0.5, .seed = 7},
         5,
         {0.008325043160875246, 0.28311600144338456, 0.38613900756618985, 1.1312955390150545,
          1.25}},
        {{.ramp = MEASURE_LINEAR,
          .ramp_start = 2,
          .ramp_end = 32,
          .rate = INFINITY,
          .burstiness = 1,
          .seed = 3},
         5,
         {0.4001411934412399, 0.5297735983612761, 0.5499950925784053, 0.5791804111918263,
          0.6490063741169916}},
        {{.ramp = MEASURE_EXPONENTIAL,
          .ramp_start = 2,
          .ramp_end = 32,
          .rate = INFINITY,
          .burstiness = 1,
          .seed = 3},
         5,
         {0.4001411934412399, 0.708018155126326, 0.7509888303377255, 0.7956788494645264,
          0.8655048123896917}},
        {{.rate = INFINITY, .burstiness = 1}, 3, {0, 0, 0}},
        {{.rate = 4, .burstiness = INFINITY}, 4, {0.25, 0.5, 0.75, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double due[6];
        measure_arrivals_draw(&cases[i].a, cases[i].n, due);
        for (int j = 0; j < cases[i].n; j++)
            assert_near(due[j], cases[i].want[j]);
    }
}

// ---------------------------------------------------------------------------------------------
// Four requests: two that overlap, one later, one that failed. In ms from 1 s on.

#define MS(t) (((int64_t)1000 + (t)) * 1000000)

static double gaps_a[] = {0.1, 0.1, 0.2}, gaps_b[] = {0.5}, *no_gaps = NULL;

static void make_replies(measure_reply r[4]) {
    r[0] = (measure_reply){.start_ns = MS(0),
                           .first_ns = MS(100),
                           .last_ns = MS(500),
                           .gaps = gaps_a,
                           .n_gaps = 3,
                           .prompt_tokens = 12,
                           .output_tokens = 5,
                           .success = true,
                           .status = 200};
    r[1] = (measure_reply){.start_ns = MS(400),
                           .first_ns = MS(600),
                           .last_ns = MS(1100),
                           .gaps = gaps_b,
                           .n_gaps = 1,
                           .prompt_tokens = 8,
                           .output_tokens = 2,
                           .success = true,
                           .status = 200};
    r[2] = (measure_reply){.start_ns = MS(1100),
                           .first_ns = MS(1900),
                           .last_ns = MS(1900),
                           .gaps = no_gaps,
                           .prompt_tokens = -1,
                           .output_tokens = 1,
                           .success = true,
                           .status = 200};
    r[3] = (measure_reply){.start_ns = MS(0),
                           .prompt_tokens = -1,
                           .output_tokens = -1,
                           .error = (char *)"HTTP 429",
                           .status = 429};
}

static measure_sample four[] = {
    {.prompt_len = 10}, {.prompt_len = 10}, {.prompt_len = 10}, {.prompt_len = 10}};
static const measure_samples samples = {four, 4};

static measure_metrics_options new_options(void) {
    return (measure_metrics_options){
        .percentiles = {99, 50}, .n_percentiles = 2, .goodput_ms = {-1, -1, -1, -1}};
}

static void test_metrics(void **state) {
    (void)state;
    measure_reply r[4];
    measure_metrics m;
    measure_metrics_options o = new_options();
    make_replies(r);
    measure_metrics_make(&m, &samples, r, 2.5, &o);
    assert_int_equal(m.completed, 3);
    assert_int_equal(m.failed, 1);
    assert_int_equal(m.unfinished, 0);
    assert_int_equal(m.total_input, 12 + 8 + 10); // the server's count where it gave one
    assert_int_equal(m.total_output, 8);
    assert_near(m.request_throughput, 3 / 2.5);
    assert_near(m.output_throughput, 8 / 2.5);
    assert_near(m.total_throughput, 38 / 2.5);
    assert_near(m.stats[MEASURE_TTFT].mean, (100 + 200 + 800) / 3.0);
    assert_near(m.stats[MEASURE_TTFT].median, 200);
    assert_near(m.stats[MEASURE_TTFT].percentiles[0], 788);
    assert_near(m.stats[MEASURE_TTFT].percentiles[1], 200);
    assert_near(m.stats[MEASURE_TTFT].std, 309.1206165165235);
    assert_near(m.stats[MEASURE_TPOT].mean, (100 + 500) / 2.0); // not of the one with one token
    assert_near(m.stats[MEASURE_ITL].mean, (100 + 100 + 200 + 500) / 4.0);
    assert_near(m.stats[MEASURE_ITL].median, 150);
    assert_near(m.stats[MEASURE_E2EL].mean, (500 + 700 + 800) / 3.0);
    assert_near(m.peak_output, 5);          // chunks at 100 to 500 and at 600 ms
    assert_int_equal(m.peak_concurrent, 2); // the third starts as the second ends
    assert_int_equal(m.input_lens[3], 10);
    assert_int_equal(m.output_lens[3], 0);
    measure_metrics_free(&m);
}

static void test_compat(void **state) {
    (void)state;
    measure_reply r[4];
    measure_metrics m;
    measure_metrics_options o = new_options();
    o.compat_2025 = true;
    make_replies(r);
    measure_metrics_make(&m, &samples, r, 2.5, &o);
    assert_int_equal(m.total_input, 30);
    // The first and second touch the first second, the second and third the other one.
    assert_int_equal(m.peak_concurrent, 2);
    r[0].last_ns = MS(1000);
    measure_metrics_free(&m);
    measure_metrics_make(&m, &samples, r, 2.5, &o);
    assert_int_equal(m.peak_concurrent, 3);
    measure_metrics_free(&m);
}

static void test_goodput(void **state) {
    (void)state;
    static const struct {
        double limits[MEASURE_KINDS];
        int good;
    } cases[] = {
        {{201, -1, -1, -1}, 2}, {{199, -1, -1, -1}, 1},   {{-1, 101, -1, -1}, 2},
        {{-1, -1, -1, 701}, 2}, {{801, 501, -1, 801}, 3}, {{150, 99, -1, 1e9}, 0},
    };
    measure_reply r[4];
    make_replies(r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        measure_metrics m;
        measure_metrics_options o = new_options();
        memcpy(o.goodput_ms, cases[i].limits, sizeof o.goodput_ms);
        measure_metrics_make(&m, &samples, r, 2, &o);
        assert_near(m.goodput, cases[i].good / 2.0);
        measure_metrics_free(&m);
    }
}

static void test_nothing(void **state) {
    (void)state;
    measure_reply r[4] = {{0}};
    measure_metrics m;
    measure_metrics_options o = new_options();
    measure_metrics_make(&m, &samples, r, 1, &o);
    assert_int_equal(m.unfinished, 4);
    assert_int_equal(m.completed + m.failed + m.peak_concurrent, 0);
    assert_true(m.stats[MEASURE_TTFT].mean == 0 && m.stats[MEASURE_ITL].percentiles[0] == 0);
    measure_metrics_free(&m);
}

// ---------------------------------------------------------------------------------------------
// What is printed

static measure_load_options load_options(void) {
    return (measure_load_options){.arrivals = {.rate = INFINITY, .burstiness = 1}, .logprobs = -1};
}

static void print_table(base_str *out, measure_load_options *load, measure_metrics_options *o,
                        bool goodput) {
    measure_reply r[4];
    measure_metrics m;
    make_replies(r);
    measure_metrics_make(&m, &samples, r, 2.5, o);
    const measure_report_options options = {
        .load = load, .metrics = o, .shown = {true, true, true, goodput}, .goodput = goodput};
    measure_report_table(out, &m, &options);
    measure_metrics_free(&m);
}

static void test_table(void **state) {
    (void)state;
    base_str out = {0};
    measure_load_options load = load_options();
    measure_metrics_options o = new_options();
    o.n_percentiles = 1;
    print_table(&out, &load, &o, false);
    assert_string_equal(out.data, "============ Serving Benchmark Result ============\n"
                                  "Successful requests:                     3         \n"
                                  "Failed requests:                         1         \n"
                                  "Benchmark duration (s):                  2.50      \n"
                                  "Total input tokens:                      30        \n"
                                  "Total generated tokens:                  8         \n"
                                  "Request throughput (req/s):              1.20      \n"
                                  "Output token throughput (tok/s):         3.20      \n"
                                  "Peak output token throughput (tok/s):    5.00      \n"
                                  "Peak concurrent requests:                2.00      \n"
                                  "Total token throughput (tok/s):          15.20     \n"
                                  "---------------Time to First Token----------------\n"
                                  "Mean TTFT (ms):                          366.67    \n"
                                  "Median TTFT (ms):                        200.00    \n"
                                  "P99 TTFT (ms):                           788.00    \n"
                                  "-----Time per Output Token (excl. 1st token)------\n"
                                  "Mean TPOT (ms):                          300.00    \n"
                                  "Median TPOT (ms):                        300.00    \n"
                                  "P99 TPOT (ms):                           496.00    \n"
                                  "---------------Inter-token Latency----------------\n"
                                  "Mean ITL (ms):                           225.00    \n"
                                  "Median ITL (ms):                         150.00    \n"
                                  "P99 ITL (ms):                            491.00    \n"
                                  "==================================================\n");
    base_str_free(&out);
}

static void test_table_2025(void **state) {
    (void)state;
    base_str out = {0};
    measure_load_options load = load_options();
    measure_metrics_options o = new_options();
    load.arrivals.rate = 100;
    load.max_concurrency = 64;
    o.percentiles[1] = 99.9;
    o.compat_2025 = true;
    print_table(&out, &load, &o, true);
    static const char *const lines[] = {
        "Failed requests:                         1         \n"
        "Maximum request concurrency:             64        \n"
        "Request rate configured (RPS):           100.00    \n"
        "Benchmark duration (s):                  2.50      \n",
        "Request throughput (req/s):              1.20      \n"
        "Request goodput (req/s):                 1.20      \n",
        "Total Token throughput (tok/s):          15.20     \n",
        "P99 TTFT (ms):                           788.00    \n"
        "P99.9 TTFT (ms):                         798.80    \n",
        "----------------End-to-end Latency----------------\n"
        "Mean E2EL (ms):                          666.67    \n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(out.data, lines[i]));
    base_str_free(&out);
}

static void test_traffic(void **state) {
    (void)state;
    base_str out = {0};
    measure_load_options load = load_options();
    measure_report_traffic(&out, &load);
    assert_string_equal(out.data, "Traffic request rate: inf\n"
                                  "Burstiness factor: 1.0 (Poisson process)\n"
                                  "Maximum request concurrency: None\n");
    base_str_clear(&out);
    load.arrivals = (measure_arrivals){.rate = INFINITY,
                                       .burstiness = 0.5,
                                       .ramp = MEASURE_LINEAR,
                                       .ramp_start = 1,
                                       .ramp_end = 9};
    load.max_concurrency = 3;
    measure_report_traffic(&out, &load);
    assert_string_equal(out.data,
                        "Traffic ramp-up strategy: linear.\n"
                        "Will increase RPS from 1 to 9 RPS over the duration of the benchmark.\n"
                        "Burstiness factor: 0.5 (Gamma distribution)\n"
                        "Maximum request concurrency: 3\n");
    base_str_free(&out);
}

static void test_failures(void **state) {
    (void)state;
    measure_reply r[4] = {
        {.error = (char *)"b"}, {.error = (char *)"a"}, {0}, {.error = (char *)"b"}};
    base_str out = {0};
    measure_report_failures(&out, r, 4);
    assert_string_equal(out.data, "Failed requests by reason:\n       2  b\n       1  a\n");
    base_str_clear(&out);
    measure_reply numbers[4] = {{.error = (char *)"HTTP 400: column 20 of x"},
                                {.error = (char *)"HTTP 429: column 20 of x"},
                                {.error = (char *)"HTTP 400: column 7 of x"},
                                {.error = (char *)"HTTP 400: column 7 of y"}};
    measure_report_failures(&out, numbers, 4);
    assert_non_null(strstr(out.data, "       2  HTTP 400: column "));
    assert_non_null(strstr(out.data, "       1  HTTP 429: column 20 of x\n"));
    assert_non_null(strstr(out.data, "       1  HTTP 400: column 7 of y\n"));
    base_str_clear(&out);
    measure_report_failures(&out, r + 2, 1);
    assert_int_equal(out.len, 0);
    base_str_free(&out);
}

// ---------------------------------------------------------------------------------------------
// Bodies and files

static void assert_body(const measure_sample *sample, const measure_load_options *o,
                        const char *want) {
    base_str out = {0};
    measure_body_make(&out, sample, o);
    assert_string_equal(out.data, want);
    base_str_free(&out);
}

static void test_bodies(void **state) {
    (void)state;
    measure_sample s = {
        .prompt = (char *)"a\"b", .prompt_bytes = 3, .output_len = 7, .conversation = -1};
    measure_load_options o = load_options();
    o.model = "m";
    assert_body(&s, &o,
                "{\"model\": \"m\", \"prompt\": \"a\\\"b\", \"repetition_penalty\": 1.0, "
                "\"max_tokens\": 7, \"logprobs\": null, \"stream\": true, "
                "\"stream_options\": {\"include_usage\": true}}");
    json_t *extra = json_pack("{s:b, s:f, s:n}", "ignore_eos", 1, "repetition_penalty", 1.5, "x");
    o.extra = extra;
    o.logprobs = 2;
    assert_body(&s, &o,
                "{\"model\": \"m\", \"prompt\": \"a\\\"b\", \"max_tokens\": 7, \"logprobs\": 2, "
                "\"stream\": true, \"stream_options\": {\"include_usage\": true}, "
                "\"ignore_eos\": true, \"repetition_penalty\": 1.5, \"x\": null}");
    json_decref(extra);
    o.extra = NULL;
    o.api = MEASURE_CHAT;
    assert_body(&s, &o,
                "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": "
                "[{\"type\": \"text\", \"text\": \"a\\\"b\"}]}], \"max_completion_tokens\": 7, "
                "\"stream\": true, \"stream_options\": {\"include_usage\": true}}");
    s = (measure_sample){.prompt = (char *)"[1]",
                         .prompt_bytes = 3,
                         .is_messages = true,
                         .tools = (char *)"[2]",
                         .output_len = 7};
    assert_body(&s, &o,
                "{\"model\": \"m\", \"messages\": [1], \"tools\": [2], "
                "\"max_completion_tokens\": 7, \"stream\": true, "
                "\"stream_options\": {\"include_usage\": true}}");
}

static void make_result(base_str *text, base_str *name, measure_load_options *load,
                        const char *label) {
    measure_reply r[4];
    measure_metrics m;
    base_err err = {0};
    measure_metrics_options o = new_options();
    static const char *const metadata[] = {"tp=8", "note=a=b"};
    make_replies(r);
    for (int i = 0; i < 4; i++)
        r[i].due_ns = MS(i * 1000);
    measure_metrics_make(&m, &samples, r, 2.5, &o);
    const measure_report_options options = {.load = load, .metrics = &o, .shown = {true}};
    const measure_result result = {.backend = "openai",
                                   .label = label,
                                   .model = "org/Kimi",
                                   .tokenizer = "t",
                                   .date = "20251106-153458",
                                   .metadata = metadata,
                                   .n_metadata = 2,
                                   .detailed = true,
                                   .samples = &samples,
                                   .replies = r,
                                   .metrics = &m,
                                   .options = &options};
    assert_int_equal(measure_result_make(text, &result, &err), 0);
    measure_result_name(name, &result);
    measure_metrics_free(&m);
}

static void test_result(void **state) {
    (void)state;
    base_str text = {0}, name = {0};
    measure_load_options load = load_options();
    make_result(&text, &name, &load, NULL);
    assert_string_equal(name.data, "openai-infqps-Kimi-20251106-153458.json");
    base_err err = {0};
    json_t *j = base_json_parse(text.data, text.len, "result", 1, &err);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "request_rate")), "inf");
    assert_true(json_is_null(json_object_get(j, "max_concurrency")));
    assert_true(json_is_null(json_object_get(j, "label")));
    assert_true(json_is_null(json_object_get(j, "request_goodput")));
    assert_string_equal(json_string_value(json_object_get(j, "note")), "a=b");
    assert_int_equal(json_integer_value(json_object_get(j, "completed")), 3);
    assert_near(json_number_value(json_object_get(j, "p99_ttft_ms")), 788);
    assert_near(json_number_value(json_object_get(j, "std_ttft_ms")), 309.1206165165235);
    assert_null(json_object_get(j, "mean_e2el_ms"));
    assert_int_equal(json_array_size(json_object_get(j, "itls")), 4);
    assert_near(json_number_value(json_array_get(json_object_get(j, "ttfts"), 2)), 0.8);
    assert_near(json_number_value(json_array_get(json_object_get(j, "queue_times"), 3)), -3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "errors"), 3)),
                        "HTTP 429");
    json_decref(j);
    base_str_clear(&text);
    base_str_clear(&name);
    load.max_concurrency = 8;
    load.arrivals = (measure_arrivals){
        .rate = INFINITY, .burstiness = 1, .ramp = MEASURE_LINEAR, .ramp_start = 1, .ramp_end = 4};
    make_result(&text, &name, &load, "L");
    assert_string_equal(name.data,
                        "L-ramp-up-linear-1qps-4qps-concurrency8-Kimi-20251106-153458.json");
    j = base_json_parse(text.data, text.len, "result", 1, &err);
    const json_t *events = json_object_get(j, "rps_change_events");
    assert_int_equal(json_array_size(events), 4);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(events, 3), "rps")), 4);
    json_decref(j);
    base_str_free(&text);
    base_str_free(&name);
}

// ---------------------------------------------------------------------------------------------
// The published table of gains, from the numbers published beside it.

static void write_result(char path[], const char *text) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void test_compare(void **state) {
    (void)state;
    char a[] = "/tmp/abruzzi-compare-XXXXXX", b[] = "/tmp/abruzzi-compare-XXXXXX";
    write_result(a, "{\"label\": \"TP8\", \"request_throughput\": 1.25, \"output_throughput\": "
                    "485.78, \"mean_ttft_ms\": 271196.67, \"median_ttft_ms\": 227389.87, "
                    "\"failed\": 0, \"completed\": 998}");
    write_result(b, "{\"label\": \"TP8+DCP8\", \"request_throughput\": 1.57, "
                    "\"output_throughput\": 695.13, \"mean_ttft_ms\": 227780.13, "
                    "\"median_ttft_ms\": 227055.20, \"failed\": 6, \"completed\": 998}");
    base_str out = {0};
    base_err err = {0};
    assert_int_equal(measure_compare(&out, a, b, &err), 0);
    assert_string_equal(out.data,
                        "| Metric | TP8 | TP8+DCP8 | Change | Improvement(%) |\n"
                        "|---|---|---|---|---|\n"
                        "| Request Throughput(req/s) | 1.25 | 1.57 | +0.32 | +25.6% |\n"
                        "| Output Token Throughput(tok/s) | 485.78 | 695.13 | +209.35 | +43.1% |\n"
                        "| Mean TTFT (sec) | 271.2 | 227.8 | -43.4 | +16.0% |\n"
                        "| Median TTFT (sec) | 227.4 | 227.1 | -0.3 | +0.1% |\n"
                        "| Successful Requests | 998 | 998 | +0 | +0.0% |\n"
                        "| Failed Requests | 0 | 6 | +6 | n/a |\n");
    assert_int_equal(measure_compare(&out, a, "/nonexistent", &err), BASE_ERR_USAGE);
    unlink(b);
    write_result(strcpy(b, "/tmp/abruzzi-compare-XXXXXX"), "{\"x\": 1}");
    assert_int_equal(measure_compare(&out, a, b, &err), BASE_ERR_USAGE);
    unlink(b);
    unlink(a);
    base_str_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles), cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_metrics),     cmocka_unit_test(test_compat),
        cmocka_unit_test(test_goodput),     cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_table),       cmocka_unit_test(test_table_2025),
        cmocka_unit_test(test_traffic),     cmocka_unit_test(test_failures),
        cmocka_unit_test(test_bodies),      cmocka_unit_test(test_result),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
