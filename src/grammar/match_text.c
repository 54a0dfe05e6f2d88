// The inside of JSON strings as two small automata.
#include "grammar/trie.h"
#include <string.h>

enum {
    IN = MATCH_TEXT_IN,
    TAIL1, // bytes of a character that are still to come
    TAIL2,
    TAIL3,
    AFTER_E0, // first bytes after which not every second one is allowed
    AFTER_ED,
    AFTER_F0,
    AFTER_F4,
    ESCAPE, // after a backslash
    HEX4,   // after \u
    HEX3,   // hexadecimal digits that are still to come
    HEX2,
    HEX1,
    ZERO1, // after \u0, \u00, \u000
    ZERO2,
    ZERO3,
    HALF,   // after \ud
    HIGH2,  // digits of a high surrogate that are still to come
    HIGH1,  //
    LOW,    // after a high surrogate: \ is wanted,
    LOW_U,  // u
    LOW_D,  // d
    LOW_CF, // c to f
    N_STATES,
};

_Static_assert((int)N_STATES <= (int)MATCH_TEXT_STATES, "states of text");
_Static_assert((int)ESCAPE == (int)MATCH_TEXT_PLAIN, "states of plain text");

static void set(match_text *t, int from, int first, int last, int to) {
    for (int c = first; c <= last; c++)
        t->next[from][c] = (int16_t)to;
}

static void set_each(match_text *t, int from, const char *bytes, int to) {
    for (; *bytes; bytes++)
        t->next[from][(unsigned char)*bytes] = (int16_t)to;
}

static void set_plain(match_text *t) {
    memset(t->next, MATCH_TEXT_DEAD, sizeof t->next);
    set(t, IN, 0x20, 0x7f, IN);
    t->next[IN]['"'] = MATCH_TEXT_CLOSE;
    t->next[IN]['\\'] = ESCAPE;
    set(t, IN, 0xc2, 0xdf, TAIL1);
    set(t, IN, 0xe1, 0xef, TAIL2);
    set(t, IN, 0xf1, 0xf3, TAIL3);
    t->next[IN][0xe0] = AFTER_E0;
    t->next[IN][0xed] = AFTER_ED;
    t->next[IN][0xf0] = AFTER_F0;
    t->next[IN][0xf4] = AFTER_F4;
    set(t, TAIL1, 0x80, 0xbf, IN);
    set(t, TAIL2, 0x80, 0xbf, TAIL1);
    set(t, TAIL3, 0x80, 0xbf, TAIL2);
    set(t, AFTER_E0, 0xa0, 0xbf, TAIL1);
    set(t, AFTER_ED, 0x80, 0x9f, TAIL1);
    set(t, AFTER_F0, 0x90, 0xbf, TAIL2);
    set(t, AFTER_F4, 0x80, 0x8f, TAIL2);
}

void match_text_value(match_text *t) {
    static const char hex[] = "0123456789abcdefABCDEF";
    set_plain(t);
    set_each(t, ESCAPE, "\"\\/bfnrt", IN);
    t->next[ESCAPE]['u'] = HEX4;
    set_each(t, HEX4, hex, HEX3);
    set_each(t, HEX3, hex, HEX2);
    set_each(t, HEX2, hex, HEX1);
    set_each(t, HEX1, hex, IN);
    t->next[HEX4]['0'] = ZERO1;
    set_each(t, ZERO1, hex, HEX2);
    t->next[ZERO1]['0'] = ZERO2;
    set_each(t, ZERO2, hex, HEX1);
    t->next[ZERO2]['0'] = ZERO3;
    set_each(t, ZERO3, hex + 1, IN);
    set_each(t, HEX4, "dD", HALF);
    set_each(t, HALF, "01234567", HEX2);
    set_each(t, HALF, "89abAB", HIGH2);
    set_each(t, HIGH2, hex, HIGH1);
    set_each(t, HIGH1, hex, LOW);
    t->next[LOW]['\\'] = LOW_U;
    t->next[LOW_U]['u'] = LOW_D;
    set_each(t, LOW_D, "dD", LOW_CF);
    set_each(t, LOW_CF, "cdefCDEF", HEX2);
}

void match_text_lenient(match_text *t) {
    static const char hex[] = "0123456789abcdefABCDEF";
    set_plain(t);
    set_each(t, ESCAPE, "\"\\/bfnrt", IN);
    t->next[ESCAPE]['u'] = HEX4;
    for (int state = HEX4; state < HEX1; state++)
        set_each(t, state, hex, state + 1);
    set_each(t, HEX1, hex, IN);
}

void match_text_key(match_text *t) {
    set_plain(t);
    set_each(t, ESCAPE, "\"\\bfnrt", IN);
    t->next[ESCAPE]['u'] = HEX4;
    t->next[HEX4]['0'] = ZERO1;
    t->next[ZERO1]['0'] = ZERO2;
    t->next[ZERO2]['0'] = ZERO3;
    t->next[ZERO2]['1'] = HEX1;
    set_each(t, ZERO3, "1234567bef", IN);
    set_each(t, HEX1, "0123456789abcdef", IN);
}
