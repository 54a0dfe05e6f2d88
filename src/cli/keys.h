// The keys a server accepts: --api-key and --api-key-file.
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include "cli/options.h"

typedef struct cli_keys {
    char **at; // [n]
    int n;
} cli_keys;

// An empty file, and a key that no header can carry, are refused: a server that was meant to have
// keys must not start without. Messages never show a key.
int cli_keys_read(cli_keys *out, const cli_options *o, base_err *err);
void cli_keys_free(cli_keys *keys);

#endif
