// A vocabulary made ready for constraints.
#include "grammar/constraint.h"

grammar_id_kind grammar_kind_of(const grammar_vocab *v, int32_t id) {
    if (id < 0 || id >= v->size)
        return GRAMMAR_INVALID;
    int kind = 0;
    while (kind < GRAMMAR_N_MARKERS && v->markers[kind] != id)
        kind++;
    if (kind < GRAMMAR_N_MARKERS)
        return (grammar_id_kind)kind;
    for (int i = 0; i < v->n_ends; i++) {
        if (v->ends[i] == id)
            return GRAMMAR_END;
    }
    return GRAMMAR_OTHER;
}

// Ids out of range can never be sampled: it is as if they were not there.
static void set_tokens(grammar_vocab *v, const grammar_tokens *t) {
    const int32_t markers[GRAMMAR_N_MARKERS] = {
        [GRAMMAR_THINK] = t->think,
        [GRAMMAR_THINK_END] = t->think_end,
        [GRAMMAR_SECTION_BEGIN] = t->section_begin,
        [GRAMMAR_SECTION_END] = t->section_end,
        [GRAMMAR_CALL_BEGIN] = t->call_begin,
        [GRAMMAR_CALL_ARGUMENT] = t->call_argument,
        [GRAMMAR_CALL_END] = t->call_end,
    };
    for (int i = 0; i < GRAMMAR_N_MARKERS; i++)
        v->markers[i] = markers[i] >= 0 && markers[i] < v->size ? markers[i] : -1;
    for (int i = 0; i < t->n_ends && i < GRAMMAR_MAX_ENDS; i++) {
        if (t->ends[i] >= 0 && t->ends[i] < v->size)
            v->ends[v->n_ends++] = t->ends[i];
    }
}

static bool is_rest(const grammar_vocab *v, int32_t id, grammar_rest *out) {
    size_t len, n = 0;
    const char *bytes = token_bytes(v->tokens, id, &len);
    while (n < len && ((unsigned char)bytes[n] & 0xc0) == 0x80)
        n++;
    if (len == 0 || len > 3 || n < len || token_is_control(v->tokens, id))
        return false;
    *out = (grammar_rest){id, (uint8_t)len, (uint8_t)bytes[0]};
    return true;
}

static void find_rests(grammar_vocab *v) {
    int cap = 0;
    for (int32_t id = 0; id < v->size; id++) {
        grammar_rest rest;
        if (!is_rest(v, id, &rest))
            continue;
        if (v->n_rests == cap) {
            cap = cap ? 2 * cap : 64;
            v->rests = base_realloc(v->rests, (size_t)cap * sizeof *v->rests);
        }
        v->rests[v->n_rests++] = rest;
    }
}

grammar_vocab *grammar_vocab_create(const token_vocab *vocab, const grammar_tokens *tokens) {
    grammar_vocab *v = base_calloc(1, sizeof *v);
    v->tokens = vocab;
    v->size = token_vocab_size(vocab);
    set_tokens(v, tokens);
    find_rests(v);
    v->trie = grammar_trie_create(vocab);
    grammar_cache_init(&v->cache);
    return v;
}

void grammar_vocab_free(grammar_vocab *v) {
    if (!v)
        return;
    grammar_cache_destroy(&v->cache);
    grammar_trie_free(v->trie);
    base_free(v->rests);
    base_free(v);
}

void grammar_get_stats(grammar_vocab *v, grammar_stats *out) {
    grammar_cache_get_stats(&v->cache, out);
}
