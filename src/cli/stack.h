// What every command that runs a model does first: open the checkpoint and its tokenizer, plan the
// memory, load the weights, make an engine; with log lines as vLLM writes them, in their order.
#ifndef CLI_STACK_H
#define CLI_STACK_H

#include "api/api.h"
#include "cli/cli.h"
#include "engine/engine.h"
#include "token/token.h"

// Rows whose log-probabilities one step can give: enough for prompt_logprobs to run in chunks.
enum { CLI_PROMPT_OUTPUTS = 64 };

typedef struct cli_stack_needs {
    int max_logprobs; // of an output row; -1: the vocabulary, more than that is cut
    int max_outputs;  // of a step; at least max-num-seqs are made
    int max_queue;
    bool no_prefix_caching; // whatever the flag's default is
    const char *replay;     // a file of scripts to play instead of the model; NULL: the model
} cli_stack_needs;

typedef struct cli_stack {
    model *model;
    token_vocab *vocab;
    api_replay *replay; // NULL: the model itself
    backend *backend;
    engine *engine; // NULL once it has been given to somebody
    engine_options limits;
    model_plan plan;
} cli_stack;

// Refuses what vLLM's flags can ask for and this version cannot do; cli_stack_open does it, too.
int cli_stack_check(const cli_options *o, base_err *err);

// Reads the options of rows_engine.c and rows_model.c. Everything is freed on error.
int cli_stack_open(cli_stack *s, const cli_options *o, const cli_stack_needs *needs, base_err *err);
void cli_stack_close(cli_stack *s);

// The tokenizer of a checkpoint; refused if it has ids the model has no rows for.
int cli_vocab_load(token_vocab **out, const model *m, base_err *err);

// The options of a memory plan, from the same flags.
void cli_plan_options(const cli_options *o, model_plan_options *out);

#endif
