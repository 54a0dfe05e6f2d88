// The file named by --config: YAML, a flat mapping of flags' names to values.
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "base/base.h"
#include <stdbool.h>

typedef struct cli_setting {
    char *name; // as written
    int line;
    bool list;     // "[a, b]" or lines that begin with "- "
    char **values; // [n_values]; one unless it is a list
    int n_values;
} cli_setting;

typedef struct cli_settings {
    cli_setting *at; // [n]
    int n;
} cli_settings;

// Takes one document of scalars and lists of scalars. Aliases, anchors, tags, nested values, empty
// values and names that come twice are refused. Errors are BASE_ERR_USAGE, "WHAT:LINE: reason".
int cli_settings_parse(cli_settings **out, const char *text, size_t len, const char *what,
                       base_err *err);
// The same for a file of at most 1 MiB.
int cli_settings_read(cli_settings **out, const char *path, base_err *err);
void cli_settings_free(cli_settings *s); // NULL is fine

#endif
