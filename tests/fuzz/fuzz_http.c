// Requests that follow one another on a connection: however their bytes are cut, the same requests
// are found, and what is accepted holds the promises of parse.h. The first byte of the input says
// how the rest is cut.
#include "http/parse.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Small, so that the fuzzer meets them.
static const http_limits LIMITS = {.max_head_bytes = 300, .max_headers = 6, .max_body_bytes = 200};

static void require(bool condition) {
    if (!condition)
        abort();
}

static void show_slice(base_str *out, http_slice s) {
    base_str_printf(out, " %zu ", s.len);
    if (s.len > 0)
        base_str_add(out, s.at, s.len);
}

static void show(base_str *out, const http_parser *p, size_t taken) {
    base_str_printf(out, "\n%zu: %d %d", taken, p->state, p->status);
    if (p->state == HTTP_PARSE_ERROR || p->state == HTTP_PARSE_HEAD)
        return;
    base_str_printf(out, " %d%d%d%d", p->http_1_0, p->keep_alive, p->has_body, p->expect_continue);
    show_slice(out, p->method);
    show_slice(out, p->path);
    show_slice(out, p->query);
    for (int i = 0; i < p->n_fields; i++) {
        show_slice(out, p->fields[i].name);
        show_slice(out, p->fields[i].value);
    }
    show_slice(out, (http_slice){p->body.data, p->body.len});
}

static void check_slice(http_slice s, const char *forbidden) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        require((c >= 0x20 || c == '\t') && c != 0x7f && !strchr(forbidden, c));
    }
}

static void check(const http_parser *p) {
    if (p->state == HTTP_PARSE_ERROR) {
        require(p->status >= 400 && p->reason && p->reason[0] && !p->keep_alive);
        return;
    }
    require(p->status == 0 && p->body.len <= LIMITS.max_body_bytes);
    require(p->body.cap <= LIMITS.max_body_bytes + 1);
    if (p->state == HTTP_PARSE_HEAD)
        return;
    require(p->method.len > 0 && p->method.len <= 32 && p->path.len > 0);
    require(p->path.at[0] == '/' || (p->path.at[0] == '*' && p->path.len == 1));
    check_slice(p->method, " \t:/?");
    check_slice(p->path, " \t#?");
    check_slice(p->query, " \t#");
    require(p->n_fields <= LIMITS.max_headers);
    http_slice host = http_parser_header(p, "host");
    require(host.len > 0 || p->http_1_0);
    check_slice(host, " \t/?#@\\\"<>");
    require(!http_parser_header(p, "content-length").at ||
            !http_parser_header(p, "transfer-encoding").at);
    for (int i = 0; i < p->n_fields; i++) {
        require(p->fields[i].name.len > 0);
        check_slice(p->fields[i].name, " \t:ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        check_slice(p->fields[i].value, "");
    }
}

// Parses request after request and writes down what it saw. A random of 0: all at once.
static void run(const uint8_t *data, size_t size, uint32_t random, base_str *out) {
    const bool cut = random != 0;
    http_parser p;
    http_parser_init(&p, &LIMITS);
    for (size_t at = 0, from = 0, n; at < size; at += n) {
        http_parse_state before = p.state;
        random = random * 1664525 + 1013904223;
        size_t piece = cut ? 1 + (random >> 24) % ((random >> 20) % 2 ? 3 : 40) : size;
        if (piece > size - at)
            piece = size - at;
        uint8_t *copy = base_alloc(piece); // so that a read of one byte too many is found
        memcpy(copy, data + at, piece);
        n = http_parser_push(&p, (const char *)copy, piece);
        base_free(copy);
        check(&p);
        require(n <= piece && (n > 0 || p.state == HTTP_PARSE_ERROR));
        require(n == piece || p.state == HTTP_PARSE_DONE || p.state == HTTP_PARSE_ERROR ||
                (before == HTTP_PARSE_HEAD && p.state == HTTP_PARSE_BODY));
        if (p.state == HTTP_PARSE_BODY && before == HTTP_PARSE_HEAD) {
            require(p.has_body && p.body.len == 0);
            show(out, &p, at + n - from);
        }
        if (p.state == HTTP_PARSE_ERROR || p.state == HTTP_PARSE_DONE || at + n == size)
            show(out, &p, at + n - from);
        if (p.state == HTTP_PARSE_ERROR)
            break;
        if (p.state == HTTP_PARSE_DONE) {
            http_parser_reset(&p);
            from = at + n;
        }
    }
    http_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    base_str whole = {0}, pieces = {0};
    run(data + 1, size - 1, 0, &whole);
    run(data + 1, size - 1, 1u + data[0], &pieces);
    require(whole.len == pieces.len && memcmp(whole.data, pieces.data, whole.len) == 0);
    base_str_free(&whole);
    base_str_free(&pieces);
    return 0;
}
