// abruzzi completion and abruzzi man: what the option table can print about itself.
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static int print(void (*make)(const cli_table *table, base_str *out)) {
    base_str text = {0};
    make(&cli_the_table, &text);
    fwrite(text.data, 1, text.len, stdout);
    base_str_free(&text);
    return 0;
}

int cmd_completion(const cli_options *o, base_err *err) {
    const char *shell = cli_argument(o, 0);
    if (strcmp(shell, "bash") != 0)
        return base_fail(err, BASE_ERR_USAGE, "there is no completion for '%s', only for bash",
                         shell);
    return print(cli_print_bash_completion);
}

int cmd_man(const cli_options *o, base_err *err) {
    (void)o;
    (void)err;
    return print(cli_print_man);
}
