// Encoding and decoding: the real vocabulary's vectors where ../shared is, and small vocabularies
// made here.
#include "token_fixture.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define REAL_DIR "../shared/data/kimi-tokenizer"
#define VECTORS "../shared/data/vectors/text_vectors.json"

static token_vocab *small, *real; // real is NULL without ../shared

static int load(void **state) {
    (void)state;
    base_err err = {0};
    small = fixture_vocab(&err);
    if (small && access(REAL_DIR "/tiktoken.model", R_OK) == 0)
        token_vocab_load(&real, REAL_DIR, &err);
    if (err.code)
        fprintf(stderr, "%s\n", err.message);
    return err.code;
}

static int release(void **state) {
    (void)state;
    token_vocab_free(small);
    token_vocab_free(real);
    return 0;
}

static void need_real(void) {
    if (!real) {
        print_message("skipped: no " REAL_DIR "\n");
        skip();
    }
}

static void check_vector(const char *text, size_t len, unsigned flags, json_t *want) {
    base_ids ids = {0};
    token_encode(real, text, len, flags, &ids);
    assert_int_equal(ids.len, json_array_size(want));
    for (size_t i = 0; i < ids.len; i++)
        assert_int_equal(ids.data[i], json_integer_value(json_array_get(want, i)));
    base_ids_free(&ids);
}

static void published_vectors(void **state) {
    (void)state;
    need_real();
    json_t *vectors = json_load_file(VECTORS, JSON_ALLOW_NUL, NULL), *vector;
    assert_true(json_array_size(vectors) >= 40);
    size_t i;
    json_array_foreach(vectors, i, vector) {
        json_t *text = json_object_get(vector, "text"),
               *plain = json_object_get(vector, "ordinary");
        json_t *specials = json_object_get(vector, "with_specials");
        assert_true(json_is_string(text) && json_is_array(plain));
        check_vector(json_string_value(text), json_string_length(text), TOKEN_PLAIN, plain);
        check_vector(json_string_value(text), json_string_length(text), TOKEN_ALLOW_SPECIAL,
                     specials ? specials : plain);
    }
    json_decref(vectors);
}

static void long_runs(void **state) {
    (void)state;
    need_real();
    static const struct {
        char letter;
        size_t ids;
    } cases[] = {{'a', 7500}, {' ', 238}};
    char text[60000];
    for (size_t i = 0; i < 2; i++) {
        base_ids ids = {0};
        memset(text, cases[i].letter, sizeof text);
        token_encode(real, text, sizeof text, TOKEN_PLAIN, &ids);
        assert_int_equal(ids.len, cases[i].ids);
        base_ids_free(&ids);
    }
}

static void real_vocabulary(void **state) {
    (void)state;
    need_real();
    assert_int_equal(token_vocab_ordinary(real), 163584);
    assert_int_equal(token_vocab_size(real), 163840);
    assert_int_equal(token_max_bytes(real), 256);
    assert_true(real->merges.usable);
    assert_int_equal(token_control_id(real, "<|im_end|>"), 163586);
    assert_int_equal(token_control_id(real, "</think>"), 163607);
    assert_int_equal(token_control_id(real, "<|reserved_token_163600|>"), 163600);
    assert_int_equal(token_control_id(real, "<|im_end|"), -1);
    assert_int_equal(token_control_id(real, ""), -1);
    assert_true(token_is_special(real, 163586) && token_is_special(real, 163600));
    assert_true(token_is_control(real, 163607) && !token_is_special(real, 163607));
    assert_false(token_is_control(real, 163583) || token_is_control(real, 163840));
}

// The bytes of every id, encoded, give the id: as a piece of its own (the pattern may cut them),
// and as a control token.
static void check_every_id(const token_vocab *vocab) {
    for (int32_t id = 0; id < token_vocab_size(vocab); id++) {
        size_t len;
        const char *bytes = token_bytes(vocab, id, &len);
        base_ids ids = {0};
        if (token_is_control(vocab, id))
            token_encode(vocab, bytes, len, TOKEN_ALLOW_SPECIAL, &ids);
        else
            token_bpe(vocab, (const unsigned char *)bytes, len, &ids);
        assert_int_equal(ids.len, 1);
        assert_int_equal(ids.data[0], id);
        base_ids_free(&ids);
    }
    size_t len = 1;
    assert_null(token_bytes(vocab, token_vocab_size(vocab), &len));
    assert_int_equal(len, 0);
    assert_null(token_bytes(vocab, -1, &len));
    assert_null(token_bytes(vocab, INT32_MIN, &len));
}

