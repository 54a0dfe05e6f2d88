// Inside of a parsed command line, and how a name finds its row.
#ifndef CLI_PARSED_H
#define CLI_PARSED_H

#include "cli/options.h"

enum { CLI_NAME_MAX = 80 };

struct cli_options {
    const cli_table *table;
    const cli_command *command;
    cli_value *values; // one for each row
    int n_rows;
    const char **arguments;
    int n_arguments;
    struct cli_settings *file; // owns the texts of the values that came from --config
};

// A row of the command; `negated` when it was spelled --no-NAME or by its inverse.
typedef struct cli_found {
    int row; // -1: none
    bool negated;
} cli_found;

bool cli_row_applies(const cli_row *row, const cli_command *command);

// `name` [len] without dashes, as long as its row's or, with `prefixes`, a unique beginning of it.
// BASE_ERR_USAGE with the nearest name if there is none: "unknown option DASHES name".
int cli_find_long(const cli_options *o, const char *name, size_t len, bool prefixes,
                  const char *dashes, cli_found *out, base_err *err);
// `arg` [len] with its one dash.
int cli_find_short(const cli_options *o, const char *arg, size_t len, cli_found *out,
                   base_err *err);

#endif
