// Host names and mail addresses. Names have at most 253 bytes, and labels 63: to count both exactly
// takes as many states as their product. What is allowed here is less and keeps to both: four
// labels of up to 62 bytes, or eight of up to 30. Two hyphens in a row are left out, because such
// labels encode Unicode and may do so wrongly, and the last label begins with a letter, or the
// whole might be taken for an address.
#include "grammar/format.h"

#include <string.h>

enum { LONG_LABELS = 4, LONG_LABEL = 62, SHORT_LABELS = 8, SHORT_LABEL = 30, MAX_LOCAL = 64 };

typedef enum { LOCAL, LOCAL_DOT, AT_SIGN, LABEL, HYPHEN, DOT } part;

typedef struct place {
    part part;       // what the last byte was; the beginning is like after a dot
    int labels, len; // labels begun; bytes of this one, or of the local part
    bool is_long;    // one label has been
    bool letter;     // the label begins with one
} place;

static uint64_t pack(const place *p) {
    return (uint64_t)p->part | (uint64_t)p->labels << 8 | (uint64_t)p->len << 16 |
           (uint64_t)p->is_long << 24 | (uint64_t)p->letter << 25;
}

static place unpack(uint64_t key) {
    return (place){.part = (part)(key & 255),
                   .labels = (int)(key >> 8 & 255),
                   .len = (int)(key >> 16 & 255),
                   .is_long = key >> 24 & 1,
                   .letter = key >> 25 & 1};
}

static bool is_letter(unsigned char c) {
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

static bool is_alphanumeric(unsigned char c) {
    return is_letter(c) || (c >= '0' && c <= '9');
}

static bool is_symbol(unsigned char c) {
    return c != '\0' && strchr("!#$%&'*+/=?^_`{|}~-", c) != NULL;
}

static bool step_local(place *p, unsigned char c) {
    if (c == '@') {
        bool may = p->part == LOCAL;
        *p = (place){.part = AT_SIGN};
        return may;
    }
    if (c == '.') {
        bool may = p->part == LOCAL && p->len < MAX_LOCAL - 1;
        p->part = LOCAL_DOT;
        p->len++;
        return may;
    }
    p->part = LOCAL;
    return p->len++ < MAX_LOCAL && (is_alphanumeric(c) || is_symbol(c));
}

static bool step_host(place *p, unsigned char c) {
    if (c == '.') {
        bool may = p->part == LABEL && p->labels < (p->is_long ? LONG_LABELS : SHORT_LABELS);
        *p = (place){.part = DOT, .labels = p->labels, .is_long = p->is_long};
        return may;
    }
    if (p->len == 0) {
        p->labels++;
        p->letter = is_letter(c);
    }
    p->len++;
    p->is_long |= p->len > SHORT_LABEL;
    if (p->len > LONG_LABEL || (p->is_long && p->labels > LONG_LABELS))
        return false;
    bool may = c == '-' ? p->part == LABEL : is_alphanumeric(c);
    p->part = c == '-' ? HYPHEN : LABEL;
    return may;
}

int format_host(grammar_dfa **out, bool local, base_err *err) {
    uint32_t traits[256];
    uint8_t symbols[256], bytes[256];
    for (int c = 0; c < 256; c++) {
        unsigned char byte = (unsigned char)c;
        bool alone = c == '.' || c == '@' || c == '-' || is_symbol(byte);
        traits[c] = is_letter(byte) ? 1 : is_alphanumeric(byte) ? 2 : alone ? (uint32_t)c : 0;
        if (local && is_symbol(byte) && c != '-')
            traits[c] = '!'; // all that a local part has alone
    }
    int n_symbols = grammar_symbols_make(symbols, traits, bytes);
    grammar_search search;
    place start = {.part = local ? LOCAL_DOT : DOT};
    grammar_search_start(&search, n_symbols, pack(&start));
    for (int32_t s = 0; s < search.draft.n_states && !search.full; s++) {
        place at = unpack(search.keys[s]);
        search.draft.accepts[s] = at.part == LABEL && at.letter;
        for (int c = 0; c < n_symbols; c++) {
            place next = at;
            bool in_local = at.part == LOCAL || at.part == LOCAL_DOT;
            if (in_local ? step_local(&next, bytes[c]) : step_host(&next, bytes[c]))
                grammar_search_link(&search, s, c, pack(&next));
        }
    }
    return grammar_search_finish(out, &search, symbols, err);
}
