// Builds the plan of a step: who gets how many token rows, and which blocks they are written to.
//
// Decode rows first (sequences that lack one id: nobody who is generating waits for somebody's
// prompt), then prompts being computed, then admissions, oldest first. A prompt that has others
// behind it gets at most half of what is left, so that a short prompt does not wait for a long one;
// what nobody wanted goes to the oldest in the end.
#include "engine/state.h"

#include <string.h>

// ---------------------------------------------------------------------------------------------
// Lists

static bool older(const engine_seq *a, const engine_seq *b) {
    if (a->request->arrival != b->request->arrival)
        return a->request->arrival < b->request->arrival;
    return a->choice < b->choice;
}

// From the tail, where new requests belong; preempted ones and later choices belong to the head.
void engine_waiting_insert(engine *e, engine_seq *s) {
    engine_seq *prev = e->waiting_tail;
    if (e->waiting && older(s, e->waiting))
        prev = NULL;
    while (prev && older(s, prev))
        prev = prev->prev;
    s->state = ENGINE_SEQ_WAITING;
    s->prev = prev;
    s->next = prev ? prev->next : e->waiting;
    *(prev ? &prev->next : &e->waiting) = s;
    *(s->next ? &s->next->prev : &e->waiting_tail) = s;
}

void engine_waiting_remove(engine *e, engine_seq *s) {
    *(s->prev ? &s->prev->next : &e->waiting) = s->next;
    *(s->next ? &s->next->prev : &e->waiting_tail) = s->prev;
    s->prev = s->next = NULL;
}

void engine_choice_start(engine *e, engine_request *r, int choice) {
    if (choice < r->n_choices && r->seqs[choice].state == ENGINE_SEQ_NEW)
        engine_waiting_insert(e, &r->seqs[choice]);
}

static void insert_by_age(engine_seq **list, int *n, engine_seq *s) {
    int i = (*n)++;
    for (; i > 0 && older(s, list[i - 1]); i--)
        list[i] = list[i - 1];
    list[i] = s;
}

// From the end, so that of a cached chain the tail is evicted first.
static void release_blocks(engine *e, engine_seq *s) {
    while (s->n_table > 0) {
        int32_t block = s->table[--s->n_table];
        engine_blocks_unref(&e->blocks, block, e->prefix.at[block].cached);
    }
    s->n_computed = 0;
}

void engine_running_remove(engine *e, engine_seq *s) {
    int i = 0;
    while (e->running[i] != s)
        i++;
    e->n_running--;
    memmove(&e->running[i], &e->running[i + 1], (size_t)(e->n_running - i) * sizeof *e->running);
    release_blocks(e, s);
}

// ---------------------------------------------------------------------------------------------
// Holds

// A step costs the more, and a tick's delay matters the less, the more sequences there are.
static int64_t grid_of(int n_running) {
    static const int64_t fine_ns = 500000;
    enum { PER_FINE = 128, COARSEST = 4 };
    return fine_ns * base_min_int(1 + n_running / PER_FINE, COARSEST);
}

// Sorts a sequence that runs in, or its hold.
static void open_or_hold(engine *e, engine_seq *s) {
    int64_t tick = (s->due_ns + e->grid_ns - 1) / e->grid_ns * e->grid_ns;
    if (s->due_ns <= e->tick_ns)
        insert_by_age(e->open, &e->n_open, s);
    else if (tick < e->due_ns)
        e->due_ns = tick;
}

static void find_open(engine *e) {
    e->now_ns = base_now_ns();
    e->grid_ns = grid_of(e->n_running);
    e->tick_ns = e->now_ns / e->grid_ns * e->grid_ns;
    e->due_ns = INT64_MAX;
    e->n_open = 0;
    for (int i = 0; i < e->n_running; i++)
        open_or_hold(e, e->running[i]);
}

// ---------------------------------------------------------------------------------------------
// Rows and blocks

static int rows_wanted(const engine_seq *s) {
    return s->n_ids - s->n_computed;
}

static int blocks_for(const engine *e, int n_ids) {
    int size = e->limits.options.block_size;
    return n_ids / size + (n_ids % size != 0);
}

