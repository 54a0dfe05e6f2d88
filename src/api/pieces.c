// What a choice has not shown yet: pieces of text in the order they came.
#include "api/reply.h"

static void begin_piece(api_pieces *p, chat_field field, int call) {
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
}

void api_pieces_add(api_pieces *p, chat_field field, int call, const char *text, size_t len) {
    if (p->len == 0 || p->at[p->len - 1].field != field || p->at[p->len - 1].call != call)
        begin_piece(p, field, call);
    base_str_add(&p->at[p->len - 1].text, text, len);
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
