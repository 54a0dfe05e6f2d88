// Inside of an evaluation: the questions, their prompts, and what became of them.
#ifndef MEASURE_GSM8K_TASK_H
#define MEASURE_GSM8K_TASK_H

#include "measure/gsm8k.h"

typedef struct gsm8k_doc {
    char *question, *answer;
} gsm8k_doc;

typedef struct gsm8k_docs {
    gsm8k_doc *at; // [n]
    int n;
} gsm8k_docs;

int gsm8k_docs_read(gsm8k_docs *out, const char *dir, const char *name, base_err *err);
void gsm8k_docs_free(gsm8k_docs *docs);

// Appends the prompt of `question` behind the examples train->at[shots[..n_shot]].
void gsm8k_prompt_make(const gsm8k_docs *train, const uint64_t *shots, int n_shot,
                       const char *question, base_str *out);

typedef enum { GSM8K_OPEN, GSM8K_ANSWERED, GSM8K_FAILED } gsm8k_state;

typedef struct gsm8k_sample {
    const gsm8k_doc *doc;
    base_str prompt, completion;
    base_str extracted[MEASURE_GSM8K_FILTERS];
    bool right[MEASURE_GSM8K_FILTERS];
    gsm8k_state state;
    char *error; // FAILED: why; OPEN: why the last try did not answer it; NULL: nothing said
    int tries;
} gsm8k_sample;

struct measure_gsm8k {
    measure_gsm8k_options options; // `data` is not kept
    gsm8k_docs train, test;
    gsm8k_sample *samples; // [n]
    int *order;            // [n] in which they are asked: the longest first, as lm-eval does
    int n, n_answered, n_failed;

    // Progress
    const char *title;
    double started, drawn;
    int tenths;
    bool terminal;
};

extern const char *const gsm8k_stops[];
enum { GSM8K_STOPS = 3 };

bool gsm8k_interrupted(const measure_gsm8k *e);
void gsm8k_begin(measure_gsm8k *e, const char *title);
// A sample's end. `text` may hold NULs; `error` is copied.
void gsm8k_answer(measure_gsm8k *e, int i, const char *text, size_t len);
void gsm8k_fail(measure_gsm8k *e, int i, const char *error);
void gsm8k_end(measure_gsm8k *e);

#endif
