#include "api/field.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Jansson takes some 300 bytes for an object, 100 for a list and 32 for any other value. Three
// bytes of a body are enough to ask for one.
enum { MAX_OBJECTS = 1 << 18, MAX_LISTS = 1 << 19, MAX_VALUES = 1 << 23 };

static bool few_values(const char *text, size_t len) {
    size_t objects = 0, lists = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        objects += c == '{';
        lists += c == '[';
        values += c == ',';
    }
    return objects <= MAX_OBJECTS && lists <= MAX_LISTS && values <= MAX_VALUES;
}

// The code unit that "\\uXXXX" at `i` stands for, or -1.
static int unit_at(const char *text, size_t len, size_t i) {
    int unit = 0;
    if (len < 6 || i > len - 6 || text[i] != '\\' || text[i + 1] != 'u')
        return -1;
    for (size_t k = 2; k < 6; k++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = memchr(digits, text[i + k], sizeof digits - 1);
        if (!digit)
            return -1;
        int value = (int)(digit - digits);
        unit = unit << 4 | (value > 15 ? value - 6 : value);
    }
    return unit;
}

// NUL and halves of a surrogate pair become U+FFFD. Whether there were any.
static bool mend(char *text, size_t len) {
    static const char replacement[] = {'f', 'f', 'f', 'd'};
    bool mended = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\\')
            continue;
        int unit = unit_at(text, len, i);
        if (unit < 0) {
            i++; // what follows is escaped
            continue;
        }
        bool first = unit >= 0xd800 && unit < 0xdc00, second = unit >= 0xdc00 && unit < 0xe000;
        int next = first ? unit_at(text, len, i + 6) : -1;
        if (next >= 0xdc00 && next < 0xe000) {
            i += 11;
            continue;
        }
        if (unit == 0 || first || second) {
            memcpy(text + i + 2, replacement, sizeof replacement);
            mended = true;
        }
        i += 5;
    }
    return mended;
}

int api_body_parse_chat(json_t **out, const char *body, size_t len, api_error *error) {
    int rc = api_body_parse(out, body, len, error);
    if (!rc || !memmem(body, len, "\\u", 2))
        return rc;
    char *copy = base_alloc(len); // it may have NUL as it is, too
    memcpy(copy, body, len);
    if (mend(copy, len)) {
        *error = (api_error){0};
        rc = api_body_parse(out, copy, len, error);
    }
    base_free(copy);
    return rc;
}

typedef json_t *(*parser)(const char *text, size_t len, const char *what, int code, base_err *err);

static int parse(json_t **out, const char *body, size_t len, parser parse_json, api_error *error) {
    *out = NULL;
    base_err err = {0};
    if (len == 0)
        return api_fail(error, 400, "", "The request has no body; a JSON object is expected.");
    if (!few_values(body, len))
        return api_fail(error, 400, "", "The body has too many JSON values.");
    json_t *json = parse_json(body, len, "The body is not valid JSON", BASE_ERR_USAGE, &err);
    if (!json)
        return api_fail(error, 400, "", "%s", err.message);
    if (!json_is_object(json)) {
        json_decref(json);
        return api_fail(error, 400, "", "The body must be a JSON object.");
    }
    *out = json;
    return 0;
}

int api_body_parse(json_t **out, const char *body, size_t len, api_error *error) {
    return parse(out, body, len, base_json_parse, error);
}

// Recursion is bounded by the parser's bound on nesting.
static bool has_nul(const json_t *value) {
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(value))
        return memchr(json_string_value(value), '\0', json_string_length(value)) != NULL;
    json_object_foreach((json_t *)value, key, item) if (has_nul(item)) return true;
    json_array_foreach(value, i, item) if (has_nul(item)) return true;
    return false;
}

