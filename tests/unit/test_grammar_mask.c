// Masks against brute force, over random programs and walks: an id is in the mask if and only if
// its bytes can be pushed. What walks end with is read by a plain reader and by jansson; from every
// place there is a way to an end; rolling back is as never having gone on.
#include "grammar/grammar.h"
#include "match_fixture.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct fixture {
    token_vocab *vocabs[2];
    grammar_trie *tries[2];
} fixture;

static fixture shared;

static int setup(void **state) {
    (void)state;
    shared.vocabs[0] = match_nasty_vocab();
    shared.vocabs[1] = fixture_chat_vocab(NULL);
    for (int i = 0; i < 2; i++)
        shared.tries[i] = grammar_trie_create(shared.vocabs[i]);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        grammar_trie_free(shared.tries[i]);
        token_vocab_free(shared.vocabs[i]);
    }
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Random programs

static const char *const keys[] = {"a", "ab", "abc", "b", "x-1", "", "\\\"q", "\xc3\xa9"};
enum { N_KEYS = sizeof keys / sizeof *keys };

// Names that objects may restrict other keys to; of the finite ones all texts.
typedef struct names {
    const char *pattern;
    const char *texts[8];
} names;
static const names name_kinds[] = {
    {NULL, {NULL}},
    {"x-[a-z0-9]+", {NULL}},
    {"([a-z_]|\\\\n)*", {NULL}},
    {"(ab|abc|b|c|x-1)", {"ab", "abc", "b", "c", "x-1"}},
    {"[ab]{1,2}", {"a", "b", "aa", "ab", "ba", "bb"}},
    {"[a-z_]{1,40}", {NULL}},
    {"[a-z]*_a", {NULL}},
    {"([^\"\\\\\\x00-\\x1f]|\\\\n){0,24}", {NULL}},
    {"[a-c]{0,14}", {NULL}},
};

static const char *const scalars[] = {
    "-?(0|[1-9][0-9]*)",
    "true|false|null",
    "-?(0|[1-9][0-9]{0,2})(\\.[0-9]+)?",
    "\"(a|ab|abc|x-1|\\\\\"q)\"",
    "\"[a-z]{2,5}\"",
    "\"[^\"\\\\\\x00-\\x1f]*\"",
    "\"a[^\"\\\\\\x00-\\x1f]*b\"",
    "\"[^\"\\\\\\x00-\\x1f]{0,30}\"",
    "\"([^\"\\\\\\x00-\\x1f]|\\\\[nt\"])*\"",
    "\"([a-z]|\\\\u0000)*\"",
    "1|12|121|\"1\"|\\[1,2\\]",
};
enum { N_SCALARS = sizeof scalars / sizeof *scalars };

typedef struct maker {
    grammar_program *p;
    uint64_t seed;
    int32_t done[64]; // nodes with a finite instance
    int n_done;
} maker;

static int32_t any_done(maker *m) {
    return m->done[match_random(&m->seed, (uint32_t)m->n_done)];
}

static bool is_in(const char *text, const char *const *at, int n) {
    for (int i = 0; i < n; i++) {
        if (at[i] && strcmp(at[i], text) == 0)
            return true;
    }
    return false;
}

// How many different keys an object can have at most; a large number: no limit.
static int64_t pool_of(const grammar_node *o, const names *n) {
    int64_t pool = 0, others = 0;
    const char *declared[N_KEYS] = {NULL};
    for (int i = 0; i < o->u.object.n; i++) {
        declared[i] = o->u.object.properties[i].key;
        pool += o->u.object.properties[i].node >= 0;
    }
    if (o->u.object.additional < 0)
        return pool;
    if (!n->texts[0])
        return 1000;
    for (int i = 0; i < 8 && n->texts[i]; i++)
        others += !is_in(n->texts[i], declared, o->u.object.n);
    return pool + others;
}

