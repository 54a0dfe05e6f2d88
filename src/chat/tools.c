// A request's list of tools as the model reads it: as the model's own Python prints them for its
// template, json.dumps(tools, separators=(",", ":"), ensure_ascii=False) once the keys are sorted.
#include "chat/chat.h"
#include <stdlib.h>
#include <string.h>

static void print_value(const json_t *value, base_str *out);

// The order of code points, which is that of bytes in UTF-8.
static int compare_keys(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void print_object(const json_t *object, base_str *out) {
    size_t n = 0;
    const char **keys = base_calloc(json_object_size(object), sizeof *keys);
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at))
        keys[n++] = json_object_iter_key(at);
    qsort(keys, n, sizeof *keys, compare_keys);
    base_str_adds(out, "{");
    for (size_t i = 0; i < n; i++) {
        base_str_adds(out, i > 0 ? "," : "");
        base_json_add_string(out, keys[i], strlen(keys[i]));
        base_str_adds(out, ":");
        print_value(json_object_get(object, keys[i]), out);
    }
    base_str_adds(out, "}");
    base_free(keys);
}

static void print_array(const json_t *array, base_str *out) {
    base_str_adds(out, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        base_str_adds(out, i > 0 ? "," : "");
        print_value(json_array_get(array, i), out);
    }
    base_str_adds(out, "]");
}

// As deep as base_json_parse lets values nest.
static void print_value(const json_t *value, base_str *out) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        print_object(value, out);
        break;
    case JSON_ARRAY:
        print_array(value, out);
        break;
    case JSON_STRING:
        base_json_add_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        base_str_printf(out, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        base_json_add_double(out, json_real_value(value));
        break;
    default:
        base_str_adds(out, json_is_true(value) ? "true" : json_is_null(value) ? "null" : "false");
    }
}

void chat_tools_print(const json_t *tools, base_str *out) {
    print_value(tools, out);
}
