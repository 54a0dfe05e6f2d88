// Rotary tables, part bounds and the memory plan, against the published numbers of the real models.
#include "model/internal.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const uint64_t GIB = UINT64_C(1) << 30;

static model_config k2_thinking(void) {
    return (model_config){
        .hidden_size = 7168,
        .n_layers = 61,
        .n_heads = 64,
        .vocab_size = 163840,
        .q_lora_rank = 1536,
        .kv_lora_rank = 512,
        .qk_nope_head_dim = 128,
        .qk_rope_head_dim = 64,
        .v_head_dim = 128,
        .intermediate_size = 18432,
        .moe_intermediate_size = 2048,
        .n_routed_experts = 384,
        .n_experts_per_tok = 8,
        .n_shared_experts = 1,
        .first_k_dense_replace = 1,
        .moe_layer_freq = 1,
        .n_group = 1,
        .topk_group = 1,
        .max_position_embeddings = 262144,
        .rope = {50000, true, 64, 1, 1, 1, 1, 4096},
        .int4_experts = true,
    };
}

static model_plan_options options(void) {
    return (model_plan_options){
        .tensor_parallel = 1,
        .decode_context_parallel = 1,
        .block_size = 64,
        .max_rows = 2048,
        .max_num_seqs = 256,
        .threads = 16,
        .memory_bytes = 1024 * GIB,
    };
}

// ---------------------------------------------------------------------------------------------

static void assert_close(double got, double want, const char *what, int i) {
    if (!(fabs(got - want) <= 1e-12 * fabs(want)))
        fail_msg("%s[%d]: %.17g, must be %.17g", what, i, got, want);
}

static void test_yarn_of_k2(void **state) {
    (void)state;
    // kimi.md 3.4: a hard step between 19 and 20 for K2-Thinking, a ramp for K2.5.
    static const double step[] = {0.0022742037565104418, 0.0016217599081159522,
                                  1.8070233867863153e-05, 1.288608407812423e-05};
    static const double ramp[] = {0.0004086459874979699, 0.00015837499102694852,
                                  1.8070233867863153e-05, 1.288608407812423e-05};
    model_config c = k2_thinking();
    double inv_freq[32], cos_sin, softmax;
    model_rope_init(&c, inv_freq, &cos_sin, &softmax);
    for (int i = 0; i < 4; i++)
        assert_close(inv_freq[18 + i], step[i], "inv_freq", 18 + i);
    assert_close(inv_freq[0], 1, "inv_freq", 0);
    assert_close(inv_freq[31], 4.3822064557949375e-07, "inv_freq", 31);
    assert_close(cos_sin, 1, "cos_sin", 0);
    assert_close(softmax, 0.14467962580268923, "softmax", 0);
    c.rope.beta_fast = 32;
    model_rope_init(&c, inv_freq, &cos_sin, &softmax);
    for (int i = 0; i < 4; i++)
        assert_close(inv_freq[18 + i], ramp[i], "inv_freq", 18 + i);
}

static void test_plain_rope(void **state) {
    (void)state;
    model_config c = k2_thinking();
    c.rope = (model_rope){.theta = 10000};
    double inv_freq[32], cos_sin, softmax;
    model_rope_init(&c, inv_freq, &cos_sin, &softmax);
    assert_close(inv_freq[16], 0.01, "inv_freq", 16);
    assert_close(cos_sin, 1, "cos_sin", 0);
    assert_close(softmax, 1 / sqrt(192), "softmax", 0);
    // mscale and mscale_all_dim that differ reach the rotation.
    c.rope = (model_rope){10000, true, 40, 32, 1, 1, 0.5, 4096};
    model_rope_init(&c, inv_freq, &cos_sin, &softmax);
    double all = 0.05 * log(40) + 1;
    assert_close(cos_sin, (0.1 * log(40) + 1) / all, "cos_sin", 0);
    assert_close(softmax, all * all / sqrt(192), "softmax", 0);
}

