// Configuration files: what they may say, what is refused and how, and who wins over whom.
#include "cli/cli.h"
#include "cli/settings.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static base_err err;

static cli_settings *parse_bytes(const char *text, size_t len) {
    cli_settings *s;
    err = (base_err){0};
    int rc = cli_settings_parse(&s, text, len, "f", &err);
    assert_int_equal(rc, err.code);
    assert_true((rc == 0) == (s != NULL));
    return s;
}

static cli_settings *parse(const char *text) {
    return parse_bytes(text, strlen(text));
}

static void test_values(void **unused) {
    (void)unused;
    cli_settings *s = parse("# a comment\n"
                            "port: 8080\n"
                            "host: \"::1\"\n"
                            "served_model_name: [a, 'b c']\n"
                            "api-key:\n"
                            "  - k1\n"
                            "  - k2\n"
                            "empty: \"\"\n"
                            "none: []\n"
                            "text: |\n"
                            "  two\n"
                            "  lines\n");
    assert_non_null(s);
    const struct {
        const char *name;
        int line, n;
        bool list;
        const char *values[2];
    } expected[] = {
        {"port", 2, 1, false, {"8080"}},
        {"host", 3, 1, false, {"::1"}},
        {"served_model_name", 4, 2, true, {"a", "b c"}},
        {"api-key", 5, 2, true, {"k1", "k2"}},
        {"empty", 8, 1, false, {""}},
        {"none", 9, 0, true, {NULL}},
        {"text", 10, 1, false, {"two\nlines\n"}},
    };
    assert_int_equal(s->n, sizeof expected / sizeof *expected);
    for (int i = 0; i < s->n; i++) {
        assert_string_equal(s->at[i].name, expected[i].name);
        assert_int_equal(s->at[i].line, expected[i].line);
        assert_int_equal(s->at[i].list, expected[i].list);
        assert_int_equal(s->at[i].n_values, expected[i].n);
        for (int j = 0; j < expected[i].n; j++)
            assert_string_equal(s->at[i].values[j], expected[i].values[j]);
    }
    cli_settings_free(s);
}

static void test_nothing(void **unused) {
    (void)unused;
    static const char *const texts[] = {
        "",     "\n\n",   "# only a comment\n", "---\n", "---\n...\n",
        "{}\n", "null\n", "%YAML 1.1\n---\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cli_settings *s = parse(texts[i]);
        assert_non_null(s);
        assert_int_equal(s->n, 0);
        cli_settings_free(s);
    }
}

static void test_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"- a\n", "f:1: must be lines of the form \"flag: value\""},
        {"serve\n", "f:1: must be lines of the form \"flag: value\""},
        {"port: 1\nport: 2\n", "f:2: port is on line 1 already"},
        {"a-b: 1\nx: 1\na_b: 2\n", "f:3: a_b is on line 1 already"},
        {"port:\n", "f:1: port: has no value"},
        {"port: ~\n", "f:1: port: has no value"},
        {"port: [1, null]\n", "f:1: port: has no value"},
        {"port: {a: 1}\n", "f:1: port: must be a value or a list of values"},
        {"port:\n  a: 1\n", "f:2: port: must be a value or a list of values"},
        {"port: [[1]]\n", "f:1: port: must be a value or a list of values"},
        {"? [a]\n: 1\n", "f:1: a flag's name is expected here"},
        {"? {a: 1}\n: 1\n", "f:1: a flag's name is expected here"},
        {"~: 1\n", "f:1: a flag's name is missing"},
        {"a: &x 1\nb: 2\n", "f:1: anchors (&) are not supported"},
        {"a: &x [1]\n", "f:1: anchors (&) are not supported"},
        {"a: [1, &x 2, *x]\n", "f:1: anchors (&) are not supported"},
        {"a: *x\n", "f:1: aliases (*) are not supported"},
        {"&x a: 1\n", "f:1: anchors (&) are not supported"},
        {"&x {a: 1}\n", "f:1: anchors (&) and tags (!) are not supported"},
        {"!!map {a: 1}\n", "f:1: anchors (&) and tags (!) are not supported"},
        {"a: !!int 1\n", "f:1: tags (!) are not supported"},
        {"a: !!python/object:os.system x\n", "f:1: tags (!) are not supported"},
        {"a: !x [1]\n", "f:1: tags (!) are not supported"},
        {"a: \"x\\0y\"\n", "f:1: a NUL character cannot be part of a value"},
        {"a: 1\n---\nb: 2\n", "f:2: only one document is expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(parse(cases[i].text));
        assert_int_equal(err.code, BASE_ERR_USAGE);
        assert_string_equal(err.message, cases[i].message);
    }
}

