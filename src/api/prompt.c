// The prompt of a completion: a text, a list of texts, ids, or a list of lists of ids.
#include "api/read.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_END = 60 }; // bytes of a prompt's end in an error

bool api_wants_text(const api_reading *r) {
    return r->call->echo || r->options->replay || r->options->log_requests;
}

void api_ids_text(const token_vocab *vocab, const int32_t *ids, size_t n, base_str *out) {
    token_decoder decoder = {0};
    for (size_t i = 0; i < n; i++)
        token_decode(&decoder, vocab, ids[i], false, out);
    token_decode_end(&decoder, out);
}

static bool truncate_ids(const api_reading *r, base_ids *ids) {
    int64_t keep = r->truncate;
    if (keep < 0) { // what leaves room for the output
        keep = r->options->max_model_len - (r->max_tokens_field ? r->max_tokens : 1);
        keep = keep < 1 ? 1 : keep;
    }
    if (keep == 0 || ids->len <= (size_t)keep)
        return false;
    if (!r->truncate_right)
        memmove(ids->data, ids->data + ids->len - keep, (size_t)keep * sizeof *ids->data);
    ids->len = (size_t)keep;
    return true;
}

static int find_script(const api_reading *r, api_prompt *prompt) {
    const base_str *text = &prompt->text;
    prompt->script = api_replay_match(r->options->replay, text->data, text->len);
    if (prompt->script >= 0)
        return 0;
    size_t start = text->len > SHOWN_END ? text->len - SHOWN_END : 0;
    while (start < text->len && ((unsigned char)text->data[start] & 0xc0) == 0x80)
        start++; // not in the middle of a character
    return api_fail(r->body.error, 500, "",
                    "No script of the replay file matches the prompt, which ends in: %s",
                    text->data ? text->data + start : "");
}

int api_prompt_finish(const api_reading *r, api_prompt *prompt, bool has_text) {
    has_text = !truncate_ids(r, &prompt->ids) && has_text;
    if (api_wants_text(r) && !has_text) {
        base_str_clear(&prompt->text);
        api_ids_text(r->options->vocab, prompt->ids.data, prompt->ids.len, &prompt->text);
    }
    return r->options->replay ? find_script(r, prompt) : 0;
}

static int take_text(const api_reading *r, const char *name, const json_t *value,
                     api_prompt *prompt) {
    const api_options *o = r->options;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (len == 0)
        return api_field_fail(&r->body, 400, name, "must not be empty");
    if (r->truncate == 0 && len / token_max_bytes(o->vocab) > (size_t)o->max_model_len)
        return api_fail_context(o, r->body.error, name, len, "bytes");
    token_encode(o->vocab, text, len, TOKEN_ALLOW_SPECIAL, &prompt->ids);
    if (api_wants_text(r))
        base_str_add(&prompt->text, text, len);
    return api_prompt_finish(r, prompt, true);
}

static int take_ids(const api_reading *r, const char *name, const json_t *list,
                    api_prompt *prompt) {
    if (json_array_size(list) == 0)
        return api_field_fail(&r->body, 400, name, "must not be empty");
    if (r->truncate == 0 && json_array_size(list) >= (size_t)r->options->max_model_len)
        return api_fail_context(r->options, r->body.error, name, json_array_size(list), "tokens");
    int rc = api_list_ids(&r->body, name, list, r->options->vocab_size, &prompt->ids);
    return rc ? rc : api_prompt_finish(r, prompt, false);
}

static int take(const api_reading *r, const char *name, const json_t *value, api_prompt *prompt) {
    if (json_is_string(value))
        return take_text(r, name, value, prompt);
    return take_ids(r, name, value, prompt);
}

// A list of strings or of lists; the first of them says which.
static int take_batch(api_reading *r, const json_t *list) {
    const api_options *o = r->options;
    api_call *c = r->call;
    json_type type = json_typeof(json_array_get(list, 0));
    size_t n = json_array_size(list),
           most = (size_t)((int64_t)o->max_num_seqs + o->max_queue) / (size_t)c->params.n;
    if (n > most)
        return api_field_fail(&r->body, 400, "prompt",
                              "%zu prompts with n = %d are more choices than the %lld that can run "
                              "and wait",
                              n, c->params.n, (long long)o->max_num_seqs + o->max_queue);
    c->prompts = base_calloc(n, sizeof *c->prompts);
    c->n_prompts = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        char name[64];
        snprintf(name, sizeof name, "prompt[%zu]", i);
        if (json_typeof(item) != type)
            return api_field_fail_type(
                &r->body, name,
                type == JSON_STRING ? "a string as the others are" : "a list of ids", item);
        int rc = take(r, name, item, &c->prompts[i]);
        if (rc)
            return rc;
    }
    return 0;
}

int api_prompts_read(api_reading *r) {
    const json_t *value = api_field_get(&r->body, "prompt");
    const json_t *first = json_array_get(value, 0);
    if (!value)
        return api_field_fail(&r->body, 400, "prompt", "is missing");
    if (json_is_array(value) && !first)
        return api_field_fail(&r->body, 400, "prompt", "must not be empty");
    if (json_is_string(first) || json_is_array(first))
        return take_batch(r, value);
    if (!json_is_string(value) && !json_is_number(first))
        return api_field_fail_type(&r->body, first ? "prompt[0]" : "prompt",
                                   "a string, a list of strings, token ids or a list of them",
                                   first ? first : value);
    r->call->prompts = base_calloc(1, sizeof *r->call->prompts);
    r->call->n_prompts = 1;
    return take(r, "prompt", value, r->call->prompts);
}
