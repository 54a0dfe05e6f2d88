// Ids of calls. The model was trained on functions.NAME:INDEX, and writes NAME:INDEX, NAME and
// INDEX too. Names may contain dots and colons, so the declared ones decide where a name ends.
#include "chat/output_call.h"
#include <string.h>

static const char prefix[] = "functions.";
enum { PREFIX = sizeof prefix - 1, MAX_DIGITS = 9 };

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

size_t chat_leading_space(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && is_space(text[n]))
        n++;
    return n;
}

size_t chat_trailing_space(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && is_space(text[len - 1 - n]))
        n++;
    return n;
}

chat_slice chat_trim(chat_slice text) {
    size_t skip = chat_leading_space(text.at, text.len);
    text = (chat_slice){text.at + skip, text.len - skip};
    text.len -= chat_trailing_space(text.at, text.len);
    return text;
}

static size_t trailing_digits(chat_slice text) {
    size_t n = 0;
    while (n < text.len && is_digit(text.at[text.len - 1 - n]))
        n++;
    return n;
}

// A number as it is printed; -1 for others, and for those no conversation reaches.
static int read_index(const char *digits, size_t n) {
    if (n == 0 || n > MAX_DIGITS || (n > 1 && digits[0] == '0'))
        return -1;
    int value = 0;
    for (size_t i = 0; i < n; i++)
        value = 10 * value + (digits[i] - '0');
    return value;
}

// Cuts ":digits" off.
static bool cut_index(chat_slice *text, int *index) {
    size_t digits = trailing_digits(*text);
    if (digits == 0 || digits == text->len || text->at[text->len - digits - 1] != ':')
        return false;
    *index = read_index(text->at + text->len - digits, digits);
    text->len -= digits + 1;
    return true;
}

static bool is_declared(const chat_calls *calls, chat_slice name) {
    return chat_calls_find_tool(calls, name) >= 0;
}

static chat_id read_number(const chat_calls *calls) {
    if (chat_calls_n_tools(calls) == 1)
        return (chat_id){CHAT_ID_NAMED, chat_calls_tool_name(calls, 0), -1};
    return (chat_id){CHAT_ID_NUMBER, {NULL, 0}, -1};
}

chat_id chat_id_read(const chat_calls *calls, chat_slice text) {
    chat_slice whole = chat_trim(text), local = whole;
    bool prefixed = whole.len >= PREFIX && memcmp(whole.at, prefix, PREFIX) == 0;
    if (prefixed)
        local = (chat_slice){whole.at + PREFIX, whole.len - PREFIX};
    int index = -1;
    chat_slice name = local, prefixed_name = whole;
    bool has_index = cut_index(&name, &index);
    cut_index(&prefixed_name, &(int){0});

    if (is_declared(calls, name))
        return (chat_id){CHAT_ID_NAMED, name, prefixed ? index : -1};
    chat_slice others[] = {local, prefixed_name, whole};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_declared(calls, others[i]))
            return (chat_id){CHAT_ID_NAMED, others[i], -1};
    if (whole.len > 0 && trailing_digits(whole) == whole.len)
        return read_number(calls);
    if (has_index && name.len > 0)
        return (chat_id){CHAT_ID_NAMED, name, prefixed ? index : -1};
    return (chat_id){CHAT_ID_BAD, {NULL, 0}, -1};
}

static chat_made_call make_call(chat_slice name, int index) {
    base_str id = {0};
    base_str_adds(&id, prefix);
    base_str_add(&id, name.at, name.len);
    base_str_printf(&id, ":%d", index);
    return (chat_made_call){
        .id = id.data, .id_len = id.len, .name = {id.data + PREFIX, name.len}, .index = index};
}

static bool is_taken(const chat_made_calls *made, const chat_calls *calls,
                     const chat_made_call *call) {
    for (int i = 0; i < made->n; i++) {
        const chat_made_call *other = &made->at[i];
        if (other->index == call->index && other->id_len == call->id_len &&
            memcmp(other->id, call->id, call->id_len) == 0)
            return true;
    }
    return chat_calls_has_id(calls, (chat_slice){call->id, call->id_len});
}

void chat_made_calls_add(chat_made_calls *made, const chat_calls *calls, chat_slice name,
                         int index) {
    chat_made_call call = {.id = NULL};
    if (index >= 0)
        call = make_call(name, index);
    if (index < 0 || is_taken(made, calls, &call)) {
        base_free(call.id);
        call = make_call(name, chat_calls_free_index(calls, name, made->next));
    }
    if (call.index >= made->next)
        made->next = call.index + 1;
    if (made->n == made->cap) {
        made->cap = made->cap > 0 ? 2 * made->cap : 4;
        made->at = base_realloc(made->at, (size_t)made->cap * sizeof *made->at);
    }
    made->at[made->n++] = call;
}

void chat_made_calls_free(chat_made_calls *made) {
    for (int i = 0; i < made->n; i++)
        base_free(made->at[i].id);
    base_free(made->at);
}
