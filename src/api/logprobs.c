// Log-probabilities as OpenAI's completions and chats show them, and vLLM's prompt_logprobs.
#include "api/reply.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char *bytes_of(const api_answer *a, int32_t id, size_t *len) {
    const char *bytes = token_bytes(a->options->vocab, id, len);
    return bytes != NULL ? bytes : ""; // models may have more rows than the tokenizer has ids
}

// A token's string, decoded by itself: bytes that are not whole characters are shown as U+FFFD.
static void add_token(const api_answer *a, int32_t id, base_str *out) {
    if (a->call->tokens_as_ids) {
        base_str_adds(out, "\"token_id:");
        api_reply_int(out, id);
        base_str_adds(out, "\"");
        return;
    }
    size_t len;
    const char *bytes = bytes_of(a, id, &len);
    base_json_add_string(out, bytes, len);
}

// The length of that string in characters, as Python counts them.
static size_t count_characters(const api_answer *a, int32_t id) {
    size_t len, count = 0;
    if (a->call->tokens_as_ids)
        return strlen("token_id:") + (size_t)snprintf(NULL, 0, "%d", id);
    const char *bytes = bytes_of(a, id, &len);
    for (size_t at = 0; at < len; count++) {
        bool valid;
        at += base_utf8_next(bytes + at, len - at, &valid);
    }
    return count;
}

// JSON has no infinity: vLLM's floor stands for it, and for NaN.
static void add_logprob(base_str *out, float logprob) {
    base_json_add_double(out, logprob > -9999 ? (double)logprob : -9999);
}

// ---------------------------------------------------------------------------------------------
// Completions

// Empties the table of keys, and makes it large enough for n of them.
static void reset_keys(api_answer *a, size_t n) {
    size_t size = 8;
    while (size < 2 * n)
        size *= 2;
    if (size > a->n_keys) {
        base_free(a->keys);
        a->keys = base_alloc(size * sizeof *a->keys);
        a->n_keys = size;
    }
    memset(a->keys, 0, a->n_keys * sizeof *a->keys);
}

// Whether no key in the table is what *out has from `at`, which is entered then.
static bool enter_key(api_answer *a, const base_str *out, size_t at) {
    const char *key = out->data + at;
    size_t len = out->len - at, i = XXH3_64bits(key, len) & (a->n_keys - 1);
    for (; a->keys[i].len != 0; i = (i + 1) & (a->n_keys - 1))
        if (a->keys[i].len == len && memcmp(out->data + a->keys[i].at, key, len) == 0)
            return false;
    a->keys[i] = (api_key){at, len};
    return true;
}

// Tokens that are parts of characters can have the same string: the first one stands, for an object
// may have a key only once.
static void add_top(api_answer *a, int32_t id, float logprob, base_str *out) {
    size_t before = out->len;
    if (out->data[before - 1] != '{')
        base_str_adds(out, ",");
    size_t at = out->len;
    add_token(a, id, out);
    if (!enter_key(a, out, at)) {
        out->len = before;
        return;
    }
    base_str_adds(out, ":");
    add_logprob(out, logprob);
}

// {token: log-probability}, the token itself first, whatever its rank is. A prompt's list may be
// longer than `logprobs` when prompt_logprobs was asked for, too.
static void add_tops(api_answer *a, const api_token *t, base_str *out) {
    int left = a->call->params.n_logprobs;
    reset_keys(a, (size_t)t->n_top + 1);
    base_str_adds(out, "{");
    add_top(a, t->id, t->logprob, out);
    for (int i = 0; i < t->n_top && left > 0; i++) {
        if (t->top[i].id == t->id)
            continue;
        add_top(a, t->top[i].id, t->top[i].logprob, out);
        left--;
    }
    base_str_adds(out, "}");
}

typedef enum { TEXT_OFFSET, TOKEN_LOGPROBS, TOKENS, TOP_LOGPROBS, N_LISTS } list_kind;

