// The keywords of one schema: what each must look like, and the schemas under it. A keyword that
// is malformed is an error whatever it applies to; one that is not understood may be relaxed.
#include "grammar/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef int (*reader)(schema *s, int32_t place, const char *keyword, const json_t *value);

static int read_nothing(schema *s, int32_t place, const char *keyword, const json_t *value) {
    (void)s, (void)place, (void)keyword, (void)value;
    return 0;
}

static int read_type(schema *s, int32_t place, const char *keyword, const json_t *value) {
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {
        {"null", SCHEMA_NULL},     {"boolean", SCHEMA_BOOLEAN}, {"integer", SCHEMA_INTEGER},
        {"number", SCHEMA_NUMBER}, {"string", SCHEMA_STRING},   {"array", SCHEMA_ARRAY},
        {"object", SCHEMA_OBJECT},
    };
    unsigned types = 0;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        unsigned before = types;
        for (size_t k = 0; k < sizeof names / sizeof names[0] && json_is_string(item); k++)
            if (strcmp(json_string_value(item), names[k].name) == 0)
                types |= names[k].types | 1u << 31;
        if (types == before)
            return schema_fail(s, place, keyword,
                               "must be null, boolean, integer, number, string, array or object, "
                               "or a list of these");
        types &= ~(1u << 31);
    }
    if (n == 0)
        return schema_fail(s, place, keyword, "must not be empty");
    s->places[place].types = types;
    return 0;
}

static int read_count(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!schema_number_integral(value) || json_number_value(value) < 0)
        return schema_fail(s, place, keyword, "must be an integer of at least 0");
    return 0;
}

static int read_number(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_number(value))
        return schema_fail(s, place, keyword, "must be a number");
    return 0;
}

static int read_exclusive(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_number(value) && !json_is_boolean(value))
        return schema_fail(s, place, keyword, "must be a number (or a boolean, as in draft 4)");
    return 0;
}

static int read_multiple(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_number(value) || json_number_value(value) <= 0)
        return schema_fail(s, place, keyword, "must be a number over 0");
    if (!schema_number_integral(value) || json_number_value(value) > SCHEMA_MAX_MULTIPLE)
        return schema_unsupported(s, place, keyword,
                                  "is only supported as an integer from 1 to 4096");
    return 0;
}

static bool depth_is_at_most(const json_t *value, int depth) {
    size_t i;
    json_t *item;
    const char *key;
    if (depth < 0)
        return false;
    json_array_foreach((json_t *)value, i,
                       item) if (!depth_is_at_most(item, depth - 1)) return false;
    json_object_foreach((json_t *)value, key,
                        item) if (!depth_is_at_most(item, depth - 1)) return false;
    return true;
}

static int read_values(schema *s, int32_t place, const char *keyword, const json_t *value) {
    bool list = strcmp(keyword, "enum") == 0;
    if (list && !json_is_array(value))
        return schema_fail(s, place, keyword, "must be a list");
    s->n_values += list ? (int)json_array_size(value) : 1;
    if (s->n_values > SCHEMA_MAX_VALUES)
        return schema_fail(s, place, keyword, "too large: more than %d values in all schemas",
                           SCHEMA_MAX_VALUES);
    if (!depth_is_at_most(value, SCHEMA_MAX_DEPTH))
        return schema_fail(s, place, keyword, "nested more than %d levels deep", SCHEMA_MAX_DEPTH);
    return 0;
}

static int add_child(schema *s, int32_t place, const char *keyword, const char *name, size_t index,
                     const json_t *value) {
    int32_t child;
    schema_step step = {keyword, name, index == SIZE_MAX ? -1 : (int)index};
    return schema_place_add(s, value, place, step, &child);
}

static int read_schema(schema *s, int32_t place, const char *keyword, const json_t *value) {
    return add_child(s, place, keyword, NULL, SIZE_MAX, value);
}

static int read_list(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_array(value))
        return schema_fail(s, place, keyword, "must be a list of schemas");
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)value, i, item) {
        int code = add_child(s, place, keyword, NULL, i, item);
        if (code != 0)
            return code;
    }
    return 0;
}

