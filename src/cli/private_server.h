// A server in this process that only this process reaches: on a unix socket in a folder of our own.
#ifndef CLI_PRIVATE_SERVER_H
#define CLI_PRIVATE_SERVER_H

#include "cli/cli.h"

typedef struct cli_private_server cli_private_server;

// Loads the model that `o` names (options of rows_engine.c and rows_model.c). BASE_ERR_MODEL when
// its tokenizer has no chat tokens.
int cli_private_server_start(cli_private_server **out, const cli_options *o, base_err *err);
const char *cli_private_server_path(const cli_private_server *s); // of the socket
void cli_private_server_stop(cli_private_server *s);              // NULL is fine

#endif
