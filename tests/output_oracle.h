// What an output should be, found by looking ahead over all of its ids: where the thought ends,
// where the calls and sections are. Shares nothing with the automaton but the vocabulary.
#ifndef TESTS_OUTPUT_ORACLE_H
#define TESTS_OUTPUT_ORACLE_H

#include "output_fixture.h"
#include <ctype.h>

typedef struct oracle {
    const token_vocab *vocab;
    const chat_output_options *options;
    const fixture_context *context;
    const int32_t *ids;
    size_t n;
    int next;
    fixture_output *out;
} oracle;

// One letter for each marker, and 't' for text.
static inline char oracle_letter(const token_vocab *vocab, int32_t id) {
    static const char *const names[] = {"<|tool_calls_section_begin|>",
                                        "<|tool_calls_section_end|>",
                                        "<|tool_call_begin|>",
                                        "<|tool_call_argument_begin|>",
                                        "<|tool_call_end|>",
                                        "<think>",
                                        "</think>"};
    for (int i = 0; i < 7; i++)
        if (token_control_id(vocab, names[i]) == id)
            return "SscaeTu"[i];
    return 't';
}

// The first place from `at` on with one of the letters, or the end.
static inline size_t oracle_find(const oracle *x, size_t at, const char *letters) {
    while (at < x->n && !strchr(letters, oracle_letter(x->vocab, x->ids[at])))
        at++;
    return at;
}

static inline char oracle_at(const oracle *x, size_t at) {
    return at < x->n ? oracle_letter(x->vocab, x->ids[at]) : '.';
}

// Letters in `hidden` are markers, without text.
static inline base_str oracle_decode(const oracle *x, size_t from, size_t to, const char *hidden) {
    base_str bytes = {0}, text = {0};
    for (size_t i = from; i < to; i++) {
        size_t len;
        const char *at = token_bytes(x->vocab, x->ids[i], &len);
        if (!strchr(hidden, oracle_at(x, i)) &&
            !(x->options->skip_special && token_is_special(x->vocab, x->ids[i])))
            base_str_add(&bytes, at, len);
    }
    token_decoder decoder = {0};
    base_str_adds(&text, "");
    token_decode_bytes(&decoder, bytes.data, bytes.len, &text);
    token_decode_end(&decoder, &text);
    base_str_free(&bytes);
    return text;
}

static inline void oracle_put(const oracle *x, chat_field field, base_str text) {
    base_str_add(&x->out->field[field], text.data, text.len);
    base_str_free(&text);
}

static inline base_str oracle_part(const char *at, size_t len) {
    base_str part = {0};
    base_str_add(&part, at, len);
    return part;
}

// The text without white space around; *before and *after say how much there was.
static inline base_str oracle_strip(const base_str *text, size_t *before, size_t *after) {
    size_t first = 0, last = text->len;
    while (first < last && isspace((unsigned char)text->data[first]))
        first++;
    while (last > first && isspace((unsigned char)text->data[last - 1]))
        last--;
    *before = first;
    *after = text->len - last;
    return oracle_part(text->data + first, last - first);
}

// ---------------------------------------------------------------------------------------------
// Ids

static inline bool oracle_is_name(const oracle *x, const char *at, size_t len) {
    for (int i = 0; i < x->context->n_names; i++)
        if (strlen(x->context->names[i]) == len && memcmp(x->context->names[i], at, len) == 0)
            return true;
    return false;
}

static inline bool oracle_seen(const oracle *x, const base_str *id) {
    for (const char **old = x->context->history; old && *old; old++)
        if (strlen(*old) == id->len && memcmp(*old, id->data, id->len) == 0)
            return true;
    for (int i = 0; i < x->out->n_calls; i++)
        if (fixture_same(&x->out->calls[i].id, id))
            return true;
    return false;
}

static inline base_str oracle_make_id(const char *name, size_t len, int index) {
    base_str id = {0};
    base_str_adds(&id, "functions.");
    base_str_add(&id, name, len);
    base_str_printf(&id, ":%d", index);
    return id;
}

