// A server in this process that only this process reaches: on a unix socket in a folder of our own.
#ifndef CLI_PRIVATE_SERVER_H
#define CLI_PRIVATE_SERVER_H

#include "cli/cli.h"

typedef struct private_server private_server;

// Loads the model that `o` names (options of rows_engine.c and rows_model.c). BASE_ERR_MODEL when
// its tokenizer has no chat tokens.
int private_server_start(private_server **out, const cli_options *o, base_err *err);
const char *private_server_path(const private_server *s); // of the socket
void private_server_stop(private_server *s);              // NULL is fine

#endif
