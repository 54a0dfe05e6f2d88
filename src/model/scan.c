// A strict JSON scanner (RFC 8259) over a buffer that need not end in NUL.
#include "model/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

bool model_scan_fail(model_scan *s, const char *format, ...) {
    if (s->code != 0)
        return false;
    s->code = BASE_ERR_MODEL;
    char reason[600];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    base_fail(s->err, BASE_ERR_MODEL, "%s: byte %zu: %s", s->what, (size_t)(s->at - s->begin),
              reason);
    return false;
}

bool model_scan_no_memory(model_scan *s) {
    if (s->code == 0)
        s->code = base_fail(s->err, BASE_ERR_RESOURCE, "%s: out of memory", s->what);
    return false;
}

static void skip_space(model_scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

bool model_scan_peek(model_scan *s, char c) {
    skip_space(s);
    return s->code == 0 && s->at < s->end && *s->at == c;
}

bool model_scan_take(model_scan *s, char c) {
    if (!model_scan_peek(s, c))
        return model_scan_fail(s, s->at < s->end ? "'%c' expected" : "cut off before '%c'", c);
    s->at++;
    return true;
}

bool model_scan_next(model_scan *s, char close, bool *more) {
    *more = model_scan_peek(s, ',');
    if (*more) {
        s->at++;
        return true;
    }
    return model_scan_take(s, close);
}

static bool take_hex4(model_scan *s, unsigned *out) {
    unsigned value = 0;
    if (s->end - s->at < 4)
        return model_scan_fail(s, "cut off in \\u");
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (unsigned)((c | 32) - 'a') + 10;
        else
            return model_scan_fail(s, "bad \\u escape");
        value = value * 16 + digit;
    }
    *out = value;
    return true;
}

// After "\u": writes 1 to 4 bytes, fewer than the escape took.
static bool take_unicode(model_scan *s, char **out) {
    unsigned c = 0, low = 0;
    if (!take_hex4(s, &c))
        return false;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
            return model_scan_fail(s, "lone surrogate");
        s->at += 2;
        if (!take_hex4(s, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return model_scan_fail(s, "lone surrogate");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return model_scan_fail(s, "lone surrogate");
    } else if (c == 0) {
        return model_scan_fail(s, "NUL in a string");
    }
    char *p = *out;
    if (c < 0x80) {
        *p++ = (char)c;
    } else if (c < 0x800) {
        *p++ = (char)(0xc0 | (c >> 6));
        *p++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *p++ = (char)(0xe0 | (c >> 12));
        *p++ = (char)(0x80 | ((c >> 6) & 63));
        *p++ = (char)(0x80 | (c & 63));
    } else {
        *p++ = (char)(0xf0 | (c >> 18));
        *p++ = (char)(0x80 | ((c >> 12) & 63));
        *p++ = (char)(0x80 | ((c >> 6) & 63));
        *p++ = (char)(0x80 | (c & 63));
    }
    *out = p;
    return true;
}

static bool take_escape(model_scan *s, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at >= s->end)
        return model_scan_fail(s, "cut off in a string");
    char c = *s->at++;
    if (c == 'u')
        return take_unicode(s, out);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return model_scan_fail(s, "bad escape");
    *(*out)++ = to[found - from];
    return true;
}

bool model_scan_string(model_scan *s, char *out, size_t *len) {
    if (!model_scan_take(s, '"'))
        return false;
    char *p = out;
    while (s->at < s->end && *s->at != '"') {
        char c = *s->at;
        if (c == '\\') {
            s->at++;
            if (!take_escape(s, &p))
                return false;
            continue;
        }
        if (c >= 0 && c < 0x20)
            return model_scan_fail(s, "control character in a string");
        bool valid;
        size_t n = base_utf8_next(s->at, (size_t)(s->end - s->at), &valid);
        if (!valid)
            return model_scan_fail(s, "not UTF-8");
        memcpy(p, s->at, n);
        p += n;
        s->at += n;
    }
    if (s->at >= s->end)
        return model_scan_fail(s, "cut off in a string");
    s->at++;
    *p = 0;
    *len = (size_t)(p - out);
    return true;
}

static bool is_digit(const model_scan *s) {
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

bool model_scan_u64(model_scan *s, uint64_t *out) {
    skip_space(s);
    if (s->code != 0)
        return false;
    if (!is_digit(s))
        return model_scan_fail(s, "non-negative integer expected");
    bool zero = *s->at == '0';
    uint64_t value = 0;
    for (int n = 0; is_digit(s); n++, s->at++) {
        if (zero && n > 0)
            return model_scan_fail(s, "integer with leading zero");
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*s->at - '0'), &value))
            return model_scan_fail(s, "integer over 64 bits");
    }
    if (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E'))
        return model_scan_fail(s, "integer expected");
    *out = value;
    return true;
}

static bool skip_digits(model_scan *s) {
    if (!is_digit(s))
        return model_scan_fail(s, "digit expected");
    while (is_digit(s))
        s->at++;
    return true;
}

static bool skip_number(model_scan *s) {
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!skip_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!skip_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        return skip_digits(s);
    }
    return true;
}

static bool skip_word(model_scan *s) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= n && memcmp(s->at, words[i], n) == 0) {
            s->at += n;
            return true;
        }
    }
    return model_scan_fail(s, "value expected");
}

static bool skip_string(model_scan *s) {
    size_t left = (size_t)(s->end - s->at), bytes = 1, len;
    while (bytes < left && s->at[bytes] != '"')
        bytes += s->at[bytes] == '\\' ? 2 : 1;
    char *scratch = base_try_alloc(bytes + 1);
    if (!scratch)
        return model_scan_no_memory(s);
    bool good = model_scan_string(s, scratch, &len);
    base_free(scratch);
    return good;
}

static bool skip_value(model_scan *s, int depth) {
    skip_space(s);
    if (s->code != 0)
        return false;
    if (s->at >= s->end)
        return model_scan_fail(s, "cut off before a value");
    if (depth > MAX_DEPTH)
        return model_scan_fail(s, "nested more than %d deep", (int)MAX_DEPTH);
    char c = *s->at;
    if (c == '"')
        return skip_string(s);
    if (c == '-' || is_digit(s))
        return skip_number(s);
    if (c != '{' && c != '[')
        return skip_word(s);
    char close = c == '{' ? '}' : ']';
    s->at++;
    bool more = !model_scan_peek(s, close);
    if (!more)
        s->at++;
    while (more) {
        if (c == '{') {
            skip_space(s);
            if (s->at >= s->end || *s->at != '"')
                return model_scan_fail(s, "key expected");
            if (!skip_string(s) || !model_scan_take(s, ':'))
                return false;
        }
        if (!skip_value(s, depth + 1) || !model_scan_next(s, close, &more))
            return false;
    }
    return true;
}

bool model_scan_skip(model_scan *s) {
    return skip_value(s, 0);
}
