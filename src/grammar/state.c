// The automaton of one output, on ids: thought, calls, answer.
//
// What may come next is found in one place, `allowed_next`, of which both masks and `advance` are
// made, so that they agree. A place in the output is a small struct of numbers; the last of them
// are kept for going back. Matchers stand in slots, numbered in the order in which they began, and
// live as long as a kept place lies in their slot.
#include "grammar/constraint.h"

#include <stdio.h>
#include <string.h>

typedef enum {
    PHASE_OPENING, // <think> has to come
    PHASE_THOUGHT,
    PHASE_TEXT,       // a free answer
    PHASE_LANGUAGE,   // an answer of some language
    PHASE_TO_SECTION, // calls have to come
    PHASE_SECTION,    // between the calls of a section
    PHASE_NAME,
    PHASE_ARGUMENTS,
    PHASE_AFTER_BARE,  // after a call outside sections
    PHASE_AFTER_TOOLS, // after a section, where no free answer can follow
    PHASE_ENDED,
    PHASE_FREE, // nothing is constrained any more
} phase;

typedef struct place {
    phase phase;
    bool in_section, section_has_call;
    uint8_t rest, rest_low, rest_high; // bytes that a thought's last character lacks, and the range
                                       // of the first of them
    int name_len;                      // bytes of the slot's name so far
    int tool;                          // of ARGUMENTS
    int n_calls;                       // ended so far
    uint32_t slot;                     // number of the matcher; 0: none began yet
    uint32_t n_pushed;                 // onto it
    int64_t n_thought;                 // ids of the thought
} place;

enum {
    N_SLOTS = GRAMMAR_MAX_ROLLBACK, // more than begin within that many ids: each takes two at least
    NAME_BYTES = 320,               // "functions.", a name, ":" and an index
};

typedef struct slot {
    grammar_matcher *matcher; // made when it is first needed
    char *name;               // [NAME_BYTES] of NAME
    uint32_t n_pushed;
} slot;

typedef struct slots {
    uint32_t first; // number of the oldest that is kept
    slot at[N_SLOTS];
} slots;

struct grammar_state {
    grammar *grammar;
    place now;
    place log[GRAMMAR_MAX_ROLLBACK]; // a ring of the places before the last ids
    uint32_t n_advanced, n_logged;
    slots *slots; // apart, because looking at a state may make its matcher
};

// ---------------------------------------------------------------------------------------------
// Slots

static slot *slot_number(slots *all, uint32_t number) {
    return &all->at[number % N_SLOTS];
}

static void empty_slot(slots *all, uint32_t number) {
    slot *one = slot_number(all, number);
    grammar_matcher_free(one->matcher);
    base_free(one->name);
    *one = (slot){0};
}

static void begin_slot(grammar_state *s, phase next) {
    s->now.phase = next;
    s->now.slot++;
    s->now.n_pushed = 0;
    s->now.name_len = 0;
}

static grammar_cached *language_here(const grammar_state *s) {
    const grammar *g = s->grammar;
    switch (s->now.phase) {
    case PHASE_LANGUAGE:
        return g->answer;
    case PHASE_NAME:
        return g->names;
    case PHASE_ARGUMENTS:
        return g->tools[s->now.tool].arguments;
    default:
        return NULL;
    }
}

// The index of the call that comes next, in decimal.
static int index_text(const grammar_state *s, char out[24]) {
    return snprintf(out, 24, "%lld", (long long)s->grammar->first_index + s->now.n_calls);
}

// States may be made in any thread, matchers only in the one that uses states.
static grammar_matcher *matcher_here(const grammar_state *s) {
    slot *one = slot_number(s->slots, s->now.slot);
    if (!one->matcher) {
        char index[24];
        int len = s->now.phase == PHASE_NAME ? index_text(s, index) : 0;
        one->matcher = grammar_matcher_create(language_here(s)->language, index, (size_t)len);
    }
    return one->matcher;
}

static bool may_end(const grammar_state *s) {
    return grammar_matcher_may_end(matcher_here(s));
}

// ---------------------------------------------------------------------------------------------
// What may come next

typedef enum { OTHERS_NONE, OTHERS_ALL, OTHERS_MATCHER, OTHERS_REST } others;

typedef struct allowed {
    others others;    // ids that are neither markers nor ends
    unsigned markers; // a bit for each kind
    bool ends;
} allowed;

#define BIT(kind) (1u << (kind))
#define ALL_MARKERS (BIT(GRAMMAR_N_MARKERS) - 1)
#define ANY_CALL (BIT(GRAMMAR_SECTION_BEGIN) | BIT(GRAMMAR_CALL_BEGIN))

static bool may_call(const grammar_state *s) {
    return !s->grammar->one_call || s->now.n_calls == 0;
}

