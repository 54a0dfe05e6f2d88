// Strings: lengths, patterns and formats, all at once.
#include "grammar/schema.h"

#include <inttypes.h>
#include <stdio.h>

// What all places ask of a string: lengths apart, patterns and formats in one automaton (-1: none).
typedef struct wishes {
    int64_t min, max; // max < 0: no limit
    int32_t dfa;
    int32_t place; // which errors name: one with a pattern or format, else any with a length
} wishes;

static int add_wish(schema *s, wishes *w, int32_t place, const char *keyword, int32_t dfa) {
    if (dfa < 0)
        return 0;
    if (w->dfa < 0) {
        w->dfa = dfa;
        w->place = place;
        return 0;
    }
    base_err why = {0};
    int32_t both;
    int code = schema_dfa_both(s, w->dfa, dfa, &both, &why);
    if (code == 0 && both < 0)
        return schema_unsupported(s, place, keyword, why.message);
    w->dfa = both;
    return code;
}

static int collect(schema *s, const schema_set *places, wishes *w) {
    *w = (wishes){.dfa = -1, .place = places->len > 0 ? places->data[0] : 0};
    schema_limits(s, places, "minLength", "maxLength", &w->min, &w->max);
    int code = schema_work(s, (int64_t)places->len);
    for (size_t i = 0; i < places->len && code == 0; i++) {
        const schema_place *p = &s->places[places->data[i]];
        code = add_wish(s, w, places->data[i], "pattern", p->pattern);
        if (code == 0)
            code = add_wish(s, w, places->data[i], "format", p->format);
    }
    return code;
}

// Puts the lengths into the automaton; when that grows too large, they are relaxed.
static int add_lengths(schema *s, const wishes *w, int32_t *dfa) {
    if (w->min == 0 && w->max < 0)
        return 0;
    base_err why = {0};
    int32_t limited;
    int code = schema_dfa_limit(s, *dfa, w->min, w->max, &limited, &why);
    if (code == 0 && limited < 0)
        return schema_unsupported(s, w->place, w->min > 0 ? "minLength" : "maxLength", why.message);
    *dfa = limited;
    return code;
}

static int make_string(schema *s, const wishes *w, int32_t *out) {
    char key[64];
    int len = snprintf(key, sizeof key, "S%" PRId64 ",%" PRId64, w->min, w->max);
    *out = schema_map_get(&s->node_of, key, (size_t)len);
    if (*out >= 0)
        return 0;
    int code = schema_node_add(s, GRAMMAR_STRING, out);
    if (code != 0)
        return code;
    schema_map_put(&s->node_of, key, (size_t)len, *out);
    s->program->nodes[*out].u.string.min = w->min;
    s->program->nodes[*out].u.string.max = w->max;
    return 0;
}

int schema_string(schema *s, const schema_set *places, int32_t *out) {
    wishes w;
    *out = -1;
    int code = collect(s, places, &w);
    if (code != 0 || w.dfa < 0)
        return code != 0 ? code : make_string(s, &w, out);
    int32_t quoted = -1;
    base_err why = {0};
    code = add_lengths(s, &w, &w.dfa);
    if (code == 0)
        code = schema_dfa_quote(s, w.dfa, &quoted, &why);
    if (code != 0 || quoted >= 0)
        return code != 0 ? code : schema_scalar(s, quoted, out);
    code = schema_unsupported(s, w.place, "pattern", why.message);
    return code != 0 ? code : make_string(s, &w, out);
}

int schema_string_dfa(schema *s, const schema_set *places, int32_t *out) {
    wishes w;
    *out = -1;
    int code = collect(s, places, &w);
    if (code != 0 || (w.dfa < 0 && w.min == 0 && w.max < 0))
        return code;
    int32_t dfa = w.dfa;
    if (dfa < 0)
        code = schema_dfa_pattern(s, w.place, "propertyNames", "", &dfa);
    if (code == 0)
        code = add_lengths(s, &w, &dfa);
    *out = dfa;
    return code;
}
