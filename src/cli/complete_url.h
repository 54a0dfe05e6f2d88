// abruzzi complete --url: the same command against a server.
#ifndef CLI_COMPLETE_URL_H
#define CLI_COMPLETE_URL_H

#include "cli/cli.h"

// Reads the sampling flags of complete; flags about running a model are refused.
int cli_complete_url(const cli_options *o, base_err *err);

#endif
