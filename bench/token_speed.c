// Speed of the tokenizer: MB per second of CPU time (it is one thread, and other programs on the
// machine then matter less), the best of several runs, and the time to load.
//   token_speed DIR FILE [RUNS]
// bench/token_speed.py prints it beside tiktoken's on the same text.
#include "token/token.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double encode_seconds(const token_vocab *vocab, const base_str *text, int runs,
                             size_t *count) {
    double best = 0;
    for (int i = 0; i < runs; i++) {
        base_ids ids = {0};
        double start = cpu_seconds();
        token_encode(vocab, text->data, text->len, TOKEN_PLAIN, &ids);
        double seconds = cpu_seconds() - start;
        if (i == 0 || seconds < best)
            best = seconds;
        *count = ids.len;
        base_ids_free(&ids);
    }
    return best;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: token_speed DIR FILE [RUNS]\n");
        return BASE_ERR_USAGE;
    }
    base_err err;
    base_str text = {0};
    token_vocab *vocab = NULL;
    double start = cpu_seconds();
    if (token_vocab_load(&vocab, argv[1], &err) ||
        base_file_read(argv[2], (size_t)1 << 30, BASE_ERR_USAGE, &text, &err)) {
        fprintf(stderr, "token_speed: %s\n", err.message);
        token_vocab_free(vocab);
        return err.code;
    }
    double loaded = cpu_seconds() - start;
    size_t count = 0;
    double seconds = encode_seconds(vocab, &text, argc > 3 ? atoi(argv[3]) : 5, &count);
    printf("{\"bytes\": %zu, \"ids\": %zu, \"MB_per_s\": %.2f, \"load_s\": %.3f}\n", text.len,
           count, (double)text.len / seconds / 1e6, loaded);
    base_str_free(&text);
    token_vocab_free(vocab);
    return 0;
}
