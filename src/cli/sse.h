// Server-sent events from a byte stream in any pieces.
#ifndef CLI_SSE_H
#define CLI_SSE_H

#include "base/base.h"
#include <stdbool.h>

typedef struct cli_sse_reader {
    base_str line; // what has come of the line that is not complete
    base_str data; // the data lines of the event that is not complete
    bool too_long;
} cli_sse_reader; // zero-initialised is a fresh one

// Calls `take` with the data of each event that is complete. Comments and fields but "data" are
// skipped. False when a line or an event is longer than 64 MiB: nothing more is read then.
bool cli_sse_push(cli_sse_reader *r, const char *bytes, size_t len,
                  void (*take)(void *arg, const char *data, size_t len), void *arg);
void cli_sse_free(cli_sse_reader *r);

#endif
