// Encoding takes linear time: 5 MB of anything take, per byte, at most 3 times what prose takes.
// Only ratios are looked at, of processor time, of the best of several rounds: a round that other
// programs disturbed is followed by another.
#include "token_fixture.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REAL_DIR "../shared/data/kimi-tokenizer"
#define PROSE "../shared/data/gsm8k/train.jsonl"

enum { TEXT_BYTES = 5000000, MIN_ROUNDS = 3, MAX_ROUNDS = 15 };

typedef struct sample {
    const char *name;
    double limit; // times the time of prose
    base_str text;
    double best; // nanoseconds a byte
} sample;

enum { PROSE_TEXT, JSON, LETTER, SPACES, HAN, RANDOM_LETTERS, N_SAMPLES };

static uint32_t draw(uint32_t a, uint32_t b) {
    const uint32_t key[2] = {3, 5}, counter[4] = {a, b};
    return base_rng_philox(key, counter).v[0];
}

static void make_prose(base_str *out) {
    base_str file = {0};
    base_err err;
    assert_int_equal(base_file_read(PROSE, 1 << 24, 1, &file, &err), 0);
    while (out->len < TEXT_BYTES)
        for (char *line = file.data, *end; line[0] && out->len < TEXT_BYTES; line = end + 1) {
            end = strchr(line, '\n');
            json_t *record = json_loadb(line, (size_t)(end - line), 0, NULL);
            base_str_adds(out, json_string_value(json_object_get(record, "question")));
            base_str_adds(out, "\n");
            base_str_adds(out, json_string_value(json_object_get(record, "answer")));
            base_str_adds(out, "\n\n");
            json_decref(record);
        }
    base_str_free(&file);
}

// As programs write it: no spaces but in texts.
static void make_json(base_str *out) {
    base_str_adds(out, "[");
    for (uint32_t i = 0; out->len < TEXT_BYTES; i++) {
        json_t *record =
            json_pack("{s:i, s:f, s:[i,i,b], s:{s:s%, s:n}}", "id", (int)(draw(i, 1) >> 4), "score",
                      (double)draw(i, 2) / 65536.0, "values", (int)(draw(i, 3) % 1000),
                      (int)(i % 7), i & 1, "content", "text",
                      &"the quick brown fox jumps over"[draw(i, 4) % 10], (size_t)20, "parent");
        char *text = json_dumps(record, JSON_COMPACT);
        base_str_adds(out, text);
        base_str_adds(out, ",");
        free(text);
        json_decref(record);
    }
}

// The commonest Han characters, in any order and with nothing between them.
static void make_han(base_str *out, const token_vocab *vocab) {
    int32_t ids[2000], n = 0;
    for (int32_t id = 0; id < vocab->ordinary && n < 2000; id++) {
        size_t len;
        const unsigned char *p = (const unsigned char *)token_bytes(vocab, id, &len);
        if (len == 3 && p[0] >= 0xe5 && p[0] < 0xe9)
            ids[n++] = id;
    }
    for (uint32_t i = 0; out->len < TEXT_BYTES; i++) {
        size_t len;
        const char *bytes = token_bytes(vocab, ids[draw(i, 9) % (uint32_t)n], &len);
        base_str_add(out, bytes, len);
    }
}

static double seconds_used(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void measure(const token_vocab *vocab, sample *s) {
    base_ids ids = {0};
    double start = seconds_used();
    token_encode(vocab, s->text.data, s->text.len, TOKEN_PLAIN, &ids);
    double each = 1e9 * (seconds_used() - start) / (double)s->text.len;
    if (s->best == 0 || each < s->best)
        s->best = each;
    base_ids_free(&ids);
}

static bool within_limits(const sample *samples) {
    for (int i = 0; i < N_SAMPLES; i++)
        if (samples[i].best > samples[i].limit * samples[PROSE_TEXT].best)
            return false;
    return true;
}

static void as_fast_as_prose(void **state) {
    (void)state;
    if (access(REAL_DIR "/tiktoken.model", R_OK) || access(PROSE, R_OK)) {
        print_message("skipped: no ../shared\n");
        skip();
    }
    base_err err;
    token_vocab *vocab;
    assert_int_equal(token_vocab_load(&vocab, REAL_DIR, &err), 0);
    // A word of millions of random letters is nobody's text; it only must not be quadratic.
    sample samples[N_SAMPLES] = {
        [PROSE_TEXT] = {.name = "prose", .limit = 1},
        [JSON] = {.name = "minified JSON", .limit = 3},
        [LETTER] = {.name = "one letter", .limit = 3},
        [SPACES] = {.name = "spaces", .limit = 3},
        [HAN] = {.name = "Han", .limit = 3},
        [RANDOM_LETTERS] = {.name = "random letters", .limit = 10},
    };
    make_prose(&samples[PROSE_TEXT].text);
    make_json(&samples[JSON].text);
    make_han(&samples[HAN].text, vocab);
    for (uint32_t i = 0; i < TEXT_BYTES; i++) {
        char letter = (char)('a' + draw(i, 77) % 26);
        base_str_adds(&samples[LETTER].text, "a");
        base_str_adds(&samples[SPACES].text, " ");
        base_str_add(&samples[RANDOM_LETTERS].text, &letter, 1);
    }
    for (int round = 0; round < MAX_ROUNDS; round++) {
        for (int i = 0; i < N_SAMPLES; i++)
            measure(vocab, &samples[i]);
        if (round + 1 >= MIN_ROUNDS && within_limits(samples))
            break;
    }
    for (int i = 0; i < N_SAMPLES; i++) {
        print_message("%-15s %6.1f ns a byte, %5.2f times prose\n", samples[i].name,
                      samples[i].best, samples[i].best / samples[PROSE_TEXT].best);
        base_str_free(&samples[i].text);
    }
    assert_true(within_limits(samples));
    token_vocab_free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_fast_as_prose)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
