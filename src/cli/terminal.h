// What a person sees and types: text of a model made harmless for a terminal, dimmed thoughts,
// lines with editing.
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/base.h"
#include <signal.h>
#include <stdbool.h>

typedef enum { TERMINAL_PLAIN, TERMINAL_DIM } terminal_style;

typedef struct terminal {
    bool colors; // standard output is a terminal, and NO_COLOR is not set
    terminal_style style;
    bool at_line_start;
} terminal;

void terminal_init(terminal *t);
// Writes text to standard output. Control characters but line ends and tabs become '?': a model's
// words must not move the cursor or set the title. Ill-formed UTF-8 becomes '?' too.
void terminal_write(terminal *t, terminal_style style, const char *text, size_t len);
// Ends a line that has been begun, and all styles.
void terminal_end(terminal *t);

typedef struct line_reader line_reader;

// With editing and a history when standard input and output are terminals, else plain lines.
line_reader *line_reader_create(void);
void line_reader_free(line_reader *r); // NULL is fine
// The next line without its end, owned by the reader until the next call; NULL at the end of input.
// *interrupted (set by a signal handler) ends a line that is being typed: "" is returned then.
const char *line_reader_next(line_reader *r, const char *prompt,
                             const volatile sig_atomic_t *interrupted);
bool line_reader_editing(const line_reader *r);

#endif
