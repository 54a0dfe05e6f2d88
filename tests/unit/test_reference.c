// The reference backend: the same bits however a sequence is cut into steps and blocks, ids taken
// from the last step, the guards. What its numbers should be is tests/reference/test_logprobs.py's.
#include "backend/backend.h"
#include "backend/reference/reference.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
// cmocka wants the three above first
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 8, N_BLOCKS = 16, N_IDS = 37, MAX_LEN = 64 };

static char dir[] = "/tmp/abruzzi-test-reference-XXXXXX";
static int32_t ids[N_IDS];
static int vocab;

static int remove_entry(const char *path, const struct stat *s, int flag, struct FTW *ftw) {
    (void)s, (void)flag, (void)ftw;
    return remove(path);
}

static int group_setup(void **state) {
    (void)state;
    base_err err;
    assert_non_null(mkdtemp(dir));
    model_synth_options options = {.preset = "tiny", .seed = 11, .threads = 1};
    if (model_synth(dir, &options, &err))
        fail_msg("%s", err.message);
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static model *open_model(void) {
    base_err err;
    model *m;
    if (model_open(&m, dir, NULL, &err))
        fail_msg("%s", err.message);
    vocab = model_get_config(m)->vocab_size;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (i * 7919 + 13) % vocab;
    return m;
}

static backend_options small_options(void) {
    return (backend_options){
        .threads = 1,
        .block_size = BLOCK,
        .n_blocks = N_BLOCKS,
        .interleave = 1,
        .max_rows = 2 * N_IDS,
        .max_seqs = 2,
        .max_outputs = 4,
        .max_logprobs = vocab,
        .max_model_len = MAX_LEN,
    };
}

static backend *open_backend(const model *m) {
    base_err err;
    backend *b;
    backend_options options = small_options();
    if (backend_open(&b, "reference", m, &options, &err))
        fail_msg("%s", err.message);
    return b;
}

static const int32_t ascending[] = {0, 1, 2, 3, 4, 5, 6, 7};
static const int32_t scattered[] = {9, 3, 15, 0, 12, 7, 1, 4};

// Log-probabilities of all ids, most likely first, after one output.
typedef struct row {
    int32_t *ids;
    float *logprobs;
} row;

static row row_copy(const backend_output_result *r) {
    assert_int_equal(r->status, BACKEND_OUTPUT_OK);
    assert_int_equal(r->n_top, vocab);
    row out = {base_alloc((size_t)vocab * 4), base_alloc((size_t)vocab * 4)};
    memcpy(out.ids, r->top_ids, (size_t)vocab * 4);
    memcpy(out.logprobs, r->top_logprobs, (size_t)vocab * 4);
    return out;
}

static void row_free(row *r) {
    base_free(r->ids);
    base_free(r->logprobs);
}

static void assert_row_equal(const row *a, const row *b) {
    assert_memory_equal(a->ids, b->ids, (size_t)vocab * 4);
    assert_memory_equal(a->logprobs, b->logprobs, (size_t)vocab * 4);
}

// The last row of `ids`, fed `chunk` rows a step.
static row run_chunks(backend *b, const int32_t *table, int chunk) {
    backend_result result;
    for (int at = 0; at < N_IDS; at += chunk) {
        int n = at + chunk < N_IDS ? chunk : N_IDS - at;
        backend_seq seq = {0, n, at, table, 8};
        backend_output output = {.row = n - 1, .n_logprobs = vocab};
        backend_plan plan = {n, ids + at, 1, &seq, at + n == N_IDS, &output};
        backend_submit(b, &plan);
        backend_wait(b, &result);
    }
    assert_int_equal(result.n_outputs, 1);
    return row_copy(&result.outputs[0]);
}

static void test_chunks_and_blocks(void **state) {
    (void)state;
    model *m = open_model();
    backend *b = open_backend(m);
    row whole = run_chunks(b, ascending, N_IDS);
    double sum = 0;
    for (int i = 0; i < vocab; i++)
        sum += exp(whole.logprobs[i]);
    assert_true(fabs(sum - 1) < 1e-4);
    const int chunks[] = {1, 7, 8, 36};
    for (int i = 0; i < 4; i++) {
        row r = run_chunks(b, i % 2 ? ascending : scattered, chunks[i]);
        assert_row_equal(&whole, &r);
        row_free(&r);
    }
    row_free(&whole);
    backend_close(b);
    model_close(m);
}

// A neighbour in the same step changes nothing, and another prefix changes something.
static void test_neighbours(void **state) {
    (void)state;
    static const int32_t other_blocks[] = {8, 9, 10, 11, 12, 13, 14, 15};
    model *m = open_model();
    backend *b = open_backend(m);
    row alone = run_chunks(b, ascending, N_IDS);
    int32_t both[2 * N_IDS];
    memcpy(both, ids, sizeof ids);
    memcpy(both + N_IDS, ids, sizeof ids);
    both[0] = ids[0] == 5 ? 6 : 5;
    backend_seq seqs[] = {{0, N_IDS, 0, other_blocks, 8}, {N_IDS, N_IDS, 0, ascending, 8}};
    backend_output outputs[] = {{.row = N_IDS - 1, .n_logprobs = vocab},
                                {.row = 2 * N_IDS - 1, .n_logprobs = vocab}};
    backend_plan plan = {2 * N_IDS, both, 2, seqs, 2, outputs};
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    row other = row_copy(&result.outputs[0]), same = row_copy(&result.outputs[1]);
    assert_row_equal(&alone, &same);
    assert_memory_not_equal(other.logprobs, same.logprobs, (size_t)vocab * 4);
    row_free(&alone);
    row_free(&other);
    row_free(&same);
    backend_close(b);
    model_close(m);
}

// One greedy id after the prompt, then one more row with that id, given outright or by reference.
static row greedy_then(backend *b, bool by_reference) {
    static const backend_sampling greedy = {.top_p = 1, .repetition = 1};
    backend_result result;
    backend_seq seq = {0, N_IDS, 0, ascending, 8};
    // Two outputs, so that the reference is to the right one.
    backend_output outputs[] = {{.row = 3, .sample = &greedy, .n_logprobs = -1},
                                {.row = N_IDS - 1, .sample = &greedy, .n_logprobs = -1}};
    backend_plan plan = {N_IDS, ids, 1, &seq, 2, outputs};
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.outputs[1].status, BACKEND_OUTPUT_OK);
    assert_int_not_equal(result.outputs[0].id, result.outputs[1].id);
    int32_t id = by_reference ? BACKEND_ID_FROM_OUTPUT(1) : result.outputs[1].id;
    backend_seq next = {0, 1, N_IDS, ascending, 8};
    backend_output output = {.row = 0, .n_logprobs = vocab};
    plan = (backend_plan){1, &id, 1, &next, 1, &output};
    backend_submit(b, &plan);
    backend_wait(b, &result);
    return row_copy(&result.outputs[0]);
}

