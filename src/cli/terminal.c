#include "cli/terminal.h"
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

// ---------------------------------------------------------------------------------------------
// Output

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

// ---------------------------------------------------------------------------------------------
// Lines

enum { HISTORY = 1000 };

struct cli_lines {
    EditLine *editor; // NULL: plain lines
    History *history;
    const char *prompt; // of the line being read; libedit asks for it
    const volatile sig_atomic_t *interrupted;
    char *line;
    size_t cap;
};

static char *get_prompt(EditLine *editor) {
    cli_lines *r = NULL;
    el_get(editor, EL_CLIENTDATA, &r);
    return (char *)r->prompt;
}

// Sleeps until there is something to read; false when Ctrl-C came first. The signal is let in only
// while sleeping, so that one that comes just before is not slept over.
static bool wait_for_input(const cli_lines *r) {
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!*r->interrupted && ppoll(&input, 1, NULL, &before) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !*r->interrupted;
}

// libedit's own reader goes on after a signal.
static int get_character(EditLine *editor, wchar_t *out) {
    cli_lines *r = NULL;
    el_get(editor, EL_CLIENTDATA, &r);
    mbstate_t state = {0};
    for (;;) {
        char byte;
        if (!wait_for_input(r))
            return 0;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        size_t rc = mbrtowc(out, &byte, 1, &state);
        if (rc == (size_t)-1) { // no character of this locale
            *out = L'?';
            return 1;
        }
        if (rc != (size_t)-2)
            return 1;
    }
}

static void start_editor(cli_lines *r) {
    setlocale(LC_CTYPE, ""); // libedit counts columns by it
    r->editor = el_init("abruzzi", stdin, stdout, stderr);
    r->history = r->editor != NULL ? history_init() : NULL;
    if (r->history == NULL) {
        if (r->editor != NULL)
            el_end(r->editor);
        r->editor = NULL;
        return;
    }
    HistEvent event;
    history(r->history, &event, H_SETSIZE, (int)HISTORY);
    history(r->history, &event, H_SETUNIQUE, 1);
    el_set(r->editor, EL_CLIENTDATA, r);
    el_set(r->editor, EL_PROMPT, get_prompt);
    el_set(r->editor, EL_GETCFN, get_character);
    el_set(r->editor, EL_EDITOR, "emacs");
    el_set(r->editor, EL_HIST, history, r->history);
    el_source(r->editor, NULL); // the user's ~/.editrc
}

cli_lines *cli_lines_create(void) {
    cli_lines *r = base_calloc(1, sizeof *r);
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        start_editor(r);
    return r;
}

void cli_lines_free(cli_lines *r) {
    if (r == NULL)
        return;
    if (r->editor != NULL) {
        el_end(r->editor);
        history_end(r->history);
    }
    free(r->line);
    base_free(r);
}

bool cli_lines_editing(const cli_lines *r) {
    return r->editor != NULL;
}

static const char *next_edited(cli_lines *r) {
    int count = 0;
    const char *line = el_gets(r->editor, &count);
    if (*r->interrupted) {
        el_reset(r->editor);
        fputs("\n", stdout);
        return "";
    }
    if (line == NULL || count <= 0)
        return NULL;
    HistEvent event;
    size_t len = strcspn(line, "\n");
    if (len > 0)
        history(r->history, &event, H_ENTER, line);
    free(r->line);
    r->line = strndup(line, len);
    return r->line;
}

const char *cli_lines_next(cli_lines *r, const char *prompt,
                           const volatile sig_atomic_t *interrupted) {
    r->prompt = prompt;
    r->interrupted = interrupted;
    if (r->editor != NULL)
        return next_edited(r);
    errno = 0;
    ssize_t n = getline(&r->line, &r->cap, stdin);
    if (n < 0) {
        if (*interrupted && errno == EINTR) {
            clearerr(stdin);
            return "";
        }
        return NULL;
    }
    if (n > 0 && r->line[n - 1] == '\n')
        r->line[n - 1] = '\0';
    return r->line;
}
