// The machine over lines and counted bytes. All it decides depends on the bytes so far and never on
// how they were cut: each byte is looked at once, and every check is tied to a byte.
#include "http/parse.h"

#include "http/syntax.h"
#include <string.h>

enum {
    MAX_EMPTY_LINES = 2, // before a request, where old clients send one
    CHUNK_LINE = HTTP_MAX_CHUNK_DIGITS + 2,
    FIRST_FIELDS = 16,
    FIRST_BODY_BYTES = 16 << 10, // taken on trust, before any of them is there
};

typedef enum {
    STEP_REQUEST_LINE,
    STEP_FIELDS,
    STEP_COUNTED, // a body of a known length
    STEP_CHUNK_SIZE,
    STEP_CHUNK_DATA,
    STEP_CHUNK_END, // the CRLF after the data
    STEP_TRAILERS,
} parse_step;

// The head lies in `buffer`, which never moves, so that slices may point into it. The lines of
// chunks and trailers are held behind it, one at a time, and dropped; what of them no honest client
// needs is on the account of the head's limit.
struct http_parse_private {
    const http_limits *limits;
    parse_step step;
    char *buffer;     // [max_head_bytes + CHUNK_LINE], from the first byte of a request on
    size_t len;       // bytes in it
    size_t line;      // where the current line begins
    bool after_cr;    // the last byte of the line is a CR
    int n_empty;      // empty lines before the request line
    int n_trailers;   // fields after the body
    int fields_cap;   // of http_parser.fields
    size_t charged;   // bytes of the head, chunk extensions and trailers; <= max_head_bytes
    uint64_t left;    // bytes to come: of the body, or of the chunk
    size_t body_most; // what the body may grow to
    size_t on_budget; // bytes of the body the budget knows of
};

// What the fields say that the parser must obey.
typedef struct head_facts {
    http_slice host, length, coding;
    int n_host, n_length, n_coding;
    bool close, stay, expect_continue, expect_other;
} head_facts;

static bool refuse(http_parser *p, int status, const char *reason) {
    p->state = HTTP_PARSE_ERROR;
    p->status = status;
    p->reason = reason;
    p->keep_alive = false;
    return false;
}

static bool check(http_parser *p, http_fault f) {
    return f.status == 0 || refuse(p, f.status, f.reason);
}

void http_parser_init(http_parser *p, const http_limits *limits) {
    *p = (http_parser){.private = base_calloc(1, sizeof *p->private)};
    p->private->limits = limits;
}

void http_parser_reset(http_parser *p) {
    struct http_parse_private *x = p->private;
    base_free(x->buffer);
    base_free(p->fields);
    base_str_free(&p->body);
    http_budget_resize(p->budget, x->on_budget, 0);
    *x = (struct http_parse_private){.limits = x->limits};
    *p = (http_parser){.private = x, .budget = p->budget};
}

void http_parser_free(http_parser *p) {
    if (p->private == NULL)
        return;
    http_parser_reset(p);
    base_free(p->private);
    p->private = NULL;
}

http_slice http_parser_header(const http_parser *p, const char *name) {
    size_t len = strlen(name);
    for (int i = 0; i < p->n_fields; i++)
        if (p->fields[i].name.len == len && memcmp(p->fields[i].name.at, name, len) == 0)
            return p->fields[i].value;
    return (http_slice){NULL, 0};
}

// ---------------------------------------------------------------------------------------------
// The head

static bool field_add(http_parser *p, const http_field *field) {
    struct http_parse_private *x = p->private;
    if (p->n_fields >= x->limits->max_headers)
        return refuse(p, 431, "too many headers");
    if (p->n_fields == x->fields_cap) {
        int cap = x->fields_cap ? 2 * x->fields_cap : FIRST_FIELDS;
        http_field *grown = base_try_realloc(p->fields, (size_t)cap * sizeof *grown);
        if (grown == NULL)
            return refuse(p, 503, "out of memory");
        p->fields = grown;
        x->fields_cap = cap;
    }
    p->fields[p->n_fields++] = *field;
    return true;
}

static void read_connection(http_slice list, head_facts *f) {
    for (http_slice token; http_syntax_next(&list, &token);) {
        f->close |= http_syntax_is(token, "close");
        f->stay |= http_syntax_is(token, "keep-alive");
    }
}

static void read_facts(const http_parser *p, head_facts *f) {
    for (int i = 0; i < p->n_fields; i++) {
        http_slice name = p->fields[i].name, value = p->fields[i].value;
        if (http_syntax_is(name, "host")) {
            f->host = value;
            f->n_host++;
        } else if (http_syntax_is(name, "content-length")) {
            f->length = value;
            f->n_length++;
        } else if (http_syntax_is(name, "transfer-encoding")) {
            f->coding = value;
            f->n_coding++;
        } else if (http_syntax_is(name, "connection")) {
            read_connection(value, f);
        } else if (http_syntax_is(name, "expect")) {
            if (http_syntax_is(value, "100-continue"))
                f->expect_continue = true;
            else
                f->expect_other = true;
        }
    }
}

