// Numbers between bounds. A number is read digit by digit beside both bounds, of which it is so far
// below, equal or above; with a negative sign, the bounds are those of the magnitude.
//
// Clients compare doubles, this compares decimals. Where a bound may be reached that gives the same
// answers, because rounding keeps order. Where it may not, a number just beside it could be rounded
// to it: so numbers with a fraction have at most 15 significant digits, which a double tells apart,
// and such a bound has no more of them either.
#include "grammar/decimal.h"
#include "grammar/draft.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_WHOLE = 20,
    MAX_FRACTION = 17,
    MAX_SIGNIFICANT = 15,
    MAX_BOUND_DIGITS = 60,
    MAX_MULTIPLE = 4096,
};

// A bound of magnitudes.
typedef struct bound {
    bool present, open;
    decimal at;
} bound;

typedef struct span {
    bool possible; // whether any number has this sign
    bound low, high;
} span;

typedef struct reader {
    bool integer;
    int multiple; // 1: any
    int max_whole, max_fraction, max_significant;
    span spans[2]; // of numbers without and with a minus
} reader;

typedef enum { START, SIGN, ZERO, WHOLE, POINT, FRACTION } phase;

// What has been read of a number.
typedef struct place {
    phase phase;
    bool negative;
    int digits;      // in this part: before or after the point
    int significant; // digits that count in all
    int rest;        // of the division by `multiple`
    int low, high;   // -1, 0, 1: below, equal to, above the digits of the bounds so far
} place;

static uint64_t pack(const place *p) {
    return (uint64_t)p->phase | (uint64_t)p->negative << 3 | (uint64_t)p->digits << 4 |
           (uint64_t)p->significant << 12 | (uint64_t)p->rest << 20 | (uint64_t)(p->low + 1) << 36 |
           (uint64_t)(p->high + 1) << 38;
}

static place unpack(uint64_t key) {
    return (place){
        .phase = (phase)(key & 7),
        .negative = key >> 3 & 1,
        .digits = (int)(key >> 4 & 255),
        .significant = (int)(key >> 12 & 255),
        .rest = (int)(key >> 20 & 65535),
        .low = (int)(key >> 36 & 3) - 1,
        .high = (int)(key >> 38 & 3) - 1,
    };
}

// The order after one more digit; what is decided stays so, however the lengths turn out.
static int compare_digit(int so_far, const bound *b, int at, char digit) {
    if (!b->present || so_far != 0)
        return so_far;
    char other = at < b->at.n_whole + b->at.n_fraction ? b->at.digits[at] : '0';
    return (digit > other) - (digit < other);
}

// The order after the last digit before the point: a longer number is larger.
static int compare_whole(int so_far, const bound *b, int digits) {
    if (!b->present || digits == b->at.n_whole)
        return so_far;
    return digits < b->at.n_whole ? -1 : 1;
}

// The order after the last digit of all.
static int compare_end(int so_far, const bound *b, int fraction) {
    return b->present && so_far == 0 && fraction < b->at.n_fraction ? -1 : so_far;
}

static place end_whole(const reader *r, place p) {
    const span *s = &r->spans[p.negative];
    p.low = compare_whole(p.low, &s->low, p.digits);
    p.high = compare_whole(p.high, &s->high, p.digits);
    p.digits = 0;
    return p;
}

static bool may_end(const reader *r, place p) {
    const span *s = &r->spans[p.negative];
    if (p.phase == ZERO || p.phase == WHOLE)
        p = end_whole(r, p);
    else if (p.phase != FRACTION)
        return false;
    int low = compare_end(p.low, &s->low, p.digits), high = compare_end(p.high, &s->high, p.digits);
    bool above = !s->low.present || low > 0 || (low == 0 && !s->low.open);
    bool below = !s->high.present || high < 0 || (high == 0 && !s->high.open);
    return above && below && p.rest == 0;
}

static bool step_whole(const reader *r, place *p, char digit) {
    const span *s = &r->spans[p->negative];
    bool first = p->phase == START || p->phase == SIGN;
    if (p->phase == ZERO || p->digits == r->max_whole || !s->possible)
        return false;
    if (first)
        p->phase = digit == '0' ? ZERO : WHOLE;
    p->low = compare_digit(p->low, &s->low, p->digits, digit);
    p->high = compare_digit(p->high, &s->high, p->digits, digit);
    p->rest = (p->rest * 10 + (digit - '0')) % r->multiple;
    p->significant += !r->integer && (p->significant > 0 || digit != '0');
    if (p->significant > r->max_significant)
        p->significant = r->max_significant; // there can be no fraction, nor is it needed
    p->digits++;
    return true;
}