static allowed allowed_in_thought(const grammar_state *s) {
    static const unsigned tool_markers[] = {
        [GRAMMAR_TOOLS_NONE] = 0,
        [GRAMMAR_TOOLS_FREE] = ALL_MARKERS,
        [GRAMMAR_TOOLS_AUTO] = ANY_CALL,
        [GRAMMAR_TOOLS_REQUIRED] = BIT(GRAMMAR_SECTION_BEGIN),
    };
    const grammar *g = s->grammar;
    if (g->thinking_budget >= 0 && s->now.n_thought >= g->thinking_budget) {
        if (s->now.rest > 0) // never in the middle of a character
            return (allowed){.others = OTHERS_REST};
        return (allowed){.markers = BIT(GRAMMAR_THINK_END)};
    }
    return (allowed){.others = OTHERS_ALL,
                     .markers = BIT(GRAMMAR_THINK_END) | tool_markers[g->tool_choice],
                     .ends = !g->answer && g->tool_choice != GRAMMAR_TOOLS_REQUIRED};
}

// A call may stand in the place of the answer, not after its beginning.
static allowed allowed_in_language(const grammar_state *s) {
    grammar_tool_choice choice = s->grammar->tool_choice;
    bool call =
        s->now.n_pushed == 0 && (choice == GRAMMAR_TOOLS_AUTO || choice == GRAMMAR_TOOLS_FREE);
    return (allowed){OTHERS_MATCHER, call ? ANY_CALL : 0, may_end(s)};
}

static allowed allowed_next(const grammar_state *s) {
    const grammar *g = s->grammar;
    bool more = may_call(s), tools = g->tool_choice == GRAMMAR_TOOLS_AUTO;
    switch (s->now.phase) {
    case PHASE_OPENING:
        return (allowed){.markers = BIT(GRAMMAR_THINK)};
    case PHASE_THOUGHT:
        return allowed_in_thought(s);
    case PHASE_TEXT:
        return (allowed){OTHERS_ALL, tools && more ? ANY_CALL : 0, true};
    case PHASE_LANGUAGE:
        return allowed_in_language(s);
    case PHASE_TO_SECTION:
        return (allowed){.markers = BIT(GRAMMAR_SECTION_BEGIN)};
    case PHASE_SECTION:
        return (allowed){.markers = (more ? BIT(GRAMMAR_CALL_BEGIN) : 0) |
                                    (s->now.section_has_call ? BIT(GRAMMAR_SECTION_END) : 0)};
    case PHASE_NAME:
        return (allowed){OTHERS_MATCHER, may_end(s) ? BIT(GRAMMAR_CALL_ARGUMENT) : 0, false};
    case PHASE_ARGUMENTS:
        return (allowed){OTHERS_MATCHER, may_end(s) ? BIT(GRAMMAR_CALL_END) : 0, false};
    case PHASE_AFTER_BARE:
        return (allowed){g->answer ? OTHERS_NONE : OTHERS_ALL, more ? BIT(GRAMMAR_CALL_BEGIN) : 0,
                         true};
    case PHASE_AFTER_TOOLS:
        return (allowed){OTHERS_NONE, tools && more ? BIT(GRAMMAR_SECTION_BEGIN) : 0, true};
    case PHASE_ENDED:
        return (allowed){.ends = true};
    case PHASE_FREE:
        break;
    }
    return (allowed){OTHERS_ALL, ALL_MARKERS, true};
}

static bool constrains(allowed a) {
    return a.others != OTHERS_ALL || a.markers != ALL_MARKERS || !a.ends;
}

bool grammar_state_must_end(const grammar_state *s) {
    allowed a = allowed_next(s);
    if (!a.ends || a.markers)
        return false;
    return a.others == OTHERS_NONE ||
           (a.others == OTHERS_MATCHER && grammar_matcher_must_end(matcher_here(s)));
}

// ---------------------------------------------------------------------------------------------
// Masks

static void put_bit(uint32_t *mask, int n_ids, int32_t id, bool on) {
    if (id < 0 || id >= n_ids)
        return;
    uint32_t bit = 1u << (id % 32);
    mask[id / 32] = on ? mask[id / 32] | bit : mask[id / 32] & ~bit;
}

static void put_all(uint32_t *mask, int n) {
    memset(mask, 0xff, (size_t)(n / 32) * sizeof *mask);
    if (n % 32)
        mask[n / 32] = (1u << (n % 32)) - 1;
}

static void put_rests(const grammar_state *s, uint32_t *mask, int n_ids) {
    const grammar_vocab *v = s->grammar->vocab;
    for (int i = 0; i < v->n_rests; i++) {
        const grammar_rest *r = &v->rests[i];
        if (r->len <= s->now.rest && r->first >= s->now.rest_low && r->first <= s->now.rest_high)
            put_bit(mask, n_ids, r->id, true);
    }
}