// Not YAML at all: a line or an offset is named, whatever libyaml's words are.
static void test_broken(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *begin;
    } cases[] = {
        {"a: 1\nb: [1\n", "f:3: "},   {"a: 1\n\tb: 2\n", "f:2: "}, {"a: 'x\n", "f:2: "},
        {"a: 1\n  b: 2\n", "f:2: "},  {"a: \"\\q\"\n", "f:1: "},   {"@\n", "f:1: "},
        {"a: \xff\xfe\xfd\n", "f: "}, {"a: \x01\n", "f: "},        {"a: b: c\n", "f:1: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(parse(cases[i].text));
        assert_int_equal(err.code, BASE_ERR_USAGE);
        assert_memory_equal(err.message, cases[i].begin, strlen(cases[i].begin));
    }
    assert_null(parse_bytes("a: x\0y\n", 7));
}

static void test_bounds(void **unused) {
    (void)unused;
    base_str text = {0};
    for (int i = 0; i < 256; i++)
        base_str_printf(&text, "k%d: v\n", i);
    cli_settings *s = parse(text.data);
    assert_non_null(s);
    cli_settings_free(s);
    base_str_adds(&text, "more: v\n");
    assert_null(parse(text.data));
    assert_string_equal(err.message, "f:257: too many settings");

    base_str_clear(&text);
    base_str_adds(&text, "a: [v");
    for (int i = 0; i < 1024; i++)
        base_str_adds(&text, ",v");
    base_str_adds(&text, "]\n");
    assert_null(parse(text.data));
    assert_string_equal(err.message, "f:1: too many values");

    // Depth costs nothing, because the first level is refused.
    base_str_clear(&text);
    base_str_adds(&text, "a: ");
    for (int i = 0; i < 100000; i++)
        base_str_adds(&text, "[");
    assert_null(parse(text.data));
    assert_string_equal(err.message, "f:1: a: must be a value or a list of values");
    base_str_free(&text);
}

// ---------------------------------------------------------------------------------------------
// Together with flags and the environment

enum { RUN = 1 };

static const cli_row rows[] = {
    {.name = "config", .type = CLI_STRING, .commands = RUN},
    {.name = "port", .type = CLI_INT, .fallback = "1", .low = 0, .high = 65535, .commands = RUN},
    {.name = "host", .type = CLI_STRING, .fallback = "localhost", .commands = RUN},
    {.name = "enable-log-requests",
     .alias = "--log-requests",
     .inverse = "disable-log-requests",
     .type = CLI_BOOL,
     .fallback = "true",
     .commands = RUN},
    {.name = "device",
     .type = CLI_CHOICE,
     .fallback = "cpu",
     .words = "cpu",
     .later = "cuda",
     .commands = RUN},
    {.name = "served-model-name", .type = CLI_WORDS, .commands = RUN},
    {.name = "ids", .type = CLI_IDS, .low = 0, .high = 9, .commands = RUN},
    {.name = "api-key", .type = CLI_WORDS, .commands = RUN, .secret = true},
    {.name = "chat-template", .type = CLI_STRING, .refusal = "no", .commands = RUN},
    {.name = "help", .alias = "-h", .type = CLI_BOOL, .commands = RUN},
};
static const cli_command commands[] = {
    {.name = "run", .bit = RUN, .arguments = "[MODEL]", .max_arguments = 2}};
static const cli_section section = {rows, sizeof rows / sizeof *rows};
static const cli_section *const sections[] = {&section};
static const cli_table table = {sections, 1, commands, 1};

static char path[] = "/tmp/abruzzi-settings-XXXXXX";

static int make_path(void **unused) {
    (void)unused;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **unused) {
    (void)unused;
    return unlink(path);
}

