// Broken tokenizer files: each is refused with the file and the place, and nothing leaks.
#include "token_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static base_str good_ranks, good_config; // of the 256 bytes and "ab" (id 256) and "abc" (id 257)
enum { ORDINARY = 258 };

static int make_files(void **state) {
    (void)state;
    fixture_tokens *tokens = base_calloc(1, sizeof *tokens);
    fixture_add_bytes(tokens);
    fixture_add(tokens, "ab", 2);
    fixture_add(tokens, "abc", 3);
    fixture_write_ranks(&good_ranks, tokens);
    fixture_write_config(&good_config, tokens->count);
    base_str_free(&tokens->bytes);
    base_free(tokens);
    return 0;
}

static int free_files(void **state) {
    (void)state;
    base_str_free(&good_ranks);
    base_str_free(&good_config);
    return 0;
}

// Loads through files, as a model's would be; NULL stands for a missing one.
static int load(const base_str *ranks, const base_str *config, token_vocab **vocab, base_err *err) {
    char dir[] = "/tmp/abruzzi-test-token-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *paths[2] = {base_path_join(dir, "tiktoken.model"),
                      base_path_join(dir, "tokenizer_config.json")};
    const base_str *files[2] = {ranks, config};
    for (int i = 0; i < 2; i++)
        if (files[i])
            assert_int_equal(
                base_file_write(paths[i], files[i]->data ? files[i]->data : "", files[i]->len, err),
                0);
    int code = token_vocab_load(vocab, dir, err);
    for (int i = 0; i < 2; i++) {
        unlink(paths[i]);
        base_free(paths[i]);
    }
    rmdir(dir);
    return code;
}

static void check_refused(const base_str *ranks, const base_str *config, const char *file,
                          const char *what) {
    base_err err = {0};
    token_vocab *vocab;
    int code = load(ranks, config, &vocab, &err);
    if (code != BASE_ERR_MODEL || !strstr(err.message, file) || !strstr(err.message, what))
        fail_msg("wanted \"%s\" and \"%s\", got %d \"%s\"", file, what, code, err.message);
    assert_null(vocab);
}

static void whole_files(void **state) {
    (void)state;
    base_err err = {0};
    token_vocab *vocab;
    assert_int_equal(load(&good_ranks, &good_config, &vocab, &err), 0);
    assert_int_equal(token_vocab_ordinary(vocab), ORDINARY);
    assert_int_equal(token_vocab_size(vocab), ORDINARY + 256);
    token_vocab_free(vocab);
    check_refused(NULL, &good_config, "tiktoken.model", "");
    check_refused(&good_ranks, NULL, "tokenizer_config.json", "");
    check_refused(&(base_str){0}, &good_config, "tiktoken.model", "no tokens");
    check_refused(&good_ranks, &(base_str){0}, "tokenizer_config.json", "line 1");
}

// Line 8 (rank 7) of the good file is replaced by this.
static const struct {
    const char *line, *what;
} rank_cases[] = {
    {"!!!! 7\n", "line 8: bad base64"},
    {"QQ= 7\n", "line 8: bad base64"},       // too little padding
    {"QQ 7\n", "line 8: bad base64"},        // none
    {"QR== 7\n", "line 8: bad base64"},      // bits that no byte holds
    {"Q=Q= 7\n", "line 8: bad base64"},      // padding inside
    {"==== 7\n", "line 8: bad base64"},      //
    {" 7\n", "line 8: bad base64"},          // the empty token
    {"QUI=\n", "line 8: no"},                // no rank
    {"QUI= \n", "line 8: the rank is not"},  //
    {"QUI= x\n", "line 8: the rank is not"}, //
    {"QUI= -7\n", "line 8: the rank is not"},
    {"QUI= 7 \n", "line 8: the rank is not"},
    {"QUI= 7\r\n", "line 8: the rank is not"},
    {"QUI= 7.0\n", "line 8: the rank is not"},
    {"QUI= 8\n", "rank 8 is already in line 8"},
    {"QUI= 258\n", "none has rank 7"},
    {"QUI= 1048576\n", "line 8: the rank is over"},
    {"QUI= 99999999999999999999999\n", "line 8: the rank is over"},
    {"QUI= 7\n", "the single byte 0x"},         // in place of a byte
    {"YWI= 7\n", "ids 7 and 256 are the same"}, // "ab" again
    {"\n", "none has rank 7"},                  // blank lines are nothing
    {"\xff\xfe 7\n", "line 8: bad base64"},
};

