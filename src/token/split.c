// The pattern of the Kimi tokenizer, written out by hand. Its eight alternatives are tried in this
// order at each place, each greedy with backtracking (U is UPPER and L is LOWER of unicode.h):
//
//   1  [\p{Han}]+
//   2  [^\r\n\p{L}\p{N}]? U* L+ (?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   3  [^\r\n\p{L}\p{N}]? U+ L* (?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   4  \p{N}{1,3}
//   5   ?[^\s\p{L}\p{N}]+[\r\n]*
//   6  \s*[\r\n]+
//   7  \s+(?!\S)
//   8  \s+
//
// What backtracking would find is worked out from one look along the run, so the time is linear: no
// character is looked at more than a few times.
#include "token/split.h"
#include "token/unicode.h"
#include <stdbool.h>

typedef const unsigned char *place;

static bool is_newline(place p, place end) {
    return p < end && (*p == '\r' || *p == '\n');
}

// The end of the run of characters with a bit of `any` and none of `none`.
static place run_end(place p, place end, unsigned any, unsigned none) {
    while (p < end) {
        unsigned bits;
        int len = token_class_read(p, end, &bits);
        if ((any && !(bits & any)) || (bits & none))
            break;
        p += len;
    }
    return p;
}

// The end of an optional contraction at p. Case folding is Unicode's, in which U+017F is an s.
static place contraction_end(place p, place end) {
    if (end - p < 2 || p[0] != '\'')
        return p;
    unsigned char a = p[1] | 0x20, b = end - p > 2 ? p[2] | 0x20 : 0;
    if (p[1] < 0x80 && (a == 's' || a == 't' || a == 'm' || a == 'd'))
        return p + 2;
    if (p[1] == 0xc5 && end - p > 2 && p[2] == 0xbf)
        return p + 3;
    bool two = p[1] < 0x80 && b < 0x80 &&
               ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'));
    return two ? p + 3 : p;
}

// Alternative 2 without its prefix: U* takes a whole run, then gives back characters until L+ can
// start. NULL when it cannot.
static place lower_word_end(place p, place end) {
    place lower_end = NULL; // behind the last character of the run that L+ could start at
    while (p < end) {
        unsigned bits;
        int len = token_class_read(p, end, &bits);
        if (!(bits & TOKEN_UPPER)) {
            if (bits & TOKEN_LOWER)
                lower_end = run_end(p + len, end, TOKEN_LOWER, 0);
            break;
        }
        p += len;
        if (bits & TOKEN_LOWER)
            lower_end = p;
    }
    return lower_end ? contraction_end(lower_end, end) : NULL;
}

// Alternative 3 without its prefix.
static place upper_word_end(place p, place end) {
    place after = run_end(p, end, TOKEN_UPPER, 0);
    if (after == p)
        return NULL;
    return contraction_end(run_end(after, end, TOKEN_LOWER, 0), end);
}

// Alternatives 2 and 3 at p, whose first character has class `bits` and length `len`; NULL when
// neither matches.
static place word_end(place p, place end, unsigned bits, int len) {
    bool prefix = !(bits & (TOKEN_LETTER | TOKEN_NUMBER)) && !is_newline(p, end);
    bool letter = bits & (TOKEN_UPPER | TOKEN_LOWER);
    place found = NULL;
    if (prefix)
        found = lower_word_end(p + len, end);
    if (!found && letter)
        found = lower_word_end(p, end);
    if (!found && prefix)
        found = upper_word_end(p + len, end);
    if (!found && letter)
        found = upper_word_end(p, end);
    return found;
}

static place number_end(place p, place end) {
    for (int i = 0; i < 3 && p < end; i++) {
        unsigned bits;
        int len = token_class_read(p, end, &bits);
        if (!(bits & TOKEN_NUMBER))
            break;
        p += len;
    }
    return p;
}

// Alternative 5; NULL when it does not match.
static place punctuation_end(place p, place end) {
    place start = *p == ' ' ? p + 1 : p;
    place after = run_end(start, end, 0, TOKEN_SPACE | TOKEN_LETTER | TOKEN_NUMBER);
    if (after == start)
        return NULL;
    while (is_newline(after, end))
        after++;
    return after;
}

// Alternatives 6 to 8 at p, which is whitespace.
static place space_end(place p, place end) {
    place newline_end = NULL, last = p, after = p;
    while (after < end) {
        unsigned bits;
        int len = token_class_read(after, end, &bits);
        if (!(bits & TOKEN_SPACE))
            break;
        last = after;
        after += len;
        if (is_newline(last, end))
            newline_end = after;
    }
    if (newline_end)
        return newline_end;
    // (?!\S) gives the last one back, unless the text ends or there is only one.
    return after == end || last == p ? after : last;
}

const unsigned char *token_split(const unsigned char *p, const unsigned char *end) {
    unsigned bits;
    int len = token_class_read(p, end, &bits);
    if (bits & TOKEN_HAN)
        return run_end(p + len, end, TOKEN_HAN, 0);
    place found = word_end(p, end, bits, len);
    if (found)
        return found;
    if (bits & TOKEN_NUMBER)
        return number_end(p, end);
    found = punctuation_end(p, end);
    return found ? found : space_end(p, end);
}
