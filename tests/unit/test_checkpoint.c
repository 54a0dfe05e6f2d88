// Opening, reading and verifying a checkpoint that was just synthesised, also through a hub cache.
// Damaged ones are in tests/cli/test_damaged.py.
#include "backend/cpu/cpu.h"
#include "model/internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/abruzzi-test-XXXXXX";
static char dir[64]; // root/model

static int set_up(void **state) {
    (void)state;
    const model_synth_options options = {
        .preset = "tiny", .n_layers = 3, .n_experts = 8, .seed = 7, .threads = 1};
    base_err err = {0};
    if (!mkdtemp(root))
        return -1;
    snprintf(dir, sizeof dir, "%s/model", root);
    if (model_synth(dir, &options, &err) != 0) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static model *open_or_fail(const char *path) {
    model *m;
    base_err err = {0};
    if (model_open(&m, path, NULL, &err) != 0)
        fail_msg("%s", err.message);
    return m;
}

static char *in_root(const char *name) {
    return base_path_join(root, name);
}

// ---------------------------------------------------------------------------------------------

static void check_matrix(const model_matrix *w, int rows, int cols, const char *name) {
    assert_int_equal(w->rows, rows);
    assert_int_equal(w->cols, cols);
    if (w->kind == MODEL_MATRIX_BF16) {
        assert_string_equal(w->weight->name, name);
        assert_int_equal(w->weight->bytes, (uint64_t)rows * (uint64_t)cols * 2);
        return;
    }
    assert_memory_equal(w->packed->name, name, strlen(name));
    assert_int_equal(w->packed->bytes, (uint64_t)rows * (uint64_t)cols / 2);
    assert_int_equal(w->scale->bytes, (uint64_t)rows * (uint64_t)cols / 16);
}

static void test_layers_are_resolved(void **state) {
    (void)state;
    model *m = open_or_fail(dir);
    const model_config *c = model_get_config(m);
    assert_int_equal(c->n_layers, 3);
    assert_string_equal(model_dir(m), dir);
    assert_true(model_n_shards(m) >= 3);
    assert_true(c->n_eos >= 1);
    check_matrix(model_embed(m), c->vocab_size, c->hidden_size, "model.embed_tokens.weight");
    check_matrix(model_lm_head(m), c->vocab_size, c->hidden_size, "lm_head.weight");
    assert_string_equal(model_final_norm(m)->name, "model.norm.weight");
    const model_layer *first = model_get_layer(m, 0), *last = model_get_layer(m, 2);
    assert_false(first->is_moe);
    check_matrix(&first->down, c->hidden_size, c->intermediate_size,
                 "model.layers.0.mlp.down_proj.weight");
    assert_true(last->is_moe);
    check_matrix(&last->q_b, c->n_heads * (c->qk_nope_head_dim + c->qk_rope_head_dim),
                 c->q_lora_rank, "model.layers.2.self_attn.q_b_proj.weight");
    check_matrix(&last->expert_up[7], c->moe_intermediate_size, c->hidden_size,
                 "model.layers.2.mlp.experts.7.up_proj.weight_packed");
    check_matrix(&last->expert_down[0], c->hidden_size, c->moe_intermediate_size,
                 "model.layers.2.mlp.experts.0.down_proj.weight_packed");
    assert_int_equal(last->expert_gate[3].kind, MODEL_MATRIX_INT4);
    assert_int_equal(last->router_bias->dtype, MODEL_F32);
    for (int i = 0; i < model_n_tensors(m); i++) {
        bool ignored;
        const model_tensor *t = model_tensor_at(m, i, &ignored);
        assert_false(ignored);
        assert_true(t->file >= 0 && t->file < model_n_shards(m));
    }
    model_close(m);
}

static void test_reads_are_exact_and_bounded(void **state) {
    (void)state;
    model *m = open_or_fail(dir);
    const model_tensor *t = model_embed(m)->weight;
    base_err err = {0};
    uint16_t *all = base_alloc(t->bytes), part[3];
    unsigned char *file = base_alloc(t->bytes);
    assert_int_equal(model_read(m, t, 0, t->bytes, all, &err), 0);
    int fd = open(model_shard_path(m, t->file), O_RDONLY);
    assert_int_equal(pread(fd, file, t->bytes, (off_t)t->offset), (ssize_t)t->bytes);
    close(fd);
    assert_memory_equal(all, file, t->bytes);
    assert_int_equal(model_read(m, t, 100, sizeof part, part, &err), 0);
    assert_memory_equal(part, all + 50, sizeof part);
    assert_int_equal(model_read(m, t, t->bytes, 0, part, &err), 0);
    assert_int_equal(model_read(m, t, t->bytes - 2, 4, part, &err), BASE_ERR_MODEL);
    assert_int_equal(model_read(m, t, UINT64_MAX - 1, 4, part, &err), BASE_ERR_MODEL);
    assert_int_equal(model_read(m, t, 1, 4, part, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "model.embed_tokens.weight"));
    base_free(all);
    base_free(file);
    model_close(m);
}

static void test_config_only(void **state) {
    (void)state;
    const model_open_options options = {.inner_norm_eps = 1e-6, .config_only = true};
    char *bare = in_root("bare"), *from = base_path_join(dir, "config.json");
    char *to = base_path_join(bare, "config.json");
    model *m;
    mkdir(bare, 0777);
    assert_int_equal(link(from, to), 0);
    assert_int_equal(model_open(&m, bare, NULL, NULL), BASE_ERR_MODEL); // no weights there
    assert_null(m);
    assert_int_equal(model_open(&m, bare, &options, NULL), 0);
    assert_true(model_get_config(m)->inner_norm_eps == 1e-6);
    assert_true(model_get_config(m)->rms_norm_eps != 1e-6);
    assert_int_equal(model_n_tensors(m), 0);
    assert_null(model_get_layer(m, 0));
    model_close(m);
    base_free(bare);
    base_free(from);
    base_free(to);
}

// ---------------------------------------------------------------------------------------------

static void sha256_hex(const char *path, char out[65]) {
    base_str text = {0};
    unsigned char digest[32];
    assert_int_equal(base_file_read(path, 1 << 28, BASE_ERR_MODEL, &text, NULL), 0);
    assert_int_equal(EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    base_str_free(&text);
}

static int verify(const char *path, base_str *report, base_err *err) {
    model *m = open_or_fail(path);
    base_str_clear(report);
    int rc = model_verify(m, 2, report, err);
    model_close(m);
    return rc;
}

static void patch(const char *path, uint64_t offset, const void *bytes, size_t n) {
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
    close(fd);
}

static void test_verify_reads_everything(void **state) {
    (void)state;
    base_str report = {0};
    base_err err = {0};
    assert_int_equal(verify(dir, &report, &err), 0);
    assert_non_null(strstr(report.data, "complete and finite"));
    assert_non_null(strstr(report.data, "no hashes"));
    // One NaN in the last element of a scale, in the middle of the model.
    model *m = open_or_fail(dir);
    const model_tensor *t = model_get_layer(m, 1)->expert_up[5].scale;
    uint16_t keep, nan = 0x7fc0, *data = base_alloc(t->bytes);
    assert_int_equal(model_read(m, t, 0, t->bytes, data, NULL), 0);
    keep = data[t->bytes / 2 - 1];
    patch(model_shard_path(m, t->file), t->offset + t->bytes - 2, &nan, 2);
    assert_int_equal(model_read(m, t, 0, t->bytes, data, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, t->name));
    assert_int_equal(verify(dir, &report, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "model.layers.1.mlp.experts.5.up_proj.weight_scale"));
    assert_non_null(strstr(report.data, "is NaN or infinite"));
    patch(model_shard_path(m, t->file), t->offset + t->bytes - 2, &keep, 2);
    assert_int_equal(verify(dir, &report, &err), 0);
    base_free(data);
    model_close(m);
    base_str_free(&report);
}

static void test_manifest(void **state) {
    (void)state;
    char *path = base_path_join(dir, "SHA256SUMS"), hex[65];
    base_str sums = {0}, report = {0};
    base_err err = {0};
    model *m = open_or_fail(dir);
    for (int i = 0; i < model_n_shards(m); i++) {
        sha256_hex(model_shard_path(m, i), hex);
        base_str_printf(&sums, "%s  %s\n", hex, strrchr(model_shard_path(m, i), '/') + 1);
    }
    char *config = base_path_join(dir, "config.json");
    sha256_hex(config, hex);
    base_str_printf(&sums, "%s *./config.json\n", hex);
    assert_int_equal(base_file_write(path, sums.data, sums.len, NULL), 0);
    assert_int_equal(verify(dir, &report, &err), 0);
    assert_non_null(strstr(report.data, "hashes agree"));
    // A bit of an INT4 code: finite, well-formed, and wrong.
    const model_tensor *t = model_get_layer(m, 2)->expert_down[1].packed;
    int32_t word, other;
    assert_int_equal(model_read(m, t, 0, 4, &word, NULL), 0);
    other = word ^ 1;
    patch(model_shard_path(m, t->file), t->offset, &other, 4);
    assert_int_equal(verify(dir, &report, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, model_shard_path(m, t->file)));
    assert_non_null(strstr(err.message, "SHA-256"));
    patch(model_shard_path(m, t->file), t->offset, &word, 4);
    assert_int_equal(verify(dir, &report, &err), 0);
    // A hash of a file that is not there, and lines that are none.
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000  gone.bin\n",
        "0000000000000000000000000000000000000000000000000000000000000000  ../x\n",
        "0000000000000000000000000000000000000000000000000000000000000000  /etc/passwd\n",
        "000  config.json\n",
        "hello\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(base_file_write(path, bad[i], strlen(bad[i]), NULL), 0);
        assert_int_equal(verify(dir, &report, &err), BASE_ERR_MODEL);
    }
    unlink(path);
    base_free(path);
    base_free(config);
    base_str_free(&sums);
    base_str_free(&report);
    model_close(m);
}

// ---------------------------------------------------------------------------------------------

// root/hub/models--org--name with blobs, refs and a snapshot of links, as huggingface_hub lays out.
static void make_hub(const char *hub) {
    char command[600], hex[65];
    snprintf(command, sizeof command,
             "r=%s/models--org--name; mkdir -p $r/blobs $r/refs $r/snapshots/abc123 && "
             "printf abc123 > $r/refs/main",
             hub);
    assert_int_equal(system(command), 0);
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char *path = base_path_join(dir, e->d_name);
        sha256_hex(path, hex);
        snprintf(command, sizeof command,
                 "r=%s/models--org--name; cp %s $r/blobs/%s && ln -s ../../blobs/%s "
                 "$r/snapshots/abc123/%s",
                 hub, path, hex, hex, e->d_name);
        assert_int_equal(system(command), 0);
        base_free(path);
    }
    closedir(d);
}

