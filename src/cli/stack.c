#include "cli/stack.h"
#include <string.h>

int cli_model_argument(const cli_options *o, const char **out, base_err *err) {
    const char *argument = cli_argument(o, 0), *flag = cli_string(o, "model");
    if (argument == NULL && flag == NULL)
        return base_fail(err, BASE_ERR_USAGE, "no model given: a directory or a hub id");
    if (argument != NULL && cli_flagged(o, "model") && strcmp(argument, flag) != 0)
        return base_fail(err, BASE_ERR_USAGE, "two models given: %s and --model %s", argument,
                         flag);
    *out = argument != NULL ? argument : flag;
    return 0;
}

void cli_set_log_level(const cli_options *o) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], cli_string(o, "log-level")) == 0)
            base_log_set_level((base_log_level)i);
    }
}

// ---------------------------------------------------------------------------------------------
// Flags of vLLM that are understood and cannot be followed here, or not yet

static int check_parallel_size(const cli_options *o, const char *name, base_err *err) {
    if (cli_int(o, name) == 1)
        return 0;
    return base_fail(err, BASE_ERR_USAGE,
                     "--%s %lld: not available in this version, which computes with one rank", name,
                     (long long)cli_int(o, name));
}

int cli_stack_check(const cli_options *o, base_err *err) {
    int rc = check_parallel_size(o, "tensor-parallel-size", err);
    if (rc == 0)
        rc = check_parallel_size(o, "decode-context-parallel-size", err);
    if (rc != 0)
        return rc;
    if (!cli_bool(o, "enable-chunked-prefill"))
        return base_fail(err, BASE_ERR_USAGE,
                         "--no-enable-chunked-prefill: long prompts are always computed in chunks; "
                         "see --max-num-batched-tokens");
    if (strcmp(cli_string(o, "kv-cache-dtype"), "auto") != 0 &&
        strcmp(cli_string(o, "numerics"), "exact") == 0)
        return base_fail(err, BASE_ERR_USAGE,
                         "--kv-cache-dtype %s needs --numerics fast: exact keeps a float32 cache",
                         cli_string(o, "kv-cache-dtype"));
    return 0;
}

static void say_without_effect(const cli_options *o) {
    if (cli_given(o, "gpu-memory-utilization"))
        base_warn("--gpu-memory-utilization has no effect: the cache is in the machine's memory, "
                  "see --kv-cache-memory-bytes");
    if (cli_bool(o, "enforce-eager"))
        base_debug("--enforce-eager has no effect: there are no graphs on a CPU");
}

// ---------------------------------------------------------------------------------------------
// The stack

void cli_plan_options(const cli_options *o, model_plan_options *out) {
    *out = (model_plan_options){
        .tensor_parallel = 1,
        .decode_context_parallel = 1,
        .exact = strcmp(cli_string(o, "numerics"), "exact") == 0,
        .block_size = (int)cli_int(o, "block-size"),
        .max_rows = (int)cli_int(o, "max-num-batched-tokens"),
        .max_num_seqs = (int)cli_int(o, "max-num-seqs"),
        .max_model_len = cli_int(o, "max-model-len") > 0 ? (int)cli_int(o, "max-model-len") : 0,
        .threads = cli_threads(o),
        .kv_bytes = (uint64_t)cli_int(o, "kv-cache-memory-bytes"),
    };
    // A step has a row for each sequence at least.
    if (out->max_rows < out->max_num_seqs)
        out->max_rows = out->max_num_seqs;
}

static void log_banner(const cli_options *o) {
    base_str given = {0};
    cli_options_describe(o, &given);
    base_info("Abruzzi version %s", ABRUZZI_VERSION);
    base_info("non-default args: %s", given.data);
    base_str_free(&given);
}

