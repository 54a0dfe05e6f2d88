// Objects: properties, additionalProperties, patternProperties, required and numbers of them.
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

// What an object is made of, while it is made.
typedef struct object {
    const schema_set *places;
    schema_map index_of; // key -> index in `keys`
    const char **keys;   // [n]
    bool *required;      // [n]
    int n, cap;
    int32_t names;       // automaton of propertyNames, unquoted; -1: any
    schema_set others;   // places of additional properties
    int32_t other_names; // automaton of their keys, unquoted; -1: any
    bool closed;         // there are none
} object;

static int add_key(schema *s, object *o, const char *key, bool required) {
    size_t len = strlen(key);
    int32_t at = schema_map_get(&o->index_of, key, len);
    if (at < 0) {
        if (o->n == SCHEMA_MAX_PROPERTIES)
            return schema_fail(s, o->places->data[0], "properties",
                               "too large: more than %d properties of one object",
                               SCHEMA_MAX_PROPERTIES);
        if (o->n == o->cap) {
            o->cap = o->cap == 0 ? 8 : o->cap * 2;
            o->keys = base_realloc(o->keys, (size_t)o->cap * sizeof *o->keys);
            o->required = base_realloc(o->required, (size_t)o->cap * sizeof *o->required);
        }
        at = o->n++;
        o->keys[at] = key;
        o->required[at] = false;
        schema_map_put(&o->index_of, key, len, at);
    }
    o->required[at] |= required;
    return schema_work(s, 2);
}

static int collect_keys(schema *s, object *o) {
    int code = 0;
    for (size_t i = 0; i < o->places->len; i++) {
        const json_t *at = s->places[o->places->data[i]].at,
                     *list = json_object_get(at, "required");
        const char *key;
        json_t *item;
        json_object_foreach(json_object_get(at, "properties"), key, item) {
            if (code == 0)
                code = add_key(s, o, key, false);
        }
        for (size_t k = 0; k < json_array_size(list) && code == 0; k++)
            code = add_key(s, o, json_string_value(json_array_get(list, k)), true);
    }
    return code;
}

// ---------------------------------------------------------------------------------------------
// What a place says of one property

// Adds the schemas of the patterns that match; true if there are any, or may be.
static bool add_matching(schema *s, int32_t place, const char *key, schema_set *out,
                         schema_answer *answer) {
    const schema_place *p = &s->places[place];
    const char *pattern;
    json_t *item;
    int i = 0;
    bool matched = false;
    json_object_foreach(json_object_get(p->at, "patternProperties"), pattern, item) {
        int32_t dfa = p->patterns[i++];
        if (dfa < 0)
            *answer = *answer == SCHEMA_YES ? SCHEMA_MAYBE : *answer;
        else if (!grammar_dfa_matches(s->program->dfas[dfa], key, strlen(key)))
            continue;
        else
            schema_set_insert(out, schema_place_of(s, item));
        matched = true;
    }
    return matched;
}

int schema_property(schema *s, int32_t place, const char *key, schema_set *out,
                    schema_answer *answer) {
    const json_t *at = s->places[place].at;
    const json_t *own = json_object_get(json_object_get(at, "properties"), key);
    const json_t *others = json_object_get(at, "additionalProperties");
    bool matched = own != NULL;
    if (own != NULL)
        schema_set_insert(out, schema_place_of(s, own));
    int n_patterns = s->places[place].n_patterns;
    if (n_patterns > 0)
        matched |= add_matching(s, place, key, out, answer);
    if (!matched && others != NULL)
        schema_set_insert(out, schema_place_of(s, others));
    return schema_work(s, 1 + n_patterns * (1 + (int64_t)strlen(key) / 16));
}

// ---------------------------------------------------------------------------------------------
// What a place says of additional properties

