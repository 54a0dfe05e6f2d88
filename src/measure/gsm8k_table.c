// What an evaluation found: scores, the table as lm-eval has it printed, and each question.
#include "measure/gsm8k_task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The mean, and the sample's standard deviation by the root of n, summed up in lm-eval's order.
void measure_gsm8k_get_score(const measure_gsm8k *e, measure_gsm8k_filter filter,
                             measure_gsm8k_score *out) {
    *out = (measure_gsm8k_score){.n = e->n_answered};
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < e->n; i++) {
        if (e->samples[i].state == GSM8K_ANSWERED)
            sum += e->samples[i].right[filter];
    }
    out->mean = sum / out->n;
    for (int i = 0; i < e->n; i++) {
        double off = e->samples[i].right[filter] - out->mean;
        if (e->samples[i].state == GSM8K_ANSWERED)
            squares += off * off;
    }
    out->standard_error = sqrt(squares / (out->n - 1)) / sqrt(out->n);
}

// ---------------------------------------------------------------------------------------------
// The table

enum { ROWS = MEASURE_GSM8K_FILTERS, CELL = 32 };

typedef struct column {
    char cells[ROWS][CELL];
    int width;
    bool numbers;
} column;

// Numbers are rounded to four decimals, and lose the zeros that all of a column end in.
static void make_column(column *c, const char *title, const double *values, bool known) {
    *c = (column){.width = (int)strlen(title), .numbers = known};
    int decimals = 0;
    for (int i = 0; i < ROWS && known; i++) {
        snprintf(c->cells[i], CELL, "%.4f", values[i]);
        int used = 4;
        for (size_t end = strlen(c->cells[i]); c->cells[i][--end] == '0';)
            used--;
        decimals = used > decimals ? used : decimals;
    }
    for (int i = 0; i < ROWS; i++) {
        if (!known)
            snprintf(c->cells[i], CELL, "   N/A");
        else if (decimals == 0)
            *strchr(c->cells[i], '.') = '\0';
        else
            strchr(c->cells[i], '.')[decimals + 1] = '\0';
        int width = (int)strlen(c->cells[i]);
        c->width = width > c->width ? width : c->width;
    }
}

static void add_times(char c, int n, base_str *out) {
    for (int i = 0; i < n; i++)
        base_str_add(out, &c, 1);
}

static void add_rule(const column *c, base_str *out) {
    add_times('-', c->width - c->numbers, out);
    base_str_adds(out, c->numbers ? ":|" : "|");
}

void measure_gsm8k_print_scores(const measure_gsm8k_score scores[MEASURE_GSM8K_FILTERS], int n_shot,
                                base_str *out) {
    double means[ROWS], errors[ROWS];
    for (int i = 0; i < ROWS; i++) {
        means[i] = scores[i].mean;
        errors[i] = scores[i].standard_error;
    }
    column value, error, shots = {.width = 6, .numbers = true};
    make_column(&value, "Value", means, true);
    make_column(&error, "Stderr", errors, scores[0].n > 1);
    snprintf(shots.cells[0], CELL, "%d", n_shot);
    if ((int)strlen(shots.cells[0]) > shots.width)
        shots.width = (int)strlen(shots.cells[0]);

    base_str_printf(out, "|Tasks|Version|     Filter     |%*s|  Metric   |   |%-*s|   |Stderr|\n",
                    shots.width, "n-shot", value.width, "Value");
    base_str_adds(out, "|-----|------:|----------------|");
    add_rule(&shots, out);
    base_str_adds(out, "-----------|---|");
    add_rule(&value, out);
    base_str_adds(out, "---|");
    add_rule(&error, out);
    base_str_adds(out, "\n");
    for (int i = 0; i < ROWS; i++)
        base_str_printf(out, "|%s|%-16s|%*d|exact_match|↑  |%*s|±  |%*s|\n",
                        i == 0 ? "gsm8k|      3" : "     |       ",
                        measure_gsm8k_filter_name((measure_gsm8k_filter)i), shots.width, n_shot,
                        value.width, value.cells[i], error.width, error.cells[i]);
}

