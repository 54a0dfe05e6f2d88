// What the tests of matchers share: programs built by hand or at random, a vocabulary of nasty
// tokens, and a plain reader of a program's language that knows nothing of threads and masks.
#ifndef TESTS_MATCH_FIXTURE_H
#define TESTS_MATCH_FIXTURE_H

#include "chat_fixture.h"
#include "grammar/match.h"
#include "token_fixture.h"

static inline uint32_t match_random(uint64_t *seed, uint32_t below) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

// ---------------------------------------------------------------------------------------------
// Programs

static inline grammar_program *match_program(int max_whitespace) {
    grammar_program *p = base_calloc(1, sizeof *p);
    p->max_whitespace = max_whitespace;
    p->json = true;
    return p;
}

static inline int32_t match_add(grammar_program *p, grammar_node node) {
    if (p->n_nodes == p->cap_nodes) {
        p->cap_nodes = 2 * p->cap_nodes + 16;
        p->nodes = base_realloc(p->nodes, (size_t)p->cap_nodes * sizeof *p->nodes);
    }
    node.min_bytes = 1;
    p->nodes[p->n_nodes] = node;
    p->root = p->n_nodes;
    return p->n_nodes++;
}

static inline const grammar_dfa *match_own(grammar_program *p, grammar_dfa *dfa) {
    if (p->n_dfas == p->cap_dfas) {
        p->cap_dfas = 2 * p->cap_dfas + 16;
        p->dfas = base_realloc(p->dfas, (size_t)p->cap_dfas * sizeof *p->dfas);
    }
    return p->dfas[p->n_dfas++] = dfa;
}

static inline const grammar_dfa *match_regex(grammar_program *p, const char *pattern) {
    grammar_dfa *dfa;
    base_err err;
    if (grammar_dfa_regex(&dfa, pattern, strlen(pattern), 0, &err))
        abort();
    return match_own(p, dfa);
}

// A scalar that is spelled as the pattern says.
static inline int32_t match_scalar(grammar_program *p, const char *pattern) {
    return match_add(p, (grammar_node){.kind = GRAMMAR_SCALAR, .u.dfa = match_regex(p, pattern)});
}

static inline int32_t match_string(grammar_program *p, int64_t min, int64_t max) {
    return match_add(p, (grammar_node){.kind = GRAMMAR_STRING, .u.string = {min, max}});
}

static inline int32_t match_array(grammar_program *p, const int32_t *prefix, int n, int32_t items,
                                  int64_t min, int64_t max) {
    grammar_node node = {.kind = GRAMMAR_ARRAY};
    node.u.array.prefix = base_alloc(((size_t)n + 1) * sizeof *prefix);
    for (int i = 0; i < n; i++)
        node.u.array.prefix[i] = prefix[i];
    node.u.array.n_prefix = n;
    node.u.array.items = items;
    node.u.array.min = min;
    node.u.array.max = max;
    return match_add(p, node);
}

static inline int32_t match_union(grammar_program *p, const int32_t *at, int n) {
    grammar_node node = {.kind = GRAMMAR_UNION};
    node.u.any.at = base_alloc(((size_t)n + 1) * sizeof *at);
    for (int i = 0; i < n; i++)
        node.u.any.at[i] = at[i];
    node.u.any.n = n;
    return match_add(p, node);
}

static inline int32_t match_object(grammar_program *p, int64_t min, int64_t max) {
    return match_add(
        p, (grammar_node){.kind = GRAMMAR_OBJECT,
                          .u.object = {.additional = GRAMMAR_NO_NODE, .min = min, .max = max}});
}

static inline void match_property(grammar_program *p, int32_t object, const char *key, int32_t node,
                                  bool required) {
    grammar_node *o = &p->nodes[object];
    int n = o->u.object.n;
    o->u.object.properties =
        base_realloc(o->u.object.properties, ((size_t)n + 1) * sizeof *o->u.object.properties);
    grammar_property *at = o->u.object.properties;
    int i = n;
    for (; i > 0 && strcmp(at[i - 1].key, key) > 0; i--)
        at[i] = at[i - 1];
    at[i] = (grammar_property){base_strdup(key), strlen(key), node, required};
    o->u.object.n++;
    o->u.object.n_required += required;
}

