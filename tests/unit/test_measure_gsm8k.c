// The evaluation of GSM8K: prompts, filters, scores and the table. tests/measure/test_gsm8k.py
// compares it with lm-eval.
#include "measure/gsm8k_task.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// ---------------------------------------------------------------------------------------------
// Filters

static void check_extracted(measure_gsm8k_filter filter, const char *text, const char *expected) {
    // In memory that ends with the text, for sanitizers.
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    base_str out = {0};
    measure_gsm8k_extract(filter, copy, len, &out);
    assert_string_equal(out.data, expected);
    base_str_free(&out);
    free(copy);
}

static void test_extract(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *strict, *flexible;
    } cases[] = {
        {"", "[invalid]", "[invalid]"},
        {"#### 72", "72", "72"},
        {"#### 72.", "72.", "72."},
        {"#### -1,234.50", "-1,234.50", "-1,234.50"},
        {"#### $72", "[invalid]", "$72"},
        {"#### 7 #### 8", "7", "8"},
        {"##### 7", "7", "7"},
        {"#### #### 7", "7", "7"},
        {"####7", "[invalid]", "7"},
        {"####", "[invalid]", "[invalid]"},
        {"#### ", "[invalid]", "[invalid]"},
        {"#### -", "[invalid]", "[invalid]"},
        {"#### .", ".", "[invalid]"},
        {"..", "[invalid]", ".."},
        {"1. 2", "[invalid]", "2"},
        {"1.", "[invalid]", "1."},
        {"5-3", "[invalid]", "-3"},
        {"--5", "[invalid]", "-5"},
        {"-$", "[invalid]", "[invalid]"},
        {"7 $", "[invalid]", "7"},
        {"7 $,", "[invalid]", "$,"},
        {"\xc2\xb2 \xe2\x88\x92"
         "5 \xef\xbc\x93",
         "[invalid]", "5"},
        {"#### 5\xc2\xb2", "5", "5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_extracted(MEASURE_GSM8K_STRICT, cases[i].text, cases[i].strict);
        check_extracted(MEASURE_GSM8K_FLEXIBLE, cases[i].text, cases[i].flexible);
    }
}

static void test_extract_behind_a_nul(void **unused) {
    (void)unused;
    base_str out = {0};
    measure_gsm8k_extract(MEASURE_GSM8K_STRICT, "\0#### 5\0001", 9, &out);
    assert_string_equal(out.data, "5");
    base_str_free(&out);
}

