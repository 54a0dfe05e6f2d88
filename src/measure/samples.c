// Lists of samples, and the files they come from.
#include "measure/samples.h"
#include "measure/random.h"
#include <limits.h>
#include <string.h>

static void free_sample(measure_sample *sample) {
    base_free(sample->prompt);
    base_free(sample->tools);
}

void measure_samples_free(measure_samples *s) {
    for (int i = 0; i < s->n; i++)
        free_sample(&s->at[i]);
    base_free(s->at);
    *s = (measure_samples){0};
}

static int out_of_memory(base_err *err) {
    return base_fail(err, BASE_ERR_RESOURCE, "out of memory for the dataset's requests");
}

// The list's room doubles: it is full whenever its length is a power of two.
int measure_samples_add(measure_samples *s, measure_sample sample, base_err *err) {
    if ((s->n & (s->n - 1)) == 0) {
        size_t room = s->n == 0 ? 1 : 2 * (size_t)s->n;
        measure_sample *at = s->n < INT_MAX / 2 ? base_try_realloc(s->at, room * sizeof *at) : NULL;
        if (at == NULL) {
            free_sample(&sample);
            return out_of_memory(err);
        }
        s->at = at;
    }
    s->at[s->n++] = sample;
    return 0;
}

static char *copy(const char *text, size_t len) {
    char *p = base_try_alloc(len + 1);
    if (p != NULL) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

int measure_samples_add_text(measure_samples *s, const char *text, size_t len, int prompt_len,
                             int output_len, base_err *err) {
    measure_sample sample = {.prompt = copy(text, len),
                             .prompt_bytes = len,
                             .prompt_len = prompt_len,
                             .output_len = output_len,
                             .conversation = -1};
    if (sample.prompt == NULL)
        return out_of_memory(err);
    return measure_samples_add(s, sample, err);
}

int measure_samples_repeat(measure_samples *s, const measure_file_options *options, int wanted,
                           base_err *err) {
    if (options->no_oversample || s->n >= wanted)
        return 0;
    measure_mt m;
    measure_mt_seed_python(&m, options->seed);
    const uint64_t n = (uint64_t)s->n;
    while (s->n < wanted) {
        const measure_sample *from = &s->at[measure_mt_below(&m, n)];
        int rc = measure_samples_add_text(s, from->prompt, from->prompt_bytes, from->prompt_len,
                                          from->output_len, err);
        if (rc != 0)
            return rc;
    }
    base_info("%s: %llu requests are repeated to make %d", options->path, (unsigned long long)n,
              wanted);
    return 0;
}

uint64_t *measure_samples_order(size_t n, const measure_file_options *options, base_err *err) {
    uint64_t *order = base_try_calloc(n + 1, sizeof *order);
    if (order == NULL) {
        out_of_memory(err);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    measure_mt m;
    measure_mt_seed_python(&m, options->seed);
    if (!options->skip_shuffle)
        measure_mt_shuffle(&m, order, n);
    return order;
}

static int add_line(measure_lines *lines, const char *text, size_t len, int number, base_err *err) {
    base_str what = {0};
    base_str_printf(&what, "%s:%d", lines->path, number);
    json_t *value = base_json_parse(text, len, what.data, BASE_ERR_USAGE, err);
    base_str_free(&what);
    if (value == NULL)
        return err->code;
    if (!json_is_object(value)) {
        json_decref(value);
        return base_fail(err, BASE_ERR_USAGE, "%s:%d: not an object", lines->path, number);
    }
    if ((lines->n & (lines->n - 1)) == 0) {
        size_t room = lines->n == 0 ? 1 : 2 * lines->n;
        measure_line *at = base_try_realloc(lines->at, room * sizeof *at);
        if (at == NULL) {
            json_decref(value);
            return out_of_memory(err);
        }
        lines->at = at;
    }
    lines->at[lines->n++] = (measure_line){value, number};
    return 0;
}

static bool is_blank(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

int measure_lines_read(measure_lines *out, const char *path, base_err *err) {
    *out = (measure_lines){.path = path};
    base_str text = {0};
    int rc = base_file_read(path, MEASURE_FILE_BYTES, BASE_ERR_USAGE, &text, err);
    int number = 0;
    for (size_t at = 0; rc == 0 && at < text.len;) {
        const char *line = text.data + at, *end = memchr(line, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - line) : text.len - at;
        number++;
        if (!is_blank(line, len))
            rc = add_line(out, line, len, number, err);
        at += len + 1;
    }
    base_str_free(&text);
    if (rc == 0 && out->n == 0)
        rc = base_fail(err, BASE_ERR_USAGE, "%s: no lines", path);
    if (rc != 0)
        measure_lines_free(out);
    return rc;
}

void measure_lines_free(measure_lines *lines) {
    for (size_t i = 0; i < lines->n; i++)
        json_decref(lines->at[i].value);
    base_free(lines->at);
    *lines = (measure_lines){0};
}