static void every_id(void **state) {
    (void)state;
    check_every_id(small);
    need_real();
    check_every_id(real);
}

static uint32_t draw(uint32_t a, uint32_t b) {
    const uint32_t key[2] = {11, 13}, counter[4] = {a, b};
    return base_rng_philox(key, counter).v[0];
}

// Merging as it is defined, in the plainest way: joins the first pair of the lowest rank until
// there is none.
static void merge_plainly(const token_vocab *vocab, const unsigned char *piece, size_t len,
                          base_ids *out) {
    size_t start[64], n = len; // start[i] of part i, and the end
    assert_true(len < 64);
    for (size_t i = 0; i <= len; i++)
        start[i] = i;
    for (;;) {
        int32_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 2 <= n; i++) {
            int32_t rank = token_trie_find(&vocab->tokens, piece + start[i], piece + start[i + 2]);
            if (rank >= 0 && (best < 0 || rank < best)) {
                best = rank;
                at = i;
            }
        }
        if (best < 0)
            break;
        memmove(start + at + 1, start + at + 2, (n - at - 1) * sizeof *start);
        n--;
    }
    for (size_t i = 0; i < n; i++)
        base_ids_add(out, token_trie_find(&vocab->tokens, piece + start[i], piece + start[i + 1]));
}

static void assert_same_ids(const base_ids *a, const base_ids *b) {
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len * sizeof *a->data);
}

// A piece of bytes that occur in the vocabulary's tokens, put together from parts of them.
static size_t random_piece(const token_vocab *vocab, uint32_t number, unsigned char out[64]) {
    size_t n = 0, target = 1 + draw(number, 0) % 60;
    for (uint32_t i = 1; n < target; i += 2) {
        size_t len;
        const char *bytes =
            token_bytes(vocab, (int32_t)(draw(number, i) % (uint32_t)vocab->ordinary), &len);
        size_t from = draw(number, i + 1) % len;
        for (size_t j = from; j < len && n < target; j++)
            out[n++] = (unsigned char)bytes[j];
    }
    return n;
}

static void check_piece(const token_vocab *vocab, const unsigned char *piece, size_t len) {
    base_ids plain = {0}, by_rank = {0}, by_search = {0};
    merge_plainly(vocab, piece, len, &plain);
    token_bpe_by_rank(vocab, piece, len, &by_rank);
    assert_same_ids(&plain, &by_rank);
    if (vocab->merges.usable) {
        token_bpe_by_search(vocab, piece, len, &by_search);
        assert_same_ids(&plain, &by_search);
    }
    base_ids_free(&plain);
    base_ids_free(&by_rank);
    base_ids_free(&by_search);
}

static void check_merging(const token_vocab *vocab, uint32_t pieces) {
    for (uint32_t number = 0; number < pieces; number++) {
        unsigned char piece[64];
        size_t len = random_piece(vocab, number, piece);
        check_piece(vocab, piece, len);
    }
}

static void merging(void **state) {
    (void)state;
    assert_true(small->merges.usable);
    check_merging(small, 50000);
    need_real();
    check_merging(real, 50000);
}