// The name in the vectors' file, and what of K2-Thinking's rope differs.
static void check_vector(const json_t *root, const char *name, model_rope rope) {
    const json_t *v = json_object_get(root, name), *list = json_object_get(v, "inv_freq");
    model_config c = k2_thinking();
    double inv_freq[32], cos_sin, softmax;
    c.rope = rope;
    model_rope_init(&c, inv_freq, &cos_sin, &softmax);
    assert_int_equal(json_array_size(list), 32);
    for (int i = 0; i < 32; i++)
        assert_close(inv_freq[i], json_number_value(json_array_get(list, (size_t)i)), name, i);
    assert_close(softmax, json_number_value(json_object_get(v, "softmax_scale")), name, -1);
    assert_close(cos_sin, json_number_value(json_object_get(v, "cos_sin_mscale")), name, -2);
}

static void test_yarn_vectors(void **state) {
    (void)state;
    static const char path[] = "../shared/data/vectors/yarn_vectors.json";
    if (access(path, R_OK) != 0) {
        print_message("# no %s\n", path);
        skip();
    }
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    check_vector(root, "kimi-k2-thinking", (model_rope){50000, true, 64, 1, 1, 1, 1, 4096});
    check_vector(root, "kimi-k2.5/2.6", (model_rope){50000, true, 64, 32, 1, 1, 1, 4096});
    check_vector(root, "kimi-k2-instruct", (model_rope){50000, true, 32, 1, 1, 1, 1, 4096});
    check_vector(root, "deepseek-v3", (model_rope){10000, true, 40, 32, 1, 1, 1, 4096});
    json_decref(root);
}

// ---------------------------------------------------------------------------------------------

static void test_part_bounds(void **state) {
    (void)state;
    static const int even[] = {0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048};
    static const int uneven[] = {0, 192, 384, 576, 768, 928, 1088, 1248, 1408}; // Moonlight
    static const int few[] = {0, 16, 32, 48, 48, 48, 48, 48, 48};
    int bounds[MODEL_PARTS + 1];
    model_part_bounds(2048, 32, bounds);
    assert_memory_equal(bounds, even, sizeof bounds);
    model_part_bounds(1408, 32, bounds);
    assert_memory_equal(bounds, uneven, sizeof bounds);
    model_part_bounds(48, 16, bounds);
    assert_memory_equal(bounds, few, sizeof bounds);
}

// ---------------------------------------------------------------------------------------------

static void test_plan_of_k2(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    // kimi.md 2.4. weight_shape (8 bytes for each of 69,120 matrices) is not kept in memory.
    const uint64_t shapes = UINT64_C(8) * 3 * 384 * 60;
    assert_int_equal(p.weight_bytes + shapes, UINT64_C(594205904896));
    assert_int_equal(p.expert_bytes + shapes, UINT64_C(9512690688) * 60);
    assert_int_equal(p.weight_bytes - p.expert_bytes, UINT64_C(23444463616));
    assert_int_equal(p.attention_bytes, UINT64_C(12336889856));
    assert_int_equal(p.shared_bytes, UINT64_C(5284823040));
    assert_int_equal(p.embed_bytes, UINT64_C(4697620480));
    assert_int_equal(p.dense_bytes, UINT64_C(792723456));
    assert_int_equal(p.kv_token_bytes, 70272);
    // 90 % of what is left.
    uint64_t left = 1024 * GIB - p.weight_bytes - p.activation_bytes;
    assert_true(p.kv_bytes <= left / 10 * 9 + 9 && p.kv_bytes + 70272 * 64 > left / 10 * 9);
    assert_int_equal(p.n_blocks, p.kv_bytes / (70272 * 64));
    assert_int_equal(p.kv_tokens, p.n_blocks * 64);
    assert_int_equal(p.max_model_len, 262144);
    assert_false(p.shrunk);
    o.exact = true;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_int_equal(p.kv_token_bytes, 2 * 70272);
}

static void test_cache_like_the_guide(void **state) {
    (void)state;
    // vLLM's log on 8 H200: 46.80 GiB are 715,072 tokens; DCP 8 makes it 8 times as many.
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    o.tensor_parallel = 8;
    o.kv_bytes = UINT64_C(70272) * 715072 + 1000;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_int_equal(p.kv_tokens, 715072);
    o.decode_context_parallel = 8;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_int_equal(p.kv_tokens, 8 * 715072);
    assert_int_equal(p.n_blocks, 715072 / 64);
}

