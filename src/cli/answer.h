// One request's answer, as it grows: events of the engine -> ids, text, log-probabilities, usage.
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "engine/engine.h"
#include "token/token.h"

typedef struct cli_answer_token {
    int32_t id;
    float logprob;
    int rank;
    int n_top;
    engine_logprob *top; // [n_top], owned
} cli_answer_token;

typedef struct cli_answer_tokens {
    cli_answer_token *at;
    int n, cap;
} cli_answer_tokens;

typedef struct cli_answer_choice {
    cli_answer_tokens tokens;
    base_str text; // without what stop strings cut off
    token_decoder decoder;
    token_stop *stop;
    bool done, finished; // done: nothing more is shown; finished: the engine's last event came
    const char *finish_reason;
    int stop_string;   // index, -1: none
    int32_t stop_id;   // -1: none
    const char *error; // static text
    int n_cached;      // prompt ids found in the prefix cache
} cli_answer_choice;

typedef struct cli_answer_options {
    const token_vocab *vocab;
    int n; // choices
    const char *const *stops;
    int n_stops;
    const int32_t *stop_ids; // end an answer and are not shown
    int n_stop_ids;
    const int32_t *eos_ids; // the same
    int n_eos;
    void (*show)(void *arg, int choice, const char *text, size_t len); // may be NULL
    void *arg;
} cli_answer_options;

typedef struct cli_answer {
    cli_answer_options options;
    cli_answer_choice *choices; // [options.n]
    cli_answer_tokens prompt;   // log-probabilities of the prompt, position 1 and later
    int n_done, n_finished;
    int n_tokens;              // of all choices
    int64_t first_ns, last_ns; // when the first and the last token came; 0: not yet
} cli_answer;

void cli_answer_init(cli_answer *a, const cli_answer_options *options);
void cli_answer_free(cli_answer *a);
// Takes the event over.
void cli_answer_take(cli_answer *a, engine_event *event);

typedef struct cli_answer_json_options {
    const int32_t *prompt; // [n_prompt]
    int n_prompt;
    const char *echo; // text before the answer's own; ""
    size_t echo_len;
    bool logprobs, prompt_logprobs;
} cli_answer_json_options;

// A finished choice as one line.
void cli_answer_json(const cli_answer *a, int index, const cli_answer_json_options *options,
                     base_str *out);

#endif
