// JSON: jansson made strict (duplicate keys, trailing bytes, NUL in strings, depth over 512 and
// numbers out of a double's range are errors), and a writer, as jansson prints doubles badly.
// Integers beyond 64 bits, which schemas of other languages do have, are read as the nearest real.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

// Parses `text`. On error returns NULL and fills `err` with code `code` and "WHAT: line L column C:
// reason". The caller owns the result (json_decref).
json_t *base_json_parse(const char *text, size_t len, const char *what, int code, base_err *err);
// The same, but strings (not keys) may have NUL in them: their lengths count.
json_t *base_json_parse_nul(const char *text, size_t len, const char *what, int code,
                            base_err *err);

// Appends a finite double with the fewest digits that read back equal ("0.6", "1e-05", "3.0").
void base_json_add_double(base_str *out, double value);
// Appends `text` as a JSON string with its quotes; non-ASCII UTF-8 is kept; invalid UTF-8 becomes
// U+FFFD.
void base_json_add_string(base_str *out, const char *text, size_t len);
// Appends a value, numbers and strings as above. `comma` and `colon` come between what they are
// between ("," or ", "); `sorted`: keys in the order of their code points, else as they came.
void base_json_add(base_str *out, const json_t *value, const char *comma, const char *colon,
                   bool sorted);

#endif
