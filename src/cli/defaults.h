// What requests get that say nothing: --generation-config and --override-generation-config.
#ifndef CLI_DEFAULTS_H
#define CLI_DEFAULTS_H

#include "api/api.h"
#include "cli/options.h"

// A value out of range is BASE_ERR_MODEL when a file has it, BASE_ERR_USAGE when a flag has it.
int cli_defaults_find(const cli_options *o, const model *m, api_defaults *out, base_err *err);

#endif
