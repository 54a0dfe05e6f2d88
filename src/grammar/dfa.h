// Deterministic automata over bytes: what a scalar of JSON, a key, a regular expression or a choice
// may be spelled like. All of them are trimmed: from each state an accepting one can be reached.
#ifndef GRAMMAR_DFA_H
#define GRAMMAR_DFA_H

#include "base/base.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GRAMMAR_DEAD = -1, GRAMMAR_MAX_STATES = 65536 };

typedef struct grammar_dfa {
    int n_states; // state 0 is the start; none: the language is empty
    int n_classes;
    uint8_t classes[256]; // of bytes that are treated alike
    int32_t *next;        // [n_states, n_classes] or GRAMMAR_DEAD
    bool *accepts;        // [n_states]
    int32_t *distance;    // [n_states] fewest bytes to an accepting state
} grammar_dfa;

static inline int32_t grammar_dfa_step(const grammar_dfa *d, int32_t state, unsigned char byte) {
    return d->next[(size_t)state * (size_t)d->n_classes + d->classes[byte]];
}

void grammar_dfa_free(grammar_dfa *d); // NULL is fine

// All makers give a minimal automaton the caller owns, or BASE_ERR_USAGE with a reason (no field in
// front). An empty language is no error: n_states is 0.

// The strings a regular expression matches. The dialect is what ECMA-262 (JSON Schema's pattern)
// and Python's re have in common; it is listed in docs/API.md. What lies beyond (back references,
// look-around) is an error that names it. Text is UTF-8; '.' and negated classes are whole
// characters.
enum {
    GRAMMAR_REGEX_SEARCH = 1, // anchored only by ^ and $, as JSON Schema's pattern is; else the
                              // whole string
};
int grammar_dfa_regex(grammar_dfa **out, const char *pattern, size_t len, unsigned flags,
                      base_err *err);

// The strings a JSON Schema format allows; *out NULL and no error: the format is not known.
int grammar_dfa_format(grammar_dfa **out, const char *format, base_err *err);

// Exactly these byte strings.
int grammar_dfa_literals(grammar_dfa **out, const char *const *at, const size_t *lens, size_t n,
                         base_err *err);

// Texts that both allow / one of both allows.
int grammar_dfa_intersect(grammar_dfa **out, const grammar_dfa *a, const grammar_dfa *b,
                          base_err *err);
int grammar_dfa_unite(grammar_dfa **out, const grammar_dfa *a, const grammar_dfa *b, base_err *err);
// Texts of `d` with from min to max code points; max < 0: no limit.
int grammar_dfa_limit(grammar_dfa **out, const grammar_dfa *d, int64_t min, int64_t max,
                      base_err *err);
// How many code points the shortest text has (not the one of fewest bytes); -1: there is none.
int64_t grammar_dfa_least_points(const grammar_dfa *d);
// Whether the text is in the language.
bool grammar_dfa_matches(const grammar_dfa *d, const char *text, size_t len);
bool grammar_dfa_is_empty(const grammar_dfa *d);

// The JSON strings, quotes included, that spell a text of `d`: characters as they are, or by one of
// the escapes \" \\ \b \f \n \r \t where JSON asks for one; \uXXXX only for the other control
// characters, in lower-case hexadecimal.
int grammar_dfa_quote(grammar_dfa **out, const grammar_dfa *d, base_err *err);

// JSON numbers in [min, max], without exponent when there is a bound. `min` and `max` are decimal
// texts as JSON has them (with an exponent, too), NULL: none. `*_open`: the bound itself is not
// allowed. Integers are written without fraction. At most 20 digits before and 17 after the point
// (bounds may need fewer or more), exponents of at most 2 digits.
typedef struct grammar_range {
    bool integer;
    const char *min, *max;
    bool min_open, max_open;
    int64_t multiple_of; // of integers; 0: any; at most 4096
} grammar_range;
int grammar_dfa_number(grammar_dfa **out, const grammar_range *range, base_err *err);

#endif
