// How much of the prompt a reply says again. For each choice it may be the prompt's text, ids and
// log-probabilities, so that a short request could ask for a reply of any size: that is bounded
// here. What is generated needs no bound, it costs its client the time it takes.
#include "api/read.h"

enum {
    MAX_MB = 256, // of a reply; a prompt of 256k tokens with 20 log-probabilities each has half
    // Bytes of one in a reply, on average:
    ID_BYTES = 7,
    LOGPROB_BYTES = 24,
    RANKED_BYTES = 72, // of prompt_logprobs
};

// In floating point, where nothing overflows.
static double shown_bytes(const api_call *c) {
    const engine_params *p = &c->params;
    double texts = 0, ids = 0;
    for (int i = 0; i < c->n_prompts; i++) {
        texts += (double)c->prompts[i].text.len;
        ids += (double)c->prompts[i].ids.len;
    }
    double each = 0, ranked = 0;
    if (c->echo)
        each += texts;
    if (c->echo && c->logprobs)
        each += ids * LOGPROB_BYTES * (2.0 + p->n_logprobs);
    if (c->return_token_ids)
        each += ids * ID_BYTES;
    if (c->show_prompt_logprobs)
        ranked = ids * RANKED_BYTES * (1.0 + p->n_prompt_logprobs);
    // A chat has one prompt, and says this once for all choices.
    return each * p->n + ranked * (c->kind == API_CHAT ? 1 : p->n);
}

int api_shown_check(const api_reading *r) {
    const api_call *c = r->call;
    double mb = shown_bytes(c) / 1e6;
    if (mb <= MAX_MB)
        return 0;
    const char *prompt = c->kind == API_CHAT ? "messages" : "prompt";
    return api_field_fail(&r->body, 400, c->params.n > 1 ? "n" : prompt,
                          "what the reply repeats of the prompt for each choice (echo, logprobs, "
                          "prompt_logprobs, return_token_ids) would take about %.0f MB; at most "
                          "%d MB can be sent",
                          mb, MAX_MB);
}
