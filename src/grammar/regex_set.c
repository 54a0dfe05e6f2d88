// Sets of code points, and the classes that dialects of regular expressions do not agree on.
#include "grammar/regex.h"

#include <stdlib.h>
#include <string.h>

void regex_set_free(regex_set *s) {
    base_free(s->ranges);
    *s = (regex_set){0};
}

void regex_set_add(regex_set *s, uint32_t first, uint32_t last) {
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 4 : s->cap * 2;
        s->ranges = base_realloc(s->ranges, (size_t)s->cap * 2 * sizeof *s->ranges);
    }
    s->ranges[2 * s->n] = first;
    s->ranges[2 * s->n + 1] = last;
    s->n++;
}

static int compare(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

void regex_set_tidy(regex_set *s) {
    if (s->n == 0)
        return;
    qsort(s->ranges, (size_t)s->n, 2 * sizeof *s->ranges, compare);
    int n = 1;
    for (int i = 1; i < s->n; i++) {
        uint32_t *last = &s->ranges[2 * n - 1], first = s->ranges[2 * i];
        if (first <= *last + 1) {
            *last = s->ranges[2 * i + 1] > *last ? s->ranges[2 * i + 1] : *last;
        } else {
            s->ranges[2 * n] = first;
            s->ranges[2 * n + 1] = s->ranges[2 * i + 1];
            n++;
        }
    }
    s->n = n;
}

void regex_set_invert(regex_set *s) {
    regex_set inverse = {0};
    uint32_t from = 0;
    for (int i = 0; i < s->n; i++) {
        if (s->ranges[2 * i] > from)
            regex_set_add(&inverse, from, s->ranges[2 * i] - 1);
        from = s->ranges[2 * i + 1] + 1;
    }
    if (from <= REGEX_MAX_CODE_POINT)
        regex_set_add(&inverse, from, REGEX_MAX_CODE_POINT);
    regex_set_free(s);
    *s = inverse;
}

void regex_set_drop_surrogates(regex_set *s) {
    regex_set_invert(s);
    regex_set_add(s, 0xd800, 0xdfff);
    regex_set_tidy(s);
    regex_set_invert(s);
}

// ---------------------------------------------------------------------------------------------

// The zeros of Unicode's decimal digits; the nine others follow.
static const uint32_t zeros[] = {
    0x30,    0x660,   0x6f0,   0x7c0,   0x966,   0x9e6,   0xa66,   0xae6,   0xb66,   0xbe6,
    0xc66,   0xce6,   0xd66,   0xde6,   0xe50,   0xed0,   0xf20,   0x1040,  0x1090,  0x17e0,
    0x1810,  0x1946,  0x19d0,  0x1a80,  0x1a90,  0x1b50,  0x1bb0,  0x1c40,  0x1c50,  0xa620,
    0xa8d0,  0xa900,  0xa9d0,  0xa9f0,  0xaa50,  0xabf0,  0xff10,  0x104a0, 0x10d30, 0x10d40,
    0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0,
    0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50, 0x11da0, 0x11de0, 0x11f50,
    0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec,
    0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
};

// Of ECMA-262 or of Python.
static const uint32_t spaces[][2] = {
    {0x1c, 0x1f},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff},
};

// What no dialect takes for a part of a word, now or with a later Unicode: blocks of punctuation,
// symbols and pictures. The rest of Unicode may be one.
static const uint32_t no_words[][2] = {
    {0x0, 0x2f},      {0x3a, 0x40},     {0x5b, 0x5e},     {0x60, 0x60},     {0x7b, 0xa9},
    {0xab, 0xb1},     {0xb4, 0xb4},     {0xb6, 0xb8},     {0xbb, 0xbb},     {0xbf, 0xbf},
    {0xd7, 0xd7},     {0xf7, 0xf7},     {0x2000, 0x203e}, {0x2041, 0x2053}, {0x2055, 0x205f},
    {0x20a0, 0x20c0}, {0x2190, 0x245f}, {0x2500, 0x2775}, {0x2794, 0x2bff}, {0x3000, 0x3004},
    {0x3008, 0x3020}, {0xfe30, 0xfe32}, {0xfe35, 0xfe4c}, {0xff01, 0xff0f}, {0x1f300, 0x1faff},
};

static void add_ranges(regex_set *s, const uint32_t (*ranges)[2], size_t n) {
    for (size_t i = 0; i < n; i++)
        regex_set_add(s, ranges[i][0], ranges[i][1]);
}

static void add_certain(regex_set *s, regex_class c) {
    switch (c) {
    case REGEX_WORD:
        regex_set_add(s, 'A', 'Z');
        regex_set_add(s, '_', '_');
        regex_set_add(s, 'a', 'z');
        regex_set_add(s, '0', '9');
        break;
    case REGEX_DIGIT:
        regex_set_add(s, '0', '9');
        break;
    case REGEX_SPACE:
        regex_set_add(s, '\t', '\r');
        regex_set_add(s, ' ', ' ');
        break;
    case REGEX_LINE_END:
        regex_set_add(s, '\n', '\n');
        break;
    }
}

static void add_possible(regex_set *s, regex_class c) {
    switch (c) {
    case REGEX_WORD: {
        regex_set words = {0};
        add_ranges(&words, no_words, sizeof no_words / sizeof *no_words);
        regex_set_invert(&words);
        for (int i = 0; i < words.n; i++)
            regex_set_add(s, words.ranges[2 * i], words.ranges[2 * i + 1]);
        regex_set_free(&words);
        break;
    }
    case REGEX_DIGIT:
        for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
            regex_set_add(s, zeros[i], zeros[i] + 9);
        break;
    case REGEX_SPACE:
        add_certain(s, c);
        add_ranges(s, spaces, sizeof spaces / sizeof *spaces);
        break;
    case REGEX_LINE_END:
        regex_set_add(s, '\n', '\n');
        regex_set_add(s, '\r', '\r');
        regex_set_add(s, 0x2028, 0x2029);
        break;
    }
}

static void add_inverse(regex_set *s, regex_class c, void (*add)(regex_set *, regex_class)) {
    regex_set inverse = {0};
    add(&inverse, c);
    regex_set_tidy(&inverse);
    regex_set_invert(&inverse);
    for (int i = 0; i < inverse.n; i++)
        regex_set_add(s, inverse.ranges[2 * i], inverse.ranges[2 * i + 1]);
    regex_set_free(&inverse);
}

void regex_class_add(regex_set *certain, regex_set *possible, regex_class c, bool negated) {
    if (negated) {
        add_inverse(certain, c, add_possible);
        add_inverse(possible, c, add_certain);
    } else {
        add_certain(certain, c);
        add_possible(possible, c);
    }
}