// Adds up to 16 tokens over two letters: joins of earlier tokens, whose merges are often in the
// order of ids, or any strings, where few are and some tokens cannot be merged at all.
static void add_untrained(fixture_tokens *tokens, uint32_t number) {
    for (uint32_t i = 0; i < 2 + number / 2 % 15; i++) {
        base_str text = {0};
        for (uint32_t part = 0; part < 2 + (number & 1) * (draw(number, 500 + i) % 3); part++) {
            uint32_t pick = draw(number, 8 * i + part) % (uint32_t)(tokens->count - 254);
            size_t len = 1;
            const char *bytes = pick < 2 || number & 1
                                    ? &"ab"[pick & 1]
                                    : fixture_token(tokens, (int)pick + 254, &len);
            base_str_add(&text, bytes, len);
        }
        bool seen = text.len > 64;
        for (int id = 256; id < tokens->count; id++) {
            size_t len;
            const char *bytes = fixture_token(tokens, id, &len);
            seen = seen || (len == text.len && memcmp(bytes, text.data, len) == 0);
        }
        if (!seen)
            fixture_add(tokens, text.data, text.len);
        base_str_free(&text);
    }
}

static void check_two_letters(const token_vocab *vocab, uint32_t number) {
    for (uint32_t j = 0; j < 200; j++) {
        unsigned char piece[40];
        size_t len = 1 + draw(j, number) % sizeof piece;
        for (uint32_t k = 0; k < len; k++)
            piece[k] = draw(j, 1000 + k + number) & 1 ? 'a' : 'b';
        check_piece(vocab, piece, len);
    }
}

// Vocabularies that nobody trained.
static void merging_untrained(void **state) {
    (void)state;
    int usable = 0, unusable = 0;
    for (uint32_t number = 0; number < 400; number++) {
        fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
        fixture_add_bytes(tokens);
        add_untrained(tokens, number);
        base_err err = {0};
        token_vocab *vocab = fixture_load(tokens, &err);
        assert_non_null(vocab);
        usable += vocab->merges.usable;
        unusable += !vocab->merges.usable;
        check_two_letters(vocab, number);
        token_vocab_free(vocab);
        base_str_free(&tokens->bytes);
        base_free(tokens);
    }
    print_message("usable %d of %d\n", usable, usable + unusable);
    assert_true(usable > 20 && unusable > 20);
}

static void check_ids(const char *text, unsigned flags, const int32_t *want, size_t count) {
    base_ids ids = {0};
    token_encode(small, text, strlen(text), flags, &ids);
    assert_int_equal(ids.len, count);
    if (count > 0)
        assert_memory_equal(ids.data, want, count * sizeof *want);
    base_ids_free(&ids);
}

static int32_t byte_id(char byte) {
    return small->tokens.single[(unsigned char)byte];
}

static void control_tokens(void **state) {
    (void)state;
    int32_t bos = token_control_id(small, "[BOS]"), end = token_control_id(small, "<|im_end|>");
    int32_t endx = token_control_id(small, "<|im_end|>x");
    int32_t think = token_control_id(small, "<think>");
    assert_int_equal(bos, token_vocab_ordinary(small));
    assert_int_equal(token_vocab_size(small), bos + 256);
    check_ids("", TOKEN_ALLOW_SPECIAL, NULL, 0);
    check_ids("[BOS][BOS]", TOKEN_ALLOW_SPECIAL, (int32_t[]){bos, bos}, 2);
    check_ids("Q<|im_end|>Q", TOKEN_ALLOW_SPECIAL, (int32_t[]){byte_id('Q'), end, byte_id('Q')}, 3);
    check_ids("<|im_end|>x", TOKEN_ALLOW_SPECIAL, (int32_t[]){endx}, 1); // the longest name
    check_ids("<<think>", TOKEN_ALLOW_SPECIAL, (int32_t[]){byte_id('<'), think}, 2);
    // What stands before a control token is split as if the text ended there: two spaces are one
    // piece, though with a letter behind them they would be two.
    base_ids alone = {0}, before = {0};
    token_encode(small, "  ", 2, TOKEN_PLAIN, &alone);
    token_encode(small, "  <think>", 9, TOKEN_ALLOW_SPECIAL, &before);
    assert_int_equal(before.len, alone.len + 1);
    assert_memory_equal(before.data, alone.data, alone.len * sizeof *alone.data);
    base_ids_free(&alone);
    base_ids_free(&before);
    // Unless allowed, no name is more than text.
    base_ids plain = {0};
    token_encode(small, "<think>[BOS]", 12, TOKEN_PLAIN, &plain);
    for (size_t i = 0; i < plain.len; i++)
        assert_false(token_is_control(small, plain.data[i]));
    base_ids_free(&plain);
}

