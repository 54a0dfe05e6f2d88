// Where a text is cut before byte pairs are merged.
#ifndef TOKEN_SPLIT_H
#define TOKEN_SPLIT_H

#include "token/token.h"

enum { TOKEN_MAX_CHARS = 400000, TOKEN_MAX_RUN = 25000 };

// The end of the first part of [p, end), p < end: parts are tokenised each by itself, so that even
// the pattern's look-ahead stops there. The encoder counts on from text to text.
const unsigned char *token_cut(token_encoder *encoder, const unsigned char *p,
                               const unsigned char *end);

// The end of the first match of the pattern in [p, end), p < end. It starts at p: every character
// is matched by some alternative.
const unsigned char *token_split(const unsigned char *p, const unsigned char *end);

#endif
