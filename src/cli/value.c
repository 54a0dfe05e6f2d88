// A value's text -> the value, with the ranges of its row.
#include "cli/options.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool word_among(const char *words, const char *text) {
    size_t len = strlen(text);
    for (const char *p = words; p != NULL;) {
        const char *bar = strchr(p, '|');
        size_t n = bar != NULL ? (size_t)(bar - p) : strlen(p);
        if (n == len && memcmp(p, text, n) == 0)
            return true;
        p = bar != NULL ? bar + 1 : NULL;
    }
    return false;
}

static void words_list(const char *words, base_str *out) {
    for (const char *p = words; *p != '\0'; p++) {
        if (*p == '|')
            base_str_adds(out, ", ");
        else
            base_str_add(out, p, 1);
    }
}

static int fail_choice(const cli_row *row, const char *text, const char *what, base_err *err) {
    base_str words = {0};
    words_list(row->words, &words);
    int rc = base_fail(err, BASE_ERR_USAGE, "%s: '%s' is not one of %s", what, text, words.data);
    base_str_free(&words);
    return rc;
}

static int parse_choice(const cli_row *row, const char *text, const char *what, base_err *err) {
    if (word_among(row->words, text))
        return 0;
    if (row->later != NULL && word_among(row->later, text))
        return base_fail(err, BASE_ERR_USAGE, "%s: '%s' is not available in this version", what,
                         text);
    return fail_choice(row, text, what, err);
}

static int fail_number(const cli_row *row, const char *text, const char *what, base_err *err) {
    const char *kind = row->type == CLI_FLOAT   ? "a number"
                       : row->type == CLI_COUNT ? "an integer (32k, 32K, 1M are fine)"
                                                : "an integer";
    base_str words = {0};
    if (row->words != NULL) {
        base_str_adds(&words, " or ");
        words_list(row->words, &words);
    }
    int rc = base_fail(err, BASE_ERR_USAGE, "%s: '%s' is not %s%s", what, text, kind,
                       words.data != NULL ? words.data : "");
    base_str_free(&words);
    return rc;
}

static int fail_range(const cli_row *row, double number, const char *text, const char *what,
                      base_err *err) {
    if (row->high >= 0x1p53) // so much that only one end is worth telling
        return base_fail(err, BASE_ERR_USAGE, "%s: %s is %s than %.0f", what, text,
                         number < row->low ? "less" : "more",
                         number < row->low ? row->low : row->high);
    return base_fail(err, BASE_ERR_USAGE, "%s: %s is not between %.10g and %.10g", what, text,
                     row->low, row->high);
}

static int parse_bool(cli_value *value, const char *text, const char *what, base_err *err) {
    if (word_among("1|true|True|yes|on", text))
        value->flag = true;
    else if (word_among("0|false|False|no|off", text))
        value->flag = false;
    else
        return base_fail(err, BASE_ERR_USAGE, "%s: '%s' is neither true nor false", what, text);
    return 0;
}

// As vLLM: a lower-case suffix is a power of 1,000 and may follow a fraction, an upper-case one a
// power of 1,024.
static bool parse_count(const char *text, int64_t *out) {
    static const char suffixes[] = "kmgt";
    size_t len = strlen(text);
    if (base_parse_i64(text, INT64_MIN, INT64_MAX, out))
        return true;
    char digits[32];
    if (len < 2 || len > sizeof digits)
        return false;
    char last = text[len - 1];
    bool upper = last >= 'A' && last <= 'Z';
    const char *suffix = strchr(suffixes, upper ? last - 'A' + 'a' : last);
    if (suffix == NULL || *suffix == '\0')
        return false;
    memcpy(digits, text, len - 1);
    digits[len - 1] = '\0';
    int64_t factor = 1;
    for (const char *p = suffixes; p <= suffix; p++)
        factor *= upper ? 1024 : 1000;
    if (base_parse_i64(digits, INT64_MIN, INT64_MAX, out))
        return !__builtin_mul_overflow(*out, factor, out);
    double fraction;
    if (upper || strspn(digits, "0123456789.") != strlen(digits) ||
        !base_parse_f64(digits, 0.0, 0x1p53, &fraction))
        return false;
    double product = round(fraction * (double)factor);
    if (product > 0x1p53 || fabs(product - fraction * (double)factor) > 1e-6)
        return false;
    *out = (int64_t)product;
    return true;
}

static int parse_integer(cli_value *value, const cli_row *row, const char *text, const char *what,
                         base_err *err) {
    if (row->words != NULL && word_among(row->words, text)) {
        value->integer = -1;
        return 0;
    }
    int64_t n;
    bool ok = row->type == CLI_COUNT ? parse_count(text, &n)
                                     : base_parse_i64(text, INT64_MIN, INT64_MAX, &n);
    if (!ok)
        return fail_number(row, text, what, err);
    if ((double)n < row->low || (double)n > row->high)
        return fail_range(row, (double)n, text, what, err);
    value->integer = n;
    return 0;
}

static int parse_float(cli_value *value, const cli_row *row, const char *text, const char *what,
                       base_err *err) {
    double x;
    if (row->words != NULL && word_among(row->words, text)) {
        value->number = INFINITY;
        return 0;
    }
    if (!base_parse_f64(text, -INFINITY, INFINITY, &x))
        return fail_number(row, text, what, err);
    if (x < row->low || x > row->high)
        return fail_range(row, x, text, what, err);
    value->number = x;
    return 0;
}

static int parse_ids(cli_value *value, const cli_row *row, const char *text, const char *what,
                     base_err *err) {
    char *copy = base_strdup(text);
    int rc = 0;
    for (char *p = copy, *next; p != NULL && rc == 0; p = next) {
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        p += strspn(p, " ");
        for (size_t len = strlen(p); len > 0 && p[len - 1] == ' '; len--)
            p[len - 1] = '\0';
        int64_t id;
        if (!base_parse_i64(p, (int64_t)row->low, (int64_t)row->high, &id))
            rc = base_fail(err, BASE_ERR_USAGE, "%s: '%s' is not a token id", what, p);
        else
            base_ids_add(&value->ids, (int32_t)id);
    }
    base_free(copy);
    return rc;
}

int cli_value_parse(cli_value *value, const cli_row *row, const char *text, const char *what,
                    base_err *err) {
    if (row->refusal != NULL)
        return base_fail(err, BASE_ERR_USAGE, "%s: %s", what, row->refusal);
    int rc = 0;
    switch (row->type) {
    case CLI_BOOL:
        rc = parse_bool(value, text, what, err);
        break;
    case CLI_INT:
    case CLI_COUNT:
        rc = parse_integer(value, row, text, what, err);
        break;
    case CLI_FLOAT:
        rc = parse_float(value, row, text, what, err);
        break;
    case CLI_CHOICE:
        rc = parse_choice(row, text, what, err);
        break;
    case CLI_STRING:
        break;
    case CLI_STRINGS:
    case CLI_WORDS:
        value->list = base_realloc(value->list, (size_t)(value->n_list + 1) * sizeof *value->list);
        value->list[value->n_list++] = text;
        break;
    case CLI_IDS:
        rc = parse_ids(value, row, text, what, err);
        break;
    }
    if (rc == 0) {
        value->text = text;
        value->present = true;
    }
    return rc;
}

void cli_value_free(cli_value *value) {
    base_free(value->list);
    base_ids_free(&value->ids);
}
