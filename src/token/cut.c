// The cuts before the pattern, as in the reference tokenizer's Python: every 400,000 code points,
// and inside such a stretch after 25,000 consecutive characters that are all whitespace, or all
// not, in the sense of str.isspace.
#include "token/split.h"
#include "token/unicode.h"

enum { MAX_CHARS = 400000, MAX_RUN = 25000 };

const unsigned char *token_cut(const unsigned char *p, const unsigned char *end,
                               size_t *chars_left) {
    if (*chars_left == 0)
        *chars_left = MAX_CHARS;
    size_t bytes = (size_t)(end - p);
    if (bytes <= MAX_RUN && bytes <= *chars_left)
        return end; // the usual text is too short for any cut
    unsigned kind = 0;
    size_t run = 0;
    while (p < end && *chars_left != 0) {
        unsigned bits;
        int len = token_class_read(p, end, &bits);
        bits &= TOKEN_PYSPACE;
        if (run > 0 && bits == kind) {
            if (run == MAX_RUN)
                return p;
            run++;
        } else {
            kind = bits;
            run = 1;
        }
        p += len;
        (*chars_left)--;
    }
    return p;
}