static cli_options *parse_args(const char *const *args) {
    int n = 0;
    while (args[n] != NULL)
        n++;
    cli_options *o;
    err = (base_err){0};
    int rc = cli_options_parse(&o, &table, commands, n, (char *const *)args, &err);
    assert_int_equal(rc, err.code);
    return o;
}

#define PARSE(...) parse_args((const char *const[]){__VA_ARGS__, NULL})

static cli_options *parse_file(const char *text) {
    assert_int_equal(base_file_write(path, text, strlen(text), &err), 0);
    return PARSE("--config", path);
}

// A file that must be refused with this message behind its name.
static void refused_file(const char *text, const char *message) {
    assert_null(parse_file(text));
    assert_int_equal(err.code, BASE_ERR_USAGE);
    base_str expected = {0};
    base_str_printf(&expected, "--config: %s:%s", path, message);
    assert_string_equal(err.message, expected.data);
    base_str_free(&expected);
}

static void test_precedence(void **unused) {
    (void)unused;
    static const char text[] = "port: 2\nhost: file\nserved_model_name: [f, g]\n";
    cli_options *o = parse_file(text);
    assert_non_null(o);
    assert_int_equal(cli_int(o, "port"), 2);
    assert_string_equal(cli_string(o, "host"), "file");
    assert_true(cli_given(o, "host") && !cli_flagged(o, "host"));
    assert_false(cli_given(o, "ids"));
    cli_options_free(o);

    setenv("ABRUZZI_PORT", "3", 1);
    setenv("ABRUZZI_SERVED_MODEL_NAME", "e", 1);
    o = PARSE("--config", path);
    assert_int_equal(cli_int(o, "port"), 3);
    int n;
    const char *const *names = cli_strings(o, "served-model-name", &n);
    assert_int_equal(n, 1); // a list is replaced, not added to
    assert_string_equal(names[0], "e");
    cli_options_free(o);

    o = PARSE("--port=4", "--config", path, "--served-model-name", "a", "b");
    assert_int_equal(cli_int(o, "port"), 4);
    names = cli_strings(o, "served-model-name", &n);
    assert_int_equal(n, 2);
    assert_string_equal(names[1], "b");
    assert_string_equal(cli_string(o, "host"), "file");
    cli_options_free(o);
    unsetenv("ABRUZZI_PORT");
    unsetenv("ABRUZZI_SERVED_MODEL_NAME");

    setenv("ABRUZZI_CONFIG", path, 1);
    o = PARSE("model");
    assert_int_equal(cli_int(o, "port"), 2);
    cli_options_free(o);
    unsetenv("ABRUZZI_CONFIG");
}

static void test_kinds(void **unused) {
    (void)unused;
    cli_options *o = parse_file("enable_log_requests: no\nids: [1, '2,3']\nserved-model-name: one\n"
                                "api_key: [geheim]\ndevice: cpu\n");
    assert_non_null(o);
    assert_false(cli_bool(o, "enable-log-requests"));
    assert_int_equal(cli_ids(o, "ids")->len, 3);
    base_str text = {0};
    cli_options_describe(o, &text);
    assert_null(strstr(text.data, "geheim"));
    assert_non_null(strstr(text.data, "'api_key': '***'"));
    base_str_free(&text);
    cli_options_free(o);

    static const struct {
        const char *line;
        bool value;
    } bools[] = {
        {"enable-log-requests: true\n", true},
        {"enable-log-requests: False\n", false},
        {"no-enable-log-requests: true\n", false},
        {"no_enable_log_requests: false\n", true},
        {"disable-log-requests: true\n", false},
        {"disable-log-requests: off\n", true},
        {"log-requests: on\n", true},
    };
    for (size_t i = 0; i < sizeof bools / sizeof *bools; i++) {
        o = parse_file(bools[i].line);
        assert_non_null(o);
        assert_int_equal(cli_bool(o, "enable-log-requests"), bools[i].value);
        cli_options_free(o);
    }
}