static bool step_fraction(const reader *r, place *p, char digit) {
    const span *s = &r->spans[p->negative];
    if (p->digits == r->max_fraction || p->significant == r->max_significant)
        return false;
    p->phase = FRACTION;
    if (s->low.present)
        p->low = compare_digit(p->low, &s->low, s->low.at.n_whole + p->digits, digit);
    if (s->high.present)
        p->high = compare_digit(p->high, &s->high, s->high.at.n_whole + p->digits, digit);
    p->significant += p->significant > 0 || digit != '0';
    p->digits++;
    return true;
}

static bool step(const reader *r, place *p, char c) {
    if (c == '-') {
        bool may = p->phase == START && r->spans[1].possible;
        p->phase = SIGN;
        p->negative = true;
        return may;
    }
    if (c == '.') {
        bool may = (p->phase == ZERO || p->phase == WHOLE) && !r->integer &&
                   p->significant < r->max_significant;
        *p = end_whole(r, *p);
        p->phase = POINT;
        return may;
    }
    return p->phase < POINT ? step_whole(r, p, c) : step_fraction(r, p, c);
}

static int read_numbers(grammar_dfa **out, const reader *r, base_err *err) {
    static const char characters[] = "-.0123456789";
    uint32_t traits[256] = {0};
    uint8_t symbols[256], bytes[256];
    for (const char *c = characters; *c != '\0'; c++)
        traits[(unsigned char)*c] = (unsigned char)*c;
    int n_symbols = grammar_symbols_make(symbols, traits, bytes);
    grammar_search search;
    place start = {.phase = START};
    grammar_search_start(&search, n_symbols, pack(&start));
    for (int32_t s = 0; s < search.draft.n_states && !search.full; s++) {
        place at = unpack(search.keys[s]);
        search.draft.accepts[s] = may_end(r, at);
        for (int c = 0; c < n_symbols; c++) {
            place next = at;
            if (traits[bytes[c]] != 0 && step(r, &next, (char)bytes[c]))
                grammar_search_link(&search, s, c, pack(&next));
        }
    }
    return grammar_search_finish(out, &search, symbols, err);
}

// ---------------------------------------------------------------------------------------------

// From 2^53 on a bound that was written as a real number is the double it is read as, and numbers
// without a fraction are compared with that: take whichever is stricter.
static int take_double(decimal *d, const char *text, bool is_min, base_err *err) {
    char exact[400];
    double value;
    decimal other;
    if (!d->real || d->n_whole <= MAX_SIGNIFICANT)
        return 0;
    if (!base_parse_f64(text, -DBL_MAX, DBL_MAX, &value))
        return base_fail(err, BASE_ERR_USAGE, "a bound that is out of range");
    snprintf(exact, sizeof exact, "%.10f", value);
    if (!decimal_parse(&other, exact))
        return base_fail(err, BASE_ERR_USAGE, "a bound that is out of range");
    int order = decimal_compare(&other, d);
    if (is_min ? order > 0 : order < 0)
        *d = other;
    return 0;
}

static int read_bound(bound *b, const char *text, bool open, bool is_min, base_err *err) {
    *b = (bound){.present = text != NULL, .open = open};
    if (text == NULL)
        return 0;
    if (!decimal_parse(&b->at, text))
        return base_fail(err, BASE_ERR_USAGE, "a bound that is no number or has too many digits");
    int rc = take_double(&b->at, text, is_min, err);
    if (rc == 0 && open && b->at.n_whole <= MAX_SIGNIFICANT)
        decimal_round(&b->at, MAX_SIGNIFICANT, is_min != b->at.negative);
    return rc;
}

// Which magnitudes the numbers of one sign have. -0 is as good as 0.
static span span_of(const bound *min, const bound *max, bool negative) {
    const bound *outer = negative ? min : max, *inner = negative ? max : min;
    bool wrong_side =
        outer->present && !decimal_is_zero(&outer->at) && outer->at.negative != negative;
    bool zero_left_out = outer->present && outer->open && decimal_is_zero(&outer->at);
    span s = {.possible = !wrong_side && !zero_left_out, .high = *outer, .low = *inner};
    bool inner_is_zero = inner->present && decimal_is_zero(&inner->at);
    if (inner->present && !inner_is_zero && inner->at.negative != negative)
        s.low = (bound){0}; // zero lies between: there is no lower bound
    return s;
}

