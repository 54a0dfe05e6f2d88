// Stop strings: a window of held text; whenever more arrives, each new end is looked at.
#include "token/token.h"

#include <string.h>

struct token_stop {
    int n;
    char **strings; // [n] of lens[n] bytes
    size_t *lens;
    size_t hold; // bytes that must stay behind
    bool include;
    base_str window; // text not yet given out; contains no complete stop string between pushes
};

token_stop *token_stop_create(const char *const *strings, const size_t *lens, int n, bool include) {
    token_stop *stop = base_calloc(1, sizeof *stop);
    stop->n = n;
    stop->include = include;
    stop->strings = base_calloc((size_t)n + 1, sizeof *stop->strings);
    stop->lens = base_calloc((size_t)n + 1, sizeof *stop->lens);
    for (int i = 0; i < n; i++) {
        stop->strings[i] = base_alloc(lens[i] + 1);
        memcpy(stop->strings[i], strings[i], lens[i]);
        stop->lens[i] = lens[i];
        if (lens[i] > stop->hold + 1)
            stop->hold = lens[i] - 1;
    }
    return stop;
}

void token_stop_free(token_stop *stop) {
    if (!stop)
        return;
    for (int i = 0; i < stop->n; i++)
        base_free(stop->strings[i]);
    base_free(stop->strings);
    base_free(stop->lens);
    base_str_free(&stop->window);
    base_free(stop);
}

// Moves the first `len` bytes of the window to `out`.
static void give(token_stop *stop, size_t len, base_str *out) {
    base_str_add(out, stop->window.data, len);
    stop->window.len -= len;
    memmove(stop->window.data, stop->window.data + len, stop->window.len + 1);
}

static bool is_continuation(char byte) {
    return ((unsigned char)byte & 0xc0) == 0x80;
}

// The longest stop string that ends with the first `end` bytes of the window, or -1. Looking at
// ends costs less than searching for strings, which may be long and many, each time a token comes.
static int ending_at(const token_stop *stop, size_t end) {
    const char *window = stop->window.data;
    int best = -1;
    for (int i = 0; i < stop->n; i++) {
        size_t len = stop->lens[i];
        if (len == 0 || len > end || stop->strings[i][len - 1] != window[end - 1] ||
            (best >= 0 && len <= stop->lens[best]))
            continue;
        if (memcmp(window + end - len, stop->strings[i], len) == 0)
            best = i;
    }
    return best;
}

// Shows what precedes the stop string, and it as well if that is wanted.
static int found(token_stop *stop, int which, size_t end, base_str *out) {
    give(stop, stop->include ? end : end - stop->lens[which], out);
    base_str_clear(&stop->window);
    return which;
}

int token_stop_push(token_stop *stop, const char *text, size_t len, base_str *out) {
    if (len == 0)
        return -1;
    size_t end = stop->window.len;
    base_str_add(&stop->window, text, len);
    while (end++ < stop->window.len) { // nothing ends in what was there before
        int which = ending_at(stop, end);
        if (which >= 0)
            return found(stop, which, end, out);
    }
    if (stop->window.len > stop->hold) {
        size_t ready = stop->window.len - stop->hold;
        while (ready > 0 && stop->hold > 0 && is_continuation(stop->window.data[ready]))
            ready--;
        if (ready > 0)
            give(stop, ready, out);
    }
    return -1;
}

void token_stop_end(token_stop *stop, base_str *out) {
    if (stop->window.len > 0)
        give(stop, stop->window.len, out);
}