bool grammar_state_mask(grammar_state *s, uint32_t *mask, int n_ids) {
    grammar_vocab *v = s->grammar->vocab;
    allowed a = allowed_next(s);
    if (!constrains(a))
        return false;
    if (a.others == OTHERS_MATCHER) {
        grammar_matcher_mask(matcher_here(s), mask, n_ids);
        grammar_cache_count(&v->cache, language_here(s));
    } else {
        memset(mask, 0, ((size_t)n_ids + 31) / 32 * sizeof *mask);
    }
    if (a.others == OTHERS_ALL)
        put_all(mask, base_min_int(n_ids, v->size));
    if (a.others == OTHERS_REST)
        put_rests(s, mask, n_ids);
    for (int i = 0; i < v->n_ends; i++)
        put_bit(mask, n_ids, v->ends[i], a.ends);
    for (int i = 0; i < GRAMMAR_N_MARKERS; i++)
        put_bit(mask, n_ids, v->markers[i], a.markers & BIT(i));
    return true;
}

// ---------------------------------------------------------------------------------------------
// Taking an id

// Follows the characters of a thought; a byte that cannot belong to one begins anew.
static void follow_characters(place *p, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (p->rest > 0 && c >= p->rest_low && c <= p->rest_high)
            p->rest--;
        else
            p->rest = c < 0xc2 || c > 0xf4 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        bool lead = c >= 0xc2;
        p->rest_low = !lead ? 0x80 : c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        p->rest_high = !lead ? 0xbf : c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }
}

static void count_thought(grammar_state *s, int32_t id) {
    size_t len;
    const char *bytes = token_bytes(s->grammar->vocab->tokens, id, &len);
    follow_characters(&s->now, bytes, len);
    if (s->now.n_thought < INT64_MAX)
        s->now.n_thought++;
}

static bool is_rest_here(const grammar_state *s, int32_t id) {
    const grammar_vocab *v = s->grammar->vocab;
    for (int i = 0; i < v->n_rests; i++) {
        const grammar_rest *r = &v->rests[i];
        if (r->id == id)
            return r->len <= s->now.rest && r->first >= s->now.rest_low &&
                   r->first <= s->now.rest_high;
    }
    return false;
}

static bool push(grammar_state *s, int32_t id) {
    const token_vocab *tokens = s->grammar->vocab->tokens;
    slot *one = slot_number(s->slots, s->now.slot);
    size_t len;
    const char *bytes = token_bytes(tokens, id, &len);
    if (len == 0 || token_is_control(tokens, id) ||
        !grammar_matcher_push(matcher_here(s), bytes, len))
        return false;
    one->n_pushed++;
    s->now.n_pushed++;
    if (s->now.phase != PHASE_NAME)
        return true;
    if (!one->name)
        one->name = base_alloc(NAME_BYTES);
    memcpy(one->name + s->now.name_len, bytes, len); // no longer than the longest name
    s->now.name_len += (int)len;
    return true;
}

static void begin_answer(grammar_state *s) {
    const grammar *g = s->grammar;
    if (g->tool_choice == GRAMMAR_TOOLS_REQUIRED)
        s->now.phase = PHASE_TO_SECTION;
    else if (g->answer)
        begin_slot(s, PHASE_LANGUAGE);
    else
        s->now.phase = g->tool_choice == GRAMMAR_TOOLS_FREE ? PHASE_FREE : PHASE_TEXT;
}

// "functions.NAME:INDEX": the index is known, so a name may itself end like one.
static void begin_arguments(grammar_state *s) {
    static const size_t before = sizeof "functions." - 1;
    const slot *one = slot_number(s->slots, s->now.slot);
    char index[24];
    size_t after = (size_t)index_text(s, index) + 1;
    s->now.tool =
        grammar_find_tool(s->grammar, one->name + before, (size_t)s->now.name_len - before - after);
    begin_slot(s, PHASE_ARGUMENTS);
}

static void end_call(grammar_state *s) {
    s->now.n_calls++;
    s->now.section_has_call = true;
    s->now.phase = s->now.in_section ? PHASE_SECTION : PHASE_AFTER_BARE;
}

static void end_section(grammar_state *s) {
    const grammar *g = s->grammar;
    bool text = !g->answer && g->tool_choice == GRAMMAR_TOOLS_AUTO;
    s->now.in_section = false;
    s->now.phase = text ? PHASE_TEXT : PHASE_AFTER_TOOLS;
}

static void take_other(grammar_state *s, int32_t id) {
    if (s->now.phase == PHASE_THOUGHT)
        count_thought(s, id);
    else if (s->now.phase == PHASE_AFTER_BARE)
        s->now.phase = PHASE_TEXT;
}

