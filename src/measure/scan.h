// A reader of JSON that allocates nothing: every token of every stream passes through it, and what
// it costs is time in which other streams' bytes wait.
#ifndef MEASURE_SCAN_H
#define MEASURE_SCAN_H

#include "base/base.h"
#include <stdbool.h>

// The first thing that is not JSON sets `bad`, after which every call does nothing.
typedef struct measure_scan {
    const char *at, *end;
    bool bad;
} measure_scan;

// Skips white space; true when `c` is next.
bool measure_scan_peek(measure_scan *s, char c);
// For a value that begins with '{' or '[': goes into it. False for any other value, which is left.
bool measure_scan_enter(measure_scan *s, char bracket);
// In an object or list: goes to its next member (objects: behind the key, whose bytes as they are
// written come in `key` [len]) or element, or out of it (false). `first` begins as true. The value
// has to be read or skipped before the next call.
bool measure_scan_member(measure_scan *s, bool *first, const char **key, size_t *len);
bool measure_scan_element(measure_scan *s, bool *first);
// A string, appended to `out` (NULL: dropped). False, and nothing is read, for any other value.
bool measure_scan_string(measure_scan *s, base_str *out);
// A non-negative integer; false, and nothing is read, for anything else.
bool measure_scan_count(measure_scan *s, int64_t *out);
void measure_scan_skip(measure_scan *s); // any value
// Whether nothing but white space is left.
bool measure_scan_done(measure_scan *s);

#endif
