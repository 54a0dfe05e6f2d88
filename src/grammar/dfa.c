#include "grammar/dfa.h"

#include "grammar/draft.h"

void grammar_dfa_free(grammar_dfa *d) {
    if (d == NULL)
        return;
    base_free(d->next);
    base_free(d->accepts);
    base_free(d->distance);
    base_free(d);
}

bool grammar_dfa_is_empty(const grammar_dfa *d) {
    return d->n_states == 0;
}

bool grammar_dfa_matches(const grammar_dfa *d, const char *text, size_t len) {
    if (d->n_states == 0)
        return false;
    int32_t state = 0;
    for (size_t i = 0; i < len && state != GRAMMAR_DEAD; i++)
        state = grammar_dfa_step(d, state, (unsigned char)text[i]);
    return state != GRAMMAR_DEAD && d->accepts[state];
}

static uint64_t pair_key(int32_t a, int32_t b) {
    return (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
}

// Both at once; in a union one of the two may have died.
static int combine(grammar_dfa **out, const grammar_dfa *a, const grammar_dfa *b, bool both,
                   base_err *err) {
    uint32_t traits[256];
    uint8_t symbols[256], bytes[256];
    for (int c = 0; c < 256; c++)
        traits[c] = (uint32_t)(a->classes[c] << 8 | b->classes[c]);
    int n_symbols = grammar_symbols_make(symbols, traits, bytes);
    grammar_search search;
    grammar_search_start(
        &search, n_symbols,
        pair_key(a->n_states > 0 ? 0 : GRAMMAR_DEAD, b->n_states > 0 ? 0 : GRAMMAR_DEAD));
    for (int32_t s = 0; s < search.draft.n_states && !search.full; s++) {
        int32_t of_a = (int32_t)(search.keys[s] >> 32), of_b = (int32_t)search.keys[s];
        bool in_a = of_a != GRAMMAR_DEAD && a->accepts[of_a];
        bool in_b = of_b != GRAMMAR_DEAD && b->accepts[of_b];
        search.draft.accepts[s] = both ? in_a && in_b : in_a || in_b;
        for (int c = 0; c < n_symbols; c++) {
            int32_t to_a = of_a == GRAMMAR_DEAD ? of_a : grammar_dfa_step(a, of_a, bytes[c]);
            int32_t to_b = of_b == GRAMMAR_DEAD ? of_b : grammar_dfa_step(b, of_b, bytes[c]);
            bool dead_a = to_a == GRAMMAR_DEAD, dead_b = to_b == GRAMMAR_DEAD;
            if (both ? !dead_a && !dead_b : !dead_a || !dead_b)
                grammar_search_link(&search, s, c, pair_key(to_a, to_b));
        }
    }
    return grammar_search_finish(out, &search, symbols, err);
}

int grammar_dfa_intersect(grammar_dfa **out, const grammar_dfa *a, const grammar_dfa *b,
                          base_err *err) {
    return combine(out, a, b, true, err);
}

int grammar_dfa_unite(grammar_dfa **out, const grammar_dfa *a, const grammar_dfa *b,
                      base_err *err) {
    return combine(out, a, b, false, err);
}

// A state beside the number of code points begun. Without `max` those beyond `min` are alike.
int grammar_dfa_limit(grammar_dfa **out, const grammar_dfa *d, int64_t min, int64_t max,
                      base_err *err) {
    uint32_t traits[256];
    uint8_t symbols[256], bytes[256];
    for (int c = 0; c < 256; c++)
        traits[c] = (uint32_t)(d->classes[c] << 1 | ((c & 0xc0) != 0x80));
    int n_symbols = grammar_symbols_make(symbols, traits, bytes);
    grammar_search search;
    grammar_search_start(&search, n_symbols, 0);
    for (int32_t s = 0; s < search.draft.n_states && !search.full && d->n_states > 0; s++) {
        int32_t state = (int32_t)search.keys[s];
        int64_t count = (int64_t)(search.keys[s] >> 32);
        search.draft.accepts[s] = d->accepts[state] && count >= min && (max < 0 || count <= max);
        for (int c = 0; c < n_symbols; c++) {
            int32_t to = grammar_dfa_step(d, state, bytes[c]);
            int64_t after = count + ((bytes[c] & 0xc0) != 0x80);
            if (max < 0 && after > min)
                after = min > 0 ? min : 0;
            if (to != GRAMMAR_DEAD && (max < 0 || after <= max))
                grammar_search_link(&search, s, c, pair_key((int32_t)after, to));
        }
    }
    return grammar_search_finish(out, &search, symbols, err);
}

// Bytes inside a character cost nothing: states are taken up in the order of their distance.
int64_t grammar_dfa_least_points(const grammar_dfa *d) {
    size_t n = (size_t)d->n_states, edges = n * (size_t)d->n_classes;
    uint8_t lead[256] = {0}, inside[256] = {0}; // whether a class has such bytes
    for (int c = 0; c < 256; c++)
        *((c & 0xc0) == 0x80 ? &inside[d->classes[c]] : &lead[d->classes[c]]) = 1;
    bool *done = base_calloc(n + 1, sizeof *done);
    int32_t *now = base_alloc((edges + 1) * sizeof *now),
            *later = base_alloc((edges + 1) * sizeof *later);
    size_t n_now = 0, n_later = 0;
    int64_t points = 0, found = -1;
    if (n > 0)
        now[n_now++] = 0;
    while (n_now > 0 && found < 0) {
        while (n_now > 0 && found < 0) {
            int32_t state = now[--n_now];
            if (done[state])
                continue;
            done[state] = true;
            if (d->accepts[state])
                found = points;
            for (int c = 0; c < d->n_classes; c++) {
                int32_t to = d->next[(size_t)state * (size_t)d->n_classes + (size_t)c];
                if (to >= 0 && !done[to] && inside[c])
                    now[n_now++] = to;
                else if (to >= 0 && !done[to] && lead[c])
                    later[n_later++] = to;
            }
        }
        int32_t *swap = now;
        now = later;
        later = swap;
        n_now = n_later;
        n_later = 0;
        points++;
    }
    base_free(done);
    base_free(now);
    base_free(later);
    return found;
}