static bool frame_chunked(http_parser *p, const head_facts *f) {
    if (p->http_1_0)
        return refuse(p, 400, "Transfer-Encoding in HTTP/1.0");
    if (f->n_length > 0)
        return refuse(p, 400, "Content-Length together with Transfer-Encoding");
    if (f->n_coding > 1)
        return refuse(p, 400, "more than one Transfer-Encoding");
    if (!http_syntax_is(f->coding, "chunked"))
        return refuse(p, 501, "the only Transfer-Encoding known here is chunked");
    p->private->step = STEP_CHUNK_SIZE;
    p->private->body_most = p->private->limits->max_body_bytes;
    p->has_body = true;
    return true;
}

static bool frame_counted(http_parser *p, const head_facts *f) {
    uint64_t length;
    if (f->n_length > 1)
        return refuse(p, 400, "more than one Content-Length");
    if (!http_syntax_length(f->length, &length))
        return refuse(p, 400, "malformed Content-Length");
    if (length > p->private->limits->max_body_bytes)
        return refuse(p, 413, "the body is too large");
    p->private->step = STEP_COUNTED;
    p->private->left = length;
    p->private->body_most = (size_t)length;
    p->has_body = length > 0;
    return true;
}

static bool head_done(http_parser *p) {
    head_facts f = {0};
    read_facts(p, &f);
    if (f.n_host > 1)
        return refuse(p, 400, "more than one Host");
    if (f.n_host == 0 && !p->http_1_0)
        return refuse(p, 400, "no Host");
    if (f.n_host > 0 && !http_syntax_host(f.host))
        return refuse(p, 400, "malformed Host");
    if (f.n_coding > 0 && !frame_chunked(p, &f))
        return false;
    if (f.n_coding == 0 && f.n_length > 0 && !frame_counted(p, &f))
        return false;
    if (f.expect_other)
        return refuse(p, 417, "the only Expect known here is 100-continue");
    // A client of HTTP/1.0, or one with nothing to send, does not wait for the 100.
    p->expect_continue = f.expect_continue && !p->http_1_0 && p->has_body;
    p->keep_alive = !f.close && (f.stay || !p->http_1_0);
    p->state = p->has_body ? HTTP_PARSE_BODY : HTTP_PARSE_DONE;
    return true;
}

static bool request_line_done(http_parser *p, http_slice line) {
    struct http_parse_private *x = p->private;
    http_request_line r;
    if (line.len == 0) {
        x->len = 0;
        return ++x->n_empty <= MAX_EMPTY_LINES ||
               refuse(p, 400, "too many empty lines before a request");
    }
    if (!check(p, http_syntax_request_line(line, &r)))
        return false;
    p->method = r.method;
    p->path = r.path;
    p->query = r.query;
    p->http_1_0 = r.version_1_0;
    x->step = STEP_FIELDS;
    return true;
}

// ---------------------------------------------------------------------------------------------
// The body

// Room for `more` bytes and the NUL; at most twice what has arrived, whatever was announced.
static bool body_reserve(http_parser *p, size_t more) {
    base_str *body = &p->body;
    size_t need = body->len + more + 1, cap = 2 * body->cap;
    if (need <= body->cap)
        return true;
    if (cap < FIRST_BODY_BYTES)
        cap = FIRST_BODY_BYTES;
    if (cap - 1 > p->private->body_most)
        cap = p->private->body_most + 1;
    if (cap < need)
        cap = need;
    if (!http_budget_resize(p->budget, p->private->on_budget, cap))
        return refuse(p, 503, "too many large requests are being served");
    p->private->on_budget = cap;
    char *grown = base_try_realloc(body->data, cap);
    if (grown == NULL)
        return refuse(p, 503, "out of memory");
    body->data = grown;
    body->cap = cap;
    return true;
}

static size_t take_data(http_parser *p, const char *bytes, size_t len) {
    struct http_parse_private *x = p->private;
    size_t n = len < x->left ? len : (size_t)x->left;
    if (!body_reserve(p, n))
        return 0;
    base_str_add(&p->body, bytes, n);
    x->left -= n;
    if (x->left == 0 && x->step == STEP_CHUNK_DATA)
        x->step = STEP_CHUNK_END;
    else if (x->left == 0)
        p->state = HTTP_PARSE_DONE;
    return n;
}