static int read_items(schema *s, int32_t place, const char *keyword, const json_t *value) {
    return json_is_array(value) ? read_list(s, place, keyword, value)
                                : read_schema(s, place, keyword, value);
}

static int read_links(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (json_is_array(value) && json_array_size(value) == 0)
        return schema_fail(s, place, keyword, "must not be empty");
    return read_list(s, place, keyword, value);
}

static int read_properties(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_object(value))
        return schema_fail(s, place, keyword, "must be an object of schemas");
    if (json_object_size(value) > SCHEMA_MAX_PROPERTIES)
        return schema_fail(s, place, keyword, "too large: more than %d properties",
                           SCHEMA_MAX_PROPERTIES);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        int code = add_child(s, place, keyword, key, SIZE_MAX, item);
        if (code != 0)
            return code;
    }
    return 0;
}

static int read_pattern_properties(schema *s, int32_t place, const char *keyword,
                                   const json_t *value) {
    int code = read_properties(s, place, keyword, value);
    if (code != 0)
        return code;
    size_t n = json_object_size(value);
    int32_t *patterns = base_alloc((n + 1) * sizeof *patterns);
    s->places[place].patterns = patterns;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        code = schema_dfa_pattern(s, place, keyword, key, &patterns[s->places[place].n_patterns++]);
        if (code != 0)
            return code;
    }
    return 0;
}

static int read_required(schema *s, int32_t place, const char *keyword, const json_t *value) {
    bool good = json_is_array(value);
    for (size_t i = 0; i < json_array_size(value); i++)
        good = good && json_is_string(json_array_get(value, i));
    return good ? 0 : schema_fail(s, place, keyword, "must be a list of strings");
}

static int read_pattern(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_string(value))
        return schema_fail(s, place, keyword, "must be a string");
    int32_t dfa;
    int code = schema_dfa_pattern(s, place, keyword, json_string_value(value), &dfa);
    s->places[place].pattern = dfa;
    return code;
}

static int read_format(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_string(value))
        return schema_fail(s, place, keyword, "must be a string");
    int32_t dfa;
    int code = schema_dfa_format(s, place, json_string_value(value), &dfa);
    s->places[place].format = dfa;
    return code;
}

static int read_ref(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_string(value))
        return schema_fail(s, place, keyword, "must be a string");
    int32_t target;
    int code = schema_ref(s, place, json_string_value(value), &target);
    s->places[place].ref = target;
    return code;
}

static int read_defs(schema *s, int32_t place, const char *keyword, const json_t *value) {
    return json_is_object(value) ? 0 : schema_fail(s, place, keyword, "must be an object");
}

static int read_unique(schema *s, int32_t place, const char *keyword, const json_t *value) {
    if (!json_is_boolean(value))
        return schema_fail(s, place, keyword, "must be true or false");
    return json_is_true(value) ? schema_unsupported(s, place, keyword, NULL) : 0;
}

// Keywords that are not supported, but for a value with which they forbid nothing.
static int read_unless_idle(schema *s, int32_t place, const char *keyword, const json_t *value) {
    bool idle = json_is_true(value) || (json_is_object(value) && json_object_size(value) == 0);
    return idle ? 0 : schema_unsupported(s, place, keyword, NULL);
}

typedef struct keyword_row {
    const char *name; // ascending
    reader read;
    unsigned says;
} keyword_row;

