// The engine's invariants, checked from the outside of its functions but the inside of its state.
#ifndef TESTS_ENGINE_CHECK_H
#define TESTS_ENGINE_CHECK_H

#include "engine_fake.h"

static inline void check_that(bool good, const char *what, int64_t a, int64_t b) {
    if (good)
        return;
    base_error("invariant broken: %s (%lld, %lld)", what, (long long)a, (long long)b);
    abort();
}

static inline bool check_older(const engine_seq *a, const engine_seq *b) {
    return a->request->arrival < b->request->arrival ||
           (a->request == b->request && a->choice < b->choice);
}

static inline void check_sequences(const engine *e) {
    int size = e->limits.options.block_size;
    check_that(e->n_running <= e->limits.options.max_num_seqs, "too many run", e->n_running, 0);
    for (int i = 0; i < e->n_running; i++) {
        const engine_seq *s = e->running[i];
        check_that(s->state == ENGINE_SEQ_RUNNING, "state in running", s->state, i);
        check_that(i == 0 || check_older(e->running[i - 1], s), "running by age", i, 0);
        check_that(s->n_computed >= 0 && s->n_computed < s->n_ids, "0 <= computed < ids",
                   s->n_computed, s->n_ids);
        check_that((int64_t)s->n_table * size >= s->n_computed, "blocks hold what is computed",
                   s->n_table, s->n_computed);
        check_that(s->n_ids < s->request->max_ids, "ids < max_ids", s->n_ids, i);
    }
    int64_t n_new = 0, n_waiting = 0, n_live = 0;
    for (const engine_seq *s = e->waiting; s; s = s->next, n_waiting++) {
        check_that(s->state == ENGINE_SEQ_WAITING, "state in waiting", s->state, 0);
        check_that(s->n_table == 0 && s->n_computed == 0, "waiting holds nothing", s->n_table, 0);
        check_that(!s->next || check_older(s, s->next), "waiting by age", 0, 0);
        check_that((s->next ? s->next->prev : e->waiting_tail) == s, "waiting links", 0, 0);
    }
    for (uint32_t i = 0; i < e->n_buckets; i++)
        for (const engine_request *r = e->buckets[i]; r; r = r->next) {
            n_live += r->n_live;
            for (int k = 0; k < r->n_choices; k++)
                n_new += r->seqs[k].state == ENGINE_SEQ_NEW;
        }
    check_that(n_live == e->n_live, "live choices", n_live, e->n_live);
    check_that(n_live == n_new + n_waiting + e->n_running, "every live choice is somewhere", n_live,
               n_new);
    check_that(!e->dead, "the dead are buried", 0, 0);
}

// refs[b] = table entries that are b; the list holds exactly the others; nothing shared is written;
// nothing is shared across salts.
static inline void check_blocks(const engine *e) {
    int32_t n = e->blocks.n_blocks;
    int size = e->limits.options.block_size;
    int32_t *refs = calloc((size_t)n, sizeof *refs);
    uint64_t *salts = calloc((size_t)n, sizeof *salts);
    for (int i = 0; i < e->n_running; i++) {
        const engine_seq *s = e->running[i];
        for (int k = 0; k < s->n_table; k++) {
            int32_t b = s->table[k];
            check_that(refs[b] == 0 || salts[b] == s->request->salt, "salts share a block", b, i);
            salts[b] = s->request->salt;
            refs[b]++;
            if (k >= s->n_computed / size)
                check_that(e->blocks.at[b].refs == 1 && !e->prefix.at[b].cached,
                           "a block to be written is shared or cached", b, e->blocks.at[b].refs);
            check_that(!e->prefix.at[b].cached || e->prefix.at[b].salt == s->request->salt,
                       "the cache has another salt", b, i);
        }
    }
    int32_t n_free = 0, n_listed = 0;
    for (int32_t b = 0; b < n; b++) {
        check_that(refs[b] == e->blocks.at[b].refs, "refs", refs[b], e->blocks.at[b].refs);
        n_free += refs[b] == 0;
    }
    for (int32_t b = e->blocks.at[n].next; b != n; b = e->blocks.at[b].next, n_listed++) {
        check_that(refs[b] == 0, "a used block is on the list", b, refs[b]);
        check_that(e->blocks.at[e->blocks.at[b].next].prev == b, "list links", b, 0);
    }
    check_that(n_free == n_listed && n_free == e->blocks.n_free, "free blocks", n_free, n_listed);
    free(refs);
    free(salts);
}

// A cached block is in the list of its siblings, once, with cached ones that have its parent.
static inline void check_family(const engine *e, int32_t b) {
    const engine_prefix_entry *c = &e->prefix.at[b];
    int32_t front = b, n = 0;
    for (; e->prefix.at[front].newer != ENGINE_NO_BLOCK; front = e->prefix.at[front].newer) {
        const engine_prefix_entry *newer = &e->prefix.at[e->prefix.at[front].newer];
        check_that(newer->cached && newer->parent == c->parent, "a sibling", b, front);
        check_that(newer->older == front, "sibling links", b, front);
        check_that(++n < e->blocks.n_blocks, "siblings in a circle", b, front);
    }
    if (c->parent != ENGINE_NO_BLOCK) {
        check_that(e->prefix.at[c->parent].child == front, "the parent's child", b, front);
        return;
    }
    bool found = false;
    for (uint32_t i = 0; i < e->prefix.n_buckets; i++)
        found |= e->prefix.first[i] == front;
    check_that(found, "the front of first blocks", b, front);
}