static void broken_ranks(void **state) {
    (void)state;
    const char *start = good_ranks.data;
    for (int i = 0; i < 7; i++)
        start = strchr(start, '\n') + 1;
    const char *rest = strchr(start, '\n') + 1;
    for (size_t i = 0; i < sizeof rank_cases / sizeof *rank_cases; i++) {
        base_str file = {0};
        base_str_add(&file, good_ranks.data, (size_t)(start - good_ranks.data));
        base_str_adds(&file, rank_cases[i].line);
        base_str_adds(&file, rest);
        check_refused(&file, &good_config, "tiktoken.model", rank_cases[i].what);
        base_str_free(&file);
    }
}

static void cut_off_ranks(void **state) {
    (void)state;
    for (size_t len = 0; len + 1 < good_ranks.len; len += 13) {
        base_str file = {.data = good_ranks.data, .len = len};
        check_refused(&file, &good_config, "tiktoken.model", "");
    }
    // Only the last newline may be missing.
    base_err err = {0};
    token_vocab *vocab;
    base_str file = {.data = good_ranks.data, .len = good_ranks.len - 1};
    assert_int_equal(load(&file, &good_config, &vocab, &err), 0);
    token_vocab_free(vocab);
}

static void long_tokens(void **state) {
    (void)state;
    base_str file = {0};
    base_str_add(&file, good_ranks.data, good_ranks.len);
    for (int i = 0; i < 5000; i++)
        base_str_adds(&file, "QUFB");
    base_str_adds(&file, " 258\n");
    check_refused(&file, &good_config, "tiktoken.model", "line 259: a token of more than 1024");
    file.len = good_ranks.len;
    for (int i = 0; i < 342; i++) // 1026 bytes
        base_str_adds(&file, "QUFB");
    base_str_adds(&file, " 258\n");
    check_refused(&file, &good_config, "tiktoken.model", "line 259: a token of more than 1024");
    base_str_free(&file);
    // A line of megabytes without a space.
    base_str huge = {0};
    for (int i = 0; i < 1 << 18; i++)
        base_str_adds(&huge, "QUFBQUFB");
    check_refused(&huge, &good_config, "tiktoken.model", "line 1: no");
    base_str_free(&huge);
}

static const struct {
    const char *text, *what;
} config_cases[] = {
    {"", "line 1"},
    {"{", "line 1"},
    {"[]", "added_tokens_decoder: not an object"},
    {"3", ""},
    {"{} x", "line 1"},
    {"\xff", "line 1"},
    {"{}", "added_tokens_decoder: not an object"},
    {"{\"added_tokens_decoder\": null}", "added_tokens_decoder: not an object"},
    {"{\"added_tokens_decoder\": []}", "added_tokens_decoder: not an object"},
    {"{\"added_tokens_decoder\": {\"258\": null}}", "added_tokens_decoder: \"258\": not an object"},
    {"{\"added_tokens_decoder\": {\"258\": \"x\"}}", "\"258\": not an object"},
    {"{\"added_tokens_decoder\": {\"258\": {}}}", "\"258\": content: not a string"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": 3}}}", "\"258\": content: not a string"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"\"}}}", "\"258\": content: an empty"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"a\\u0000b\"}}}", "line 1"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"a\", \"special\": 1}}}",
     "\"258\": special: not true or false"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"a\", \"special\": \"true\"}}}",
     "\"258\": special: not true or false"},
    {"{\"added_tokens_decoder\": {\"257\": {\"content\": \"a\"}}}", "\"257\": not an id from 258"},
    {"{\"added_tokens_decoder\": {\"-1\": {\"content\": \"a\"}}}", "\"-1\": not an id from"},
    {"{\"added_tokens_decoder\": {\"4354\": {\"content\": \"a\"}}}", "not an id from 258 to 4353"},
    {"{\"added_tokens_decoder\": {\"99999999999999999999\": {\"content\": \"a\"}}}", "not an id"},
    {"{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "\"x\": not an id from"},
    {"{\"added_tokens_decoder\": {\"\": {\"content\": \"a\"}}}", "\"\": not an id from"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"a\"}, \"258\": {\"content\": \"b\"}}}",
     "258"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"a\"}, \"261\": {\"content\": \"a\"}}}",
     "added_tokens_decoder: ids 258 and 261 have the same content"},
    {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"<|reserved_token_300|>\"}}}",
     "ids 258 and 300 have the same content"},
};