// Rows whose next id is a prompt id with a log-probability owed.
static int prompt_outputs(const engine_seq *s, int rows) {
    int first = s->n_computed + 1 > s->owed ? s->n_computed + 1 : s->owed;
    int end = s->n_computed + 1 + rows;
    if (end > s->request->n_prompt)
        end = s->request->n_prompt;
    return end > first ? end - first : 0;
}

static int spare_outputs_used(const engine_seq *s, int rows) {
    int n = prompt_outputs(s, rows) + (rows == rows_wanted(s));
    return n > 1 ? n - 1 : 0;
}

static void plan_rows(engine *e, engine_seq *s, int rows) {
    e->rows_left += s->planned - rows;
    e->spare_outputs += spare_outputs_used(s, s->planned) - spare_outputs_used(s, rows);
    s->planned = rows;
}

static void preempt_last(engine *e) {
    engine_seq *s = e->running[e->n_running - 1];
    plan_rows(e, s, 0);
    engine_running_remove(e, s);
    engine_waiting_insert(e, s);
    e->stats.preemptions++;
    e->preempted = true;
}

// Takes the least recently used free block; what was cached in it is forgotten.
static void append_block(engine *e, engine_seq *s) {
    int32_t block = engine_blocks_take(&e->blocks);
    engine_prefix_drop(&e->prefix, block);
    s->table[s->n_table++] = block;
}

// Gives a sequence blocks for up to `rows` more rows and returns for how many they do. If there is
// not even one and it may preempt, the youngest sequences give way; 0 when it was itself the
// youngest.
static int reserve(engine *e, engine_seq *s, int rows, bool may_preempt) {
    for (;;) {
        int needed = blocks_for(e, s->n_computed + rows);
        while (s->n_table < needed && e->blocks.n_free > 0)
            append_block(e, s);
        int64_t fit = (int64_t)s->n_table * e->limits.options.block_size - s->n_computed;
        if (fit >= rows)
            return rows;
        if (fit > 0 || !may_preempt)
            return (int)fit;
        preempt_last(e);
        if (s->state != ENGINE_SEQ_RUNNING)
            return 0;
    }
}

// ---------------------------------------------------------------------------------------------
// Admission

// Prompt blocks another choice of the request holds: for when there is no prefix cache to ask.
static int shared_blocks(const engine *e, const engine_seq *s, const engine_seq **from) {
    const engine_request *r = s->request;
    int best = 0;
    for (int i = 0; i < r->n_choices; i++) {
        const engine_seq *other = &r->seqs[i];
        if (other->state != ENGINE_SEQ_RUNNING)
            continue;
        int n = other->n_computed < r->n_prompt - 1 ? other->n_computed : r->n_prompt - 1;
        n /= e->limits.options.block_size;
        if (n > best) {
            best = n;
            *from = other;
        }
    }
    return best;
}

// Fills the front of the table with blocks that hold the sequence's ids already, without references
// yet. The last id is always computed, and so is whatever a log-probability is owed for.
static void find_computed(engine *e, engine_seq *s) {
    const engine_request *r = s->request;
    int block_size = e->limits.options.block_size;
    bool owes = s->owed < r->n_prompt;
    int limit = (owes ? s->owed : s->n_ids) - 1;
    s->n_table = 0;
    if (e->limits.options.prefix_caching)
        s->n_table = engine_prefix_find(&e->prefix, s->ids, limit / block_size, r->salt, s->table);
    s->n_hashed = s->n_table;
    s->unhashable = false;
    const engine_seq *from = NULL;
    int shared = owes ? 0 : shared_blocks(e, s, &from);
    if (from && shared > s->n_table) {
        memcpy(s->table, from->table, (size_t)shared * sizeof *s->table);
        s->n_table = shared;
        // Blocks of another's table that the cache does not know: their parents in the cache and in
        // that table may differ, so the chain must not be cached from here on.
        s->unhashable = true;
    }
}

