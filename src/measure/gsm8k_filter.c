// What lm-eval's regular expressions take of a completion, without an engine for them, and the
// comparison with the answer. All that is looked for is ASCII, so bytes are as good as characters.
#include "measure/gsm8k.h"
#include <string.h>

static const char INVALID[] = "[invalid]", MARK[] = "#### ";
enum { MARK_BYTES = sizeof MARK - 1 };

const char *measure_gsm8k_filter_name(measure_gsm8k_filter filter) {
    static const char *const names[] = {"flexible-extract", "strict-match"};
    return names[filter];
}

// The number of bytes from text[at] that are digits or in `more`.
static size_t count_run(const char *text, size_t len, size_t at, const char *more) {
    size_t n = 0;
    while (at + n < len && ((text[at + n] >= '0' && text[at + n] <= '9') ||
                            (text[at + n] != '\0' && strchr(more, text[at + n]) != NULL)))
        n++;
    return n;
}

static size_t skip_minus(const char *text, size_t len, size_t at) {
    return at < len && text[at] == '-';
}

typedef struct found {
    size_t at, len; // len 0: nothing
} found;

// `#### (\-?[0-9\.\,]+)`, the first one.
static found find_strict(const char *text, size_t len) {
    for (size_t i = 0; i + MARK_BYTES < len; i++) {
        if (memcmp(text + i, MARK, MARK_BYTES) != 0)
            continue;
        size_t at = i + MARK_BYTES, minus = skip_minus(text, len, at);
        size_t run = count_run(text, len, at + minus, ".,");
        if (run > 0)
            return (found){at, minus + run};
    }
    return (found){0, 0};
}

// `(-?[$0-9.,]{2,})|(-?[0-9]+)`, the last of those that do not overlap. The second alternative is
// left with single digits.
static found find_flexible(const char *text, size_t len) {
    found last = {0, 0};
    for (size_t i = 0; i < len;) {
        size_t minus = skip_minus(text, len, i);
        size_t run = count_run(text, len, i + minus, "$.,");
        bool digit = run == 1 && text[i + minus] >= '0' && text[i + minus] <= '9';
        if (run >= 2 || digit) {
            last = (found){i, minus + run};
            i += last.len;
        } else {
            i++;
        }
    }
    return last;
}

void measure_gsm8k_extract(measure_gsm8k_filter filter, const char *text, size_t len,
                           base_str *out) {
    found f = filter == MEASURE_GSM8K_STRICT ? find_strict(text, len) : find_flexible(text, len);
    if (f.len > 0)
        base_str_add(out, text + f.at, f.len);
    else
        base_str_adds(out, INVALID);
}

// ---------------------------------------------------------------------------------------------
// exact_match

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

// regexes_to_ignore, one after the other: ",", "\$", "(?s).*#### ", "\.$"; then ignore_case. It is
// compared with what a filter took: of letters only ASCII's matter then, and no line feed, before
// which "$" would match, too, has to be found equal to anything.
static void normalize(const char *text, base_str *out) {
    for (; *text != '\0'; text++) {
        if (*text != ',' && *text != '$')
            base_str_add(out, text, 1);
    }
    if (out->len == 0)
        return;
    char *rest = out->data;
    for (char *mark; (mark = strstr(rest, MARK)) != NULL;)
        rest = mark + MARK_BYTES;
    size_t len = strlen(rest);
    memmove(out->data, rest, len);
    if (len > 0 && out->data[len - 1] == '.')
        len--;
    out->len = len;
    out->data[len] = '\0';
    for (size_t i = 0; i < len; i++)
        out->data[i] = lower(out->data[i]);
}

bool measure_gsm8k_matches(const char *extracted, const char *answer) {
    base_str a = {0}, b = {0};
    normalize(extracted, &a);
    normalize(answer, &b);
    bool same = a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
    base_str_free(&a);
    base_str_free(&b);
    return same;
}
