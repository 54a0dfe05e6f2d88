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

// Products of states and code points up to which a limit becomes part of the automaton: masks are
// found faster then. Beyond it, and up to so many states, code points are counted in matching.
enum { MAX_UNROLLED = 512, MAX_COUNTED = 8192 };

static int unroll(schema *s, const wishes *w, int64_t min, int64_t max, int32_t *dfa) {
    base_err why = {0};
    int32_t limited;
    if (min == 0 && max < 0)
        return 0;
    int code = schema_dfa_limit(s, *dfa, min, max, &limited, &why);
    if (code == 0 && limited < 0)
        return schema_unsupported(s, w->place, min > 0 ? "minLength" : "maxLength", why.message);
    *dfa = limited;
    return code;
}

// Puts the lengths into the automaton; when that grows too large, they are relaxed. A large maximum
// is left to `most` (0: none), unless that is NULL.
static int add_lengths(schema *s, const wishes *w, int32_t *dfa, int64_t *most) {
    const grammar_dfa *d = s->program->dfas[*dfa];
    bool large = most != NULL && d->n_states > 0 && w->max > MAX_UNROLLED / d->n_states;
    if (!large || d->n_states > MAX_COUNTED)
        return unroll(s, w, w->min, w->max, dfa);
    int64_t least = grammar_dfa_least_points(d);
    int code = schema_work(s, (int64_t)d->n_states * d->n_classes / 64);
    if (code == 0 && w->min > least) {
        code = unroll(s, w, w->min, -1, dfa);
        d = s->program->dfas[*dfa];
        least = grammar_dfa_least_points(d);
    }
    if (code == 0 && (least < 0 || least > w->max))
        return schema_dfa_literals(s, &(schema_texts){0}, 0, 0, dfa); // there is no such text
    if (code != 0 || d->n_states > MAX_COUNTED)
        return code != 0 ? code : unroll(s, w, 0, w->max, dfa);
    *most = w->max;
    return 0;
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
    int64_t most = 0;
    base_err why = {0};
    code = add_lengths(s, &w, &w.dfa, &most);
    if (code == 0)
        code = schema_dfa_quote(s, w.dfa, &quoted, &why);
    if (code != 0 || quoted >= 0)
        return code != 0 ? code : schema_scalar(s, quoted, most, out);
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
        code = add_lengths(s, &w, &dfa, NULL);
    *out = dfa;
    return code;
}
