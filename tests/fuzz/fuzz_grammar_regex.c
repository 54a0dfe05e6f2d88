// Any bytes as a pattern: an error with a reason, or an automaton that allows what walks through it
// spell, whose JSON spelling does so too. The first byte: flags and how the walks turn.
#include "grammar/dfa.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool truth) {
    if (!truth)
        abort();
}

static void walk(const grammar_dfa *d, uint32_t seed) {
    base_str text = {0};
    int32_t state = 0;
    while (!d->accepts[state] || (text.len < MAX_STEPS && seed >> 30 != 0)) {
        int found = -1;
        seed = seed * 1664525u + 1013904223u;
        for (int i = 0; i < 256 && found < 0; i++) {
            int byte = (int)((seed >> 16) + (unsigned)i) & 255;
            int32_t to = grammar_dfa_step(d, state, (unsigned char)byte);
            check(to < d->n_states);
            if (to >= 0 && (text.len < MAX_STEPS || d->distance[to] == d->distance[state] - 1))
                found = byte;
        }
        if (found < 0) {
            check(d->accepts[state]);
            break;
        }
        char c = (char)found;
        base_str_add(&text, &c, 1);
        state = grammar_dfa_step(d, state, (unsigned char)found);
    }
    check(grammar_dfa_matches(d, text.data == NULL ? "" : text.data, text.len));
    base_str_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    grammar_dfa *d, *quoted;
    base_err err = {0};
    const char *pattern = (const char *)data + 1;
    int rc = grammar_dfa_regex(&d, pattern, size - 1, data[0] & GRAMMAR_REGEX_SEARCH, &err);
    check(rc == 0 ? d != NULL : d == NULL && rc == BASE_ERR_USAGE && err.message[0] != '\0');
    if (rc != 0)
        return 0;
    for (uint32_t i = 0; i < 4 && !grammar_dfa_is_empty(d); i++)
        walk(d, (data[0] + i) * 2654435761u);
    rc = grammar_dfa_quote(&quoted, d, &err);
    if (rc == 0) {
        check(grammar_dfa_is_empty(quoted) == grammar_dfa_is_empty(d));
        for (uint32_t i = 0; i < 4 && !grammar_dfa_is_empty(quoted); i++)
            walk(quoted, (data[0] + i) * 2654435761u);
    }
    grammar_dfa_free(quoted);
    grammar_dfa_free(d);
    return 0;
}
