// The cuts before the pattern, as in the reference tokenizer's Python: every 400,000 code points,
// and inside such a stretch after 25,000 consecutive characters that are all whitespace, or all
// not, in the sense of str.isspace.
#include "token/split.h"
#include "token/unicode.h"

const unsigned char *token_cut(token_encoder *encoder, const unsigned char *p,
                               const unsigned char *end) {
    token_encoder e = *encoder;
    const unsigned char *start = p;
    while (p < end) {
        unsigned bits;
        int len = token_class_read(p, end, &bits);
        unsigned kind = bits & TOKEN_PYSPACE;
        if (e.chars_left == 0 || (e.run == TOKEN_MAX_RUN && kind == e.kind)) {
            if (p > start)
                break; // a cut; the next part begins here
            if (e.chars_left == 0)
                e.chars_left = TOKEN_MAX_CHARS;
            e.run = 0;
        }
        e.run = kind == e.kind ? e.run + 1 : 1;
        e.kind = kind;
        e.chars_left--;
        p += len;
    }
    *encoder = e;
    return p;
}
