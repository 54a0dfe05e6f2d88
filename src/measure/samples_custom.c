// --dataset-name custom: JSON lines with "prompt" and, where no length is given, "output_tokens".
#include "chat/chat.h"
#include "measure/samples.h"
#include <limits.h>

typedef struct reader {
    const token_vocab *vocab;
    const measure_file_options *options;
    chat_format *format; // NULL: prompts are sent as they are
    base_ids ids;
    base_str text;
} reader;

static int read_output_len(const reader *r, const measure_line *line, int *out, base_err *err) {
    if (r->options->output_len > 0) {
        *out = r->options->output_len;
        return 0;
    }
    const json_t *value = json_object_get(line->value, "output_tokens");
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > INT_MAX)
        return base_fail(err, BASE_ERR_USAGE, "%s:%d: output_tokens: %s, and no length was given",
                         r->options->path, line->number,
                         value == NULL ? "missing" : "not a positive integer");
    *out = (int)json_integer_value(value);
    return 0;
}

static int render(reader *r, const char *text, size_t len, base_err *err) {
    const chat_slice part = {text, len};
    const chat_message message = {.role = {"user", 4}, .parts = &part, .n_parts = 1};
    const chat_conversation c = {
        .messages = &message, .n_messages = 1, .add_generation_prompt = true};
    return chat_render(r->format, &c, CHAT_ALLOW_SPECIAL, &r->ids, &r->text, err);
}

static int add_line(reader *r, const measure_line *line, measure_samples *out, base_err *err) {
    const json_t *prompt = json_object_get(line->value, "prompt");
    if (!json_is_string(prompt))
        return base_fail(err, BASE_ERR_USAGE, "%s:%d: prompt: %s", r->options->path, line->number,
                         prompt == NULL ? "missing" : "not a string");
    int output_len = 0;
    int rc = read_output_len(r, line, &output_len, err);
    if (rc != 0)
        return rc;
    const char *text = json_string_value(prompt);
    size_t len = json_string_length(prompt);
    r->ids.len = 0;
    base_str_clear(&r->text);
    if (r->format == NULL) {
        token_encode(r->vocab, text, len, TOKEN_ALLOW_SPECIAL, &r->ids);
    } else {
        rc = render(r, text, len, err);
        if (rc != 0)
            return base_fail_prefix(err, "%s:%d", r->options->path, line->number);
        text = r->text.data;
        len = r->text.len;
    }
    return measure_samples_add_text(out, text, len, (int)r->ids.len, output_len, err);
}

static int add_all(reader *r, const measure_lines *lines, measure_samples *out, base_err *err) {
    const measure_file_options *o = r->options;
    const int wanted = o->n > 0 ? o->n : (int)lines->n;
    uint64_t *order = measure_samples_order(lines->n, o, err);
    if (order == NULL)
        return err->code;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < lines->n && out->n < wanted; i++)
        rc = add_line(r, &lines->at[order[i]], out, err);
    if (rc == 0)
        rc = measure_samples_repeat(out, o, wanted, err);
    base_free(order);
    return rc;
}

int measure_samples_custom(measure_samples *out, const token_vocab *vocab,
                           const measure_file_options *options, base_err *err) {
    *out = (measure_samples){0};
    reader r = {.vocab = vocab, .options = options};
    measure_lines lines;
    int rc = measure_lines_read(&lines, options->path, err);
    if (rc != 0)
        return rc;
    if (options->chat_template)
        rc = chat_format_create(&r.format, vocab, err);
    if (rc == 0)
        rc = add_all(&r, &lines, out, err);
    chat_format_free(r.format);
    base_ids_free(&r.ids);
    base_str_free(&r.text);
    measure_lines_free(&lines);
    if (rc != 0)
        measure_samples_free(out);
    return rc;
}
