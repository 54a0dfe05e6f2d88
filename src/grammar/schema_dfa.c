// The automata of a program, each made once.
#include "grammar/schema.h"

#include <string.h>
#include <time.h>

// How long a pattern takes can hardly be told from its automaton: many states may have been merged.
// So the time of this thread is what bounds all of them together.
#define MAX_NS ((int64_t)100000000)

static int64_t thread_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// Products that large are not even begun: most of their states are reached, as a rule.
enum { MAX_PRODUCT = 1 << 16, MAX_LIMITED = 1 << 17 };

static bool is_too_large(int64_t a, int64_t b, int64_t most, base_err *why) {
    if (a <= most && b <= most && a * b <= most)
        return false;
    base_fail(why, BASE_ERR_USAGE, "too large: an automaton of up to %lld times %lld states",
              (long long)a, (long long)b);
    return true;
}

int schema_dfa_begin(schema *s) {
    if (s->dfa_ns > MAX_NS)
        return base_fail(s->err, BASE_ERR_USAGE,
                         "%s: too large: its patterns, values and ranges take too long to compile",
                         s->options->field);
    s->dfa_ns -= thread_ns();
    return 0;
}

static void add_key(base_str *key, const schema_recipe *r) {
    base_str_printf(key, "%c%lld,%lld,%lld,", r->kind, (long long)r->a, (long long)r->b,
                    (long long)r->c);
    base_str_add(key, r->bytes, r->len);
}

bool schema_dfa_find(schema *s, const schema_recipe *r, int32_t *out) {
    base_str key = {0};
    add_key(&key, r);
    int32_t found = schema_map_get(&s->dfa_of, key.data, key.len);
    *out = found - 1;
    base_str_free(&key);
    return found >= 0;
}

// `dfa` NULL: it could not be made.
int schema_dfa_keep(schema *s, const schema_recipe *r, grammar_dfa *dfa, int32_t *out) {
    grammar_program *p = s->program;
    s->dfa_ns += thread_ns();
    *out = -1;
    if (dfa != NULL) {
        s->cells += (int64_t)dfa->n_states * dfa->n_classes + 256;
        if (p->n_dfas == p->cap_dfas) {
            p->cap_dfas = p->cap_dfas == 0 ? 16 : p->cap_dfas * 2;
            p->dfas = base_realloc(p->dfas, (size_t)p->cap_dfas * sizeof(grammar_dfa *));
        }
        *out = p->n_dfas;
        p->dfas[p->n_dfas++] = dfa;
    }
    base_str key = {0};
    add_key(&key, r);
    schema_map_put(&s->dfa_of, key.data, key.len, *out + 1);
    base_str_free(&key);
    if (s->cells > SCHEMA_MAX_CELLS || p->n_dfas > SCHEMA_MAX_AUTOMATA)
        return base_fail(s->err, BASE_ERR_USAGE,
                         "%s: too large: its patterns, values and ranges come to more than %d "
                         "automata or %d transitions",
                         s->options->field, SCHEMA_MAX_AUTOMATA, SCHEMA_MAX_CELLS);
    return 0;
}

int schema_dfa_pattern(schema *s, int32_t place, const char *keyword, const char *pattern,
                       int32_t *out) {
    schema_recipe r = {.kind = 'R', .bytes = pattern, .len = strlen(pattern)};
    base_err why = {0};
    int code = 0;
    if (!schema_dfa_find(s, &r, out)) {
        code = schema_dfa_begin(s);
        if (code != 0)
            return code;
        grammar_dfa *dfa = NULL;
        grammar_dfa_regex(&dfa, pattern, r.len, GRAMMAR_REGEX_SEARCH, &why);
        code = schema_dfa_keep(s, &r, dfa, out);
    }
    if (code == 0 && *out < 0)
        code = schema_unsupported(s, place, keyword, why.message);
    return code;
}