// Where calls are free, the markers within them are ordinary, and so is all behind the first one.
static void take_free(grammar_state *s, grammar_id_kind kind, int32_t id) {
    if (kind == GRAMMAR_SECTION_BEGIN || kind == GRAMMAR_CALL_BEGIN)
        s->now.phase = PHASE_FREE;
    else
        take_other(s, id);
}

static void take(grammar_state *s, grammar_id_kind kind, int32_t id) {
    bool free_calls = s->grammar->tool_choice == GRAMMAR_TOOLS_FREE;
    if (kind == GRAMMAR_END) {
        s->now.phase = PHASE_ENDED;
    } else if (kind == GRAMMAR_THINK && s->now.phase == PHASE_OPENING) {
        s->now.phase = PHASE_THOUGHT;
    } else if (kind == GRAMMAR_THINK_END) {
        begin_answer(s);
    } else if (free_calls) {
        take_free(s, kind, id);
    } else if (kind == GRAMMAR_SECTION_BEGIN) {
        s->now.phase = PHASE_SECTION;
        s->now.in_section = true;
        s->now.section_has_call = false;
    } else if (kind == GRAMMAR_CALL_BEGIN) {
        begin_slot(s, PHASE_NAME);
    } else if (kind == GRAMMAR_CALL_ARGUMENT) {
        begin_arguments(s);
    } else if (kind == GRAMMAR_CALL_END) {
        end_call(s);
    } else if (kind == GRAMMAR_SECTION_END) {
        end_section(s);
    } else {
        take_other(s, id);
    }
}

static bool is_allowed(grammar_state *s, grammar_id_kind kind, int32_t id) {
    allowed a = allowed_next(s);
    if (kind == GRAMMAR_INVALID)
        return false;
    if (kind < GRAMMAR_N_MARKERS)
        return a.markers & BIT(kind);
    if (kind == GRAMMAR_END)
        return a.ends;
    return a.others == OTHERS_ALL || (a.others == OTHERS_MATCHER && push(s, id)) ||
           (a.others == OTHERS_REST && is_rest_here(s, id));
}

// Keeps the place before the next id, and forgets matchers that no kept place needs.
static void keep_place(grammar_state *s, const place *before) {
    s->log[s->n_advanced++ % GRAMMAR_MAX_ROLLBACK] = *before;
    if (s->n_logged < GRAMMAR_MAX_ROLLBACK)
        s->n_logged++;
    const place *oldest = &s->log[(s->n_advanced - s->n_logged) % GRAMMAR_MAX_ROLLBACK];
    for (; s->slots->first < oldest->slot; s->slots->first++)
        empty_slot(s->slots, s->slots->first);
}

bool grammar_state_advance(grammar_state *s, int32_t id) {
    place before = s->now;
    if (before.phase == PHASE_FREE) {
        keep_place(s, &before);
        return true;
    }
    grammar_id_kind kind = grammar_kind_of(s->grammar->vocab, id);
    bool good = is_allowed(s, kind, id);
    if (good)
        take(s, kind, id);
    else
        s->now.phase = PHASE_FREE;
    keep_place(s, &before);
    return good;
}

void grammar_state_rollback(grammar_state *s, int n) {
    n = base_min_int(n, (int)s->n_logged);
    if (n <= 0)
        return;
    place target = s->log[(s->n_advanced - (uint32_t)n) % GRAMMAR_MAX_ROLLBACK];
    for (; s->now.slot > target.slot; s->now.slot--)
        empty_slot(s->slots, s->now.slot);
    slot *one = slot_number(s->slots, target.slot);
    if (one->matcher)
        grammar_matcher_rollback(one->matcher, (int)(one->n_pushed - target.n_pushed));
    one->n_pushed = target.n_pushed;
    s->now = target;
    s->n_advanced -= (uint32_t)n;
    s->n_logged -= (uint32_t)n;
}

// ---------------------------------------------------------------------------------------------

grammar_state *grammar_state_create(grammar *g) {
    grammar_state *s = base_try_calloc(1, sizeof *s);
    slots *all = base_try_calloc(1, sizeof *all);
    if (!s || !all) {
        base_free(s);
        base_free(all);
        return NULL;
    }
    s->grammar = grammar_ref(g);
    s->slots = all;
    all->first = 1;
    if (g->thought == GRAMMAR_THOUGHT_NONE)
        begin_answer(s);
    else
        s->now.phase = g->thought == GRAMMAR_THOUGHT_OPEN ? PHASE_THOUGHT : PHASE_OPENING;
    return s;
}

void grammar_state_free(grammar_state *s) {
    if (!s)
        return;
    for (uint32_t i = 0; i < N_SLOTS; i++)
        empty_slot(s->slots, i);
    grammar_unref(s->grammar);
    base_free(s->slots);
    base_free(s);
}
