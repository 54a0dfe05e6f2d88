// A progress bar on standard error, as tqdm draws it.
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_bar {
    int total, done;
    int64_t start_ns, drawn_ns;
    bool off; // draws nothing
} cli_bar;

void cli_bar_begin(cli_bar *b, int total, bool off);
void cli_bar_set(cli_bar *b, int done); // draws ten times a second at most
void cli_bar_end(cli_bar *b);

#endif
