// The handler's view of a request.
#include "http/internal.h"

#include <string.h>

int http_thread(const http_exchange *x) {
    return x->conn->loop->number;
}

http_slice http_method(const http_exchange *x) {
    return x->conn->parser.method;
}

http_slice http_path(const http_exchange *x) {
    return x->conn->parser.path;
}

http_slice http_query(const http_exchange *x) {
    return x->conn->parser.query;
}

http_slice http_header(const http_exchange *x, const char *name) {
    return http_parser_header(&x->conn->parser, name);
}

http_slice http_body(const http_exchange *x) {
    const base_str *body = &x->conn->parser.body;
    return (http_slice){.at = body->data, .len = body->len};
}

base_str http_take_body(http_exchange *x) {
    base_str body = x->conn->parser.body;
    x->conn->parser.body = (base_str){0};
    return body;
}

const char *http_peer(const http_exchange *x) {
    return x->conn->peer;
}

void http_set_data(http_exchange *x, void *data) {
    x->data = data;
}

void *http_data(const http_exchange *x) {
    return x->data;
}
