// A choice as one line of JSON. Numbers are the engine's own: a float's value in the fewest digits
// that read back equal.
#include "cli/answer.h"
#include <string.h>

static void add_ids(base_str *out, const char *name, const int32_t *ids, size_t n) {
    base_str_printf(out, "\"%s\": [", name);
    for (size_t i = 0; i < n; i++)
        base_str_printf(out, "%s%d", i > 0 ? ", " : "", ids[i]);
    base_str_adds(out, "]");
}

static void add_logprob(base_str *out, const token_vocab *vocab, int32_t id, float logprob) {
    size_t len;
    const char *bytes = token_bytes(vocab, id, &len);
    base_str_printf(out, "\"id\": %d, \"token\": ", id);
    base_json_add_string(out, bytes != NULL ? bytes : "", len);
    base_str_adds(out, ", \"logprob\": ");
    base_json_add_double(out, (double)logprob);
}

static void add_token(base_str *out, const token_vocab *vocab, const cli_answer_token *t) {
    base_str_adds(out, "{");
    add_logprob(out, vocab, t->id, t->logprob);
    base_str_printf(out, ", \"rank\": %d, \"top\": [", t->rank);
    for (int i = 0; i < t->n_top; i++) {
        base_str_adds(out, i > 0 ? ", {" : "{");
        add_logprob(out, vocab, t->top[i].id, t->top[i].logprob);
        base_str_adds(out, "}");
    }
    base_str_adds(out, "]}");
}

static void add_stop_reason(base_str *out, const cli_answer *a, const cli_answer_choice *c) {
    const cli_answer_options *o = &a->options;
    base_str_adds(out, ", \"stop_reason\": ");
    if (c->stop_string >= 0) {
        const char *text = o->stops[c->stop_string];
        base_json_add_string(out, text, strlen(text));
        return;
    }
    for (int i = 0; i < o->n_stop_ids && c->stop_id >= 0; i++) {
        if (o->stop_ids[i] == c->stop_id) {
            base_str_printf(out, "%d", c->stop_id);
            return;
        }
    }
    base_str_adds(out, "null"); // end of sequence, or none
}

void cli_answer_json(const cli_answer *a, int index, const cli_answer_json_options *options,
                     base_str *out) {
    const cli_answer_choice *c = &a->choices[index];
    const token_vocab *vocab = a->options.vocab;
    base_str_printf(out, "{\"index\": %d, ", index);
    add_ids(out, "prompt_ids", options->prompt, (size_t)options->n_prompt);
    base_str_adds(out, ", \"ids\": [");
    for (int i = 0; i < c->tokens.n; i++)
        base_str_printf(out, "%s%d", i > 0 ? ", " : "", c->tokens.at[i].id);
    base_str text = {0};
    base_str_add(&text, options->echo, options->echo_len);
    base_str_add(&text, c->text.data, c->text.len);
    base_str_adds(out, "], \"text\": ");
    base_json_add_string(out, text.data != NULL ? text.data : "", text.len);
    base_str_free(&text);
    if (options->logprobs) {
        base_str_adds(out, ", \"logprobs\": [");
        for (int i = 0; i < c->tokens.n; i++) {
            base_str_adds(out, i > 0 ? ", " : "");
            add_token(out, vocab, &c->tokens.at[i]);
        }
        base_str_adds(out, "]");
    }
    if (options->prompt_logprobs) {
        base_str_adds(out, ", \"prompt_logprobs\": [null"); // nothing precedes the first token
        for (int i = 0; i < a->prompt.n; i++) {
            base_str_adds(out, ", ");
            add_token(out, vocab, &a->prompt.at[i]);
        }
        base_str_adds(out, "]");
    }
    base_str_printf(out, ", \"finish_reason\": \"%s\"", c->finish_reason);
    add_stop_reason(out, a, c);
    base_str_printf(out,
                    ", \"usage\": {\"prompt_tokens\": %d, \"completion_tokens\": %d, "
                    "\"total_tokens\": %d, \"cached_tokens\": %d}}\n",
                    options->n_prompt, c->tokens.n, options->n_prompt + c->tokens.n, c->n_cached);
}
