// config.json, and the same bytes as generation_config.json. What is accepted must be safe to plan
// memory and rotary tables with.
#include "model/internal.h"
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const model_config *c) {
    static double inv_freq[512]; // qk_rope_head_dim is at most 1024
    double cos_sin, softmax;
    model_rope_init(c, inv_freq, &cos_sin, &softmax);
    for (int i = 0; i < c->qk_rope_head_dim / 2; i++)
        if (!isfinite(inv_freq[i]))
            abort();
    if (!isfinite(cos_sin) || !isfinite(softmax) || c->n_eos > MODEL_MAX_EOS)
        abort();
    const model_plan_options options = {.tensor_parallel = 8,
                                        .decode_context_parallel = 8,
                                        .block_size = 16,
                                        .max_rows = 1 << 20,
                                        .max_num_seqs = 1 << 20,
                                        .threads = 1,
                                        .memory_bytes = UINT64_MAX};
    model_plan plan;
    base_err err;
    if (model_plan_make(&plan, c, &options, &err) == 0 && plan.n_blocks <= 0)
        abort();
    for (int i = 0; i < c->n_layers; i++)
        model_layer_is_moe(c, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    model_config config;
    model_generation generation;
    base_err err = {0};
    int rc = model_config_parse(&config, (const char *)data, size, "fuzz", &err);
    if (rc == 0)
        use(&config);
    else if (err.code != rc || err.message[0] == 0)
        abort();
    config = (model_config){.vocab_size = 512};
    model_generation_parse(&generation, &config, (const char *)data, size, "fuzz", NULL);
    return 0;
}
