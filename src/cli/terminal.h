// What a person sees: text of a model made harmless for a terminal, dimmed thoughts.
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/base.h"
#include <stdbool.h>

typedef enum { CLI_TERMINAL_PLAIN, CLI_TERMINAL_DIM } cli_terminal_style;

typedef struct cli_terminal {
    bool colors; // standard output is a terminal, and NO_COLOR is not set
    cli_terminal_style style;
    bool at_line_start;
} cli_terminal;

void cli_terminal_init(cli_terminal *t);
// Writes text to standard output. Control characters but line ends and tabs become '?': a model's
// words must not move the cursor or set the title. Ill-formed UTF-8 becomes '?' too.
void cli_terminal_write(cli_terminal *t, cli_terminal_style style, const char *text, size_t len);
// Ends a line that has been begun, and all styles.
void cli_terminal_end(cli_terminal *t);

#endif
