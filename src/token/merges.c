// Finding the halves of every token, in the order of ids: when a token's turn comes, all merges
// that could happen before its own are known.
#include "token/vocab.h"

static const unsigned char *bytes_of(const token_vocab *vocab, int32_t id) {
    return (const unsigned char *)vocab->bytes + vocab->offset[id];
}

// The longest token that `id`, but for its last byte, starts with; -1 for single bytes.
static int32_t longest_start(const token_vocab *vocab, int32_t id) {
    const unsigned char *p = bytes_of(vocab, id);
    size_t len;
    return token_trie_longest(&vocab->tokens, p, p + token_length(vocab, id) - 1, &len);
}

static void add_pair(token_merges *m, int32_t left, int32_t right, int32_t merged) {
    uint64_t key = (uint64_t)left << TOKEN_ID_BITS | (uint64_t)right;
    uint64_t hash = token_pair_hash(key), i = hash >> 2 & m->mask;
    m->filter[(hash >> 6) & (m->mask >> 4)] |= (uint64_t)1 << (hash & 63);
    while (m->slots[i])
        i = (i + 1) & m->mask;
    m->slots[i] = key << TOKEN_ID_BITS | (uint64_t)merged;
}

static bool is_before(const token_vocab *vocab, int32_t part, int32_t whole) {
    return part < whole || token_length(vocab, part) == 1;
}

// False when the token has no halves that come before it.
static bool find_halves(token_vocab *vocab, int32_t id) {
    token_merges *m = &vocab->merges;
    const unsigned char *p = bytes_of(vocab, id), *end = p + token_length(vocab, id);
    if (end - p == 1)
        return true;
    for (int32_t left = m->parts[id].shorter; left >= 0; left = m->parts[left].shorter) {
        if (!is_before(vocab, left, id))
            continue;
        int32_t right = token_trie_find(&vocab->tokens, p + token_length(vocab, left), end);
        if (right < 0 || !is_before(vocab, right, id) || !token_pair_stays(m, left, right))
            continue;
        m->parts[id].left = left;
        m->parts[id].right = right;
        add_pair(m, left, right, id);
        return true;
    }
    return false;
}

int token_merges_build(token_vocab *vocab, base_err *err) {
    token_merges *m = &vocab->merges;
    size_t n = (size_t)vocab->ordinary, slots = 1024;
    while (slots < 2 * n) // half empty, since most look-ups find nothing
        slots *= 2;
    m->mask = slots - 1;
    m->parts = base_try_calloc(n, sizeof *m->parts);
    m->slots = base_try_calloc(slots, sizeof *m->slots);
    m->filter = base_try_calloc(slots / 16, sizeof *m->filter);
    if (!m->parts || !m->slots || !m->filter)
        return base_fail(err, BASE_ERR_RESOURCE, "no memory for the merges of %zu tokens", n);
    for (int32_t id = 0; id < vocab->ordinary; id++) // all, since single bytes may come late
        m->parts[id] =
            (token_part){-1, -1, longest_start(vocab, id), (uint32_t)token_length(vocab, id)};
    m->usable = true;
    for (int32_t id = 0; id < vocab->ordinary && m->usable; id++)
        m->usable = find_halves(vocab, id);
    return 0;
}

void token_merges_free(token_merges *m) {
    base_free(m->parts);
    base_free(m->slots);
    base_free(m->filter);
    *m = (token_merges){0};
}
