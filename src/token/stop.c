// Stop strings: a window of held text that is searched whenever more arrives.
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

int token_stop_push(token_stop *stop, const char *text, size_t len, base_str *out) {
    if (len == 0)
        return -1;
    base_str_add(&stop->window, text, len);
    const char *window = stop->window.data;
    int found = -1;
    size_t found_start = 0, found_end = 0;
    for (int i = 0; i < stop->n; i++) {
        const char *at = memmem(window, stop->window.len, stop->strings[i], stop->lens[i]);
        if (!at)
            continue;
        size_t start = (size_t)(at - window), end = start + stop->lens[i];
        if (found < 0 || end < found_end || (end == found_end && start < found_start)) {
            found = i;
            found_start = start;
            found_end = end;
        }
    }
    if (found >= 0) {
        give(stop, stop->include ? found_end : found_start, out);
        base_str_clear(&stop->window);
        return found;
    }
    if (stop->window.len > stop->hold) {
        size_t ready = stop->window.len - stop->hold;
        while (ready > 0 && stop->hold > 0 && is_continuation(window[ready]))
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
