// The option table: spelling, prefixes, suggestions, ranges, suffixes, environment, and what is
// printed from it; on a small table, and rules that the program's own table must keep.
#include "cli/cli.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUN = 1, OTHER = 2, TWICE = 4 };

static const cli_row rows[] = {
    {.name = "max-model-len",
     .type = CLI_COUNT,
     .low = 1,
     .high = 0x1p40,
     .words = "auto",
     .value = "N",
     .group = "Engine",
     .help = "Longest.",
     .commands = RUN},
    {.name = "max-num-seqs",
     .alias = "-mns",
     .type = CLI_INT,
     .fallback = "16",
     .low = 1,
     .high = 100,
     .value = "N",
     .group = "Engine",
     .help = "Sequences.",
     .commands = RUN},
    {.name = "temperature",
     .type = CLI_FLOAT,
     .fallback = "1.0",
     .low = 0,
     .high = 2,
     .value = "X",
     .group = "Sampling",
     .help = "Heat.",
     .commands = RUN},
    {.name = "numerics",
     .type = CLI_CHOICE,
     .fallback = "exact",
     .words = "exact|fast",
     .group = "Engine",
     .help = "How.",
     .commands = RUN},
    {.name = "enable-prefix-caching",
     .type = CLI_BOOL,
     .fallback = "true",
     .group = "Engine",
     .help = "Cache.",
     .commands = RUN},
    {.name = "echo",
     .type = CLI_BOOL,
     .fallback = "false",
     .group = "Output",
     .help = "Echo.",
     .commands = RUN},
    {.name = "stop",
     .type = CLI_STRINGS,
     .value = "TEXT",
     .group = "Sampling",
     .help = "Stop.",
     .commands = RUN},
    {.name = "stop-token-ids",
     .type = CLI_IDS,
     .low = 0,
     .high = 1000,
     .value = "IDS",
     .group = "Sampling",
     .help = "Stop.",
     .commands = RUN},
    {.name = "api-key",
     .type = CLI_STRING,
     .value = "KEY",
     .group = "Output",
     .help = "Key.",
     .commands = RUN,
     .secret = true},
    {.name = "seed",
     .type = CLI_INT,
     .low = -0x1p63,
     .high = 0x1p63,
     .value = "S",
     .group = "Sampling",
     .help = "Seed of RUN.",
     .commands = RUN},
    {.name = "seed",
     .type = CLI_INT,
     .fallback = "5",
     .low = 0,
     .high = 10,
     .value = "S",
     .group = "Sampling",
     .help = "Seed of OTHER.",
     .commands = OTHER},
    {.name = "help",
     .alias = "-h",
     .type = CLI_BOOL,
     .group = "General",
     .help = "Help.",
     .commands = RUN | OTHER},
};

static const cli_command commands[] = {
    {.name = "run", .bit = RUN, .arguments = "[MODEL]", .max_arguments = 1, .summary = "Runs."},
    {.name = "other",
     .bit = OTHER,
     .arguments = "A B",
     .min_arguments = 2,
     .max_arguments = 2,
     .summary = "Does something else."},
    {.name = "run twice", .bit = TWICE, .arguments = "", .summary = "Runs again."},
    {.name = "walk far", .bit = TWICE, .arguments = "", .summary = "Walks."},
    {.name = "walk near", .bit = TWICE, .arguments = "", .summary = "Walks."},
};

static const cli_section part = {rows, 5}, rest = {rows + 5, sizeof rows / sizeof *rows - 5};
static const cli_section *const sections[] = {&part, &rest};

static const cli_table table = {sections, 2, commands, sizeof commands / sizeof *commands};

static base_err err;

static cli_options *parse_for(int command, const char *const *args) {
    int n = 0;
    while (args[n] != NULL)
        n++;
    cli_options *o;
    err = (base_err){0};
    int rc = cli_options_parse(&o, &table, &commands[command], n, (char *const *)args, &err);
    assert_int_equal(rc, err.code);
    assert_true((rc == 0) == (o != NULL));
    return o;
}

