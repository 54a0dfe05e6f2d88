// The inside of a vocabulary and of a compiled constraint, shared by the files that make and walk
// them.
#ifndef GRAMMAR_CONSTRAINT_H
#define GRAMMAR_CONSTRAINT_H

#include "grammar/cache.h"
#include <stdatomic.h>

// What an id is to the frame of an output.
typedef enum {
    GRAMMAR_THINK,
    GRAMMAR_THINK_END,
    GRAMMAR_SECTION_BEGIN,
    GRAMMAR_SECTION_END,
    GRAMMAR_CALL_BEGIN,
    GRAMMAR_CALL_ARGUMENT,
    GRAMMAR_CALL_END,
    GRAMMAR_N_MARKERS,
    GRAMMAR_END = GRAMMAR_N_MARKERS,
    GRAMMAR_OTHER,   // an ordinary token, or a control token that frames nothing here
    GRAMMAR_INVALID, // no id
} grammar_id_kind;

// An id of one to three bytes that are all the rest of some character.
typedef struct grammar_rest {
    int32_t id;
    uint8_t len, first;
} grammar_rest;

struct grammar_vocab {
    const token_vocab *tokens;
    int32_t size;
    int32_t markers[GRAMMAR_N_MARKERS]; // -1: there is none
    int32_t ends[GRAMMAR_MAX_ENDS];
    int n_ends;
    grammar_rest *rests; // [n_rests]
    int n_rests;
    grammar_trie *trie;
    grammar_cache cache;
};

grammar_id_kind grammar_kind_of(const grammar_vocab *v, int32_t id);

typedef struct grammar_declared {
    char *name; // [name_len]
    size_t name_len;
    int position; // in the list it was declared in
    grammar_cached *arguments;
} grammar_declared;

struct grammar {
    atomic_int refs;
    grammar_vocab *vocab;
    grammar_thought thought;
    int64_t thinking_budget; // -1: none
    grammar_tool_choice tool_choice;
    bool one_call;
    int first_index;
    grammar_cached *answer; // NULL: text
    // Of AUTO and REQUIRED.
    grammar_cached *names;   // "functions.NAME:"
    grammar_declared *tools; // [n_tools] by name
    int n_tools;
};

// The tool of this name, or -1.
int grammar_find_tool(const grammar *g, const char *name, size_t len);

// A language of the cache, made where it is not there: of a schema, of what an answer is to be, of
// tools' names. Errors carry the field.
int grammar_language_schema(grammar_cached **out, grammar_vocab *v, const json_t *schema,
                            const grammar_schema_options *options, base_str *relaxed,
                            base_err *err);
int grammar_language_answer(grammar_cached **out, grammar_vocab *v, const grammar_spec *spec,
                            base_str *relaxed, base_err *err);
int grammar_language_names(grammar_cached **out, grammar_vocab *v, const grammar_declared *tools,
                           int n_tools, const char *field, base_err *err);

#endif
