// A model behind the API, in this process: what `abruzzi serve` and `abruzzi chat` share.
#ifndef CLI_SERVING_H
#define CLI_SERVING_H

#include "cli/stack.h"

typedef struct cli_serving {
    // Set by the caller before opening; `options` too, but for what describes the model.
    const char *replay; // a file of scripts; NULL: the model itself
    int max_logprobs, max_queue;
    api_options options;

    cli_stack stack;
    chat_format *chat; // NULL: the tokenizer has no chat tokens
    char *tokenizer_config;
    api_server *server; // NULL: not started
} cli_serving;

// Loads the model and fills in what options say about it. The options of rows_engine.c and
// rows_model.c are read from `o`. After an error cli_serving_close frees everything.
int cli_serving_open(cli_serving *s, const cli_options *o, base_err *err);
int cli_serving_start(cli_serving *s, base_err *err); // served_names and http must be set by now
// Ends what is left and frees all; may be called more than once.
void cli_serving_close(cli_serving *s);

#endif