static void test_hub_cache(void **state) {
    (void)state;
    char *hub = in_root("hub");
    base_str report = {0};
    base_err err = {0};
    make_hub(hub);
    setenv("HF_HUB_CACHE", hub, 1);
    model *m = open_or_fail("org/name");
    assert_non_null(strstr(model_dir(m), "models--org--name/snapshots/abc123"));
    assert_int_equal(verify("org/name", &report, &err), 0);
    assert_non_null(strstr(report.data, "hashes agree"));
    const model_tensor *t = model_get_layer(m, 0)->q_a.weight;
    uint16_t zero = 0;
    patch(model_shard_path(m, t->file), t->offset, &zero, 2);
    assert_int_equal(verify("org/name", &report, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "hub cache"));
    model_close(m);
    // HF_HOME/hub is the next place, then HOME/.cache/huggingface/hub.
    unsetenv("HF_HUB_CACHE");
    setenv("HF_HOME", root, 1);
    m = open_or_fail("org/name");
    model_close(m);
    // Not there: the command that downloads it.
    static const char *const missing[] = {"org/other", "moonshotai/Kimi-K2-Thinking"};
    for (size_t i = 0; i < 2; i++) {
        char must[80];
        snprintf(must, sizeof must, "hf download %s", missing[i]);
        assert_int_equal(model_open(&m, missing[i], NULL, &err), BASE_ERR_MODEL);
        assert_non_null(strstr(err.message, must));
    }
    // Not ids at all.
    static const char *const wrong[] = {"nothing", "a/b/c", "../x",   "org/..",
                                        "./x/y",   "",      "/no/dir"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(model_open(&m, wrong[i], NULL, &err), BASE_ERR_MODEL);
        assert_null(strstr(err.message, "hf download"));
    }
    // A revision that would leave the cache.
    char *ref = in_root("hub/models--org--name/refs/main");
    assert_int_equal(base_file_write(ref, "../../../model", 14, NULL), 0);
    assert_int_equal(model_open(&m, "org/name", NULL, &err), BASE_ERR_MODEL);
    assert_non_null(strstr(err.message, "refs/main"));
    unsetenv("HF_HOME");
    base_free(ref);
    base_free(hub);
    base_str_free(&report);
}

