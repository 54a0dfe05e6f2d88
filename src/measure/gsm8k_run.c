// What becomes of the questions, whoever is asked, and how far they are.
#include "measure/gsm8k_task.h"
#include <stdio.h>
#include <unistd.h>

// ---------------------------------------------------------------------------------------------
// Progress: a redrawn line on a terminal, a log line each 10 % otherwise

#define REDRAW_S 0.1

static void add_clock(double seconds, base_str *out) {
    long s = (long)seconds;
    if (s >= 3600)
        base_str_printf(out, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        base_str_printf(out, "%02ld:%02ld", s / 60, s % 60);
}

static void describe(const measure_gsm8k *e, base_str *out) {
    int done = e->n_answered + e->n_failed;
    double seconds = base_now_s() - e->started;
    double rate = seconds > 0.0 ? done / seconds : 0.0;
    base_str_printf(out, "%s: %3d %% %d/%d [", e->title, (int)(100.0 * done / e->n), done, e->n);
    add_clock(seconds, out);
    if (done < e->n && rate > 0.0) {
        base_str_adds(out, "<");
        add_clock((e->n - done) / rate, out);
    }
    base_str_printf(out, ", %.2f questions/s", rate);
    if (e->n_failed > 0)
        base_str_printf(out, ", %d failed", e->n_failed);
    base_str_adds(out, "]");
}

static void draw(measure_gsm8k *e, const char *end) {
    base_str text = {0};
    describe(e, &text);
    fprintf(stderr, "\r%s\033[K%s", text.data, end);
    fflush(stderr);
    base_str_free(&text);
    e->drawn = base_now_s();
}

static void log_progress(const measure_gsm8k *e) {
    base_str text = {0};
    describe(e, &text);
    base_info("%s", text.data);
    base_str_free(&text);
}

static void show_progress(measure_gsm8k *e) {
    int tenths = (int)(10.0 * (e->n_answered + e->n_failed) / e->n);
    if (e->terminal && base_now_s() - e->drawn >= REDRAW_S) {
        draw(e, "");
    } else if (!e->terminal && tenths > e->tenths && tenths < 10) {
        e->tenths = tenths;
        log_progress(e);
    }
}

void gsm8k_begin(measure_gsm8k *e, const char *title) {
    e->title = title;
    e->started = base_now_s();
    e->terminal = isatty(STDERR_FILENO) == 1;
}

void gsm8k_end(measure_gsm8k *e) {
    if (e->terminal)
        draw(e, "\n");
    else
        log_progress(e);
}

// ---------------------------------------------------------------------------------------------
// Ends of questions

bool gsm8k_interrupted(const measure_gsm8k *e) {
    return e->options.interrupted != NULL && *e->options.interrupted;
}

void gsm8k_answer(measure_gsm8k *e, int i, const char *text, size_t len) {
    gsm8k_sample *s = &e->samples[i];
    base_str_add(&s->completion, text, len);
    for (int f = 0; f < MEASURE_GSM8K_FILTERS; f++) {
        measure_gsm8k_extract((measure_gsm8k_filter)f, text, len, &s->extracted[f]);
        s->right[f] = measure_gsm8k_matches(s->extracted[f].data, s->doc->answer);
    }
    s->state = GSM8K_ANSWERED;
    e->n_answered++;
    show_progress(e);
}

void gsm8k_fail(measure_gsm8k *e, int i, const char *error) {
    gsm8k_sample *s = &e->samples[i];
    char *copy = base_strdup(error); // `error` may be the sample's own
    base_free(s->error);
    s->error = copy;
    base_text_clean(s->error);
    s->state = GSM8K_FAILED;
    e->n_failed++;
    show_progress(e);
}

int measure_gsm8k_asked(const measure_gsm8k *e) {
    return e->n;
}

int measure_gsm8k_failed(const measure_gsm8k *e) {
    return e->n - e->n_answered;
}
