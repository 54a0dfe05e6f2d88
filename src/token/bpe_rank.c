// Merging as it is defined, with a heap of the pairs that could be merged: O(n log n). For
// vocabularies without usable merges, and as the measure for bpe_search.c.
#include "token/vocab.h"

enum { NONE = -1 };

typedef struct work {
    const token_vocab *vocab;
    const unsigned char *piece;
    int32_t *next;     // [len] where the part that starts here ends
    int32_t *previous; // [len] where the part before it starts; NONE for the first
    int32_t *rank;     // [len] of the part that starts here joined with the next one, or NONE
    uint64_t *heap;    // rank << 32 | start; entries that `rank` no longer agrees with are ignored
    size_t heap_len;
    int32_t len;
} work;

static void heap_push(work *w, uint64_t entry) {
    size_t i = w->heap_len++;
    for (; i > 0 && w->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = entry;
}

static uint64_t heap_pop(work *w) {
    uint64_t top = w->heap[0], last = w->heap[--w->heap_len];
    size_t i = 0, child = 1;
    for (; child < w->heap_len; i = child, child = 2 * i + 1) {
        if (child + 1 < w->heap_len && w->heap[child + 1] < w->heap[child])
            child++;
        if (w->heap[child] >= last)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static void rank_pair(work *w, int32_t start) {
    w->rank[start] = NONE;
    if (w->next[start] == w->len)
        return;
    const unsigned char *p = w->piece + start, *end = w->piece + w->next[w->next[start]];
    if ((size_t)(end - p) > w->vocab->max_bytes)
        return;
    w->rank[start] = token_trie_find(&w->vocab->tokens, p, end);
    if (w->rank[start] != NONE)
        heap_push(w, (uint64_t)w->rank[start] << 32 | (uint32_t)start);
}

static void merge(work *w, int32_t start) {
    int32_t gone = w->next[start], after = w->next[gone];
    w->next[start] = after;
    w->rank[gone] = NONE;
    if (after < w->len)
        w->previous[after] = start;
    rank_pair(w, start);
    if (w->previous[start] != NONE)
        rank_pair(w, w->previous[start]);
}

void token_bpe_by_rank(const token_vocab *vocab, const unsigned char *piece, size_t len,
                       base_ids *out) {
    // At most len - 1 pairs at first, and two more for each of at most len - 1 merges.
    work w = {.vocab = vocab, .piece = piece, .len = (int32_t)len};
    w.heap = base_alloc(3 * len * sizeof *w.heap);
    w.next = base_alloc(3 * len * sizeof *w.next);
    w.previous = w.next + len;
    w.rank = w.previous + len;
    for (int32_t i = 0; i < w.len; i++) {
        w.next[i] = i + 1;
        w.previous[i] = i - 1;
    }
    for (int32_t i = 0; i < w.len; i++)
        rank_pair(&w, i);
    while (w.heap_len > 0) {
        uint64_t top = heap_pop(&w);
        int32_t start = (int32_t)(uint32_t)top;
        if (w.rank[start] == (int32_t)(top >> 32))
            merge(&w, start);
    }
    for (int32_t i = 0; i < w.len; i = w.next[i])
        base_ids_add(out, token_trie_find(&vocab->tokens, piece + i, piece + w.next[i]));
    base_free(w.heap);
    base_free(w.next);
}