int cli_vocab_load(token_vocab **out, const model *m, base_err *err) {
    int rc = token_vocab_load(out, model_dir(m), err);
    if (rc != 0)
        return rc;
    int n_ids = token_vocab_size(*out), vocab_size = model_get_config(m)->vocab_size;
    if (n_ids <= vocab_size)
        return 0;
    token_vocab_free(*out);
    *out = NULL;
    return base_fail(err, BASE_ERR_MODEL, "%s: the tokenizer has %d ids, vocab_size is %d",
                     model_dir(m), n_ids, vocab_size);
}

static int open_model(cli_stack *s, const cli_options *o, const char *name, bool config_only,
                      base_err *err) {
    const model_open_options options = {
        .config_only = config_only,
        .dummy = !config_only && strcmp(cli_string(o, "load-format"), "dummy") == 0,
    };
    int rc = model_open(&s->model, name, &options, err);
    if (rc != 0)
        return rc;
    base_info("Resolved architecture: %s", model_get_config(s->model)->architecture);
    return cli_vocab_load(&s->vocab, s->model, err);
}

static int plan_memory(cli_stack *s, const cli_options *o, const model_plan_options *options,
                       base_err *err) {
    const model_config *config = model_get_config(s->model);
    int rc = model_plan_make(&s->plan, config, options, err);
    if (rc != 0)
        return rc;
    base_str table = {0};
    model_plan_print(&s->plan, &table);
    for (char *line = table.data, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        base_info("%s", line);
    }
    base_str_free(&table);
    // "auto" asks for what fits; without the flag the model's own length was hoped for.
    if (s->plan.shrunk && !cli_given(o, "max-model-len"))
        base_warn("max_model_len is %d, not the model's %d: the KV cache has no room for more",
                  s->plan.max_model_len, config->max_position_embeddings);
    return 0;
}

// The end-of-turn token, which scripts imply.
static int32_t end_of_turn(const cli_stack *s) {
    const model_config *config = model_get_config(s->model);
    int32_t id = token_control_id(s->vocab, "<|im_end|>");
    for (int i = 0; i < config->n_eos; i++) {
        if (config->eos_ids[i] == id)
            return id;
    }
    return config->n_eos > 0 ? config->eos_ids[0] : -1;
}

static int load_scripts(cli_stack *s, const char *path, base_err *err) {
    int32_t eos = end_of_turn(s);
    if (eos < 0)
        return base_fail(err, BASE_ERR_MODEL, "%s/config.json: eos_token_id: a replay needs it",
                         model_dir(s->model));
    int n = 0, rc = api_replay_load(&s->replay, path, s->vocab, eos, err);
    if (rc != 0)
        return rc;
    api_replay_scripts(s->replay, &n);
    base_info("Replaying %d scripts of %s instead of the model", n, path);
    return 0;
}

// Without weights and cache memory is no limit, and the pool need not fit it; but the engine keeps
// books of each block.
static int plan_replay(cli_stack *s, model_plan_options *options, base_err *err) {
    enum { MAX_POOL = 1 << 18 };
    const model_config *config = model_get_config(s->model);
    options->memory_bytes = UINT64_C(1) << 62;
    int rc = model_plan_make(&s->plan, config, options, err);
    if (rc != 0 || s->plan.n_blocks <= MAX_POOL)
        return rc;
    int64_t one = base_ceil_div(s->plan.max_model_len, options->block_size);
    options->kv_bytes = (uint64_t)(one > MAX_POOL ? one : MAX_POOL) * s->plan.kv_token_bytes *
                        (uint64_t)options->block_size;
    return model_plan_make(&s->plan, config, options, err);
}

