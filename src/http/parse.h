// The HTTP/1.1 request parser: bytes in any pieces -> one request. No sockets, no clocks.
//
// Strict (RFC 9112 where it allows to be): CRLF line ends only, no obs-fold, no control bytes, no
// blank before the colon, methods and names are tokens, one Host at most (exactly one in HTTP/1.1)
// that is a host and a port, one Content-Length at most, a plain decimal, never together with
// Transfer-Encoding, which may only be "chunked". The target is a path ("*" for OPTIONS): the
// absolute form, which proxies are sent, is refused. Chunk extensions and trailers are checked,
// dropped, and count with the head against its limit. What is refused gets the status that
// http_parser.status names and closes the connection.
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include "http/budget.h"
#include "http/http.h"

typedef struct http_field {
    http_slice name, value; // the name in lower case, the value without blanks around it
} http_field;

typedef enum {
    HTTP_PARSE_HEAD,  // the head is not complete
    HTTP_PARSE_BODY,  // the head is; the body is not
    HTTP_PARSE_DONE,  // a whole request; bytes that follow belong to the next
    HTTP_PARSE_ERROR, // see status and reason
} http_parse_state;

typedef struct http_parser {
    http_parse_state state;
    int status; // ERROR: 400, 413, 414, 417, 431, 501, 503 (no memory, no room in the budget), 505
    const char *reason; // ERROR: static text
    // From BODY on, until the reset; those of the request line, if it was good, also on ERROR:
    http_slice method, path, query;
    bool http_1_0, keep_alive;
    bool has_body;        // at least one byte, or chunks, follow the head
    bool expect_continue; // and the client waits for a 100 before it sends them
    http_field *fields;   // [n_fields]
    int n_fields;
    base_str body; // decoded; from DONE on complete. May be taken away (and zeroed) then
    // The body is on its account until the reset, also when it was taken away: what is made of it
    // lives as long. NULL: none. Set after http_parser_init, kept by the reset.
    http_budget *budget;
    struct http_parse_private *private;
} http_parser;

// `limits` must outlive the parser: max_head_bytes, max_headers and max_body_bytes are used.
void http_parser_init(http_parser *p, const http_limits *limits);
void http_parser_free(http_parser *p);
void http_parser_reset(http_parser *p); // for the next request on the connection

// Takes bytes until the request is complete or wrong and returns how many it took. It stops at the
// end of the head once (state BODY or DONE), so that the caller can look at the head, and goes on
// at the next call. The result is the same however the bytes are cut into pieces.
size_t http_parser_push(http_parser *p, const char *bytes, size_t len);
// As http_header.
http_slice http_parser_header(const http_parser *p, const char *name);

#endif
