// Schemas that contain themselves without a step into a value: {"$ref": "#"}, or through allOf,
// anyOf and oneOf. They say nothing, and whoever follows them does not come to an end.
#include "grammar/schema.h"

enum { UNSEEN, OPEN, DONE };

typedef struct frame {
    int32_t place;
    int next; // link to follow next
} frame;

// The k-th place that holds for the same value, -1: no more.
static int32_t link_of(const schema_place *p, int k) {
    int n = p->n_all + p->n_any + p->n_one;
    return k < n ? p->links[k] : k == n ? p->ref : -1;
}

static int search(schema *s, int32_t from, frame *stack) {
    int n = 0;
    stack[n++] = (frame){from, 0};
    s->places[from].mark = OPEN;
    while (n > 0) {
        frame *top = &stack[n - 1];
        int32_t to = link_of(&s->places[top->place], top->next++);
        if (to < 0) {
            s->places[top->place].mark = DONE;
            n--;
        } else if (s->places[to].mark == OPEN) {
            return schema_fail(s, to, NULL, "cyclic $ref: it leads back here without progress");
        } else if (s->places[to].mark == UNSEEN) {
            s->places[to].mark = OPEN;
            stack[n++] = (frame){to, 0};
        }
    }
    return 0;
}

int schema_cycles(schema *s) {
    frame *stack = base_alloc((size_t)s->n_places * sizeof *stack);
    int code = 0;
    for (int32_t i = 0; i < s->n_places && code == 0; i++)
        if (s->places[i].mark == UNSEEN)
            code = search(s, i, stack);
    base_free(stack);
    return code;
}