static void test_matches(void **unused) {
    (void)unused;
    static const struct {
        const char *extracted, *answer;
        bool same;
    } cases[] = {
        {"72", "So many.\n#### 72", true},
        {"72.", "#### 72", true},
        {"72", "#### 72.", true},
        {"72", "#### 72..", false},
        {"72.0", "#### 72", false},
        {"$1,234", "#### 1234", true},
        {"72", "72", true},
        {"72", "#### 7 #### 72", true},
        {"5", "###,# 5", true}, // commas go first
        {"5", "#### 5\n", false},
        {"5", "#### 5.\n", false},
        {"-5", "#### 5", false},
        {"[invalid]", "#### [Invalid]", true},
        {"..", "#### .", false}, // "." and ""
        {".", "#### ", true},
        {",", "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(measure_gsm8k_matches(cases[i].extracted, cases[i].answer), cases[i].same);
}

// ---------------------------------------------------------------------------------------------
// The table, as lm-eval 0.4.13 prints it

static void check_table(int n, double flexible, double error, double strict, double strict_error,
                        int n_shot, const char *expected) {
    const measure_gsm8k_score scores[] = {{n, flexible, error}, {n, strict, strict_error}};
    base_str out = {0};
    measure_gsm8k_print_scores(scores, n_shot, &out);
    assert_string_equal(out.data, expected);
    base_str_free(&out);
}

static void test_table(void **unused) {
    (void)unused;
    check_table(1319, 0.94162, 0.00647, 0.9409, 0.0065, 5,
                "|Tasks|Version|     Filter     |n-shot|  Metric   |   |Value |   |Stderr|\n"
                "|-----|------:|----------------|-----:|-----------|---|-----:|---|-----:|\n"
                "|gsm8k|      3|flexible-extract|     5|exact_match|↑  |0.9416|±  |0.0065|\n"
                "|     |       |strict-match    |     5|exact_match|↑  |0.9409|±  |0.0065|\n");
    check_table(20, 1.0, 0.0, 1.0, 0.0, 5,
                "|Tasks|Version|     Filter     |n-shot|  Metric   |   |Value|   |Stderr|\n"
                "|-----|------:|----------------|-----:|-----------|---|----:|---|-----:|\n"
                "|gsm8k|      3|flexible-extract|     5|exact_match|↑  |    1|±  |     0|\n"
                "|     |       |strict-match    |     5|exact_match|↑  |    1|±  |     0|\n");
    check_table(20, 0.5, 0.0354, 0.0, 0.0, 25,
                "|Tasks|Version|     Filter     |n-shot|  Metric   |   |Value|   |Stderr|\n"
                "|-----|------:|----------------|-----:|-----------|---|----:|---|-----:|\n"
                "|gsm8k|      3|flexible-extract|    25|exact_match|↑  |  0.5|±  |0.0354|\n"
                "|     |       |strict-match    |    25|exact_match|↑  |  0.0|±  |0.0000|\n");
    check_table(1, 0.0, 0.0, 1.0, 0.0, 0,
                "|Tasks|Version|     Filter     |n-shot|  Metric   |   |Value|   |Stderr|\n"
                "|-----|------:|----------------|-----:|-----------|---|----:|---|------|\n"
                "|gsm8k|      3|flexible-extract|     0|exact_match|↑  |    0|±  |   N/A|\n"
                "|     |       |strict-match    |     0|exact_match|↑  |    1|±  |   N/A|\n");
}

// ---------------------------------------------------------------------------------------------
// Questions

static char folder[] = "/tmp/test_measure_gsm8k.XXXXXX";

static void put(const char *name, const char *text) {
    char *path = base_path_join(folder, name);
    assert_int_equal(base_file_write(path, text, strlen(text), NULL), 0);
    base_free(path);
}

static int make_folder(void **unused) {
    (void)unused;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **unused) {
    (void)unused;
    static const char *const names[] = {"train.jsonl", "test.jsonl"};
    for (int i = 0; i < 2; i++) {
        char *path = base_path_join(folder, names[i]);
        unlink(path);
        base_free(path);
    }
    return rmdir(folder);
}

static const measure_gsm8k_options options = {
    .data = folder, .n_shot = 1, .seed = 1234, .max_tokens = 256, .concurrent = 2};

static void check_refused(const char *test, const char *reason) {
    put("train.jsonl", "{\"question\": \"1+1?\", \"answer\": \"2\\n#### 2\"}\n");
    put("test.jsonl", test);
    measure_gsm8k *e;
    base_err err = {0};
    assert_int_equal(measure_gsm8k_create(&e, &options, &err), BASE_ERR_USAGE);
    assert_null(e);
    if (strstr(err.message, "test.jsonl") == NULL || strstr(err.message, reason) == NULL)
        fail_msg("%s", err.message);
}

static void test_wrong_files(void **unused) {
    (void)unused;
    check_refused("", "no questions");
    check_refused("\n \r\n", "no questions");
    check_refused("{}\n", "line 1: \"question\" is no string");
    check_refused("\n{\"question\": \"\"}\n", "line 2: \"answer\" is no string");
    check_refused("{\"question\": \"\", \"answer\": 5}\n", "line 1: \"answer\" is no string");
    check_refused("{\"question\": \"\", \"answer\": \"\"", "line 1");
    check_refused("\xff\n", "line 1");
    check_refused("{\"question\": \"a\\u0000\", \"answer\": \"\"}\n", "line 1");
}

static void answer(measure_gsm8k *e, int i, const char *text) {
    gsm8k_answer(e, i, text, strlen(text));
}

static void test_samples(void **unused) {
    (void)unused;
    put("train.jsonl", "{\"question\": \"1+1?\", \"answer\": \"2\\n#### 2\"}\n");
    put("test.jsonl", "{\"question\": \"2+2?\", \"answer\": \"#### 4\"}\n\n"
                      "{\"question\": \"3 + 3?\", \"answer\": \"#### 6\"}\r\n"
                      "{\"question\": \"x\", \"answer\": \"#### 8\"}");
    measure_gsm8k *e;
    assert_int_equal(measure_gsm8k_create(&e, &options, NULL), 0);
    assert_int_equal(measure_gsm8k_asked(e), 3);
    assert_string_equal(e->samples[0].prompt.data, "Question: 1+1?\nAnswer: 2\n#### 2\n\n"
                                                   "Question: 2+2?\nAnswer:");
    const int order[] = {1, 0, 2}; // the longest first
    assert_memory_equal(e->order, order, sizeof order);

    gsm8k_begin(e, "Asking");
    answer(e, 1, " 3 and 3 are 6.\n#### 6");
    gsm8k_fail(e, 2, "it\nbroke");
    answer(e, 0, "#### 5, or 4");
    gsm8k_end(e);
    assert_int_equal(measure_gsm8k_failed(e), 1);
    measure_gsm8k_score score;
    measure_gsm8k_get_score(e, MEASURE_GSM8K_FLEXIBLE, &score);
    assert_true(score.n == 2 && score.mean == 1.0 && score.standard_error == 0.0);
    measure_gsm8k_get_score(e, MEASURE_GSM8K_STRICT, &score);
    assert_true(score.n == 2 && score.mean == 0.5);
    assert_float_equal(score.standard_error, 0.5, 1e-12); // sqrt(0.5) / sqrt(2)

    base_str out = {0};
    measure_gsm8k_print_failures(e, &out);
    assert_string_equal(out.data, "1 question: it?broke\n");
    base_str_clear(&out);
    measure_gsm8k_print_samples(e, &out);
    const char *const parts[] = {
        "{\"doc_id\": 0, \"question\": \"2+2?\", \"target\": \"#### 4\", \"prompt\": \"Question: ",
        "\"completion\": \"#### 5, or 4\", \"flexible-extract\": \"4\", \"strict-match\": \"5,\"",
        "\"exact_match\": {\"flexible-extract\": 1.0, \"strict-match\": 0.0}, \"tries\": 0}\n",
        "\"error\": \"it?broke\", \"tries\": 0}\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(out.data, parts[i]));
    base_str_free(&out);
    measure_gsm8k_free(e);
}

static void test_failures_by_frequency(void **unused) {
    (void)unused;
    put("train.jsonl", "{\"question\": \"\", \"answer\": \"\"}\n");
    base_str test = {0};
    for (int i = 0; i < 6; i++)
        base_str_adds(&test, "{\"question\": \"\", \"answer\": \"\"}\n");
    put("test.jsonl", test.data);
    base_str_free(&test);
    measure_gsm8k *e;
    assert_int_equal(measure_gsm8k_create(&e, &options, NULL), 0);
    gsm8k_begin(e, "Asking");
    static const char *const why[] = {"b", "c", "a", "c", "b", "c"};
    for (int i = 0; i < 6; i++)
        gsm8k_fail(e, i, why[i]);
    base_str out = {0};
    measure_gsm8k_print_failures(e, &out);
    assert_string_equal(out.data, "3 questions: c\n2 questions: b\n1 question: a\n");
    base_str_free(&out);
    measure_gsm8k_free(e);
}

int main(void) {
    base_log_set_level(BASE_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extract),
        cmocka_unit_test(test_extract_behind_a_nul),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_failures_by_frequency),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
