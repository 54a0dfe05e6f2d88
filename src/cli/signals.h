// Signals that end a server: SIGTERM, SIGINT, and SIGHUP unless it is ignored (nohup).
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "base/base.h"

// Must be called before there are other threads: they inherit that these signals are blocked, so
// that none of their system calls is interrupted. Until cli_signals_wait is called a signal ends
// the process at once, with the status 128 + its number. BASE_ERR_RESOURCE without a thread.
int cli_signals_begin(base_err *err);

// Sleeps until the first signal and returns it. Any later one ends the process as above; `socket`
// is removed then (NULL: none).
int cli_signals_wait(const char *socket);

#endif
