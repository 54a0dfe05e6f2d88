// What is sent: the requests of a benchmark, from a dataset.
#ifndef MEASURE_SAMPLE_H
#define MEASURE_SAMPLE_H

#include "base/base.h"
#include "token/token.h"
#include <stdbool.h>

// A turn of a conversation is a sample of its own that waits for the one before.
typedef struct measure_sample {
    char *prompt; // [prompt_bytes] text, or a JSON list of messages (chat)
    size_t prompt_bytes;
    bool is_messages;
    char *tools;      // JSON list of the tools to send along; NULL: none
    int prompt_len;   // tokens as counted here
    int output_len;   // max_tokens
    int conversation; // samples of one follow each other; -1: on its own
} measure_sample;

typedef struct measure_samples {
    measure_sample *at;
    int n;
} measure_samples;

void measure_samples_free(measure_samples *s);

// --dataset-name random, as vLLM 0.33 makes it. `compat_2025`: as 0.11.1 and 0.11.2 of November
// 2025 made it, which differs only in the prefix.
typedef struct measure_random_options {
    int n, input_len, output_len, prefix_len;
    double input_range, output_range; // --random-range-ratio
    uint64_t seed;
    bool compat_2025;
} measure_random_options;
int measure_samples_random(measure_samples *out, const token_vocab *vocab,
                           const measure_random_options *options, base_err *err);

typedef struct measure_file_options {
    const char *path;  // --dataset-path
    int n, output_len; // output_len 0 or -1: the file's own
    uint64_t seed;
    bool skip_shuffle; // --disable-shuffle
    // --no-oversample: a file with fewer than n gives what it has; else some of it come again, as
    // random.choice picks them.
    bool no_oversample;
    bool chat_template; // custom: prompts are texts of a user, put into the model's template
} measure_file_options;
// --dataset-name sharegpt (JSON), custom (JSONL with "prompt" and, for the file's own length,
// "output_tokens"), agent (JSONL, a conversation a line: {"messages": [...], "tools": [...]}).
// BASE_ERR_USAGE is "PATH:LINE: FIELD: reason", in JSON "PATH: [INDEX].FIELD: reason".
//
// Of an agent's conversation each turn of the user or of tools becomes a request with all before
// it, as recorded; the answer recorded behind it gives the file's own length. n counts requests, 0
// takes all there are; whole conversations are shuffled and come again.
int measure_samples_sharegpt(measure_samples *out, const token_vocab *vocab,
                             const measure_file_options *options, base_err *err);
int measure_samples_custom(measure_samples *out, const token_vocab *vocab,
                           const measure_file_options *options, base_err *err);
int measure_samples_agent(measure_samples *out, const token_vocab *vocab,
                          const measure_file_options *options, base_err *err);

#endif