static void test_tensor_parallel_shares(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan one, eight;
    assert_int_equal(model_plan_make(&one, &c, &o, NULL), 0);
    o.tensor_parallel = 8;
    assert_int_equal(model_plan_make(&eight, &c, &o, NULL), 0);
    assert_int_equal(eight.expert_bytes * 8, one.expert_bytes);
    assert_int_equal(eight.dense_bytes * 8, one.dense_bytes);
    assert_int_equal(eight.shared_bytes * 8, one.shared_bytes);
    assert_int_equal(eight.embed_bytes * 8, one.embed_bytes);
    assert_int_equal(eight.other_bytes, one.other_bytes);
    const uint64_t replicated = UINT64_C(2) * 61 * 7168 * (1536 + 576);
    assert_int_equal((eight.attention_bytes - replicated) * 8, one.attention_bytes - replicated);
    assert_int_equal(eight.kv_token_bytes, 70272); // the latent cache is replicated
    assert_int_equal(eight.memory_bytes, 128 * GIB);
    // An uneven cut: rank 0 of 8 has 6 of Moonlight's 44 units.
    c.moe_intermediate_size = 1408;
    assert_int_equal(model_plan_make(&eight, &c, &o, NULL), 0);
    o.tensor_parallel = 1;
    assert_int_equal(model_plan_make(&one, &c, &o, NULL), 0);
    assert_int_equal(eight.expert_bytes * 44, one.expert_bytes * 6);
}

static void test_context_that_does_not_fit(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    base_err err = {0};
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    uint64_t fixed = p.weight_bytes + p.activation_bytes;
    // Room for 10 blocks after the 90 % rule.
    o.memory_bytes = fixed + 70272 * 64 * 10 * 10 / 9 + 70272;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), 0);
    assert_true(p.shrunk);
    assert_int_equal(p.max_model_len, 640);
    assert_int_equal(p.kv_tokens, 640);
    o.max_model_len = 640;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_false(p.shrunk);
    o.max_model_len = 641;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), BASE_ERR_RESOURCE);
    assert_non_null(strstr(err.message, "--max-model-len 640"));
    o.memory_bytes = fixed + 1000;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), BASE_ERR_RESOURCE);
    o.memory_bytes = fixed - 1;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), BASE_ERR_RESOURCE);
    assert_non_null(strstr(err.message, "weights 553.40"));
}

static void test_cache_is_capped_and_given(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    base_err err = {0};
    o.max_num_seqs = 3;
    o.max_model_len = 100; // 2 blocks each
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_int_equal(p.n_blocks, 6);
    assert_int_equal(p.kv_bytes, 6 * 64 * 70272);
    o.kv_bytes = 70272 * 64 * 100;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    assert_int_equal(p.n_blocks, 100);
    o.kv_bytes = 1024 * GIB;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), BASE_ERR_RESOURCE);
    assert_non_null(strstr(err.message, "kv-cache-memory-bytes"));
}

static void test_bad_options(void **state) {
    (void)state;
    const model_config c = k2_thinking();
    model_plan_options list[8];
    for (size_t i = 0; i < 8; i++)
        list[i] = options();
    list[0].tensor_parallel = 3;
    list[1].tensor_parallel = 2, list[1].decode_context_parallel = 4;
    list[2].max_model_len = 262145;
    list[3].max_model_len = -1;
    list[4].block_size = 0;
    list[5].max_rows = 0;
    list[6].max_num_seqs = 0;
    list[7].threads = -1;
    for (size_t i = 0; i < 8; i++) {
        model_plan p;
        assert_int_equal(model_plan_make(&p, &c, &list[i], NULL), BASE_ERR_USAGE);
    }
}

