#include "http/syntax.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

static bool is_alpha(unsigned char c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static int hex_value(unsigned char c) {
    if (is_digit(c))
        return c - '0';
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

static bool is_one_of(unsigned char c, const char *set) {
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_token(http_slice s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (!is_digit(c) && !is_alpha(c) && !is_one_of(c, "!#$%&'*+-.^_`|~"))
            return false;
    }
    return s.len > 0;
}

static http_fault fault(int status, const char *reason) {
    return (http_fault){status, reason};
}

// What comes before the first `separator`, which is cut off with it; all of it if there is none.
static http_slice cut(http_slice *rest, char separator) {
    const char *end = rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
    http_slice first = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t taken = end ? first.len + 1 : first.len;
    *rest = (http_slice){rest->at + taken, rest->len - taken};
    return first;
}

static http_slice trim(http_slice s) {
    while (s.len > 0 && is_one_of((unsigned char)s.at[0], " \t"))
        s = (http_slice){s.at + 1, s.len - 1};
    while (s.len > 0 && is_one_of((unsigned char)s.at[s.len - 1], " \t"))
        s.len--;
    return s;
}

bool http_syntax_is(http_slice value, const char *lower) {
    if (value.len != strlen(lower))
        return false;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if ((is_alpha(c) ? c | 0x20 : c) != (unsigned char)lower[i])
            return false;
    }
    return true;
}

bool http_syntax_next(http_slice *list, http_slice *element) {
    while (list->len > 0) {
        *element = trim(cut(list, ','));
        if (element->len > 0)
            return true;
    }
    return false;
}

// ---------------------------------------------------------------------------------------------
// The request line

static http_fault check_version(http_slice v, bool *version_1_0) {
    if (v.len != 8 || memcmp(v.at, "HTTP/", 5) != 0 || !is_digit((unsigned char)v.at[5]) ||
        v.at[6] != '.' || !is_digit((unsigned char)v.at[7]))
        return fault(400, "malformed request line: it must end in HTTP/1.1");
    if (v.at[5] != '1' || v.at[7] > '1')
        return fault(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    *version_1_0 = v.at[7] == '0';
    return fault(0, NULL);
}

// Only the origin form: a server that is no proxy needs no other, and with two names for the host
// two programs would disagree on which counts.
static http_fault check_target(http_slice target, http_slice method) {
    if (target.len == 1 && target.at[0] == '*' && method.len == 7 &&
        memcmp(method.at, "OPTIONS", 7) == 0)
        return fault(0, NULL);
    if (target.len == 0 || target.at[0] != '/')
        return fault(400, "the request target must begin with '/'");
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.at[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return fault(400, "a byte in the request target that must be percent-encoded");
    }
    return fault(0, NULL);
}

http_fault http_syntax_request_line(http_slice line, http_request_line *out) {
    out->method = cut(&line, ' ');
    http_slice target = cut(&line, ' ');
    if (out->method.len > HTTP_MAX_METHOD || !is_token(out->method))
        return fault(400, "malformed method");
    http_fault f = check_version(line, &out->version_1_0);
    if (f.status == 0)
        f = check_target(target, out->method);
    out->path = cut(&target, '?');
    out->query = target;
    return f;
}

// ---------------------------------------------------------------------------------------------
// Fields

http_fault http_syntax_field(char *line, size_t len, http_field *out) {
    if (len > 0 && is_one_of((unsigned char)line[0], " \t"))
        return fault(400, "a header line that begins with a blank");
    char *colon = memchr(line, ':', len);
    if (colon == NULL)
        return fault(400, "a header line without a colon");
    size_t name_len = (size_t)(colon - line);
    out->name = (http_slice){line, name_len};
    if (!is_token(out->name))
        return fault(400, "malformed header name");
    for (size_t i = 0; i < name_len; i++)
        if (is_alpha((unsigned char)line[i]))
            line[i] = (char)(line[i] | 0x20);
    out->value = trim((http_slice){colon + 1, len - name_len - 1});
    return fault(0, NULL);
}

bool http_syntax_length(http_slice value, uint64_t *out) {
    uint64_t n = 0;
    bool over = false;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (!is_digit(c))
            return false;
        over |= __builtin_mul_overflow(n, (uint64_t)10, &n);
        over |= __builtin_add_overflow(n, (uint64_t)(c - '0'), &n);
    }
    *out = over ? UINT64_MAX : n;
    return value.len > 0;
}

// "[" IPv6 address "]" and nothing newer; a zone means something on the client's machine only.
static bool is_ipv6_literal(http_slice s) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (s.len < 2 || s.len - 2 >= sizeof text || s.at[s.len - 1] != ']')
        return false;
    memcpy(text, s.at + 1, s.len - 2);
    text[s.len - 2] = '\0';
    return strlen(text) == s.len - 2 && inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_reg_name(http_slice s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '%') {
            if (s.len - i < 3 || hex_value((unsigned char)s.at[i + 1]) < 0 ||
                hex_value((unsigned char)s.at[i + 2]) < 0)
                return false;
            i += 2;
        } else if (!is_digit(c) && !is_alpha(c) && !is_one_of(c, "-._~!$&'()*+,;=")) {
            return false;
        }
    }
    return s.len > 0;
}

bool http_syntax_host(http_slice value) {
    size_t host_len = value.len;
    while (host_len > 0 && is_digit((unsigned char)value.at[host_len - 1]))
        host_len--;
    if (host_len == 0 || value.at[host_len - 1] != ':') {
        host_len = value.len; // no port
    } else {
        http_slice port = {value.at + host_len, value.len - host_len};
        uint64_t number = 0; // the port may be empty
        if (port.len > 5 || (port.len > 0 && !http_syntax_length(port, &number)) || number > 65535)
            return false;
        host_len--;
    }
    http_slice host = {value.at, host_len};
    return host_len > 0 && host.at[0] == '[' ? is_ipv6_literal(host) : is_reg_name(host);
}

// ---------------------------------------------------------------------------------------------
// Chunks

http_fault http_syntax_chunk_size(http_slice line, uint64_t *size, size_t *extension_bytes) {
    size_t digits = 0;
    *size = 0;
    for (; digits < line.len; digits++) {
        int value = hex_value((unsigned char)line.at[digits]);
        if (value < 0)
            break;
        if (digits == HTTP_MAX_CHUNK_DIGITS)
            return fault(400, "a chunk size of too many digits");
        *size = *size << 4 | (uint64_t)value;
    }
    if (digits == 0 || (digits < line.len && line.at[digits] != ';'))
        return fault(400, "malformed chunk size");
    *extension_bytes = line.len - digits;
    return fault(0, NULL);
}
