// The script file of a replay: what it gives the backend, which script a prompt gets, and what is
// refused with file, line and field.
#include "api_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { EOS = 999 };

static api_fixture fixture;
static char path[] = "/tmp/abruzzi-replay-XXXXXX";

static int load(void **state) {
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    api_fixture_make(&fixture);
    return 0;
}

static int release(void **state) {
    (void)state;
    unlink(path);
    api_fixture_free(&fixture);
    return 0;
}

static int try_load(api_replay **out, const char *text, size_t len, base_err *err) {
    assert_int_equal(base_file_write(path, text, len, NULL), 0);
    return api_replay_load(out, path, fixture.vocab, EOS, err);
}

static api_replay *loaded(const char *text) {
    api_replay *r;
    base_err err = {0};
    if (try_load(&r, text, strlen(text), &err))
        fail_msg("%s", err.message);
    assert_non_null(r);
    return r;
}

static void scripts_are_as_written(void **state) {
    (void)state;
    int n;
    api_replay *r = loaded("{\"match\":\"weather\",\"token_ids\":[1,2,3]}\n"
                           "\n  \t\r\n"
                           "{\"match\":\"*\",\"text\":\"The<|im_end|>\",\"chunks\":[1,20,3],"
                           "\"delay_ms\":1.5,\"prefill_ms\":20,\"finish\":\"length\"}\r\n"
                           "{\"match\":\"empty\",\"text\":\"\",\"finish\":\"stop\"}");
    const backend_script *s = api_replay_scripts(r, &n);
    assert_int_equal(n, 3);
    assert_true(s[0].n_ids == 4 && s[0].ids[0] == 1 && s[0].ids[2] == 3 && s[0].ids[3] == EOS);
    assert_true(s[0].n_chunks == 0 && s[0].step_ns == 0 && s[0].prefill_ns == 0);
    base_ids ids = {0};
    token_encode(fixture.vocab, "The<|im_end|>", 13, TOKEN_ALLOW_SPECIAL, &ids);
    assert_int_equal(s[1].n_ids, ids.len); // its length ends it, not an end of turn
    assert_memory_equal(s[1].ids, ids.data, ids.len * sizeof *ids.data);
    assert_int_equal(ids.data[ids.len - 1], token_control_id(fixture.vocab, "<|im_end|>"));
    assert_true(s[1].n_chunks == 3 && s[1].chunks[0] == 1 && s[1].chunks[1] == 20);
    assert_true(s[1].step_ns == 1500000 && s[1].prefill_ns == 20000000);
    assert_true(s[2].n_ids == 1 && s[2].ids[0] == EOS);
    base_ids_free(&ids);
    api_replay_free(r);
}

static int match(const api_replay *r, const char *text) {
    return api_replay_match(r, text, strlen(text));
}

static void first_match_wins(void **state) {
    (void)state;
    api_replay *r = loaded("{\"match\":\"<|im_user|>user<|im_middle|>hi\",\"token_ids\":[]}\n"
                           "{\"match\":\"hi\",\"token_ids\":[]}\n"
                           "{\"match\":\"h\",\"token_ids\":[]}\n");
    assert_int_equal(match(r, "<|im_user|>user<|im_middle|>hi<|im_end|>"), 0);
    assert_int_equal(match(r, "oh hi"), 1);
    assert_int_equal(match(r, "oh"), 2);
    assert_int_equal(match(r, "x"), -1);
    assert_int_equal(api_replay_match(r, "h", 0), -1);
    assert_int_equal(api_replay_match(r, NULL, 0), -1);
    api_replay_free(r);
    r = loaded("{\"match\":\"a\",\"token_ids\":[]}\n{\"match\":\"*\",\"token_ids\":[]}");
    assert_int_equal(match(r, "b"), 1);
    assert_int_equal(match(r, ""), 1);
    api_replay_free(r);
}