static const keyword_row rows[] = {
    {"$anchor", read_nothing, 0},
    {"$comment", read_nothing, 0},
    {"$defs", read_defs, 0},
    {"$id", read_nothing, 0},
    {"$ref", read_ref, 0},
    {"$schema", read_nothing, 0},
    {"additionalItems", read_schema, SCHEMA_OF_ARRAYS},
    {"additionalProperties", read_schema, SCHEMA_OF_OBJECTS},
    {"allOf", read_links, 0},
    {"anyOf", read_links, 0},
    {"const", read_values, SCHEMA_OF_VALUES},
    {"contentEncoding", read_nothing, 0},
    {"contentMediaType", read_nothing, 0},
    {"default", read_nothing, 0},
    {"definitions", read_defs, 0},
    {"dependencies", read_unless_idle, 0},
    {"dependentRequired", read_unless_idle, 0},
    {"dependentSchemas", read_unless_idle, 0},
    {"deprecated", read_nothing, 0},
    {"description", read_nothing, 0},
    {"discriminator", read_nothing, 0},
    {"enum", read_values, SCHEMA_OF_VALUES},
    {"example", read_nothing, 0},
    {"examples", read_nothing, 0},
    {"exclusiveMaximum", read_exclusive, SCHEMA_OF_NUMBERS},
    {"exclusiveMinimum", read_exclusive, SCHEMA_OF_NUMBERS},
    {"externalDocs", read_nothing, 0},
    {"format", read_format, SCHEMA_OF_STRINGS},
    {"id", read_nothing, 0},
    {"items", read_items, SCHEMA_OF_ARRAYS},
    {"maxItems", read_count, SCHEMA_OF_ARRAYS},
    {"maxLength", read_count, SCHEMA_OF_STRINGS},
    {"maxProperties", read_count, SCHEMA_OF_OBJECTS},
    {"maximum", read_number, SCHEMA_OF_NUMBERS},
    {"minItems", read_count, SCHEMA_OF_ARRAYS},
    {"minLength", read_count, SCHEMA_OF_STRINGS},
    {"minProperties", read_count, SCHEMA_OF_OBJECTS},
    {"minimum", read_number, SCHEMA_OF_NUMBERS},
    {"multipleOf", read_multiple, SCHEMA_OF_NUMBERS},
    {"nullable", read_nothing, 0},
    {"oneOf", read_links, 0},
    {"pattern", read_pattern, SCHEMA_OF_STRINGS},
    {"patternProperties", read_pattern_properties, SCHEMA_OF_OBJECTS},
    {"prefixItems", read_list, SCHEMA_OF_ARRAYS},
    {"properties", read_properties, SCHEMA_OF_OBJECTS},
    {"propertyNames", read_schema, SCHEMA_OF_OBJECTS},
    {"readOnly", read_nothing, 0},
    {"required", read_required, SCHEMA_OF_OBJECTS},
    {"title", read_nothing, 0},
    {"type", read_type, 0},
    {"unevaluatedItems", read_unless_idle, 0},
    {"unevaluatedProperties", read_unless_idle, 0},
    {"uniqueItems", read_unique, 0},
    {"writeOnly", read_nothing, 0},
    {"xml", read_nothing, 0},
};

static int compare_rows(const void *name, const void *row) {
    return strcmp(name, ((const keyword_row *)row)->name);
}

// The places of allOf, anyOf and oneOf, in this order.
static void link_places(schema *s, int32_t place) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};
    schema_place *p = &s->places[place];
    int *counts[] = {&p->n_all, &p->n_any, &p->n_one};
    size_t n = 0, i;
    for (int k = 0; k < 3; k++)
        n += json_array_size(json_object_get(p->at, keywords[k]));
    if (n == 0)
        return;
    p->links = base_alloc(n * sizeof *p->links);
    n = 0;
    for (int k = 0; k < 3; k++) {
        json_t *item;
        const json_t *list = json_object_get(p->at, keywords[k]);
        *counts[k] = (int)json_array_size(list);
        json_array_foreach((json_t *)list, i, item) p->links[n++] = schema_place_of(s, item);
    }
}

int schema_keywords(schema *s, int32_t place) {
    const json_t *at = s->places[place].at;
    s->places[place].never = json_is_false(at);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)at, name, value) {
        const keyword_row *row =
            bsearch(name, rows, sizeof rows / sizeof rows[0], sizeof rows[0], compare_rows);
        int code = 0;
        if (row != NULL)
            code = row->read(s, place, row->name, value);
        else if (strncmp(name, "x-", 2) != 0)
            code = schema_unsupported(s, place, name, NULL);
        if (code != 0)
            return code;
        s->places[place].says |= row != NULL ? row->says : 0;
    }
    link_places(s, place);
    return 0;
}
