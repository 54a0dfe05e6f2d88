// The insides of grammar_program_schema.
//
// A schema in the document is a "place". All places that can be reached are found, checked and
// numbered first (schema_scan.c, schema_keyword.c, schema_ref.c). What a value must satisfy is a
// set of places: allOf, $ref and the places that one property has in each of them only add places
// to a set, so that nothing has to be merged as JSON. A set is expanded into alternatives
// (schema_expand.c: anyOf and oneOf), and each of these gives one node for each type
// (schema_merge.c, schema_object.c, schema_string.c). Sets are memoised, hence recursion ends. Last
// the sizes of shortest instances are found (schema_size.c), and what has none is removed
// (schema_prune.c).
#ifndef GRAMMAR_SCHEMA_H
#define GRAMMAR_SCHEMA_H

#include "grammar/program.h"

// What a schema may come to. The work is counted in steps of a tenth of a microsecond or so.
enum {
    SCHEMA_MAX_BYTES = 1 << 20,
    SCHEMA_MAX_DEPTH = 128,
    SCHEMA_MAX_PLACES = 32768,
    SCHEMA_MAX_VALUES = 10000,
    SCHEMA_MAX_NODES = 16384,
    SCHEMA_MAX_PROPERTIES = 4096, // of one object; of all: SCHEMA_MAX_ALL_PROPERTIES
    SCHEMA_MAX_ALL_PROPERTIES = 131072,
    SCHEMA_MAX_ALTERNATIVES = 4096,
    SCHEMA_MAX_GUARDS = 2048,
    SCHEMA_MAX_CELLS = 4 << 20, // of the tables of all automata
    SCHEMA_MAX_AUTOMATA = 4096,
    SCHEMA_MAX_REPORTS = 32,
    SCHEMA_MAX_WORK = 500000,
    SCHEMA_MAX_MULTIPLE = 4096, // grammar_range's
};

// Types. A number is an integer by its value, as 3.0 is.
enum {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_INTEGER = 4,
    SCHEMA_FRACTION = 8,
    SCHEMA_NUMBER = SCHEMA_INTEGER | SCHEMA_FRACTION,
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
    SCHEMA_ANY = 127,
};

// What a place says itself, but for its types.
enum {
    SCHEMA_OF_NUMBERS = 1,
    SCHEMA_OF_STRINGS = 2,
    SCHEMA_OF_ARRAYS = 4,
    SCHEMA_OF_OBJECTS = 8,
    SCHEMA_OF_VALUES = 16, // enum, const
};

// Bytes -> number.
typedef struct schema_map {
    struct schema_entry *entries; // [cap] a power of two; value < 0: free
    size_t n, cap;
    base_str keys;
} schema_map;

int32_t schema_map_get(const schema_map *m, const void *key, size_t len); // -1: not there
void schema_map_put(schema_map *m, const void *key, size_t len, int32_t value);
void schema_map_free(schema_map *m);

// A growable list of numbers.
typedef base_ids schema_set; // sorted, without duplicates
bool schema_set_has(const schema_set *v, int32_t x);
bool schema_set_insert(schema_set *v, int32_t x); // false: was there

typedef struct schema_place {
    const json_t *at;       // an object, or a boolean
    const json_t *resource; // what "#" in a $ref is: the nearest schema around it with an $id
    int32_t parent;         // -1: `path` says it
    const char *keyword;    // how it is reached from its parent: .keyword.name, .keyword[index]
    const char *name;       // NULL: none
    int index;              // -1: none
    int depth;
    char *path; // owned
    bool never; // the schema false
    uint8_t mark;
    unsigned types, says;
    int32_t ref;             // -1: none
    int32_t *links;          // [n_all + n_any + n_one] owned
    int n_all, n_any, n_one; // allOf, anyOf, oneOf
    int32_t pattern, format; // automata, unquoted; -1: none
    int32_t *patterns;       // [n_patterns] automata of patternProperties, -1: not understood
    int n_patterns;          // owned
    bool relaxed;            // allows more than it says
    schema_map *allowed;     // canonical texts of enum or const, once they were needed; owned
} schema_place;

