#include "api/tokenize.h"

#include "api/read.h"
#include <stdint.h>

// The characters that byte-level vocabularies write for the bytes of a token: a byte that can be
// shown is itself, the others follow from U+0100.
static void add_token_string(const token_vocab *vocab, int32_t id, base_str *out) {
    size_t len;
    const char *bytes = token_bytes(vocab, id, &len);
    base_str text = {0};
    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned char)bytes[i], c = byte;
        if (byte <= 0x20)
            c = 0x100 + byte;
        else if (byte >= 0x7f && byte <= 0xa0)
            c = 0x121 + byte - 0x7f;
        else if (byte == 0xad)
            c = 0x143;
        if (c < 0x80)
            base_str_add(&text, &(char){(char)c}, 1);
        else
            base_str_add(&text, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))}, 2);
    }
    base_json_add_string(out, text.data ? text.data : "", text.len);
    base_str_free(&text);
}

static void print_reply(const api_options *o, const base_ids *ids, const base_str *text,
                        bool strings, base_str *reply) {
    base_str_printf(reply, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", ids->len,
                    o->max_model_len);
    for (size_t i = 0; i < ids->len; i++)
        base_str_printf(reply, i ? ",%d" : "%d", ids->data[i]);
    base_str_adds(reply, strings ? "],\"token_strs\":[" : "],\"token_strs\":null");
    for (size_t i = 0; strings && i < ids->len; i++) {
        base_str_adds(reply, i ? "," : "");
        add_token_string(o->vocab, ids->data[i], reply);
    }
    base_str_adds(reply, strings ? "],\"prompt\":" : ",\"prompt\":");
    base_json_add_string(reply, text->data ? text->data : "", text->len);
    base_str_adds(reply, "}");
}

static int read_prompt(const api_options *o, const api_object *body, base_ids *ids,
                       base_str *text) {
    const char *prompt = NULL;
    size_t len;
    int rc = api_field_string(body, "prompt", &prompt, &len);
    if (rc)
        return rc;
    if (!prompt)
        return api_field_fail(body, 400, "prompt", "is missing, and so are messages");
    token_encode(o->vocab, prompt, len, TOKEN_ALLOW_SPECIAL, ids);
    base_str_add(text, prompt, len);
    return 0;
}

static int read_chat(const api_options *o, const api_object *body, base_ids *ids, base_str *text) {
    api_tools tools = {0};
    api_thinking thinking;
    int rc;
    if ((rc = api_chat_check(o, body->error)) == 0 &&
        (rc = api_thinking_read(body, &thinking)) == 0 &&
        (rc = api_tools_read(o, body, &tools)) == 0)
        rc = api_chat_read(o, body, &tools, &thinking, SIZE_MAX, ids, text, NULL);
    api_tools_free(&tools);
    return rc;
}

static int tokenize(const api_options *o, const api_object *body, base_str *reply) {
    bool strings = false, ignored, chat = api_field_get(body, "messages") != NULL;
    base_ids ids = {0};
    base_str text = {0};
    int rc;
    if ((rc = api_model_check(o, body)) ||
        (rc = api_field_bool(body, "return_token_strs", &strings)) ||
        (rc = api_field_bool(body, "add_special_tokens", &ignored))) // there are none to add
        return rc;
    if (chat && api_field_get(body, "prompt"))
        return api_field_fail(body, 400, "prompt", "cannot be given together with messages");
    rc = chat ? read_chat(o, body, &ids, &text) : read_prompt(o, body, &ids, &text);
    if (rc == 0)
        print_reply(o, &ids, &text, strings, reply);
    base_ids_free(&ids);
    base_str_free(&text);
    return rc;
}

// An id may stand for a hundred bytes, so few of them could ask for more than there is memory.
static int check_text(const api_options *o, const api_object *body, const base_ids *ids) {
    enum { MAX_TEXT = 128 << 20 };
    size_t sum = 0;
    for (size_t i = 0; i < ids->len && sum <= MAX_TEXT; i++) {
        size_t len = 0;
        token_bytes(o->vocab, ids->data[i], &len);
        sum += len;
    }
    if (sum <= MAX_TEXT)
        return 0;
    return api_field_fail(body, 400, "tokens", "their text would have more than %d bytes",
                          MAX_TEXT);
}

static int detokenize(const api_options *o, const api_object *body, base_str *reply) {
    base_ids ids = {0};
    base_str text = {0};
    int rc;
    if ((rc = api_model_check(o, body)) ||
        (rc = api_field_ids(body, "tokens", token_vocab_size(o->vocab), SIZE_MAX, &ids)) ||
        (rc = check_text(o, body, &ids))) {
    } else if (!api_field_get(body, "tokens")) {
        rc = api_field_fail(body, 400, "tokens", "is missing");
    } else {
        api_ids_text(o->vocab, ids.data, ids.len, &text);
        base_str_adds(reply, "{\"prompt\":");
        base_json_add_string(reply, text.data ? text.data : "", text.len);
        base_str_adds(reply, "}");
    }
    base_ids_free(&ids);
    base_str_free(&text);
    return rc;
}

typedef int (*handler)(const api_options *o, const api_object *body, base_str *reply);

// Both kinds of prompts come in the same field's place, so the body is read as a text's first.
static int handle(handler f, const api_options *o, const char *text, size_t len, base_str *reply,
                  api_error *error) {
    json_t *json;
    *error = (api_error){0};
    int rc = api_body_parse_prompt(&json, text, len, error);
    if (rc)
        rc = api_body_parse_chat(&json, text, len, error);
    if (rc)
        return rc;
    *error = (api_error){0};
    rc = f(o, &(api_object){.json = json, .error = error}, reply);
    json_decref(json);
    return rc;
}

int api_tokenize(const api_options *o, const char *body, size_t len, base_str *reply,
                 api_error *error) {
    return handle(tokenize, o, body, len, reply, error);
}

int api_detokenize(const api_options *o, const char *body, size_t len, base_str *reply,
                   api_error *error) {
    return handle(detokenize, o, body, len, reply, error);
}
