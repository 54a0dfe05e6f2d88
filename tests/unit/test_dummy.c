// Weights that are in no file: the same as a synthesis, from a directory that has none.
#include "backend/backend.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/abruzzi-test-XXXXXX";
static char full[64], bare[64]; // the same model with and without weights
static const model_open_options dummy = {.dummy = true};

static void link_file(const char *name) {
    char *from = base_path_join(full, name), *to = base_path_join(bare, name);
    assert_int_equal(link(from, to), 0);
    base_free(from);
    base_free(to);
}

static int set_up(void **state) {
    (void)state;
    const model_synth_options options = {
        .preset = "tiny", .n_layers = 3, .n_experts = 8, .seed = 0, .threads = 1};
    base_err err = {0};
    if (!mkdtemp(root))
        return -1;
    snprintf(full, sizeof full, "%s/full", root);
    snprintf(bare, sizeof bare, "%s/bare", root);
    if (model_synth(full, &options, &err) != 0) {
        print_error("%s\n", err.message);
        return -1;
    }
    mkdir(bare, 0777);
    link_file("config.json");
    link_file("tiktoken.model");
    link_file("tokenizer_config.json");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static model *open_or_fail(const char *dir, const model_open_options *options) {
    model *m;
    base_err err = {0};
    if (model_open(&m, dir, options, &err) != 0)
        fail_msg("%s", err.message);
    return m;
}

// ---------------------------------------------------------------------------------------------

static const model_tensor *find(const model *m, const char *name) {
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        assert_false(ignored);
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

static void test_every_tensor_is_that_of_a_synthesis(void **state) {
    (void)state;
    model *real = open_or_fail(full, NULL), *made = open_or_fail(bare, &dummy);
    base_err err = {0};
    assert_int_equal(model_n_tensors(made), model_n_tensors(real));
    for (int i = 0; i < model_n_tensors(real); i++) {
        const model_tensor *a = model_tensor_at(real, i, NULL), *b = find(made, a->name);
        assert_non_null(b);
        assert_string_equal(b->dtype_name, a->dtype_name);
        assert_int_equal(b->dtype, a->dtype);
        assert_int_equal(b->n_dims, a->n_dims);
        assert_memory_equal(b->shape, a->shape, sizeof a->shape);
        assert_int_equal(b->bytes, a->bytes);
        char *x = base_alloc(a->bytes), *y = base_alloc(a->bytes);
        assert_int_equal(model_read(real, a, 0, a->bytes, x, &err), 0);
        assert_int_equal(model_read(made, b, 0, a->bytes, y, &err), 0);
        assert_memory_equal(x, y, a->bytes);
        // Any part of it is the same.
        size_t at = a->bytes / 3 / 8 * 8, n = (a->bytes - at) / 2 / 8 * 8;
        assert_int_equal(model_read(made, b, at, n, y, &err), 0);
        assert_memory_equal(x + at, y, n);
        base_free(x);
        base_free(y);
    }
    model_close(real);
    model_close(made);
}

static void test_reads_are_bounded(void **state) {
    (void)state;
    model *m = open_or_fail(bare, &dummy);
    const model_tensor *t = model_embed(m)->weight;
    base_err err = {0};
    char out[8];
    assert_int_equal(model_read(m, t, t->bytes - 2, 4, out, &err), BASE_ERR_MODEL);
    assert_int_equal(model_read(m, t, t->bytes, 0, out, &err), 0);
    model_close(m);
}

static void test_what_is_refused(void **state) {
    (void)state;
    base_err err = {0};
    base_str report = {0};
    model *m;
    assert_int_equal(model_open(&m, bare, NULL, &err), BASE_ERR_MODEL);
    m = open_or_fail(bare, &dummy);
    assert_int_equal(model_verify(m, 1, &report, &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "dummy"));
    model_close(m);
    char *vocabulary = base_path_join(bare, "tiktoken.model");
    unlink(vocabulary);
    assert_int_equal(model_open(&m, bare, &dummy, &err), BASE_ERR_MODEL);
    assert_null(m);
    assert_non_null(strstr(err.message, "tiktoken.model"));
    link_file("tiktoken.model");
    base_free(vocabulary);
    base_str_free(&report);
}

// ---------------------------------------------------------------------------------------------

enum { N_IDS = 12, N_TOP = 20 };

// The log-probabilities of the most likely ids after a few others.
static void compute(const char *dir, const model_open_options *options, float *logprobs) {
    model *m = open_or_fail(dir, options);
    const backend_options o = {.numerics = BACKEND_EXACT,
                               .threads = 1,
                               .block_size = 16,
                               .n_blocks = 1,
                               .interleave = 1,
                               .max_rows = N_IDS,
                               .max_seqs = 1,
                               .max_outputs = 1,
                               .max_logprobs = N_TOP,
                               .max_model_len = 16};
    base_err err = {0};
    backend *b;
    if (backend_open(&b, "cpu", m, &o, &err) != 0)
        fail_msg("%s", err.message);
    int32_t ids[N_IDS], table[1] = {0};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = 10 + 7 * i;
    const backend_sampling greedy = {.top_p = 1, .repetition = 1};
    const backend_seq seq = {.n_rows = N_IDS, .block_table = table, .n_blocks = 1};
    const backend_output output = {.row = N_IDS - 1, .sample = &greedy, .n_logprobs = N_TOP};
    const backend_plan plan = {
        .n_rows = N_IDS, .ids = ids, .n_seqs = 1, .seqs = &seq, .n_outputs = 1, .outputs = &output};
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.outputs[0].status, BACKEND_OUTPUT_OK);
    assert_int_equal(result.outputs[0].n_top, N_TOP);
    memcpy(logprobs, result.outputs[0].top_logprobs, N_TOP * sizeof *logprobs);
    backend_close(b);
    model_close(m);
}

static void test_logits_are_finite_and_repeatable(void **state) {
    (void)state;
    float first[N_TOP], again[N_TOP], real[N_TOP];
    compute(bare, &dummy, first);
    compute(bare, &dummy, again);
    compute(full, NULL, real);
    for (int i = 0; i < N_TOP; i++)
        assert_true(isfinite(first[i]) && first[i] < 0);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_equal(first, real, sizeof first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_is_that_of_a_synthesis),
        cmocka_unit_test(test_reads_are_bounded),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_logits_are_finite_and_repeatable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