static inline fixture_call *oracle_add(oracle *x, const char *name, size_t len, int own) {
    fixture_call *call = &x->out->calls[x->out->n_calls];
    base_str id = oracle_make_id(name, len, own);
    for (int index = x->next; own < 0 || oracle_seen(x, &id); own = index++) {
        base_str_free(&id);
        id = oracle_make_id(name, len, index);
    }
    if (own >= x->next)
        x->next = own + 1;
    *call = (fixture_call){.id = id, .name_len = len};
    x->out->n_calls++;
    return call;
}

// The number behind the last colon if that is how it would be printed, else -1; *len is the text's
// length without it and the colon, whatever the digits are.
static inline int oracle_index(const char *text, size_t *len) {
    size_t colon = *len;
    while (colon > 0 && text[colon - 1] != ':')
        colon--;
    if (colon == 0 || colon == *len)
        return -1;
    for (size_t i = colon; i < *len; i++)
        if (!isdigit((unsigned char)text[i]))
            return -1;
    char printed[16], digits[16];
    snprintf(digits, sizeof digits, "%.*s", (int)(*len - colon < 15 ? *len - colon : 15),
             text + colon);
    int index = (int)(strtoll(digits, NULL, 10) % 1000000000);
    snprintf(printed, sizeof printed, "%d", index);
    *len = colon - 1;
    return strcmp(printed, digits) == 0 ? index : -1;
}

static inline int oracle_infer(const oracle *x, const base_str *arguments) {
    int found = -1, count = 0;
    json_error_t e;
    json_t *object = json_loadb(arguments->data ? arguments->data : "", arguments->len,
                                JSON_REJECT_DUPLICATES, &e);
    for (int i = 0; json_is_object(object) && i < x->context->n_names; i++) {
        json_t *tool = json_object_get(json_array_get(x->context->parsed, i), "function");
        json_t *known = json_object_get(json_object_get(tool, "parameters"), "properties");
        const char *key;
        json_t *value;
        bool all = true;
        json_object_foreach(object, key, value) all = all && json_object_get(known, key);
        count += all;
        found = all ? i : found;
    }
    json_decref(object);
    return count == 1 ? found : -1;
}

// The call of an id, or NULL.
static inline fixture_call *oracle_call_of(oracle *x, const base_str *id,
                                           const base_str *arguments) {
    static const char prefix[] = "functions.";
    size_t skip = id->len >= 10 && memcmp(id->data, prefix, 10) == 0 ? 10 : 0, len = id->len;
    int index = oracle_index(id->data, &len);
    bool cut = len<id->len, number = id->len> 0;
    for (size_t i = 0; i < id->len; i++)
        number = number && isdigit((unsigned char)id->data[i]);
    if (len >= skip && oracle_is_name(x, id->data + skip, len - skip))
        return oracle_add(x, id->data + skip, len - skip, skip ? index : -1);
    if (oracle_is_name(x, id->data + skip, id->len - skip))
        return oracle_add(x, id->data + skip, id->len - skip, -1);
    if (oracle_is_name(x, id->data, len))
        return oracle_add(x, id->data, len, -1);
    if (oracle_is_name(x, id->data, id->len))
        return oracle_add(x, id->data, id->len, -1);
    if (number) {
        int tool = x->context->n_names == 1 ? 0 : arguments ? oracle_infer(x, arguments) : -1;
        const char *name = tool < 0 ? NULL : x->context->names[tool];
        return name ? oracle_add(x, name, strlen(name), -1) : NULL;
    }
    return cut && len > skip ? oracle_add(x, id->data + skip, len - skip, skip ? index : -1) : NULL;
}

// ---------------------------------------------------------------------------------------------
// Calls, sections, the whole

static const char ORACLE_ALL[] = "SscaeTu";

