// Texts as JSON strings: the automaton of a text's spelling beside the one of the text.
#include "grammar/draft.h"

#include <string.h>

// Where a spelling stands: before the quote, in the text (inside a UTF-8 character from IN_TEXT + 1
// on), in an escape, or after the closing quote.
enum {
    BEFORE,
    AFTER,
    BACKSLASH,
    HEX_1,      // \u
    HEX_2,      // \u0
    HEX_3,      // \u00
    HEX_4_LOW,  // \u000
    HEX_4_HIGH, // \u001
    IN_TEXT,
};

static uint64_t key_of(int place, int32_t state) {
    return (uint64_t)place << 32 | (uint32_t)state;
}

// The character that backslash and `byte` spell, or -1.
static int short_escape(unsigned char byte) {
    switch (byte) {
    case '"':
    case '\\':
        return byte;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return -1;
    }
}

// The control character that \u00 HIGH and the digit `byte` spell, where there is no shorter way.
static int hex_escape(int high, unsigned char byte) {
    int digit = byte >= '0' && byte <= '9'   ? byte - '0'
                : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                                             : -1;
    int c = high * 16 + digit;
    bool has_short = c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t';
    return digit < 0 || has_short ? -1 : c;
}

// Whether an escape that has come to `place` can be finished: states without a use would only be
// made to be removed.
static bool may_escape(const grammar_dfa *d, int place, int32_t state) {
    for (int c = 0; c < 0x20; c++) {
        bool has_short = c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t';
        bool fits = place == BACKSLASH ||
                    (!has_short && (place < HEX_4_LOW || c >> 4 == (place == HEX_4_HIGH)));
        if (fits && grammar_dfa_step(d, state, (unsigned char)c) != GRAMMAR_DEAD)
            return true;
    }
    return place == BACKSLASH && (grammar_dfa_step(d, state, '"') != GRAMMAR_DEAD ||
                                  grammar_dfa_step(d, state, '\\') != GRAMMAR_DEAD);
}

// Where `byte` leads, as a key; false: nowhere.
static bool step(const grammar_dfa *d, uint64_t key, unsigned char byte, uint64_t *to) {
    int place = (int)(key >> 32), after = -1, spelled = -1;
    int32_t state = (int32_t)key;
    switch (place) {
    case BEFORE:
        after = byte == '"' ? IN_TEXT : -1;
        break;
    case AFTER:
        break;
    case BACKSLASH:
        spelled = short_escape(byte);
        after = byte == 'u' ? HEX_1 : -1;
        break;
    case HEX_1:
    case HEX_2:
        after = byte == '0' ? place + 1 : -1;
        break;
    case HEX_3:
        after = byte == '0' ? HEX_4_LOW : byte == '1' ? HEX_4_HIGH : -1;
        break;
    case HEX_4_LOW:
    case HEX_4_HIGH:
        spelled = hex_escape(place - HEX_4_LOW, byte);
        break;
    default:
        if (place == IN_TEXT && byte == '\\') {
            after = BACKSLASH;
        } else if (place == IN_TEXT && byte == '"') {
            *to = key_of(AFTER, 0); // one place to end, whatever the text was
            return d->accepts[state];
        } else if (byte >= 0x20) {
            int utf8 = grammar_utf8_step(place - IN_TEXT, byte);
            int32_t next = grammar_dfa_step(d, state, byte);
            *to = key_of(IN_TEXT + utf8, next);
            return utf8 != GRAMMAR_DEAD && next != GRAMMAR_DEAD;
        }
    }
    if (spelled >= 0) {
        after = IN_TEXT;
        state = grammar_dfa_step(d, state, (unsigned char)spelled);
    }
    *to = key_of(after, state);
    bool in_escape = after >= BACKSLASH && after <= HEX_4_HIGH;
    return after >= 0 && state != GRAMMAR_DEAD && (!in_escape || may_escape(d, after, state));
}

int grammar_dfa_quote(grammar_dfa **out, const grammar_dfa *d, base_err *err) {
    uint32_t traits[256] = {0};
    uint8_t symbols[256], bytes[256], roles[256]; // roles: in a UTF-8 character
    for (int b = 0; b < 256; b++)
        for (int state = 0; state < GRAMMAR_UTF8_STATES; state++)
            traits[b] = traits[b] * 9 + (uint32_t)(grammar_utf8_step(state, (unsigned char)b) + 1);
    grammar_symbols_make(roles, traits, bytes);
    for (int b = 0; b < 256; b++) {
        bool special = b > 0 && b < 0x80 && strchr("\"\\bfnrtu0123456789acde", b) != NULL;
        traits[b] = special ? 1u << 31 | (uint32_t)b
                            : (uint32_t)roles[b] << 9 | (uint32_t)(b < 0x20) << 8 | d->classes[b];
    }
    int n_symbols = grammar_symbols_make(symbols, traits, bytes);
    grammar_search search;
    grammar_search_start(&search, n_symbols, key_of(BEFORE, 0));
    for (int32_t s = 0; s < search.draft.n_states && !search.full && d->n_states > 0; s++) {
        uint64_t key = search.keys[s], to;
        search.full |= search.draft.n_states > GRAMMAR_MAX_STATES; // hardly any would be merged
        search.draft.accepts[s] = key >> 32 == AFTER;
        for (int c = 0; c < n_symbols; c++)
            if (step(d, key, bytes[c], &to))
                grammar_search_link(&search, s, c, to);
    }
    return grammar_search_finish(out, &search, symbols, err);
}
