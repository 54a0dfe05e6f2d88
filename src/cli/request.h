// What the flags of chat and complete --url say to a server.
#ifndef CLI_REQUEST_H
#define CLI_REQUEST_H

#include "cli/cli.h"

// The sampling flags that were given, as fields of a request. Flags that the command does not have
// are passed over. The caller owns the object.
json_t *cli_request_fields(const cli_options *o);

// --api-key, else OPENAI_API_KEY; NULL: none.
const char *cli_request_key(const cli_options *o);

#endif