static void test_id_from_output(void **state) {
    (void)state;
    model *m = open_model();
    backend *b = open_backend(m);
    row given = greedy_then(b, false), referred = greedy_then(b, true);
    assert_row_equal(&given, &referred);
    row_free(&given);
    row_free(&referred);
    backend_close(b);
    model_close(m);
}

// Overwrites a tensor's bytes in its shard with `word` (16 bits, repeated) or puts them back.
static void patch_tensor(const model *m, const model_tensor *t, const uint16_t *word, void *saved) {
    int fd = open(model_shard_path(m, t->file), O_RDWR);
    assert_true(fd >= 0);
    uint16_t *bytes = base_alloc(t->bytes);
    if (word) {
        assert_int_equal(pread(fd, saved, t->bytes, (off_t)t->offset), t->bytes);
        for (uint64_t i = 0; i < t->bytes / 2; i++)
            bytes[i] = *word;
    } else {
        memcpy(bytes, saved, t->bytes);
    }
    assert_int_equal(pwrite(fd, bytes, t->bytes, (off_t)t->offset), t->bytes);
    base_free(bytes);
    close(fd);
}

// Finite weights whose logits are not finite in float32.
static void test_nan_guard(void **state) {
    (void)state;
    model *m = open_model();
    const model_tensor *norm = model_final_norm(m);
    void *saved = base_alloc(norm->bytes);
    const uint16_t huge = 0x7f7f;
    patch_tensor(m, norm, &huge, saved);
    backend *b = open_backend(m);
    backend_seq seq = {0, N_IDS, 0, ascending, 8};
    backend_output output = {.row = N_IDS - 1, .n_logprobs = vocab};
    backend_plan plan = {N_IDS, ids, 1, &seq, 1, &output};
    backend_result result;
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.outputs[0].status, BACKEND_OUTPUT_NAN);
    // The step that the engine may have planned before it saw this must still be able to run.
    int32_t id = BACKEND_ID_FROM_OUTPUT(0);
    backend_seq next = {0, 1, N_IDS, ascending, 8};
    plan = (backend_plan){1, &id, 1, &next, 0, NULL};
    backend_submit(b, &plan);
    backend_wait(b, &result);
    assert_int_equal(result.n_outputs, 0);
    backend_close(b);
    patch_tensor(m, norm, NULL, saved);
    base_free(saved);
    model_close(m);
}

// A router of zeros with a bias of zeros ties everywhere; it is counted and does no harm.
static void test_near_ties(void **state) {
    (void)state;
    model *m = open_model();
    int layer = 0, n_moe = 0;
    for (int l = 0; l < model_get_config(m)->n_layers; l++)
        if (model_get_layer(m, l)->is_moe) {
            layer = l;
            n_moe++;
        }
    assert_true(n_moe > 0);
    const model_tensor *tensors[] = {model_get_layer(m, layer)->router.weight,
                                     model_get_layer(m, layer)->router_bias};
    void *saved[2];
    const uint16_t zero = 0;
    for (int i = 0; i < 2; i++) {
        saved[i] = base_alloc(tensors[i]->bytes);
        patch_tensor(m, tensors[i], &zero, saved[i]);
    }
    backend *b = open_backend(m);
    row r = run_chunks(b, ascending, 5);
    row_free(&r);
    backend_stats stats;
    backend_get_stats(b, &stats);
    assert_in_range(stats.near_ties, N_IDS, N_IDS * n_moe);
    assert_true(stats.weight_bytes_read > stats.weight_bytes_resident);
    backend_close(b);
    for (int i = 0; i < 2; i++) {
        patch_tensor(m, tensors[i], NULL, saved[i]);
        base_free(saved[i]);
    }
    model_close(m);
}

