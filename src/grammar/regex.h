// Inside grammar_dfa_regex: pattern -> tree -> automaton over sets of code points -> bytes.
#ifndef GRAMMAR_REGEX_H
#define GRAMMAR_REGEX_H

#include "grammar/draft.h"

enum {
    REGEX_MAX_BYTES = 4096, // of a pattern
    REGEX_MAX_DEPTH = 64,   // of groups
    REGEX_NO_LIMIT = -1,
    REGEX_MAX_CODE_POINT = 0x10ffff,
};

// A set of code points: ranges in ascending order, with gaps between them.
typedef struct regex_set {
    uint32_t *ranges; // [n][2] first and last
    int n, cap;
} regex_set;

void regex_set_add(regex_set *s, uint32_t first, uint32_t last); // in any order, until it is tidied
void regex_set_tidy(regex_set *s);
void regex_set_invert(regex_set *s);          // of a tidy one; tidy
void regex_set_drop_surrogates(regex_set *s); // of a tidy one; tidy
void regex_set_free(regex_set *s);

// \d \w \s, and what . leaves out, are not the same everywhere. `certain`: what all dialects take
// for one; `possible`: what any dialect does.
typedef enum { REGEX_DIGIT, REGEX_WORD, REGEX_SPACE, REGEX_LINE_END } regex_class;
void regex_class_add(regex_set *certain, regex_set *possible, regex_class c, bool negated);

typedef enum {
    REGEX_EMPTY,
    REGEX_CHARACTER, // of a set
    REGEX_START,     // ^
    REGEX_END,       // $
    REGEX_SEQUENCE,
    REGEX_CHOICE,
    REGEX_REPEAT,
} regex_kind;

typedef struct regex_node {
    regex_kind kind;
    int set;            // of CHARACTER
    int child, sibling; // first child, next of the same parent; -1: none
    int64_t min, max;   // of REPEAT
} regex_node;

typedef struct regex_tree {
    regex_node *nodes; // [n_nodes]
    int n_nodes, cap_nodes, root;
    regex_set *sets; // [n_sets] tidy, no two alike
    int n_sets, cap_sets;
} regex_tree;

int regex_parse(regex_tree *t, const char *pattern, size_t len, base_err *err);
void regex_tree_free(regex_tree *t);

// All code points but surrogates, cut into as few classes as the sets of a tree tell apart.
typedef struct regex_alphabet {
    int n_classes, n_ranges;
    uint32_t *first; // [n_ranges] ascending; the first is 0
    int *classes;    // [n_ranges] -1: surrogates
    int *begins;     // [n_sets + 1] where a set's classes begin
    int *members;    // classes by set
} regex_alphabet;

void regex_alphabet_make(regex_alphabet *a, const regex_tree *t);
void regex_alphabet_free(regex_alphabet *a);

// What the tree matches, as an automaton whose symbols are the classes.
int regex_determine(grammar_draft *out, const regex_tree *t, const regex_alphabet *a, bool search,
                    base_err *err);
// The same in UTF-8; `d` is minimal, so the result is. Frees `d`.
int regex_to_bytes(grammar_dfa **out, grammar_draft *d, const regex_alphabet *a, base_err *err);

#endif