// ---------------------------------------------------------------------------------------------
// Vocabularies: all bytes, and tokens in which several things happen at once.

static inline token_vocab *match_nasty_vocab(void) {
    static const char *const nasty[] = {"\":\"",
                                        "\",\"a\":",
                                        "}}",
                                        "\"],",
                                        "\\u00",
                                        "\\\"",
                                        "\\u",
                                        "\\ud8",
                                        "3d\\ude",
                                        "00",
                                        "0a",
                                        "        ",
                                        "\n\n\n",
                                        ", ",
                                        "\": ",
                                        "\": \"",
                                        "{\"",
                                        "[{\"",
                                        "}]",
                                        "]}",
                                        "},{",
                                        "],[",
                                        "\",\"",
                                        "\",\"b\":\"",
                                        "\":{\"",
                                        "[[",
                                        "]]",
                                        "[]",
                                        "{}",
                                        "true",
                                        "false",
                                        "null",
                                        "tr",
                                        "12",
                                        "-1",
                                        "1,2",
                                        "1}",
                                        "1]",
                                        "\"a\":1",
                                        ",\"a\":1",
                                        "\"a\"",
                                        "\"ab\":",
                                        "\"x-",
                                        "ab",
                                        "abc",
                                        "aaaa",
                                        "aaaaaaaaaaaaaaaa",
                                        "b\"",
                                        "bc\":",
                                        "\\\\",
                                        "\\n",
                                        "\\/",
                                        "\\\"q",
                                        "{\"a\":{\"a\":",
                                        "\":1,\"",
                                        "\":1,\"ab",
                                        "1,\"a\":1,\"b\":1}",
                                        "\"\"",
                                        "\"\":",
                                        "\"}",
                                        "\"]",
                                        "\"}]}",
                                        "\",",
                                        "\xc3\xa9",
                                        "\xe4\xb8",
                                        "\xad\xe6",
                                        "\x96\x87",
                                        "\xf0\x9f",
                                        "\x98\x80",
                                        "\xf0\x9f\x98\x80",
                                        "a\xc3",
                                        "\xa9\"",
                                        "\xed\xa0\x80",
                                        "\xe2\x86\x92\xe2\x86\x92",
                                        "x-1",
                                        "x-a",
                                        "f:",
                                        ":12",
                                        "ab\":1,\"abc",
                                        "\"a\":1,\"a\":1",
                                        "\\u0041",
                                        "\\u0000",
                                        "\\ud800\\udc00",
                                        "\\u0022",
                                        "\\u0000\"",
                                        "\\u0000\",",
                                        "\\u0000\"]",
                                        "\":1,\"a\":",
                                        "\":1,\"x-"};
    fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
    fixture_add_bytes(tokens);
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++)
        fixture_add(tokens, nasty[i], strlen(nasty[i]));
    base_err err;
    token_vocab *vocab = fixture_load(tokens, &err);
    if (!vocab)
        abort();
    base_str_free(&tokens->bytes);
    base_free(tokens);
    return vocab;
}

// ---------------------------------------------------------------------------------------------
// The plain reader: which places can a value that begins at `at` end at? Found by
// trying everything.

typedef struct match_reader {
    const grammar_program *p;
    const char *text;
    int len;   // at most 511
    int depth; // containers around the place
} match_reader;

typedef struct match_places {
    uint64_t at[8]; // a bit for each
} match_places;

static inline match_places match_place(int i) {
    match_places one = {{0}};
    one.at[i / 64] = (uint64_t)1 << (i % 64);
    return one;
}

static inline bool match_has(const match_places *p, int i) {
    return p->at[i / 64] >> (i % 64) & 1;
}

static inline void match_join(match_places *p, match_places more) {
    for (int i = 0; i < 8; i++)
        p->at[i] |= more.at[i];
}

static inline match_places match_read(const match_reader *r, int32_t node, int at);

static inline match_places match_read_dfa(const match_reader *r, const grammar_dfa *d, int at) {
    match_places ends = {{0}};
    for (int end = at; end <= r->len; end++) {
        if (grammar_dfa_matches(d, r->text + at, (size_t)(end - at)))
            match_join(&ends, match_place(end));
    }
    return ends;
}

