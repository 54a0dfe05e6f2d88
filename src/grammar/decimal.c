#include "grammar/decimal.h"

#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Leaves out what zeros say nothing: in front of the number and at the end of its fraction.
static void normalise(decimal *d) {
    int front = 0;
    while (front < d->n_whole - 1 && d->digits[front] == '0')
        front++;
    memmove(d->digits, d->digits + front, (size_t)(d->n_whole + d->n_fraction - front));
    d->n_whole -= front;
    while (d->n_fraction > 0 && d->digits[d->n_whole + d->n_fraction - 1] == '0')
        d->n_fraction--;
    if (decimal_is_zero(d))
        d->negative = false;
}

// Moves the point by `exponent` digits to the right.
static bool shift(decimal *d, int exponent) {
    int total = d->n_whole + d->n_fraction, whole = d->n_whole + exponent;
    int zeros = whole < 1 ? 1 - whole : 0; // in front, so that one digit stands before the point
    int length = total + zeros > whole + zeros ? total + zeros : whole + zeros;
    if (whole + zeros > DECIMAL_MAX_DIGITS || length - (whole + zeros) > DECIMAL_MAX_DIGITS)
        return false;
    memmove(d->digits + zeros, d->digits, (size_t)total);
    memset(d->digits, '0', (size_t)zeros);
    if (length > total + zeros)
        memset(d->digits + total + zeros, '0', (size_t)(length - total - zeros));
    d->n_whole = whole + zeros;
    d->n_fraction = length - d->n_whole;
    return true;
}

static bool take_digits(decimal *d, const char **at, int *count) {
    for (*count = 0; is_digit(**at); (*at)++, (*count)++) {
        if (d->n_whole + d->n_fraction + *count == DECIMAL_MAX_DIGITS)
            return false;
        d->digits[d->n_whole + d->n_fraction + *count] = **at;
    }
    return *count > 0;
}

static bool take_exponent(const char **at, int *out) {
    bool negative = **at == '-';
    *at += negative || **at == '+';
    if (!is_digit(**at))
        return false;
    for (*out = 0; is_digit(**at); (*at)++)
        *out = *out > 10000 ? *out : *out * 10 + (**at - '0');
    *out = negative ? -*out : *out;
    return true;
}

bool decimal_parse(decimal *out, const char *text) {
    const char *at = text;
    int exponent = 0, count;
    *out = (decimal){.negative = *at == '-'};
    at += out->negative;
    bool leading_zero = at[0] == '0' && is_digit(at[1]);
    if (leading_zero || !take_digits(out, &at, &count))
        return false;
    out->n_whole = count;
    if (*at == '.') {
        at++;
        if (!take_digits(out, &at, &count))
            return false;
        out->n_fraction = count;
        out->real = true;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (!take_exponent(&at, &exponent))
            return false;
        out->real = true;
    }
    if (*at != '\0')
        return false;
    normalise(out);
    if (decimal_is_zero(out))
        exponent = 0;
    if (exponent != 0 && !shift(out, exponent))
        return false;
    normalise(out);
    return true;
}

bool decimal_is_zero(const decimal *d) {
    return d->n_fraction == 0 && d->n_whole == 1 && d->digits[0] == '0';
}

static int compare_magnitudes(const decimal *a, const decimal *b) {
    if (a->n_whole != b->n_whole)
        return a->n_whole < b->n_whole ? -1 : 1;
    int n_a = a->n_whole + a->n_fraction, n_b = b->n_whole + b->n_fraction;
    int order = memcmp(a->digits, b->digits, (size_t)(n_a < n_b ? n_a : n_b));
    return order != 0 ? order : n_a - n_b;
}

int decimal_compare(const decimal *a, const decimal *b) {
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    return a->negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

static int first_significant(const decimal *d) {
    int i = 0;
    while (i < d->n_whole + d->n_fraction && d->digits[i] == '0')
        i++;
    return i;
}

int decimal_significant(const decimal *d) {
    int last = d->n_whole + d->n_fraction;
    while (last > 0 && d->digits[last - 1] == '0')
        last--;
    int first = first_significant(d);
    return last > first ? last - first : 0;
}

void decimal_round(decimal *d, int n, bool up) {
    if (decimal_significant(d) <= n)
        return;
    int cut = first_significant(d) + n, total = d->n_whole + d->n_fraction;
    memset(d->digits + cut, '0', (size_t)(total - cut));
    int i = cut - 1;
    while (up && i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (up && i >= 0)
        d->digits[i]++;
    if (up && i < 0) { // 99.9 has become 100
        memmove(d->digits + 1, d->digits, (size_t)total);
        d->digits[0] = '1';
        d->n_whole++;
    }
    normalise(d);
}
