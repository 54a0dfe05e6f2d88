// A growable byte buffer. Zero-initialised is empty and valid; `data` is NUL-terminated whenever it
// is not NULL, but may hold NULs. Growth aborts when memory is out: bound what clients may add.
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct base_str {
    char *data;
    size_t len, cap;
} base_str;

void base_str_add(base_str *s, const void *bytes, size_t len);
void base_str_adds(base_str *s, const char *text);
void base_str_printf(base_str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void base_str_reserve(base_str *s, size_t more); // room for `more` bytes and the NUL
void base_str_clear(base_str *s);                // keeps the memory
void base_str_free(base_str *s);                 // leaves it empty and valid

// A growable list of token ids, in the same manner.
typedef struct base_ids {
    int32_t *data;
    size_t len, cap;
} base_ids;

void base_ids_add(base_ids *v, int32_t id);
void base_ids_free(base_ids *v);

// The length of the UTF-8 character at text[0], len > 0, or with *valid false the length of the
// ill-formed piece there (the "maximal subpart": what one U+FFFD should stand for). 0 if len is 0.
size_t base_utf8_next(const char *text, size_t len, bool *valid);

// Makes a NUL-terminated text fit to be shown: control characters and ill-formed bytes become '?',
// and a character cut in two by the end of the text is dropped.
void base_text_clean(char *text);

#endif