// `later` may be used where it is not needed for an instance: so programs are recursive.
static int32_t make_object(maker *m, int32_t later) {
    int32_t id = match_object(m->p, 0, -1);
    const names *kind = &name_kinds[match_random(&m->seed, sizeof name_kinds / sizeof *name_kinds)];
    for (int i = 0; i < N_KEYS; i++) {
        uint32_t what = match_random(&m->seed, 6);
        if (what == 0)
            match_property(m->p, id, keys[i], any_done(m), true);
        else if (what == 1)
            match_property(m->p, id, keys[i], match_random(&m->seed, 3) ? any_done(m) : later,
                           false);
        else if (what == 2 && match_random(&m->seed, 3) == 0)
            match_property(m->p, id, keys[i], GRAMMAR_NO_NODE, false);
    }
    if (match_random(&m->seed, 2)) {
        m->p->nodes[id].u.object.additional = any_done(m);
        if (kind->pattern)
            m->p->nodes[id].u.object.names = match_regex(m->p, kind->pattern);
    }
    grammar_node *o = &m->p->nodes[id];
    int64_t required = o->u.object.n_required, pool = pool_of(o, kind);
    // `later` has no instance yet: count it out, so that there always is one.
    for (int i = 0; i < o->u.object.n; i++)
        pool -= o->u.object.properties[i].node == later;
    if (match_random(&m->seed, 2) && pool > 0)
        o->u.object.min = match_random(&m->seed, (uint32_t)(pool > 6 ? 6 : pool) + 1);
    int64_t least = o->u.object.min > required ? o->u.object.min : required;
    // A walk that may choose any key would hardly ever meet the ones that are required.
    if (match_random(&m->seed, 2) || (required > 0 && o->u.object.additional >= 0))
        o->u.object.max = least + match_random(&m->seed, 3);
    return id;
}

static int32_t make_array(maker *m, int32_t later) {
    int32_t prefix[3], items = GRAMMAR_NO_NODE;
    int n = (int)match_random(&m->seed, 4) % 3;
    for (int i = 0; i < n; i++)
        prefix[i] = any_done(m);
    int64_t min = match_random(&m->seed, (uint32_t)n + 1), max = -1;
    if (match_random(&m->seed, 4)) {
        items = match_random(&m->seed, 3) || min > n ? any_done(m) : later;
        if (items != later && match_random(&m->seed, 3) == 0)
            min = match_random(&m->seed, 30);
    }
    if (match_random(&m->seed, 2))
        max = min + match_random(&m->seed, 4);
    return match_array(m->p, prefix, n, items, min, max);
}

static int32_t make_one(maker *m, int32_t later) {
    int64_t min;
    int32_t at[4];
    switch (match_random(&m->seed, 6)) {
    case 0:
        return match_scalar(m->p, scalars[match_random(&m->seed, N_SCALARS)]);
    case 1:
        min = match_random(&m->seed, 2) ? 0 : match_random(&m->seed, 30);
        return match_string(m->p, min,
                            match_random(&m->seed, 2) ? min + match_random(&m->seed, 30) : -1);
    case 2:
        for (int i = 0; i < 4; i++)
            at[i] = any_done(m);
        return match_union(m->p, at, 1 + (int)match_random(&m->seed, 4));
    case 3:
        return make_array(m, later);
    default:
        return make_object(m, later);
    }
}

static grammar_program *random_program(uint64_t seed) {
    static const int spaces[] = {0, 1, 3, 8};
    maker m = {.p = match_program(spaces[seed % 4]), .seed = seed * 77 + 5};
    m.p->whitespace_of_level = (int)(seed / 4 % 3);
    m.done[m.n_done++] = match_scalar(m.p, scalars[match_random(&m.seed, N_SCALARS)]);
    m.done[m.n_done++] = match_string(m.p, 0, -1);
    // The last node is an object that everything may refer to where it need not.
    int n = 3 + (int)match_random(&m.seed, 8);
    int32_t later = match_array(m.p, NULL, 0, m.done[0], 0, -1);
    for (int i = 0; i < n; i++)
        m.done[m.n_done++] = make_one(&m, later);
    int32_t root = make_one(&m, later);
    m.p->nodes[later].u.array.items = root;
    m.p->root = root;
    return m.p;
}

