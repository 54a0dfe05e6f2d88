// $ref within the document: JSON pointers, anchors, and resources by their $id.
#include "grammar/schema.h"

#include <string.h>

typedef struct target {
    const json_t *at;
    const json_t *resource;
    base_str path;
} target;

static const char *id_of(const json_t *at) {
    return json_string_value(json_object_get(at, "$id"));
}

// Whether an $id, without its fragment, is `base` [len], or ends with it after a slash.
static bool id_names(const char *id, const char *base, size_t len) {
    if (id == NULL)
        return false;
    size_t n = strcspn(id, "#");
    if (n < len || memcmp(id + n - len, base, len) != 0)
        return false;
    return n == len || id[n - len - 1] == '/';
}

static bool set_resource(schema *s, const json_t *resource, target *out) {
    out->at = out->resource = resource;
    base_str_clear(&out->path);
    int32_t place = schema_place_of(s, resource);
    if (place >= 0)
        schema_path(s, place, &out->path);
    else
        base_str_printf(&out->path, "%s(%.100s)", s->options->field, id_of(resource));
    return true;
}

static bool find_resource(schema *s, int32_t place, const char *base, size_t len, target *out) {
    static const char *const keywords[] = {"$defs", "definitions"};
    const json_t *around = s->places[place].resource;
    if (len == 0 || id_names(id_of(around), base, len))
        return set_resource(s, around, out);
    if (id_names(id_of(s->root), base, len))
        return set_resource(s, s->root, out);
    for (int k = 0; k < 2; k++) {
        const char *key;
        json_t *item;
        json_object_foreach(json_object_get(s->root, keywords[k]), key, item) {
            if (schema_work(s, 1) != 0)
                return false;
            if (id_names(id_of(item), base, len))
                return set_resource(s, item, out);
        }
    }
    return false;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// %41 -> A
static void decode_percent(const char *text, base_str *out) {
    while (*text != '\0') {
        int high = text[0] == '%' ? hex_digit(text[1]) : -1;
        int low = high >= 0 ? hex_digit(text[2]) : -1;
        bool escaped = low >= 0 && high + low > 0;
        char c = escaped ? (char)(high << 4 | low) : *text;
        base_str_add(out, &c, 1);
        text += escaped ? 3 : 1;
    }
}

// One step of a JSON pointer: token [len] with ~0 and ~1.
static const json_t *step(const json_t *at, const char *token, size_t len, base_str *path) {
    base_str key = {0};
    base_str_reserve(&key, len);
    for (size_t i = 0; i < len; i++) {
        bool escaped =
            token[i] == '~' && i + 1 < len && (token[i + 1] == '0' || token[i + 1] == '1');
        char c = !escaped ? token[i] : token[++i] == '0' ? '~' : '/';
        base_str_add(&key, &c, 1);
    }
    const json_t *found = NULL;
    int64_t index;
    if (json_is_object(at)) {
        found = json_object_get(at, key.data);
        base_str_printf(path, ".%s", key.data);
    } else if (json_is_array(at) && base_parse_i64(key.data, 0, INT32_MAX, &index)) {
        found = json_array_get(at, (size_t)index);
        base_str_printf(path, "[%d]", (int)index);
    }
    base_str_free(&key);
    return found;
}

static bool follow_pointer(const char *pointer, target *t) {
    while (*pointer == '/' && t->at != NULL) {
        size_t len = strcspn(pointer + 1, "/");
        t->at = step(t->at, pointer + 1, len, &t->path);
        const char *id = t->at != NULL ? id_of(t->at) : NULL;
        if (id != NULL && id[0] != '\0' && id[0] != '#')
            t->resource = t->at;
        pointer += 1 + len;
    }
    return t->at != NULL;
}

// The schema with this $anchor (or draft 4's $id "#name"), among all values of the resource.
static bool follow_anchor(schema *s, const char *anchor, target *t) {
    size_t n = 0, cap = 64;
    const json_t *found = NULL, **stack = base_alloc(cap * sizeof *stack);
    stack[n++] = t->at;
    while (n > 0 && found == NULL && schema_work(s, 1) == 0) {
        const json_t *at = stack[--n];
        const char *name = json_string_value(json_object_get(at, "$anchor")), *id = id_of(at), *key;
        if ((name != NULL && strcmp(name, anchor) == 0) ||
            (id != NULL && id[0] == '#' && strcmp(id + 1, anchor) == 0))
            found = at;
        size_t more = json_object_size(at) + json_array_size(at), i;
        if (n + more > cap) {
            cap = 2 * (n + more);
            stack = base_realloc(stack, cap * sizeof *stack);
        }
        json_t *value;
        json_array_foreach((json_t *)at, i, value) stack[n++] = value;
        json_object_foreach((json_t *)at, key, value) stack[n++] = value;
    }
    base_free(stack);
    base_str_printf(&t->path, "#%s", anchor);
    t->at = found;
    return found != NULL;
}

static bool follow(schema *s, const char *fragment, target *t) {
    if (fragment[0] == '\0')
        return true;
    return fragment[0] == '/' ? follow_pointer(fragment, t) : follow_anchor(s, fragment, t);
}

int schema_ref(schema *s, int32_t place, const char *ref, int32_t *out) {
    *out = -1;
    target t = {0};
    base_str fragment = {0};
    size_t len = strcspn(ref, "#");
    base_str_reserve(&fragment, 1);
    decode_percent(ref[len] == '#' ? ref + len + 1 : "", &fragment);
    bool found = find_resource(s, place, ref, len, &t) && follow(s, fragment.data, &t);
    // Generators that give a part of a document an $id still count pointers from the document.
    if (!found && len == 0 && s->places[place].resource != s->root)
        found = set_resource(s, s->root, &t) && follow(s, fragment.data, &t);
    int code = schema_work(s, 1);
    if (found && code == 0)
        code = schema_place_add_target(s, t.at, t.resource, t.path.data, out);
    else if (code == 0)
        code = schema_fail(s, place, "$ref",
                           "%.200s: not found (a $ref must stay within the document)", ref);
    base_str_free(&fragment);
    base_str_free(&t.path);
    return code;
}