// Only whole blocks can be found, and never the last id.
static void explain_miss(engine *e, const engine_seq *s, int n_found) {
    engine_request *r = s->request;
    if (n_found >= (r->n_prompt - 1) / e->limits.options.block_size)
        return;
    if (s->owed < r->n_prompt)
        r->miss = ENGINE_MISS_NOT_READ;
    else
        r->miss = engine_prefix_explain(&e->prefix, s->ids, r->salt,
                                        n_found > 0 ? s->table[n_found - 1] : ENGINE_NO_BLOCK,
                                        n_found, &r->miss_at);
}

// Counted once a request: what a later choice shares, or a recomputation finds, is no client's hit.
static void count_hits(engine *e, engine_seq *s, int n_found) {
    engine_request *r = s->request;
    int n_hit = n_found * e->limits.options.block_size;
    if (r->n_cached >= 0)
        return;
    r->n_cached = n_hit;
    if (!e->limits.options.prefix_caching)
        return;
    explain_miss(e, s, n_found);
    engine_prefix_use(&e->prefix, s->table, n_found);
    if (s->owed < r->n_prompt)
        return;
    e->stats.prefix_queries += (uint64_t)r->n_prompt;
    e->stats.prefix_hits += (uint64_t)n_hit;
}

// Blocks that the known ids of running sequences still lack. Admission leaves them alone, so that
// prompts already begun are not preempted by prompts begun later.
static int64_t promised_blocks(const engine *e) {
    int64_t n = 0;
    for (int i = 0; i < e->n_running; i++) {
        int lacking = blocks_for(e, e->running[i]->n_ids) - e->running[i]->n_table;
        n += lacking > 0 ? lacking : 0;
    }
    return n;
}

static void fill_choice(engine_seq *s) {
    const engine_request *r = s->request;
    if (s->n_ids > 0)
        return;
    memcpy(s->ids, r->seqs[0].ids, (size_t)r->n_prompt * sizeof *s->ids);
    s->n_ids = r->n_prompt;
}

// Moves the first waiting sequence to the running ones if all its ids fit into free blocks that
// are not promised.
static bool admit(engine *e, int64_t *promised) {
    engine_seq *s = e->waiting;
    fill_choice(s);
    find_computed(e, s);
    int n_found = s->n_table, n_revived = 0;
    for (int i = 0; i < n_found; i++)
        n_revived += e->blocks.at[s->table[i]].refs == 0;
    int n_new = blocks_for(e, s->n_ids) - n_found;
    if (e->blocks.n_free - n_revived - *promised < n_new) {
        s->n_table = 0;
        return false;
    }
    for (int i = 0; i < n_found; i++)
        engine_blocks_ref(&e->blocks, s->table[i]);
    s->n_computed = n_found * e->limits.options.block_size;
    *promised += n_new;
    count_hits(e, s, n_found);
    engine_waiting_remove(e, s);
    insert_by_age(e->running, &e->n_running, s);
    s->state = ENGINE_SEQ_RUNNING;
    open_or_hold(e, s);
    if (s->admitted_ns == 0)
        s->admitted_ns = base_now_ns();
    if (s->request->prompt_done)
        engine_choice_start(e, s->request, s->choice + 1);
    return true;
}

// ---------------------------------------------------------------------------------------------
// The passes

// Rows a prompt may get when `rows` are free for it.
static int chunk(const engine *e, const engine_seq *s, int rows) {
    rows = base_min_int(rows, rows_wanted(s));
    if (s->owed >= s->request->n_prompt)
        return rows;
    int silent = s->owed - 1 - s->n_computed; // computed before, their log-probabilities are out
    return base_min_int(rows, (silent > 0 ? silent : 0) + 1 + e->spare_outputs);
}

// Half of what is left while others wait, but no crumbs.
static int share(const engine *e, bool others) {
    int least = e->limits.options.max_num_batched_tokens / 16;
    int half = e->rows_left - e->rows_left / 2;
    if (!others || e->rows_left <= least)
        return e->rows_left;
    return half > least ? half : least;
}

static bool more_to_admit(const engine *e) {
    return e->waiting && e->n_running < e->limits.options.max_num_seqs;
}

// Who is preempted stays among the open ones, and is passed over.
static bool wants_rows(const engine_seq *s, bool prompt) {
    return s->state == ENGINE_SEQ_RUNNING && (rows_wanted(s) > 1) == prompt;
}