#define PARSE(...) parse_for(0, (const char *const[]){__VA_ARGS__, NULL})

// The line must be refused with exactly this message.
#define REFUSED(expected, ...)                                                                     \
    do {                                                                                           \
        assert_null(PARSE(__VA_ARGS__));                                                           \
        assert_int_equal(err.code, 64);                                                            \
        assert_string_equal(err.message, expected);                                                \
    } while (0)

static void test_defaults(void **unused) {
    (void)unused;
    cli_options *o = parse_for(0, (const char *const[]){NULL});
    assert_false(cli_has(o, "max-model-len"));
    assert_int_equal(cli_int(o, "max-model-len"), 0);
    assert_null(cli_string(o, "api-key"));
    assert_true(cli_has(o, "max-num-seqs") && !cli_given(o, "max-num-seqs"));
    assert_int_equal(cli_int(o, "max-num-seqs"), 16);
    assert_true(cli_float(o, "temperature") == 1.0);
    assert_string_equal(cli_string(o, "numerics"), "exact");
    assert_true(cli_bool(o, "enable-prefix-caching"));
    assert_false(cli_bool(o, "echo"));
    int n;
    cli_strings(o, "stop", &n);
    assert_int_equal(n, 0);
    assert_int_equal(cli_ids(o, "stop-token-ids")->len, 0);
    assert_int_equal(cli_n_arguments(o), 0);
    assert_null(cli_argument(o, 0));
    cli_options_free(o);
}

static void test_spellings(void **unused) {
    (void)unused;
    const char *const forms[][3] = {
        {"--max-num-seqs", "7", NULL}, {"--max-num-seqs=7", NULL}, {"--max_num_seqs", "7", NULL},
        {"--max_num-seqs=7", NULL},    {"-mns", "7", NULL},        {"-mns=7", NULL},
        {"--max-n", "7", NULL},        {"--max_nu=7", NULL},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        cli_options *o = parse_for(0, forms[i]);
        assert_non_null(o);
        assert_true(cli_given(o, "max-num-seqs"));
        assert_int_equal(cli_int(o, "max-num-seqs"), 7);
        cli_options_free(o);
    }
    cli_options *o = PARSE("--stop=a=b", "--stop", "", "model", "--stop", "-c");
    int n;
    const char *const *stops = cli_strings(o, "stop", &n);
    assert_int_equal(n, 3);
    assert_string_equal(stops[0], "a=b");
    assert_string_equal(stops[1], "");
    assert_string_equal(stops[2], "-c");
    assert_string_equal(cli_argument(o, 0), "model");
    cli_options_free(o);
    o = PARSE("--seed", "-3", "--", "--echo"); // a negative value; arguments only after "--"
    assert_int_equal(cli_int(o, "seed"), -3);
    assert_string_equal(cli_argument(o, 0), "--echo");
    assert_false(cli_bool(o, "echo"));
    cli_options_free(o);
    o = PARSE("--max-num-seqs", "3", "--max-num-seqs", "4"); // the last one counts
    assert_int_equal(cli_int(o, "max-num-seqs"), 4);
    cli_options_free(o);
}

static void test_exact_name_beats_prefix(void **unused) {
    (void)unused;
    cli_options *o = PARSE("--stop", "x"); // also a prefix of --stop-token-ids
    int n;
    cli_strings(o, "stop", &n);
    assert_int_equal(n, 1);
    cli_options_free(o);
}

