// Draws numbers for the tests that compare with numpy and Python: each line of standard input is a
// generator's seed and what to draw from it, and gives a line of numbers.
//   numpy SEED gamma SHAPE SCALE COUNT     numpy SEED double COUNT
//   python SEED double COUNT               python SEED sample N K
//   python SEED shuffle N                  python SEED below N COUNT
//   pcg SEED integers LOW HIGH COUNT [LOW HIGH COUNT ...]
#include "base/base.h"
#include "measure/random.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *next_word(void) {
    return strtok(NULL, " \n");
}

static uint64_t next_number(void) {
    const char *word = next_word();
    return word != NULL ? strtoull(word, NULL, 10) : 0;
}

static double next_real(void) {
    const char *word = next_word();
    return word != NULL ? strtod(word, NULL) : 0;
}

static void print_numbers(const uint64_t *values, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        printf("%" PRIu64 " ", values[i]);
}

static void draw_mt(measure_mt *m, const char *what) {
    if (strcmp(what, "double") == 0) {
        for (uint64_t n = next_number(); n > 0; n--)
            printf("%.17g ", measure_mt_double(m));
    } else if (strcmp(what, "gamma") == 0) {
        const double shape = next_real(), scale = next_real();
        for (uint64_t n = next_number(); n > 0; n--)
            printf("%.17g ", measure_mt_gamma(m, shape, scale));
    } else if (strcmp(what, "below") == 0) {
        const uint64_t below = next_number();
        for (uint64_t n = next_number(); n > 0; n--)
            printf("%" PRIu64 " ", measure_mt_below(m, below));
    } else if (strcmp(what, "sample") == 0) {
        const uint64_t n = next_number(), k = next_number();
        uint64_t *out = base_calloc(k + 1, sizeof *out);
        measure_mt_sample(m, n, k, out);
        print_numbers(out, k);
        base_free(out);
    } else {
        const uint64_t n = next_number();
        uint64_t *items = base_calloc(n + 1, sizeof *items);
        for (uint64_t i = 0; i < n; i++)
            items[i] = i;
        measure_mt_shuffle(m, items, n);
        print_numbers(items, n);
        base_free(items);
    }
}

static void draw_pcg(measure_pcg *p) {
    const char *word;
    while ((word = next_word()) != NULL) {
        const int64_t low = strtoll(word, NULL, 10);
        word = next_word();
        const int64_t high = word != NULL ? strtoll(word, NULL, 10) : low + 1;
        const size_t n = next_number();
        int64_t *out = base_calloc(n + 1, sizeof *out);
        measure_pcg_integers(p, low, high, n, out);
        for (size_t i = 0; i < n; i++)
            printf("%" PRId64 " ", out[i]);
        base_free(out);
    }
}

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *kind = strtok(line, " \n");
        if (kind == NULL)
            continue;
        const uint64_t seed = next_number();
        measure_mt m;
        measure_pcg p;
        if (strcmp(kind, "pcg") == 0) {
            measure_pcg_seed(&p, seed);
            next_word();
            draw_pcg(&p);
        } else {
            if (strcmp(kind, "numpy") == 0)
                measure_mt_seed_numpy(&m, (uint32_t)seed);
            else
                measure_mt_seed_python(&m, seed);
            const char *what = next_word();
            draw_mt(&m, what != NULL ? what : "");
        }
        putchar('\n');
    }
    return 0;
}
