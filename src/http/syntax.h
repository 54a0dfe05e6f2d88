// The lines of an HTTP/1.1 message, one at a time and without their CRLF: text -> parts, or what is
// wrong with it. Knows nothing of what lines come before or after. Control bytes other than tabs
// are the caller's to refuse.
#ifndef HTTP_SYNTAX_H
#define HTTP_SYNTAX_H

#include "http/parse.h"
#include <stdint.h>

enum {
    HTTP_MAX_METHOD = 32,
    HTTP_MAX_CHUNK_DIGITS = 16, // 2^64 - 1
};

typedef struct http_fault {
    int status; // 0: none
    const char *reason;
} http_fault;

typedef struct http_request_line {
    http_slice method, path, query;
    bool version_1_0;
} http_request_line;

http_fault http_syntax_request_line(http_slice line, http_request_line *out);
// Lowers the name in place; the slices of `out` lie in `line`.
http_fault http_syntax_field(char *line, size_t len, http_field *out);
// The size that begins a chunk; *extension_bytes is what follows it, which nothing here uses.
http_fault http_syntax_chunk_size(http_slice line, uint64_t *size, size_t *extension_bytes);

bool http_syntax_host(http_slice value); // uri-host [ ":" port ]
// A plain decimal; one beyond 64 bits gives UINT64_MAX.
bool http_syntax_length(http_slice value, uint64_t *out);
bool http_syntax_is(http_slice value, const char *lower); // without regard to case
// The next element of a comma-separated list, blanks around it cut off; false at the end.
bool http_syntax_next(http_slice *list, http_slice *element);

#endif
