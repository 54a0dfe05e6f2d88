// A language of JSON texts as nodes that refer to each other: what schema.c makes of a schema, and
// match.c walks. Every node has a finite instance; what has none was removed when it was made.
#ifndef GRAMMAR_PROGRAM_H
#define GRAMMAR_PROGRAM_H

#include "grammar/dfa.h"

enum {
    GRAMMAR_NO_NODE = -1,
    GRAMMAR_MAX_WHITESPACE = 40,     // between JSON tokens at the root, and
    GRAMMAR_WHITESPACE_OF_LEVEL = 8, // so many more in each container: any indentation that is
                                     // usual; more is a model that has lost its way
};

typedef enum {
    GRAMMAR_SCALAR, // texts of an automaton: numbers, words, enums, strings with a pattern
    GRAMMAR_STRING, // a JSON string with a bounded number of code points; any escapes (a pair of
                    // surrogates is one code point, a lone one is not allowed)
    GRAMMAR_OBJECT,
    GRAMMAR_ARRAY,
    GRAMMAR_UNION, // one of several nodes; a union never refers to itself through unions alone
} grammar_kind;

typedef struct grammar_property {
    char *key; // [key_len] as it is spelled in JSON between the quotes: escapes only where JSON
    size_t key_len; // needs them, the short ones first, else \u00xx in lower case
    int32_t node;   // GRAMMAR_NO_NODE: this key may not be used, as an additional one neither
    bool required;  // then it has a node
} grammar_property;

typedef struct grammar_node {
    grammar_kind kind;
    int64_t min_bytes; // of the shortest instance, without white space; at most INT64_MAX / 4; a
                       // little more where minProperties asks for optional properties
    int64_t most;      // SCALAR: of a string with a pattern, code points it may have, as some of it
                       // have; 0: no limit
    union {
        const grammar_dfa *dfa; // of the program
        struct {
            int64_t min, max; // code points; max < 0: no limit
        } string;
        struct {
            grammar_property *properties; // [n] by key, ascending (memcmp)
            int n, n_required;
            int32_t additional;       // node of any other property; GRAMMAR_NO_NODE: there is none
            const grammar_dfa *names; // of other properties' keys, as spelled between the quotes;
                                      // NULL: any. There are enough of them, beside
                                      // `properties`, for `min`
            int64_t min, max;         // number of properties; max < 0: no limit, else >= n_required
        } object;
        struct {
            int32_t *prefix; // [n_prefix] nodes of the first items
            int n_prefix;
            int32_t items;    // node of the others; GRAMMAR_NO_NODE: there are none
            int64_t min, max; // number of items; max < 0: no limit
        } array;
        struct {
            int32_t *at; // [n >= 1]
            int n;
        } any;
    } u;
} grammar_node;

typedef struct grammar_program {
    grammar_node *nodes; // [n_nodes]
    int n_nodes, cap_nodes;
    int32_t root;
    grammar_dfa **dfas; // [n_dfas] owned
    int n_dfas, cap_dfas;
    int max_whitespace;      // bytes between two JSON tokens,
    int whitespace_of_level; // and so many more for each container around them
    bool json;               // false: one scalar, no white space around it
} grammar_program;

void grammar_program_free(grammar_program *p); // NULL is fine
void grammar_node_free(grammar_node *node);    // what it owns

typedef struct grammar_schema_options {
    bool strict; // what is not understood is an error, else it is relaxed
    bool no_whitespace, no_additional;
    bool object;       // at the root, where the schema leaves it open, only objects
    const char *field; // where the schema stands, for errors and reports
} grammar_schema_options;

// A schema -> a program the caller owns. As grammar_compile says of errors and `relaxed`.
int grammar_program_schema(grammar_program **out, const json_t *schema,
                           const grammar_schema_options *options, base_str *relaxed, base_err *err);
// Programs of one automaton, taken over (also on error).
grammar_program *grammar_program_scalar(grammar_dfa *dfa);

#endif