int schema_dfa_format(schema *s, int32_t place, const char *format, int32_t *out) {
    schema_recipe r = {.kind = 'F', .bytes = format, .len = strlen(format)};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    base_err why = {0};
    grammar_dfa *dfa = NULL;
    bool fits = grammar_dfa_format(&dfa, format, &why) == 0;
    code = schema_dfa_keep(s, &r, dfa, out);
    return code != 0 || fits ? code : schema_unsupported(s, place, "format", why.message);
}

int schema_dfa_literals(schema *s, const schema_texts *texts, size_t from, size_t to,
                        int32_t *out) {
    size_t n = to - from, begin = from == 0 ? 0 : (size_t)texts->ends.data[from - 1];
    base_str key = {0};
    const char **at = base_alloc((n + 1) * sizeof *at);
    size_t *lens = base_alloc((n + 1) * sizeof *lens), next = begin;
    for (size_t i = 0; i < n; i++) {
        size_t end = (size_t)texts->ends.data[from + i];
        at[i] = texts->text.data + next;
        lens[i] = end - next;
        base_str_printf(&key, "%zu,", lens[i]);
        next = end;
    }
    if (n > 0)
        base_str_add(&key, at[0], next - begin);
    schema_recipe r = {.kind = 'L', .a = (int64_t)n, .bytes = key.data, .len = key.len};
    int code = schema_work(s, (int64_t)(key.len / 16));
    if (code == 0 && !schema_dfa_find(s, &r, out) && (code = schema_dfa_begin(s)) == 0) {
        grammar_dfa *dfa = NULL;
        base_err why = {0};
        bool fits = grammar_dfa_literals(&dfa, at, lens, n, &why) == 0;
        code = schema_dfa_keep(s, &r, dfa, out);
        if (code == 0 && !fits)
            code = base_fail(s->err, BASE_ERR_USAGE, "%s: the values of enum and const: %s",
                             s->options->field, why.message);
    }
    base_free(at);
    base_free(lens);
    base_str_free(&key);
    return code;
}

int schema_dfa_both(schema *s, int32_t a, int32_t b, int32_t *out, base_err *why) {
    schema_recipe r = {.kind = 'B', .a = a < b ? a : b, .b = a < b ? b : a};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    grammar_dfa *dfa = NULL, *const *of = s->program->dfas;
    if (!is_too_large(of[a]->n_states, of[b]->n_states, MAX_PRODUCT, why))
        grammar_dfa_intersect(&dfa, of[a], of[b], why);
    return schema_dfa_keep(s, &r, dfa, out);
}

int schema_dfa_either(schema *s, int32_t a, int32_t b, int32_t *out, base_err *why) {
    schema_recipe r = {.kind = 'E', .a = a < b ? a : b, .b = a < b ? b : a};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    grammar_dfa *dfa = NULL, *const *of = s->program->dfas;
    if (!is_too_large(of[a]->n_states, of[b]->n_states, MAX_PRODUCT, why))
        grammar_dfa_unite(&dfa, of[a], of[b], why);
    return schema_dfa_keep(s, &r, dfa, out);
}

int schema_dfa_limit(schema *s, int32_t a, int64_t min, int64_t max, int32_t *out, base_err *why) {
    schema_recipe r = {.kind = 'l', .a = a, .b = min, .c = max};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    grammar_dfa *dfa = NULL, *const *of = s->program->dfas;
    if (!is_too_large(of[a]->n_states, max >= 0 ? max : min, MAX_LIMITED, why))
        grammar_dfa_limit(&dfa, of[a], min, max, why);
    return schema_dfa_keep(s, &r, dfa, out);
}

int schema_dfa_quote(schema *s, int32_t a, int32_t *out, base_err *why) {
    schema_recipe r = {.kind = 'Q', .a = a};
    if (schema_dfa_find(s, &r, out))
        return 0;
    int code = schema_dfa_begin(s);
    if (code != 0)
        return code;
    grammar_dfa *dfa = NULL;
    grammar_dfa_quote(&dfa, s->program->dfas[a], why);
    return schema_dfa_keep(s, &r, dfa, out);
}
