// What tests of constraints share: the small vocabulary of the chat tests made ready for masks, and
// random walks along masks that find their way to an end.
#ifndef TESTS_GRAMMAR_FIXTURE_H
#define TESTS_GRAMMAR_FIXTURE_H

#include "chat_fixture.h"
#include "grammar/grammar.h"

typedef struct grammar_fixture {
    token_vocab *tokens;
    grammar_tokens control;
    grammar_vocab *vocab;
    int size, words; // ids; words of a mask
} grammar_fixture;

static inline grammar_tokens fixture_grammar_tokens(const token_vocab *vocab) {
    return (grammar_tokens){
        .think = token_control_id(vocab, "<think>"),
        .think_end = token_control_id(vocab, "</think>"),
        .section_begin = token_control_id(vocab, "<|tool_calls_section_begin|>"),
        .section_end = token_control_id(vocab, "<|tool_calls_section_end|>"),
        .call_begin = token_control_id(vocab, "<|tool_call_begin|>"),
        .call_argument = token_control_id(vocab, "<|tool_call_argument_begin|>"),
        .call_end = token_control_id(vocab, "<|tool_call_end|>"),
        .n_ends = 2,
        .ends = {token_control_id(vocab, "[EOS]"), token_control_id(vocab, "<|im_end|>")},
    };
}

static inline grammar_fixture fixture_grammar(void) {
    grammar_fixture f = {.tokens = fixture_chat_vocab(NULL)};
    f.control = fixture_grammar_tokens(f.tokens);
    f.vocab = grammar_vocab_create(f.tokens, &f.control);
    f.size = token_vocab_size(f.tokens);
    f.words = (f.size + 31) / 32;
    return f;
}

static inline void fixture_grammar_free(grammar_fixture *f) {
    grammar_vocab_free(f->vocab);
    token_vocab_free(f->tokens);
}

static inline bool fixture_bit(const uint32_t *mask, int32_t id) {
    return mask[id / 32] >> (id % 32) & 1;
}

// Small, fast and the same everywhere.
static inline uint32_t fixture_random(uint64_t *seed, uint32_t below) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

// ---------------------------------------------------------------------------------------------
// A walk

typedef struct fixture_walk {
    const grammar_fixture *f;
    grammar_state *state;
    uint64_t seed;
    base_str words; // that may help to find an end, each with a NUL behind it: keys of a schema
    size_t n_words;
    base_str text; // of the ordinary ids so far
    base_ids ids;
    int n_kept;     // ids that can be undone: fewer than the most after others were
    uint32_t *mask; // [f->words]
} fixture_walk;

static inline fixture_walk fixture_walk_begin(const grammar_fixture *f, grammar *g, uint64_t seed) {
    return (fixture_walk){.f = f,
                          .state = grammar_state_create(g),
                          .seed = seed * 2654435761u + 1,
                          .mask = base_calloc((size_t)f->words, sizeof(uint32_t))};
}

static inline void fixture_walk_end(fixture_walk *w) {
    grammar_state_free(w->state);
    base_str_free(&w->words);
    base_str_free(&w->text);
    base_ids_free(&w->ids);
    base_free(w->mask);
}

static inline void fixture_walk_word(fixture_walk *w, const char *word) {
    base_str_add(&w->words, word, strlen(word) + 1);
    w->n_words++;
}

// The properties that a schema names anywhere, as words.
static inline void fixture_walk_keys(fixture_walk *w, const json_t *value) {
    const char *key, *property;
    json_t *child, *inner;
    size_t i;
    json_object_foreach((json_t *)value, key, child) {
        if (strcmp(key, "properties") == 0)
            json_object_foreach(child, property, inner) fixture_walk_word(w, property);
        fixture_walk_keys(w, child);
    }
    json_array_foreach(value, i, child) fixture_walk_keys(w, child);
}

static inline bool fixture_is_end(const grammar_fixture *f, int32_t id) {
    return id == f->control.ends[0] || id == f->control.ends[1];
}

static inline bool fixture_walk_take(fixture_walk *w, int32_t id) {
    size_t len;
    w->n_kept = base_min_int(w->n_kept + 1, GRAMMAR_MAX_ROLLBACK);
    if (!grammar_state_advance(w->state, id))
        return false;
    base_ids_add(&w->ids, id);
    if (!token_is_control(w->f->tokens, id)) {
        const char *bytes = token_bytes(w->f->tokens, id, &len);
        base_str_add(&w->text, bytes, len);
    }
    return true;
}

