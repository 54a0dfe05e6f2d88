// Synthesis: the published sizes, the file format read back by hand, values that depend on seed and
// name alone, shapes beyond K2's, and directories that must be left as they are.
#include "model/synth.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

static const uint64_t FILE_LIMIT = 64 << 20;

// ---------------------------------------------------------------------------------------------
// Directories

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_temp(void **state) {
    char *dir = base_strdup("/tmp/abruzzi-synth-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int remove_temp(void **state) {
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    base_free(*state);
    return 0;
}

static bool exists(const char *dir, const char *name) {
    char *path = base_path_join(dir, name);
    bool found = access(path, F_OK) == 0;
    base_free(path);
    return found;
}

static void write_file(const char *dir, const char *name, const char *text) {
    char *path = base_path_join(dir, name);
    assert_int_equal(base_file_write(path, text, strlen(text), NULL), 0);
    base_free(path);
}

static base_str read_file(const char *dir, const char *name) {
    char *path = base_path_join(dir, name);
    base_str text = {0};
    base_err err = {0};
    if (base_file_read(path, FILE_LIMIT, BASE_ERR_RESOURCE, &text, &err))
        fail_msg("%s", err.message);
    base_free(path);
    return text;
}

// Of names and bytes of all files, whatever their order.
static uint64_t hash_dir(const char *dir) {
    uint64_t sum = 0;
    DIR *handle = opendir(dir);
    assert_non_null(handle);
    const struct dirent *entry;
    while ((entry = readdir(handle))) {
        if (entry->d_name[0] == '.')
            continue;
        base_str bytes = read_file(dir, entry->d_name);
        sum += XXH3_64bits_withSeed(bytes.data, bytes.len,
                                    XXH3_64bits(entry->d_name, strlen(entry->d_name)));
        base_str_free(&bytes);
    }
    closedir(handle);
    return sum;
}

static void synth(const char *dir, const model_synth_options *options) {
    base_err err = {0};
    if (model_synth(dir, options, &err))
        fail_msg("%s", err.message);
}

// ---------------------------------------------------------------------------------------------
// Plans

static void plan_of(synth_plan *plan, model_config *config, const model_synth_options *options) {
    base_err err = {0};
    base_str text = {0};
    json_t *json = synth_config_make(options, 0, &err);
    if (!json)
        fail_msg("%s", err.message);
    const synth_tokenizer ids = {.bos = 0, .eos = 2, .pad = 3}; // some that fit every vocabulary
    assert_int_equal(synth_config_set_ids(json, options, &ids, &err), 0);
    synth_config_print(json, &text);
    if (model_config_parse(config, text.data, text.len, "config.json", &err))
        fail_msg("%s", err.message);
    synth_plan_make(plan, config, config->vocab_size - SYNTH_CONTROL_TOKENS);
    base_str_free(&text);
    json_decref(json);
}

static void test_k2_sizes(void **state) {
    (void)state;
    synth_plan plan;
    model_config config;
    plan_of(&plan, &config, &(model_synth_options){.preset = "k2"});
    assert_int_equal(plan.n_shards, 62);
    assert_int_equal(plan.n_tensors, 208215);
    assert_int_equal(plan.bytes, 594205904896);
    assert_int_equal(plan.shards[0].bytes, 995000320);
    for (int i = 1; i <= 60; i++)
        assert_int_equal(plan.shards[i].bytes, 9808554496);
    assert_int_equal(plan.shards[61].bytes, 4697634816);
    assert_string_equal(plan.shards[0].file, "model-00001-of-000062.safetensors");
    assert_string_equal(plan.shards[61].file, "model-00062-of-000062.safetensors");

    uint64_t experts = 0, one = 0;
    for (int i = 0; i < plan.shards[7].n_tensors; i++) {
        const synth_tensor *t = &plan.shards[7].tensors[i];
        experts += strstr(t->name, ".mlp.experts.") ? t->bytes : 0;
        one += strstr(t->name, ".mlp.experts.383.") ? t->bytes : 0;
    }
    assert_int_equal(one, 24772632);
    assert_int_equal(experts, 9512690688);
    synth_plan_free(&plan);
}

static void test_other_presets(void **state) {
    (void)state;
    synth_plan plan;
    model_config config;
    plan_of(&plan, &config, &(model_synth_options){.preset = "moonlight"});
    assert_int_equal(plan.n_shards, 28);
    assert_in_range(plan.bytes, 10800000000, 11500000000);
    assert_int_equal(config.q_lora_rank, 0);
    assert_false(config.rope.yarn);
    assert_true(config.int4_experts);
    synth_plan_free(&plan);

    plan_of(&plan, &config, &(model_synth_options){.preset = "k2-slice"});
    assert_int_equal(config.hidden_size, 7168);
    assert_int_equal(config.n_layers, 4);
    assert_int_equal(config.n_routed_experts, 64);
    assert_int_equal(config.vocab_size, 32768);
    synth_plan_free(&plan);

    model_synth_options options = {
        .preset = "k2-slice", .n_layers = 3, .n_experts = 16, .vocab_size = 4096};
    plan_of(&plan, &config, &options);
    assert_int_equal(config.n_layers, 3);
    assert_int_equal(config.n_routed_experts, 16);
    assert_int_equal(config.vocab_size, 4096);
    synth_plan_free(&plan);

    plan_of(&plan, &config, &(model_synth_options){.preset = "tiny"});
    assert_int_equal(config.n_heads, 8);
    assert_int_equal(config.moe_intermediate_size % 256, 0);
    assert_int_equal(config.intermediate_size % 256, 0);
    assert_true(plan.n_shards >= 3);
    assert_true(plan.bytes < 16 << 20);
    synth_plan_free(&plan);
}

static void test_layout(void **state) {
    (void)state;
    synth_plan plan;
    model_config config;
    plan_of(&plan, &config, &(model_synth_options){.preset = "tiny"});
    for (int i = 0; i < plan.n_shards; i++) {
        uint64_t at = 0;
        for (int k = 0; k < plan.shards[i].n_tensors; k++) {
            const synth_tensor *t = &plan.shards[i].tensors[k];
            assert_int_equal(t->offset, at);
            assert_int_equal(t->offset % (t->dtype == MODEL_BF16 ? 2 : 4), 0);
            at += t->bytes;
        }
        assert_int_equal(at, plan.shards[i].bytes);
    }
    synth_plan_free(&plan);
}

// ---------------------------------------------------------------------------------------------
// Values

static const synth_tensor *find_tensor(const synth_plan *plan, const char *name) {
    for (int i = 0; i < plan->n_shards; i++)
        for (int k = 0; k < plan->shards[i].n_tensors; k++)
            if (strcmp(plan->shards[i].tensors[k].name, name) == 0)
                return &plan->shards[i].tensors[k];
    fail_msg("no tensor %s", name);
    return NULL;
}

// Any range of bytes is the same as that range of the whole.
static void test_ranges(void **state) {
    (void)state;
    static const char *const names[] = {
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        "model.layers.2.mlp.experts.3.down_proj.weight_packed",
        "model.layers.2.mlp.experts.3.down_proj.weight_scale",
        "model.layers.2.mlp.experts.3.down_proj.weight_shape",
    };
    static synth_tables tables;
    synth_tables_init(&tables);
    synth_plan plan;
    model_config config;
    plan_of(&plan, &config, &(model_synth_options){.preset = "tiny"});
    uint64_t random = 1;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        const synth_tensor *t = find_tensor(&plan, names[n]);
        unsigned char *whole = base_alloc(t->bytes), *part = base_alloc(t->bytes);
        synth_fill(&tables, t, 5, 0, t->bytes, whole);
        for (int i = 0; i < 100; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t begin = (random >> 33) % t->bytes;
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t end = begin + (random >> 33) % (t->bytes - begin + 1);
            if (i % 2 && end - begin > 300) // short ones, which begin and end inside a block
                end = begin + (random >> 33) % 300;
            synth_fill(&tables, t, 5, begin, end, part);
            assert_memory_equal(part, whole + begin, end - begin);
        }
        base_free(whole);
        base_free(part);
    }
    synth_plan_free(&plan);
}

