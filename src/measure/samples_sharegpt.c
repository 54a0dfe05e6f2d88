// --dataset-name sharegpt: a JSON list of {"conversations": [{"value": TEXT}, ...]}. The first turn
// is the prompt, the length of the second one is how much to generate.
#include "measure/samples.h"

// vLLM's bounds: what is shorter says nothing, what is longer did not fit models of its time.
enum { MIN_TOKENS = 4, MAX_PROMPT = 1024, MAX_TOTAL = 2048 };

static int count_tokens(const token_vocab *vocab, const json_t *text, base_ids *ids) {
    ids->len = 0;
    token_encode(vocab, json_string_value(text), json_string_length(text), TOKEN_ALLOW_SPECIAL,
                 ids);
    return (int)ids->len;
}

static bool is_usable(int prompt, int output, bool output_given) {
    return prompt >= MIN_TOKENS && (output_given || output >= MIN_TOKENS) && prompt <= MAX_PROMPT &&
           prompt + output <= MAX_TOTAL;
}

// The indices of entries with two turns or more; NULL after an error. The caller frees the list.
static uint64_t *list_entries(const json_t *root, const char *path, size_t *n, base_err *err) {
    const size_t size = json_array_size(root);
    uint64_t *list = base_try_calloc(size + 1, sizeof *list);
    if (list == NULL) {
        base_fail(err, BASE_ERR_RESOURCE, "%s: out of memory", path);
        return NULL;
    }
    *n = 0;
    for (size_t i = 0; i < size; i++) {
        const json_t *entry = json_array_get(root, i);
        const json_t *turns = json_object_get(entry, "conversations");
        if (!json_is_object(entry) || (turns != NULL && !json_is_array(turns))) {
            base_fail(err, BASE_ERR_USAGE, "%s: [%zu]%s", path, i,
                      turns != NULL ? ".conversations: not a list" : ": not an object");
            base_free(list);
            return NULL;
        }
        if (json_array_size(turns) >= 2)
            list[(*n)++] = i;
    }
    return list;
}

static int find_texts(const json_t *entry, uint64_t index, const char *path, const json_t *texts[2],
                      base_err *err) {
    for (int i = 0; i < 2; i++) {
        const json_t *turn = json_array_get(json_object_get(entry, "conversations"), (size_t)i);
        texts[i] = json_object_get(turn, "value");
        if (!json_is_string(texts[i]))
            return base_fail(err, BASE_ERR_USAGE,
                             "%s: [%llu].conversations[%d].value: not a string", path,
                             (unsigned long long)index, i);
    }
    static const char *const media[] = {"image", "video"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(entry, media[i]);
        if (value != NULL && !json_is_null(value))
            return base_fail(err, BASE_ERR_USAGE, "%s: [%llu].%s: the model reads text alone", path,
                             (unsigned long long)index, media[i]);
    }
    return 0;
}

static int add_entries(measure_samples *out, const json_t *root, const uint64_t *list,
                       const uint64_t *order, size_t n, const token_vocab *vocab,
                       const measure_file_options *o, base_err *err) {
    base_ids ids = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n && (o->n <= 0 || out->n < o->n); i++) {
        const uint64_t index = list[order[i]];
        const json_t *texts[2] = {NULL, NULL};
        rc = find_texts(json_array_get(root, index), index, o->path, texts, err);
        if (rc != 0)
            break;
        const int prompt = count_tokens(vocab, texts[0], &ids);
        const int output = o->output_len > 0 ? o->output_len : count_tokens(vocab, texts[1], &ids);
        if (is_usable(prompt, output, o->output_len > 0))
            rc = measure_samples_add_text(out, json_string_value(texts[0]),
                                          json_string_length(texts[0]), prompt, output, err);
    }
    base_ids_free(&ids);
    if (rc == 0 && out->n == 0)
        rc = base_fail(err, BASE_ERR_USAGE,
                       "%s: no conversation of two turns with %d to %d tokens in the prompt and "
                       "at most %d in all",
                       o->path, MIN_TOKENS, MAX_PROMPT, MAX_TOTAL);
    return rc;
}

static int add_all(measure_samples *out, const json_t *root, const token_vocab *vocab,
                   const measure_file_options *o, base_err *err) {
    if (!json_is_array(root))
        return base_fail(err, BASE_ERR_USAGE, "%s: not a list", o->path);
    size_t n;
    uint64_t *list = list_entries(root, o->path, &n, err);
    if (list == NULL)
        return err->code;
    uint64_t *order = measure_samples_order(n, o, err);
    int rc = order == NULL ? err->code : add_entries(out, root, list, order, n, vocab, o, err);
    if (rc == 0)
        rc = measure_samples_repeat(out, o, o->n, err);
    base_free(list);
    base_free(order);
    return rc;
}

int measure_samples_sharegpt(measure_samples *out, const token_vocab *vocab,
                             const measure_file_options *options, base_err *err) {
    *out = (measure_samples){0};
    base_str text = {0};
    int rc = base_file_read(options->path, MEASURE_FILE_BYTES, BASE_ERR_USAGE, &text, err);
    if (rc != 0)
        return rc;
    json_t *root = base_json_parse(text.data, text.len, options->path, BASE_ERR_USAGE, err);
    base_str_free(&text);
    if (root == NULL)
        return err->code;
    rc = add_all(out, root, vocab, options, err);
    json_decref(root);
    if (rc != 0)
        measure_samples_free(out);
    return rc;
}
