// What every automaton of grammar/dfa.h promises, found out in other ways than it is made.
#ifndef TESTS_DFA_CHECK_H
#define TESTS_DFA_CHECK_H

#include "grammar/dfa.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint32_t dfa_random_state = 1;

static inline uint32_t dfa_random(uint32_t below) {
    dfa_random_state = dfa_random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(dfa_random_state ^ dfa_random_state >> 15) * below >> 32);
}

// Distances by relaxing until nothing changes; all reached from the start.
static inline void dfa_check_ways(const grammar_dfa *d) {
    int n = d->n_states;
    int32_t *best = base_alloc((size_t)n * sizeof *best);
    bool *reached = base_calloc((size_t)n, sizeof *reached), again = true;
    reached[0] = true;
    for (int s = 0; s < n; s++)
        best[s] = d->accepts[s] ? 0 : INT32_MAX - 1;
    while (again) {
        again = false;
        for (int s = n - 1; s >= 0; s--)
            for (int b = 0; b < 256; b++) {
                int32_t to = grammar_dfa_step(d, s, (unsigned char)b);
                assert_true(to >= GRAMMAR_DEAD && to < n);
                if (to == GRAMMAR_DEAD)
                    continue;
                if (best[to] + 1 < best[s]) {
                    best[s] = best[to] + 1;
                    again = true;
                }
                if (reached[s] && !reached[to])
                    reached[to] = again = true;
            }
    }
    for (int s = 0; s < n; s++) {
        assert_true(reached[s]);
        assert_int_equal(d->distance[s], best[s]);
        assert_true(best[s] < INT32_MAX - 1);
    }
    base_free(reached);
    base_free(best);
}

// Every two states are told apart by some text: marks pairs until nothing changes.
static inline void dfa_check_minimal(const grammar_dfa *d) {
    size_t n = (size_t)d->n_states;
    bool *apart = base_calloc(n * n, sizeof *apart), again = true;
    for (size_t i = 0; i < n * n; i++)
        apart[i] = d->accepts[i / n] != d->accepts[i % n];
    while (again) {
        again = false;
        for (size_t i = 0; i < n * n; i++)
            for (int c = 0; c < d->n_classes && !apart[i]; c++) {
                int32_t a = d->next[i / n * (size_t)d->n_classes + (size_t)c];
                int32_t b = d->next[i % n * (size_t)d->n_classes + (size_t)c];
                if (a != b && (a < 0 || b < 0 || apart[(size_t)a * n + (size_t)b]))
                    apart[i] = again = true;
            }
    }
    for (size_t i = 0; i < n * n; i++)
        assert_true(apart[i] || i / n == i % n);
    base_free(apart);
}

static inline void dfa_check(const grammar_dfa *d) {
    assert_true(d->n_states >= 0 && d->n_states <= GRAMMAR_MAX_STATES);
    assert_true(d->n_classes >= 1 && d->n_classes <= 256);
    for (int b = 0; b < 256; b++)
        assert_true(d->classes[b] < d->n_classes);
    if (d->n_states == 0)
        return;
    if (d->n_states <= 2000)
        dfa_check_ways(d);
    if (d->n_states <= 150)
        dfa_check_minimal(d);
}

// A random text of a language that is not empty; from `long_enough` bytes on the shortest way out.
static inline void dfa_walk(const grammar_dfa *d, size_t long_enough, base_str *out) {
    base_str_clear(out);
    for (int32_t state = 0;;) {
        if (d->accepts[state] && (out->len >= long_enough || dfa_random(6) == 0))
            return;
        unsigned char bytes[256];
        uint32_t n = 0;
        for (int b = 0; b < 256; b++) {
            int32_t to = grammar_dfa_step(d, state, (unsigned char)b);
            bool nearer = to >= 0 && d->distance[to] < d->distance[state];
            if (to >= 0 && (out->len < long_enough || nearer))
                bytes[n++] = (unsigned char)b;
        }
        if (n == 0) // an accepting state without a way on
            return;
        unsigned char byte = bytes[dfa_random(n)];
        base_str_add(out, &byte, 1);
        state = grammar_dfa_step(d, state, byte);
    }
}

static inline grammar_dfa *dfa_of_regex(const char *pattern, unsigned flags) {
    grammar_dfa *d;
    base_err err = {0};
    if (grammar_dfa_regex(&d, pattern, strlen(pattern), flags, &err) != 0)
        fail_msg("%s: %s", pattern, err.message);
    return d;
}

static inline bool dfa_has(const grammar_dfa *d, const char *text) {
    return grammar_dfa_matches(d, text, strlen(text));
}

#endif
