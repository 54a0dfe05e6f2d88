#include "measure/stream.h"
#include "measure/scan.h"
#include <string.h>

enum { LONGEST = 64 << 20, HEAD_BYTES = 2048, MESSAGE_BYTES = 300 };

void measure_reply_free(measure_reply *r) {
    base_free(r->gaps);
    base_free(r->error);
    base_str_free(&r->text);
    *r = (measure_reply){0};
}

static void add_gap(measure_reply *r, double gap) {
    if (r->n_gaps == r->cap_gaps) {
        r->cap_gaps = r->cap_gaps > 0 ? 2 * r->cap_gaps : 256;
        r->gaps = base_realloc(r->gaps, r->cap_gaps * sizeof *r->gaps);
    }
    r->gaps[r->n_gaps++] = gap;
}

static void take_token(measure_reply *r, int64_t at_ns) {
    if (r->first_ns == 0)
        r->first_ns = at_ns;
    else
        add_gap(r, (double)(at_ns - r->last_ns) * 1e-9);
    r->last_ns = at_ns;
}

// ---------------------------------------------------------------------------------------------
// One chunk

static bool is(const char *key, size_t len, const char *name) {
    return len == strlen(name) && memcmp(key, name, len) == 0;
}

// What a chunk says of its first choice.
typedef struct chunk {
    int n_choices;
    bool has_delta, has_role;
    bool has_output;  // text, thoughts or calls
    bool has_nothing; // "content": ""; so comes a token that is no text
} chunk;

// Whether a list or an object has anything in it.
static bool read_any(measure_scan *s) {
    const char *key;
    size_t len;
    bool any = false, first = true;
    if (measure_scan_enter(s, '[')) {
        for (; measure_scan_element(s, &first); any = true)
            measure_scan_skip(s);
    } else if (measure_scan_enter(s, '{')) {
        for (; measure_scan_member(s, &first, &key, &len); any = true)
            measure_scan_skip(s);
    } else {
        measure_scan_skip(s);
    }
    return any;
}

// Thoughts come in two fields with the same text; one of them is taken.
static void read_delta(measure_scan *s, base_str *text, chunk *c) {
    const char *key;
    size_t len, before = text->len;
    c->has_delta = true;
    for (bool first = true; measure_scan_member(s, &first, &key, &len);) {
        bool taken = text->len > before, content = is(key, len, "content");
        if (is(key, len, "tool_calls") || is(key, len, "function_call")) {
            c->has_output |= read_any(s);
            continue;
        }
        c->has_role |= is(key, len, "role");
        bool is_text = content || is(key, len, "reasoning") || is(key, len, "reasoning_content");
        if (!taken && is_text && measure_scan_string(s, text))
            c->has_nothing |= content && text->len == before;
        else
            measure_scan_skip(s);
    }
    c->has_output |= text->len > before;
}

static void read_choice(measure_scan *s, base_str *text, chunk *c) {
    const char *key;
    size_t len;
    if (!measure_scan_enter(s, '{')) {
        measure_scan_skip(s);
        return;
    }
    for (bool first = true; measure_scan_member(s, &first, &key, &len);) {
        if (is(key, len, "delta") && measure_scan_enter(s, '{'))
            read_delta(s, text, c);
        else if (!is(key, len, "text") || !measure_scan_string(s, text))
            measure_scan_skip(s);
    }
}

// Only the first choice's text counts.
static void read_choices(measure_scan *s, base_str *text, chunk *c) {
    if (!measure_scan_enter(s, '[')) {
        measure_scan_skip(s);
        return;
    }
    for (bool first = true; measure_scan_element(s, &first); c->n_choices++) {
        if (c->n_choices == 0)
            read_choice(s, text, c);
        else
            measure_scan_skip(s);
    }
}

// In chats neither the chunk with nothing but the role nor that with nothing but the end is a
// token.
static bool is_token(const chunk *c, bool compat_2025) {
    if (c->n_choices == 0)
        return false;
    return compat_2025 || !c->has_delta || c->has_output || (c->has_nothing && !c->has_role);
}

static void read_usage(measure_scan *s, measure_reply *r) {
    const char *key;
    size_t len;
    if (!measure_scan_enter(s, '{')) {
        measure_scan_skip(s);
        return;
    }
    for (bool first = true; measure_scan_member(s, &first, &key, &len);) {
        int64_t *count = is(key, len, "completion_tokens") ? &r->output_tokens
                         : is(key, len, "prompt_tokens")   ? &r->prompt_tokens
                                                           : NULL;
        if (count == NULL || !measure_scan_count(s, count))
            measure_scan_skip(s);
    }
}

// The message of {"message": ...} or of a string.
static void read_error(measure_scan *s, base_str *message) {
    const char *key;
    size_t len;
    if (measure_scan_string(s, message))
        return;
    if (!measure_scan_enter(s, '{')) {
        measure_scan_skip(s);
        return;
    }
    for (bool first = true; measure_scan_member(s, &first, &key, &len);) {
        if (!is(key, len, "message") || !measure_scan_string(s, message))
            measure_scan_skip(s);
    }
}

static bool is_null(measure_scan *s) {
    return measure_scan_peek(s, 'n');
}

static void break_off(measure_stream *s, const char *what, const char *detail) {
    base_str why = {0};
    base_str_printf(&why, "%s%.*s", what, MESSAGE_BYTES, detail);
    base_text_clean(why.data);
    s->broken = why.data;
}

