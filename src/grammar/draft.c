#include "grammar/draft.h"

#include <string.h>

void grammar_draft_start(grammar_draft *d, int n_symbols) {
    *d = (grammar_draft){.n_symbols = n_symbols};
}

void grammar_draft_free(grammar_draft *d) {
    base_free(d->next);
    base_free(d->accepts);
    *d = (grammar_draft){0};
}

int32_t grammar_draft_add(grammar_draft *d) {
    size_t width = (size_t)d->n_symbols;
    if (d->n_states == d->cap_states) {
        int cap = d->cap_states == 0 ? 64 : d->cap_states * 2;
        d->next = base_realloc(d->next, (size_t)cap * width * sizeof *d->next);
        d->accepts = base_realloc(d->accepts, (size_t)cap * sizeof *d->accepts);
        d->cap_states = cap;
    }
    if (d->n_states >= GRAMMAR_MAX_DRAFT_STATES ||
        (size_t)(d->n_states + 1) * width > GRAMMAR_MAX_CELLS)
        return GRAMMAR_DEAD;
    int32_t state = d->n_states++;
    memset(d->next + (size_t)state * width, 0xff, width * sizeof *d->next); // GRAMMAR_DEAD
    d->accepts[state] = false;
    return state;
}

int grammar_draft_too_large(base_err *err) {
    return base_fail(err, BASE_ERR_USAGE, "too large: its automaton has more than %d states",
                     GRAMMAR_MAX_STATES);
}

int grammar_symbols_make(uint8_t symbols[256], const uint32_t traits[256], uint8_t bytes[256]) {
    int n = 0;
    for (int b = 0; b < 256; b++) {
        int i = 0;
        while (i < n && traits[bytes[i]] != traits[b])
            i++;
        if (i == n)
            bytes[n++] = (uint8_t)b;
        symbols[b] = (uint8_t)i;
    }
    return n;
}

static int utf8_lead(unsigned char byte) {
    if (byte < 0x80)
        return 0;
    if (byte < 0xc2 || byte > 0xf4)
        return GRAMMAR_DEAD;
    if (byte < 0xe0)
        return 1;
    if (byte < 0xf0)
        return byte == 0xe0 ? 4 : byte == 0xed ? 5 : 2;
    return byte == 0xf0 ? 6 : byte == 0xf4 ? 7 : 3;
}

// Inside a character: what the next byte may be, and how many are to come then.
int grammar_utf8_step(int state, unsigned char byte) {
    static const struct {
        unsigned char low, high;
        int next;
    } steps[GRAMMAR_UTF8_STATES - 1] = {
        {0x80, 0xbf, 0}, {0x80, 0xbf, 1},
        {0x80, 0xbf, 2}, {0xa0, 0xbf, 1}, // after E0: nothing that fits in two bytes
        {0x80, 0x9f, 1},                  // after ED: no surrogates
        {0x90, 0xbf, 2},                  // after F0: nothing that fits in three bytes
        {0x80, 0x8f, 2},                  // after F4: up to U+10FFFF
    };
    if (state == 0)
        return utf8_lead(byte);
    bool fits = byte >= steps[state - 1].low && byte <= steps[state - 1].high;
    return fits ? steps[state - 1].next : GRAMMAR_DEAD;
}

// ---------------------------------------------------------------------------------------------

// Symbols with equal columns become one class. Returns their number; `classes` [n_symbols].
static int merge_columns(const grammar_draft *d, int *classes, int *columns) {
    size_t width = (size_t)d->n_symbols;
    uint64_t *hashes = base_calloc(width, sizeof *hashes);
    for (int s = 0; s < d->n_states; s++) {
        const int32_t *row = d->next + (size_t)s * width;
        for (size_t c = 0; c < width; c++)
            hashes[c] =
                (hashes[c] ^ (uint64_t)(uint32_t)row[c]) * 0x9e3779b97f4a7c15u + (hashes[c] >> 29);
    }
    int n = 0;
    for (size_t c = 0; c < width; c++) {
        int i = 0;
        for (; i < n; i++) {
            size_t other = (size_t)columns[i];
            if (hashes[other] != hashes[c])
                continue;
            int s = 0;
            while (s < d->n_states &&
                   d->next[(size_t)s * width + other] == d->next[(size_t)s * width + c])
                s++;
            if (s == d->n_states)
                break;
        }
        if (i == n)
            columns[n++] = (int)c;
        classes[c] = i;
    }
    base_free(hashes);
    return n;
}

// Fewest bytes to an accepting state: a walk backwards from all of them.
static void measure(grammar_dfa *d) {
    size_t n = (size_t)d->n_states, width = (size_t)d->n_classes;
    int *first = base_calloc(n + 1, sizeof *first);
    for (size_t i = 0; i < n * width; i++)
        if (d->next[i] >= 0)
            first[d->next[i]]++;
    int total = 0;
    for (size_t s = 0; s <= n; s++) {
        total += first[s];
        first[s] = total; // its end, for now
    }
    int32_t *from = base_alloc((size_t)total * sizeof *from);
    for (size_t i = 0; i < n * width; i++)
        if (d->next[i] >= 0)
            from[--first[d->next[i]]] = (int32_t)(i / width);
    int32_t *queue = base_alloc(n * sizeof *queue);
    size_t head = 0, tail = 0;
    for (size_t s = 0; s < n; s++) {
        d->distance[s] = d->accepts[s] ? 0 : -1;
        if (d->accepts[s])
            queue[tail++] = (int32_t)s;
    }
    while (head < tail) {
        int32_t s = queue[head++];
        for (int i = first[s]; i < first[s + 1]; i++)
            if (d->distance[from[i]] < 0) {
                d->distance[from[i]] = d->distance[s] + 1;
                queue[tail++] = from[i];
            }
    }
    base_free(queue);
    base_free(from);
    base_free(first);
}