// ---------------------------------------------------------------------------------------------
// Walks

enum { MAX_TEXT = 400 };

typedef struct walk {
    const token_vocab *vocab;
    grammar_language *language;
    grammar_matcher *matcher, *probe; // `probe` goes the same way, and ways that lead nowhere
    const grammar_program *p;
    uint64_t seed;
    int n_ids, n_words;
    uint32_t *mask, *want;
    base_str text;
    size_t lens[8192]; // of the tokens pushed
    int n;
} walk;

static bool bit(const uint32_t *mask, int32_t id) {
    return mask[id / 32] >> (id % 32) & 1;
}

static void start_walk(walk *w, int vocab, grammar_program *p, grammar_language *l, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->vocab = shared.vocabs[vocab];
    w->language = l;
    w->p = p;
    w->seed = seed;
    w->matcher = grammar_matcher_create(l, "", 0);
    w->probe = grammar_matcher_create(l, "", 0);
    w->n_ids = token_vocab_size(w->vocab);
    w->n_words = (w->n_ids + 31) / 32;
    w->mask = base_calloc((size_t)w->n_words, sizeof *w->mask);
    w->want = base_calloc((size_t)w->n_words, sizeof *w->want);
}

static void end_walk(walk *w) {
    grammar_matcher_free(w->matcher);
    grammar_matcher_free(w->probe);
    base_free(w->mask);
    base_free(w->want);
    base_str_free(&w->text);
}

static void fail_walk(const walk *w, const char *what, int32_t id) {
    size_t len = 0;
    const char *bytes = token_bytes(w->vocab, id, &len);
    fail_msg("%s after '%.*s' with '%.*s'", what, (int)w->text.len,
             w->text.data ? w->text.data : "", (int)len, bytes ? bytes : "");
}

// The mask is what can be pushed; some id or the end can come.
static void check_mask(walk *w) {
    int n = 0;
    grammar_matcher_mask(w->matcher, w->mask, w->n_ids);
    for (int32_t id = 0; id < w->n_ids; id++) {
        size_t len;
        const char *bytes = token_bytes(w->vocab, id, &len);
        bool can = !token_is_control(w->vocab, id) && grammar_matcher_push(w->probe, bytes, len);
        if (can)
            grammar_matcher_rollback(w->probe, 1);
        if (can != bit(w->mask, id))
            fail_walk(w, can ? "not in the mask" : "in the mask", id);
        n += can;
    }
    if (n == 0 && !grammar_matcher_may_end(w->matcher))
        fail_walk(w, "no way on", -1);
    if (grammar_matcher_must_end(w->matcher) != (n == 0))
        fail_walk(w, "must_end is wrong", -1);
}

static void push(walk *w, int32_t id) {
    size_t len;
    const char *bytes = token_bytes(w->vocab, id, &len);
    if (!grammar_matcher_push(w->matcher, bytes, len) ||
        !grammar_matcher_push(w->probe, bytes, len))
        fail_walk(w, "refused", id);
    base_str_add(&w->text, bytes, len);
    w->lens[w->n++] = len;
}

static bool in_string(const walk *w) {
    bool in = false;
    for (size_t i = 0; i < w->text.len; i++) {
        if (in && w->text.data[i] == '\\')
            i++;
        else if (w->text.data[i] == '"')
            in = !in;
    }
    return in;
}

