// UTF-8 for messages and JSON: what is well formed, and what may be shown on a terminal.
#include "base/str.h"

#include <string.h>

static size_t sequence_length(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

// The second byte carries the rules against overlong forms, surrogates and values past U+10FFFF.
static bool second_fits(unsigned char lead, unsigned char second) {
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

size_t base_utf8_next(const char *text, size_t len, bool *valid) {
    const unsigned char *p = (const unsigned char *)text;
    size_t need = len == 0 ? 0 : sequence_length(p[0]), have = 1;
    *valid = false;
    if (need == 0)
        return len == 0 ? 0 : 1;
    while (have < need && have < len &&
           (have == 1 ? second_fits(p[0], p[1]) : (p[have] & 0xc0) == 0x80))
        have++;
    *valid = have == need;
    return have;
}

void base_text_clean(char *text) {
    size_t len = strlen(text), at = 0;
    while (at < len) {
        bool valid;
        size_t n = base_utf8_next(text + at, len - at, &valid);
        unsigned char first = (unsigned char)text[at];
        bool c1 = n == 2 && valid && first == 0xc2 && (unsigned char)text[at + 1] < 0xa0;
        if (!valid && at + n == len && sequence_length(first) > n) {
            text[at] = '\0'; // a character that the end of the buffer cut in two
            return;
        }
        if (!valid || c1 || first < 0x20 || first == 0x7f)
            memset(text + at, '?', n);
        at += n;
    }
}