static void test_refused_names(void **unused) {
    (void)unused;
    REFUSED("ambiguous option --max: could be --max-model-len, --max-num-seqs", "--max", "1");
    REFUSED("ambiguous option --sto: could be --stop, --stop-token-ids", "--sto", "1");
    REFUSED("unknown option --temprature; did you mean --temperature?", "--temprature", "1");
    REFUSED("unknown option --no-ecoh; did you mean --no-echo?", "--no-ecoh");
    REFUSED("unknown option --tensor-parallel-size", "--tensor-parallel-size", "8");
    REFUSED("unknown option -q", "-q", "x");
    REFUSED("unexpected argument 'b'", "a", "b");
    REFUSED("--max-num-seqs needs a value", "--max-num-seqs");
    REFUSED("--stop needs a value", "--stop", "--echo");
    REFUSED("--no-echo takes no value", "--no-echo=1");
    assert_null(parse_for(1, (const char *const[]){"one", NULL}));
    assert_string_equal(err.message, "missing argument: A B");
    char name[300] = "--";
    memset(name + 2, 'x', 200);
    assert_null(PARSE(name));
    assert_int_equal(err.code, 64);
}

static void test_bools(void **unused) {
    (void)unused;
    const struct {
        const char *flag;
        bool value;
    } forms[] = {
        {"--enable-prefix-caching", true},
        {"--no-enable-prefix-caching", false},
        {"--no_enable_prefix_caching", false},
        {"--enable-prefix-caching=false", false},
        {"--enable-prefix-caching=True", true},
        {"--enable-prefix-caching=0", false},
        {"--enable-prefix-caching=off", false},
        {"--no-en", false},
        {"--en", true},
        {"--enable-prefix-caching=yes", true},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        cli_options *o = PARSE(forms[i].flag);
        assert_non_null(o);
        assert_int_equal(cli_bool(o, "enable-prefix-caching"), forms[i].value);
        cli_options_free(o);
    }
    REFUSED("--echo: 'maybe' is neither true nor false", "--echo=maybe");
}

static void test_counts(void **unused) {
    (void)unused;
    const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"1", 1},          {"4096", 4096},   {"32k", 32000},     {"32K", 32768},
        {"1m", 1000000},   {"1M", 1048576},  {"2g", 2000000000}, {"1G", 1 << 30},
        {"25.6k", 25600},  {"0.5m", 500000}, {"auto", -1},       {"1t", 1000000000000},
        {"1T", 1ll << 40},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cli_options *o = PARSE("--max-model-len", good[i].text);
        assert_non_null(o);
        assert_int_equal(cli_int(o, "max-model-len"), good[i].value);
        assert_string_equal(cli_string(o, "max-model-len"), good[i].text);
        cli_options_free(o);
    }
    const char *const bad[] = {
        "",     "k",   "1kk", "1x",    "25.6K", "25.6", "0.0001k", "nan", "1e3", "1e3k",
        "infk", "+k",  " 1",  "1 k",   "0x10",  "AUTO", "2T",      "-5",  "0",   "9999999999999G",
        "1k\n", "--k", ".k",  "1.2.3k"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(PARSE("--max-model-len", bad[i]));
        assert_int_equal(err.code, 64);
    }
    REFUSED("--max-model-len: '1x' is not an integer (32k, 32K, 1M are fine) or auto",
            "--max-model-len=1x");
    REFUSED("--max-num-seqs: '4k' is not an integer", "--max-num-seqs=4k");
}

