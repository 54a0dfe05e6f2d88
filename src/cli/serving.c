#include "cli/serving.h"
#include "cli/defaults.h"
#include <string.h>

static void find_model(cli_serving *s, const cli_options *o) {
    const model_config *config = model_get_config(s->stack.model);
    const engine_options *limits = &s->stack.limits;
    api_options *a = &s->options;
    a->vocab = s->stack.vocab;
    a->chat = s->chat;
    a->tokenizer_config = s->tokenizer_config;
    a->max_model_len = limits->max_model_len;
    a->vocab_size = config->vocab_size;
    a->max_num_seqs = limits->max_num_seqs;
    a->max_queue = limits->max_queue;
    a->max_logprobs = s->max_logprobs < 0 ? -1 : limits->max_logprobs;
    a->block_size = limits->block_size;
    a->n_blocks = limits->n_blocks;
    a->kv_tokens = s->stack.plan.kv_tokens;
    a->cache_dtype = strcmp(cli_string(o, "numerics"), "exact") == 0 ? "float32" : "bfloat16";
    a->n_eos = limits->n_eos;
    memcpy(a->eos_ids, limits->eos_ids, sizeof a->eos_ids);
    a->replay = s->stack.replay;
}

static void find_chat(cli_serving *s) {
    base_err why = {0};
    if (chat_format_create(&s->chat, s->stack.vocab, &why) != 0)
        base_warn("There will be no chat, only completions: %s", why.message);
}

// Without chat tokens only completions can be constrained.
static void make_grammar(cli_serving *s) {
    const engine_options *limits = &s->stack.limits;
    int32_t think[2] = {-1, -1}, calls[5] = {-1, -1, -1, -1, -1};
    if (s->chat != NULL)
        chat_control_ids(s->chat, think, calls);
    grammar_tokens tokens = {.think = think[0],
                             .think_end = think[1],
                             .section_begin = calls[0],
                             .section_end = calls[1],
                             .call_begin = calls[2],
                             .call_argument = calls[3],
                             .call_end = calls[4]};
    for (int i = 0; i < limits->n_eos && i < GRAMMAR_MAX_ENDS; i++)
        tokens.ends[tokens.n_ends++] = limits->eos_ids[i];
    double start = base_now_s();
    s->options.grammar = grammar_vocab_create(s->stack.vocab, &tokens);
    base_debug("Making the vocabulary ready for constraints took %.2f seconds",
               base_now_s() - start);
}

int cli_serving_open(cli_serving *s, const cli_options *o, base_err *err) {
    const cli_stack_needs needs = {
        .max_logprobs = s->max_logprobs,
        .max_outputs = CLI_PROMPT_OUTPUTS,
        .max_queue = s->max_queue,
        .replay = s->replay,
    };
    int rc = cli_stack_open(&s->stack, o, &needs, err);
    if (rc == 0)
        rc = cli_defaults_find(o, s->stack.model, &s->options.defaults, err);
    if (rc != 0)
        return rc;
    s->tokenizer_config = base_path_join(model_dir(s->stack.model), "tokenizer_config.json");
    find_chat(s);
    make_grammar(s);
    find_model(s, o);
    return 0;
}

int cli_serving_start(cli_serving *s, base_err *err) {
    engine *e = s->stack.engine;
    s->stack.engine = NULL; // the server's now, also when it does not start
    return api_server_start(&s->server, &s->options, e, err);
}

void cli_serving_close(cli_serving *s) {
    api_server_stop(s->server);
    s->server = NULL;
    cli_stack_close(&s->stack);
    grammar_vocab_free(s->options.grammar);
    s->options.grammar = NULL;
    chat_format_free(s->chat);
    s->chat = NULL;
    base_free(s->tokenizer_config);
    s->tokenizer_config = NULL;
}
