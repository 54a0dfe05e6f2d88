// The keys that an object may have beside its properties: propertyNames and patternProperties.
#include "grammar/schema.h"

#include <string.h>

// The strings of one alternative, unquoted.
static int make_one(schema *s, const schema_alternative *a, int32_t *out) {
    schema_texts texts = {0};
    bool has;
    int code = schema_values(s, a, true, &texts, &has);
    if (code == 0)
        code = has ? schema_dfa_literals(s, &texts, 0, texts.ends.len, out)
                   : schema_string_dfa(s, &a->places, out);
    schema_texts_free(&texts);
    return code;
}

int schema_names(schema *s, const schema_set *property_names, int32_t *out) {
    *out = -1;
    if (property_names->len == 0)
        return 0;
    schema_alternatives v = {0};
    schema_texts none = {0};
    int32_t all = -1, one = 0;
    int code = schema_expand(s, property_names, SCHEMA_STRING, &v);
    if (code == 0)
        code = schema_dfa_literals(s, &none, 0, 0, &all);
    for (int i = 0; i < v.n && code == 0 && one >= 0; i++) {
        code = make_one(s, &v.at[i], &one);
        base_err why = {0};
        if (code == 0 && one >= 0)
            code = schema_dfa_either(s, all, one, &all, &why);
        if (code == 0 && all < 0)
            code = schema_unsupported(s, property_names->data[0], "propertyNames", why.message);
        one = all < 0 ? -1 : one;
    }
    *out = one < 0 ? -1 : all;
    schema_alternatives_free(&v);
    return code;
}

// ---------------------------------------------------------------------------------------------
// Taking the quotes off

// Whether '"' ends a string in this state: after a backslash it does not.
static bool closes(const grammar_dfa *q, int32_t state) {
    int32_t to = grammar_dfa_step(q, state, '"');
    return to != GRAMMAR_DEAD && q->accepts[to];
}

// The states between the quotes, numbered from the one after the first on; returns how many.
static int number_states(const grammar_dfa *q, int32_t *order, int32_t *number) {
    int n = 0, quote = q->classes['"'];
    memset(number, 0xff, (size_t)q->n_states * sizeof *number);
    order[n++] = grammar_dfa_step(q, 0, '"');
    number[order[0]] = 0;
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < q->n_classes; c++) {
            int32_t to = q->next[(size_t)order[i] * (size_t)q->n_classes + (size_t)c];
            if (to == GRAMMAR_DEAD || number[to] >= 0 || (c == quote && closes(q, order[i])))
                continue;
            number[to] = n;
            order[n++] = to;
        }
    }
    return n;
}

// Of an automaton of quoted strings that of the texts between the quotes. A quote that closes ends
// all of them, so what is left has no way to the state behind it, and stays minimal.
static grammar_dfa *unquote(const grammar_dfa *q) {
    grammar_dfa *d = base_calloc(1, sizeof *d);
    d->n_classes = q->n_classes;
    memcpy(d->classes, q->classes, sizeof d->classes);
    if (q->n_states == 0)
        return d;
    size_t n_classes = (size_t)q->n_classes, n_states = (size_t)q->n_states;
    int32_t *order = base_alloc(n_states * sizeof *order);
    int32_t *number = base_alloc(n_states * sizeof *number);
    d->n_states = number_states(q, order, number);
    d->next = base_alloc((size_t)d->n_states * n_classes * sizeof *d->next);
    d->accepts = base_alloc((size_t)d->n_states * sizeof *d->accepts);
    d->distance = base_alloc((size_t)d->n_states * sizeof *d->distance);
    for (int i = 0; i < d->n_states; i++) {
        d->accepts[i] = closes(q, order[i]);
        d->distance[i] = q->distance[order[i]] - 1;
        for (size_t c = 0; c < n_classes; c++) {
            int32_t to = q->next[(size_t)order[i] * n_classes + c];
            bool ends = c == q->classes['"'] && d->accepts[i];
            d->next[(size_t)i * n_classes + c] =
                to == GRAMMAR_DEAD || ends ? GRAMMAR_DEAD : number[to];
        }
    }
    base_free(order);
    base_free(number);
    return d;
}

int schema_names_spelled(schema *s, int32_t dfa, int32_t *out) {
    schema_recipe r = {.kind = 'K', .a = dfa};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int32_t quoted;
    base_err why = {0};
    int code = schema_dfa_quote(s, dfa, &quoted, &why);
    if (code == 0)
        code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    return schema_dfa_keep(s, &r, quoted < 0 ? NULL : unquote(s->program->dfas[quoted]), out);
}

// ---------------------------------------------------------------------------------------------

// How many ways lead into each state, and into `order` the states so that all ways lead forward;
// false when there is a cycle.
static bool order_states(const grammar_dfa *d, int32_t *ways, int32_t *order) {
    size_t n_cells = (size_t)d->n_states * (size_t)d->n_classes;
    int n = 0;
    memset(ways, 0, (size_t)d->n_states * sizeof *ways);
    for (size_t i = 0; i < n_cells; i++)
        if (d->next[i] != GRAMMAR_DEAD)
            ways[d->next[i]]++;
    if (ways[0] == 0)
        order[n++] = 0;
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < d->n_classes; c++) {
            int32_t to = d->next[(size_t)order[i] * (size_t)d->n_classes + (size_t)c];
            if (to != GRAMMAR_DEAD && --ways[to] == 0)
                order[n++] = to;
        }
    }
    return n == d->n_states;
}

// All states of an automaton are on a way to an accepting one: a cycle makes texts without end.
int64_t schema_names_count(const grammar_dfa *d) {
    if (d->n_states == 0)
        return 0;
    int64_t bytes_of[256] = {0};
    for (int c = 0; c < 256; c++)
        bytes_of[d->classes[c]]++;
    size_t n = (size_t)d->n_states;
    int32_t *ways = base_alloc(n * sizeof *ways), *order = base_alloc(n * sizeof *order);
    int64_t *texts = base_calloc(n, sizeof *texts), count = INT64_MAX;
    bool finite = order_states(d, ways, order);
    for (size_t i = n; i > 0 && finite; i--) {
        int32_t state = order[i - 1];
        int64_t sum = d->accepts[state];
        for (int c = 0; c < d->n_classes; c++) {
            int32_t to = d->next[(size_t)state * (size_t)d->n_classes + (size_t)c];
            if (to == GRAMMAR_DEAD)
                continue;
            int64_t more = texts[to] > INT64_MAX / 1024 ? INT64_MAX / 2 : texts[to] * bytes_of[c];
            sum = sum > INT64_MAX / 2 - more ? INT64_MAX / 2 : sum + more;
        }
        texts[state] = sum;
    }
    count = finite ? texts[0] : INT64_MAX;
    base_free(ways);
    base_free(order);
    base_free(texts);
    return count;
}
