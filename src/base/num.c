#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool base_parse_i64(const char *text, int64_t low, int64_t high, int64_t *out) {
    bool negative = *text == '-';
    const char *p = text + (*text == '-' || *text == '+');
    if (*p == '\0')
        return false;
    int64_t value = 0; // kept negative, where the range is larger by one
    for (; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *p - '0', &value))
            return false;
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, value, &value))
        return false;
    if (value < low || value > high)
        return false;
    *out = value;
    return true;
}

static const char *skip_digits(const char *p) {
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

// strtod alone would also take blanks, hexadecimal, "inf" and "nan".
static bool is_decimal(const char *p) {
    p += *p == '-' || *p == '+';
    const char *whole = p;
    p = skip_digits(p);
    bool digits = p > whole;
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        digits = digits || p > fraction;
    }
    if (digits && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '-' || *p == '+';
        const char *exponent = p;
        p = skip_digits(p);
        digits = p > exponent;
    }
    return digits && *p == '\0';
}

bool base_parse_f64(const char *text, double low, double high, double *out) {
    if (!is_decimal(text))
        return false;
    double value = strtod(text, NULL);
    if (!isfinite(value) || value < low || value > high)
        return false;
    *out = value;
    return true;
}

char *base_thousands(char out[32], int64_t n) {
    char digits[24];
    uint64_t magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)magnitude);
    char *p = out;
    if (n < 0)
        *p++ = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return out;
}
