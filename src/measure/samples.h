// What the datasets share: a list that grows, and the way their files are read.
#ifndef MEASURE_SAMPLES_H
#define MEASURE_SAMPLES_H

#include "measure/sample.h"
#include <jansson.h>

// Takes over what `sample` owns. BASE_ERR_RESOURCE when memory is out, and then frees it.
int measure_samples_add(measure_samples *s, measure_sample sample, base_err *err);
// Copies `len` bytes as the prompt of a sample on its own.
int measure_samples_add_text(measure_samples *s, const char *text, size_t len, int prompt_len,
                             int output_len, base_err *err);
// Appends copies of the samples [0, n), chosen by Python's random.choice, up to `wanted`; with
// no_oversample none.
int measure_samples_repeat(measure_samples *s, const measure_file_options *options, int wanted,
                           base_err *err);

// The order in which `n` entries of a file come, as indices; NULL after BASE_ERR_RESOURCE. The
// caller frees it.
uint64_t *measure_samples_order(size_t n, const measure_file_options *options, base_err *err);

// A file of JSON lines, all of them objects; empty lines are skipped. Released by
// measure_lines_free.
typedef struct measure_line {
    json_t *value;
    int number;
} measure_line;

typedef struct measure_lines {
    const char *path;
    measure_line *at;
    size_t n;
} measure_lines;

int measure_lines_read(measure_lines *out, const char *path, base_err *err);
void measure_lines_free(measure_lines *lines);

// The most a dataset's file may have: json.load would need several times as much memory.
#define MEASURE_FILE_BYTES ((size_t)2 << 30)

#endif
