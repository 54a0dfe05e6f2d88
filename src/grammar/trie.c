// The tokens of a vocabulary as tries and sets.
#include "grammar/trie.h"
#include <stdlib.h>
#include <string.h>

typedef struct item {
    const unsigned char *at;
    size_t len;
    int32_t id;
} item;

static int compare_items(const void *left, const void *right) {
    const item *a = left, *b = right;
    int order = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);
    if (order)
        return order;
    return a->len != b->len ? (a->len < b->len ? -1 : 1) : (a->id < b->id ? -1 : 1);
}

static size_t common_start(const item *a, const item *b) {
    size_t n = 0, most = a->len < b->len ? a->len : b->len;
    while (n < most && a->at[n] == b->at[n])
        n++;
    return n;
}

// `items` [n] are sorted. Of ids with the same bytes each has a node: the last one the node that
// goes on to longer tokens.
static void build_part(trie_part *part, const item *items, size_t n, uint32_t *open) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t same = i ? common_start(&items[i - 1], &items[i]) : 0;
        total += items[i].len - same + (same == items[i].len);
    }
    part->nodes = base_alloc((total + 1) * sizeof *part->nodes);
    uint32_t at = 0;
    size_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        size_t same = i ? common_start(&items[i - 1], &items[i]) : 0;
        same -= same == items[i].len;
        for (; depth > same; depth--)
            part->nodes[open[depth - 1]].end = at;
        for (; depth < items[i].len; depth++) {
            open[depth] = at;
            part->nodes[at++] =
                (trie_node){.token = -1, .depth = (uint16_t)depth, .byte = items[i].at[depth]};
        }
        part->nodes[at - 1].token = items[i].id;
    }
    for (; depth > 0; depth--)
        part->nodes[open[depth - 1]].end = at;
    part->n = at;
}

// ---------------------------------------------------------------------------------------------
// What a token is inside a string.

typedef struct reading {
    bool closes, dead, plain;
    int n_points; // begun
} reading;

static reading read_inside(const match_text *t, const item *token) {
    reading r = {.plain = true};
    int state = MATCH_TEXT_IN;
    for (size_t i = 0; i < token->len && !r.closes && !r.dead; i++) {
        int next = t->next[state][token->at[i]];
        r.n_points += state == MATCH_TEXT_IN;
        r.plain = r.plain && next < MATCH_TEXT_PLAIN;
        r.closes = next == MATCH_TEXT_CLOSE;
        r.dead = next == MATCH_TEXT_DEAD;
        state = next;
    }
    r.plain = r.plain && state == MATCH_TEXT_IN && !memmem(token->at, token->len, "\u2028", 3) &&
              !memmem(token->at, token->len, "\u2029", 3);
    return r;
}

static void set_bit(uint32_t *set, int32_t id) {
    set[id / 32] |= (uint32_t)1 << (id % 32);
}

static void add_long(trie_longs *longs, int32_t id, int n_points) {
    longs->at = base_realloc(longs->at, (size_t)(longs->n + 1) * sizeof *longs->at);
    longs->at[longs->n++] = (trie_long){id, n_points};
}

static int compare_longs(const void *left, const void *right) {
    const trie_long *a = left, *b = right;
    return a->n_points != b->n_points ? (a->n_points < b->n_points ? -1 : 1)
                                      : (a->token < b->token ? -1 : 1);
}

static void sort_longs(trie_longs *longs) {
    if (longs->n > 0)
        qsort(longs->at, (size_t)longs->n, sizeof *longs->at, compare_longs);
}

