// Character classes of the tokenizer's pattern, and reading UTF-8 code point by code point.
#ifndef TOKEN_UNICODE_H
#define TOKEN_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum {
    TOKEN_UPPER = 1,    // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
    TOKEN_LOWER = 2,    // [\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
    TOKEN_LETTER = 4,   // \p{L}
    TOKEN_NUMBER = 8,   // \p{N}
    TOKEN_HAN = 16,     // \p{Han}, that is Script=Han
    TOKEN_SPACE = 32,   // \s, that is White_Space
    TOKEN_PYSPACE = 64, // Python's str.isspace: White_Space and U+001C..U+001F
};

// Two-stage table, generated: the block of a code point, then its bits.
enum { TOKEN_UNICODE_SHIFT = 7, TOKEN_UNICODE_MASK = 127 };
extern const uint8_t token_unicode_block[0x110000 >> TOKEN_UNICODE_SHIFT];
extern const uint8_t token_unicode_bits[][TOKEN_UNICODE_MASK + 1];

static inline unsigned token_class(uint32_t code) { // code < 0x110000
    return token_unicode_bits[token_unicode_block[code >> TOKEN_UNICODE_SHIFT]]
                             [code & TOKEN_UNICODE_MASK];
}

// A byte that is not part of valid UTF-8 is read as a character of its own, in no class: the
// pattern sees it as it sees punctuation.
enum { TOKEN_BAD_BYTE = 0x110000 };

// Reads the character at p < end into `code` and returns its length in bytes, 1 to 4. Overlong
// forms, surrogates and values over 0x10ffff are not valid.
static inline int token_utf8_read(const unsigned char *p, const unsigned char *end,
                                  uint32_t *code) {
    uint32_t a = p[0];
    size_t left = (size_t)(end - p);
    if (a < 0x80) {
        *code = a;
        return 1;
    }
    if (a >= 0xc2 && a < 0xe0 && left >= 2 && (p[1] & 0xc0) == 0x80) {
        *code = (a & 0x1f) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (a >= 0xe0 && a < 0xf0 && left >= 3 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80) {
        uint32_t c = (a & 0x0f) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        if (c >= 0x800 && (c < 0xd800 || c > 0xdfff)) {
            *code = c;
            return 3;
        }
    }
    if (a >= 0xf0 && a < 0xf5 && left >= 4 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 &&
        (p[3] & 0xc0) == 0x80) {
        uint32_t c = (a & 0x07) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
        if (c >= 0x10000 && c <= 0x10ffff) {
            *code = c;
            return 4;
        }
    }
    *code = TOKEN_BAD_BYTE;
    return 1;
}

// As above, giving the class bits.
static inline int token_class_read(const unsigned char *p, const unsigned char *end,
                                   unsigned *bits) {
    uint32_t code;
    int len = token_utf8_read(p, end, &code);
    *bits = code == TOKEN_BAD_BYTE ? 0 : token_class(code);
    return len;
}

#endif
