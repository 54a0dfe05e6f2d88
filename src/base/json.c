#include "base/json.h"

#include "base/mem.h"
#include "base/num.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 512

// Jansson's own limit on nesting is fixed when it is built (2048), so the depth is counted before.
// On malformed text the count may be off, but then the parser refuses the text anyway.
static bool depth_ok(const char *text, size_t len, int *line, int *column) {
    int depth = 0;
    bool in_string = false;
    *line = 1;
    *column = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        *column += ((unsigned char)c & 0xc0) != 0x80;
        if (c == '\n') {
            ++*line;
            *column = 0;
        }
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if ((c == '[' || c == '{') && ++depth > MAX_DEPTH) {
            return false;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

// Whether a number is an integer that does not fit 64 bits.
static bool is_big_integer(const char *text, size_t len) {
    bool negative = text[0] == '-';
    const char *limit = negative ? "9223372036854775808" : "9223372036854775807";
    const char *digits = text + negative;
    size_t n = len - negative, most = strlen(limit);
    for (size_t i = 0; i < n; i++)
        if (digits[i] < '0' || digits[i] > '9')
            return false;
    return n > most || (n == most && memcmp(digits, limit, most) > 0);
}

// Copies valid JSON, big integers as reals.
static void write_reals(base_str *out, const char *text, size_t len) {
    bool in_string = false;
    size_t copied = 0;
    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            in_string = text[i] != '"';
            i += text[i] == '\\';
            continue;
        }
        in_string = text[i] == '"';
        size_t start = i;
        while (i < len && text[i] != '\0' && strchr("+-.0123456789Ee", text[i]))
            i++;
        if (i == start)
            continue;
        if (is_big_integer(text + start, i - start)) {
            base_str_add(out, text + copied, i - copied);
            base_str_adds(out, ".0");
            copied = i;
        }
        i--;
    }
    base_str_add(out, text + copied, len - copied);
}

enum { FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY };

static json_t *load(const char *text, size_t len, size_t flags, json_error_t *e) {
    text = len > 0 ? text : "";
    json_t *value = json_loadb(text, len, flags, e);
    if (value || json_error_code(e) != json_error_numeric_overflow)
        return value;
    // Whether and where there is an error is for the text as it came to say.
    value = json_loadb(text, len, flags | JSON_DECODE_INT_AS_REAL, e);
    if (!value)
        return NULL;
    json_decref(value);
    base_str reals = {0};
    write_reals(&reals, text, len);
    value = json_loadb(reals.data, reals.len, flags, e);
    base_str_free(&reals);
    return value;
}

static json_t *parse(const char *text, size_t len, size_t flags, const char *what, int code,
                     base_err *err) {
    int line, column;
    if (!depth_ok(text, len, &line, &column)) {
        base_fail(err, code, "%s: line %d column %d: nested more than %d levels deep", what, line,
                  column, MAX_DEPTH);
        return NULL;
    }
    json_error_t e;
    json_t *value = load(text, len, flags, &e);
    if (value == NULL)
        base_fail(err, code, "%s: line %d column %d: %s", what, e.line, e.column, e.text);
    return value;
}

json_t *base_json_parse(const char *text, size_t len, const char *what, int code, base_err *err) {
    return parse(text, len, FLAGS, what, code, err);
}

json_t *base_json_parse_nul(const char *text, size_t len, const char *what, int code,
                            base_err *err) {
    return parse(text, len, FLAGS | JSON_ALLOW_NUL, what, code, err);
}

// A power of two has twice the room above it that it has below, so the shortest text that reads
// back may be the one just above the nearest. Adds one to the last digit of "d.ddde+xx".
static bool bump_last_digit(char *text) {
    char *p = strchr(text, 'e');
    while (--p >= text) {
        if (*p == '.')
            continue;
        if (*p != '9') {
            ++*p;
            return true;
        }
        *p = '0';
    }
    return false;
}

// Writes `value` with `digits` digits as "d.ddde+xx"; true if that reads back equal.
static bool try_digits(char out[40], double value, int digits) {
    snprintf(out, 40, "%.*e", digits - 1, value);
    if (strtod(out, NULL) == value)
        return true;
    int exponent;
    if (frexp(value, &exponent) != 0.5)
        return false;
    char above[40];
    memcpy(above, out, sizeof above);
    if (!bump_last_digit(above) || strtod(above, NULL) != value)
        return false;
    memcpy(out, above, sizeof above);
    return true;
}