static void fill_sets(grammar_trie *t, const item *items, size_t n) {
    for (int i = 0; i < TRIE_SHORT; i++)
        t->within[i] = base_calloc(t->n_words + 1, sizeof(uint32_t));
    t->plain = base_calloc(t->n_words + 1, sizeof(uint32_t));
    t->key = base_calloc(t->n_words + 1, sizeof(uint32_t));
    for (size_t i = 0; i < n; i++) {
        reading value = read_inside(&t->value_text, &items[i]);
        reading key = read_inside(&t->key_text, &items[i]);
        if (!key.closes && !key.dead)
            set_bit(t->key, items[i].id);
        if (value.closes || value.dead)
            continue;
        if (value.n_points > TRIE_SHORT) {
            add_long(&t->within_long, items[i].id, value.n_points);
            if (value.plain)
                add_long(&t->plain_long, items[i].id, value.n_points);
            continue;
        }
        for (int k = value.n_points - 1; k < TRIE_SHORT; k++)
            set_bit(t->within[k], items[i].id);
        if (value.plain)
            set_bit(t->plain, items[i].id);
    }
    sort_longs(&t->within_long);
    sort_longs(&t->plain_long);
}

// ---------------------------------------------------------------------------------------------
// Keys inside tokens: "QUOTE key QUOTE" with both quotes in one token.

static int compare_hashes(const void *left, const void *right) {
    const match_hash *a = left, *b = right;
    if (a->a != b->a)
        return a->a < b->a ? -1 : 1;
    return a->b != b->b ? (a->b < b->b ? -1 : 1) : 0;
}

typedef struct hashes {
    match_hash *at;
    size_t n, cap;
} hashes;

static void add_hash(hashes *h, match_hash one) {
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->at = base_realloc(h->at, h->cap * sizeof *h->at);
    }
    h->at[h->n++] = one;
}

static void sort_hashes(hashes *h) {
    if (h->n > 1)
        qsort(h->at, h->n, sizeof *h->at, compare_hashes);
    size_t kept = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (i == 0 || compare_hashes(&h->at[kept - 1], &h->at[i]))
            h->at[kept++] = h->at[i];
    }
    h->n = kept;
}

// The key that begins behind the quote at `start`, if it ends in the token.
static void add_inner(const match_text *t, const item *token, size_t start, hashes *inner,
                      hashes *starts) {
    int state = MATCH_TEXT_IN;
    size_t end = start;
    while (end < token->len && (state = t->next[state][token->at[end]]) >= 0)
        end++;
    if (end == token->len || state != MATCH_TEXT_CLOSE)
        return;
    match_hash h = match_hash_start();
    add_hash(starts, h);
    for (size_t i = start; i < end; i++) {
        h = match_hash_add(h, token->at[i]);
        add_hash(starts, h);
    }
    add_hash(inner, h);
}

static void find_inner(grammar_trie *t, const item *items, size_t n) {
    hashes inner = {0}, starts = {0};
    t->quoted = base_alloc((n + 1) * sizeof *t->quoted);
    for (size_t i = 0; i < n; i++) {
        if (!memchr(items[i].at, '"', items[i].len))
            continue;
        t->quoted[t->n_quoted++] = items[i].id;
        t->quoted_bytes = items[i].len > t->quoted_bytes ? items[i].len : t->quoted_bytes;
        for (size_t j = 0; j < items[i].len; j++)
            if (items[i].at[j] == '"')
                add_inner(&t->key_text, &items[i], j + 1, &inner, &starts);
    }
    t->quoted = base_realloc(t->quoted, ((size_t)t->n_quoted + 1) * sizeof *t->quoted);
    sort_hashes(&inner);
    sort_hashes(&starts);
    t->inner = inner.at;
    t->n_inner = inner.n;
    t->inner_starts = starts.at;
    t->n_inner_starts = starts.n;
}

static int compare_heights(const void *left, const void *right) {
    const item *a = left, *b = right;
    return a->len != b->len ? (a->len < b->len) - (a->len > b->len)
                            : (a->id > b->id) - (a->id < b->id);
}