static inline void oracle_arguments(oracle *x, fixture_call *call, const base_str *text) {
    size_t before, after;
    call->arguments = oracle_strip(text, &before, &after);
    oracle_put(x, CHAT_DROPPED, oracle_part(text->data, before));
    oracle_put(x, CHAT_ARGUMENTS, oracle_part(call->arguments.data, call->arguments.len));
    oracle_put(x, CHAT_DROPPED, oracle_part(text->data + text->len - after, after));
}

// A call whose first id is at `at`; returns where the id that ends it is.
static inline size_t oracle_call(oracle *x, size_t at) {
    size_t mark = oracle_find(x, at, "aeScs"), end = mark;
    base_str text = oracle_decode(x, at, mark, ORACLE_ALL);
    size_t before, after;
    base_str id = oracle_strip(&text, &before, &after);
    oracle_put(x, CHAT_DROPPED, text);
    if (oracle_at(x, mark) == 'e') {
        fixture_call *call = oracle_call_of(x, &id, NULL);
        if (call)
            call->ended = true;
        else
            x->out->n_dropped++;
    } else if (oracle_at(x, mark) == 'a') {
        end = oracle_find(x, mark + 1, "eScs");
        base_str arguments = oracle_decode(x, mark + 1, end, ORACLE_ALL);
        base_str stripped = oracle_strip(&arguments, &before, &after);
        // Cut off, the keys are not complete: nothing can be told from them.
        fixture_call *call = oracle_call_of(x, &id, end < x->n ? &stripped : NULL);
        if (call) {
            call->ended = end < x->n;
            oracle_arguments(x, call, &arguments);
        } else {
            bool number = id.len > 0 && strspn(id.data, "0123456789") == id.len;
            x->out->n_dropped += end < x->n || !number;
            oracle_put(x, CHAT_DROPPED, oracle_part(arguments.data, arguments.len));
        }
        base_str_free(&arguments);
        base_str_free(&stripped);
    } else if (mark < x->n) {
        x->out->n_dropped++;
    }
    base_str_free(&id);
    return end;
}

// From behind a section's beginning to behind its end.
static inline size_t oracle_section(oracle *x, size_t at) {
    for (;;) {
        size_t mark = oracle_find(x, at, "Ssc");
        oracle_put(x, CHAT_DROPPED, oracle_decode(x, at, mark, ORACLE_ALL));
        at = mark;
        while (oracle_at(x, at) == 'c')
            at = oracle_call(x, at + 1);
        if (at == x->n)
            return at;
        if (oracle_at(x, at++) == 's')
            return at;
    }
}

static inline size_t oracle_thought(const oracle *x) {
    size_t end = oracle_find(x, 0, "Scu");
    x->out->n_reasoning = (int)end + (oracle_at(x, end) == 'u');
    x->out->thinking = end == x->n;
    oracle_put(x, CHAT_REASONING, oracle_decode(x, 0, end, ORACLE_ALL));
    return oracle_at(x, end) == 'u' ? end + 1 : end;
}

static inline void oracle_output(fixture_output *out, const token_vocab *vocab,
                                 const chat_output_options *options, const fixture_context *context,
                                 bool thinking, const int32_t *ids, size_t n) {
    oracle x = {vocab, options, context, ids, n, 0, out};
    const char *hidden = options->reasoning ? ORACLE_ALL : options->calls ? "Sscae" : "";
    *out = (fixture_output){0};
    while (context && context->history && context->history[x.next])
        x.next++;
    size_t at = options->reasoning && thinking ? oracle_thought(&x) : 0;
    if (!options->calls) {
        oracle_put(&x, CHAT_CONTENT, oracle_decode(&x, at, n, hidden));
        return;
    }
    while (at < n) {
        size_t mark = oracle_find(&x, at, "Sc");
        oracle_put(&x, CHAT_CONTENT, oracle_decode(&x, at, mark, hidden));
        for (at = mark; oracle_at(&x, at) == 'c';) {
            at = oracle_call(&x, at + 1);
            at += at < n && (oracle_at(&x, at) == 'e' || oracle_at(&x, at) == 's');
        }
        if (oracle_at(&x, at) == 'S')
            at = oracle_section(&x, at + 1);
    }
}

#endif
