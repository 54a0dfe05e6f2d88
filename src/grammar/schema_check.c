// Whether a value of the document (one of an enum, a const) satisfies a schema of it.
#include "grammar/schema.h"

#include <math.h>
#include <string.h>

enum { MAX_STEPS_DOWN = 400 }; // of this recursion, $ref and allOf included

static int check(schema *s, const json_t *value, int32_t place, int depth, schema_answer *out);

static schema_answer both(schema_answer a, schema_answer b) {
    return a < b ? a : b;
}

static bool is_allowed(schema *s, const json_t *value, int32_t place) {
    schema_place *p = &s->places[place];
    const json_t *list = json_object_get(p->at, "enum"), *one = json_object_get(p->at, "const");
    base_str text = {0};
    if (p->allowed == NULL) {
        p->allowed = base_calloc(1, sizeof *p->allowed);
        for (size_t i = 0; i < json_array_size(list); i++) {
            base_str_clear(&text);
            schema_value_text(json_array_get(list, i), true, &text);
            schema_map_put(p->allowed, text.data, text.len, 0);
        }
    }
    base_str_clear(&text);
    schema_value_text(value, true, &text);
    bool allowed = list == NULL || schema_map_get(p->allowed, text.data, text.len) >= 0;
    if (one != NULL && allowed) {
        base_str other = {0};
        schema_value_text(one, true, &other);
        allowed = other.len == text.len && memcmp(other.data, text.data, text.len) == 0;
        base_str_free(&other);
    }
    base_str_free(&text);
    return allowed;
}

void schema_allowed_free(schema_map *allowed) {
    if (allowed != NULL)
        schema_map_free(allowed);
    base_free(allowed);
}

static bool number_fits(const json_t *value, const json_t *at) {
    const json_t *min = json_object_get(at, "minimum"), *max = json_object_get(at, "maximum");
    const json_t *over = json_object_get(at, "exclusiveMinimum");
    const json_t *under = json_object_get(at, "exclusiveMaximum");
    int least = json_is_true(over) ? 1 : 0, most = json_is_true(under) ? -1 : 0;
    if ((min != NULL && schema_number_compare(value, min) < least) ||
        (max != NULL && schema_number_compare(value, max) > most))
        return false;
    if ((json_is_number(over) && schema_number_compare(value, over) <= 0) ||
        (json_is_number(under) && schema_number_compare(value, under) >= 0))
        return false;
    int64_t m = schema_multiple(at);
    if (m == 0)
        return true;
    return json_is_integer(value) ? json_integer_value(value) % m == 0
                                  : fmod(json_real_value(value), (double)m) == 0;
}

static bool counted(const schema *s, int32_t place, const char *least, const char *most, size_t n) {
    int64_t min = schema_count(s, place, least), max = schema_count(s, place, most);
    return (int64_t)n >= min && (max < 0 || (int64_t)n <= max);
}

static bool matches(const schema *s, int32_t dfa, const char *text, size_t len) {
    return dfa < 0 || grammar_dfa_matches(s->program->dfas[dfa], text, len);
}

static bool string_fits(schema *s, const json_t *value, int32_t place) {
    const char *text = json_string_value(value);
    size_t len = json_string_length(value), n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    const schema_place *p = &s->places[place];
    return counted(s, place, "minLength", "maxLength", n) && matches(s, p->pattern, text, len) &&
           matches(s, p->format, text, len);
}

// A value under this one against the schema for it.
static int check_child(schema *s, const json_t *value, const json_t *at, int depth,
                       schema_answer *out) {
    schema_answer answer = SCHEMA_YES;
    int code = at == NULL ? 0 : check(s, value, schema_place_of(s, at), depth + 1, &answer);
    *out = both(*out, answer);
    return code;
}

static int array_fits(schema *s, const json_t *value, int32_t place, int depth,
                      schema_answer *out) {
    size_t n = json_array_size(value);
    if (!counted(s, place, "minItems", "maxItems", n)) {
        *out = SCHEMA_NO;
        return 0;
    }
    int code = 0;
    for (size_t i = 0; i < n && code == 0 && *out != SCHEMA_NO; i++)
        code = check_child(s, json_array_get(value, i), schema_item(s->places[place].at, i), depth,
                           out);
    return code;
}

static int name_fits(schema *s, const char *key, const json_t *at, int depth, schema_answer *out) {
    json_t *name = json_string(key);
    int code = name == NULL ? 0 : check_child(s, name, at, depth, out);
    json_decref(name);
    return code;
}

