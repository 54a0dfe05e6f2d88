// Where a text is cut before byte pairs are merged.
#ifndef TOKEN_SPLIT_H
#define TOKEN_SPLIT_H

#include <stddef.h>

// The end of the first part of [p, end), p < end: parts are tokenised each by itself, so that even
// the pattern's look-ahead stops there. `chars_left` counts the code points up to the next cut of
// the first kind; zero-initialise it before the first part of a text.
const unsigned char *token_cut(const unsigned char *p, const unsigned char *end,
                               size_t *chars_left);

// The end of the first match of the pattern in [p, end), p < end. It starts at p: every character
// is matched by some alternative.
const unsigned char *token_split(const unsigned char *p, const unsigned char *end);

#endif