static void plan_decodes(engine *e) {
    for (int i = 0; i < e->n_open; i++)
        if (wants_rows(e->open[i], false))
            plan_rows(e, e->open[i], reserve(e, e->open[i], 1, true));
}

static bool prompt_after(const engine *e, int i) {
    while (++i < e->n_open)
        if (wants_rows(e->open[i], true))
            return true;
    return false;
}

static void plan_prompts(engine *e) {
    for (int i = 0; i < e->n_open && e->rows_left > 0; i++) {
        engine_seq *s = e->open[i];
        if (!wants_rows(s, true))
            continue;
        bool others = prompt_after(e, i) || more_to_admit(e);
        int rows = reserve(e, s, chunk(e, s, share(e, others)), true);
        plan_rows(e, s, rows);
    }
}

static void plan_admissions(engine *e) {
    if (e->preempted || !more_to_admit(e))
        return;
    int64_t promised = promised_blocks(e);
    while (e->rows_left > 0 && more_to_admit(e)) {
        engine_seq *s = e->waiting;
        if (!admit(e, &promised))
            return;
        if (s->due_ns > e->tick_ns)
            continue;
        int n_table = s->n_table;
        plan_rows(e, s, reserve(e, s, chunk(e, s, share(e, more_to_admit(e))), false));
        promised -= s->n_table - n_table;
    }
}

static void plan_leftovers(engine *e) {
    for (int i = 0; i < e->n_open && e->rows_left > 0; i++) {
        engine_seq *s = e->open[i];
        if (s->state != ENGINE_SEQ_RUNNING || s->planned == rows_wanted(s))
            continue;
        plan_rows(e, s, 0);
        plan_rows(e, s,
                  reserve(e, s, chunk(e, s, base_min_int(e->rows_left, rows_wanted(s))), false));
    }
}

// ---------------------------------------------------------------------------------------------
// The plan

static void emit_outputs(engine *e, engine_seq *s, int first_row) {
    const engine_request *r = s->request;
    int n_prompt_outputs = prompt_outputs(s, s->planned);
    int position = s->owed > s->n_computed + 1 ? s->owed : s->n_computed + 1;
    for (int i = 0; i < n_prompt_outputs; i++, position++)
        e->outputs[e->plan.n_outputs++] =
            (backend_output){.row = first_row + position - 1 - s->n_computed,
                             .target = s->ids[position],
                             .n_logprobs = r->n_prompt_logprobs};
    if (s->planned < rows_wanted(s))
        return;
    engine_seq_prepare(s, &e->limits.options);
    e->outputs[e->plan.n_outputs++] = (backend_output){
        .row = first_row + s->planned - 1, .sample = &s->sampling, .n_logprobs = r->n_logprobs};
}

static void emit(engine *e, engine_seq *s) {
    backend_plan *p = &e->plan;
    int first_row = p->n_rows;
    memcpy(&e->row_ids[first_row], &s->ids[s->n_computed], (size_t)s->planned * sizeof *e->row_ids);
    e->planned[p->n_seqs] = s;
    e->plan_seqs[p->n_seqs++] = (backend_seq){.first_row = first_row,
                                              .n_rows = s->planned,
                                              .position = s->n_computed,
                                              .block_table = s->table,
                                              .n_blocks = s->n_table};
    p->n_rows += s->planned;
    emit_outputs(e, s, first_row);
}

void engine_plan_build(engine *e) {
    const engine_options *o = &e->limits.options;
    e->rows_left = o->max_num_batched_tokens;
    e->spare_outputs = o->max_outputs - o->max_num_seqs;
    e->preempted = false;
    find_open(e);
    plan_decodes(e);
    plan_prompts(e);
    plan_admissions(e);
    plan_leftovers(e);
    e->plan = (backend_plan){.ids = e->row_ids, .seqs = e->plan_seqs, .outputs = e->outputs};
    for (int prompts = 0; prompts < 2; prompts++)
        for (int i = 0; i < e->n_open; i++)
            if (e->open[i]->planned > 0 && (rows_wanted(e->open[i]) > 1) == prompts)
                emit(e, e->open[i]);
    for (int i = 0; i < e->n_open; i++)
        e->open[i]->planned = 0;
}