// An allowed id: the greater `slack`, the rather one that brings the end nearer.
static int32_t choose(walk *w, uint32_t slack) {
    const char *order = in_string(w) ? "\"" : "}],:\"1t";
    for (int i = 0; order[i] && match_random(&w->seed, slack + 1) < slack; i++) {
        for (int32_t id = 0; id < 256; id++) {
            size_t len;
            const char *bytes = token_bytes(w->vocab, id, &len);
            if (bytes && len == 1 && bytes[0] == order[i] && bit(w->mask, id) &&
                !token_is_control(w->vocab, id))
                return id;
        }
    }
    int32_t start = (int32_t)match_random(&w->seed, (uint32_t)w->n_ids), id = start;
    do {
        if (bit(w->mask, id))
            return id;
        id = (id + 1) % w->n_ids;
    } while (id != start);
    return -1;
}

static void check_text(walk *w) {
    json_error_t error;
    json_t *value = json_loadb(w->text.data, w->text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value && !strstr(error.text, "too big")) {
        print_message("%s\n", error.text);
        fail_walk(w, "no JSON", -1);
    }
    json_decref(value);
    if (w->text.len < MAX_TEXT && !match_reads(w->p, w->text.data, (int)w->text.len))
        fail_walk(w, "not in the language", -1);
}

static int n_finished, n_endless;

// Goes on to an end without looking at every id. There always is a way on; that it is a long one
// (items of items of items) happens.
static void finish(walk *w) {
    int steps = 0;
    for (; steps < 3000 && !grammar_matcher_may_end(w->matcher); steps++) {
        grammar_matcher_mask(w->matcher, w->mask, w->n_ids);
        int32_t id = choose(w, 1 << 20);
        if (id < 0)
            fail_walk(w, "stuck", -1);
        push(w, id);
    }
    n_finished += steps < 3000;
    n_endless += steps == 3000;
    if (steps < 3000)
        check_text(w);
}

static int go(walk *w, int steps, int check_each) {
    for (int i = 0; i < steps; i++) {
        if (i % check_each == 0)
            check_mask(w);
        else
            grammar_matcher_mask(w->matcher, w->mask, w->n_ids);
        if (grammar_matcher_may_end(w->matcher))
            check_text(w);
        int32_t id = choose(w, i > steps / 2 ? 8 : 0);
        if (id < 0)
            return i;
        push(w, id);
    }
    return steps;
}

// ---------------------------------------------------------------------------------------------

static int scale(int n) {
    return getenv("ABRUZZI_TEST_FULL") ? 20 * n : n;
}

// Takes the program over.
static void random_walks(grammar_program *p, int vocab, uint64_t seed, int n, int steps,
                         int check_each) {
    grammar_language *l = grammar_language_create(shared.tries[vocab], p);
    for (int i = 0; i < n; i++) { // of two walks with one seed the second is warm
        walk w;
        start_walk(&w, vocab, p, l, seed * 100 + (uint64_t)i / 2);
        go(&w, steps, check_each);
        finish(&w);
        end_walk(&w);
    }
    grammar_language_free(l);
}

static void random_programs(int vocab, int n_programs, int n_walks, int steps, int check_each) {
    for (int i = 0; i < scale(n_programs); i++)
        random_walks(random_program((uint64_t)i), vocab, (uint64_t)i, n_walks, steps, check_each);
}

static void assert_most_finished(void) {
    assert_true(n_finished > 20 * n_endless);
}

static void test_masks_are_what_can_be_pushed(void **state) {
    (void)state;
    random_programs(0, 150, 6, 60, 1);
    assert_most_finished();
}

static void test_masks_of_a_usual_vocabulary(void **state) {
    (void)state;
    random_programs(1, 60, 4, 40, 2);
    assert_most_finished();
}

// ---------------------------------------------------------------------------------------------
// Texts of a program, made from it alone: none may be refused

typedef struct writer {
    const grammar_program *p;
    base_str out;
    uint64_t seed;
    bool failed; // no room, or no key left: the text is not used
} writer;

