// The arena of frames.
#include "grammar/match_frame.h"

enum { SMALLEST = 4096, LARGEST = 1 << 18 };

static match_chunk *chunk_after(match_arena *a, size_t bytes) {
    match_chunk *next = a->now ? a->now->next : a->first;
    if (next && next->cap >= bytes) {
        next->used = 0;
        return next;
    }
    size_t cap = a->now ? a->now->cap * 2 : SMALLEST;
    cap = cap > LARGEST ? LARGEST : cap;
    cap = cap < bytes ? bytes : cap;
    match_chunk *made = base_alloc(sizeof *made + cap);
    *made = (match_chunk){.next = next, .cap = cap};
    if (a->now)
        a->now->next = made;
    else
        a->first = made;
    return made;
}

void *match_arena_alloc(match_arena *a, size_t bytes) {
    bytes = base_round_up(bytes, 16);
    if (!a->now || a->now->cap - a->now->used < bytes)
        a->now = chunk_after(a, bytes);
    void *p = a->now->at + a->now->used;
    a->now->used += bytes;
    a->taken += bytes;
    return p;
}

match_mark match_arena_mark(const match_arena *a) {
    return (match_mark){a->now, a->now ? a->now->used : 0, a->taken};
}

void match_arena_reset(match_arena *a, match_mark mark) {
    a->now = mark.now;
    if (a->now)
        a->now->used = mark.used;
    a->taken = mark.taken;
}

void match_arena_free(match_arena *a) {
    for (match_chunk *c = a->first, *next; c; c = next) {
        next = c->next;
        base_free(c);
    }
    *a = (match_arena){0};
}

size_t match_arena_bytes(const match_arena *a) {
    size_t bytes = 0;
    for (const match_chunk *c = a->first; c; c = c->next)
        bytes += sizeof *c + c->cap;
    return bytes;
}
