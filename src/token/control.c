// Reading tokenizer_config.json: the names of the control tokens, whose ids follow the ordinary
// ones.
#include "token/vocab.h"

typedef struct control {
    const char *name; // NULL for an id the file does not name
    bool special;
} control;

static int read_token(control *c, json_t *value, base_err *err) {
    json_t *content = json_object_get(value, "content"),
           *special = json_object_get(value, "special");
    if (!json_is_object(value))
        return base_fail(err, BASE_ERR_MODEL, "not an object");
    if (!json_is_string(content))
        return base_fail(err, BASE_ERR_MODEL, "content: not a string");
    if (json_string_length(content) == 0)
        return base_fail(err, BASE_ERR_MODEL, "content: an empty name");
    if (json_string_length(content) > TOKEN_MAX_LENGTH)
        return base_fail(err, BASE_ERR_MODEL, "content: a name of more than %d bytes",
                         TOKEN_MAX_LENGTH);
    if (special && !json_is_boolean(special))
        return base_fail(err, BASE_ERR_MODEL, "special: not true or false");
    c->name = json_string_value(content);
    c->special = json_is_true(special);
    return 0;
}

// Fills `controls` [TOKEN_MAX_CONTROL] and their number from added_tokens_decoder.
static int read_tokens(control *controls, int *count, int ordinary, json_t *tokens, base_err *err) {
    const char *key;
    json_t *value;
    *count = TOKEN_MIN_CONTROL;
    json_object_foreach(tokens, key, value) {
        int64_t id;
        if (!base_parse_i64(key, ordinary, ordinary + TOKEN_MAX_CONTROL - 1, &id))
            return base_fail(err, BASE_ERR_MODEL, "\"%s\": not an id from %d to %d", key, ordinary,
                             ordinary + TOKEN_MAX_CONTROL - 1);
        int index = (int)id - ordinary;
        if (controls[index].name)
            return base_fail(err, BASE_ERR_MODEL, "\"%s\": the id is there twice", key);
        if (read_token(&controls[index], value, err))
            return base_fail_prefix(err, "\"%s\"", key);
        if (index >= *count)
            *count = index + 1;
    }
    return 0;
}

static void add_names(token_vocab *vocab, base_str *bytes, const control *controls, int count) {
    vocab->size = vocab->ordinary + count;
    vocab->special = base_calloc((size_t)count, sizeof *vocab->special);
    for (int i = 0; i < count; i++) {
        int id = vocab->ordinary + i;
        if (controls[i].name)
            base_str_adds(bytes, controls[i].name);
        else
            base_str_printf(bytes, "<|reserved_token_%d|>", id);
        vocab->special[i] = controls[i].name ? controls[i].special : true;
        vocab->offset[id + 1] = (uint32_t)bytes->len;
    }
}

int token_control_read(token_vocab *vocab, base_str *bytes, const token_file *file, base_err *err) {
    // Not base_json_parse: Hugging Face writes "no limit" as the integer 10^30, which is no error
    // here, where no number matters.
    json_error_t e;
    json_t *root =
        json_loadb(file->data, file->len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    if (!root)
        return base_fail(err, BASE_ERR_MODEL, "line %d column %d: %s", e.line, e.column, e.text);
    control *controls = base_calloc(TOKEN_MAX_CONTROL, sizeof *controls);
    json_t *tokens = json_object_get(root, "added_tokens_decoder");
    int code = 0, count;
    if (!json_is_object(tokens))
        code = base_fail(err, BASE_ERR_MODEL, "added_tokens_decoder: not an object");
    else if (read_tokens(controls, &count, vocab->ordinary, tokens, err))
        code = base_fail_prefix(err, "added_tokens_decoder");
    else
        add_names(vocab, bytes, controls, count);
    base_free(controls);
    json_decref(root);
    return code;
}