typedef struct moments {
    double mean, rms, low, high;
} moments;

static moments moments_of(const float *x, int64_t n) {
    moments m = {.low = INFINITY, .high = -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        m.mean += x[i] / (double)n;
        m.rms += (double)x[i] * x[i] / (double)n;
        m.low = fmin(m.low, x[i]);
        m.high = fmax(m.high, x[i]);
    }
    m.rms = sqrt(m.rms);
    return m;
}

static moments bf16_moments(const model *m, const model_tensor *t) {
    uint16_t *bits = base_alloc(t->bytes);
    base_err err = {0};
    if (model_read(m, t, 0, t->bytes, bits, &err))
        fail_msg("%s", err.message);
    int64_t n = (int64_t)t->bytes / 2;
    float *x = base_alloc(n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = base_bf16_to_f32(bits[i]);
    moments result = moments_of(x, n);
    base_free(bits);
    base_free(x);
    return result;
}

// Decodes words as documented: column 8j + k is bits 4k.. of word j, code = nibble - 8.
static moments int4_moments(const model *m, const model_matrix *w, int count[16]) {
    uint32_t *words = base_alloc(w->packed->bytes);
    uint16_t *scales = base_alloc(w->scale->bytes);
    assert_int_equal(w->packed->bytes, (uint64_t)w->rows * w->cols / 2);
    assert_int_equal(model_read(m, w->packed, 0, w->packed->bytes, words, NULL), 0);
    assert_int_equal(model_read(m, w->scale, 0, w->scale->bytes, scales, NULL), 0);
    int64_t n = (int64_t)w->rows * w->cols;
    float *x = base_alloc(n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        unsigned nibble = words[i / 8] >> (4 * (i % 8)) & 15;
        float scale = base_bf16_to_f32(scales[i / 32]);
        assert_true(scale > 0);
        count[nibble]++;
        x[i] = (float)((int)nibble - 8) * scale;
    }
    moments result = moments_of(x, n);
    base_free(words);
    base_free(scales);
    base_free(x);
    return result;
}

static void test_values(void **state) {
    const char *dir = *state;
    base_err err = {0};
    model *m;
    synth(dir, &(model_synth_options){.preset = "tiny", .seed = 3, .threads = 2});
    if (model_open(&m, dir, NULL, &err))
        fail_msg("%s", err.message);
    const model_config *c = model_get_config(m);
    const model_layer *layer = model_get_layer(m, 2);

    moments q_a = bf16_moments(m, layer->q_a.weight);
    assert_true(fabs(q_a.rms * sqrt(c->hidden_size) - 1) < 0.02);
    assert_true(fabs(q_a.mean) < 0.02 * q_a.rms);
    moments norm = bf16_moments(m, layer->input_norm);
    assert_true(norm.low > 0.5 && norm.high < 1.5 && fabs(norm.mean - 1) < 0.05);
    assert_true(norm.high - norm.low > 0.1);

    int count[16] = {0}, total = 0;
    for (int e = 0; e < c->n_routed_experts; e++) {
        moments up = int4_moments(m, &layer->expert_up[e], count);
        assert_true(fabs(up.rms * sqrt(c->hidden_size) - 1) < 0.02);
        assert_true(fabs(up.mean) < 0.02 * up.rms);
    }
    for (int u = 0; u < 16; u++) // all codes are there, -8 rarely
        total += count[u];
    for (int u = 1; u < 16; u++)
        assert_true(count[u] > total / 100);
    assert_in_range(count[0], 1, total / 1000);
    assert_true(count[8] > 2 * count[2]);
    model_close(m);
}

// ---------------------------------------------------------------------------------------------
// Files

static void test_deterministic(void **state) {
    const char *dir = *state;
    char *other = base_path_join(dir, "deep/other");
    char *first = base_path_join(dir, "first");
    synth(first, &(model_synth_options){.preset = "tiny", .seed = 7, .threads = 1});
    synth(other, &(model_synth_options){.preset = "tiny", .seed = 7, .threads = 3});
    uint64_t hash = hash_dir(first);
    assert_int_equal(hash, hash_dir(other));
    // A larger one leaves more shards; the older name must not survive.
    synth(other, &(model_synth_options){.preset = "tiny", .n_layers = 6, .seed = 8, .threads = 2});
    assert_true(exists(other, "model-00007-of-000007.safetensors"));
    assert_int_not_equal(hash, hash_dir(other));
    synth(other, &(model_synth_options){.preset = "tiny", .seed = 7, .threads = 2});
    assert_int_equal(hash, hash_dir(other));
    assert_false(exists(other, "model-00007-of-000007.safetensors"));
    base_free(first);
    base_free(other);
}

static void check_shard(const char *dir, const char *file, const json_t *map, json_int_t *total) {
    base_str bytes = read_file(dir, file);
    uint64_t length;
    memcpy(&length, bytes.data, 8);
    assert_true(8 + length <= bytes.len && length % 8 == 0 && bytes.data[8] == '{');
    json_t *header = json_loadb(bytes.data + 8, length, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(header);
    uint64_t sum = 0, last = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            assert_string_equal(json_string_value(json_object_get(entry, "format")), "pt");
            continue;
        }
        json_t *offsets = json_object_get(entry, "data_offsets");
        uint64_t begin = (uint64_t)json_integer_value(json_array_get(offsets, 0));
        uint64_t end = (uint64_t)json_integer_value(json_array_get(offsets, 1));
        assert_int_equal(begin, sum); // in file order, no holes
        sum += end - begin;
        last = end;
        assert_string_equal(json_string_value(json_object_get(map, name)), file);
    }
    assert_int_equal(8 + length + last, bytes.len);
    *total += (json_int_t)sum;
    json_decref(header);
    base_str_free(&bytes);
}