// ---------------------------------------------------------------------------------------------

static void *read_all(void *arg) {
    const model *m = arg;
    for (int i = 0; i < model_n_tensors(m); i++) {
        const model_tensor *t = model_tensor_at(m, i, NULL);
        char *data = base_alloc(t->bytes);
        int rc = model_read(m, t, 0, t->bytes, data, NULL);
        base_free(data);
        if (rc != 0)
            return (void *)m;
    }
    return NULL;
}

static void test_reads_in_threads(void **state) {
    (void)state;
    model *m = open_or_fail(dir);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, m), 0);
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    model_close(m);
}

typedef struct variant {
    const char *overrides;
    bool int4, q_lora;
    int n_shared;
} variant;

static void test_variants_open(void **state) {
    (void)state;
    static const variant list[] = {
        {"{\"q_lora_rank\": null}", true, false, 1},
        {"{\"n_shared_experts\": 2, \"n_group\": 2, \"topk_group\": 1}", true, true, 2},
        {"{\"n_shared_experts\": null, \"rope_scaling\": null}", true, true, 0},
        {"{\"quantization_config\": null}", false, true, 1},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const model_synth_options options = {.preset = "tiny",
                                             .n_layers = 2,
                                             .n_experts = 8,
                                             .threads = 1,
                                             .overrides = list[i].overrides};
        char name[32], *path;
        base_err err = {0};
        snprintf(name, sizeof name, "variant%zu", i);
        path = in_root(name);
        if (model_synth(path, &options, &err) != 0)
            fail_msg("%s: %s", list[i].overrides, err.message);
        model *m = open_or_fail(path);
        const model_layer *l = model_get_layer(m, 1);
        assert_int_equal(l->expert_gate[0].kind == MODEL_MATRIX_INT4, list[i].int4);
        assert_int_equal(l->q_proj.weight == NULL, list[i].q_lora);
        assert_int_equal(l->shared_up.rows,
                         list[i].n_shared * model_get_config(m)->moe_intermediate_size);
        model_close(m);
        base_free(path);
    }
}

