// The heap of timers against a plain list.
#include "http/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

enum { N = 200 };

typedef struct ticker {
    http_timer timer;
    int n_due;

} ticker;

static int64_t now;

static void due(http_timer *timer) {
    ticker *t = http_container(timer, ticker, timer);
    t->n_due++;
}

static int64_t earliest(const ticker *all) {
    int64_t at = INT64_MAX;
    for (int i = 0; i < N; i++)
        if (all[i].timer.place != 0 && all[i].timer.at_ms < at)
            at = all[i].timer.at_ms;
    return at;
}

static void test_timers_are_due_in_time(void **state) {
    (void)state;
    static ticker all[N];
    http_timers timers = {0};
    srand(1);
    for (int i = 0; i < N; i++)
        all[i].timer.due = due;
    for (int turn = 0; turn < 20000; turn++) {
        ticker *t = &all[rand() % N];
        int what = rand() % 10;
        if (what < 6)
            http_timer_set(&timers, &t->timer, now + 1 + rand() % 100);
        else if (what < 9)
            http_timer_unset(&timers, &t->timer);
        else
            now += rand() % 20;
        bool is_due[N];
        for (int i = 0; i < N; i++) {
            is_due[i] = all[i].timer.place != 0 && all[i].timer.at_ms <= now;
            all[i].n_due = 0;
        }
        http_timers_run(&timers, now);
        for (int i = 0; i < N; i++) {
            assert_int_equal(all[i].n_due, is_due[i]);
            if (is_due[i])
                assert_int_equal(all[i].timer.place, 0);
        }
        assert_true(http_timers_next(&timers) == earliest(all));
    }
    http_timers_free(&timers);
}

static http_timers others;
static int n_again;

static void again(http_timer *timer) {
    if (++n_again < 5)
        http_timer_set(&others, timer, n_again < 3 ? 10 : 11);
}

// Setting a timer inside of its own call, for now and for later.
static void test_a_timer_may_be_set_when_due(void **state) {
    (void)state;
    http_timer t = {.due = again};
    http_timer_set(&others, &t, 10);
    http_timers_run(&others, 10);
    assert_int_equal(n_again, 3);
    assert_true(http_timers_next(&others) == 11);
    http_timers_run(&others, 11);
    assert_int_equal(n_again, 5);
    assert_true(http_timers_next(&others) == INT64_MAX);
    http_timers_free(&others);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_are_due_in_time),
        cmocka_unit_test(test_a_timer_may_be_set_when_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