static int object_fits(schema *s, const json_t *value, int32_t place, int depth,
                       schema_answer *out) {
    const json_t *at = s->places[place].at, *names = json_object_get(at, "propertyNames");
    const json_t *required = json_object_get(at, "required");
    bool fits = counted(s, place, "minProperties", "maxProperties", json_object_size(value));
    for (size_t i = 0; i < json_array_size(required) && fits; i++)
        fits = json_object_get(value, json_string_value(json_array_get(required, i))) != NULL;
    *out = fits ? *out : SCHEMA_NO;
    int code = schema_work(s, (int64_t)json_array_size(required));
    schema_set under = {0};
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        if (code != 0 || *out == SCHEMA_NO)
            break;
        under.len = 0;
        schema_answer answer = SCHEMA_YES;
        code = schema_property(s, place, key, &under, &answer);
        *out = both(*out, answer);
        for (size_t i = 0; i < under.len && code == 0 && *out != SCHEMA_NO; i++) {
            code = check(s, item, under.data[i], depth + 1, &answer);
            *out = both(*out, answer);
        }
        if (code == 0 && names != NULL)
            code = name_fits(s, key, names, depth, out);
    }
    base_ids_free(&under);
    return code;
}

static int check_own(schema *s, const json_t *value, int32_t place, int depth, schema_answer *out) {
    const schema_place *p = &s->places[place];
    unsigned type = schema_type_of(value);
    bool fits = !p->never && (p->types & type) != 0;
    if (fits && (p->says & SCHEMA_OF_VALUES) != 0)
        fits = is_allowed(s, value, place);
    if (fits && (type & SCHEMA_NUMBER) != 0 && (p->says & SCHEMA_OF_NUMBERS) != 0)
        fits = number_fits(value, p->at);
    if (fits && type == SCHEMA_STRING && (p->says & SCHEMA_OF_STRINGS) != 0)
        fits = string_fits(s, value, place);
    *out = !fits ? SCHEMA_NO : p->relaxed ? SCHEMA_MAYBE : SCHEMA_YES;
    if (fits && type == SCHEMA_ARRAY && (p->says & SCHEMA_OF_ARRAYS) != 0)
        return array_fits(s, value, place, depth, out);
    if (fits && type == SCHEMA_OBJECT && (p->says & SCHEMA_OF_OBJECTS) != 0)
        return object_fits(s, value, place, depth, out);
    return 0;
}

// The n branches from `links` on: in *any that of the best, in *one as oneOf takes them.
static int check_branches(schema *s, const json_t *value, const int32_t *links, int n, int depth,
                          schema_answer *any, schema_answer *one) {
    int certain = 0, code = 0;
    *any = SCHEMA_NO;
    for (int i = 0; i < n && code == 0; i++) {
        schema_answer answer = SCHEMA_NO;
        code = check(s, value, links[i], depth + 1, &answer);
        certain += answer == SCHEMA_YES;
        *any = answer > *any ? answer : *any;
        *one = answer == SCHEMA_MAYBE ? SCHEMA_MAYBE : *one;
    }
    *one = *any == SCHEMA_NO || certain > 1 ? SCHEMA_NO : *one;
    return code;
}

static int check(schema *s, const json_t *value, int32_t place, int depth, schema_answer *out) {
    if (depth > MAX_STEPS_DOWN)
        return schema_fail(s, place, NULL, "too large: more than %d steps to check a value",
                           MAX_STEPS_DOWN);
    int code = schema_work(s, 2);
    if (code == 0)
        code = check_own(s, value, place, depth, out);
    const schema_place *p = &s->places[place];
    schema_answer answer = SCHEMA_YES, one = SCHEMA_YES;
    if (code == 0 && *out != SCHEMA_NO && p->ref >= 0) {
        code = check(s, value, p->ref, depth + 1, &answer);
        *out = both(*out, answer);
    }
    for (int i = 0; i < p->n_all && code == 0 && *out != SCHEMA_NO; i++) {
        code = check(s, value, p->links[i], depth + 1, &answer);
        *out = both(*out, answer);
    }
    if (code == 0 && *out != SCHEMA_NO && p->n_any > 0) {
        code = check_branches(s, value, p->links + p->n_all, p->n_any, depth, &answer, &one);
        *out = both(*out, answer);
    }
    one = SCHEMA_YES;
    if (code == 0 && *out != SCHEMA_NO && p->n_one > 0) {
        code = check_branches(s, value, p->links + p->n_all + p->n_any, p->n_one, depth, &answer,
                              &one);
        *out = both(*out, one);
    }
    return code;
}

int schema_check_own(schema *s, const json_t *value, int32_t place, schema_answer *out) {
    int code = schema_work(s, 2);
    return code != 0 ? code : check_own(s, value, place, 0, out);
}