static void test_matrix_row(void **state) {
    (void)state;
    uint16_t bf16[] = {0x3f80, 0xc000, 0x0000, 0x4049}; // 1, -2; 0, 3.140625
    reference_matrix w = {.rows = 2, .cols = 2, .bf16 = bf16};
    double out[64];
    reference_matrix_row(&w, 1, out);
    assert_true(out[0] == 0 && out[1] == 3.140625);
    // Row 1 of an INT4 matrix [2][64]; codes 0..15 repeated, lower column in the lower nibble.
    uint8_t nibbles[64];
    for (int i = 0; i < 64; i++)
        nibbles[i] = (uint8_t)(2 * i % 16 | (2 * i + 1) % 16 << 4);
    uint16_t scale[] = {0, 0, 0x3f81, 0xbe00}; // ..., 1.0078125, -0.125
    w = (reference_matrix){.rows = 2, .cols = 64, .nibbles = nibbles, .scale = scale};
    reference_matrix_row(&w, 1, out);
    for (int i = 0; i < 64; i++)
        assert_true(out[i] == (i % 16 - 8) * (i < 32 ? 1.0078125 : -0.125));
}

static void test_options_refused(void **state) {
    (void)state;
    model *m = open_model();
    backend_options options[6];
    for (int i = 0; i < 6; i++)
        options[i] = small_options();
    options[0].block_size = 12;
    options[1].n_blocks = 0;
    options[2].max_logprobs = vocab + 1;
    options[3].threads = 0;
    options[4].interleave = 0;
    options[5].max_rows = -1;
    const char *fields[] = {"block_size", "n_blocks",   "max_logprobs",
                            "threads",    "interleave", "max_rows"};
    for (int i = 0; i < 6; i++) {
        base_err err;
        backend *b;
        assert_int_equal(backend_open(&b, "reference", m, &options[i], &err), BASE_ERR_USAGE);
        assert_null(b);
        assert_non_null(strstr(err.message, fields[i]));
    }
    base_err err;
    backend *b;
    options[0] = small_options();
    assert_int_equal(backend_open(&b, "abacus", m, &options[0], &err), BASE_ERR_USAGE);
    assert_non_null(strstr(err.message, "abacus"));
    model_close(m);
}

// Whether submitting the plan ends the process with abort().
static bool aborts(backend *b, const backend_plan *plan) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        // The test library catches SIGABRT and would report the child as a failed test.
        signal(SIGABRT, SIG_DFL);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        backend_submit(b, plan);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_bad_plans_abort(void **state) {
    (void)state;
    model *m = open_model();
    backend *b = open_backend(m);
    backend_seq good = {0, N_IDS, 0, ascending, 8}, seq = good;
    backend_output outputs[] = {{.row = 2, .n_logprobs = 0}, {.row = 5, .n_logprobs = 0}};
    backend_plan plan = {N_IDS, ids, 1, &seq, 2, outputs};
    assert_false(aborts(b, &plan));

    int32_t kept = ids[4];
    ids[4] = vocab;
    assert_true(aborts(b, &plan));
    ids[4] = BACKEND_ID_FROM_OUTPUT(0); // there was no step before
    assert_true(aborts(b, &plan));
    ids[4] = kept;

    seq.position = MAX_LEN - N_IDS + 1;
    assert_true(aborts(b, &plan));
    seq = good;
    seq.n_blocks = 4;
    assert_true(aborts(b, &plan));
    const int32_t beyond[] = {0, 1, 2, 3, N_BLOCKS};
    seq.n_blocks = 5;
    seq.block_table = beyond;
    assert_true(aborts(b, &plan));
    seq = good;
    seq.n_rows--;
    assert_true(aborts(b, &plan));
    seq = good;

    outputs[0].row = 6; // descending
    assert_true(aborts(b, &plan));
    outputs[0].row = 2;
    outputs[1].row = N_IDS;
    assert_true(aborts(b, &plan));
    outputs[1].row = 5;
    outputs[1].target = -1;
    assert_true(aborts(b, &plan));
    outputs[1].target = 0;
    assert_false(aborts(b, &plan));
    backend_close(b);
    model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix_row),      cmocka_unit_test(test_chunks_and_blocks),
        cmocka_unit_test(test_neighbours),      cmocka_unit_test(test_id_from_output),
        cmocka_unit_test(test_nan_guard),       cmocka_unit_test(test_near_ties),
        cmocka_unit_test(test_options_refused), cmocka_unit_test(test_bad_plans_abort),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