// Patterns that match every key, and those that do so but for line ends or the empty one.
static bool matches_all(const char *pattern, bool *nearly) {
    static const char *const all[] = {"", "^", ".*", "^.*"};
    static const char *const most[] = {"^.*$", ".*$", "^(.*)$", "^.+$", ".+", "^.+", ".+$"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(pattern, all[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++)
        *nearly |= strcmp(pattern, most[i]) == 0;
    return *nearly;
}

static int restrict_names(schema *s, object *o, int32_t place, const char *keyword, int32_t dfa) {
    base_err why = {0};
    int32_t both = dfa;
    int code = o->other_names < 0 ? 0 : schema_dfa_both(s, o->other_names, dfa, &both, &why);
    if (code == 0 && both < 0)
        return schema_unsupported(s, place, keyword, why.message);
    o->other_names = both;
    return code;
}

static int unite_patterns(schema *s, int32_t place, int32_t *out) {
    const schema_place *p = &s->places[place];
    base_err why = {0};
    int code = 0;
    *out = p->patterns[0];
    for (int i = 1; i < p->n_patterns && code == 0 && *out >= 0; i++)
        code = schema_dfa_either(s, *out, p->patterns[i], out, &why);
    return code != 0 || *out >= 0 ? code
                                  : schema_unsupported(s, place, "patternProperties", why.message);
}

// Only keys that a pattern matches: exact when all patterns ask for the same.
static int add_closed_patterns(schema *s, object *o, int32_t place, bool same, int32_t child) {
    int32_t names;
    int code = 0;
    if (!same)
        code = schema_unsupported(s, place, "patternProperties",
                                  "is only supported with one pattern, or one schema for all");
    else
        schema_set_insert(&o->others, child);
    if (code == 0)
        code = unite_patterns(s, place, &names);
    if (code == 0 && names >= 0)
        code = restrict_names(s, o, place, "patternProperties", names);
    return code;
}

static int add_patterns(schema *s, object *o, int32_t place, bool closed, bool idle) {
    const json_t *patterns = json_object_get(s->places[place].at, "patternProperties"), *item;
    const char *pattern, *first = NULL;
    int32_t child = -1;
    bool same = true, understood = true;
    int i = 0;
    json_object_foreach((json_t *)patterns, pattern, item) {
        int32_t of = schema_place_of(s, item);
        first = first == NULL ? pattern : first;
        child = child < 0 ? of : child;
        same = same && child == of;
        idle = idle && schema_place_is_idle(&s->places[of]);
        understood = understood && s->places[place].patterns[i++] >= 0;
    }
    if (idle || !understood) // what was not understood has been reported
        return 0;
    if (closed)
        return add_closed_patterns(s, o, place, same, child);
    bool nearly = false;
    if (i == 1 && matches_all(first, &nearly)) {
        schema_set_insert(&o->others, child);
        return nearly
                   ? restrict_names(s, o, place, "patternProperties", s->places[place].patterns[0])
                   : 0;
    }
    return schema_unsupported(s, place, "patternProperties",
                              "is only supported beside \"additionalProperties\": false, or with "
                              "a pattern that matches every key");
}

// Objects that list properties, and say nothing of others anywhere, have no others if so wished.
static bool is_closed_by_option(const schema *s, const object *o) {
    bool lists = false, says = false;
    for (size_t i = 0; i < o->places->len; i++) {
        const json_t *at = s->places[o->places->data[i]].at;
        lists |= json_object_get(at, "properties") != NULL ||
                 json_object_size(json_object_get(at, "patternProperties")) > 0;
        says |= json_object_get(at, "additionalProperties") != NULL;
    }
    return s->options->no_additional && lists && !says;
}

static int collect_others(schema *s, object *o) {
    bool by_option = is_closed_by_option(s, o);
    int code = 0;
    for (size_t i = 0; i < o->places->len && code == 0; i++) {
        int32_t place = o->places->data[i];
        const json_t *at = s->places[place].at;
        const json_t *others = json_object_get(at, "additionalProperties");
        int32_t child = others != NULL ? schema_place_of(s, others) : -1;
        bool closed = child >= 0 ? s->places[child].never
                                 : by_option && json_object_get(at, "properties") != NULL;
        if (s->places[place].n_patterns > 0)
            code = add_patterns(s, o, place, closed || (child < 0 && by_option),
                                child < 0 ? !by_option : schema_place_is_idle(&s->places[child]));
        else if (child >= 0)
            schema_set_insert(&o->others, child);
        o->closed |= closed && s->places[place].n_patterns == 0;
    }
    if (code == 0 && o->names >= 0)
        code = restrict_names(s, o, o->places->data[0], "propertyNames", o->names);
    return code;
}

// ---------------------------------------------------------------------------------------------

static int compare_properties(const void *a, const void *b) {
    const grammar_property *x = a, *y = b;
    size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
    int order = memcmp(x->key, y->key, n);
    return order != 0 ? order : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

// As it is spelled between the quotes.
static void spell(const char *key, grammar_property *out) {
    base_str text = {0};
    base_json_add_string(&text, key, strlen(key));
    out->key_len = text.len - 2;
    out->key = base_strndup(text.data + 1, out->key_len);
    base_str_free(&text);
}

static int make_property(schema *s, object *o, int i, grammar_property *out) {
    schema_set under = {0};
    const char *key = o->keys[i];
    schema_answer answer = SCHEMA_YES;
    int code = 0;
    bool named = o->names < 0 || grammar_dfa_matches(s->program->dfas[o->names], key, strlen(key));
    for (size_t k = 0; k < o->places->len && code == 0; k++)
        code = schema_property(s, o->places->data[k], key, &under, &answer);
    spell(key, out);
    out->required = o->required[i];
    if (code == 0)
        code = schema_union(s, &under, named ? SCHEMA_ANY : 0, false, &out->node);
    base_ids_free(&under);
    return code;
}

static int make_others(schema *s, object *o, grammar_node *node) {
    node->u.object.additional = GRAMMAR_NO_NODE;
    node->u.object.names = NULL;
    if (o->closed)
        return 0;
    int32_t spelled = -1;
    int code = 0;
    if (o->other_names >= 0)
        code = schema_names_spelled(s, o->other_names, &spelled);
    if (code == 0 && o->other_names >= 0 && spelled < 0)
        code = schema_unsupported(s, o->places->data[0], "propertyNames",
                                  "comes to an automaton that is too large");
    if (code == 0 && spelled >= 0)
        node->u.object.names = s->program->dfas[spelled];
    return code != 0 ? code
                     : schema_union(s, &o->others, SCHEMA_ANY, false, &node->u.object.additional);
}

static int make_node(schema *s, object *o, int32_t *out) {
    int code = schema_node_add(s, GRAMMAR_OBJECT, out);
    if (code != 0)
        return code;
    grammar_node node = s->program->nodes[*out];
    schema_limits(s, o->places, "minProperties", "maxProperties", &node.u.object.min,
                  &node.u.object.max);
    node.u.object.properties = base_alloc((size_t)(o->n + 1) * sizeof(grammar_property));
    for (int i = 0; i < o->n && code == 0; i++) {
        code = make_property(s, o, i, &node.u.object.properties[i]);
        node.u.object.n++;
        node.u.object.n_required += o->required[i];
    }
    if (code == 0)
        code = make_others(s, o, &node);
    if (node.u.object.n > 0)
        qsort(node.u.object.properties, (size_t)node.u.object.n, sizeof(grammar_property),
              compare_properties);
    s->program->nodes[*out] = node;
    s->n_properties += node.u.object.n;
    if (code == 0 && s->n_properties > SCHEMA_MAX_ALL_PROPERTIES)
        code = schema_fail(s, o->places->data[0], "properties",
                           "too large: more than %d properties of all objects together",
                           SCHEMA_MAX_ALL_PROPERTIES);
    return code;
}

int schema_object(schema *s, const schema_set *places, int32_t *out) {
    object o = {.places = places, .names = -1, .other_names = -1};
    schema_set names = {0};
    for (size_t i = 0; i < places->len; i++) {
        const json_t *at = json_object_get(s->places[places->data[i]].at, "propertyNames");
        if (at != NULL)
            schema_set_insert(&names, schema_place_of(s, at));
    }
    *out = -1;
    int code = schema_names(s, &names, &o.names);
    if (code == 0)
        code = collect_keys(s, &o);
    if (code == 0)
        code = collect_others(s, &o);
    if (code == 0)
        code = make_node(s, &o, out);
    base_ids_free(&names);
    base_ids_free(&o.others);
    schema_map_free(&o.index_of);
    base_free(o.keys);
    base_free(o.required);
    return code;
}