// Undoes the last `n` ids of the state; `ids` and `text` are the caller's to mend.
static inline void fixture_walk_back(fixture_walk *w, int n) {
    grammar_state_rollback(w->state, n);
    w->n_kept -= n;
}

// Tries to write one of the words as a key, where one may begin. A random key has no end in sight.
static inline bool fixture_walk_key(fixture_walk *w) {
    if (w->n_words == 0 || w->text.len == 0 || !strchr("{,", w->text.data[w->text.len - 1]))
        return false;
    const char *word = w->words.data;
    for (uint32_t i = fixture_random(&w->seed, (uint32_t)w->n_words); i > 0; i--)
        word += strlen(word) + 1;
    base_str spelled = {0};
    base_ids ids = {0};
    size_t n_ids = w->ids.len, n_text = w->text.len, i = 0;
    base_json_add_string(&spelled, word, strlen(word));
    base_str_adds(&spelled, ":");
    token_encode(w->f->tokens, spelled.data, spelled.len, TOKEN_PLAIN, &ids);
    while (i < ids.len && i < GRAMMAR_MAX_ROLLBACK - 1 && fixture_walk_take(w, ids.data[i]))
        i++;
    bool good = i == ids.len;
    if (!good) { // the refused one counts as advanced, too
        fixture_walk_back(w, (int)i + (i < GRAMMAR_MAX_ROLLBACK - 1));
        w->ids.len = n_ids;
        w->text.len = n_text;
    }
    base_str_free(&spelled);
    base_ids_free(&ids);
    return good;
}

// How near to an end an id brings an output that has become long enough; 0 is best.
static inline int fixture_rank(const grammar_fixture *f, int32_t id) {
    size_t len;
    const char *bytes = token_bytes(f->tokens, id, &len);
    if (fixture_is_end(f, id))
        return 0;
    if (id == f->control.think_end || id == f->control.section_end || id == f->control.call_end ||
        id == f->control.call_argument)
        return 1;
    if (token_is_control(f->tokens, id) || len != 1)
        return 5;
    return strchr("}]\"", *bytes) ? 2 : strchr("{[,: \n\t\r\\", *bytes) ? 4 : 3;
}

// One of the ids of the mask: any, or when `finish` one of the best. -1: there is none.
static inline int32_t fixture_walk_choose(fixture_walk *w, bool finish) {
    int32_t found = -1;
    int best = 6;
    uint32_t n = 0;
    for (int32_t id = 0; id < w->f->size; id++) {
        if (w->mask[id / 32] == 0) {
            id |= 31;
            continue;
        }
        if (!fixture_bit(w->mask, id))
            continue;
        int rank = finish ? fixture_rank(w->f, id) : 0;
        if (rank > best)
            continue;
        n = rank < best ? 1 : n + 1;
        best = rank;
        if (fixture_random(&w->seed, n) == 0)
            found = id;
    }
    return found;
}

typedef enum { FIXTURE_WALK_ON, FIXTURE_WALK_ENDED, FIXTURE_WALK_BROKEN } fixture_walked;

// One id more. BROKEN: the mask is empty, or allows what is then refused.
static inline fixture_walked fixture_walk_step(fixture_walk *w, size_t long_enough) {
    bool finish = w->ids.len >= long_enough;
    if (fixture_random(&w->seed, 8) && fixture_walk_key(w))
        return FIXTURE_WALK_ON;
    if (!grammar_state_mask(w->state, w->mask, w->f->size)) {
        memset(w->mask, 0xff, (size_t)w->f->words * sizeof *w->mask);
        for (int32_t id = w->f->size; id < 32 * w->f->words; id++)
            w->mask[id / 32] &= ~(1u << (id % 32));
    }
    int32_t id = fixture_walk_choose(w, finish && fixture_random(&w->seed, 16));
    if (id < 0 || !fixture_walk_take(w, id))
        return FIXTURE_WALK_BROKEN;
    return fixture_is_end(w->f, id) ? FIXTURE_WALK_ENDED : FIXTURE_WALK_ON;
}

// Walks until an end, at most `most` ids; ON: not ended by then.
static inline fixture_walked fixture_walk_on(fixture_walk *w, size_t long_enough, size_t most) {
    fixture_walked walked = FIXTURE_WALK_ON;
    while (walked == FIXTURE_WALK_ON && w->ids.len < most)
        walked = fixture_walk_step(w, long_enough);
    return walked;
}

#endif