static void test_largest_config_does_not_wrap(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    base_err err = {0};
    c.hidden_size = 65536, c.n_layers = 1024, c.n_routed_experts = 4096;
    c.moe_intermediate_size = 1048576, c.int4_experts = false;
    o.memory_bytes = UINT64_MAX;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), 0);
    assert_true(p.weight_bytes > UINT64_C(1) << 60);
    o.memory_bytes = 1024 * GIB;
    assert_int_equal(model_plan_make(&p, &c, &o, &err), BASE_ERR_RESOURCE);
}

static void test_plan_prints(void **state) {
    (void)state;
    model_config c = k2_thinking();
    model_plan_options o = options();
    model_plan p;
    base_str text = {0};
    o.max_num_seqs = 1;
    assert_int_equal(model_plan_make(&p, &c, &o, NULL), 0);
    model_plan_print(&p, &text);
    assert_non_null(strstr(text.data, "553.40 GiB"));
    assert_non_null(strstr(text.data, "262,144 tokens, 70,272 bytes"));
    base_str_free(&text);
}

// ---------------------------------------------------------------------------------------------
// Available memory, from made-up /proc and /sys trees.

static void put(const char *root, const char *path, const char *text) {
    char full[300];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0777);
        *p = '/';
    }
    assert_int_equal(base_file_write(full, text, strlen(text), NULL), 0);
}

static void test_memory_limits(void **state) {
    (void)state;
    char root[] = "/tmp/abruzzi-test-XXXXXX", command[64];
    uint64_t bytes;
    assert_non_null(mkdtemp(root));
    assert_int_equal(model_memory_available(&bytes, root, NULL), BASE_ERR_RESOURCE);
    put(root, "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n");
    assert_int_equal(model_memory_available(&bytes, root, NULL), 0);
    assert_int_equal(bytes, 8000 * 1024);
    // Version 2: page cache inside the group counts as free; the parent's limit counts too.
    put(root, "proc/self/cgroup", "0::/a/b\n");
    put(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(model_memory_available(&bytes, root, NULL), 0);
    assert_int_equal(bytes, 8000 * 1024);
    put(root, "sys/fs/cgroup/a/memory.max", "6000000\n");
    put(root, "sys/fs/cgroup/a/memory.current", "5000000\n");
    put(root, "sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 2000000\nactive_file 500000\n");
    assert_int_equal(model_memory_available(&bytes, root, NULL), 0);
    assert_int_equal(bytes, 3500000);
    // Inside a container its own group looks like the root.
    put(root, "proc/self/cgroup", "0::/\n");
    put(root, "sys/fs/cgroup/memory.max", "1000\n");
    put(root, "sys/fs/cgroup/memory.current", "2000\n");
    assert_int_equal(model_memory_available(&bytes, root, NULL), 0);
    assert_int_equal(bytes, 0);
    // Version 1.
    put(root, "proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/y\nbroken\n");
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "sys/fs/cgroup/memory/docker/y/memory.limit_in_bytes", "4000000\n");
    put(root, "sys/fs/cgroup/memory/docker/y/memory.usage_in_bytes", "3000000\n");
    put(root, "sys/fs/cgroup/memory/docker/y/memory.stat",
        "inactive_file 7\ntotal_inactive_file 1000000\n");
    assert_int_equal(model_memory_available(&bytes, root, NULL), 0);
    assert_int_equal(bytes, 2000000);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

static void test_memory_of_this_machine(void **state) {
    (void)state;
    uint64_t bytes;
    assert_int_equal(model_memory_available(&bytes, "", NULL), 0);
    assert_true(bytes > 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yarn_of_k2),
        cmocka_unit_test(test_plain_rope),
        cmocka_unit_test(test_yarn_vectors),
        cmocka_unit_test(test_part_bounds),
        cmocka_unit_test(test_plan_of_k2),
        cmocka_unit_test(test_cache_like_the_guide),
        cmocka_unit_test(test_tensor_parallel_shares),
        cmocka_unit_test(test_context_that_does_not_fit),
        cmocka_unit_test(test_cache_is_capped_and_given),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_largest_config_does_not_wrap),
        cmocka_unit_test(test_plan_prints),
        cmocka_unit_test(test_memory_limits),
        cmocka_unit_test(test_memory_of_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