// A text of an automaton: at random for some bytes, then the shortest way to an end.
static void write_dfa(writer *w, const grammar_dfa *d) {
    int32_t state = 0;
    int random_left = (int)match_random(&w->seed, 6);
    while (d->distance[state] > 0 || (random_left > 0 && match_random(&w->seed, 3))) {
        int found = -1;
        for (int i = 0; i < 512 && found < 0; i++) {
            int byte = random_left > 0 && i < 256 ? (int)match_random(&w->seed, 256) : i % 256;
            int32_t next = grammar_dfa_step(d, state, (unsigned char)byte);
            if (next >= 0 && ((random_left > 0 && i < 256) ||
                              d->distance[next] < d->distance[state] || d->distance[state] == 0))
                found = byte;
        }
        if (found < 0)
            return;
        state = grammar_dfa_step(d, state, (unsigned char)found);
        char c = (char)found;
        base_str_add(&w->out, &c, 1);
        random_left--;
    }
}

static void write_space(writer *w) {
    if (w->p->max_whitespace && match_random(&w->seed, 4) == 0)
        base_str_adds(&w->out, match_random(&w->seed, 2) ? " " : "\n");
}

static void write_node(writer *w, int32_t node, int depth);

static void write_string(writer *w, int64_t min, int64_t max) {
    static const char *const points[] = {"a",   "\\n",    "\xc3\xa9", "\\ud83d\\ude00",
                                         "\\/", "\\u0041"};
    int64_t n = min + match_random(&w->seed, 4);
    base_str_adds(&w->out, "\"");
    for (int64_t i = 0; i < (max >= 0 && n > max ? max : n); i++)
        base_str_adds(&w->out, points[match_random(&w->seed, 6)]);
    base_str_adds(&w->out, "\"");
}

static void write_array(writer *w, const grammar_node *a, int depth) {
    int64_t n = a->u.array.min + (depth < 4 ? match_random(&w->seed, 3) : 0);
    n = a->u.array.max >= 0 && n > a->u.array.max ? a->u.array.max : n;
    n = a->u.array.items < 0 && n > a->u.array.n_prefix ? a->u.array.n_prefix : n;
    base_str_adds(&w->out, "[");
    if (n == 0)
        write_space(w);
    for (int64_t i = 0; i < n && !w->failed; i++) {
        base_str_adds(&w->out, i ? "," : "");
        write_space(w);
        write_node(w, i < a->u.array.n_prefix ? a->u.array.prefix[i] : a->u.array.items, depth + 1);
        write_space(w);
    }
    base_str_adds(&w->out, "]");
}

// A key that `used` [n_used] does not hold: a declared one, or another.
static int32_t write_key(writer *w, const grammar_node *o, base_str *used, int n_used,
                         bool required) {
    for (int tries = 0; tries < 200; tries++) {
        int i = (int)match_random(&w->seed, (uint32_t)o->u.object.n + 2), j = 0;
        int32_t value = o->u.object.additional;
        size_t before = w->out.len, key;
        base_str_adds(&w->out, "\"");
        key = w->out.len;
        if (i < o->u.object.n) {
            const grammar_property *p = &o->u.object.properties[i];
            base_str_add(&w->out, p->key, p->key_len);
            value = required && !p->required ? GRAMMAR_NO_NODE : p->node;
        } else if (o->u.object.names) {
            write_dfa(w, o->u.object.names);
        } else {
            base_str_printf(&w->out, "k%u", match_random(&w->seed, 9));
        }
        size_t len = w->out.len - key;
        for (j = 0; j < n_used; j++) {
            if (used[j].len == len && memcmp(used[j].data, w->out.data + key, len) == 0)
                value = GRAMMAR_NO_NODE;
        }
        for (j = 0; i >= o->u.object.n && j < o->u.object.n; j++) {
            const grammar_property *p = &o->u.object.properties[j];
            if (p->key_len == len && memcmp(p->key, w->out.data + key, len) == 0)
                value = GRAMMAR_NO_NODE;
        }
        if (value >= 0 && !(required && i >= o->u.object.n)) {
            base_str_reserve(&used[n_used], 1); // an empty key has an address, too
            base_str_add(&used[n_used], w->out.data + key, len);
            base_str_adds(&w->out, "\"");
            return value;
        }
        w->out.len = before;
    }
    w->failed = true;
    return GRAMMAR_NO_NODE;
}