static void test_format(void **state) {
    const char *dir = *state;
    synth(dir, &(model_synth_options){.preset = "tiny", .threads = 1});
    base_str text = read_file(dir, "model.safetensors.index.json");
    json_t *index = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(index);
    const json_t *map = json_object_get(index, "weight_map");
    json_int_t total = 0;
    for (int i = 1; i <= 5; i++) {
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-000005.safetensors", i);
        check_shard(dir, file, map, &total);
    }
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")),
        total);
    assert_string_equal(json_string_value(json_object_get(map, "lm_head.weight")),
                        "model-00005-of-000005.safetensors");
    json_decref(index);
    base_str_free(&text);

    text = read_file(dir, "generation_config.json");
    assert_string_equal(text.data, "{\n  \"max_length\": 262144,\n  \"eos_token_id\": 770\n}\n");
    base_str_free(&text);
    text = read_file(dir, "config.json");
    assert_non_null(strstr(text.data, "\n  \"rms_norm_eps\": 1e-05,\n"));
    assert_non_null(strstr(text.data, "\n  \"eos_token_id\": 770,\n"));
    base_str_free(&text);
}

// The config printed for preset k2 is K2-Thinking's, key by key.
static void test_k2_config(void **state) {
    (void)state;
    static const char path[] = "../shared/data/configs/RECONSTRUCTED--Kimi-K2-Thinking_config.json";
    base_str text = {0};
    if (access(path, R_OK) != 0) {
        print_message("no %s\n", path);
        skip();
    }
    assert_int_equal(base_file_read(path, FILE_LIMIT, BASE_ERR_RESOURCE, &text, NULL), 0);
    json_t *config = synth_config_make(&(model_synth_options){.preset = "k2"}, 0, NULL);
    base_str printed = {0};
    synth_config_print(config, &printed);
    assert_int_equal(printed.len, text.len + 1); // the reconstruction has no final newline
    assert_memory_equal(printed.data, text.data, text.len);
    json_decref(config);
    base_str_free(&text);
    base_str_free(&printed);
}