static void add_item(api_answer *a, api_choice *c, list_kind kind, const api_token *t,
                     base_str *out) {
    if (kind == TEXT_OFFSET) {
        api_reply_int(out, (int64_t)c->n_characters);
        c->n_characters += count_characters(a, t->id);
    } else if (kind == TOKENS) {
        add_token(a, t->id, out);
    } else if (t->rank == 0) {
        base_str_adds(out, "null"); // nothing precedes the first token
    } else if (kind == TOKEN_LOGPROBS) {
        add_logprob(out, t->logprob);
    } else {
        add_tops(a, t, out);
    }
}

void api_logprobs_completion(api_answer *a, api_choice *c, const api_tokens *prompt,
                             base_str *out) {
    static const char *const begins[N_LISTS] = {"{\"text_offset\":[", "],\"token_logprobs\":[",
                                                "],\"tokens\":[", "],\"top_logprobs\":["};
    size_t n_prompt = prompt != NULL ? prompt->len : 0;
    for (list_kind kind = 0; kind < N_LISTS; kind++) {
        base_str_adds(out, begins[kind]);
        for (size_t i = 0; i < n_prompt + c->tokens.len; i++) {
            const api_token *t = i < n_prompt ? &prompt->at[i] : &c->tokens.at[i - n_prompt];
            if (i > 0)
                base_str_adds(out, ",");
            add_item(a, c, kind, t, out);
        }
    }
    base_str_adds(out, "]}");
}

// ---------------------------------------------------------------------------------------------
// Chats

static void add_chat_token(const api_answer *a, int32_t id, float logprob, base_str *out) {
    size_t len;
    const char *bytes = bytes_of(a, id, &len);
    base_str_adds(out, "{\"token\":");
    add_token(a, id, out);
    base_str_adds(out, ",\"logprob\":");
    add_logprob(out, logprob);
    base_str_adds(out, ",\"bytes\":[");
    for (size_t i = 0; i < len; i++) {
        if (i > 0)
            base_str_adds(out, ",");
        api_reply_int(out, (unsigned char)bytes[i]);
    }
    base_str_adds(out, "]");
}

void api_logprobs_chat(const api_answer *a, const api_choice *c, base_str *out) {
    base_str_adds(out, "{\"content\":[");
    for (size_t i = 0; i < c->tokens.len; i++) {
        const api_token *t = &c->tokens.at[i];
        if (i > 0)
            base_str_adds(out, ",");
        add_chat_token(a, t->id, t->logprob, out);
        base_str_adds(out, ",\"top_logprobs\":[");
        for (int k = 0; k < t->n_top; k++) {
            if (k > 0)
                base_str_adds(out, ",");
            add_chat_token(a, t->top[k].id, t->top[k].logprob, out);
            base_str_adds(out, "}");
        }
        base_str_adds(out, "]}");
    }
    base_str_adds(out, "]}");
}

// ---------------------------------------------------------------------------------------------
// prompt_logprobs

static void add_ranked(const api_answer *a, int32_t id, float logprob, int rank, base_str *out) {
    size_t len;
    const char *bytes = bytes_of(a, id, &len);
    base_str_adds(out, "\"");
    api_reply_int(out, id);
    base_str_adds(out, "\":{\"logprob\":");
    add_logprob(out, logprob);
    base_str_adds(out, ",\"rank\":");
    api_reply_int(out, rank);
    base_str_adds(out, ",\"decoded_token\":");
    base_json_add_string(out, bytes, len);
    base_str_adds(out, "}");
}

void api_logprobs_prompt(const api_answer *a, const api_tokens *prompt, base_str *out) {
    base_str_adds(out, "[");
    for (size_t i = 0; i < prompt->len; i++) {
        const api_token *t = &prompt->at[i];
        if (i > 0)
            base_str_adds(out, ",");
        if (t->rank == 0) {
            base_str_adds(out, "null");
            continue;
        }
        base_str_adds(out, "{");
        add_ranked(a, t->id, t->logprob, t->rank, out);
        for (int k = 0; k < t->n_top; k++) {
            if (t->top[k].id == t->id)
                continue;
            base_str_adds(out, ",");
            add_ranked(a, t->top[k].id, t->top[k].logprob, k + 1, out);
        }
        base_str_adds(out, "}");
    }
    base_str_adds(out, "]");
}