// Found before the weights are read, so that what the engine refuses costs no time.
static int find_limits(cli_stack *s, const cli_options *o, const model_plan_options *plan,
                       const cli_stack_needs *needs, base_err *err) {
    const model_config *config = model_get_config(s->model);
    engine_options *out = &s->limits;
    bool all_logprobs = needs->max_logprobs < 0 || needs->max_logprobs > config->vocab_size;
    *out = (engine_options){
        .max_num_seqs = plan->max_num_seqs,
        .max_num_batched_tokens = plan->max_rows,
        .max_outputs =
            needs->max_outputs > plan->max_num_seqs ? needs->max_outputs : plan->max_num_seqs,
        .max_model_len = s->plan.max_model_len,
        .max_queue = needs->max_queue,
        .block_size = plan->block_size,
        .n_blocks = s->plan.n_blocks,
        .prefix_caching = cli_bool(o, "enable-prefix-caching") && !needs->no_prefix_caching,
        .max_logprobs = all_logprobs ? config->vocab_size : needs->max_logprobs,
        .vocab_size = config->vocab_size,
        .n_eos = config->n_eos,
    };
    memcpy(out->eos_ids, config->eos_ids, sizeof out->eos_ids);
    return engine_options_check(out, err);
}

static int open_backend(cli_stack *s, const cli_options *o, const model_plan_options *plan,
                        base_err *err) {
    backend_options options = {
        .numerics = plan->exact ? BACKEND_EXACT : BACKEND_FAST,
        .threads = cli_threads(o),
        .block_size = plan->block_size,
        .n_blocks = s->plan.n_blocks,
        .interleave = (int)cli_int(o, "dcp-kv-cache-interleave-size"),
        .max_rows = plan->max_rows,
        .max_seqs = plan->max_num_seqs,
        .max_outputs = s->limits.max_outputs,
        .max_logprobs = s->limits.max_logprobs,
        .max_model_len = s->plan.max_model_len,
        .progress = true,
    };
    double start = base_now_s();
    int rc, n = 0;
    if (s->replay != NULL) {
        const backend_script *scripts = api_replay_scripts(s->replay, &n);
        rc =
            backend_open_replay(&s->backend, scripts, n, model_get_config(s->model), &options, err);
    } else {
        rc = backend_open(&s->backend, cli_string(o, "backend"), s->model, &options, err);
    }
    if (rc == 0)
        base_info("Loading weights took %.2f seconds (%s)", base_now_s() - start,
                  backend_describe(s->backend));
    return rc;
}

static void log_cache(const model_plan *plan) {
    char tokens[32], length[32];
    base_info("Available KV cache memory: %.2f GiB", (double)plan->kv_bytes / 0x1p30);
    base_info("CPU KV cache size: %s tokens", base_thousands(tokens, plan->kv_tokens));
    base_info("Maximum concurrency for %s tokens per request: %.2fx",
              base_thousands(length, plan->max_model_len),
              (double)plan->kv_tokens / plan->max_model_len);
}

int cli_stack_open(cli_stack *s, const cli_options *o, const cli_stack_needs *needs,
                   base_err *err) {
    *s = (cli_stack){0};
    const char *name = NULL;
    int rc = cli_model_argument(o, &name, err);
    if (rc != 0)
        return rc;
    rc = cli_stack_check(o, err);
    if (rc != 0)
        return rc;
    cli_set_log_level(o);
    log_banner(o);
    say_without_effect(o);
    model_plan_options plan;
    cli_plan_options(o, &plan);
    rc = open_model(s, o, name, needs->replay != NULL, err);
    if (rc == 0 && needs->replay != NULL)
        rc = load_scripts(s, needs->replay, err);
    if (rc == 0)
        rc = needs->replay != NULL ? plan_replay(s, &plan, err) : plan_memory(s, o, &plan, err);
    if (rc == 0)
        rc = find_limits(s, o, &plan, needs, err);
    if (rc == 0)
        rc = open_backend(s, o, &plan, err);
    if (rc != 0) {
        cli_stack_close(s);
        return rc;
    }
    log_cache(&s->plan);
    s->engine = engine_create(s->backend, &s->limits);
    return 0;
}

void cli_stack_close(cli_stack *s) {
    engine_destroy(s->engine);
    backend_close(s->backend);
    api_replay_free(s->replay);
    token_vocab_free(s->vocab);
    model_close(s->model);
    *s = (cli_stack){0};
}
