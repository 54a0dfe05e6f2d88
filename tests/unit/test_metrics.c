// The metrics registry and its Prometheus text.
#include "base/base.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void expect_text(base_metrics *m, const char *expected) {
    base_str out = {0};
    base_metrics_print(m, &out);
    assert_string_equal(out.data, expected);
    base_str_free(&out);
}

static void counters_and_gauges_are_printed(void **state) {
    (void)state;
    base_metrics *m = base_metrics_create();
    base_metric *requests = base_metrics_add(m, BASE_COUNTER, "requests_total", "", "All of them");
    base_metric *usage =
        base_metrics_add(m, BASE_GAUGE, "usage", "model=\"a\",engine=\"0\"", "1 is full");
    base_metric_add(requests, 2);
    base_metric_add(requests, 1);
    base_metric_set(usage, 0.25);
    expect_text(m, "# HELP requests_total All of them\n"
                   "# TYPE requests_total counter\n"
                   "requests_total 3.0\n"
                   "# HELP usage 1 is full\n"
                   "# TYPE usage gauge\n"
                   "usage{model=\"a\",engine=\"0\"} 0.25\n");
    base_metric_set(requests, 1e9);
    base_metric_add(usage, -1);
    expect_text(m, "# HELP requests_total All of them\n"
                   "# TYPE requests_total counter\n"
                   "requests_total 1000000000.0\n"
                   "# HELP usage 1 is full\n"
                   "# TYPE usage gauge\n"
                   "usage{model=\"a\",engine=\"0\"} -0.75\n");
    base_metric_set(requests, INFINITY);
    base_metric_set(usage, NAN);
    expect_text(m, "# HELP requests_total All of them\n"
                   "# TYPE requests_total counter\n"
                   "requests_total +Inf\n"
                   "# HELP usage 1 is full\n"
                   "# TYPE usage gauge\n"
                   "usage{model=\"a\",engine=\"0\"} NaN\n");
    base_metrics_free(m);
}

static void metrics_of_one_name_have_one_head(void **state) {
    (void)state;
    base_metrics *m = base_metrics_create();
    base_metric_set(base_metrics_add(m, BASE_GAUGE, "up", "rank=\"0\"", "Alive"), 1);
    base_metric_set(base_metrics_add(m, BASE_GAUGE, "up", "rank=\"1\"", "Alive"), 0);
    expect_text(m, "# HELP up Alive\n# TYPE up gauge\nup{rank=\"0\"} 1.0\nup{rank=\"1\"} 0.0\n");
    base_metrics_free(m);
}

static void histograms_are_cumulative(void **state) {
    (void)state;
    static const double bounds[] = {0.001, 0.5, 10};
    base_metrics *m = base_metrics_create();
    base_metric *h = base_metrics_add_histogram(m, "t_seconds", "engine=\"0\"", "Time", bounds, 3);
    base_metric *bare = base_metrics_add_histogram(m, "s", "", "Size", bounds, 1);
    base_metric_observe(h, 0.5); // a bound belongs to its bucket
    base_metric_observe(h, 0.25);
    base_metric_observe(h, 8);
    base_metric_observe(h, 1024);
    base_metric_observe(h, NAN); // not counted
    base_metric_observe(bare, 0);
    expect_text(m, "# HELP t_seconds Time\n"
                   "# TYPE t_seconds histogram\n"
                   "t_seconds_bucket{engine=\"0\",le=\"0.001\"} 0.0\n"
                   "t_seconds_bucket{engine=\"0\",le=\"0.5\"} 2.0\n"
                   "t_seconds_bucket{engine=\"0\",le=\"10.0\"} 3.0\n"
                   "t_seconds_bucket{engine=\"0\",le=\"+Inf\"} 4.0\n"
                   "t_seconds_sum{engine=\"0\"} 1032.75\n"
                   "t_seconds_count{engine=\"0\"} 4.0\n"
                   "# HELP s Size\n"
                   "# TYPE s histogram\n"
                   "s_bucket{le=\"0.001\"} 1.0\n"
                   "s_bucket{le=\"+Inf\"} 1.0\n"
                   "s_sum 0.0\n"
                   "s_count 1.0\n");
    base_metrics_free(m);
}

static void labels_and_help_are_escaped(void **state) {
    (void)state;
    base_str labels = {0};
    base_metrics_label(&labels, "model_name",
                       "a\"b\\c\nd\xff"
                       "e\xe5\xb1\xb1");
    base_metrics_label(&labels, "engine", "0");
    assert_string_equal(labels.data, "model_name=\"a\\\"b\\\\c\\nd\xef\xbf\xbd"
                                     "e\xe5\xb1\xb1\",engine=\"0\"");
    base_metrics *m = base_metrics_create();
    base_metrics_add(m, BASE_GAUGE, "g", labels.data, "two\nlines \\ one");
    base_str expected = {0};
    base_str_printf(&expected, "# HELP g two\\nlines \\\\ one\n# TYPE g gauge\ng{%s} 0.0\n",
                    labels.data);
    expect_text(m, expected.data);
    base_metrics_free(m);
    base_str_free(&labels);
    base_str_free(&expected);
}

enum { N_THREADS = 4, N_EACH = 20000 };

typedef struct shared {
    base_metrics *metrics;
    base_metric *counter, *histogram;
} shared;

static void *change_much(void *arg) {
    shared *s = arg;
    base_str out = {0};
    for (int i = 0; i < N_EACH; i++) {
        base_metric_add(s->counter, 1);
        base_metric_observe(s->histogram, i % 2 ? 0.5 : 2);
        if (i % 5000 == 0)
            base_metrics_print(s->metrics, &out);
    }
    base_str_free(&out);
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    static const double bounds[] = {1};
    shared s = {.metrics = base_metrics_create()};
    s.counter = base_metrics_add(s.metrics, BASE_COUNTER, "c_total", "", "C");
    s.histogram = base_metrics_add_histogram(s.metrics, "h", "", "H", bounds, 1);
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change_much, &s), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    expect_text(s.metrics, "# HELP c_total C\n"
                           "# TYPE c_total counter\n"
                           "c_total 80000.0\n"
                           "# HELP h H\n"
                           "# TYPE h histogram\n"
                           "h_bucket{le=\"1.0\"} 40000.0\n"
                           "h_bucket{le=\"+Inf\"} 80000.0\n"
                           "h_sum 100000.0\n"
                           "h_count 80000.0\n");
    base_metrics_free(s.metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_printed),
        cmocka_unit_test(metrics_of_one_name_have_one_head),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(labels_and_help_are_escaped),
        cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
