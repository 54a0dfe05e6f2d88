// The evaluation the guide checks accuracy with: lm-eval's task gsm8k, version 3. Prompts, filters,
// scores and the printed table are lm-eval's own.
//
// An evaluation is made of two files of questions, asked of a server or of an engine, and then
// read: how many answers were right, and each of them.
#ifndef MEASURE_GSM8K_H
#define MEASURE_GSM8K_H

#include "engine/engine.h"
#include "measure/client.h"
#include "token/token.h"
#include <signal.h>

// What is compared of a completion: the number behind its first "#### ", or its last number. In
// the order of the table.
typedef enum {
    MEASURE_GSM8K_FLEXIBLE, // flexible-extract
    MEASURE_GSM8K_STRICT,   // strict-match
    MEASURE_GSM8K_FILTERS,
} measure_gsm8k_filter;
const char *measure_gsm8k_filter_name(measure_gsm8k_filter filter);
// Appends what the filter takes of a completion, "[invalid]" if that is nothing.
void measure_gsm8k_extract(measure_gsm8k_filter filter, const char *text, size_t len,
                           base_str *out);
// exact_match: `extracted` against an answer of the data, which ends in "#### 42".
bool measure_gsm8k_matches(const char *extracted, const char *answer);

// What a server's null stands for.
#define MEASURE_GSM8K_NO_ANSWER "[NO ANSWER]"

typedef struct measure_gsm8k_options {
    const char *data; // folder with train.jsonl and test.jsonl: {"question": "", "answer": ""}
    double limit;     // the first so many questions; below 1: this part of them; 0: all
    int n_shot;       // examples before each question
    uint64_t seed;    // of the examples, and of the requests
    int max_tokens;   // of a completion
    int concurrent;   // questions asked at once
    const volatile sig_atomic_t *interrupted; // ends the asking; NULL: nothing does
} measure_gsm8k_options;

typedef struct measure_gsm8k measure_gsm8k;

// BASE_ERR_USAGE names the file and line that is wrong.
int measure_gsm8k_create(measure_gsm8k **out, const measure_gsm8k_options *options, base_err *err);
void measure_gsm8k_free(measure_gsm8k *e); // NULL is fine

// Asks every question through /v1/completions, three times where it fails. `name` NULL: the
// server's first model. Questions that fail are counted and no error; the errors are those of
// `where`, and of a server that has no model to tell.
int measure_gsm8k_ask_server(measure_gsm8k *e, const measure_client_options *where,
                             const char *name, base_err *err);

typedef struct measure_gsm8k_engine {
    engine *engine; // idle; allows as many choices at once as are asked, at least
    const token_vocab *vocab;
    const int32_t *eos_ids; // [n_eos]
    int n_eos;
} measure_gsm8k_engine;
void measure_gsm8k_ask_engine(measure_gsm8k *e, const measure_gsm8k_engine *where);

typedef struct measure_gsm8k_score {
    int n; // answered questions
    double mean, standard_error;
} measure_gsm8k_score;
void measure_gsm8k_get_score(const measure_gsm8k *e, measure_gsm8k_filter filter,
                             measure_gsm8k_score *out);

int measure_gsm8k_asked(const measure_gsm8k *e);  // questions
int measure_gsm8k_failed(const measure_gsm8k *e); // that have no answer
// The reasons, the most frequent one first: "3 questions: timed out", a line each.
void measure_gsm8k_print_failures(const measure_gsm8k *e, base_str *out);

// As lm-eval prints it. At least one question must have been answered.
void measure_gsm8k_print_table(const measure_gsm8k *e, base_str *out);
// The same for given scores.
void measure_gsm8k_print_scores(const measure_gsm8k_score scores[MEASURE_GSM8K_FILTERS], int n_shot,
                                base_str *out);
// Every question with its prompt, completion, what the filters took and the scores, or with the
// reason it failed for: JSON, a line each, in the order of the data.
void measure_gsm8k_print_samples(const measure_gsm8k *e, base_str *out);

#endif
