// The questions, and the prompts that are made of them. Examples are drawn for each question anew,
// all by one generator, so a prompt depends on how many questions came before it.
#include "measure/gsm8k_task.h"
#include "measure/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Files

enum { MAX_FILE_BYTES = 256 << 20 };

static char *take_field(const json_t *line, const char *name, const char *what, base_err *err) {
    const char *text = json_string_value(json_object_get(line, name));
    if (text == NULL)
        base_fail(err, BASE_ERR_USAGE, "%s: \"%s\" is no string", what, name);
    return text != NULL ? base_strdup(text) : NULL;
}

static int read_line(gsm8k_docs *docs, const char *text, size_t len, const char *what,
                     base_err *err) {
    json_t *line = base_json_parse(text, len, what, BASE_ERR_USAGE, err);
    if (line == NULL)
        return BASE_ERR_USAGE;
    gsm8k_doc *doc = &docs->at[docs->n++];
    *doc = (gsm8k_doc){.question = take_field(line, "question", what, err)};
    if (doc->question != NULL)
        doc->answer = take_field(line, "answer", what, err);
    json_decref(line);
    return doc->answer != NULL ? 0 : BASE_ERR_USAGE;
}

static int read_lines(gsm8k_docs *out, const char *path, const base_str *text, base_err *err) {
    size_t n_lines = 1;
    for (size_t i = 0; i < text->len; i++)
        n_lines += text->data[i] == '\n';
    out->at = base_calloc(n_lines, sizeof *out->at);
    const char *line = text->data, *end = text->data + text->len;
    int rc = 0;
    for (int number = 1; rc == 0 && line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop != NULL ? stop : end;
        base_str what = {0};
        base_str_printf(&what, "%s, line %d", path, number);
        if (strspn(line, " \t\r") < (size_t)(stop - line))
            rc = read_line(out, line, (size_t)(stop - line), what.data, err);
        base_str_free(&what);
        line = stop + 1;
    }
    if (rc == 0 && out->n == 0)
        rc = base_fail(err, BASE_ERR_USAGE, "%s: no questions", path);
    return rc;
}

int gsm8k_docs_read(gsm8k_docs *out, const char *dir, const char *name, base_err *err) {
    *out = (gsm8k_docs){0};
    char *path = base_path_join(dir, name);
    base_str text = {0};
    int rc = base_file_read(path, MAX_FILE_BYTES, BASE_ERR_USAGE, &text, err);
    if (rc == 0)
        rc = read_lines(out, path, &text, err);
    base_str_free(&text);
    base_free(path);
    return rc;
}

void gsm8k_docs_free(gsm8k_docs *docs) {
    for (int i = 0; i < docs->n; i++) {
        base_free(docs->at[i].question);
        base_free(docs->at[i].answer);
    }
    base_free(docs->at);
}

// ---------------------------------------------------------------------------------------------
// Prompts

const char *const gsm8k_stops[] = {"Question:", "</s>", "<|im_end|>"};

static void add_question(const char *question, base_str *out) {
    base_str_adds(out, "Question: ");
    base_str_adds(out, question);
    base_str_adds(out, "\nAnswer:");
}

void gsm8k_prompt_make(const gsm8k_docs *train, const uint64_t *shots, int n_shot,
                       const char *question, base_str *out) {
    for (int i = 0; i < n_shot; i++) {
        const gsm8k_doc *shot = &train->at[shots[i]];
        add_question(shot->question, out);
        if (shot->answer[0] == '\0')
            continue; // then lm-eval leaves what would stand around it out, too
        base_str_adds(out, " ");
        base_str_adds(out, shot->answer);
        base_str_adds(out, "\n\n");
    }
    add_question(question, out);
}

static void make_prompts(measure_gsm8k *e) {
    int n_shot = e->options.n_shot;
    uint64_t *shots = base_calloc((size_t)n_shot + 1, sizeof *shots);
    measure_mt random;
    measure_mt_seed_python(&random, e->options.seed);
    for (int i = 0; i < e->n; i++) {
        gsm8k_sample *s = &e->samples[i];
        s->doc = &e->test.at[i];
        if (n_shot > 0)
            measure_mt_sample(&random, (uint64_t)e->train.n, (uint64_t)n_shot, shots);
        gsm8k_prompt_make(&e->train, shots, n_shot, s->doc->question, &s->prompt);
    }
    base_free(shots);
}

// ---------------------------------------------------------------------------------------------
// The order they are asked in

typedef struct length {
    int index;
    size_t chars;
} length;

// Python counts code points.
static size_t count_chars(const base_str *text) {
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++)
        n += ((unsigned char)text->data[i] & 0xc0) != 0x80;
    return n;
}

static int compare_lengths(const void *a, const void *b) {
    const length *x = a, *y = b;
    if (x->chars != y->chars)
        return x->chars > y->chars ? -1 : 1;
    return x->index - y->index;
}

static void make_order(measure_gsm8k *e) {
    length *lengths = base_calloc((size_t)e->n, sizeof *lengths);
    for (int i = 0; i < e->n; i++)
        lengths[i] = (length){i, count_chars(&e->samples[i].prompt)};
    qsort(lengths, (size_t)e->n, sizeof *lengths, compare_lengths);
    for (int i = 0; i < e->n; i++)
        e->order[i] = lengths[i].index;
    base_free(lengths);
}

// ---------------------------------------------------------------------------------------------

static int count_asked(int n, double limit) {
    if (limit <= 0.0 || limit >= n)
        return n;
    return (int)(limit < 1.0 ? ceil(n * limit) : limit);
}

int measure_gsm8k_create(measure_gsm8k **out, const measure_gsm8k_options *options, base_err *err) {
    *out = NULL;
    measure_gsm8k *e = base_calloc(1, sizeof *e);
    e->options = *options;
    e->options.data = NULL;
    int rc = gsm8k_docs_read(&e->train, options->data, "train.jsonl", err);
    if (rc == 0)
        rc = gsm8k_docs_read(&e->test, options->data, "test.jsonl", err);
    if (rc == 0 && options->n_shot > e->train.n)
        rc = base_fail(err, BASE_ERR_USAGE, "%d examples cannot be drawn from %d questions",
                       options->n_shot, e->train.n);
    if (rc != 0) {
        measure_gsm8k_free(e);
        return rc;
    }
    e->n = count_asked(e->test.n, options->limit);
    e->samples = base_calloc((size_t)e->n, sizeof *e->samples);
    e->order = base_calloc((size_t)e->n, sizeof *e->order);
    make_prompts(e);
    make_order(e);
    *out = e;
    return 0;
}

void measure_gsm8k_free(measure_gsm8k *e) {
    if (e == NULL)
        return;
    for (int i = 0; i < e->n; i++) {
        gsm8k_sample *s = &e->samples[i];
        base_str_free(&s->prompt);
        base_str_free(&s->completion);
        for (int f = 0; f < MEASURE_GSM8K_FILTERS; f++)
            base_str_free(&s->extracted[f]);
        base_free(s->error);
    }
    base_free(e->samples);
    base_free(e->order);
    gsm8k_docs_free(&e->train);
    gsm8k_docs_free(&e->test);
    base_free(e);
}
