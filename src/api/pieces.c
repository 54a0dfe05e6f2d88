// What a choice has not shown yet: pieces of text in the order they came.
#include "api/reply.h"

static api_piece *begin_piece(api_pieces *p, chat_field field, int call) {
    if (p->len == p->cap) {
        int cap = p->cap > 0 ? 2 * p->cap : 2;
        p->at = base_realloc(p->at, (size_t)cap * sizeof *p->at);
        for (int i = p->cap; i < cap; i++)
            p->at[i] = (api_piece){0};
        p->cap = cap;
    }
    api_piece *piece = &p->at[p->len++];
    piece->field = field;
    piece->call = call;
    base_str_clear(&piece->text); // of an earlier time
    return piece;
}

void api_pieces_add(api_pieces *p, chat_field field, int call, const char *text, size_t len) {
    api_piece *last = p->len > 0 ? &p->at[p->len - 1] : NULL;
    if (last == NULL || last->field != field || last->call != call)
        last = begin_piece(p, field, call);
    base_str_add(&last->text, text, len);
}

void api_pieces_join(const api_pieces *p, chat_field field, base_str *out) {
    for (int i = 0; i < p->len; i++)
        if (p->at[i].field == field)
            base_str_add(out, p->at[i].text.data, p->at[i].text.len);
}

void api_pieces_clear(api_pieces *p) {
    p->len = 0;
}

void api_pieces_free(api_pieces *p) {
    for (int i = 0; i < p->cap; i++)
        base_str_free(&p->at[i].text);
    base_free(p->at);
}