// Each way to have read `ends` followed by as many spaces as there may be.
static inline match_places match_spaces(const match_reader *r, match_places ends) {
    match_places all = ends;
    for (int i = 0; i < r->p->max_whitespace + r->p->whitespace_of_level * r->depth; i++) {
        match_places more = {{0}};
        for (int at = 0; at < r->len; at++) {
            if (match_has(&ends, at) && strchr(" \n\r\t", r->text[at]))
                match_join(&more, match_place(at + 1));
        }
        match_join(&all, more);
        ends = more;
    }
    return all;
}

static inline match_places match_byte(const match_reader *r, match_places ends, char byte) {
    match_places more = {{0}};
    for (int at = 0; at < r->len; at++) {
        if (match_has(&ends, at) && r->text[at] == byte)
            match_join(&more, match_place(at + 1));
    }
    return more;
}

// The number of an escape \uXXXX, or -1.
static inline int match_hex(const match_reader *r, int at) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int value = 0;
    if (at + 6 > r->len || r->text[at] != '\\' || r->text[at + 1] != 'u')
        return -1;
    for (int i = at + 2; i < at + 6; i++) {
        const char *digit = memchr(digits, r->text[i], 32);
        if (!digit)
            return -1;
        value = value * 16 + (int)(digit - digits) % 16;
    }
    return value;
}

// The end of the JSON string that begins at `at`, behind its quote, or -1; *points of it.
static inline int match_string_end(const match_reader *r, int at, int64_t *points) {
    *points = 0;
    if (at >= r->len || r->text[at] != '"')
        return -1;
    for (int i = at + 1; i < r->len;) {
        if (r->text[i] == '"')
            return i + 1;
        bool valid = (unsigned char)r->text[i] >= 0x20;
        size_t n = base_utf8_next(r->text + i, (size_t)(r->len - i), &valid);
        if (!valid || (unsigned char)r->text[i] < 0x20)
            return -1;
        if (r->text[i] == '\\') {
            if (i + 1 >= r->len || !memchr("\"\\/bfnrtu", r->text[i + 1], 9))
                return -1;
            n = 2;
            if (r->text[i + 1] == 'u') {
                int high = match_hex(r, i), low = match_hex(r, i + 6);
                if (high <= 0 || (high & 0xfc00) == 0xdc00 ||
                    ((high & 0xfc00) == 0xd800 && (low < 0 || (low & 0xfc00) != 0xdc00)))
                    return -1;
                n = (high & 0xfc00) == 0xd800 ? 12 : 6;
            }
        }
        i += (int)n;
        (*points)++;
    }
    return -1;
}

// Where a program spells keys canonically, so must other keys be.
static inline bool match_is_canonical(const char *key, int len) {
    for (int i = 0; i < len; i++) {
        if (key[i] != '\\')
            continue;
        i++;
        if (key[i] == '/')
            return false;
        if (key[i] == 'u') {
            unsigned value = (unsigned)strtoul((char[]){key[i + 3], key[i + 4], 0}, NULL, 16);
            bool low = !strpbrk((char[]){key[i + 3], key[i + 4], 0}, "ABCDEF");
            if (key[i + 1] != '0' || key[i + 2] != '0' || value >= 0x20 || value == 0 || !low ||
                strchr("\b\t\n\f\r", (int)value))
                return false;
            i += 4;
        }
    }
    return true;
}

typedef struct match_taken {
    int from, to; // of the key in the text
    const struct match_taken *before;
} match_taken;

