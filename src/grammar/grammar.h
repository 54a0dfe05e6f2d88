// grammar: JSON Schema, regular expressions, tool frames -> which token id may come next.
//
// Takes schemas, tools and the ids of the control tokens that frame thoughts and tool calls; gives
// a constraint whose states answer mask(state) and take advance(state, id), on token ids. It must
// never know the engine, requests or chats.
//
// What a constraint allows, it can finish: whatever an output made of allowed ids has come to,
// there is a finite way to its end. So a finished output always is what was asked for.
//
// The keywords of JSON Schema that are understood are listed in docs/API.md, "Structured output";
// annotations (title, description, default, examples, $comment, $id, $schema, deprecated, readOnly,
// writeOnly) are ignored; any other keyword is an error when strict, else what it would forbid is
// allowed and the keyword is reported.
#ifndef GRAMMAR_GRAMMAR_H
#define GRAMMAR_GRAMMAR_H

#include "base/base.h"
#include "token/token.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The control tokens that frame an answer; -1 where a vocabulary has none, and then only answers
// without thoughts and tools can be constrained.
enum { GRAMMAR_MAX_ENDS = 16 };
typedef struct grammar_tokens {
    int32_t think, think_end;
    int32_t section_begin, section_end, call_begin, call_argument, call_end;
    int n_ends;
    int32_t ends[GRAMMAR_MAX_ENDS]; // ids that end the output (EOS)
} grammar_tokens;

// A vocabulary made ready for masks, and the languages compiled so far: the least recently used are
// forgotten when they take more than a bounded amount of memory. Any number of threads may compile;
// states of all constraints of one vocabulary must be used by one thread at a time.
typedef struct grammar_vocab grammar_vocab;
// `vocab` must outlive the result. Takes a few hundred milliseconds for Kimi's vocabulary.
grammar_vocab *grammar_vocab_create(const token_vocab *vocab, const grammar_tokens *tokens);
void grammar_vocab_free(grammar_vocab *v); // NULL is fine; constraints must be gone

// ---------------------------------------------------------------------------------------------

typedef struct grammar_tool {
    const char *name; // [name_len] UTF-8
    size_t name_len;
    const json_t *parameters; // a JSON Schema; NULL: any object
    bool strict;              // keywords that are not understood are an error, else relaxed
    const char *field;        // of `parameters`, for errors: "tools[2].function.parameters"
} grammar_tool;

typedef enum {
    GRAMMAR_TOOLS_NONE,     // tool tokens cannot be sampled
    GRAMMAR_TOOLS_FREE,     // tool tokens and what stands between them are not constrained
    GRAMMAR_TOOLS_AUTO,     // calls may be made; a call that begins names a tool and has its
                            // arguments
    GRAMMAR_TOOLS_REQUIRED, // after the thought, nothing but calls: one at least
} grammar_tool_choice;

typedef enum {
    GRAMMAR_ANSWER_TEXT,   // free
    GRAMMAR_ANSWER_OBJECT, // any JSON object
    GRAMMAR_ANSWER_SCHEMA,
    GRAMMAR_ANSWER_REGEX, // the whole answer matches
    GRAMMAR_ANSWER_CHOICE,
} grammar_answer;

typedef enum {
    GRAMMAR_THOUGHT_NONE,    // the output is the answer from its first id on (completions, thinking
                             // off, a thought that the prompt has ended)
    GRAMMAR_THOUGHT_TO_OPEN, // the output begins with <think>, as the model was trained
    GRAMMAR_THOUGHT_OPEN,    // the prompt has opened a thought
} grammar_thought;

// What is asked of one output. Everything in it may be freed after grammar_compile.
typedef struct grammar_spec {
    grammar_thought thought;
    int64_t thinking_budget; // ids of a thought before </think> is forced; -1: none
    grammar_tool_choice tool_choice;
    const grammar_tool *tools; // [n_tools] for a named choice only that one
    int n_tools;
    bool one_call;         // parallel_tool_calls false, or a named tool: at most one call
    int first_index;       // IDX of the first call's id functions.NAME:IDX; others count on from it
    grammar_answer answer; // with a TEXT answer beside tools, or another one without
    const json_t *schema;  // of SCHEMA
    bool strict;           // SCHEMA: as in grammar_tool
    const char *regex;     // of REGEX [regex_len]
    size_t regex_len;
    const char *const *choices; // of CHOICE [n_choices], none empty
    const size_t *choice_lens;
    int n_choices;
    bool no_whitespace;       // JSON: none between tokens (else a bounded amount)
    bool no_additional;       // SCHEMA: objects have no properties but those declared
    const char *answer_field; // for errors: "response_format.json_schema.schema"
} grammar_spec;

// A compiled constraint; immutable, counted.
typedef struct grammar grammar;

// Any thread. *out is NULL when there is nothing to constrain. Keywords that were relaxed are
// appended to `relaxed` as "FIELD: keyword" with ", " between them, unless it is NULL. Errors are
// BASE_ERR_USAGE, "FIELD: reason": not a schema, an unsupported keyword, no finite instance, a
// cyclic $ref without progress, or too large; time and memory are bounded (a tenth of a second at
// worst for a schema, half a second for a list of tools). BASE_ERR_RESOURCE when memory is out, or
// too much of it is held by constraints in use.
int grammar_compile(grammar **out, grammar_vocab *v, const grammar_spec *spec, base_str *relaxed,
                    base_err *err);
grammar *grammar_ref(grammar *g); // NULL is fine
void grammar_unref(grammar *g);   // NULL is fine; any thread

// ---------------------------------------------------------------------------------------------

enum { GRAMMAR_MAX_ROLLBACK = 64 };

typedef struct grammar_state grammar_state;

// NULL when memory is out. Any thread; takes a reference.
grammar_state *grammar_state_create(grammar *g);
void grammar_state_free(grammar_state *s); // NULL is fine

// Takes the id that was sampled. False when it was not allowed: from then on the state constrains
// nothing (scripts of the replay engine may do as they please).
bool grammar_state_advance(grammar_state *s, int32_t id);
// Undoes the last `n` ids, at most GRAMMAR_MAX_ROLLBACK of those advanced.
void grammar_state_rollback(grammar_state *s, int n);

// Fills `mask` [(n_ids + 31) / 32], a bitset, 1 = may come next. False: every id may come, and the
// mask is untouched. At least one bit is set.
bool grammar_state_mask(grammar_state *s, uint32_t *mask, int n_ids);
// The output is complete: nothing may come but an id that ends it. (min_tokens must give way.)
bool grammar_state_must_end(const grammar_state *s);

// What masks have cost so far, for metrics and benchmarks.
typedef struct grammar_stats {
    uint64_t masks, masks_found; // asked for; found in the cache
    uint64_t languages, languages_found;
    size_t bytes; // of languages and masks held
} grammar_stats;
void grammar_get_stats(grammar_vocab *v, grammar_stats *out);

#endif