static void test_refused_files(void **unused) {
    (void)unused;
    refused_file("host: a\nprot: 1\n", "2: unknown option prot; did you mean port?");
    refused_file("zzzzzzzzz: 1\n", "1: unknown option zzzzzzzzz");
    refused_file("por: 1\n", "1: unknown option por; did you mean port?"); // no prefixes in files
    refused_file("port: many\n", "1: port: 'many' is not an integer");
    refused_file("port: 65536\n", "1: port: 65536 is not between 0 and 65535");
    refused_file("port: [1]\n", "1: port: takes one value, not a list");
    refused_file("enable-log-requests: maybe\n",
                 "1: enable-log-requests: 'maybe' is neither true nor false");
    refused_file("enable-log-requests: true\n\ndisable-log-requests: true\n",
                 "3: disable-log-requests: is on line 1 already");
    refused_file("device: cuda\n", "1: device: 'cuda' is not available in this version");
    refused_file("device: tpu\n", "1: device: 'tpu' is not one of cpu");
    refused_file("chat-template: x\n", "1: chat-template: no");
    refused_file("config: other.yaml\n", "1: config: cannot be set in a file");
    refused_file("help: true\n", "1: help: cannot be set in a file");
    refused_file("port: &a 1\n", "1: anchors (&) are not supported");
    assert_null(PARSE("--config", "/nonexistent/file.yaml"));
    assert_int_equal(err.code, BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "/nonexistent/file.yaml"));
    assert_null(PARSE("--config", "/tmp"));

    base_str big = {0};
    base_str_adds(&big, "host: ");
    while (big.len <= 1 << 20)
        base_str_adds(&big, "0123456789abcdef");
    assert_null(parse_file(big.data));
    assert_int_equal(err.code, BASE_ERR_USAGE);
    base_str_free(&big);
}

// Long aliases, inverses and lists of words as flags.
static void test_flags(void **unused) {
    (void)unused;
    cli_options *o = PARSE("--disable-log-requests", "model");
    assert_false(cli_bool(o, "enable-log-requests"));
    assert_string_equal(cli_argument(o, 0), "model"); // not its value
    cli_options_free(o);
    o = PARSE("--no-log"); // prefixes and '_' work for all names
    assert_false(cli_bool(o, "enable-log-requests"));
    cli_options_free(o);
    o = PARSE("--disable-log", "--log_requests");
    assert_true(cli_bool(o, "enable-log-requests"));
    cli_options_free(o);
    assert_null(PARSE("--disable-log-requests=true"));
    assert_string_equal(err.message, "--disable-log-requests takes no value");
    assert_null(PARSE("--disable-lgo-requests"));
    assert_string_equal(err.message, "unknown option --disable-lgo-requests; did you mean "
                                     "--disable-log-requests?");

    int n;
    o = PARSE("model", "--served-model-name", "a", "b", "--port", "1", "--served-model-name=c", "d",
              "--served-model-name", "e", "-h");
    const char *const *names = cli_strings(o, "served-model-name", &n);
    assert_int_equal(n, 4); // a b c e: "=" takes one word
    assert_string_equal(names[2], "c");
    assert_string_equal(names[3], "e");
    assert_int_equal(cli_n_arguments(o), 2);
    assert_string_equal(cli_argument(o, 1), "d");
    cli_options_free(o);
    assert_null(PARSE("--served-model-name", "--port", "1"));
    assert_string_equal(err.message, "--served-model-name needs a value");

    assert_null(PARSE("--chat-template", "x"));
    assert_string_equal(err.message, "--chat-template: no");
    assert_null(PARSE("--device=cuda"));
    assert_string_equal(err.message, "--device: 'cuda' is not available in this version");
}

static void test_kubernetes_links(void **unused) {
    (void)unused;
    setenv("ABRUZZI_PORT", "tcp://10.0.0.1:8000", 1);
    cli_options *o = PARSE("model");
    assert_int_equal(cli_int(o, "port"), 1);
    assert_false(cli_given(o, "port"));
    cli_options_free(o);
    setenv("ABRUZZI_PORT", "80a", 1);
    assert_null(PARSE("model"));
    assert_string_equal(err.message, "ABRUZZI_PORT: '80a' is not an integer");
    unsetenv("ABRUZZI_PORT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_broken),
        cmocka_unit_test(test_bounds),  cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_kinds),   cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_flags),   cmocka_unit_test(test_kubernetes_links),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