static void find_tall(grammar_trie *t, const item *items, size_t n) {
    item *some = base_alloc((n + 1) * sizeof *some);
    size_t n_some = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].len > TRIE_SHORT && !memchr(items[i].at, '"', items[i].len))
            some[n_some++] = items[i];
    }
    if (n_some > 1)
        qsort(some, n_some, sizeof *some, compare_heights);
    t->tall = base_alloc((n_some + 1) * sizeof *t->tall);
    t->n_tall = (int)n_some;
    for (size_t i = 0; i < n_some; i++)
        t->tall[i] = some[i].id;
    base_free(some);
}

static bool has_hash(const match_hash *at, size_t n, match_hash h) {
    return n > 0 && bsearch(&h, at, n, sizeof *at, compare_hashes) != NULL;
}

bool trie_has_inner(const grammar_trie *t, match_hash key) {
    return has_hash(t->inner, t->n_inner, key);
}

bool trie_has_inner_start(const grammar_trie *t, match_hash start) {
    return has_hash(t->inner_starts, t->n_inner_starts, start);
}

// ---------------------------------------------------------------------------------------------

static size_t collect(grammar_trie *t, item *items) {
    size_t n = 0;
    for (int32_t id = 0; id < t->n_ids; id++) {
        size_t len;
        const char *at = token_bytes(t->vocab, id, &len);
        if (len == 0 || token_is_control(t->vocab, id))
            continue;
        items[n++] = (item){(const unsigned char *)at, len, id};
        t->max_bytes = len > t->max_bytes ? len : t->max_bytes;
    }
    if (n > 1)
        qsort(items, n, sizeof *items, compare_items);
    return n;
}

static void build_tries(grammar_trie *t, const item *items, size_t n) {
    item *some = base_alloc((n + 1) * sizeof *some);
    uint32_t *open = base_alloc((t->max_bytes + 1) * sizeof *open);
    build_part(&t->all, items, n, open);
    size_t n_rest = 0;
    for (size_t i = 0; i < n; i++) {
        reading r = read_inside(&t->value_text, &items[i]);
        if (r.closes || r.dead || !r.plain)
            some[n_rest++] = items[i];
    }
    build_part(&t->rest, some, n_rest, open);
    size_t n_closing = 0;
    for (size_t i = 0; i < n; i++) {
        if (read_inside(&t->lenient_text, &items[i]).closes)
            some[n_closing++] = items[i];
    }
    build_part(&t->closing, some, n_closing, open);
    base_free(open);
    base_free(some);
}

grammar_trie *grammar_trie_create(const token_vocab *vocab) {
    grammar_trie *t = base_calloc(1, sizeof *t);
    t->vocab = vocab;
    t->n_ids = token_vocab_size(vocab);
    t->n_words = ((size_t)t->n_ids + 31) / 32;
    match_text_value(&t->value_text);
    match_text_key(&t->key_text);
    match_text_lenient(&t->lenient_text);
    item *items = base_alloc(((size_t)t->n_ids + 1) * sizeof *items);
    size_t n = collect(t, items);
    build_tries(t, items, n);
    fill_sets(t, items, n);
    find_inner(t, items, n);
    find_tall(t, items, n);
    base_free(items);
    t->bytes = sizeof *t + ((size_t)t->all.n + t->rest.n + t->closing.n) * sizeof(trie_node) +
               (TRIE_SHORT + 2) * t->n_words * sizeof(uint32_t) +
               (t->n_inner + t->n_inner_starts) * sizeof(match_hash) +
               (size_t)t->n_tall * sizeof *t->tall;
    return t;
}

void grammar_trie_free(grammar_trie *t) {
    if (!t)
        return;
    base_free(t->all.nodes);
    base_free(t->rest.nodes);
    base_free(t->closing.nodes);
    for (int i = 0; i < TRIE_SHORT; i++)
        base_free(t->within[i]);
    base_free(t->within_long.at);
    base_free(t->plain);
    base_free(t->plain_long.at);
    base_free(t->key);
    base_free(t->inner);
    base_free(t->inner_starts);
    base_free(t->quoted);
    base_free(t->tall);
    base_free(t);
}

size_t grammar_trie_bytes(const grammar_trie *t) {
    return t->bytes;
}