// After a brace or a comma, and spaces: a property, or the end. `taken` holds the `n` before.
static inline match_places match_read_properties(const match_reader *r, const grammar_node *o,
                                                 int at, int n, int missing,
                                                 const match_taken *taken) {
    match_places ends = {{0}};
    int64_t points;
    int end = match_string_end(r, at, &points);
    if (end < 0 || (o->u.object.max >= 0 && n >= o->u.object.max))
        return ends;
    match_taken key = {at + 1, end - 1, taken};
    int len = key.to - key.from;
    for (const match_taken *t = taken; t; t = t->before) {
        if (t->to - t->from == len &&
            memcmp(r->text + t->from, r->text + key.from, (size_t)len) == 0)
            return ends;
    }
    int32_t value = o->u.object.additional;
    bool declared = false;
    for (int i = 0; i < o->u.object.n; i++) {
        const grammar_property *p = &o->u.object.properties[i];
        if (p->key_len == (size_t)len && memcmp(p->key, r->text + key.from, (size_t)len) == 0) {
            value = p->node;
            missing -= p->required;
            declared = true;
        }
    }
    if (!declared && (o->u.object.names
                          ? !grammar_dfa_matches(o->u.object.names, r->text + key.from, (size_t)len)
                          : !match_is_canonical(r->text + key.from, len)))
        return ends;
    if (value < 0)
        return ends;
    match_places starts = match_spaces(r, match_byte(r, match_spaces(r, match_place(end)), ':'));
    match_places after = {{0}};
    for (int i = 0; i < r->len; i++) {
        if (match_has(&starts, i))
            match_join(&after, match_read(r, value, i));
    }
    after = match_spaces(r, after);
    if (missing == 0 && n + 1 >= o->u.object.min)
        match_join(&ends, match_byte(r, after, '}'));
    match_places next = match_spaces(r, match_byte(r, after, ','));
    for (int i = 0; i < r->len; i++) {
        if (match_has(&next, i))
            match_join(&ends, match_read_properties(r, o, i, n + 1, missing, &key));
    }
    return ends;
}

static inline match_places match_read_object(const match_reader *around, const grammar_node *o,
                                             int at) {
    match_reader inside = *around, *r = &inside;
    inside.depth++;
    match_places starts = match_spaces(r, match_byte(r, match_place(at), '{')), ends = {{0}};
    if (o->u.object.n_required == 0 && o->u.object.min <= 0)
        ends = match_byte(r, starts, '}');
    for (int i = 0; i < r->len; i++) {
        if (match_has(&starts, i))
            match_join(&ends, match_read_properties(r, o, i, 0, o->u.object.n_required, NULL));
    }
    return ends;
}

static inline match_places match_read_array(const match_reader *around, const grammar_node *a,
                                            int at) {
    match_reader inside = *around, *r = &inside;
    inside.depth++;
    match_places starts = match_spaces(r, match_byte(r, match_place(at), '[')), ends = {{0}};
    if (a->u.array.min <= 0)
        ends = match_byte(r, starts, ']');
    for (int n = 0; n < r->len && (a->u.array.max < 0 || n < a->u.array.max); n++) {
        int32_t item = n < a->u.array.n_prefix ? a->u.array.prefix[n] : a->u.array.items;
        match_places after = {{0}};
        for (int i = 0; i < r->len && item >= 0; i++) {
            if (match_has(&starts, i))
                match_join(&after, match_read(r, item, i));
        }
        after = match_spaces(r, after);
        if (n + 1 >= a->u.array.min)
            match_join(&ends, match_byte(r, after, ']'));
        starts = match_spaces(r, match_byte(r, after, ','));
    }
    return ends;
}

static inline match_places match_read(const match_reader *r, int32_t node, int at) {
    const grammar_node *n = &r->p->nodes[node];
    match_places ends = {{0}};
    int64_t points;
    int end;
    switch (n->kind) {
    case GRAMMAR_SCALAR:
        return match_read_dfa(r, n->u.dfa, at);
    case GRAMMAR_STRING:
        end = match_string_end(r, at, &points);
        if (end >= 0 && points >= n->u.string.min &&
            (n->u.string.max < 0 || points <= n->u.string.max))
            match_join(&ends, match_place(end));
        return ends;
    case GRAMMAR_OBJECT:
        return match_read_object(r, n, at);
    case GRAMMAR_ARRAY:
        return match_read_array(r, n, at);
    case GRAMMAR_UNION:
        for (int i = 0; i < n->u.any.n; i++)
            match_join(&ends, match_read(r, n->u.any.at[i], at));
        return ends;
    }
    return ends;
}

static inline bool match_reads(const grammar_program *p, const char *text, int len) {
    match_reader r = {.p = p, .text = text, .len = len};
    match_places ends = match_read(&r, p->root, 0);
    return match_has(&ends, len);
}

#endif