// The cut comes before control tokens are looked for.
static void control_token_across_a_cut(void **state) {
    (void)state;
    char text[25010];
    memset(text, 'a', sizeof text);
    memcpy(text + 24990, "<think>", 7);
    memcpy(text + 24997, "<think>", 7); // the first 3 bytes before the cut, 4 behind it
    base_ids ids = {0};
    token_encode(small, text, sizeof text, TOKEN_ALLOW_SPECIAL, &ids);
    int found = 0;
    for (size_t i = 0; i < ids.len; i++)
        found += token_is_control(small, ids.data[i]);
    assert_int_equal(found, 1);
    base_ids_free(&ids);
}

// A text given in parts with its control tokens has the ids that the whole has with the names
// spelled, unless a cut falls inside a name: that control token stays.
static void control_tokens_between_parts(void **state) {
    (void)state;
    int32_t end = token_control_id(small, "<|im_end|>"), think = token_control_id(small, "<think>");
    for (size_t first = 24960; first <= 25010; first++)
        for (int spaces = 0; spaces < 2; spaces++) {
            base_str text = {0};
            base_ids parts = {0}, whole = {0};
            token_encoder encoder = {0};
            char filler[26000];
            memset(filler, spaces ? ' ' : 'a', sizeof filler);
            token_encode_text(&encoder, small, filler, first, &parts);
            token_encode_control(&encoder, small, end, &parts);
            token_encode_text(&encoder, small, "", 0, &parts);
            token_encode_control(&encoder, small, think, &parts);
            token_encode_text(&encoder, small, filler, sizeof filler, &parts);
            base_str_add(&text, filler, first);
            base_str_adds(&text, "<|im_end|><think>");
            base_str_add(&text, filler, sizeof filler);
            token_encode(small, text.data, text.len, TOKEN_ALLOW_SPECIAL, &whole);
            // The names are at [first, first + 10) and [first + 10, first + 17).
            bool cut = !spaces && ((first < 25000 && first + 10 > 25000) ||
                                   (first + 10 < 25000 && first + 17 > 25000));
            bool same = parts.len == whole.len &&
                        memcmp(parts.data, whole.data, parts.len * sizeof *parts.data) == 0;
            assert_int_equal(same, !cut);
            int controls = 0;
            for (size_t i = 0; i < parts.len; i++)
                controls += token_is_control(small, parts.data[i]);
            assert_int_equal(controls, 2);
            base_ids_free(&parts);
            base_ids_free(&whole);
            base_str_free(&text);
        }
}

// Any bytes come back, whatever the flags.
static void any_bytes(void **state) {
    (void)state;
    for (uint32_t number = 0; number < 3000; number++) {
        base_str text = {0}, back = {0};
        for (uint32_t i = 0; i < number % 200; i++) {
            uint32_t r = draw(number, i);
            unsigned char byte = (unsigned char)(r >> 8);
            if (r % 8 == 0)
                base_str_adds(&text, r % 16 ? "<|im_end|>" : "\xe4\xb8\xad");
            else
                base_str_add(&text, &byte, 1);
        }
        base_ids ids = {0};
        token_encode(small, text.data ? text.data : "", text.len, number & 1, &ids);
        for (size_t i = 0; i < ids.len; i++) {
            size_t len;
            const char *bytes = token_bytes(small, ids.data[i], &len);
            base_str_add(&back, bytes, len);
        }
        assert_int_equal(back.len, text.len);
        if (text.len > 0)
            assert_memory_equal(back.data, text.data, text.len);
        base_ids_free(&ids);
        base_str_free(&text);
        base_str_free(&back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(real_vocabulary),
        cmocka_unit_test(every_id),
        cmocka_unit_test(merging),
        cmocka_unit_test(merging_untrained),
        cmocka_unit_test(control_tokens),
        cmocka_unit_test(control_token_across_a_cut),
        cmocka_unit_test(control_tokens_between_parts),
        cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, load, release);
}