void measure_gsm8k_print_table(const measure_gsm8k *e, base_str *out) {
    measure_gsm8k_score scores[MEASURE_GSM8K_FILTERS];
    for (int f = 0; f < MEASURE_GSM8K_FILTERS; f++)
        measure_gsm8k_get_score(e, (measure_gsm8k_filter)f, &scores[f]);
    measure_gsm8k_print_scores(scores, e->options.n_shot, out);
}

// ---------------------------------------------------------------------------------------------
// Failures

typedef struct reason {
    const char *text;
    int count;
} reason;

static int compare_texts(const void *a, const void *b) {
    const reason *x = a, *y = b;
    return strcmp(x->text, y->text);
}

static int compare_counts(const void *a, const void *b) {
    const reason *x = a, *y = b;
    return x->count != y->count ? y->count - x->count : strcmp(x->text, y->text);
}

void measure_gsm8k_print_failures(const measure_gsm8k *e, base_str *out) {
    reason *reasons = base_calloc((size_t)e->n + 1, sizeof *reasons);
    size_t n = 0, n_distinct = 0;
    for (int i = 0; i < e->n; i++) {
        if (e->samples[i].state == GSM8K_FAILED)
            reasons[n++] = (reason){e->samples[i].error, 1};
    }
    qsort(reasons, n, sizeof *reasons, compare_texts);
    for (size_t i = 0; i < n; i++) {
        if (n_distinct > 0 && strcmp(reasons[n_distinct - 1].text, reasons[i].text) == 0)
            reasons[n_distinct - 1].count++;
        else
            reasons[n_distinct++] = reasons[i];
    }
    qsort(reasons, n_distinct, sizeof *reasons, compare_counts);
    for (size_t i = 0; i < n_distinct; i++)
        base_str_printf(out, "%d question%s: %s\n", reasons[i].count,
                        reasons[i].count == 1 ? "" : "s", reasons[i].text);
    base_free(reasons);
}

// ---------------------------------------------------------------------------------------------
// Each question

static void add_field(const char *name, const char *text, size_t len, base_str *out) {
    base_str_printf(out, ", \"%s\": ", name);
    base_json_add_string(out, text, len);
}

static void add_text_field(const char *name, const char *text, base_str *out) {
    add_field(name, text, strlen(text), out);
}

static void add_answer(const gsm8k_sample *s, base_str *out) {
    add_field("completion", s->completion.len > 0 ? s->completion.data : "", s->completion.len,
              out);
    for (int f = 0; f < MEASURE_GSM8K_FILTERS; f++)
        add_text_field(measure_gsm8k_filter_name((measure_gsm8k_filter)f), s->extracted[f].data,
                       out);
    base_str_adds(out, ", \"exact_match\": {");
    for (int f = 0; f < MEASURE_GSM8K_FILTERS; f++)
        base_str_printf(out, "%s\"%s\": %s", f > 0 ? ", " : "",
                        measure_gsm8k_filter_name((measure_gsm8k_filter)f),
                        s->right[f] ? "1.0" : "0.0");
    base_str_adds(out, "}");
}

void measure_gsm8k_print_samples(const measure_gsm8k *e, base_str *out) {
    for (int i = 0; i < e->n; i++) {
        const gsm8k_sample *s = &e->samples[i];
        base_str_printf(out, "{\"doc_id\": %d", i);
        add_text_field("question", s->doc->question, out);
        add_text_field("target", s->doc->answer, out);
        add_field("prompt", s->prompt.data, s->prompt.len, out);
        if (s->state == GSM8K_ANSWERED)
            add_answer(s, out);
        else
            add_text_field("error", s->error != NULL ? s->error : "not asked", out);
        base_str_printf(out, ", \"tries\": %d}\n", s->tries);
    }
}
