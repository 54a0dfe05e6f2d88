// The places of a document: found breadth first from the root, each checked once.
#include "grammar/schema.h"

#include <stdio.h>
#include <string.h>

static int place_new(schema *s, const json_t *at, int32_t *out) {
    if (s->n_places == SCHEMA_MAX_PLACES)
        return base_fail(s->err, BASE_ERR_USAGE, "%s: too large: more than %d schemas in it",
                         s->options->field, SCHEMA_MAX_PLACES);
    if (s->n_places == s->cap_places) {
        s->cap_places = s->cap_places == 0 ? 64 : s->cap_places * 2;
        s->places = base_realloc(s->places, (size_t)s->cap_places * sizeof *s->places);
    }
    *out = s->n_places++;
    schema_map_put(&s->place_of, &at, sizeof at, *out);
    s->places[*out] =
        (schema_place){.at = at, .parent = -1, .index = -1, .ref = -1, .pattern = -1, .format = -1};
    s->places[*out].types = SCHEMA_ANY;
    return 0;
}

// A schema that is a resource of its own: "#" in it means it. Old generators give parts of a
// document an $id that is only a fragment: that is a name, not a resource.
static bool is_resource(const json_t *at) {
    const char *id = json_string_value(json_object_get(at, "$id"));
    return id != NULL && id[0] != '\0' && id[0] != '#';
}

int schema_place_add(schema *s, const json_t *at, int32_t parent, schema_step step, int32_t *out) {
    *out = schema_place_of(s, at);
    if (*out >= 0)
        return 0;
    int code = place_new(s, at, out);
    if (code != 0)
        return code;
    schema_place *p = &s->places[*out];
    p->parent = parent;
    p->keyword = step.keyword;
    p->name = step.name;
    p->index = step.index;
    p->depth = s->places[parent].depth + 1;
    p->resource = is_resource(at) ? at : s->places[parent].resource;
    if (!json_is_object(at) && !json_is_boolean(at))
        return schema_fail(s, *out, NULL, "must be a schema (an object, true or false)");
    if (p->depth > SCHEMA_MAX_DEPTH)
        return schema_fail(s, *out, NULL, "nested more than %d levels deep", SCHEMA_MAX_DEPTH);
    return 0;
}

int schema_place_add_target(schema *s, const json_t *at, const json_t *resource, const char *path,
                            int32_t *out) {
    *out = schema_place_of(s, at);
    if (*out >= 0)
        return 0;
    int code = place_new(s, at, out);
    if (code != 0)
        return code;
    s->places[*out].path = base_strdup(path);
    s->places[*out].resource = is_resource(at) ? at : resource;
    if (!json_is_object(at) && !json_is_boolean(at))
        return schema_fail(s, *out, NULL, "must be a schema (an object, true or false)");
    return 0;
}

int32_t schema_place_of(const schema *s, const json_t *at) {
    return schema_map_get(&s->place_of, &at, sizeof at);
}

// A bound on the whole document, before anything is done with it. Lists are walked with a stack of
// our own, as the document may be nested deeply.
static int measure(const schema *s) {
    size_t bytes = 0, n = 0, cap = 64;
    const json_t **stack = base_alloc(cap * sizeof *stack);
    stack[n++] = s->root;
    while (n > 0 && bytes <= SCHEMA_MAX_BYTES) {
        const json_t *at = stack[--n];
        size_t more = json_object_size(at) + json_array_size(at);
        bytes += 2 + more + json_string_length(at);
        if (bytes > SCHEMA_MAX_BYTES)
            break;
        if (n + more > cap) {
            cap = 2 * (n + more);
            stack = base_realloc(stack, cap * sizeof *stack);
        }
        size_t i;
        const char *key;
        json_t *value;
        json_array_foreach((json_t *)at, i, value) stack[n++] = value;
        json_object_foreach((json_t *)at, key, value) {
            bytes += 3 + strlen(key);
            stack[n++] = value;
        }
    }
    base_free(stack);
    if (bytes > SCHEMA_MAX_BYTES)
        return base_fail(s->err, BASE_ERR_USAGE, "%s: too large: more than 1 MiB of schema",
                         s->options->field);
    return 0;
}

int schema_scan(schema *s) {
    int32_t root;
    int code = measure(s);
    if (code == 0)
        code = schema_place_add_target(s, s->root, s->root, s->options->field, &root);
    for (int32_t i = 0; i < s->n_places && code == 0; i++)
        code = schema_keywords(s, i);
    return code != 0 ? code : schema_cycles(s);
}