static void write_object(writer *w, const grammar_node *o, int depth) {
    base_str used[32] = {{0}};
    int required = o->u.object.n_required;
    int n = (int)(o->u.object.min > required ? o->u.object.min : required);
    if (depth < 4 && (o->u.object.max < 0 || n < o->u.object.max) &&
        (o->u.object.additional >= 0 || o->u.object.n > n))
        n += (int)match_random(&w->seed, 2);
    base_str_adds(&w->out, "{");
    if (n == 0)
        write_space(w);
    for (int i = 0; i < n && !w->failed; i++) {
        base_str_adds(&w->out, i ? "," : "");
        write_space(w);
        int32_t value = write_key(w, o, used, i, i < required);
        if (w->failed)
            break;
        write_space(w);
        base_str_adds(&w->out, ":");
        write_space(w);
        write_node(w, value, depth + 1);
        write_space(w);
    }
    base_str_adds(&w->out, "}");
    for (int i = 0; i < 32; i++)
        base_str_free(&used[i]);
}

static void write_node(writer *w, int32_t node, int depth) {
    const grammar_node *n = &w->p->nodes[node];
    w->failed = w->failed || w->out.len > MAX_TEXT;
    if (w->failed)
        return;
    switch (n->kind) {
    case GRAMMAR_SCALAR:
        write_dfa(w, n->u.dfa);
        break;
    case GRAMMAR_STRING:
        write_string(w, n->u.string.min, n->u.string.max);
        break;
    case GRAMMAR_OBJECT:
        write_object(w, n, depth);
        break;
    case GRAMMAR_ARRAY:
        write_array(w, n, depth);
        break;
    case GRAMMAR_UNION:
        write_node(w, n->u.any.at[match_random(&w->seed, (uint32_t)n->u.any.n)], depth);
        break;
    }
}

// The text byte by byte, whatever its tokens; it may end there.
static bool matches(grammar_language *l, const base_str *text) {
    grammar_matcher *m = grammar_matcher_create(l, "", 0);
    bool can = true;
    for (size_t i = 0; i < text->len && can; i++)
        can = grammar_matcher_push(m, text->data + i, 1);
    can = can && grammar_matcher_may_end(m);
    grammar_matcher_free(m);
    return can;
}

// And what a wrong byte makes of it is right or wrong for both.
static void compare_readers(grammar_language *l, writer *w) {
    static const char bytes[] = "{}[],:\"\\ \n01ab-tu\xc3";
    if (w->failed || w->out.len == 0 || w->out.len > MAX_TEXT)
        return;
    bool read = match_reads(w->p, w->out.data, (int)w->out.len);
    if (!read || !matches(l, &w->out))
        fail_msg("%s: '%.*s'", read ? "refused" : "not read", (int)w->out.len, w->out.data);
    for (int i = 0; i < 10; i++) {
        base_str other = {0};
        size_t at = match_random(&w->seed, (uint32_t)w->out.len), cut = match_random(&w->seed, 2);
        base_str_add(&other, w->out.data, at);
        if (!cut || match_random(&w->seed, 2))
            base_str_add(&other, &bytes[match_random(&w->seed, sizeof bytes - 1)], 1);
        base_str_add(&other, w->out.data + at + cut, w->out.len - at - cut);
        bool other_read = other.len > 0 && match_reads(w->p, other.data, (int)other.len);
        if (other.len > 0 && other_read != matches(l, &other))
            fail_msg("%s: '%.*s'", other_read ? "refused" : "taken", (int)other.len, other.data);
        base_str_free(&other);
    }
}