static void test_odd_shapes(void **state) {
    static const char *const overrides[] = {
        "{\"q_lora_rank\": null}",
        "{\"n_group\": 2, \"topk_group\": 1}",
        "{\"n_shared_experts\": 2}",
        "{\"n_shared_experts\": 0}",
        "{\"rope_scaling\": null}",
        "{\"rope_scaling\": {\"factor\": 32.0, \"beta_fast\": 32.0}}",
        "{\"quantization_config\": null}",
        "{\"kv_lora_rank\": 96, \"qk_nope_head_dim\": 48, \"v_head_dim\": 64}",
        "{\"qk_rope_head_dim\": 8}",
        "{\"moe_intermediate_size\": 96, \"hidden_size\": 160}",
        "{\"first_k_dense_replace\": 2, \"moe_layer_freq\": 2}",
        "{\"norm_topk_prob\": false, \"routed_scaling_factor\": 1.0}",
    };
    const char *dir = *state;
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        base_err err = {0};
        model *m;
        synth(dir,
              &(model_synth_options){.preset = "tiny", .threads = 2, .overrides = overrides[i]});
        if (model_open(&m, dir, NULL, &err))
            fail_msg("%s: %s", overrides[i], err.message);
        model_close(m);
    }
}

static void test_eos_override(void **state) {
    synth(*state, &(model_synth_options){
                      .preset = "tiny", .threads = 1, .overrides = "{\"eos_token_id\": 5}"});
    base_str text = read_file(*state, "config.json");
    assert_non_null(strstr(text.data, "\"eos_token_id\": 5,"));
    assert_non_null(strstr(text.data, "\"bos_token_id\": 768,"));
    base_str_free(&text);
}

