#include "cli/lines.h"
#include "cli/interrupt.h"
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

enum { HISTORY = 1000 };

struct cli_lines {
    EditLine *editor; // NULL: plain lines
    History *history;
    const char *prompt; // of the line being read; libedit asks for it
    bool quiet;
    char *line;
    size_t cap;
    int error; // errno of a read that failed; 0: none did
};

static char *get_prompt(EditLine *editor) {
    cli_lines *l = NULL;
    el_get(editor, EL_CLIENTDATA, &l);
    return (char *)l->prompt;
}

// Sleeps until there is something to read; false when Ctrl-C came first. The signal is let in only
// while sleeping, so that one that comes just before is not slept over.
static bool wait_for_input(void) {
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!cli_interrupted && ppoll(&input, 1, NULL, &before) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !cli_interrupted;
}

// libedit's own reader goes on after a signal.
static int get_character(EditLine *editor, wchar_t *out) {
    (void)editor;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        if (!wait_for_input())
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

static void start_editor(cli_lines *l) {
    setlocale(LC_CTYPE, ""); // libedit counts columns by it
    l->editor = el_init("abruzzi", stdin, stdout, stderr);
    l->history = l->editor != NULL ? history_init() : NULL;
    if (l->history == NULL) {
        if (l->editor != NULL)
            el_end(l->editor);
        l->editor = NULL;
        return;
    }
    HistEvent event;
    history(l->history, &event, H_SETSIZE, (int)HISTORY);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->editor, EL_CLIENTDATA, l);
    el_set(l->editor, EL_PROMPT, get_prompt);
    el_set(l->editor, EL_GETCFN, get_character);
    el_set(l->editor, EL_EDITOR, "emacs");
    el_set(l->editor, EL_HIST, history, l->history);
    el_source(l->editor, NULL); // the user's ~/.editrc
}

cli_lines *cli_lines_create(bool quiet) {
    cli_lines *l = base_calloc(1, sizeof *l);
    l->quiet = quiet;
    if (!quiet && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        start_editor(l);
    return l;
}

void cli_lines_free(cli_lines *l) {
    if (l == NULL)
        return;
    if (l->editor != NULL) {
        el_end(l->editor);
        history_end(l->history);
    }
    free(l->line);
    base_free(l);
}

bool cli_lines_editing(const cli_lines *l) {
    return l->editor != NULL;
}

static const char *next_edited(cli_lines *l, size_t *len) {
    int count = 0;
    const char *line = el_gets(l->editor, &count);
    if (cli_interrupted) {
        el_reset(l->editor);
        fputs("\n", stdout);
        return NULL;
    }
    if (line == NULL || count <= 0)
        return NULL;
    HistEvent event;
    *len = strcspn(line, "\n");
    if (*len > 0)
        history(l->history, &event, H_ENTER, line);
    free(l->line);
    l->line = strndup(line, *len);
    return l->line;
}

static const char *next_plain(cli_lines *l, size_t *len) {
    if (!l->quiet)
        fputs(l->prompt, stdout);
    fflush(stdout);
    ssize_t n = getline(&l->line, &l->cap, stdin);
    if (n < 0) {
        l->error = ferror(stdin) && !cli_interrupted ? errno : 0;
        clearerr(stdin);
        if (!l->quiet)
            fputs("\n", stdout);
        return NULL;
    }
    *len = (size_t)n - (l->line[n - 1] == '\n');
    l->line[*len] = '\0';
    return l->line;
}

const char *cli_lines_next(cli_lines *l, const char *prompt, size_t *len) {
    size_t ignored = 0;
    l->prompt = prompt;
    cli_interrupt_reading();
    const char *line =
        (l->editor != NULL ? next_edited : next_plain)(l, len != NULL ? len : &ignored);
    cli_interrupt_running();
    return cli_interrupted ? NULL : line;
}

int cli_lines_check(const cli_lines *l, base_err *err) {
    if (l->error == 0)
        return 0;
    return base_fail(err, BASE_ERR_RESOURCE, "standard input: %s", strerror(l->error));
}