static void test_texts_are_taken_that_should_be(void **state) {
    (void)state;
    int n_used = 0, n = scale(150);
    for (int i = 0; i < n; i++) {
        grammar_program *p = random_program((uint64_t)i + 5000);
        grammar_language *l = grammar_language_create(shared.tries[0], p);
        for (int j = 0; j < 8; j++) {
            writer w = {.p = p, .seed = (uint64_t)(i * 10 + j)};
            write_node(&w, p->root, 0);
            compare_readers(l, &w);
            n_used += !w.failed;
            base_str_free(&w.out);
        }
        grammar_language_free(l);
    }
    assert_true(n_used > n);
}

// What real schemas become.
static void test_masks_of_schemas(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{}",
        "{\"type\":\"object\"}",
        "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"unit\":{\"enum\":"
        "[\"celsius\",\"kelvin\"]},\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":14}},"
        "\"required\":[\"city\"],\"additionalProperties\":false}",
        "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"id\":{\"type\":"
        "\"integer\"},\"name\":{\"type\":\"string\",\"maxLength\":4},\"mail\":{\"type\":\"string\","
        "\"format\":\"email\"}},\"required\":[\"id\"]}}",
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"},\"minProperties\":2}",
        "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a-c]{1,2}$\"},\"maxProperties\":"
        "9}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^.{1,9}$\"}}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"foo|[0-9]\"}}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^.{2,90}$\"}}",
        "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"type\":{\"const\":\"a\"},\"x\":{"
        "\"type\":"
        "\"string\"}},\"required\":[\"type\"]},{\"type\":\"object\",\"properties\":{\"type\":{"
        "\"const\":"
        "\"b\"}},\"required\":[\"type\"]},{\"type\":\"string\",\"minLength\":3}]}",
    };
    for (size_t i = 0; i < 2 * sizeof schemas / sizeof *schemas; i++) {
        base_err err;
        grammar_program *p = NULL;
        grammar_schema_options options = {.field = "schema", .strict = true};
        json_t *schema = json_loads(schemas[i / 2], 0, NULL);
        if (grammar_program_schema(&p, schema, &options, NULL, &err))
            fail_msg("%s: %s", schemas[i / 2], err.message);
        json_decref(schema);
        random_walks(p, (int)(i % 2), i, 8, 50, 1);
    }
}

// From wherever a rollback leads to, the same is allowed as by a matcher that was never there.
static void test_rollback_is_as_replay(void **state) {
    (void)state;
    for (int i = 0; i < scale(60); i++) {
        grammar_program *p = random_program((uint64_t)i + 1000);
        grammar_language *l = grammar_language_create(shared.tries[0], p);
        walk w;
        start_walk(&w, 0, p, l, (uint64_t)i);
        int kept = 0; // places that can be gone back to
        for (int round = 0; round < 6; round++) {
            kept += go(&w, 1 + (int)match_random(&w.seed, 90), 1000);
            kept = kept < GRAMMAR_MAX_ROLLBACK ? kept : GRAMMAR_MAX_ROLLBACK;
            int back = (int)match_random(&w.seed, (uint32_t)kept + 1);
            kept -= back;
            grammar_matcher_rollback(w.matcher, back);
            for (int j = 0; j < back; j++)
                w.text.len -= w.lens[--w.n];
            grammar_matcher_free(w.probe);
            w.probe = grammar_matcher_create(l, "", 0);
            size_t at = 0;
            for (int j = 0; j < w.n; at += w.lens[j++])
                assert_true(grammar_matcher_push(w.probe, w.text.data + at, w.lens[j]));
            grammar_matcher_mask(w.probe, w.want, w.n_ids);
            check_mask(&w);
            assert_memory_equal(w.mask, w.want, (size_t)w.n_words * sizeof *w.mask);
            assert_int_equal(grammar_matcher_may_end(w.matcher), grammar_matcher_may_end(w.probe));
        }
        finish(&w);
        end_walk(&w);
        grammar_language_free(l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_are_what_can_be_pushed),
        cmocka_unit_test(test_masks_of_a_usual_vocabulary),
        cmocka_unit_test(test_texts_are_taken_that_should_be),
        cmocka_unit_test(test_masks_of_schemas),
        cmocka_unit_test(test_rollback_is_as_replay),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