int grammar_draft_finish(grammar_dfa **out, grammar_draft *d, const uint8_t symbols[256],
                         base_err *err) {
    *out = NULL;
    if (d->n_states > GRAMMAR_MAX_STATES) {
        grammar_draft_free(d);
        return grammar_draft_too_large(err);
    }
    int classes[256], columns[256], n_classes = merge_columns(d, classes, columns);
    size_t n = (size_t)d->n_states, width = (size_t)n_classes;
    grammar_dfa *dfa = base_calloc(1, sizeof *dfa);
    dfa->n_states = d->n_states;
    dfa->n_classes = n_classes;
    for (int b = 0; b < 256; b++)
        dfa->classes[b] = (uint8_t)classes[symbols[b]];
    dfa->next = base_alloc(n * width * sizeof *dfa->next);
    dfa->accepts = base_alloc(n * sizeof *dfa->accepts);
    dfa->distance = base_alloc(n * sizeof *dfa->distance);
    for (size_t s = 0; s < n; s++) {
        dfa->accepts[s] = d->accepts[s];
        for (size_t c = 0; c < width; c++)
            dfa->next[s * width + c] = d->next[s * (size_t)d->n_symbols + (size_t)columns[c]];
    }
    measure(dfa);
    grammar_draft_free(d);
    *out = dfa;
    return 0;
}

// ---------------------------------------------------------------------------------------------

static size_t slot_of(const grammar_search *s, uint64_t key) {
    uint64_t h = (key ^ key >> 31) * 0x9e3779b97f4a7c15u;
    size_t mask = (size_t)s->n_slots - 1, i = (size_t)(h >> 32) & mask;
    while (s->slots[i] != GRAMMAR_DEAD && s->keys[s->slots[i]] != key)
        i = (i + 1) & mask;
    return i;
}

static void grow(grammar_search *s) {
    base_free(s->slots);
    s->n_slots = s->n_slots == 0 ? 128 : s->n_slots * 2;
    s->cap_keys = s->n_slots / 2;
    s->keys = base_realloc(s->keys, (size_t)s->cap_keys * sizeof *s->keys);
    s->slots = base_alloc((size_t)s->n_slots * sizeof *s->slots);
    memset(s->slots, 0xff, (size_t)s->n_slots * sizeof *s->slots);
    for (int32_t i = 0; i < s->draft.n_states; i++)
        s->slots[slot_of(s, s->keys[i])] = i;
}

void grammar_search_start(grammar_search *s, int n_symbols, uint64_t start) {
    *s = (grammar_search){0};
    grammar_draft_start(&s->draft, n_symbols);
    grow(s);
    grammar_search_state(s, start);
}

int32_t grammar_search_state(grammar_search *s, uint64_t key) {
    size_t slot = slot_of(s, key);
    if (s->slots[slot] != GRAMMAR_DEAD)
        return s->slots[slot];
    if (s->draft.n_states == s->cap_keys) {
        grow(s);
        slot = slot_of(s, key);
    }
    int32_t state = grammar_draft_add(&s->draft);
    if (state == GRAMMAR_DEAD) {
        s->full = true;
        return GRAMMAR_DEAD;
    }
    s->keys[state] = key;
    s->slots[slot] = state;
    return state;
}

// Fewer columns before minimising, whose time grows with the table.
static void drop_columns(grammar_draft *d, uint8_t symbols[256]) {
    int classes[256], columns[256], n = merge_columns(d, classes, columns);
    size_t width = (size_t)d->n_symbols;
    for (size_t s = 0; s < (size_t)d->n_states; s++)
        for (int c = 0; c < n; c++) // to the left, where all has been read
            d->next[s * (size_t)n + (size_t)c] = d->next[s * width + (size_t)columns[c]];
    for (int b = 0; b < 256; b++)
        symbols[b] = (uint8_t)classes[symbols[b]];
    d->n_symbols = n;
}

int grammar_search_finish(grammar_dfa **out, grammar_search *s, const uint8_t symbols[256],
                          base_err *err) {
    *out = NULL;
    base_free(s->keys);
    base_free(s->slots);
    uint8_t merged[256];
    memcpy(merged, symbols, sizeof merged);
    int rc = s->full ? grammar_draft_too_large(err) : 0;
    if (rc == 0) {
        drop_columns(&s->draft, merged);
        rc = grammar_draft_minimise(&s->draft, err);
    }
    if (rc == 0)
        return grammar_draft_finish(out, &s->draft, merged, err);
    grammar_draft_free(&s->draft);
    return rc;
}
