// Lines that a person types, with editing and a history, or that a pipe brings.
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "base/base.h"
#include <stdbool.h>

typedef struct cli_lines cli_lines;

// Editing needs a terminal on standard input and output. `quiet`: nothing but what the caller
// writes goes to standard output, which is then read by a program.
cli_lines *cli_lines_create(bool quiet);
void cli_lines_free(cli_lines *l); // NULL is fine
bool cli_lines_editing(const cli_lines *l);

// The next line without its end, owned by `l` until the next call; `len` may be NULL. NULL at the
// end of input and after Ctrl-C, which sets cli_interrupted (cleared before).
const char *cli_lines_next(cli_lines *l, const char *prompt, size_t *len);
// After the last line: 0, or BASE_ERR_RESOURCE when the input could not be read.
int cli_lines_check(const cli_lines *l, base_err *err);

#endif
