#include "measure/scan.h"
#include <ctype.h>
#include <string.h>

enum { MAX_DEPTH = 256 };

static bool fail(measure_scan *s) {
    s->bad = true;
    return false;
}

bool measure_scan_peek(measure_scan *s, char c) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
    return !s->bad && s->at < s->end && *s->at == c;
}

static bool take(measure_scan *s, char c) {
    if (!measure_scan_peek(s, c))
        return fail(s);
    s->at++;
    return true;
}

bool measure_scan_done(measure_scan *s) {
    measure_scan_peek(s, '\0');
    return !s->bad && s->at == s->end;
}

// ---------------------------------------------------------------------------------------------
// Strings

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The four digits behind "\u"; -1 when they are not there.
static int code_unit(measure_scan *s) {
    int unit = 0;
    if (s->end - s->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(s->at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    s->at += 4;
    return unit;
}

static void add_code_point(base_str *out, unsigned c) {
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    static const unsigned lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (char)(lead[n] | c);
    base_str_add(out, bytes, n);
}

// A character written in UTF-16; half a pair becomes U+FFFD.
static bool take_unicode(measure_scan *s, base_str *out) {
    int unit = code_unit(s);
    if (unit < 0)
        return fail(s);
    unsigned c = (unsigned)unit;
    if (unit >= 0xd800 && unit < 0xdc00 && s->end - s->at >= 2 && s->at[0] == '\\' &&
        s->at[1] == 'u') {
        const char *before = s->at;
        s->at += 2;
        int low = code_unit(s);
        if (low < 0)
            return fail(s);
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00);
        else
            s->at = before;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    if (out != NULL)
        add_code_point(out, c);
    return true;
}

static bool take_escape(measure_scan *s, base_str *out) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end)
        return fail(s);
    char c = *s->at++;
    if (c == 'u')
        return take_unicode(s, out);
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    if (found == NULL)
        return fail(s);
    if (out != NULL)
        base_str_add(out, meant + (found - letters), 1);
    return true;
}

// Behind the opening quote.
static bool take_characters(measure_scan *s, base_str *out) {
    for (;;) {
        const char *plain = s->at;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= 0x20)
            s->at++;
        if (out != NULL)
            base_str_add(out, plain, (size_t)(s->at - plain));
        if (s->at == s->end || (unsigned char)*s->at < 0x20)
            return fail(s);
        if (*s->at++ == '"')
            return true;
        if (!take_escape(s, out))
            return false;
    }
}

bool measure_scan_string(measure_scan *s, base_str *out) {
    if (!measure_scan_peek(s, '"'))
        return false;
    s->at++;
    return take_characters(s, out);
}

// ---------------------------------------------------------------------------------------------
// Numbers and words

static size_t count_digits(measure_scan *s) {
    const char *start = s->at;
    while (s->at < s->end && isdigit((unsigned char)*s->at))
        s->at++;
    return (size_t)(s->at - start);
}

static void skip_number(measure_scan *s) {
    if (*s->at == '-')
        s->at++;
    bool zero = s->at < s->end && *s->at == '0';
    size_t digits = count_digits(s);
    bool good = digits > 0 && !(zero && digits > 1);
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        good = count_digits(s) > 0 && good;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        good = count_digits(s) > 0 && good;
    }
    s->bad = s->bad || !good;
}

bool measure_scan_count(measure_scan *s, int64_t *out) {
    measure_scan_peek(s, '\0');
    const char *start = s->at;
    size_t digits = count_digits(s);
    bool whole = s->at == s->end || strchr(",}] \t\r\n", *s->at) != NULL;
    if (s->bad || digits == 0 || digits > 18 || !whole) {
        s->at = start;
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < digits; i++)
        *out = *out * 10 + (start[i] - '0');
    return true;
}

static void skip_plain(measure_scan *s) {
    static const char *const words[] = {"null", "true", "false"};
    if (s->at == s->end) {
        fail(s);
    } else if (*s->at == '"') {
        measure_scan_string(s, NULL);
    } else if (*s->at == '-' || isdigit((unsigned char)*s->at)) {
        skip_number(s);
    } else {
        size_t left = (size_t)(s->end - s->at);
        for (int i = 0; i < 3; i++) {
            size_t len = strlen(words[i]);
            if (left >= len && memcmp(s->at, words[i], len) == 0) {
                s->at += len;
                return;
            }
        }
        fail(s);
    }
}

// ---------------------------------------------------------------------------------------------
// Objects and lists

bool measure_scan_enter(measure_scan *s, char bracket) {
    if (!measure_scan_peek(s, bracket))
        return false;
    s->at++;
    return true;
}

// False behind `close`.
static bool go_on(measure_scan *s, bool *first, char close) {
    bool was_first = *first;
    *first = false;
    if (measure_scan_peek(s, close)) {
        s->at++;
        return false;
    }
    return was_first ? !s->bad : take(s, ',');
}

static bool take_key(measure_scan *s, const char **key, size_t *len) {
    if (!measure_scan_peek(s, '"'))
        return fail(s);
    *key = s->at + 1;
    if (!measure_scan_string(s, NULL))
        return false;
    *len = (size_t)(s->at - 1 - *key);
    return take(s, ':');
}

bool measure_scan_member(measure_scan *s, bool *first, const char **key, size_t *len) {
    return go_on(s, first, '}') && take_key(s, key, len);
}

bool measure_scan_element(measure_scan *s, bool *first) {
    return go_on(s, first, ']');
}

void measure_scan_skip(measure_scan *s) {
    char close[MAX_DEPTH]; // of what is open
    bool first = true;
    int depth = 0;
    do {
        const char *key;
        size_t len;
        bool more =
            depth == 0 || (close[depth - 1] == '}' ? measure_scan_member(s, &first, &key, &len)
                                                   : measure_scan_element(s, &first));
        if (!more) {
            depth--;
            first = false;
        } else if (measure_scan_enter(s, '{') || measure_scan_enter(s, '[')) {
            if (depth == MAX_DEPTH)
                fail(s);
            else
                close[depth++] = s->at[-1] == '{' ? '}' : ']';
            first = true;
        } else if (!s->bad) {
            skip_plain(s);
        }
    } while (depth > 0 && !s->bad);
}