// The fewest digits that read back equal. A normal double that any text of at most 15 digits reads
// as is printed as that text by 15 digits, so shorter ones need not be tried; a subnormal has
// fewer.
static void shortest(char out[40], double value) {
    int digits = value < 0x1p-1022 ? 1 : 15;
    while (digits < 17 && !try_digits(out, value, digits))
        digits++;
    if (digits == 17)
        snprintf(out, 40, "%.16e", value);
}

void base_json_add_double(base_str *out, double value) {
    if (signbit(value))
        base_str_adds(out, "-");
    value = fabs(value);
    if (value == 0) {
        base_str_adds(out, "0.0");
        return;
    }
    char text[40], digits[20];
    shortest(text, value);
    char *mark = strchr(text, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10), n = 0;
    for (const char *p = text; p < mark; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;

    if (exponent < -4 || exponent >= 16) {
        base_str_add(out, digits, 1);
        if (n > 1)
            base_str_printf(out, ".%.*s", n - 1, digits + 1);
        base_str_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        base_str_printf(out, "0.%.*s%.*s", -exponent - 1, "000", n, digits);
    } else if (n <= exponent + 1) {
        base_str_printf(out, "%.*s%.*s.0", n, digits, exponent + 1 - n, "000000000000000");
    } else {
        base_str_printf(out, "%.*s.%.*s", exponent + 1, digits, n - exponent - 1,
                        digits + exponent + 1);
    }
}

// The escape of a byte that may not stand in a JSON string as it is, or NULL.
static const char *escape(unsigned char c, char buffer[8]) {
    static const char letters[] = "\b\f\n\r\t\"\\";
    static const char *const escapes[] = {"\\b", "\\f", "\\n", "\\r", "\\t", "\\\"", "\\\\"};
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    if (found != NULL)
        return escapes[found - letters];
    if (c >= 0x20)
        return NULL;
    snprintf(buffer, 8, "\\u%04x", c);
    return buffer;
}

void base_json_add_string(base_str *out, const char *text, size_t len) {
    base_str_adds(out, "\"");
    size_t plain = 0, at = 0; // [plain, at) can be copied as it is
    while (at < len) {
        bool valid;
        char buffer[8];
        size_t n = base_utf8_next(text + at, len - at, &valid);
        const char *instead = valid ? escape((unsigned char)text[at], buffer) : "\xef\xbf\xbd";
        if (instead != NULL) {
            base_str_add(out, text + plain, at - plain);
            base_str_adds(out, instead);
            plain = at + n;
        }
        at += n;
    }
    base_str_add(out, text + plain, len - plain);
    base_str_adds(out, "\"");
}

// The order of code points is that of bytes in UTF-8.
static int compare_keys(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void add_object(base_str *out, const json_t *object, const char *comma, const char *colon,
                       bool sorted) {
    size_t n = 0;
    const char **keys = base_calloc(json_object_size(object), sizeof *keys);
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at))
        keys[n++] = json_object_iter_key(at);
    if (sorted)
        qsort(keys, n, sizeof *keys, compare_keys);
    base_str_adds(out, "{");
    for (size_t i = 0; i < n; i++) {
        base_str_adds(out, i > 0 ? comma : "");
        base_json_add_string(out, keys[i], strlen(keys[i]));
        base_str_adds(out, colon);
        base_json_add(out, json_object_get(object, keys[i]), comma, colon, sorted);
    }
    base_str_adds(out, "}");
    base_free(keys);
}

// As deep as base_json_parse lets values nest.
void base_json_add(base_str *out, const json_t *value, const char *comma, const char *colon,
                   bool sorted) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        add_object(out, value, comma, colon, sorted);
        break;
    case JSON_ARRAY:
        base_str_adds(out, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            base_str_adds(out, i > 0 ? comma : "");
            base_json_add(out, json_array_get(value, i), comma, colon, sorted);
        }
        base_str_adds(out, "]");
        break;
    case JSON_STRING:
        base_json_add_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        base_str_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        base_json_add_double(out, json_real_value(value));
        break;
    default:
        base_str_adds(out, json_is_true(value) ? "true" : json_is_null(value) ? "null" : "false");
    }
}