// So many digits that something fits: more than usual when the bounds are far out.
static int count_digits(reader *r, const grammar_range *range, base_err *err) {
    r->max_whole = MAX_WHOLE;
    if (r->multiple > 100) // states are as many as rests times digits
        r->max_whole = base_max_int(8, 16384 / r->multiple);
    r->max_whole = base_min_int(r->max_whole, MAX_WHOLE);
    r->max_fraction = MAX_FRACTION;
    r->max_significant = MAX_SIGNIFICANT;
    for (int i = 0; i < 2; i++) {
        const span *s = &r->spans[i];
        if (!s->possible || !s->low.present)
            continue;
        int whole = s->low.at.n_whole + 1, zeros = 0;
        while (zeros < s->low.at.n_fraction && s->low.at.digits[s->low.at.n_whole + zeros] == '0')
            zeros++;
        if (whole > MAX_BOUND_DIGITS || (!range->integer && zeros > MAX_BOUND_DIGITS))
            return base_fail(err, BASE_ERR_USAGE, "a bound with too many digits");
        r->max_whole = base_max_int(r->max_whole, whole);
        bool small = s->high.present && s->high.at.n_whole == 1 && s->high.at.digits[0] == '0';
        if (small)
            r->max_fraction = base_max_int(r->max_fraction, zeros + 3);
    }
    return 0;
}

// Where nothing of at most 15 digits fits: the bounds themselves. (Not next to an open one, to
// which they might be rounded.)
static int spell_bounds(grammar_dfa **out, const bound *min, const bound *max, base_err *err) {
    char texts[2][DECIMAL_MAX_DIGITS * 2 + 4];
    const char *at[2];
    size_t lens[2], n = 0;
    const bound *bounds[2] = {min, max};
    for (int i = 0; i < 2; i++) {
        const decimal *d = &bounds[i]->at;
        const bound *other = bounds[1 - i];
        if (!bounds[i]->present || bounds[i]->open || d->n_whole + d->n_fraction > MAX_BOUND_DIGITS)
            continue;
        int order = other->present ? decimal_compare(d, &other->at) : 0;
        if (other->present && (other->open || (order != 0 && (i == 0) != (order < 0))))
            continue;
        snprintf(texts[n], sizeof texts[n], "%s%.*s%s%.*s", d->negative ? "-" : "", d->n_whole,
                 d->digits, d->n_fraction > 0 ? "." : "", d->n_fraction, d->digits + d->n_whole);
        at[n] = texts[n];
        lens[n] = strlen(texts[n]);
        n++;
    }
    return grammar_dfa_literals(out, at, lens, n, err);
}

static int read_between(grammar_dfa **out, const grammar_range *range, base_err *err) {
    bound min, max;
    int rc = read_bound(&min, range->min, range->min_open, true, err);
    if (rc == 0)
        rc = read_bound(&max, range->max, range->max_open, false, err);
    if (rc != 0)
        return rc;
    reader r = {.integer = range->integer,
                .multiple = range->multiple_of > 0 ? (int)range->multiple_of : 1};
    r.spans[0] = span_of(&min, &max, false);
    r.spans[1] = span_of(&min, &max, true);
    rc = count_digits(&r, range, err);
    if (rc == 0)
        rc = read_numbers(out, &r, err);
    if (rc != 0 || range->integer || !grammar_dfa_is_empty(*out))
        return rc;
    grammar_dfa_free(*out);
    return spell_bounds(out, &min, &max, err);
}

int grammar_dfa_number(grammar_dfa **out, const grammar_range *range, base_err *err) {
    static const char any[] = "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?";
    *out = NULL;
    if (range->multiple_of < 0 || range->multiple_of > MAX_MULTIPLE)
        return base_fail(err, BASE_ERR_USAGE, "a multiple that is not from 1 to %d", MAX_MULTIPLE);
    if (range->multiple_of > 0 && !range->integer)
        return base_fail(err, BASE_ERR_USAGE, "multiples of numbers that need not be integers");
    if (!range->integer && range->min == NULL && range->max == NULL)
        return grammar_dfa_regex(out, any, sizeof any - 1, 0, err);
    return read_between(out, range, err);
}