static void test_ranges(void **unused) {
    (void)unused;
    REFUSED("--max-num-seqs: 0 is not between 1 and 100", "--max-num-seqs", "0");
    REFUSED("--max-num-seqs: 101 is not between 1 and 100", "--max-num-seqs", "101");
    REFUSED("--temperature: 2.1 is not between 0 and 2", "--temperature", "2.1");
    REFUSED("--temperature: 'warm' is not a number", "--temperature", "warm");
    REFUSED("--temperature: 'nan' is not a number", "--temperature", "nan");
    REFUSED("--numerics: 'slow' is not one of exact, fast", "--numerics", "slow");
    REFUSED("--numerics: 'exact|fast' is not one of exact, fast", "--numerics", "exact|fast");
    REFUSED("--stop-token-ids: '1001' is not a token id", "--stop-token-ids", "1,1001");
    REFUSED("--stop-token-ids: '' is not a token id", "--stop-token-ids", "1,");
    REFUSED("--stop-token-ids: '1 2' is not a token id", "--stop-token-ids", "1 2");
    REFUSED("--stop-token-ids: '-1' is not a token id", "--stop-token-ids=-1");
    cli_options *o = PARSE("--seed", "9223372036854775807");
    assert_int_equal(cli_int(o, "seed"), INT64_MAX);
    cli_options_free(o);
    assert_null(PARSE("--seed", "9223372036854775808"));
    o = PARSE("--temperature", "0", "--stop-token-ids", "1, 2,3", "--stop-token-ids=4");
    assert_true(cli_float(o, "temperature") == 0.0);
    const base_ids *ids = cli_ids(o, "stop-token-ids");
    assert_int_equal(ids->len, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ids->data[i], i + 1);
    cli_options_free(o);
}

static void test_environment(void **unused) {
    (void)unused;
    setenv("ABRUZZI_MAX_NUM_SEQS", "9", 1);
    setenv("ABRUZZI_ECHO", "1", 1);
    setenv("ABRUZZI_TEMPERATURE", "", 1); // empty is unset
    cli_options *o = parse_for(0, (const char *const[]){NULL});
    assert_int_equal(cli_int(o, "max-num-seqs"), 9);
    assert_true(cli_given(o, "max-num-seqs"));
    assert_true(cli_bool(o, "echo"));
    assert_true(cli_float(o, "temperature") == 1.0);
    cli_options_free(o);
    o = PARSE("--max-num-seqs=3", "--no-echo"); // flags win
    assert_int_equal(cli_int(o, "max-num-seqs"), 3);
    assert_false(cli_bool(o, "echo"));
    cli_options_free(o);
    setenv("ABRUZZI_MAX_NUM_SEQS", "none", 1);
    REFUSED("ABRUZZI_MAX_NUM_SEQS: 'none' is not an integer", "model");
    o = PARSE("--max-num-seqs=3"); // what a flag overrides is not even read
    assert_non_null(o);
    cli_options_free(o);
    unsetenv("ABRUZZI_MAX_NUM_SEQS");
    unsetenv("ABRUZZI_ECHO");
    unsetenv("ABRUZZI_TEMPERATURE");
}

static void test_rows_of_other_commands(void **unused) {
    (void)unused;
    cli_options *o = parse_for(1, (const char *const[]){"a", "b", NULL});
    assert_int_equal(cli_int(o, "seed"), 5);
    cli_options_free(o);
    assert_null(parse_for(1, (const char *const[]){"a", "b", "--seed=-1", NULL}));
    assert_null(parse_for(1, (const char *const[]){"a", "b", "--echo", NULL}));
    o = parse_for(1, (const char *const[]){"--help", NULL}); // no complaint about arguments
    assert_true(cli_bool(o, "help"));
    cli_options_free(o);
    o = parse_for(1, (const char *const[]){"-h", NULL});
    assert_true(cli_bool(o, "help"));
    cli_options_free(o);
}

static void test_describe(void **unused) {
    (void)unused;
    base_str out = {0};
    cli_options *o = PARSE("--max-model-len=32k", "--api-key", "geheim", "--stop", "x", "--stop",
                           "y", "--temperature", "0.5", "--echo", "--stop-token-ids", "1,2");
    cli_options_describe(o, &out);
    assert_string_equal(out.data, "{'max_model_len': 32000, 'temperature': 0.5, 'echo': True, "
                                  "'stop': ['x', 'y'], 'stop_token_ids': [1, 2], "
                                  "'api_key': '***'}");
    base_str_free(&out);
    cli_options_free(o);
}

