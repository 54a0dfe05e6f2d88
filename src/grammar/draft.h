// Automata in the making: any table of states, which finishing trims and minimises.
#ifndef GRAMMAR_DRAFT_H
#define GRAMMAR_DRAFT_H

#include "grammar/dfa.h"

enum {
    GRAMMAR_MAX_DRAFT_STATES = 4 * GRAMMAR_MAX_STATES,
    GRAMMAR_MAX_CELLS = 1 << 23, // of a table: states times symbols
};

typedef struct grammar_draft {
    int n_states, cap_states; // state 0 is the start
    int n_symbols;
    int32_t *next; // [cap_states, n_symbols] or GRAMMAR_DEAD
    bool *accepts; // [cap_states]
} grammar_draft;

void grammar_draft_start(grammar_draft *d, int n_symbols); // no states
void grammar_draft_free(grammar_draft *d);
// A new state without a way out, or GRAMMAR_DEAD when there are too many.
int32_t grammar_draft_add(grammar_draft *d);
int grammar_draft_too_large(base_err *err);

// Removes the states that are not on a way from the start to an accepting one, and merges those
// that accept the same.
int grammar_draft_minimise(grammar_draft *d, base_err *err);
// An automaton of a draft that is minimal already; takes the draft's memory. `symbols` says which
// symbol a byte is.
int grammar_draft_finish(grammar_dfa **out, grammar_draft *d, const uint8_t symbols[256],
                         base_err *err);

// A draft whose states are explored from the start: each has a key that says what it stands for.
// The maker walks `draft` in order, and asks for the states that follow.
typedef struct grammar_search {
    grammar_draft draft;
    uint64_t *keys; // [draft.n_states]
    int32_t *slots; // [n_slots] a hash table of states
    int n_slots, cap_keys;
    bool full; // a state was asked for that there was no room for
} grammar_search;

void grammar_search_start(grammar_search *s, int n_symbols, uint64_t start);
int32_t grammar_search_state(grammar_search *s, uint64_t key);
static inline void grammar_search_link(grammar_search *s, int32_t from, int symbol, uint64_t key) {
    int32_t to = grammar_search_state(s, key); // first: it may move the table
    s->draft.next[(size_t)from * (size_t)s->draft.n_symbols + (size_t)symbol] = to;
}
// Minimises and finishes; the search is freed.
int grammar_search_finish(grammar_dfa **out, grammar_search *s, const uint8_t symbols[256],
                          base_err *err);

// Gives bytes that have the same `traits` the same symbol; returns the number of symbols.
// `bytes` [256] has one byte of each.
int grammar_symbols_make(uint8_t symbols[256], const uint32_t traits[256], uint8_t bytes[256]);

// A state of UTF-8 before, inside and after a character: 0 is between characters. GRAMMAR_DEAD for
// a byte that cannot come.
enum { GRAMMAR_UTF8_STATES = 8 };
int grammar_utf8_step(int state, unsigned char byte);

#endif