static void check_plan(const model *m, int rows, int threads, bool exact) {
    const model_plan_options options = {.tensor_parallel = 1,
                                        .decode_context_parallel = 1,
                                        .exact = exact,
                                        .block_size = 16,
                                        .max_rows = rows,
                                        .max_num_seqs = 4,
                                        .threads = threads,
                                        .max_model_len = 64,
                                        .memory_bytes = UINT64_C(1) << 32};
    const backend_options step = {.numerics = exact ? BACKEND_EXACT : BACKEND_FAST,
                                  .threads = threads,
                                  .block_size = 16,
                                  .n_blocks = 16,
                                  .interleave = 1,
                                  .max_rows = rows,
                                  .max_seqs = 4,
                                  .max_outputs = 4,
                                  .max_logprobs = 20,
                                  .max_model_len = 64};
    model_plan plan;
    backend *b;
    base_err err = {0};
    assert_int_equal(model_plan_make(&plan, model_get_config(m), &options, &err), 0);
    if (backend_open(&b, "cpu", m, &step, &err) != 0)
        fail_msg("%s", err.message);
    const cpu_backend *cpu = (const cpu_backend *)b;
    assert_true(cpu->arena_bytes <= plan.activation_bytes);
    assert_int_equal(cpu->cache_bytes, 16 * 16 * plan.kv_token_bytes);
    double padding = (double)cpu->weights.arena_bytes / (double)plan.weight_bytes;
    assert_true(padding >= 1 && padding < 1.02);
    backend_close(b);
}

// The plan knows nothing of kernels, but what it promises must hold for the backend there is.
static void test_plan_covers_the_backend(void **state) {
    (void)state;
    model *m = open_or_fail(dir);
    check_plan(m, 4, 1, false);
    check_plan(m, 1024, 1, true);
    check_plan(m, 1024, 8, true);
    check_plan(m, 4096, 1, false);
    model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_are_resolved),
        cmocka_unit_test(test_reads_are_exact_and_bounded),
        cmocka_unit_test(test_config_only),
        cmocka_unit_test(test_verify_reads_everything),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_hub_cache),
        cmocka_unit_test(test_reads_in_threads),
        cmocka_unit_test(test_variants_open),
        cmocka_unit_test(test_plan_covers_the_backend),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