// A set of places that gets a node of its own, a union.
typedef struct schema_conjunction {
    schema_set places;
    unsigned types; // others are left out
    bool object;    // a type that is open is an object
    int32_t node;
} schema_conjunction;

// Two branches of a oneOf, with all that holds where it stands: there must be no such value.
typedef struct schema_guard {
    schema_set places;
    unsigned types;
    int32_t place; // of the oneOf
    int32_t node;
} schema_guard;

typedef struct schema {
    const grammar_schema_options *options;
    const json_t *root;
    base_str *relaxed;
    base_err *err;
    grammar_program *program; // its nodes may have no instance until schema_prune
    schema_place *places;     // [n_places]
    int n_places, cap_places;
    schema_map place_of; // json_t * -> place
    schema_map dfa_of;   // what it is made of -> automaton + 1; 0: that failed
    schema_map node_of;  // kind and what it is made of -> node
    schema_map value_of; // canonical text of a value -> number
    schema_map guard_of; // set of places -> guard
    schema_map reported;
    schema_conjunction *queue; // [n_queue] from n_made on they still have no members
    int n_queue, n_made, cap_queue;
    schema_guard *guards; // [n_guards]
    int n_guards, cap_guards;
    bool guarding; // nodes are made only for guards: those need no guards themselves
    int max_nodes;
    int n_values, n_properties, n_reports;
    int64_t cells, work;
    int64_t dfa_ns; // spent on making automata
} schema;