static void wrong_files(void **state) {
    (void)state;
    static const struct {
        const char *line, *field;
    } cases[] = {
        {"x", "not JSON"},
        {"{\"match\":\"*\",\"text\":\"a\"} {}", "not JSON"},
        {"{\"match\":\"*\",\"match\":\"*\",\"text\":\"a\"}", "not JSON"},
        {"[1]", "not a JSON object"},
        {"{\"text\":\"a\"}", "match"},
        {"{\"match\":\"\",\"text\":\"a\"}", "match"},
        {"{\"match\":1,\"text\":\"a\"}", "match"},
        {"{\"match\":\"*\"}", "text"},
        {"{\"match\":\"*\",\"text\":\"a\",\"token_ids\":[1]}", "text"},
        {"{\"match\":\"*\",\"text\":1}", "text"},
        {"{\"match\":\"*\",\"token_ids\":\"a\"}", "token_ids"},
        {"{\"match\":\"*\",\"token_ids\":[1,-1]}", "token_ids[1]"},
        {"{\"match\":\"*\",\"token_ids\":[1024]}", "token_ids[0]"},
        {"{\"match\":\"*\",\"token_ids\":[1.0]}", "token_ids[0]"},
        {"{\"match\":\"*\",\"text\":\"a\",\"chunks\":[]}", "chunks"},
        {"{\"match\":\"*\",\"text\":\"a\",\"chunks\":3}", "chunks"},
        {"{\"match\":\"*\",\"text\":\"a\",\"chunks\":[1,0]}", "chunks[1]"},
        {"{\"match\":\"*\",\"text\":\"a\",\"chunks\":[1e3]}", "chunks[0]"},
        {"{\"match\":\"*\",\"text\":\"a\",\"delay_ms\":-1}", "delay_ms"},
        {"{\"match\":\"*\",\"text\":\"a\",\"delay_ms\":\"1\"}", "delay_ms"},
        {"{\"match\":\"*\",\"text\":\"a\",\"prefill_ms\":1e12}", "prefill_ms"},
        {"{\"match\":\"*\",\"text\":\"a\",\"finish\":\"abort\"}", "finish"},
        {"{\"match\":\"*\",\"text\":\"a\",\"finish\":null}", "finish"},
        {"{\"match\":\"*\",\"text\":\"\",\"finish\":\"length\"}", "finish"},
        {"{\"match\":\"*\",\"text\":\"a\",\"chunk\":[1]}", "chunk"},
        {"{\"match\":\"*\",\"text\":\"\\ud800\"}", "not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str file = {0};
        char want[128];
        base_err err = {0};
        api_replay *r;
        base_str_printf(&file, "{\"match\":\"a\",\"text\":\"b\"}\n\n%s\n", cases[i].line);
        assert_int_equal(try_load(&r, file.data, file.len, &err), BASE_ERR_USAGE);
        assert_null(r);
        snprintf(want, sizeof want, "%s: line 3: %s:", path, cases[i].field);
        if (strncmp(err.message, want, strlen(want) - 1) != 0)
            fail_msg("%s\nbut: %s", want, err.message);
        base_str_free(&file);
    }
    base_err err = {0};
    api_replay *r;
    assert_int_equal(try_load(&r, "\n\n", 2, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(try_load(&r, "\0\n", 2, &err), BASE_ERR_USAGE);
    assert_int_equal(api_replay_load(&r, "/tmp/no/such/file", fixture.vocab, EOS, &err),
                     BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "/tmp/no/such/file"));
}

// A request finds its scripts by the text of its prompts, whatever they came as.
static void requests_find_their_scripts(void **state) {
    (void)state;
    api_replay *r =
        loaded("{\"match\":\"<|im_user|>user<|im_middle|>hi<|im_end|>\",\"text\":\"a\"}\n"
               "{\"match\":\" the water\",\"text\":\"b\"}\n"
               "{\"match\":\"<|im_end|>x\",\"text\":\"c\"}\n");
    api_options o = fixture.options;
    api_error error;
    api_call *c;
    o.replay = r;
    static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    assert_int_equal(api_call_parse(&c, API_CHAT, &o, chat, strlen(chat), "i", &error), 0);
    assert_int_equal(c->prompts->script, 0);
    api_call_free(c);

    static const char two[] = "{\"prompt\":[\"<|im_end|>x\",\"so the water\"]}";
    assert_int_equal(api_call_parse(&c, API_COMPLETION, &o, two, strlen(two), "i", &error), 0);
    assert_true(c->prompts[0].script == 2 && c->prompts[1].script == 1);
    api_call_free(c);

    base_ids ids = {0};
    base_str body = {0};
    token_encode(fixture.vocab, " the water", 10, TOKEN_PLAIN, &ids);
    base_str_adds(&body, "{\"prompt\":[");
    for (size_t i = 0; i < ids.len; i++)
        base_str_printf(&body, i ? ",%d" : "%d", ids.data[i]);
    base_str_adds(&body, "]}");
    assert_int_equal(api_call_parse(&c, API_COMPLETION, &o, body.data, body.len, "i", &error), 0);
    assert_int_equal(c->prompts->script, 1);
    api_call_free(c);
    base_ids_free(&ids);
    base_str_free(&body);

    // None: the end of the prompt is shown, on a character's boundary.
    static const char none[] = "{\"prompt\":\"0123456789\xc3\xa9"
                               "abcdefghijklmnopqrstuvwxyz"
                               "abcdefghijklmnopqrstuvwxyz"
                               "01234\\u00e9"
                               "\"}";
    assert_int_equal(api_call_parse(&c, API_COMPLETION, &o, none, strlen(none), "i", &error), 500);
    assert_null(c);
    assert_string_equal(error.type, "InternalServerError");
    assert_non_null(strstr(error.message, ": abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
                                          "01234\xc3\xa9"));
    api_replay_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts_are_as_written),
        cmocka_unit_test(first_match_wins),
        cmocka_unit_test(wrong_files),
        cmocka_unit_test(requests_find_their_scripts),
    };
    return cmocka_run_group_tests(tests, load, release);
}