// ---------------------------------------------------------------------------------------------
// Refusals

static void check_refused(const char *dir, const model_synth_options *options, int code,
                          const char *reason) {
    base_err err = {0};
    assert_int_equal(model_synth(dir, options, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, reason))
        fail_msg("\"%s\" does not name \"%s\"", err.message, reason);
}

static void test_bad_options(void **state) {
    const struct {
        model_synth_options options;
        const char *reason;
    } cases[] = {
        {{.preset = "huge"}, "huge"},
        {{.preset = NULL}, "preset"},
        {{.preset = "tiny", .vocab_size = 511}, "vocab_size"},
        {{.preset = "tiny", .overrides = "[]"}, "overrides"},
        {{.preset = "tiny", .overrides = "{"}, "overrides"},
        {{.preset = "tiny", .overrides = "{\"hidden_size\": 100}"}, "hidden_size"},
        {{.preset = "tiny", .overrides = "{\"vocab_size\": -1}"}, "vocab_size"},
        {{.preset = "tiny", .overrides = "{\"vocab_size\": 99999999999}"}, "vocab_size"},
        {{.preset = "tiny", .n_experts = 3}, "num_experts_per_tok"},
        {{.preset = "tiny", .n_layers = 100000}, "num_hidden_layers"},
    };
    char *dir = base_path_join(*state, "never");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(dir, &cases[i].options, BASE_ERR_USAGE, cases[i].reason);
    assert_false(exists(*state, "never"));
    base_free(dir);
}

static void test_foreign_dir(void **state) {
    const char *dir = *state;
    model_synth_options tiny = {.preset = "tiny", .threads = 1};
    write_file(dir, "config.json", "{}");
    check_refused(dir, &tiny, BASE_ERR_USAGE, "config.json");
    write_file(dir, "synthesis.json", "{\"preset\": 1}"); // not what we write
    check_refused(dir, &tiny, BASE_ERR_USAGE, dir);
    base_str text = read_file(dir, "config.json");
    assert_string_equal(text.data, "{}");
    base_str_free(&text);

    char *file = base_path_join(dir, "config.json/x");
    check_refused(file, &tiny, BASE_ERR_RESOURCE, "config.json");
    base_free(file);
}

// A file-size limit stands for a full disk: both come back from the system as errors of the write.
static void test_failed_write(void **state) {
    const char *dir = *state;
    model_synth_options tiny = {.preset = "tiny", .threads = 2};
    struct rlimit before, low;
    synth(dir, &tiny);
    uint64_t hash = hash_dir(dir);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = (struct rlimit){.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    base_err err = {0};
    int code = model_synth(dir, &tiny, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(code, BASE_ERR_RESOURCE);
    assert_non_null(strstr(err.message, "model-0000"));
    assert_false(exists(dir, "model.safetensors.index.json"));
    assert_false(exists(dir, "model-00001-of-000005.safetensors"));
    synth(dir, &tiny); // what is left is still known as ours
    assert_int_equal(hash, hash_dir(dir));
}

// No disk holds this one: over a petabyte.
static void test_no_space(void **state) {
    check_refused(*state,
                  &(model_synth_options){.preset = "tiny",
                                         .n_experts = 4096,
                                         .overrides = "{\"hidden_size\": 65536,"
                                                      " \"moe_intermediate_size\": 1048576}"},
                  BASE_ERR_RESOURCE, "GB are free");
    assert_false(exists(*state, "synthesis.json"));
}

int main(void) {
#define TEMP(test) cmocka_unit_test_setup_teardown(test, make_temp, remove_temp)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_k2_sizes),
        cmocka_unit_test(test_other_presets),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_k2_config),
        TEMP(test_values),
        TEMP(test_deterministic),
        TEMP(test_format),
        TEMP(test_odd_shapes),
        TEMP(test_eos_override),
        TEMP(test_bad_options),
        TEMP(test_foreign_dir),
        TEMP(test_failed_write),
        TEMP(test_no_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
