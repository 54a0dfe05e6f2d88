#include "cli/bar.h"
#include "base/base.h"
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROW = 10, EIGHTHS = 8, INTERVAL_NS = 100000000 };

// What is left of the line beside `others` columns; a fixed width where nobody knows it.
static int bar_width(int others) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return NARROW;
    return base_max_int(size.ws_col - others, 1);
}

static void add_duration(base_str *out, double seconds) {
    long s = (long)seconds;
    if (s >= 3600)
        base_str_printf(out, "%ld:", s / 3600);
    base_str_printf(out, "%02ld:%02ld", s / 60 % 60, s % 60);
}

// " 3/10 [00:01<00:02,  2.50it/s]"
static void add_numbers(base_str *out, const cli_bar *b, double seconds) {
    double rate = seconds > 0 ? b->done / seconds : 0;
    base_str_printf(out, " %d/%d [", b->done, b->total);
    add_duration(out, seconds);
    base_str_adds(out, "<");
    if (rate > 0)
        add_duration(out, (b->total - b->done) / rate);
    else
        base_str_adds(out, "?");
    if (rate <= 0)
        base_str_adds(out, ", ?it/s]");
    else if (rate < 1)
        base_str_printf(out, ", %5.2fs/it]", 1 / rate);
    else
        base_str_printf(out, ", %5.2fit/s]", rate);
}

static void add_bar(base_str *out, const cli_bar *b, int width) {
    static const char *const parts[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int64_t eighths = b->total > 0 ? (int64_t)b->done * width * EIGHTHS / b->total : 0;
    int full = (int)(eighths / EIGHTHS);
    for (int i = 0; i < full; i++)
        base_str_adds(out, "█");
    if (full < width)
        base_str_printf(out, "%s%*s", parts[eighths % EIGHTHS], width - full - 1, "");
}

static void draw(cli_bar *b) {
    base_str line = {0}, numbers = {0};
    b->drawn_ns = base_now_ns();
    add_numbers(&numbers, b, (double)(b->drawn_ns - b->start_ns) * 1e-9);
    base_str_printf(&line, "\r%3.0f%%|", b->total > 0 ? 100.0 * b->done / b->total : 0.0);
    add_bar(&line, b, bar_width(6 + (int)numbers.len));
    base_str_printf(&line, "|%s", numbers.data);
    fwrite(line.data, 1, line.len, stderr);
    base_str_free(&line);
    base_str_free(&numbers);
}

void cli_bar_begin(cli_bar *b, int total, bool off) {
    *b = (cli_bar){.total = total, .off = off, .start_ns = base_now_ns()};
    if (!off)
        draw(b);
}

void cli_bar_set(cli_bar *b, int done) {
    b->done = done;
    if (!b->off && base_now_ns() - b->drawn_ns >= INTERVAL_NS)
        draw(b);
}

void cli_bar_end(cli_bar *b) {
    if (b->off)
        return;
    draw(b);
    fputc('\n', stderr);
}