static void test_commands(void **unused) {
    (void)unused;
    assert_ptr_equal(cli_command_find(&table, "other"), &commands[1]);
    assert_null(cli_command_find(&table, "othe"));
    assert_int_equal(cli_command_unknown(&table, "othe", &err), 64);
    assert_string_equal(err.message, "unknown command 'othe'; did you mean 'other'?");
    assert_int_equal(cli_command_unknown(&table, "zzzzzz", &err), 64);
    assert_string_equal(err.message, "unknown command 'zzzzzz'");
    assert_int_equal(cli_distance("kitten", "sitting"), 3);
    char run[] = "run", twice[] = "twice", walk[] = "walk", model[] = "model";
    int n_words;
    assert_ptr_equal(cli_command_read(&table, 2, (char *[]){run, twice}, &n_words), &commands[2]);
    assert_int_equal(n_words, 2);
    assert_ptr_equal(cli_command_read(&table, 2, (char *[]){run, model}, &n_words), &commands[0]);
    assert_int_equal(n_words, 1);
    assert_ptr_equal(cli_command_read(&table, 1, (char *[]){run}, &n_words), &commands[0]);
    assert_null(cli_command_read(&table, 2, (char *[]){walk, twice}, &n_words));
    assert_int_equal(cli_command_unknown(&table, "walk", &err), 64);
    assert_string_equal(err.message, "'walk' alone is no command; there is: walk far, walk near");
    assert_int_equal(cli_distance("", "abc"), 3);
    assert_int_equal(cli_distance("abc", ""), 3);
}

static void test_help(void **unused) {
    (void)unused;
    base_str out = {0};
    cli_print_command_help(&table, &commands[0], &out);
    const char *const parts[] = {
        "usage: abruzzi run [MODEL] [flags]\n\nRuns.\n",
        "\nEngine:\n  --max-model-len N|auto          Longest.\n",
        "  -mns, --max-num-seqs N          Sequences. (default: 16)\n",
        "  --numerics exact|fast           How. (default: exact)\n",
        "  --enable-prefix-caching, --no-enable-prefix-caching\n",
        "Seed of RUN.",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(out.data, parts[i]));
    assert_null(strstr(out.data, "Seed of OTHER."));
    base_str_free(&out);
}

// Whether two rows answer to one name.
static bool clash(const cli_row *a, const cli_row *b) {
    const char *const names[][3] = {
        {a->name, a->alias != NULL && a->alias[1] == '-' ? a->alias + 2 : a->alias, a->inverse},
        {b->name, b->alias != NULL && b->alias[1] == '-' ? b->alias + 2 : b->alias, b->inverse},
    };
    for (int i = 0; i < 9; i++) {
        const char *one = names[0][i / 3], *other = names[1][i % 3];
        if (one != NULL && other != NULL && strcmp(one, other) == 0)
            return true;
    }
    return false;
}

// Rules the program's own table must keep: defaults that parse, one row a name and command, room
// in the columns of help.
static void test_the_table(void **unused) {
    (void)unused;
    const cli_table *t = &cli_the_table;
    for (int c = 0; c < t->n_commands; c++) {
        char *arguments[] = {"x", "x"};
        cli_options *o;
        assert_int_equal(cli_options_parse(&o, t, &t->commands[c], t->commands[c].min_arguments,
                                           arguments, &err),
                         0);
        cli_options_free(o);
        assert_non_null(t->commands[c].run);
    }
    const cli_row *row;
    for (int i = 0; (row = cli_table_row(t, i)) != NULL; i++) {
        assert_true(row->commands != 0 && row->group != NULL && row->help != NULL);
        assert_true(row->type == CLI_BOOL || row->type == CLI_CHOICE || row->value != NULL);
        assert_true(row->type != CLI_CHOICE || row->words != NULL);
        assert_true(strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789-") ==
                    strlen(row->name));
        for (int j = 0; j < i; j++)
            assert_true((row->commands & cli_table_row(t, j)->commands) == 0 ||
                        !clash(row, cli_table_row(t, j)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_exact_name_beats_prefix),
        cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_bools),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_rows_of_other_commands),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
