// The bytes that a thread may take next, found without taking them.
#include "grammar/language.h"
#include <string.h>

static void allow(bool first[256], const char *bytes) {
    for (; *bytes; bytes++)
        first[(unsigned char)*bytes] = true;
}

static void allow_scalar(const grammar_dfa *d, bool first[256]) {
    for (int byte = 0; byte < 256 && d->n_states > 0; byte++)
        first[byte] = first[byte] || grammar_dfa_step(d, 0, (unsigned char)byte) >= 0;
}

static void allow_value(const grammar_language *l, int32_t node, bool first[256]) {
    if (node < 0)
        return;
    const language_choice *choice = &l->choices[node];
    for (int i = 0; i < choice->n_scalars; i++)
        allow_scalar(l->dfas[l->leaves[choice->first + i]]->dfa, first);
    allow(first, choice->n_strings ? "\"" : "");
    allow(first, choice->n_objects ? "{" : "");
    allow(first, choice->n_arrays ? "[" : "");
}

static void allow_object(const grammar_language *l, const match_frame *t, bool first[256]) {
    static const char *const by_phase[] = {
        [MATCH_AFTER] = ",}", [MATCH_FIRST] = "\"}", [MATCH_NEXT] = "\"",
        [MATCH_COLON] = ":",  [MATCH_VALUE] = "",
    };
    allow(first, " \n\r\t");
    allow(first, by_phase[t->phase]);
    if (t->phase == MATCH_VALUE)
        allow_value(l, t->u.object.value, first);
}

static void allow_array(const grammar_language *l, const match_frame *t, bool first[256]) {
    const grammar_node *array = &l->program->nodes[t->node];
    allow(first, " \n\r\t");
    allow(first, t->phase == MATCH_AFTER ? ",]" : (t->phase == MATCH_FIRST ? "]" : ""));
    if (t->phase != MATCH_AFTER)
        allow_value(l,
                    t->count < array->u.array.n_prefix ? array->u.array.prefix[t->count]
                                                       : array->u.array.items,
                    first);
}

// A key of a declared property. One that ends here is the first of those that begin so.
static void allow_key(const grammar_language *l, const match_frame *t, bool first[256]) {
    const grammar_property *at = l->program->nodes[t->node].u.object.properties;
    first['"'] = true;
    for (int i = t->u.key.low; i < t->u.key.high; i++) {
        if (at[i].key_len > (size_t)t->u.key.len)
            first[(unsigned char)at[i].key[t->u.key.len]] = true;
    }
}

void match_first_bytes(const grammar_language *l, const match_frame *t, bool first[256]) {
    bool all = t->kind == MATCH_SCALAR || t->kind == MATCH_STRING ||
               (t->kind == MATCH_KEY && t->state >= 0);
    memset(first, all, 256);
    if (t->kind == MATCH_OBJECT)
        allow_object(l, t, first);
    else if (t->kind == MATCH_ARRAY)
        allow_array(l, t, first);
    else if (t->kind == MATCH_KEY && !all)
        allow_key(l, t, first);
    else if (t->kind == MATCH_END && t->phase == MATCH_FIRST)
        allow_value(l, l->program->root, first);
    else if (t->kind == MATCH_END && (size_t)t->count < t->u.suffix->len)
        first[(unsigned char)t->u.suffix->bytes[t->count]] = true;
}