static bool charge(http_parser *p, size_t bytes) {
    struct http_parse_private *x = p->private;
    if (bytes > x->limits->max_head_bytes - x->charged)
        return refuse(p, 431, "too many bytes of chunk extensions and trailers");
    x->charged += bytes;
    return true;
}

static bool chunk_size_done(http_parser *p, http_slice line) {
    struct http_parse_private *x = p->private;
    size_t extension_bytes;
    if (!check(p, http_syntax_chunk_size(line, &x->left, &extension_bytes)) ||
        !charge(p, extension_bytes))
        return false;
    if (x->left > x->limits->max_body_bytes - p->body.len)
        return refuse(p, 413, "the body is too large");
    x->step = x->left > 0 ? STEP_CHUNK_DATA : STEP_TRAILERS;
    return true;
}

static bool trailer_done(http_parser *p, char *line, size_t len) {
    http_field dropped;
    if (len == 0) {
        p->state = HTTP_PARSE_DONE;
        return true;
    }
    if (++p->private->n_trailers > p->private->limits->max_headers)
        return refuse(p, 431, "too many trailers");
    return check(p, http_syntax_field(line, len, &dropped)) && charge(p, len + 2);
}

// ---------------------------------------------------------------------------------------------
// Lines

static bool line_done(http_parser *p) {
    struct http_parse_private *x = p->private;
    char *line = x->buffer + x->line;
    size_t len = x->len - x->line - 2;
    http_field field;
    bool ok = true;
    switch (x->step) {
    case STEP_REQUEST_LINE:
        ok = request_line_done(p, (http_slice){line, len});
        break;
    case STEP_FIELDS:
        ok = len == 0 ? head_done(p)
                      : check(p, http_syntax_field(line, len, &field)) && field_add(p, &field);
        break;
    case STEP_CHUNK_SIZE:
        ok = chunk_size_done(p, (http_slice){line, len});
        break;
    case STEP_CHUNK_END:
        x->step = STEP_CHUNK_SIZE; // take_line has seen to it that nothing is in the line
        break;
    default:
        ok = trailer_done(p, line, len);
    }
    return ok;
}

// After the head, the size of a chunk and an empty line are free.
static size_t line_limit(const http_parser *p) {
    const struct http_parse_private *x = p->private;
    size_t most = x->limits->max_head_bytes;
    return p->state == HTTP_PARSE_HEAD ? most : x->line + (most - x->charged) + CHUNK_LINE;
}

static bool refuse_long(http_parser *p) {
    if (p->private->step == STEP_REQUEST_LINE)
        return refuse(p, 414, "the request line is too long");
    if (p->private->step == STEP_FIELDS)
        return refuse(p, 431, "the headers are too large");
    return refuse(p, 431, "too many bytes of chunk extensions and trailers");
}

static bool buffer_ready(http_parser *p) {
    struct http_parse_private *x = p->private;
    size_t bytes;
    if (x->buffer == NULL && base_add_size(x->limits->max_head_bytes, CHUNK_LINE, &bytes))
        x->buffer = base_try_alloc(bytes);
    return x->buffer != NULL || refuse(p, 503, "out of memory");
}

static bool line_add(http_parser *p, unsigned char c) {
    struct http_parse_private *x = p->private;
    if (x->len >= line_limit(p))
        return refuse_long(p);
    if (x->after_cr != (c == '\n'))
        return refuse(p, 400, "a line end that is not CR LF");
    if (x->step == STEP_CHUNK_END && c != '\r' && c != '\n')
        return refuse(p, 400, "a chunk that is longer than its size");
    if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
        return refuse(p, 400, "a control byte");
    x->buffer[x->len++] = (char)c;
    x->after_cr = c == '\r';
    return true;
}

// Takes bytes to the end of the line at most.
static size_t take_line(http_parser *p, const char *bytes, size_t len) {
    struct http_parse_private *x = p->private;
    if (!buffer_ready(p))
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (!line_add(p, (unsigned char)bytes[i]))
            return i + 1;
        if (bytes[i] != '\n')
            continue;
        bool in_head = p->state == HTTP_PARSE_HEAD;
        if (line_done(p) && in_head)
            x->line = x->charged = x->len;
        else
            x->len = x->line;
        return i + 1;
    }
    return len;
}

size_t http_parser_push(http_parser *p, const char *bytes, size_t len) {
    size_t at = 0;
    bool in_head = p->state == HTTP_PARSE_HEAD;
    while (at < len && (p->state == HTTP_PARSE_HEAD || (p->state == HTTP_PARSE_BODY && !in_head))) {
        parse_step step = p->private->step;
        bool counted = step == STEP_COUNTED || step == STEP_CHUNK_DATA;
        at += (counted ? take_data : take_line)(p, bytes + at, len - at);
    }
    return at;
}
