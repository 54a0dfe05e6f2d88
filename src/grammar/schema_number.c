// Numbers: bounds and multiples of all places together.
#include "grammar/schema.h"

#include <inttypes.h>
#include <math.h>

typedef struct bound {
    const json_t *at; // NULL: none
    bool open;
} bound;

// Takes the bound that is tighter; `sign` 1: a lower one, -1: an upper one.
static void tighten(bound *b, const json_t *at, bool open, int sign) {
    if (!json_is_number(at))
        return;
    int order = b->at == NULL ? 1 : sign * schema_number_compare(at, b->at);
    if (order > 0 || (order == 0 && open))
        *b = (bound){at, open};
}

// An integer beyond 64 bits has been read as a real, which may lie outside of what it bounds: then
// the real half way to the next one inside is taken. Of 2^64 it is known what was meant.
static void add_large(base_str *out, double at, bool upper) {
    double inside = nextafter(at, upper ? -INFINITY : INFINITY);
    if (at == 0x1p64 && upper)
        base_str_adds(out, "18446744073709551615");
    else
        base_str_printf(out, "%.0Lf", ((long double)at + (long double)inside) / 2);
}

static char *bound_text(const bound *b, bool upper) {
    base_str out = {0};
    if (b->at != NULL && json_is_real(b->at) && fabs(json_real_value(b->at)) >= 0x1p63)
        add_large(&out, json_real_value(b->at), upper);
    else if (b->at != NULL)
        schema_value_text(b->at, false, &out);
    return out.data;
}

static int64_t common_multiple(int64_t a, int64_t b) {
    int64_t x = a, y = b;
    while (y != 0) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

static int collect(schema *s, const schema_set *places, bound *min, bound *max, int64_t *multiple) {
    int code = schema_work(s, (int64_t)places->len);
    for (size_t i = 0; i < places->len && code == 0; i++) {
        const json_t *at = s->places[places->data[i]].at;
        const json_t *over = json_object_get(at, "exclusiveMinimum");
        const json_t *under = json_object_get(at, "exclusiveMaximum");
        tighten(min, json_object_get(at, "minimum"), json_is_true(over), 1);
        tighten(min, over, true, 1);
        tighten(max, json_object_get(at, "maximum"), json_is_true(under), -1);
        tighten(max, under, true, -1);
        int64_t m = schema_multiple(at);
        int64_t both = m == 0 ? *multiple : *multiple == 0 ? m : common_multiple(m, *multiple);
        if (both > SCHEMA_MAX_MULTIPLE)
            code = schema_unsupported(s, places->data[i], "multipleOf",
                                      "with the other ones is a multiple of more than 4096");
        else
            *multiple = both;
    }
    return code;
}

int schema_number(schema *s, const schema_set *places, unsigned types, int32_t *out) {
    bound min = {0}, max = {0};
    grammar_range range = {0};
    *out = -1;
    int code = collect(s, places, &min, &max, &range.multiple_of);
    if (code != 0)
        return code;
    range.integer = (types & SCHEMA_FRACTION) == 0 || range.multiple_of > 0;
    range.min_open = min.open;
    range.max_open = max.open;
    char *low = bound_text(&min, false), *high = bound_text(&max, true);
    range.min = low;
    range.max = high;
    base_str key = {0};
    base_str_printf(&key, "%s,%s", low != NULL ? low : "", high != NULL ? high : "");
    schema_recipe r = {.kind = 'N',
                       .a = range.integer,
                       .b = range.min_open * 2 + range.max_open,
                       .c = range.multiple_of,
                       .bytes = key.data,
                       .len = key.len};
    int32_t dfa;
    if (!schema_dfa_find(s, &r, &dfa) && (code = schema_dfa_begin(s)) == 0) {
        grammar_dfa *made = NULL;
        base_err why = {0};
        bool fits = grammar_dfa_number(&made, &range, &why) == 0;
        code = schema_dfa_keep(s, &r, made, &dfa);
        if (code == 0 && !fits)
            code = schema_fail(s, places->len > 0 ? places->data[0] : 0, NULL, "numbers: %s",
                               why.message);
    }
    if (code == 0)
        code = schema_scalar(s, dfa, 0, out);
    base_free(low);
    base_free(high);
    base_str_free(&key);
    return code;
}
