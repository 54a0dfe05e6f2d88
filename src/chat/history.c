// The calls of a conversation, sorted: each result finds its call in logarithmic time, whatever ids
// the client made up.
#include "chat/history.h"
#include <stdlib.h>

static int compare_calls(const void *left, const void *right) {
    const chat_history_call *a = left, *b = right;
    int order = chat_slice_compare(a->id, b->id);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

// The template does not look at calls of anybody else.
static int calls_of(const chat_message *m) {
    return chat_slice_is(m->role, "assistant") ? m->n_tool_calls : 0;
}

void chat_id_add(base_str *out, chat_slice name, int index) {
    base_str_adds(out, "functions.");
    base_str_add(out, name.at, name.len);
    base_str_printf(out, ":%d", index);
}

int chat_history_count(const chat_conversation *c) {
    int n = 0;
    for (int i = 0; i < c->n_messages; i++)
        n += calls_of(&c->messages[i]);
    return n;
}

void chat_history_read(chat_history *h, const chat_conversation *c) {
    *h = (chat_history){.calls = base_calloc((size_t)chat_history_count(c), sizeof *h->calls)};
    for (int i = 0; i < c->n_messages; i++) {
        const chat_message *m = &c->messages[i];
        for (int j = 0; j < calls_of(m); j++) {
            const chat_tool_call *call = &m->tool_calls[j];
            h->calls[h->n_calls] = (chat_history_call){
                .id = call->id, .name = call->name, .message = i, .index = h->n_calls};
            h->n_calls++;
        }
    }
    qsort(h->calls, (size_t)h->n_calls, sizeof *h->calls, compare_calls);
}

void chat_history_free(chat_history *h) {
    base_free(h->calls);
    *h = (chat_history){0};
}

// The number of calls before those of `id` in messages from `message` on.
static int calls_before(const chat_history *h, chat_slice id, int message) {
    int low = 0, high = h->n_calls;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const chat_history_call *call = &h->calls[middle];
        int order = chat_slice_compare(call->id, id);
        if (order < 0 || (order == 0 && call->message < message))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const chat_history_call *chat_history_answer(chat_history *h, chat_slice id, int message) {
    int last = calls_before(h, id, message) - 1;
    if (last < 0 || chat_slice_compare(h->calls[last].id, id) != 0)
        return NULL;
    int first = calls_before(h, id, h->calls[last].message);
    int answered = h->calls[first].n_answered++;
    return &h->calls[base_min_int(first + answered, last)];
}