int api_body_parse_prompt(json_t **out, const char *body, size_t len, api_error *error) {
    const char *name;
    json_t *value;
    int rc = parse(out, body, len, base_json_parse_nul, error);
    json_object_foreach(*out, name, value) {
        if (rc == 0 && strcmp(name, "prompt") != 0 && has_nul(value))
            rc = api_fail(error, 400, name, "%s: must not have the character U+0000", name);
    }
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

json_t *api_field_get(const api_object *o, const char *name) {
    json_t *value = json_object_get(o->json, name);
    return json_is_null(value) ? NULL : value;
}

// A path too long is cut: the field is then named by what leads to it.
__attribute__((format(printf, 3, 4))) static void write_path(char *path, size_t size,
                                                             const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(path, size, format, args);
    va_end(args);
}

static void path_of(const api_object *o, const char *name, char *path, size_t size) {
    write_path(path, size, "%s%s%s", o->path, o->path[0] && name[0] ? "." : "", name);
}

int api_item_object(const api_object *o, const char *name, size_t index, const json_t *item,
                    api_object *child) {
    char path[sizeof o->path];
    *child = (api_object){.json = item, .error = o->error};
    path_of(o, name, path, sizeof path);
    write_path(child->path, sizeof child->path, "%s[%zu]", path, index);
    return json_is_object(item) ? 0 : api_field_fail_type(child, "", "an object", item);
}

int api_field_fail(const api_object *o, int status, const char *name, const char *format, ...) {
    char path[sizeof o->error->param], text[sizeof o->error->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    path_of(o, name, path, sizeof path);
    return api_fail(o->error, status, path, "%s: %s", path, text);
}

static const char *describe(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

int api_field_fail_type(const api_object *o, const char *name, const char *what,
                        const json_t *got) {
    if (json_is_real(got))
        return api_field_fail(o, 400, name, "must be %s, got %g", what, json_real_value(got));
    return api_field_fail(o, 400, name, "must be %s, got %s", what, describe(got));
}

int api_field_bool(const api_object *o, const char *name, bool *value) {
    const json_t *v = api_field_get(o, name);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return api_field_fail_type(o, name, "true or false", v);
    *value = json_is_true(v);
    return 0;
}

// Whether a value is a whole number that fits.
static bool whole(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    static const double beyond = 9223372036854775808.0; // 2^63
    double real = json_real_value(value);
    if (!json_is_real(value) || real != trunc(real) || real < -beyond || real >= beyond)
        return false;
    *out = (int64_t)real;
    return true;
}

int api_field_int(const api_object *o, const char *name, int64_t low, int64_t high,
                  int64_t *value) {
    const json_t *v = api_field_get(o, name);
    int64_t number;
    if (!v)
        return 0;
    if (!whole(v, &number))
        return api_field_fail_type(o, name, "an integer", v);
    if (number < low)
        return api_field_fail(o, 400, name, "must be at least %lld, got %lld", (long long)low,
                              (long long)number);
    if (number > high)
        return api_field_fail(o, 400, name, "must be at most %lld, got %lld", (long long)high,
                              (long long)number);
    *value = number;
    return 0;
}

int api_field_real(const api_object *o, const char *name, double low, double high, double *value) {
    const json_t *v = api_field_get(o, name);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return api_field_fail_type(o, name, "a number", v);
    double number = json_number_value(v);
    if (!(number >= low))
        return api_field_fail(o, 400, name, "must be at least %g, got %g", low, number);
    if (number > high)
        return api_field_fail(o, 400, name, "must be at most %g, got %g", high, number);
    *value = number;
    return 0;
}

int api_field_string(const api_object *o, const char *name, const char **text, size_t *len) {
    const json_t *v = api_field_get(o, name);
    if (!v)
        return 0;
    if (!json_is_string(v))
        return api_field_fail_type(o, name, "a string", v);
    *text = json_string_value(v);
    *len = json_string_length(v);
    return 0;
}

int api_field_list(const api_object *o, const char *name, const json_t **list) {
    const json_t *v = api_field_get(o, name);
    if (!v)
        return 0;
    if (!json_is_array(v))
        return api_field_fail_type(o, name, "a list", v);
    *list = v;
    return 0;
}

int api_field_object(const api_object *o, const char *name, api_object *child) {
    const json_t *v = api_field_get(o, name);
    *child = (api_object){.error = o->error};
    if (!v)
        return 0;
    if (!json_is_object(v))
        return api_field_fail_type(o, name, "an object", v);
    child->json = v;
    path_of(o, name, child->path, sizeof child->path);
    return 0;
}

int api_field_need_string(const api_object *o, const char *name, const char **text) {
    size_t len;
    int rc = api_field_string(o, name, text, &len);
    return rc || api_field_get(o, name) ? rc : api_field_fail(o, 400, name, "is missing");
}

int api_field_need_object(const api_object *o, const char *name, api_object *child) {
    int rc = api_field_object(o, name, child);
    return rc || child->json ? rc : api_field_fail(o, 400, name, "is missing");
}

int api_list_ids(const api_object *o, const char *name, const json_t *list, int n_vocab,
                 base_ids *out) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        int64_t id;
        if (whole(v, &id) && id >= 0 && id < n_vocab) {
            base_ids_add(out, (int32_t)id);
            continue;
        }
        char item[96];
        snprintf(item, sizeof item, "%s[%zu]", name, i);
        if (!whole(v, &id))
            return api_field_fail_type(o, item, "a token id", v);
        return api_field_fail(o, 400, item, "token id %lld is not in the vocabulary of %d",
                              (long long)id, n_vocab);
    }
    return 0;
}

int api_field_ids(const api_object *o, const char *name, int n_vocab, size_t max, base_ids *out) {
    const json_t *list = NULL;
    int rc = api_field_list(o, name, &list);
    if (rc || !list)
        return rc;
    if (json_array_size(list) > max)
        return api_field_fail(o, 400, name, "must have at most %zu ids, got %zu", max,
                              json_array_size(list));
    return api_list_ids(o, name, list, n_vocab, out);
}