// schema_report.c. Errors: "FIELD.path.keyword: reason"; keyword may be NULL.
int schema_fail(schema *s, int32_t place, const char *keyword, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// A keyword that is not understood (`why` NULL) or only in part: an error when strict, else it is
// reported, and the caller must allow more.
int schema_unsupported(schema *s, int32_t place, const char *keyword, const char *why);
void schema_path(const schema *s, int32_t place, base_str *out);
// Counts work; fails when it is too much.
int schema_work(schema *s, int64_t steps);

// schema_scan.c: all places that can be reached from the root; finds errors and cycles.
int schema_scan(schema *s);
typedef struct schema_step { // from a parent to a child
    const char *keyword, *name;
    int index;
} schema_step;
int schema_place_add(schema *s, const json_t *at, int32_t parent, schema_step step, int32_t *out);
int schema_place_add_target(schema *s, const json_t *at, const json_t *resource, const char *path,
                            int32_t *out);
int32_t schema_place_of(const schema *s, const json_t *at); // one that was added

// schema_keyword.c: checks the keywords of one place, adds the places under it.
int schema_keywords(schema *s, int32_t place);
// schema_ref.c: adds the place that a $ref names.
int schema_ref(schema *s, int32_t place, const char *ref, int32_t *out);
// schema_cycle.c: $ref, allOf, anyOf and oneOf that lead back to where they began.
int schema_cycles(schema *s);

// Values of the document (schema_value.c). Numbers are equal by value.
void schema_value_text(const json_t *value, bool canonical, base_str *out);
int schema_number_compare(const json_t *a, const json_t *b);
bool schema_number_integral(const json_t *value);
// A count (minLength, maxItems, ...), -1: the place does not say it.
int64_t schema_count(const schema *s, int32_t place, const char *keyword);
int64_t schema_multiple(const json_t *at); // multipleOf; 0: none, or none that is supported
unsigned schema_type_of(const json_t *value);

// Whether a value satisfies a place (schema_check.c); MAYBE: keywords were relaxed.
typedef enum { SCHEMA_NO, SCHEMA_MAYBE, SCHEMA_YES } schema_answer;
int schema_check(schema *s, const json_t *value, int32_t place, schema_answer *out);
// Only what the place says itself: nothing behind $ref, allOf, anyOf and oneOf.
int schema_check_own(schema *s, const json_t *value, int32_t place, schema_answer *out);
void schema_allowed_free(schema_map *allowed); // NULL is fine

// Sets of places (schema_expand.c).
typedef struct schema_alternative {
    schema_set places;
    base_ids groups; // still to be chosen from: place * 2, + 1 for oneOf
    unsigned types;
} schema_alternative;
typedef struct schema_alternatives {
    schema_alternative *at; // [n]
    int n, cap;
} schema_alternatives;
int schema_expand(schema *s, const schema_set *places, unsigned types, schema_alternatives *out);
void schema_alternatives_free(schema_alternatives *v);
// Adds a place and what follows from it but for choices; false: nothing satisfies it all.
bool schema_alternative_add(schema *s, schema_alternative *a, int32_t place);
void schema_alternative_free(schema_alternative *a);
bool schema_place_is_idle(const schema_place *p); // forbids nothing

// oneOf (schema_one.c): its branches must be seen to exclude each other. Those that are not at once
// become guards, which are looked at when all else is done; `a` is what holds beside them.
int schema_one(schema *s, const schema_alternative *a, int32_t place);
int schema_guards(schema *s);

// Nodes (schema_merge.c). That of a set of places gets its members later.
int schema_union(schema *s, const schema_set *places, unsigned types, bool object, int32_t *out);
int schema_unions(schema *s); // gives all of them their members
int schema_node_add(schema *s, grammar_kind kind, int32_t *out);
int schema_scalar(schema *s, int32_t dfa, int64_t most, int32_t *out); // `most` as in the node
// The texts of enum and const that an alternative allows; false in *has: it has neither.
typedef struct schema_texts {
    base_str text;
    base_ids ends; // of each
} schema_texts;
void schema_texts_free(schema_texts *t);
int schema_values(schema *s, const schema_alternative *a, bool canonical_keys, schema_texts *out,
                  bool *has);
// All places' limits: the most of the minima (0), the least of the maxima (-1).
void schema_limits(const schema *s, const schema_set *places, const char *least, const char *most,
                   int64_t *min, int64_t *max);

// What a place says of its item `i` (NULL: nothing), and of its property `key`: adds the places for
// it; MAYBE when patternProperties was relaxed.
const json_t *schema_item(const json_t *at, size_t i);
int schema_property(schema *s, int32_t place, const char *key, schema_set *out,
                    schema_answer *answer);
int schema_object(schema *s, const schema_set *places, int32_t *out);
// The keys that are allowed beside others (schema_names.c): an automaton of unquoted texts, -1:
// any.
int schema_names(schema *s, const schema_set *property_names, int32_t *out);
int schema_names_spelled(schema *s, int32_t dfa, int32_t *out); // as between quotes
int64_t schema_names_count(const grammar_dfa *d);               // INT64_MAX: infinitely many

// Automata are kept by what they are made of (schema_dfa.c). -1: there is none.
typedef struct schema_recipe {
    char kind;
    int64_t a, b, c;
    const void *bytes; // [len]
    size_t len;
} schema_recipe;
bool schema_dfa_find(schema *s, const schema_recipe *r, int32_t *out); // -1: it failed before
int schema_dfa_begin(schema *s); // before one is made; fails when others have taken too long
int schema_dfa_keep(schema *s, const schema_recipe *r, grammar_dfa *dfa, int32_t *out);
int schema_dfa_pattern(schema *s, int32_t place, const char *keyword, const char *pattern,
                       int32_t *out);
int schema_dfa_format(schema *s, int32_t place, const char *format, int32_t *out);
int schema_dfa_literals(schema *s, const schema_texts *texts, size_t from, size_t to, int32_t *out);
// These give -1 when the automaton is too large, with the reason in `why`.
int schema_dfa_both(schema *s, int32_t a, int32_t b, int32_t *out, base_err *why);
int schema_dfa_either(schema *s, int32_t a, int32_t b, int32_t *out, base_err *why);
int schema_dfa_limit(schema *s, int32_t a, int64_t min, int64_t max, int32_t *out, base_err *why);
int schema_dfa_quote(schema *s, int32_t a, int32_t *out, base_err *why);

// Strings (schema_string.c): a node, and for names an automaton of unquoted texts, -1: all.
int schema_string(schema *s, const schema_set *places, int32_t *out);
int schema_string_dfa(schema *s, const schema_set *places, int32_t *out);
int schema_number(schema *s, const schema_set *places, unsigned types, int32_t *out);

// min_bytes of all nodes (schema_size.c), INT64_MAX: it has no instance. Then only what has one
// and can be reached from the root is kept (schema_prune.c).
void schema_sizes(schema *s);
int schema_prune(schema *s);

#endif
