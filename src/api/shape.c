// Fields that choose between ways of answering: streams, what the reply shows, and features that
// are refused rather than silently left out.
#include "api/read.h"

#include <string.h>

static int read_stream(api_reading *r) {
    api_call *c = r->call;
    api_object options;
    int rc;
    if ((rc = api_field_bool(&r->body, "stream", &c->stream)) ||
        (rc = api_field_object(&r->body, "stream_options", &options)))
        return rc;
    if (options.json) {
        if (!c->stream)
            return api_field_fail(&r->body, 400, "stream_options", "needs stream to be true");
        if ((rc = api_field_bool(&options, "include_usage", &c->include_usage)) ||
            (rc = api_field_bool(&options, "continuous_usage_stats", &c->continuous_usage)))
            return rc;
        c->continuous_usage = c->continuous_usage && c->include_usage;
    }
    if (c->stream && r->options->force_include_usage)
        c->include_usage = c->continuous_usage = true;
    return 0;
}

// The number of log-probabilities beside the chosen one: -1 stands for the whole vocabulary.
static int read_count(api_reading *r, const char *name, bool all, int *count) {
    const api_options *o = r->options;
    int64_t value = -1;
    int rc = api_field_int(&r->body, name, all && o->max_logprobs < 0 ? -1 : 0,
                           o->max_logprobs < 0 ? o->vocab_size : o->max_logprobs, &value);
    if (rc == 0 && api_field_get(&r->body, name))
        *count = value < 0 ? o->vocab_size : (int)value;
    return rc;
}

static int read_chat_logprobs(api_reading *r) {
    api_call *c = r->call;
    int n_top = 0, rc;
    if ((rc = api_field_bool(&r->body, "logprobs", &c->logprobs)) ||
        (rc = read_count(r, "top_logprobs", true, &n_top)))
        return rc;
    if (n_top > 0 && !c->logprobs)
        return api_field_fail(&r->body, 400, "top_logprobs", "needs logprobs to be true");
    c->params.n_logprobs = c->logprobs ? n_top : -1;
    return 0;
}

static int read_logprobs(api_reading *r) {
    api_call *c = r->call;
    engine_params *p = &c->params;
    int rc;
    if (c->kind == API_CHAT) {
        if ((rc = read_chat_logprobs(r)))
            return rc;
    } else if ((rc = read_count(r, "logprobs", false, &p->n_logprobs))) {
        return rc;
    }
    c->logprobs = p->n_logprobs >= 0;
    if ((rc = read_count(r, "prompt_logprobs", true, &p->n_prompt_logprobs)))
        return rc;
    if (c->stream && p->n_prompt_logprobs > 0)
        return api_field_fail(&r->body, 400, "prompt_logprobs", "cannot be had in a stream");
    if (c->stream)
        p->n_prompt_logprobs = -1; // chunks have no place for the 0 that was allowed
    c->show_prompt_logprobs = p->n_prompt_logprobs >= 0;
    if (c->echo && p->n_prompt_logprobs < 0)
        p->n_prompt_logprobs = p->n_logprobs;
    c->prompt_logprobs = p->n_prompt_logprobs >= 0;
    return 0;
}

static int read_shown(api_reading *r) {
    api_call *c = r->call;
    bool ignored;
    int rc;
    c->tokens_as_ids = r->options->return_tokens_as_token_ids;
    const struct {
        const char *name;
        bool *value;
    } fields[] = {
        {"skip_special_tokens", &c->skip_special},
        {"include_stop_str_in_output", &c->include_stop},
        {"return_token_ids", &c->return_token_ids},
        {"return_tokens_as_token_ids", &c->tokens_as_ids},
        // The tokenizer never puts spaces between tokens, nor adds any token of its own.
        {"spaces_between_special_tokens", &ignored},
        {"add_special_tokens", &ignored},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((rc = api_field_bool(&r->body, fields[i].name, fields[i].value)))
            return rc;
    return 0;
}

static int refuse_fields(const api_reading *r) {
    static const struct {
        const char *name;
        int status;
        const char *reason;
    } fields[] = {
        {"logits_processors", 400, "code of clients is not run"},
        {"kv_transfer_params", 501, "is not available in this version"},
        {"logprob_token_ids", 501, "is not available in this version"},
    };
    static const struct {
        const char *name, *reason;
    } flags[] = {
        {"use_beam_search", "beam search is not available"},
        {"return_prompt_text", "is not available in this version"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (api_field_get(&r->body, fields[i].name))
            return api_field_fail(&r->body, fields[i].status, fields[i].name, "%s",
                                  fields[i].reason);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool value = false;
        int rc = api_field_bool(&r->body, flags[i].name, &value);
        if (rc == 0 && value)
            rc = api_field_fail(&r->body, 501, flags[i].name, "%s", flags[i].reason);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_chat_only(api_reading *r) {
    bool echo = false;
    int rc;
    if ((rc = api_field_bool(&r->body, "echo", &echo)) ||
        (rc = api_field_bool(&r->body, "include_reasoning", &r->call->include_reasoning)))
        return rc;
    return echo ? api_field_fail(&r->body, 501, "echo", "is not available for chats") : 0;
}

static int read_completion_only(api_reading *r) {
    const char *suffix = NULL;
    size_t len = 0;
    int rc;
    if ((rc = api_field_bool(&r->body, "echo", &r->call->echo)) ||
        (rc = api_field_string(&r->body, "suffix", &suffix, &len)))
        return rc;
    if (len > 0)
        return api_field_fail(&r->body, 400, "suffix", "is not supported");
    if (api_field_get(&r->body, "prompt_embeds"))
        return api_field_fail(&r->body, 400, "prompt_embeds", "prompts must be text or token ids");
    return 0;
}

int api_shape_read(api_reading *r) {
    int64_t priority = 0;
    int rc = r->call->kind == API_CHAT ? read_chat_only(r) : read_completion_only(r);
    if (rc || (rc = refuse_fields(r)) || (rc = read_stream(r)) || (rc = read_shown(r)) ||
        (rc = read_logprobs(r)) ||
        (rc = api_field_int(&r->body, "priority", INT64_MIN, INT64_MAX, &priority)))
        return rc;
    if (priority != 0)
        return api_field_fail(&r->body, 400, "priority",
                              "must be 0: requests are served in the order they come");
    return 0;
}
