// Decimal numbers of any length, as bounds are written.
#ifndef GRAMMAR_DECIMAL_H
#define GRAMMAR_DECIMAL_H

#include "base/base.h"
#include <stdbool.h>

enum { DECIMAL_MAX_DIGITS = 420 }; // doubles reach from 1e-324 to 1e308

typedef struct decimal {
    bool negative; // not of zero
    bool real;     // it was written with a fraction or an exponent
    int n_whole, n_fraction;
    // The digits before the point, at least one and no zero in front but the only one, then those
    // after it, without zeros at the end.
    char digits[2 * DECIMAL_MAX_DIGITS + 1]; // one more: rounding may carry
} decimal;

// JSON's numbers. False for anything else, and for more digits than there is room for.
bool decimal_parse(decimal *out, const char *text);
bool decimal_is_zero(const decimal *d);
int decimal_compare(const decimal *a, const decimal *b); // < 0, 0, > 0
// Digits between the first and the last that is not zero.
int decimal_significant(const decimal *d);
// The nearest number of `n` significant digits that is not below / not above in magnitude.
void decimal_round(decimal *d, int n, bool up);

#endif
