#include "cli/terminal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cli_terminal_init(cli_terminal *t) {
    const char *no_color = getenv("NO_COLOR");
    *t = (cli_terminal){
        .colors = isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0'),
        .at_line_start = true,
    };
}

static void set_style(cli_terminal *t, cli_terminal_style style) {
    if (t->colors && style != t->style)
        fputs(style == CLI_TERMINAL_DIM ? "\033[2m" : "\033[0m", stdout);
    t->style = style;
}

static bool is_harmless(const char *at, size_t n, bool valid) {
    unsigned char first = (unsigned char)at[0];
    if (!valid || first == 0x7f || (first < 0x20 && first != '\n' && first != '\t'))
        return false;
    return !(n == 2 && first == 0xc2 && (unsigned char)at[1] < 0xa0); // U+0080 to U+009F
}

void cli_terminal_write(cli_terminal *t, cli_terminal_style style, const char *text, size_t len) {
    if (len == 0)
        return;
    set_style(t, style);
    for (size_t at = 0, n; at < len; at += n) {
        bool valid;
        n = base_utf8_next(text + at, len - at, &valid);
        if (is_harmless(text + at, n, valid))
            fwrite(text + at, 1, n, stdout);
        else
            fputc('?', stdout);
    }
    t->at_line_start = text[len - 1] == '\n';
    fflush(stdout);
}

void cli_terminal_end(cli_terminal *t) {
    set_style(t, CLI_TERMINAL_PLAIN);
    if (!t->at_line_start)
        fputc('\n', stdout);
    t->at_line_start = true;
    fflush(stdout);
}
