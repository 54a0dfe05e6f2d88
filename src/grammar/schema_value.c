// Values in a schema: their texts, and numbers compared exactly.
#include "grammar/schema.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

unsigned schema_type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return SCHEMA_OBJECT;
    case JSON_ARRAY:
        return SCHEMA_ARRAY;
    case JSON_STRING:
        return SCHEMA_STRING;
    case JSON_INTEGER:
        return SCHEMA_INTEGER;
    case JSON_REAL:
        return schema_number_integral(value) ? SCHEMA_INTEGER : SCHEMA_FRACTION;
    case JSON_TRUE:
    case JSON_FALSE:
        return SCHEMA_BOOLEAN;
    default:
        return SCHEMA_NULL;
    }
}

bool schema_number_integral(const json_t *value) {
    return json_is_integer(value) ||
           (json_is_real(value) && trunc(json_real_value(value)) == json_real_value(value));
}

// A real against an integer: a double cannot hold every int64.
static int compare_mixed(double real, json_int_t integer) {
    if (real >= 0x1p63)
        return 1;
    if (real < -0x1p63)
        return -1;
    json_int_t whole = (json_int_t)real; // towards zero
    if (whole != integer)
        return whole < integer ? -1 : 1;
    double rest = real - (double)whole;
    return (rest > 0) - (rest < 0);
}

int schema_number_compare(const json_t *a, const json_t *b) {
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        return (x > y) - (x < y);
    }
    if (json_is_real(a) && json_is_real(b)) {
        double x = json_real_value(a), y = json_real_value(b);
        return (x > y) - (x < y);
    }
    return json_is_real(a) ? compare_mixed(json_real_value(a), json_integer_value(b))
                           : -compare_mixed(json_real_value(b), json_integer_value(a));
}

int64_t schema_count(const schema *s, int32_t place, const char *keyword) {
    const json_t *value = json_object_get(s->places[place].at, keyword);
    if (value == NULL)
        return -1;
    if (json_is_integer(value))
        return json_integer_value(value);
    double real = json_real_value(value);
    return real < 0x1p62 ? (int64_t)real : INT64_MAX / 2;
}

int64_t schema_multiple(const json_t *at) {
    const json_t *value = json_object_get(at, "multipleOf");
    if (value == NULL || !schema_number_integral(value) ||
        json_number_value(value) > SCHEMA_MAX_MULTIPLE)
        return 0;
    return (int64_t)json_number_value(value);
}

static void add_number(const json_t *value, bool canonical, base_str *out) {
    double real = json_real_value(value);
    if (json_is_integer(value))
        base_str_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (canonical && trunc(real) == real && real >= -0x1p63 && real < 0x1p63)
        base_str_printf(out, "%" PRId64, (int64_t)real);
    else
        base_json_add_double(out, real);
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_object(const json_t *value, bool canonical, base_str *out) {
    size_t n = 0;
    const char **keys = base_alloc((json_object_size(value) + 1) * sizeof *keys), *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) keys[n++] = key;
    if (canonical && n > 1)
        qsort(keys, n, sizeof *keys, compare_keys);
    base_str_adds(out, "{");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            base_str_adds(out, ",");
        base_json_add_string(out, keys[i], strlen(keys[i]));
        base_str_adds(out, ":");
        schema_value_text(json_object_get(value, keys[i]), canonical, out);
    }
    base_str_adds(out, "}");
    base_free(keys);
}

// Values of enum and const are nested SCHEMA_MAX_DEPTH levels at most.
void schema_value_text(const json_t *value, bool canonical, base_str *out) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        add_object(value, canonical, out);
        break;
    case JSON_ARRAY:
        base_str_adds(out, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0)
                base_str_adds(out, ",");
            schema_value_text(json_array_get(value, i), canonical, out);
        }
        base_str_adds(out, "]");
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        add_number(value, canonical, out);
        break;
    default:
        base_json_add(out, value, ",", ":", canonical);
    }
}