// A cached block holds the ids it is known for, can be found, and outlives its children.
static inline void check_prefix(const engine *e, const fake *f) {
    int32_t n = e->blocks.n_blocks;
    int size = e->limits.options.block_size;
    int32_t *place = calloc((size_t)n, sizeof *place); // in the list, from 1; 0: not on it
    int32_t count = 0;
    for (int32_t b = e->blocks.at[n].next; b != n; b = e->blocks.at[b].next)
        place[b] = ++count;
    for (int32_t b = 0; b < n; b++) {
        const engine_prefix_entry *c = &e->prefix.at[b];
        if (!c->cached)
            continue;
        check_that(memcmp(&e->prefix.ids[(int64_t)b * size], &f->slots[(int64_t)b * size],
                          (size_t)size * sizeof *f->slots) == 0,
                   "a cached block holds other ids", b, 0);
        int32_t found = e->prefix.buckets[c->key.low64 & (e->prefix.n_buckets - 1)];
        while (found != b && found != ENGINE_NO_BLOCK)
            found = e->prefix.at[found].next;
        check_that(found == b, "a cached block cannot be found", b, 0);
        check_family(e, b);
        if (c->parent == ENGINE_NO_BLOCK)
            continue;
        check_that(e->prefix.at[c->parent].cached, "the parent is not cached", b, c->parent);
        check_that(e->blocks.at[c->parent].refs >= e->blocks.at[b].refs, "refs[P] >= refs[C]", b,
                   c->parent);
        check_that(place[c->parent] == 0 || place[b] < place[c->parent],
                   "the child is evicted first", place[b], place[c->parent]);
    }
    free(place);
}

// Empties every slot that nobody may rely on, so that the backend notices if somebody does.
static inline void wipe_unused_slots(const engine *e, fake *f) {
    int size = e->limits.options.block_size;
    for (int32_t b = 0; b < e->blocks.n_blocks; b++)
        if (e->blocks.at[b].refs == 0 && !e->prefix.at[b].cached)
            for (int i = 0; i < size; i++)
                f->slots[(int64_t)b * size + i] = FAKE_EMPTY_SLOT;
    for (int i = 0; i < e->n_running; i++) {
        const engine_seq *s = e->running[i];
        for (int64_t p = s->n_computed; p < (int64_t)s->n_table * size; p++)
            f->slots[(int64_t)s->table[p / size] * size + p % size] = FAKE_EMPTY_SLOT;
    }
}

static inline void check_engine(const engine *e, fake *f) {
    check_sequences(e);
    check_blocks(e);
    check_prefix(e, f);
    wipe_unused_slots(e, f);
}

// One step with the promises about who is in it: the oldest sequence, and everyone who decodes, if
// they are not held nor, but for the oldest of all, preempted; nobody held; and nobody new after a
// preemption.
// False when there was nothing to do.
static inline bool checked_step(engine *e, fake *f) {
    enum { MOST = 64 };
    const engine_seq *before[MOST]; // perhaps freed by the step: compared only
    bool decodes[MOST];
    int64_t due_ns[MOST];
    int n = e->n_running < MOST ? e->n_running : MOST, n_missing = 0;
    uint64_t preemptions = e->stats.preemptions;
    for (int i = 0; i < n; i++) {
        before[i] = e->running[i];
        decodes[i] = before[i]->n_ids - before[i]->n_computed == 1;
        due_ns[i] = before[i]->due_ns;
    }
    if (!engine_step(e))
        return false;
    int n_old = 0, oldest = 0;
    while (oldest < n && due_ns[oldest] > e->tick_ns)
        oldest++;
    for (int i = 0; i < n; i++) {
        bool planned = false;
        for (int k = 0; k < e->plan.n_seqs; k++)
            planned |= e->planned[k] == before[i];
        n_old += planned;
        if (i == oldest)
            check_that(planned || (i > 0 && e->stats.preemptions > preemptions),
                       "the oldest has no row", i, n);
        check_that(due_ns[i] <= e->now_ns || !planned, "planned while held", due_ns[i], e->now_ns);
        n_missing += decodes[i] && due_ns[i] <= e->tick_ns && !planned;
    }
    preemptions = e->stats.preemptions - preemptions;
    check_that((uint64_t)n_missing <= preemptions, "one that decodes has no row", n_missing, n);
    check_that(!e->preempted || n_old == e->plan.n_seqs, "admitted after a preemption", n_old,
               e->plan.n_seqs);
    check_engine(e, f);
    return true;
}

#endif