static void broken_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof config_cases / sizeof *config_cases; i++) {
        base_str file = {0};
        base_str_adds(&file, config_cases[i].text);
        check_refused(&good_ranks, &file, "tokenizer_config.json", config_cases[i].what);
        base_str_free(&file);
    }
    base_str deep = {0}; // nested too deep to be anything
    for (int i = 0; i < 100000; i++)
        base_str_adds(&deep, "[");
    check_refused(&good_ranks, &deep, "tokenizer_config.json", "line 1");
    base_str_clear(&deep);
    base_str_adds(&deep, "{\"added_tokens_decoder\": {\"258\": {\"content\": \"");
    for (int i = 0; i < 2000; i++)
        base_str_adds(&deep, "x");
    base_str_adds(&deep, "\"}}}");
    check_refused(&good_ranks, &deep, "tokenizer_config.json", "a name of more than 1024 bytes");
    base_str_free(&deep);
}

// Older files name two ids behind the 256.
static void more_control_tokens(void **state) {
    (void)state;
    base_str file = {0};
    base_str_adds(&file, "{\"added_tokens_decoder\": {\"515\": {\"content\": \"[LAST]\"}}}");
    base_err err = {0};
    token_vocab *vocab;
    assert_int_equal(load(&good_ranks, &file, &vocab, &err), 0);
    assert_int_equal(token_vocab_size(vocab), 516);
    assert_int_equal(token_control_id(vocab, "[LAST]"), 515);
    assert_int_equal(token_control_id(vocab, "<|reserved_token_514|>"), 514);
    assert_false(token_is_special(vocab, 515)); // Hugging Face's default
    assert_true(token_is_special(vocab, 514));
    token_vocab_free(vocab);
    base_str_free(&file);
}

// Ranks need not be in the order of lines.
static void lines_in_any_order(void **state) {
    (void)state;
    base_str file = {0};
    base_str_adds(&file, "YWI= 256\n\n");
    const char *first = strstr(good_ranks.data, "YWI= 256\n");
    assert_non_null(first);
    base_str_add(&file, good_ranks.data, (size_t)(first - good_ranks.data));
    base_str_adds(&file, first + 9);
    base_err err = {0};
    token_vocab *vocab;
    assert_int_equal(load(&file, &good_config, &vocab, &err), 0);
    size_t len;
    assert_memory_equal(token_bytes(vocab, 256, &len), "ab", 2);
    assert_memory_equal(token_bytes(vocab, 257, &len), "abc", 3);
    assert_int_equal(len, 3);
    token_vocab_free(vocab);
    base_str_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files),        cmocka_unit_test(broken_ranks),
        cmocka_unit_test(cut_off_ranks),      cmocka_unit_test(long_tokens),
        cmocka_unit_test(broken_configs),     cmocka_unit_test(more_control_tokens),
        cmocka_unit_test(lines_in_any_order),
    };
    return cmocka_run_group_tests(tests, make_files, free_files);
}