// A chunk without choices may tell the usage.
static void take_chunk(measure_stream *s, const char *data, size_t len, int64_t at_ns) {
    measure_reply *r = s->reply;
    measure_scan scan = {.at = data, .end = data + len};
    base_str message = {0};
    bool error = false;
    chunk c = {0};
    const char *key;
    size_t key_len;
    if (!measure_scan_enter(&scan, '{'))
        scan.bad = true;
    for (bool first = true; measure_scan_member(&scan, &first, &key, &key_len);) {
        if (is(key, key_len, "choices")) {
            read_choices(&scan, &r->text, &c);
        } else if (is(key, key_len, "usage")) {
            read_usage(&scan, r);
        } else if (is(key, key_len, "error") && !is_null(&scan)) {
            error = true;
            read_error(&scan, &message);
        } else {
            measure_scan_skip(&scan);
        }
    }
    if (scan.bad || !measure_scan_done(&scan))
        break_off(s, "malformed chunk", "");
    else if (error)
        break_off(s, "the stream reported an error: ", message.data != NULL ? message.data : "");
    else if (is_token(&c, s->compat_2025))
        take_token(r, at_ns);
    base_str_free(&message);
}

// ---------------------------------------------------------------------------------------------
// Lines

static void end_event(measure_stream *s, int64_t at_ns) {
    if (s->data.len == 6 && memcmp(s->data.data, "[DONE]", 6) == 0)
        s->done = true;
    else if (s->data.len > 0 && !s->done && s->broken == NULL)
        take_chunk(s, s->data.data, s->data.len, at_ns);
    base_str_clear(&s->data);
}

// Comments, and fields but "data", are nothing.
static void end_line(measure_stream *s, const char *line, size_t len, int64_t at_ns) {
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len == 0) {
        end_event(s, at_ns);
    } else if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = len > 5 && line[5] == ' ' ? 6 : 5;
        if (s->data.len > 0)
            base_str_adds(&s->data, "\n");
        base_str_add(&s->data, line + skip, len - skip);
    }
}

static void keep_head(measure_stream *s, const char *bytes, size_t len) {
    size_t room =
        s->reply->first_ns == 0 && s->head.len < HEAD_BYTES ? HEAD_BYTES - s->head.len : 0;
    if (room > 0)
        base_str_add(&s->head, bytes, len < room ? len : room);
}

void measure_stream_push(measure_stream *s, const char *bytes, size_t len, int64_t at_ns) {
    keep_head(s, bytes, len);
    while (len > 0 && s->broken == NULL) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end != NULL ? (size_t)(end - bytes) : len;
        if (s->line.len + n > LONGEST || s->data.len + n > LONGEST) {
            break_off(s, "a chunk is longer than 64 MiB", "");
            return;
        }
        if (end == NULL) {
            base_str_add(&s->line, bytes, n);
            return;
        }
        if (s->line.len > 0) {
            base_str_add(&s->line, bytes, n);
            end_line(s, s->line.data, s->line.len, at_ns);
            base_str_clear(&s->line);
        } else {
            end_line(s, bytes, n, at_ns);
        }
        bytes += n + 1;
        len -= n + 1;
    }
}

// ---------------------------------------------------------------------------------------------
// The end

// "HTTP 429: Too many requests", with the message of an error object if the body is one.
static char *explain_status(const measure_stream *s, int status) {
    base_str why = {0}, message = {0};
    const char *head = s->head.len > 0 ? s->head.data : "";
    measure_scan scan = {.at = head, .end = head + s->head.len};
    const char *key;
    size_t len;
    base_str_printf(&why, "HTTP %d", status);
    if (measure_scan_enter(&scan, '{')) {
        for (bool first = true; measure_scan_member(&scan, &first, &key, &len);) {
            if (is(key, len, "error"))
                read_error(&scan, &message);
            else
                measure_scan_skip(&scan);
        }
    }
    if (message.len > 0)
        base_str_printf(&why, ": %.*s", MESSAGE_BYTES, message.data);
    base_str_free(&message);
    base_text_clean(why.data);
    return why.data;
}

// NULL: all is well.
static char *explain(measure_stream *s, const measure_end *end) {
    if (end->status != 0 && end->status != 200)
        return explain_status(s, end->status);
    if (s->broken != NULL)
        return base_strdup(s->broken);
    if (end->error[0] != '\0')
        return base_strdup(end->error);
    if (s->reply->first_ns == 0)
        return base_strdup("Never received a valid chunk to calculate TTFT.");
    if (!s->done)
        return base_strdup("the stream ended without [DONE]");
    return NULL;
}

void measure_stream_end(measure_stream *s, const measure_end *end) {
    measure_reply *r = s->reply;
    // The last chunk may lack its blank line; of one that broke off there is only a part.
    if (s->line.len > 0 && s->broken == NULL && end->error[0] == '\0')
        end_line(s, s->line.data, s->line.len, end->at_ns);
    if (s->data.len > 0 && end->error[0] == '\0')
        end_event(s, end->at_ns);
    r->end_ns = end->at_ns;
    r->status = end->status;
    r->error = explain(s, end);
    r->success = r->error == NULL;
    measure_stream_drop(s);
}

void measure_stream_drop(measure_stream *s) {
    base_str_free(&s->line);
    base_str_free(&s->data);
    base_str_free(&s->head);
    base_free(s->broken);
    *s = (measure_stream){0};
}
